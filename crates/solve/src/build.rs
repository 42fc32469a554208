//! A whole build: plan, run the graph, commit what was asked for, clean up.

use crate::ahead;
use crate::bound::{BoundBase, BoundOp, Input, Link};
use crate::cancel::Cancel;
use crate::commit::{Committed, Draft, Keep, names};
use crate::engine::{Engine, GRACE, SIGTERM};
use crate::error::{BuildError, Location, PlanError, StepError};
use crate::fetch::FETCHES;
use crate::graph::{Graph, Node};
use crate::key::base_key;
use crate::offers;
use crate::push::push_all;
use crate::reason::trace_key;
use crate::request::{BuildRequest, BuiltImage, Layering, Outcome};
use crate::result::{LastStep, NodeResult, StepOutcome};
use crate::scheduler::{self, Claims, Ended, Lanes, Needs, NodeWork};
use crate::stage::{HasLayer, Telling, run_stage};
use crate::target::{BaseImage, FetchError, ImageSettings, Images, Squash, Target};
use crate::tell::{ShowKeys, Teller};
use crate::work::{LayerEnd, StageWork};
use model::event::StepPosition;
use model::{Event, ImageId, LayerId, Reporter};
use std::cell::RefCell;
use std::thread::ScopedJoinHandle;
use store::Store;

/// Builds all targets of a request.
///
/// `images` finds bases and sources by name. Everything that cannot be carried out is refused
/// before anything runs; a failed build leaves nothing mounted and no process, and what earlier
/// stages published stays for the next build.
///
/// # Errors
/// See [`BuildError`].
pub fn build<I: Images>(
    request: &BuildRequest<'_>,
    store: &Store,
    images: &I,
    reporter: &dyn Reporter,
) -> Result<Outcome, BuildError> {
    let mut attempt = 1;
    loop {
        match once(request, store, images, reporter) {
            Err(error) if error.is_vanished() && attempt < ATTEMPTS => {
                attempt += 1;
                reporter.event(Event::Detail {
                    text: "a layer was removed meanwhile: looking everything up again".to_owned(),
                });
            }
            ended => return ended,
        }
    }
}

/// How often a build is tried whose layers are removed by somebody else while it uses them.
const ATTEMPTS: u32 = 4;

fn once<I: Images>(
    request: &BuildRequest<'_>,
    store: &Store,
    images: &I,
    reporter: &dyn Reporter,
) -> Result<Outcome, BuildError> {
    let graph = Graph::plan(&request.targets, images)?;
    check_given(&graph, request)?;
    for warning in &graph.warnings {
        reporter.event(Event::Warning {
            text: warning.clone(),
        });
    }
    if request.layers == Layering::AtEnd && has_links(&graph) {
        reporter.event(Event::Warning {
            text: NO_LINK.to_owned(),
        });
    }
    let fetch = |image: &BaseImage, cancel: &Cancel| {
        let fetched = images.fetch(image, cancel);
        fetched.map_err(|error| -> FetchError { Box::new(error) })
    };
    let engine =
        Engine::new(store, request, &graph, reporter, &fetch).map_err(cannot_commit("0"))?;
    let stop = engine.stop.clone();
    // The signal that asks a process to end; it is killed when the grace is over.
    let ending = engine.cancel.on_cancel(move || stop.end(SIGTERM, GRACE));
    let cancel = engine.cancel.clone();
    let from_outside = request.cancel.on_cancel(move || cancel.cancel());
    let outcome = std::thread::scope(|scope| {
        let pushing = (!request.caches.to.is_empty()).then(|| {
            let offers = engine.offers.open();
            let engine = &engine;
            scope.spawn(move || push_all(engine, &offers))
        });
        let ended = run(&engine);
        drop((ending, from_outside));
        engine.save_memos();
        engine.tidy_cache();
        let outcome = ended.and_then(|results| outputs(&engine, &results));
        engine.offers.close();
        match pushing.map(ScopedJoinHandle::join) {
            None | Some(Ok(Ok(()))) => outcome,
            // A failed push ends the build, which then only knows that it was told to stop.
            Some(Ok(Err(failed))) => match outcome {
                Ok(_) | Err(BuildError::Cancelled) => Err(failed),
                Err(error) => Err(error),
            },
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    });
    for error in engine.remove_temporary() {
        reporter.event(Event::Warning {
            text: format!("an intermediate image stays: {error}"),
        });
    }
    outcome
}

/// Buildah's words. The content of the one layer is the same; only a link in the destination's
/// path is treated as `--link` has it.
const NO_LINK: &str = "--link is not supported when building without --layers, ignoring --link";

fn has_links(graph: &Graph) -> bool {
    let mut steps = graph.nodes.iter().flat_map(|node| &node.stage.steps);
    steps.any(|step| match &step.op {
        BoundOp::Copy(copy) => copy.link == Link::Own,
        _ => false,
    })
}

fn run(engine: &Engine<'_>) -> Result<Needs<NodeResult>, BuildError> {
    let graph = engine.graph;
    let keep: Vec<usize> = graph.outputs.iter().map(|output| output.node).collect();
    let runner = Runner { engine };
    let request = engine.request;
    let lanes = Lanes {
        local: request.jobs,
        network: FETCHES,
    };
    match scheduler::run(&runner, &engine.tasks(), &keep, lanes, &engine.cancel) {
        Ended::Done(results) => Ok(results),
        Ended::Failed { error, .. } => Err(error),
        Ended::Cancelled => Err(BuildError::Cancelled),
    }
}

/// Commits the results that were asked for, in the order of the targets.
fn outputs(engine: &Engine<'_>, results: &Needs<NodeResult>) -> Result<Outcome, BuildError> {
    let mut images = Vec::new();
    for (target, output) in engine.request.targets.iter().zip(&engine.graph.outputs) {
        let node = &engine.graph.nodes[output.node];
        let Some(result) = results.get(&output.node) else {
            return Err(BuildError::Cancelled);
        };
        let stage = stage_name(node);
        let committed =
            commit_output(engine, target, node, result).map_err(cannot_commit(&stage))?;
        let teller = teller(engine, node);
        teller.found(result.last, &committed);
        let first = || target.image.names.first().map(ToString::to_string);
        teller.committing(target.image.shown_name.clone().or_else(first));
        teller.pushing_last(result.last, &committed);
        teller.committed(&committed.id);
        engine.reporter.event(Event::ImageDone {
            id: committed.id.to_string(),
            names: committed.names.clone(),
        });
        images.push(BuiltImage {
            id: committed.id,
            names: committed.names,
            not_consumed: output.not_consumed.clone(),
        });
    }
    Ok(Outcome { images })
}

fn commit_output(
    engine: &Engine<'_>,
    target: &Target,
    node: &Node,
    result: &NodeResult,
) -> Result<Committed, StepError> {
    if node.stage.steps.is_empty()
        && !target.image.changes_base()
        && let Some(image) = &result.image
    {
        // Nothing was done: the base itself gets the name.
        return engine.tag(image, &names(&target.image));
    }
    let whole = intermediate_settings(target);
    let draft = |settings, keep| Draft {
        node,
        settings,
        layer: result.layer.clone(),
        history: result.history.clone(),
        own: result.own,
        performed: result.performed,
        keep,
    };
    let asked = ImageSettings {
        layer_labels: Vec::new(),
        ..target.image.clone()
    };
    let plain = draft(&asked, Keep::Always);
    let scanned = engine.scanned(&plain)?;
    if target.image.squash == Squash::One {
        // The layers that are squashed belong to an image of their own.
        engine.commit(draft(&whole, intermediate_keep(engine)))?;
        if let Some(scanned) = scanned {
            let layer = scanned.layer.clone();
            engine.commit(Draft {
                settings: &whole,
                keep: Keep::DuringBuild,
                ..scanned
            })?;
            return engine.commit(Draft { layer, ..plain });
        }
        return engine.commit(plain);
    }
    engine.commit(scanned.unwrap_or(plain))
}

/// What is written around the layers of a stage that nobody asked for.
fn intermediate_settings(target: &Target) -> ImageSettings {
    ImageSettings {
        identity: target.image.identity.clone(),
        layer_labels: target.image.layer_labels.clone(),
        ..ImageSettings::new(target.image.format)
    }
}

fn intermediate_keep(engine: &Engine<'_>) -> Keep {
    if engine.per_step() || engine.saves_stages() {
        Keep::Always
    } else {
        Keep::DuringBuild
    }
}

fn teller<'a>(engine: &'a Engine<'_>, node: &'a Node) -> Teller<'a> {
    let repositories = offers::repositories(&engine.request.caches.to);
    Teller::new(engine.reporter, node, show_keys(engine)).pushing_to(repositories)
}

fn show_keys(engine: &Engine<'_>) -> ShowKeys {
    if engine.per_step() {
        ShowKeys::Yes
    } else {
        ShowKeys::No
    }
}

fn stage_name(node: &Node) -> String {
    let origin = &node.origin;
    origin
        .name
        .clone()
        .unwrap_or_else(|| origin.index.to_string())
}

fn cannot_commit(stage: &str) -> impl FnOnce(StepError) -> BuildError {
    let stage = stage.to_owned();
    move |error| match error {
        StepError::Cancelled => BuildError::Cancelled,
        error => BuildError::Commit {
            stage,
            source: Box::new(error),
        },
    }
}

/// Refuses a RUN whose required secret or agent was not given, before anything runs.
fn check_given(graph: &Graph, request: &BuildRequest<'_>) -> Result<(), PlanError> {
    for node in &graph.nodes {
        for step in &node.stage.steps {
            let BoundOp::Run(run) = &step.op else {
                continue;
            };
            let mut mounts = run.mounts.iter();
            let checked = mounts.try_for_each(|bound| request.run.given.check(&bound.mount));
            checked.map_err(|error| PlanError::Step {
                at: Box::new(Location::of(&node.origin.file.sources, step.at)),
                step: step.error_text.clone(),
                source: error.into(),
            })?;
        }
    }
    Ok(())
}

struct Runner<'e> {
    engine: &'e Engine<'e>,
}

impl NodeWork for Runner<'_> {
    type Output = NodeResult;
    type Error = BuildError;

    fn node(
        &self,
        index: usize,
        needs: &Needs<NodeResult>,
        claims: &Claims,
    ) -> Result<NodeResult, BuildError> {
        let engine = self.engine;
        let Some(node) = engine.graph.nodes.get(index) else {
            return engine.bring(index);
        };
        let stage = stage_name(node);
        let below = match node.stage.base {
            BoundBase::From(Input::Stage(below)) => needs.get(&below),
            _ => None,
        };
        let base = match node.stage.base {
            BoundBase::From(input) => engine.layer_of(input, needs).flatten(),
            BoundBase::Scratch => None,
        };
        let teller = teller(engine, node);
        teller.from(below.and_then(|result| result.image.as_ref()));
        let origin = &node.origin;
        let context = &engine.target_of(node).context.path;
        let file = origin.file.sources.name(origin.from.source);
        let trace = trace_key(context, file, origin.index, origin.name.as_deref());
        let at = RefCell::new(teller.position(0));
        let platform = &node.stage.platform;
        let mut work = StageWork::new(engine, needs, claims, base.clone(), trace, &at)
            .ending(layer_end(engine, node))
            .reading(engine.read_images(node))
            .on_platform(platform);
        let key = base_key(base.as_ref().map(LayerId::as_str));
        let keys = engine.key_context(platform.to_string());
        ahead::bring(&mut work, &node.stage, (base.as_ref(), key), &keys)
            .map_err(cannot_commit(&stage))?;
        let telling = Positions {
            teller: &teller,
            at: &at,
        };
        let steps = match run_stage(&node.stage, key, &keys, &mut work, &telling) {
            Ok(steps) => steps,
            Err(failed) => {
                let done = StepOutcome { steps: failed.done };
                if let Err(error) = self.keep_partly(node, needs, work, &done) {
                    engine.reporter.event(Event::Warning {
                        text: format!("steps before the failed one are not kept: {error}"),
                    });
                }
                return Err(step_error(node, failed.index, failed.error));
            }
        };
        let outcome = StepOutcome { steps };
        self.keep(index, needs, work, &outcome, &teller)
            .map_err(cannot_commit(&stage))
    }
}

/// When what a node's steps write becomes a layer.
fn layer_end(engine: &Engine<'_>, node: &Node) -> LayerEnd {
    if engine.per_step() {
        return LayerEnd::EachStep;
    }
    if engine.is_root_only(node) {
        return LayerEnd::Never;
    }
    let steps = node.stage.steps.iter();
    let writing = steps.filter(|step| matches!(step.op, BoundOp::Run(_) | BoundOp::Copy(_)));
    LayerEnd::After(writing.count())
}

impl Runner<'_> {
    /// Brings what a node's steps left into the store, as far as others need it there.
    fn keep(
        &self,
        index: usize,
        needs: &Needs<NodeResult>,
        mut work: StageWork<'_>,
        outcome: &StepOutcome,
        teller: &Teller<'_>,
    ) -> Result<NodeResult, StepError> {
        let engine = self.engine;
        let node = &engine.graph.nodes[index];
        let own = engine.own_history(node, outcome);
        let mut history = engine.base_history(node, needs)?;
        let own_count = own.len();
        history.extend(own);
        let nothing_done = node.stage.steps.is_empty();
        let mut result = NodeResult {
            layer: None,
            live: None,
            image: None,
            history,
            own: own_count,
            performed: work.has_performed(),
            last: teller.last(),
        };
        if engine.is_root_only(node) {
            result.live = Some(work.keep_live()?);
            return Ok(result);
        }
        let stands_on_base = nothing_done && node.stage.base != BoundBase::Scratch;
        if stands_on_base {
            result.history.truncate(result.history.len() - own_count);
            result.own = 0;
        } else if !engine.per_step() {
            work.freeze_whole()?;
        }
        result.layer = work.publish()?;
        if stands_on_base {
            result.image = self.image_below(node, needs);
        }
        if engine.graph.is_only_output(index) {
            return Ok(result);
        }
        if !stands_on_base {
            let committed = self.intermediate(node, &mut result)?;
            teller.found(result.last, &committed);
            teller.pushing_last(result.last, &committed);
            result.image = Some(committed.id);
        }
        if let Some(image) = &result.image {
            engine.add_stage_image(index, image.clone());
            teller.committed(image);
        }
        Ok(result)
    }

    /// Publishes the steps before a failed one, so that the next build finds them. A user who
    /// ended the build does not wait for that.
    fn keep_partly(
        &self,
        node: &Node,
        needs: &Needs<NodeResult>,
        work: StageWork<'_>,
        done: &StepOutcome,
    ) -> Result<(), StepError> {
        let engine = self.engine;
        let has_layers = done.steps.iter().any(|step| step.layer == HasLayer::Yes);
        if !engine.per_step() || !has_layers || engine.request.cancel.is_cancelled() {
            return Ok(());
        }
        let own = engine.own_history(node, done);
        let mut history = engine.base_history(node, needs)?;
        let own_count = own.len();
        history.extend(own);
        let mut result = NodeResult {
            performed: work.has_performed(),
            layer: work.publish()?,
            live: None,
            image: None,
            history,
            own: own_count,
            last: LastStep::default(),
        };
        self.intermediate(node, &mut result)?;
        Ok(())
    }

    /// Returns the image of what a node without steps stands on.
    fn image_below(&self, node: &Node, needs: &Needs<NodeResult>) -> Option<ImageId> {
        match node.stage.base {
            BoundBase::From(Input::Image(index)) => {
                Some(self.engine.graph.images[index].image.id.clone())
            }
            BoundBase::From(Input::Stage(below)) => needs.get(&below)?.image.clone(),
            BoundBase::Scratch | BoundBase::From(Input::Directory(_)) => None,
        }
    }

    /// Records the image that owns the layers of a stage that is not asked for itself.
    fn intermediate(&self, node: &Node, result: &mut NodeResult) -> Result<Committed, StepError> {
        let engine = self.engine;
        let target = engine.target_of(node);
        let settings = intermediate_settings(target);
        let committed = engine.commit(Draft {
            node,
            settings: &settings,
            layer: result.layer.clone(),
            history: result.history.clone(),
            own: result.own,
            performed: result.performed,
            keep: intermediate_keep(engine),
        })?;
        // A stage that was found has the times of that time, so that what stands on it does
        // not become another image.
        let start = result.history.len() - result.own;
        for (entry, time) in result.history[start..].iter_mut().zip(&committed.times) {
            entry.created = Some(*time);
        }
        Ok(committed)
    }
}

/// Passes on what is told of steps, and keeps where the stage is.
struct Positions<'a> {
    teller: &'a Teller<'a>,
    at: &'a RefCell<StepPosition>,
}

impl Telling for Positions<'_> {
    fn started(&self, index: usize) {
        self.at.replace(self.teller.position(index));
        self.teller.started(index);
    }
    fn cached(&self, index: usize, key: crate::key::StepKey) {
        self.teller.cached(index, key);
    }
    fn missed(&self, index: usize, why: model::MissReason) {
        self.teller.missed(index, why);
    }
    fn done(&self, index: usize, key: crate::key::StepKey) {
        self.teller.done(index, key);
    }
    fn pulled(&self, index: usize, place: &str) {
        self.teller.pulled(index, place);
    }
    fn pushing(&self, index: usize, key: crate::key::StepKey) {
        self.teller.pushing(index, key);
    }
}

fn step_error(node: &Node, index: usize, error: StepError) -> BuildError {
    if matches!(error, StepError::Cancelled) {
        return BuildError::Cancelled;
    }
    let step = &node.stage.steps[index];
    BuildError::Step {
        at: Box::new(Location::of(&node.origin.file.sources, step.at)),
        step: step.error_text.clone(),
        source: Box::new(error),
    }
}

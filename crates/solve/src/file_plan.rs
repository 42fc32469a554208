//! The stages of one file while they become nodes of the graph.
//!
//! Only this module knows in which order a name is looked up: in FROM a context, an earlier
//! stage, an image; elsewhere a context, an earlier stage, a later one, a number, an image.

use crate::bind::{Binder, NameError, Names, expand_fault, missing_arg};
use crate::bound::{
    BoundBase, BoundCopy, BoundOp, BoundStage, BoundStep, CopySource, CopyWord, HistoryText, Input,
    Link, Parents,
};
use crate::error::{Location, PlanError, StepFault};
use crate::graph::{AskedBy, Node, Origin, Output, UsedAs};
use crate::mounts::writes_into_layers;
use crate::planner::Planner;
use crate::scope::{Declared, Scope, not_consumed, platform_args};
use crate::target::{Ancestor, Images, Inherit, NamedContext, Target, UnusedStages};
use containerfile::{Op, Pair, Span, Stage, Step, Template, parse_trigger};
use model::{ContainerConfig, ManifestFormat, Platform};
use std::collections::BTreeSet;

/// One target while its stages are planned.
pub(crate) struct FilePlan<'t> {
    pub(crate) target: &'t Target,
    number: usize,
    name: Option<String>,
    globals: Scope,
    pub(crate) last: usize,
    done: Vec<Option<Planned>>,
    on_the_way: Vec<bool>,
    used_args: BTreeSet<String>,
    warnings: Vec<String>,
}

/// A stage that has become a node.
#[derive(Clone)]
struct Planned {
    node: usize,
    scope: Scope,
}

/// What is known of a stage's base.
struct Base {
    bound: BoundBase,
    /// Files that are put into an empty root before the first step.
    files: Option<Input>,
    scope: Scope,
    config: ContainerConfig,
    author: Option<String>,
    ancestor: Ancestor,
    comment: String,
    node: Option<usize>,
}

impl<'t> FilePlan<'t> {
    /// Reads what stands before the first FROM of one of `targets`.
    pub(crate) fn new(targets: &'t [Target], number: usize) -> Result<Self, PlanError> {
        let target = &targets[number];
        let file = &target.file.containerfile;
        let last = match &target.stage {
            None => file
                .stages
                .len()
                .checked_sub(1)
                .ok_or(PlanError::NoStages)?,
            Some(name) => find_target(&file.stages, name)
                .ok_or_else(|| PlanError::NoSuchTarget { name: name.clone() })?,
        };
        let platform = platform_args(&target.build_platform, &target.platform, "");
        let mut plan = Self {
            target,
            number,
            name: target.name.clone().filter(|_| targets.len() > 1),
            globals: Scope::global(&target.args, platform),
            last,
            done: vec![None; file.stages.len()],
            on_the_way: vec![false; file.stages.len()],
            used_args: BTreeSet::new(),
            warnings: Vec::new(),
        };
        plan.global_args()?;
        Ok(plan)
    }

    /// Plans the target's stage and all that it needs.
    pub(crate) fn plan<I: Images>(
        mut self,
        planner: &mut Planner<'_, I>,
    ) -> Result<Output, PlanError> {
        if self.target.unused_stages == UnusedStages::Built {
            for index in 0..self.last {
                self.stage(index, planner)?;
            }
        }
        let node = self.stage(self.last, planner)?;
        planner.graph.nodes[node].used_as = UsedAs::Base;
        planner.graph.warnings.append(&mut self.warnings);
        Ok(Output {
            node,
            not_consumed: not_consumed(&self.target.args.given, &self.used_args),
        })
    }

    fn global_args(&mut self) -> Result<(), PlanError> {
        for arg in &self.target.file.containerfile.global_args {
            let step = || format!("ARG {}", arg.name);
            let default = arg
                .default
                .as_ref()
                .map(|word| global_word(&self.globals, word));
            let default = default
                .transpose()
                .map_err(|fault| self.fault(arg.at, step(), fault))?;
            match self.globals.declare(&arg.name, default) {
                Declared::Valued => {}
                Declared::Unset => self.warnings.push(missing_arg(&arg.name)),
                Declared::Redefined => {
                    let name = arg.name.clone();
                    return Err(self.fault(arg.at, step(), StepFault::Redefined { name }));
                }
            }
        }
        self.used_args.extend(self.globals.used().iter().cloned());
        Ok(())
    }

    /// Plans a stage unless it is planned, and returns its node.
    fn stage<I: Images>(
        &mut self,
        index: usize,
        planner: &mut Planner<'_, I>,
    ) -> Result<usize, PlanError> {
        if let Some(planned) = &self.done[index] {
            return Ok(planned.node);
        }
        let stage = &self.target.file.containerfile.stages[index];
        if std::mem::replace(&mut self.on_the_way[index], true) {
            let name = stage.name.clone().unwrap_or_else(|| index.to_string());
            return Err(self.stage_fault(stage, StepFault::Circle { stage: name }));
        }
        let platform = self.platform(stage)?;
        let mut base = self.base(index, &platform, planner)?;
        let mut needs: BTreeSet<usize> = base.node.into_iter().collect();
        self.after(index, &mut needs, planner)?;
        let triggers = std::mem::take(&mut base.config.on_build);
        let mut binder = Binder::new(
            std::mem::take(&mut base.scope),
            std::mem::take(&mut base.config),
            base.author.take(),
            self.target.image.format,
        );
        if let Some(files) = base.files {
            binder.steps.push(copy_all(stage, files));
        }
        let (steps, own_steps) = self.steps(index, &triggers)?;
        for (at, step) in &steps {
            let mut names = StageNames {
                plan: self,
                planner,
                stage: index,
                step: (step, *at),
                platform: &platform,
                needs: &mut needs,
            };
            let bound = binder.bind(step, *at, &mut names);
            bound.map_err(|error| match error {
                NameError::Here(fault) => self.fault(*at, step.error_text(), fault),
                NameError::There(error) => error,
            })?;
        }
        self.finish(index, binder, needs, base, own_steps, platform, planner)
    }

    /// Makes the node of a stage whose steps are bound.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one node, used once"
    )]
    fn finish<I: Images>(
        &mut self,
        index: usize,
        mut binder: Binder,
        needs: BTreeSet<usize>,
        base: Base,
        own_steps: usize,
        platform: Platform,
        planner: &mut Planner<'_, I>,
    ) -> Result<usize, PlanError> {
        let stage = &self.target.file.containerfile.stages[index];
        self.used_args.extend(binder.scope.used().iter().cloned());
        for warning in binder.warnings.drain(..) {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        let node = planner.node(Node {
            stage: BoundStage {
                base: base.bound,
                platform,
                steps: binder.steps,
                config: binder.config,
                author: binder.author,
            },
            needs: needs.into_iter().collect(),
            used_as: UsedAs::Files,
            origin: Origin {
                target: self.name.clone(),
                target_index: self.number,
                file: self.target.file.clone(),
                from: stage.at,
                from_text: self.shown_from(index),
                index,
                stages: self.last + 1,
                name: stage.name.clone(),
                own_steps,
            },
            ancestor: base.ancestor,
            comment: base.comment,
        });
        if let Some(below) = base.node {
            planner.graph.nodes[below].used_as = UsedAs::Base;
        }
        for below in written_stages(&planner.graph.nodes[node]) {
            planner.graph.nodes[below].used_as = UsedAs::Base;
        }
        self.done[index] = Some(Planned {
            node,
            scope: binder.scope,
        });
        Ok(node)
    }

    /// Returns the steps of a stage with the places that errors point to, and how many of them
    /// are no triggers.
    fn steps(
        &self,
        index: usize,
        triggers: &[String],
    ) -> Result<(Vec<(Span, Step)>, usize), PlanError> {
        let target = self.target;
        let stage = &target.file.containerfile.stages[index];
        let mut steps = Vec::new();
        if !target.env.is_empty() {
            steps.push((stage.at, pairs_step(stage.at, "ENV", &target.env, Op::Env)));
        }
        for text in triggers {
            let step = parse_trigger(text).map_err(|diagnostics| {
                let text = text.clone();
                self.stage_fault(stage, StepFault::Trigger { text, diagnostics })
            })?;
            steps.push((stage.at, step));
        }
        steps.extend(stage.steps.iter().map(|step| (step.at, step.clone())));
        if index == self.last && !target.labels.is_empty() {
            let label = pairs_step(stage.at, "LABEL", &target.labels, Op::Label);
            steps.push((stage.at, label));
        }
        let own = steps.len() - triggers.len();
        Ok((steps, own))
    }

    fn after<I: Images>(
        &mut self,
        index: usize,
        needs: &mut BTreeSet<usize>,
        planner: &mut Planner<'_, I>,
    ) -> Result<(), PlanError> {
        let stage = &self.target.file.containerfile.stages[index];
        for word in &stage.after {
            let name =
                global_word(&self.globals, word).map_err(|fault| self.stage_fault(stage, fault))?;
            let Some(earlier) = self.find_earlier(&name, index) else {
                let fault = StepFault::NoSuchSource {
                    word: "FROM --after",
                    name,
                    source: None,
                };
                return Err(self.stage_fault(stage, fault));
            };
            needs.insert(self.stage(earlier, planner)?);
        }
        Ok(())
    }

    /// Returns the words behind FROM, or the image that the user puts in their place.
    pub(crate) fn base_name(&self, index: usize) -> Result<String, StepFault> {
        match &self.target.base {
            Some(name) if index == 0 => Ok(name.clone()),
            _ => {
                let stages = &self.target.file.containerfile.stages;
                global_word(&self.globals, &stages[index].base)
            }
        }
    }

    pub(crate) fn platform(&self, stage: &Stage) -> Result<Platform, PlanError> {
        let Some(word) = &stage.platform else {
            return Ok(self.target.platform.clone());
        };
        let text =
            global_word(&self.globals, word).map_err(|fault| self.stage_fault(stage, fault))?;
        if text.is_empty() {
            return Ok(self.target.platform.clone());
        }
        Platform::parse(&text)
            .map_err(|source| self.stage_fault(stage, StepFault::Platform { text, source }))
    }

    /// Returns FROM with its words expanded, as a build shows it.
    fn shown_from(&self, index: usize) -> String {
        let stage = &self.target.file.containerfile.stages[index];
        let flags = [("platform", stage.platform.iter().collect::<Vec<_>>())];
        let flags = flags
            .into_iter()
            .chain([("after", stage.after.iter().collect())]);
        let mut text = "FROM".to_owned();
        for (flag, words) in flags {
            for word in words {
                let value = global_word(&self.globals, word).unwrap_or_default();
                text.push_str(&format!(" --{flag}={value}"));
            }
        }
        text.push(' ');
        text.push_str(&self.base_name(index).unwrap_or_default());
        if let Some(name) = &stage.name {
            text.push_str(" AS ");
            text.push_str(name);
        }
        text
    }

    /// Finds out what a stage stands on.
    fn base<I: Images>(
        &mut self,
        index: usize,
        platform: &Platform,
        planner: &mut Planner<'_, I>,
    ) -> Result<Base, PlanError> {
        let target = self.target;
        let stage = &target.file.containerfile.stages[index];
        let name = self
            .base_name(index)
            .map_err(|fault| self.stage_fault(stage, fault))?;
        if name.is_empty() {
            return Err(self.stage_fault(stage, StepFault::BadBase { name }));
        }
        let shown_stage = stage.name.clone().unwrap_or_else(|| index.to_string());
        let args = platform_args(&target.build_platform, platform, &shown_stage);
        match target.contexts.get(&name) {
            Some(NamedContext::Directory(directory)) => {
                let files = Input::Directory(planner.directory(directory));
                return Ok(self.empty_base(args, Some(files)));
            }
            Some(NamedContext::Image(image)) => {
                return self.image_base(stage, &image.clone(), platform, args, planner);
            }
            None => {}
        }
        if name == "scratch" {
            return Ok(self.empty_base(args, None));
        }
        if let Some(earlier) = self.find_earlier(&name, index)
            && !(target.base.is_some() && index == 0)
        {
            let node = self.stage(earlier, planner)?;
            return Ok(self.stage_base(earlier, node, args, planner));
        }
        self.image_base(stage, &name, platform, args, planner)
    }

    fn empty_base(&self, args: PlatformArgs, files: Option<Input>) -> Base {
        let config = ContainerConfig {
            working_dir: "/".to_owned(),
            ..ContainerConfig::default()
        };
        Base {
            bound: BoundBase::Scratch,
            files,
            scope: Scope::stage(&self.globals, args, &config.env),
            config,
            author: None,
            ancestor: Ancestor::default(),
            comment: String::new(),
            node: None,
        }
    }

    fn stage_base<I: Images>(
        &self,
        index: usize,
        node: usize,
        args: PlatformArgs,
        planner: &Planner<'_, I>,
    ) -> Base {
        let below = &planner.graph.nodes[node];
        let mut config = below.stage.config.clone();
        if self.target.image.format == ManifestFormat::Oci {
            // What the format does not hold is gone when the stage is committed.
            config.on_build.clear();
            config.shell.clear();
            config.healthcheck = None;
        }
        self.drop_labels(&mut config);
        let scope = match &self.done[index] {
            Some(planned) => planned.scope.child(args),
            None => Scope::stage(&self.globals, args, &config.env),
        };
        Base {
            bound: BoundBase::From(Input::Stage(node)),
            files: None,
            scope,
            config,
            author: below.stage.author.clone(),
            ancestor: below.ancestor.clone(),
            comment: String::new(),
            node: Some(node),
        }
    }

    fn image_base<I: Images>(
        &self,
        stage: &Stage,
        name: &str,
        platform: &Platform,
        args: PlatformArgs,
        planner: &mut Planner<'_, I>,
    ) -> Result<Base, PlanError> {
        let asked = AskedBy {
            at: self.location(stage.at),
            step: from_text(stage),
            word: None,
            name: name.to_owned(),
        };
        let index = planner.image(name, platform, asked)?;
        let image = &planner.graph.images[index].image;
        let mut config = image.config.config.clone();
        self.drop_labels(&mut config);
        let author = Some(image.config.author.clone()).filter(|author| !author.is_empty());
        Ok(Base {
            bound: BoundBase::From(Input::Image(index)),
            files: None,
            scope: Scope::stage(&self.globals, args, &config.env),
            config,
            author,
            ancestor: Ancestor {
                name: image.name.clone(),
                digest: image
                    .digest
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
                annotations: image.annotations.clone(),
            },
            comment: format!("FROM {}", image.name),
            node: None,
        })
    }

    fn drop_labels(&self, config: &mut ContainerConfig) {
        if self.target.image.inherit_labels == Inherit::No {
            config.labels.clear();
        }
    }

    /// Returns the last stage before `index` of that name.
    pub(crate) fn find_earlier(&self, name: &str, index: usize) -> Option<usize> {
        let stages = &self.target.file.containerfile.stages[..index];
        find_name(stages, name, |stages, test| stages.iter().rposition(test))
    }

    /// Returns the stage that `name` means in stage `index` behind `--from`.
    pub(crate) fn find_any(&self, name: &str, index: usize) -> Option<usize> {
        let all = &self.target.file.containerfile.stages;
        let later = || {
            let rest = &all[index + 1..];
            find_name(rest, name, |stages, test| stages.iter().position(test))
                .map(|at| at + index + 1)
        };
        let number = || name.parse().ok().filter(|&at: &usize| at < all.len());
        self.find_earlier(name, index)
            .or_else(later)
            .or_else(number)
    }

    fn stage_fault(&self, stage: &Stage, fault: StepFault) -> PlanError {
        self.fault(stage.at, from_text(stage), fault)
    }

    fn location(&self, at: Span) -> Box<Location> {
        Box::new(Location::of(&self.target.file.sources, at))
    }

    fn fault(&self, at: Span, step: String, source: StepFault) -> PlanError {
        PlanError::Step {
            at: self.location(at),
            step,
            source,
        }
    }
}

/// FROM as it is written, for errors.
fn from_text(stage: &Stage) -> String {
    let rest = stage.original.trim().get(4..).unwrap_or("").trim();
    format!("FROM {rest}")
}

type PlatformArgs = std::collections::BTreeMap<&'static str, String>;

/// Answers for one stage what its names stand for.
struct StageNames<'a, 't, 'p, 'i, I> {
    plan: &'a mut FilePlan<'t>,
    planner: &'p mut Planner<'i, I>,
    stage: usize,
    /// The step that names are looked up for, and where errors of it point.
    step: (&'a Step, Span),
    platform: &'a Platform,
    needs: &'a mut BTreeSet<usize>,
}

impl<I: Images> Names for StageNames<'_, '_, '_, '_, I> {
    fn source(&mut self, word: &'static str, name: &str) -> Result<Input, NameError> {
        let image = match self.plan.target.contexts.get(name) {
            Some(NamedContext::Directory(directory)) => {
                return Ok(Input::Directory(self.planner.directory(directory)));
            }
            Some(NamedContext::Image(image)) => image.clone(),
            None => {
                if let Some(stage) = self.plan.find_any(name, self.stage) {
                    let node = self.plan.stage(stage, self.planner);
                    let node = node.map_err(NameError::There)?;
                    self.needs.insert(node);
                    return Ok(Input::Stage(node));
                }
                name.to_owned()
            }
        };
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NameError::Here(StepFault::NoSuchSource {
                word,
                name: name.to_owned(),
                source: None,
            }));
        }
        let (step, at) = self.step;
        let asked = AskedBy {
            at: self.plan.location(at),
            step: step.error_text(),
            word: Some(word),
            name: name.to_owned(),
        };
        let found = self.planner.image(&image, self.platform, asked);
        Ok(Input::Image(found.map_err(NameError::There)?))
    }

    fn context(&mut self) -> Input {
        Input::Directory(self.planner.directory(&self.plan.target.context))
    }
}

/// Returns the stages that a node's steps write into. What they write is dropped, so those
/// stages need layers that a throw-away one can lie on.
fn written_stages(node: &Node) -> Vec<usize> {
    let mut stages = Vec::new();
    for step in &node.stage.steps {
        let BoundOp::Run(run) = &step.op else {
            continue;
        };
        for mount in run.mounts.iter().filter(|mount| writes_into_layers(mount)) {
            if let Some(Input::Stage(stage)) = mount.from {
                stages.push(stage);
            }
        }
    }
    stages
}

/// Finds a name as written, then without regard to case.
fn find_name(
    stages: &[Stage],
    name: &str,
    find: impl Fn(&[Stage], &dyn Fn(&Stage) -> bool) -> Option<usize>,
) -> Option<usize> {
    find(stages, &|stage| stage.name.as_deref() == Some(name)).or_else(|| {
        find(stages, &|stage| {
            stage
                .name
                .as_ref()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        })
    })
}

fn find_target(stages: &[Stage], name: &str) -> Option<usize> {
    let named = find_name(stages, name, |stages, test| stages.iter().rposition(test));
    named.or_else(|| name.parse().ok().filter(|&at: &usize| at < stages.len()))
}

fn global_word(globals: &Scope, word: &Template) -> Result<String, StepFault> {
    word.expand(&|name| globals.global_value(name).map(str::to_owned))
        .map_err(|source| expand_fault(word, source))
}

/// The step that flags stand for: `ENV "NAME"="value" …`.
fn pairs_step(
    at: Span,
    keyword: &str,
    pairs: &[(String, String)],
    op: impl Fn(Vec<Pair>) -> Op,
) -> Step {
    let words: Vec<String> = pairs.iter().map(|(k, v)| format!("{k:?}={v:?}")).collect();
    let literal = |(key, value): &(String, String)| Pair {
        key: Template::literal(key, at),
        value: Template::literal(value, at),
    };
    Step {
        at,
        original: format!("{keyword} {}", words.join(" ")),
        heredocs: Vec::new(),
        op: op(pairs.iter().map(literal).collect()),
    }
}

/// The step that puts a directory into an empty root, for a FROM that names one.
fn copy_all(stage: &Stage, files: Input) -> BoundStep {
    let text = stage.original.trim().to_owned();
    BoundStep {
        at: stage.at,
        shown: text.clone(),
        error_text: text,
        op: BoundOp::Copy(Box::new(BoundCopy {
            word: CopyWord::Copy,
            from: files,
            sources: vec![CopySource::Path("/".to_owned())],
            destination: "/".to_owned(),
            workdir: "/".to_owned(),
            chown: None,
            chmod: None,
            link: Link::Below,
            parents: Parents::Dropped,
            excludes: Vec::new(),
        })),
        history: HistoryText::Copied {
            before: "/bin/sh -c #(nop) COPY ".to_owned(),
            after: " in / ".to_owned(),
        },
        author: None,
    }
}

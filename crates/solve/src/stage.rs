//! The life of a stage's steps: key, look up, perform, record.
//!
//! ```text
//!             ┌ Config ── nothing to do
//! BoundStep ──┼ Dirs ──── kept until something needs them ─┐
//!             └ Run, Copy ── content ── key ── look up ────┤
//!                                         hit: adopt       ▼
//!                                         miss: perform ── record
//! ```
//! [`run_stage`] is the only order of these; it touches nothing itself. All that reads or
//! changes the machine is behind [`Work`], so the rules of hits and misses are tested without
//! a store.

use crate::bound::{BoundCopy, BoundDirs, BoundOp, BoundRun, BoundStage, Link};
use crate::error::StepError;
use crate::key::{KeyContext, Keyed, StepKey, copy_key, dirs_key, run_key};
use crate::key::{KeyWriter, Part};
use model::{MissReason, Timestamp};

/// What a step's inputs hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// For a copy one digest, named by the sources; for a RUN one for each mount.
    pub digests: Vec<(String, String)>,
    /// What stands for a copy in the history, such as `file:HEX`.
    pub word: String,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was performed.
    pub created: Timestamp,
    /// Whether it has a layer.
    pub layer: HasLayer,
}

/// Whether a step has a layer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasLayer {
    /// It has.
    Yes,
    /// It changed no file, or shares one layer with the whole stage.
    No,
}

/// The answer to a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there, and has been taken on.
    Hit(Change),
    /// It must be performed; the reason, when there is a cache at all.
    Miss(Option<MissReason>),
}

/// How a step relates to what lies below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Its key covers what lies below.
    OnParent,
    /// It is the same whatever lies below.
    Alone,
}

impl Stands {
    fn of(op: &BoundOp) -> Self {
        match op {
            BoundOp::Copy(copy) if copy.link == Link::Own => Self::Alone,
            _ => Self::OnParent,
        }
    }
}

/// What repositories of a registry have to do with a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shared {
    /// Nothing.
    #[default]
    No,
    /// It was brought from this place.
    Pulled(String),
    /// It is put there under this key.
    Pushed(StepKey),
}

/// The part of the machine that a stage uses.
pub trait Work {
    /// Reads what a RUN's mounts show.
    ///
    /// # Errors
    /// When a source is missing or cannot be read.
    fn run_content(&mut self, run: &BoundRun) -> Result<Content, StepError>;

    /// Reads what a copy would bring.
    ///
    /// # Errors
    /// When a source is missing or cannot be read.
    fn copy_content(&mut self, copy: &BoundCopy) -> Result<Content, StepError>;

    /// Looks a step up, and takes its layer on when it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn look_up(&mut self, keyed: &Keyed, stands: Stands) -> Result<Found, StepError>;

    /// Makes directories that are missing, in the layer of the next step that is performed.
    ///
    /// # Errors
    /// When the root cannot be made or changed.
    fn make_dirs(&mut self, dirs: &BoundDirs) -> Result<(), StepError>;

    /// Performs a step.
    ///
    /// # Errors
    /// Whatever made it fail; nothing of the step is left then.
    fn perform(&mut self, op: &BoundOp) -> Result<Change, StepError>;

    /// Ends a layer of made directories, if there are any.
    ///
    /// # Errors
    /// When the root cannot be changed.
    fn end_dirs(&mut self) -> Result<Change, StepError>;

    /// Keeps what a step came to under its key.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn record(&mut self, keyed: &Keyed, change: &Change) -> Result<(), StepError>;

    /// Returns the present time, for steps that only change the configuration.
    fn now(&mut self) -> Timestamp;

    /// Says whether a step that only changes the configuration was there the last time.
    /// `shown` stands for the stage up to and with it.
    fn was_there(&mut self, shown: StepKey) -> bool;

    /// Says what other machines have to do with the step that was just found or recorded.
    fn shared(&mut self, keyed: &Keyed) -> Shared {
        let _ = keyed;
        Shared::No
    }
}

/// What is told while a stage runs; steps count from 0 here.
pub trait Telling {
    /// A step begins.
    fn started(&self, index: usize);
    /// A step was found.
    fn cached(&self, index: usize, key: StepKey);
    /// A step must be performed.
    fn missed(&self, index: usize, why: MissReason);
    /// A step has ended; `key` stands for the stage up to it.
    fn done(&self, index: usize, key: StepKey);
    /// A step was brought from this place.
    fn pulled(&self, index: usize, place: &str);
    /// A step is put into repositories under this key.
    fn pushing(&self, index: usize, key: StepKey);
}

/// What one step of a stage came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// When.
    pub created: Timestamp,
    /// Whether a layer belongs to it.
    pub layer: HasLayer,
    /// What stands for its sources in the history.
    pub word: String,
}

/// A step that failed, by its position.
#[derive(Debug)]
pub struct FailedStep {
    /// Position from 0.
    pub index: usize,
    /// Why.
    pub error: StepError,
    /// What the steps before it came to.
    pub done: Vec<StepResult>,
}

/// Brings all steps of a stage to their results, on a tree of which `base` is the key.
///
/// # Errors
/// The first step that failed.
pub fn run_stage(
    stage: &BoundStage,
    base: StepKey,
    context: &KeyContext,
    work: &mut dyn Work,
    tell: &dyn Telling,
) -> Result<Vec<StepResult>, FailedStep> {
    let mut life = Life {
        tree: base,
        shown: base,
        context,
        work,
        tell,
        pending: Vec::new(),
        results: Vec::new(),
        hit: false,
        shared: Shared::No,
    };
    for (index, step) in stage.steps.iter().enumerate() {
        if let Err(error) = life.step(index, &step.op, &step.shown) {
            return Err(life.failed(index, error));
        }
    }
    match life.flush() {
        Ok(()) => Ok(life.results),
        Err(error) => Err(life.failed(stage.steps.len().saturating_sub(1), error)),
    }
}

struct Life<'a> {
    /// Key of the files until now.
    tree: StepKey,
    /// Key of everything until now, shown to the user.
    shown: StepKey,
    context: &'a KeyContext,
    work: &'a mut dyn Work,
    tell: &'a dyn Telling,
    /// Directories that no layer holds yet, with their step.
    pending: Vec<(usize, BoundDirs)>,
    results: Vec<StepResult>,
    /// The step was found; told under the key of the stage up to it.
    hit: bool,
    /// What other machines have to do with the step.
    shared: Shared,
}

impl Life<'_> {
    fn failed(self, index: usize, error: StepError) -> FailedStep {
        FailedStep {
            index,
            error,
            done: self.results,
        }
    }

    fn step(&mut self, index: usize, op: &BoundOp, text: &str) -> Result<(), StepError> {
        self.tell.started(index);
        let (change, word) = match op {
            BoundOp::Config => (self.unchanged(), String::new()),
            BoundOp::Dirs(dirs) => {
                self.tree = dirs_key(dirs, &self.tree, self.context).key;
                self.pending.push((index, dirs.clone()));
                (self.unchanged(), String::new())
            }
            BoundOp::Run(run) => {
                let content = self.work.run_content(run)?;
                let digests: Vec<String> = content
                    .digests
                    .into_iter()
                    .map(|(_, digest)| digest)
                    .collect();
                let keyed = run_key(run, &self.tree, &digests, self.context);
                (self.look_up_or_perform(index, op, &keyed)?, content.word)
            }
            BoundOp::Copy(copy) => {
                if copy.link == Link::Own {
                    self.flush()?;
                }
                let content = self.work.copy_content(copy)?;
                let keyed = copy_key(copy, &self.tree, &content.digests, self.context);
                (self.look_up_or_perform(index, op, &keyed)?, content.word)
            }
        };
        self.shown = KeyWriter::new("shown/1")
            .put(Part::Parent, [self.shown.as_bytes(), self.tree.as_bytes()])
            .put(Part::Words, [text])
            .finish()
            .key;
        let touches_files = matches!(op, BoundOp::Run(_) | BoundOp::Copy(_));
        let there = self.work.was_there(self.shown);
        let shared = std::mem::take(&mut self.shared);
        if let Shared::Pulled(place) = &shared {
            self.tell.pulled(index, place);
        }
        if std::mem::take(&mut self.hit) || (there && !touches_files) {
            self.tell.cached(index, self.shown);
        }
        if let Shared::Pushed(key) = shared {
            self.tell.pushing(index, key);
        }
        self.tell.done(index, self.shown);
        self.results.push(StepResult {
            created: change.created,
            layer: change.layer,
            word,
        });
        Ok(())
    }

    fn unchanged(&mut self) -> Change {
        Change {
            created: self.work.now(),
            layer: HasLayer::No,
        }
    }

    fn look_up_or_perform(
        &mut self,
        index: usize,
        op: &BoundOp,
        keyed: &Keyed,
    ) -> Result<Change, StepError> {
        let stands = Stands::of(op);
        let change = match self.work.look_up(keyed, stands)? {
            Found::Hit(change) => {
                self.hit = true;
                change
            }
            Found::Miss(why) => {
                if let Some(why) = why {
                    self.tell.missed(index, why);
                }
                if stands == Stands::OnParent {
                    for (_, dirs) in &self.pending {
                        self.work.make_dirs(dirs)?;
                    }
                }
                let change = self.work.perform(op)?;
                self.work.record(keyed, &change)?;
                change
            }
        };
        self.shared = self.work.shared(keyed);
        // What lies below a linked copy is part of the tree all the same.
        self.tree = match stands {
            Stands::OnParent => keyed.key,
            Stands::Alone => {
                KeyWriter::new("above/1")
                    .put(Part::Parent, [self.tree.as_bytes(), keyed.key.as_bytes()])
                    .finish()
                    .key
            }
        };
        if stands == Stands::OnParent {
            self.pending.clear();
        }
        Ok(change)
    }

    /// Brings directories that no later step took along into a layer of their own.
    fn flush(&mut self) -> Result<(), StepError> {
        let Some((index, _)) = self.pending.last() else {
            return Ok(());
        };
        let index = *index;
        let keyed = KeyWriter::new("made/1")
            .put(Part::Parent, [self.tree.as_bytes()])
            .finish();
        let change = match self.work.look_up(&keyed, Stands::OnParent)? {
            Found::Hit(change) => change,
            Found::Miss(_) => {
                for (_, dirs) in &self.pending {
                    self.work.make_dirs(dirs)?;
                }
                let change = self.work.end_dirs()?;
                self.work.record(&keyed, &change)?;
                change
            }
        };
        // The line of its step is printed already.
        let _ = self.work.shared(&keyed);
        self.pending.clear();
        if change.layer == HasLayer::Yes {
            self.results[index] = StepResult {
                created: change.created,
                layer: HasLayer::Yes,
                word: String::new(),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;

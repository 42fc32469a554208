//! Looking ahead: what a stage's steps will be called, before any of them is performed.
//!
//! A key depends on the keys below it and on what the step reads, never on what it comes to. So the rules of [`run_stage`]
//! are gone through once with somebody who finds everything and performs nothing; what was read meanwhile is kept for
//! the real run. With the keys in hand one question brings what other machines have of the stage.

use crate::bound::{BoundCopy, BoundDirs, BoundOp, BoundRun, BoundStage};
use crate::error::StepError;
use crate::key::{KeyContext, Keyed, StepKey};
use crate::remote::{Listing, Question};
use crate::request::LookUp;
use crate::stage::{Change, Content, Found, HasLayer, Stands, Telling, Work, run_stage};
use crate::work::{Kept, StageWork};
use model::{LayerId, MissReason, Timestamp};
use std::collections::VecDeque;

/// Enters into the index what other machines have of the steps that are not known here.
pub(crate) fn bring(
    work: &mut StageWork<'_>,
    stage: &BoundStage,
    base: (Option<&LayerId>, StepKey),
    context: &KeyContext,
) -> Result<(), StepError> {
    let engine = work.engine;
    let Some(LookUp::Use { max_age }) = engine.look_up() else {
        return Ok(());
    };
    if engine.sources.is_empty() {
        return Ok(());
    }
    let (layer, key) = base;
    let mut ahead = Ahead {
        work,
        wanted: Vec::new(),
        kept: VecDeque::new(),
    };
    // A source that is missing is told of when its step is reached; what comes before it counts.
    let _ = run_stage(stage, key, context, &mut ahead, &Untold);
    let Ahead { wanted, kept, .. } = ahead;
    work.keep_contents(kept);
    let known = work.count_known(&wanted)?;
    if known == wanted.len() {
        return Ok(());
    }
    work.asked_elsewhere();
    let keys: Vec<StepKey> = wanted.iter().map(|(key, _)| *key).collect();
    let question = Question {
        base: layer,
        keys: &keys,
        known,
        oldest: max_age.and_then(|age| {
            let oldest = engine.system_now().checked_sub(age)?;
            Timestamp::from_system_time(oldest).ok()
        }),
    };
    let images = engine.store.images()?;
    let arrived = |listing: &Listing| {
        let layers = engine.store.layers();
        let mut entries = listing.entries().into_iter();
        layers.is_ok_and(|layers| {
            entries.all(|entry| entry.layer.is_none_or(|layer| layers.get(&layer).is_some()))
        })
    };
    let Some(brought) = engine.sources.bring(&question, &arrived) else {
        return Ok(());
    };
    if images.get(&brought.image).is_none() {
        engine.add_temporary(brought.image.clone());
    }
    // Those that are known here as well: the others stand on the layers of that machine.
    for (at, entry) in brought.listing.entries().iter().enumerate() {
        engine.cache.put(&keys[at], entry)?;
        if at >= known {
            engine.sources.mark(keys[at], &brought.repository);
        }
    }
    Ok(())
}

/// Finds everything and performs nothing.
struct Ahead<'w, 'e> {
    work: &'w mut StageWork<'e>,
    wanted: Vec<(StepKey, Stands)>,
    kept: VecDeque<Kept>,
}

impl Ahead<'_, '_> {
    fn unchanged(&self) -> Change {
        Change {
            created: Timestamp::UNIX_EPOCH,
            layer: HasLayer::No,
        }
    }
}

impl Work for Ahead<'_, '_> {
    fn run_content(&mut self, run: &BoundRun) -> Result<Content, StepError> {
        let content = self.work.run_content(run)?;
        self.kept.push_back(self.work.kept(content.clone()));
        Ok(content)
    }

    fn copy_content(&mut self, copy: &BoundCopy) -> Result<Content, StepError> {
        let content = self.work.copy_content(copy)?;
        self.kept.push_back(self.work.kept(content.clone()));
        Ok(content)
    }

    fn look_up(&mut self, keyed: &Keyed, stands: Stands) -> Result<Found, StepError> {
        self.wanted.push((keyed.key, stands));
        Ok(Found::Hit(self.unchanged()))
    }

    fn make_dirs(&mut self, _: &BoundDirs) -> Result<(), StepError> {
        Ok(())
    }

    fn perform(&mut self, _: &BoundOp) -> Result<Change, StepError> {
        Ok(self.unchanged())
    }

    fn end_dirs(&mut self) -> Result<Change, StepError> {
        Ok(self.unchanged())
    }

    fn record(&mut self, _: &Keyed, _: &Change) -> Result<(), StepError> {
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn was_there(&mut self, _: StepKey) -> bool {
        false
    }
}

/// Hears nothing: nothing happens yet.
struct Untold;

impl Telling for Untold {
    fn started(&self, _: usize) {}
    fn cached(&self, _: usize, _: StepKey) {}
    fn missed(&self, _: usize, _: MissReason) {}
    fn done(&self, _: usize, _: StepKey) {}
    fn pulled(&self, _: usize, _: &str) {}
    fn pushing(&self, _: usize, _: StepKey) {}
}

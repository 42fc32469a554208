//! Turns what happens to a node into events.

use crate::commit::Committed;
use crate::graph::Node;
use crate::key::StepKey;
use crate::result::LastStep;
use crate::stage::{Shared, Telling};
use model::event::StepPosition;
use model::{Event, ImageId, MissReason, Reporter};
use std::cell::Cell;
use std::time::Instant;

/// Digits of an identifier that lines of a build show.
const SHORT: usize = 12;

/// Tells of one node.
pub(crate) struct Teller<'a> {
    reporter: &'a dyn Reporter,
    node: &'a Node,
    show_keys: ShowKeys,
    /// Where results are put for other machines.
    repositories: Vec<String>,
    begun: Cell<Instant>,
    last: Cell<LastStep>,
}

/// Whether each step has an identifier of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShowKeys {
    /// It has: layers are made for each.
    Yes,
    /// Only the stage has.
    No,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(reporter: &'a dyn Reporter, node: &'a Node, show_keys: ShowKeys) -> Self {
        Self {
            reporter,
            node,
            show_keys,
            repositories: Vec::new(),
            begun: Cell::new(Instant::now()),
            last: Cell::default(),
        }
    }

    /// Names the repositories that results are put into.
    pub(crate) fn pushing_to(mut self, repositories: Vec<String>) -> Self {
        self.repositories = repositories;
        self
    }

    /// Returns the place of step `index`, counted from 0 without FROM.
    pub(crate) fn position(&self, index: usize) -> StepPosition {
        let steps = &self.node.stage.steps;
        let line = steps.get(index).map_or(self.node.origin.from, |s| s.at);
        StepPosition {
            step: index + 2,
            steps: steps.len() + 1,
            line: line.start.line as usize,
            ..self.start_position()
        }
    }

    fn start_position(&self) -> StepPosition {
        let origin = &self.node.origin;
        StepPosition {
            target: origin.target.clone(),
            stage: origin.index,
            stages: origin.stages,
            stage_name: origin.name.clone(),
            step: 1,
            // Triggers are not counted before they are known.
            steps: origin.own_steps + 1,
            line: origin.from.start.line as usize,
        }
    }

    /// Tells of the FROM; `base` is the image that a stage below came to.
    pub(crate) fn from(&self, base: Option<&ImageId>) {
        let text = match base {
            Some(id) => {
                let mut text = format!("FROM {id}");
                if let Some(name) = &self.node.origin.name {
                    text.push_str(" AS ");
                    text.push_str(name);
                }
                text
            }
            None => self.node.origin.from_text.clone(),
        };
        self.reporter.event(Event::StepStarted {
            at: self.start_position(),
            text,
        });
    }

    /// Tells how the last step was found, if it was, under the identifier of the stage's image.
    pub(crate) fn found(&self, last: LastStep, image: &Committed) {
        let at = self.last_position();
        if let Shared::Pulled(place) = &image.shared
            && !last.found
        {
            self.pulled_event(at.clone(), place);
        } else if !last.found {
            return;
        }
        self.reporter.event(Event::StepCached {
            at,
            id: image.id.to_string(),
        });
    }

    /// Tells that other machines are to find the last step, or else the image.
    pub(crate) fn pushing_last(&self, last: LastStep, image: &Committed) {
        let key = match (last.pushed, &image.shared) {
            (Some(key), _) => key,
            (None, Shared::Pushed(key)) => *key,
            (None, Shared::No | Shared::Pulled(_)) => return,
        };
        self.pushing_event(self.last_position(), key);
    }

    /// Returns what is to be told of the last step.
    pub(crate) fn last(&self) -> LastStep {
        self.last.get()
    }

    /// Tells that the whole stage is about to become an image of this name.
    pub(crate) fn committing(&self, name: Option<String>) {
        let at = self.last_position();
        self.reporter.event(Event::Committing { at, name });
    }

    /// Tells that the whole stage is an image now: the identifier of its last step.
    pub(crate) fn committed(&self, image: &ImageId) {
        self.done_event(self.last_position(), Some(short(image.as_str())));
    }

    fn last_position(&self) -> StepPosition {
        match self.node.stage.steps.len().checked_sub(1) {
            Some(last) => self.position(last),
            None => self.start_position(),
        }
    }

    fn is_last(&self, index: usize) -> bool {
        index + 1 == self.node.stage.steps.len()
    }

    fn pulled_event(&self, at: StepPosition, place: &str) {
        self.reporter.event(Event::CachePulled {
            at,
            place: place.to_owned(),
        });
    }

    fn pushing_event(&self, at: StepPosition, key: StepKey) {
        self.reporter.event(Event::CachePushing {
            at,
            repositories: self.repositories.clone(),
            key: key.to_string(),
        });
    }

    fn done_event(&self, at: StepPosition, id: Option<String>) {
        let millis = self.begun.get().elapsed().as_millis();
        self.reporter.event(Event::StepDone {
            at,
            id,
            millis: u64::try_from(millis).unwrap_or(u64::MAX),
        });
    }
}

impl Telling for Teller<'_> {
    fn started(&self, index: usize) {
        self.begun.set(Instant::now());
        let text = self
            .node
            .stage
            .steps
            .get(index)
            .map_or_else(String::new, |step| step.shown.clone());
        self.reporter.event(Event::StepStarted {
            at: self.position(index),
            text,
        });
    }

    fn cached(&self, index: usize, key: StepKey) {
        if self.is_last(index) {
            // The last step is the stage's image, whose identifier is not known yet.
            self.last.set(LastStep {
                found: true,
                ..self.last.get()
            });
            return;
        }
        self.reporter.event(Event::StepCached {
            at: self.position(index),
            id: key.to_string(),
        });
    }

    fn missed(&self, index: usize, why: MissReason) {
        self.reporter.event(Event::StepMissed {
            at: self.position(index),
            why,
        });
    }

    fn done(&self, index: usize, key: StepKey) {
        if self.is_last(index) && self.show_keys == ShowKeys::Yes {
            return;
        }
        let id = (self.show_keys == ShowKeys::Yes).then(|| short(&key.to_string()));
        self.done_event(self.position(index), id);
    }

    fn pulled(&self, index: usize, place: &str) {
        self.pulled_event(self.position(index), place);
    }

    fn pushing(&self, index: usize, key: StepKey) {
        if self.is_last(index) {
            self.last.set(LastStep {
                pushed: Some(key),
                ..self.last.get()
            });
            return;
        }
        self.pushing_event(self.position(index), key);
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

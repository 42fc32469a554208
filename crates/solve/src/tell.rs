//! Turns what happens to a node into events.

use crate::graph::Node;
use crate::key::StepKey;
use crate::stage::Telling;
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
    begun: Cell<Instant>,
    last_found: Cell<bool>,
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
            begun: Cell::new(Instant::now()),
            last_found: Cell::new(false),
        }
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

    /// Tells that the last step was found, under the identifier of the stage's image.
    pub(crate) fn found(&self, image: &ImageId) {
        self.reporter.event(Event::StepCached {
            at: self.last_position(),
            id: image.to_string(),
        });
    }

    /// Says whether the last step was found.
    pub(crate) fn last_was_found(&self) -> bool {
        self.last_found.get()
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
            self.last_found.set(true);
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
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

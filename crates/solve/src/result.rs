//! What a node of the graph came to, as the nodes that need it see it.

use crate::key::StepKey;
use crate::stage::StepResult;
use model::{History, ImageId, LayerId};
use std::sync::{Arc, Mutex};
use store::Stack;
use sys::Root;

/// What a node came to.
pub(crate) struct NodeResult {
    /// Its top layer, if it has layers in the store.
    pub(crate) layer: Option<LayerId>,
    /// Its root, if it has not.
    pub(crate) live: Option<Live>,
    /// The image that holds its layers.
    pub(crate) image: Option<ImageId>,
    /// Its whole history.
    pub(crate) history: Vec<History>,
    /// How many entries are its own.
    pub(crate) own: usize,
    /// Any of its steps had to be performed.
    pub(crate) performed: bool,
    /// What is told of its last step.
    pub(crate) last: LastStep,
}

/// The root of a stage that has no layer; it lives as long as this.
pub(crate) struct Live {
    pub(crate) root: Arc<Root>,
    pub(crate) _stack: Mutex<Stack>,
}

/// What the steps of a node came to.
pub(crate) struct StepOutcome {
    pub(crate) steps: Vec<StepResult>,
}

/// What is told of the last step when the stage is an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastStep {
    /// It was found.
    pub(crate) found: bool,
    /// It is put into repositories under this key.
    pub(crate) pushed: Option<StepKey>,
}

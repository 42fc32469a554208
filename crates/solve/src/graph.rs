//! The graph of all targets: the stages that are needed, what each of them takes, and the images and directories that they
//! take it from.
//!
//! Only values: `plan` makes them, and everything later reads them.

use crate::bound::{BoundBase, BoundStage, Input};
use crate::error::{Location, PlanError, StepFault};
use crate::target::{Ancestor, BaseImage, Directory};
use containerfile::{Parsed, Span};
use std::sync::Arc;

/// A stage to be built.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub stage: BoundStage,
    /// The nodes that it takes something from, or that must come first.
    pub needs: Vec<usize>,
    /// Whether other stages or a target go on from it, so that its layers must be in the store.
    pub used_as: UsedAs,
    /// Where the stage is written.
    pub origin: Origin,
    /// Where the chain of bases begins.
    pub ancestor: Ancestor,
    /// `comment` of the first own history entry.
    pub comment: String,
}

/// What others need of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsedAs {
    /// Files are read from it.
    Files,
    /// A stage or an image stands on it.
    Base,
}

/// Where a node is written.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The target that brought it first, when there are several.
    pub target: Option<String>,
    /// Its number in the list of targets.
    pub target_index: usize,
    /// The file.
    pub file: Arc<Parsed>,
    /// The FROM.
    pub from: Span,
    /// FROM as it is written.
    pub from_text: String,
    /// Position of the stage in its file, from 0.
    pub index: usize,
    /// Number of stages up to the target.
    pub stages: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How many of its steps are written in the stage itself, not in triggers of its base.
    pub own_steps: usize,
}

/// What a target comes to.
#[derive(Clone, Debug)]
pub struct Output {
    /// The node whose result it is.
    pub node: usize,
    /// The arguments that were given but not declared.
    pub not_consumed: Vec<String>,
}

/// An image that bases and sources are.
#[derive(Clone, Debug)]
pub struct SourceImage {
    /// The image.
    pub image: BaseImage,
    /// What asked for it first.
    pub asked: AskedBy,
}

/// An instruction that asks for an image.
#[derive(Clone, Debug)]
pub struct AskedBy {
    /// Where it stands.
    pub at: Box<Location>,
    /// The instruction.
    pub step: String,
    /// The flag that names the image; none for a FROM.
    pub word: Option<&'static str>,
    /// The name that it uses.
    pub name: String,
}

impl AskedBy {
    /// Returns the error of the instruction when the image is not to be had.
    pub(crate) fn failed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> PlanError {
        let name = self.name.clone();
        PlanError::Step {
            at: self.at.clone(),
            step: self.step.clone(),
            source: match self.word {
                Some(word) => StepFault::NoSuchSource {
                    word,
                    name,
                    source: Some(source),
                },
                None => StepFault::Base { name, source },
            },
        }
    }
}

/// All that is to be built.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The stages; what a node needs stands before it.
    pub nodes: Vec<Node>,
    /// The images that bases and sources are.
    pub images: Vec<SourceImage>,
    /// The directories that sources are.
    pub directories: Vec<Directory>,
    /// One for each target.
    pub outputs: Vec<Output>,
    /// One line each.
    pub warnings: Vec<String>,
}

impl Graph {
    /// Says whether a node is asked for and no other node stands on it.
    pub(crate) fn is_only_output(&self, index: usize) -> bool {
        let base = BoundBase::From(Input::Stage(index));
        self.outputs.iter().any(|output| output.node == index)
            && !self.nodes.iter().any(|node| node.stage.base == base)
    }
}

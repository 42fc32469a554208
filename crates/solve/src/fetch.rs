//! Images that are not in the store yet: each is a node of the graph behind the stages.
//!
//! ```text
//! base of a stage ───────────────────────────▶ comes at once; the stage begins when it is there
//! COPY --from, its content unknown ──────────▶ comes at once                    ┐ the step
//! COPY --from, its content known; RUN mount ─▶ comes once the stage performs any ┘ waits for it
//! ```
//! What an image is, is known from its manifest and config before anything runs. A base is always brought: the images
//! on it are recorded with it. What is only read from is left where it is when every step that reads it was found.

use crate::bound::{BoundBase, BoundCopy, BoundOp, Input};
use crate::cache::InputEntry;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::graph::{Node, SourceImage};
use crate::request::LookUp;
use crate::result::{LastStep, NodeResult};
use crate::scheduler::{Lane, Start, Task};
use crate::target::Presence;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

/// How many images come at once, each of them in several layers at once.
pub(crate) const FETCHES: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

impl Engine<'_> {
    /// Returns the nodes as the scheduler sees them: the stages, then the images.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let stages = self.graph.nodes.iter().map(|node| Task {
            needs: match node.stage.base {
                BoundBase::From(base) => node
                    .needs
                    .iter()
                    .copied()
                    .chain(self.coming(base))
                    .collect(),
                BoundBase::Scratch => node.needs.clone(),
            },
            lane: Lane::Local,
            start: Start::AtOnce,
        });
        let wanted = self.surely_wanted();
        let images = (0..self.graph.images.len()).map(|index| Task {
            needs: Vec::new(),
            lane: Lane::Network,
            start: match self.coming(Input::Image(index)) {
                Some(node) if wanted.contains(&node) => Start::AtOnce,
                _ => Start::WhenAsked,
            },
        });
        stages.chain(images).collect()
    }

    /// Returns the node that brings an input, if it is an image that is not in the store.
    pub(crate) fn coming(&self, input: Input) -> Option<usize> {
        let Input::Image(index) = input else {
            return None;
        };
        match self.graph.images[index].image.presence {
            Presence::Stored => None,
            Presence::Elsewhere => Some(self.graph.nodes.len() + index),
        }
    }

    /// Returns the nodes of the images that the steps of a stage read from.
    pub(crate) fn read_images(&self, node: &Node) -> Vec<usize> {
        let steps = node.stage.steps.iter();
        let inputs = steps.flat_map(|step| match &step.op {
            BoundOp::Copy(copy) => vec![copy.from],
            BoundOp::Run(run) => run.mounts.iter().filter_map(|mount| mount.from).collect(),
            BoundOp::Config | BoundOp::Dirs(_) => Vec::new(),
        });
        inputs.filter_map(|input| self.coming(input)).collect()
    }

    /// Returns the nodes of the images without which the build cannot end.
    fn surely_wanted(&self) -> BTreeSet<usize> {
        let mut wanted = BTreeSet::new();
        for node in &self.graph.nodes {
            if let BoundBase::From(base) = node.stage.base {
                wanted.extend(self.coming(base));
            }
            if !matches!(self.look_up(), Some(LookUp::Use { .. })) {
                wanted.extend(self.read_images(node));
                continue;
            }
            for step in &node.stage.steps {
                if let BoundOp::Copy(copy) = &step.op
                    && !self.is_content_known(copy)
                {
                    wanted.extend(self.coming(copy.from));
                }
            }
        }
        wanted
    }

    fn is_content_known(&self, copy: &BoundCopy) -> bool {
        let Input::Image(index) = copy.from else {
            return false;
        };
        let layer = self.graph.images[index].image.top_layer.as_ref();
        let key = self.content_key(copy, layer);
        key.is_some_and(|key| self.cache.get::<InputEntry>(&key).is_some())
    }

    /// Brings the image of a node.
    pub(crate) fn bring(&self, node: usize) -> Result<NodeResult, BuildError> {
        let SourceImage { image, asked } = &self.graph.images[node - self.graph.nodes.len()];
        match (self.fetch)(image, &self.cancel) {
            Ok(brought) if brought.is_same_image(image) => Ok(NodeResult {
                layer: image.top_layer.clone(),
                live: None,
                image: Some(image.id.clone()),
                history: image.config.history.clone(),
                own: 0,
                performed: false,
                last: LastStep::default(),
            }),
            Ok(_) => Err(BuildError::ImageChanged {
                name: image.name.clone(),
            }),
            Err(_) if self.cancel.is_cancelled() => Err(BuildError::Cancelled),
            Err(error) => Err(asked.failed(error).into()),
        }
    }
}

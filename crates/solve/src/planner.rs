//! The graph while it grows: images, directories and stages get their numbers, each once.

use crate::error::PlanError;
use crate::graph::{AskedBy, Graph, Node, SourceImage};
use crate::target::{Directory, Images};
use model::Platform;
use std::collections::BTreeMap;

/// What is shared while targets are planned one after the other.
pub(crate) struct Planner<'i, I> {
    images: &'i I,
    pub(crate) graph: Graph,
    known: BTreeMap<(String, Platform), usize>,
}

impl<'i, I: Images> Planner<'i, I> {
    /// Begins with nothing.
    pub(crate) fn new(images: &'i I) -> Self {
        Self {
            images,
            graph: Graph::default(),
            known: BTreeMap::new(),
        }
    }

    /// Returns the number of the image that `name` stands for; `asked` says who wants it.
    pub(crate) fn image(
        &mut self,
        name: &str,
        platform: &Platform,
        asked: AskedBy,
    ) -> Result<usize, PlanError> {
        let key = (name.to_owned(), platform.clone());
        if let Some(index) = self.known.get(&key) {
            return Ok(*index);
        }
        let found = self.images.image(name, platform);
        let image = found.map_err(|error| asked.failed(Box::new(error)))?;
        let all = &mut self.graph.images;
        // Several names and platforms may lead to one image.
        let same = all.iter().position(|known| known.image == image);
        let index = same.unwrap_or_else(|| {
            all.push(SourceImage { image, asked });
            all.len() - 1
        });
        self.known.insert(key, index);
        Ok(index)
    }

    /// Returns the number of a directory.
    pub(crate) fn directory(&mut self, directory: &Directory) -> usize {
        let all = &mut self.graph.directories;
        all.iter().position(|d| d == directory).unwrap_or_else(|| {
            all.push(directory.clone());
            all.len() - 1
        })
    }

    /// Adds a node, or finds the equal one.
    pub(crate) fn node(&mut self, node: Node) -> usize {
        let equal = |other: &Node| other.stage == node.stage && other.comment == node.comment;
        self.graph.nodes.iter().position(equal).unwrap_or_else(|| {
            self.graph.nodes.push(node);
            self.graph.nodes.len() - 1
        })
    }
}

//! Views of the records at one moment, with look-ups.
//!
//! A snapshot holds no lock. What it shows may be gone when it is used; writers look again
//! under their lock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use model::{ContainerId, DiffId, Digest, ImageId, LayerId};

use crate::MAX_DEPTH;
use crate::error::{Result, StoreError};
use crate::ledger::Tables;
use crate::record::{ContainerRecord, ImageRecord, LayerRecord};

/// The layers of the store and of its additional stores.
#[derive(Debug)]
pub struct Layers {
    own: Arc<Tables<LayerRecord>>,
    others: Vec<Arc<Tables<LayerRecord>>>,
    by_diff: OnceLock<HashMap<Digest, Vec<LayerId>>>,
}

/// The images of the store and of its additional stores.
#[derive(Debug)]
pub struct Images {
    own: Arc<Tables<ImageRecord>>,
    others: Vec<Arc<Tables<ImageRecord>>>,
    by_name: OnceLock<HashMap<String, Arc<ImageRecord>>>,
}

/// The containers of the store.
#[derive(Debug)]
pub struct Containers {
    pub(crate) own: Arc<Tables<ContainerRecord>>,
}

/// The last views given out; given out again while the tables below them are the same.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    layers: Option<Arc<Layers>>,
    images: Option<Arc<Images>>,
}

fn same<R>(old: &[Arc<Tables<R>>], new: &[Arc<Tables<R>>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
}

impl Cached {
    /// Returns the view of these tables: the last one, where it is of the same.
    pub(crate) fn layers(
        &mut self,
        own: Arc<Tables<LayerRecord>>,
        others: Vec<Arc<Tables<LayerRecord>>>,
    ) -> Arc<Layers> {
        if let Some(known) = &self.layers
            && Arc::ptr_eq(&known.own, &own)
            && same(&known.others, &others)
        {
            return Arc::clone(known);
        }
        let layers = Arc::new(Layers {
            own,
            others,
            by_diff: OnceLock::new(),
        });
        self.layers = Some(Arc::clone(&layers));
        layers
    }

    /// The same for images.
    pub(crate) fn images(
        &mut self,
        own: Arc<Tables<ImageRecord>>,
        others: Vec<Arc<Tables<ImageRecord>>>,
    ) -> Arc<Images> {
        if let Some(known) = &self.images
            && Arc::ptr_eq(&known.own, &own)
            && same(&known.others, &others)
        {
            return Arc::clone(known);
        }
        let images = Arc::new(Images {
            own,
            others,
            by_name: OnceLock::new(),
        });
        self.images = Some(Arc::clone(&images));
        images
    }
}

impl Layers {
    /// Returns all whole layers: the store's own first, in the order of their making.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LayerRecord>> {
        let mut seen = HashSet::new();
        std::iter::once(&self.own)
            .chain(&self.others)
            .flat_map(|tables| tables.iter())
            .filter(|layer| !layer.is_incomplete())
            .filter(move |layer| self.others.is_empty() || seen.insert(layer.id.clone()))
    }

    /// Returns the layer of an identifier.
    #[must_use]
    pub fn get(&self, id: &LayerId) -> Option<&Arc<LayerRecord>> {
        std::iter::once(&self.own)
            .chain(&self.others)
            .find_map(|tables| tables.get(id.as_str()))
            .filter(|layer| !layer.is_incomplete())
    }

    /// Returns the layer of an identifier, or the error that it is unknown.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`].
    pub fn require(&self, id: &LayerId) -> Result<&Arc<LayerRecord>> {
        self.get(id).ok_or_else(|| StoreError::LayerUnknown {
            wanted: id.to_string(),
        })
    }

    /// Tells whether the layer is in the store itself rather than in an additional one.
    #[must_use]
    pub fn is_own(&self, id: &LayerId) -> bool {
        self.own.get(id.as_str()).is_some()
    }

    /// Returns a layer and all below it, itself first.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`] when one is missing, [`StoreError::ParentRing`] when it
    /// never ends.
    pub fn chain(&self, id: &LayerId) -> Result<Vec<Arc<LayerRecord>>> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            if chain.len() > MAX_DEPTH {
                return Err(StoreError::ParentRing { layer: id.clone() });
            }
            let layer = self.require(id)?;
            chain.push(Arc::clone(layer));
            next = layer.parent.as_ref();
        }
        Ok(chain)
    }

    /// Returns the layers made of this uncompressed content, on whatever parents.
    #[must_use]
    pub fn by_diff(&self, diff: &DiffId) -> Vec<&Arc<LayerRecord>> {
        self.by_digest()
            .get(&diff.0)
            .into_iter()
            .flatten()
            .filter_map(|id| self.get(id))
            .filter(|layer| layer.diff_digest.as_ref() == Some(diff))
            .collect()
    }

    /// Returns the layers that came as this blob, on whatever parents.
    #[must_use]
    pub fn by_blob(&self, blob: &Digest) -> Vec<&Arc<LayerRecord>> {
        self.by_digest()
            .get(blob)
            .into_iter()
            .flatten()
            .filter_map(|id| self.get(id))
            .filter(|layer| layer.compressed_digest.as_ref() == Some(blob))
            .collect()
    }

    fn by_digest(&self) -> &HashMap<Digest, Vec<LayerId>> {
        self.by_diff.get_or_init(|| {
            let mut index: HashMap<Digest, Vec<LayerId>> = HashMap::new();
            for layer in self.iter() {
                let diff = layer.diff_digest.as_ref().map(|diff| &diff.0);
                let blob = layer
                    .compressed_digest
                    .as_ref()
                    .filter(|blob| Some(*blob) != diff);
                for digest in diff.into_iter().chain(blob) {
                    index
                        .entry(digest.clone())
                        .or_default()
                        .push(layer.id.clone());
                }
            }
            index
        })
    }

    /// Returns the layers directly on top of one.
    pub fn children<'a>(&'a self, id: &'a LayerId) -> impl Iterator<Item = &'a Arc<LayerRecord>> {
        self.iter()
            .filter(move |layer| layer.parent.as_ref() == Some(id))
    }
}

/// Finds the only record whose identifier starts with `prefix`.
fn by_prefix<'a, R>(
    records: impl Iterator<Item = &'a Arc<R>>,
    key: impl Fn(&R) -> &str,
    prefix: &str,
    kind: &'static str,
) -> Result<Option<&'a Arc<R>>> {
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut found: Option<&Arc<R>> = None;
    for record in records {
        if key(record).starts_with(prefix) {
            if found.is_some_and(|other| key(other) != key(record)) {
                return Err(StoreError::Ambiguous {
                    prefix: prefix.to_owned(),
                    kind,
                });
            }
            found = Some(record);
        }
    }
    Ok(found)
}

impl Images {
    /// Returns all images: the store's own first, in the order of their making. An image of
    /// an additional store is hidden by one of the same identifier before it.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ImageRecord>> {
        let mut seen = HashSet::new();
        std::iter::once(&self.own)
            .chain(&self.others)
            .flat_map(|tables| tables.iter())
            .filter(move |image| self.others.is_empty() || seen.insert(image.id.clone()))
    }

    /// Returns the image of an identifier.
    #[must_use]
    pub fn get(&self, id: &ImageId) -> Option<&Arc<ImageRecord>> {
        std::iter::once(&self.own)
            .chain(&self.others)
            .find_map(|tables| tables.get(id.as_str()))
    }

    /// Tells whether the image is in the store itself rather than in an additional one.
    #[must_use]
    pub fn is_own(&self, id: &ImageId) -> bool {
        self.own.get(id.as_str()).is_some()
    }

    /// Returns the image that has exactly this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<ImageRecord>> {
        self.by_name
            .get_or_init(|| {
                let mut index = HashMap::new();
                for tables in std::iter::once(&self.own).chain(&self.others) {
                    // Of duplicates in one file the later keeps the name; of several stores
                    // the earlier.
                    let mut here = HashMap::new();
                    for image in tables.iter() {
                        for name in &image.names {
                            here.insert(name.clone(), Arc::clone(image));
                        }
                    }
                    for (name, image) in here {
                        if self
                            .get(&image.id)
                            .is_some_and(|shown| Arc::ptr_eq(shown, &image))
                        {
                            index.entry(name).or_insert(image);
                        }
                    }
                }
                index
            })
            .get(name)
    }

    /// Returns the images that answer to a manifest digest.
    pub fn by_digest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> impl Iterator<Item = &'a Arc<ImageRecord>> {
        self.iter()
            .filter(move |image| image.digests().any(|known| known == digest))
    }

    /// Returns the only image whose identifier starts with these digits.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] when there are several.
    pub fn by_prefix(&self, prefix: &str) -> Result<Option<&Arc<ImageRecord>>> {
        by_prefix(self.iter(), |image| image.id.as_str(), prefix, "images")
    }

    /// Finds an image by identifier, then exact name, then unique prefix.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] for a prefix of several.
    pub fn find(&self, text: &str) -> Result<Option<&Arc<ImageRecord>>> {
        if let Ok(id) = text.parse()
            && let Some(image) = self.get(&id)
        {
            return Ok(Some(image));
        }
        match self.by_name(text) {
            Some(image) => Ok(Some(image)),
            None => self.by_prefix(text),
        }
    }

    /// Returns the images whose top layer this is.
    pub fn by_layer<'a>(
        &'a self,
        layer: &'a LayerId,
    ) -> impl Iterator<Item = &'a Arc<ImageRecord>> {
        self.iter().filter(move |image| {
            image.layer.as_ref() == Some(layer) || image.mapped_layers.contains(layer)
        })
    }
}

impl Containers {
    /// Returns all containers, those of the stable file first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ContainerRecord>> {
        self.own.iter()
    }

    /// Returns the container of an identifier.
    #[must_use]
    pub fn get(&self, id: &ContainerId) -> Option<&Arc<ContainerRecord>> {
        self.own.get(id.as_str())
    }

    /// Returns the container of an identifier, or the error that it is unknown.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`].
    pub fn require(&self, id: &ContainerId) -> Result<&Arc<ContainerRecord>> {
        self.get(id).ok_or_else(|| StoreError::ContainerUnknown {
            wanted: id.to_string(),
        })
    }

    /// Returns the container that has exactly this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<ContainerRecord>> {
        self.iter()
            .find(|container| container.names.iter().any(|known| known == name))
    }

    /// Returns the container whose writable layer this is.
    #[must_use]
    pub fn by_layer(&self, layer: &LayerId) -> Option<&Arc<ContainerRecord>> {
        self.iter().find(|container| container.layer == *layer)
    }

    /// Returns the containers made from an image.
    pub fn by_image<'a>(
        &'a self,
        image: &'a ImageId,
    ) -> impl Iterator<Item = &'a Arc<ContainerRecord>> {
        self.iter()
            .filter(move |container| container.image.as_ref() == Some(image))
    }

    /// Finds a container by identifier, name, identifier of its layer, then unique prefix.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] for a prefix of several.
    pub fn find(&self, text: &str) -> Result<Option<&Arc<ContainerRecord>>> {
        let exact = self
            .own
            .get(text)
            .or_else(|| self.by_name(text))
            .or_else(|| {
                self.iter()
                    .find(|container| container.layer.as_str() == text)
            });
        match exact {
            Some(container) => Ok(Some(container)),
            None => by_prefix(self.iter(), |one| one.id.as_str(), text, "containers"),
        }
    }
}

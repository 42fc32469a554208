//! Images: their record, their items (manifest, config, signatures) and their names.

use std::path::PathBuf;
use std::sync::Arc;

use model::{Digest, ImageId, LayerId};
use serde_json::Map;

use crate::error::{Result, StoreError};
use crate::fault;
use crate::ident;
use crate::item;
use crate::ledger::{File, Writing};
use crate::locks::private_dir;
use crate::placing::{Placing, save_placed};
use crate::record::{ImageRecord, Items, RecordTime};
use crate::store::{Inner, Store};

/// One item of an image: a key, its bytes and its digest.
#[derive(Clone, Debug)]
pub struct Item {
    /// The key, such as `manifest` or the digest of the config.
    pub key: String,
    /// The content.
    pub bytes: Vec<u8>,
    /// Digest of the content; for manifests the manifest digest.
    pub digest: Digest,
}

impl Item {
    /// Makes an item with the SHA-256 of its bytes.
    #[must_use]
    pub fn new(key: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            key: key.into(),
            digest: Digest::sha256(&bytes),
            bytes,
        }
    }
}

/// An image to be recorded.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Its identifier; `None` draws a random one (manifest lists).
    pub id: Option<ImageId>,
    /// Its top layer; `None` for manifest lists and artifacts.
    pub layer: Option<LayerId>,
    /// Fully qualified names; they are taken from the images that have them.
    pub names: Vec<String>,
    /// Names that only the history remembers, newest first.
    pub former_names: Vec<String>,
    /// The items, in the order in which readers list them. The first manifest among them
    /// gives the image's digest.
    pub items: Vec<Item>,
    /// When the image was made, from its config; `None` for now.
    pub created: Option<RecordTime>,
    /// JSON text with the sizes of signatures; `{}` when there are none.
    pub metadata: Option<String>,
}

impl NewImage {
    /// Describes an image as its manifest and config do, both under the keys that every tool
    /// looks for.
    #[must_use]
    pub fn new(layer: Option<LayerId>, manifest: &[u8], config: &[u8]) -> Self {
        let config_digest = Digest::sha256(config);
        let manifest_digest = Digest::sha256(manifest);
        let id = ImageId::from_config_digest(&config_digest);
        let item = |key: String, bytes: &[u8], digest: &Digest| Item {
            key,
            bytes: bytes.to_vec(),
            digest: digest.clone(),
        };
        Self {
            id,
            layer,
            names: Vec::new(),
            former_names: Vec::new(),
            items: vec![
                item(config_digest.to_string(), config, &config_digest),
                item(
                    format!("manifest-{manifest_digest}"),
                    manifest,
                    &manifest_digest,
                ),
                item("manifest".to_owned(), manifest, &manifest_digest),
            ],
            created: None,
            metadata: Some("{}".to_owned()),
        }
    }

    /// Gives the image these names.
    #[must_use]
    pub fn with_names(mut self, names: Vec<String>) -> Self {
        self.names = names;
        self
    }

    /// Says when the image was made.
    #[must_use]
    pub fn with_created(mut self, created: RecordTime) -> Self {
        self.created = Some(created);
        self
    }

    /// Adds an item in front of the others, such as the list that the image was pulled by,
    /// whose digest then becomes the image's.
    #[must_use]
    pub fn with_first_item(mut self, item: Item) -> Self {
        self.items.insert(0, item);
        self
    }

    /// Adds an item after the others.
    #[must_use]
    pub fn with_item(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }
}

/// What becomes of a name that another image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenNames {
    /// It leaves that image.
    Move,
    /// It stays there, and nothing is recorded.
    Refuse,
}

fn refuse_taken(images: &Writing<'_, ImageRecord>, names: &[String]) -> Result<()> {
    for record in images.tables().iter() {
        if let Some(name) = record.names.iter().find(|name| names.contains(name)) {
            return Err(StoreError::ImageNameInUse {
                name: name.clone(),
                image: record.id.clone(),
            });
        }
    }
    Ok(())
}

impl Store {
    /// Records an image, or adds items and names to the one that exists with the same layer.
    /// Items are on the disk before the record is; record and names are one save.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`] when the top layer is gone; [`StoreError::ImageExists`]
    /// when the identifier is taken by an image with another layer; [`StoreError::Io`].
    pub fn put_image(&self, image: NewImage) -> Result<Arc<ImageRecord>> {
        self.place_image(image, TakenNames::Move)
    }

    /// As [`Store::put_image`], with a choice of what becomes of names that other images have.
    pub(crate) fn place_image(
        &self,
        image: NewImage,
        taken: TakenNames,
    ) -> Result<Arc<ImageRecord>> {
        let inner = &*self.inner;
        inner.create()?;
        let id = image.id.clone().unwrap_or_else(ident::image);
        let (_layers_lock, layers) = inner.layers.read()?;
        if let Some(layer) = &image.layer {
            let mut known = layers
                .get(layer.as_str())
                .is_some_and(|one| !one.is_incomplete());
            for other in &inner.others {
                known |= other.layers.snapshot()?.get(layer.as_str()).is_some();
            }
            if !known {
                return Err(StoreError::LayerUnknown {
                    wanted: layer.to_string(),
                });
            }
        }
        let mut images = inner.write_images()?;
        if let Some(existing) = images.get(id.as_str())
            && existing.layer != image.layer
        {
            return Err(StoreError::ImageExists { image: id });
        }
        if taken == TakenNames::Refuse {
            refuse_taken(&images, &image.names)?;
        }
        let placing = inner.announce_image(&images, &id)?;
        fault::point("image-announced");
        let dir = inner.image_dir(&id);
        private_dir(&dir)?;
        for item in &image.items {
            item::write(&dir, &item.key, &item.bytes)?;
            fault::point("image-item-written");
        }
        inner.record_image(&mut images, &id, image)?;
        let record = images.get(id.as_str()).cloned();
        save_placed(images, placing)?;
        fault::point("image-saved");
        record.ok_or(StoreError::ImageUnknown {
            wanted: id.to_string(),
        })
    }

    /// Adds or replaces items of an image.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`]; [`StoreError::Io`].
    pub fn put_image_items(&self, image: &ImageId, items: &[Item]) -> Result<()> {
        let inner = &*self.inner;
        let mut images = inner.write_images()?;
        let placing = inner.own_image(&mut images, image)?;
        for item in items {
            item::write(&inner.image_dir(image), &item.key, &item.bytes)?;
        }
        images.update(image.as_str(), |record| enter_items(record, items));
        save_placed(images, placing)
    }

    /// Returns an item of an image.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`], [`StoreError::ItemUnknown`]; [`StoreError::Io`].
    pub fn image_item(&self, image: &ImageId, key: &str) -> Result<Vec<u8>> {
        let images = self.images()?;
        let record = images.get(image).ok_or_else(|| StoreError::ImageUnknown {
            wanted: image.to_string(),
        })?;
        if !record.items.has(key) {
            return Err(StoreError::ItemUnknown {
                image: image.to_string(),
                key: key.to_owned(),
            });
        }
        item::read(&self.inner.image_dir_in(image, images.is_own(image)), key)
    }

    /// Returns an image's manifest, byte for byte.
    ///
    /// # Errors
    /// As [`Store::image_item`].
    pub fn image_manifest(&self, image: &ImageId) -> Result<Vec<u8>> {
        self.image_item(image, "manifest")
    }

    /// Returns an image's config, byte for byte.
    ///
    /// # Errors
    /// As [`Store::image_item`].
    pub fn image_config(&self, image: &ImageId) -> Result<Vec<u8>> {
        self.image_item(image, image.to_config_digest().as_str())
    }

    /// Gives an image more names, taking each from the image that has it.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`]; [`StoreError::Io`].
    pub fn add_names(&self, image: &ImageId, names: &[String]) -> Result<()> {
        let mut images = self.inner.write_images()?;
        let placing = self.inner.own_image(&mut images, image)?;
        move_names(&mut images, image, names);
        save_placed(images, placing)
    }

    /// Takes names from an image; those that it does not have are ignored.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`]; [`StoreError::Io`].
    pub fn remove_names(&self, image: &ImageId, names: &[String]) -> Result<()> {
        let mut images = self.inner.write_images()?;
        let placing = self.inner.own_image(&mut images, image)?;
        images.update(image.as_str(), |record| {
            record.names.retain(|name| !names.contains(name));
            record.remember_names();
        });
        save_placed(images, placing)
    }
}

impl Inner {
    pub(crate) fn image_dir(&self, image: &ImageId) -> PathBuf {
        self.kind_dir("images").join(image)
    }

    fn image_dir_in(&self, image: &ImageId, own: bool) -> PathBuf {
        if own {
            return self.image_dir(image);
        }
        self.others
            .iter()
            .map(|other| other.images_dir.join(image))
            .find(|dir| dir.is_dir())
            .unwrap_or_else(|| self.image_dir(image))
    }

    /// Makes sure that an image has a record here: one of an additional store is copied,
    /// as containers/storage does before it changes one.
    fn own_image(
        &self,
        images: &mut Writing<'_, ImageRecord>,
        image: &ImageId,
    ) -> Result<Option<Placing>> {
        if images.get(image.as_str()).is_some() {
            return Ok(None);
        }
        for other in &self.others {
            let tables = other.images.snapshot()?;
            let Some(record) = tables.get(image.as_str()) else {
                continue;
            };
            let from = other.images_dir.join(image);
            let placing = self.announce_image(images, image)?;
            for key in &record.items.names {
                item::write(&self.image_dir(image), key, &item::read(&from, key)?)?;
            }
            images.push(File::Stable, (**record).clone());
            return Ok(placing);
        }
        Err(StoreError::ImageUnknown {
            wanted: image.to_string(),
        })
    }

    fn record_image(
        &self,
        images: &mut Writing<'_, ImageRecord>,
        id: &ImageId,
        image: NewImage,
    ) -> Result<()> {
        if images.get(id.as_str()).is_none() {
            images.push(
                File::Stable,
                ImageRecord {
                    id: id.clone(),
                    digest: None,
                    names: Vec::new(),
                    names_history: image.former_names,
                    layer: image.layer,
                    mapped_layers: Vec::new(),
                    metadata: image.metadata.clone(),
                    items: Items::default(),
                    created: image.created.unwrap_or_else(RecordTime::now),
                    flags: Map::new(),
                    extra: Map::new(),
                },
            );
        }
        let metadata = image.metadata.filter(|text| text != "{}");
        images.update(id.as_str(), |record| {
            enter_items(record, &image.items);
            // What an image that is there already is known to have is not forgotten.
            if let Some(metadata) = metadata {
                record.metadata = Some(metadata);
            }
        });
        if !image.names.is_empty() {
            move_names(images, id, &image.names);
        }
        Ok(())
    }
}

/// Enters items into a record. The image's own digest is the first manifest's and never
/// changes afterwards.
fn enter_items(record: &mut ImageRecord, items: &[Item]) {
    for item in items {
        record
            .items
            .enter(&item.key, item.bytes.len(), &item.digest);
        if record.digest.is_none() && item.key.starts_with("manifest") {
            record.digest = Some(item.digest.clone());
        }
    }
}

/// Gives names to an image in front of those it has, and takes them from all others.
fn move_names(images: &mut Writing<'_, ImageRecord>, image: &ImageId, names: &[String]) {
    let losers: Vec<ImageId> = images
        .tables()
        .iter()
        .filter(|record| record.id != *image)
        .filter(|record| record.names.iter().any(|name| names.contains(name)))
        .map(|record| record.id.clone())
        .collect();
    for loser in losers {
        images.update(loser.as_str(), |record| {
            record.names.retain(|name| !names.contains(name));
        });
    }
    images.update(image.as_str(), |record| {
        let old = std::mem::take(&mut record.names);
        for name in names.iter().chain(&old) {
            if !record.names.contains(name) {
                record.names.push(name.clone());
            }
        }
        record.remember_names();
    });
}

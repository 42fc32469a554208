//! Gives staged trees their final place and their records: many layers, one lock hold, one
//! save.
//!
//! Everything slow happens before the lock: what remains under it are renames and small
//! files. A crash between the renames and the save leaves directories without records,
//! which `reap` finds by the announcement made before the first of them; see `placing`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use archive::LayerDigest;
use model::{Digest, LayerId};

use crate::driver::{RootAttributes, overlay, overlay::Below, vfs};
use crate::error::{IoContext as _, Result, StoreError};
use crate::fault;
use crate::ledger::{File, Writing};
use crate::options::{DriverName, SyncMode};
use crate::placing::{PlacedLayer, save_placed};
use crate::record::{BlobCompression, LayerRecord};
use crate::stack::{FrozenDigest, Stack};
use crate::store::{Inner, Store};
use crate::tempdir::TempDir;

/// The content of a layer to be.
pub(crate) enum Content {
    /// What it changes, as an overlay upper directory.
    Change(PathBuf),
    /// The whole root file system (vfs).
    Whole(PathBuf),
}

/// A layer that is whole but has no place yet.
pub(crate) struct Ready {
    pub(crate) content: Content,
    pub(crate) split: PathBuf,
    pub(crate) digest: LayerDigest,
    /// The blob it came as, if it was a compressed one.
    pub(crate) blob: Option<Blob>,
}

/// A layer as it travelled.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: BlobCompression,
}

/// A layer directory built in a temporary place.
struct Prepared {
    id: LayerId,
    dir: PathBuf,
    link: String,
    split: PathBuf,
    record: LayerRecord,
}

impl Store {
    /// Publishes the frozen trees of a stack with their digests, in order, and returns the
    /// layers' identifiers, bottom first. A layer that exists already is used as it is. What
    /// was written after the last freeze is dropped.
    ///
    /// # Errors
    /// [`StoreError::ParentVanished`] when the base was removed meanwhile,
    /// [`StoreError::DigestCount`] when digests are missing; [`StoreError::Io`].
    pub fn publish_stack(&self, stack: Stack, digests: Vec<FrozenDigest>) -> Result<Vec<LayerId>> {
        let parts = stack.into_parts();
        let matching = parts.frozen.len() == digests.len()
            && parts
                .frozen
                .iter()
                .zip(&digests)
                .all(|(tree, digest)| *tree == digest.tree);
        if !matching {
            return Err(StoreError::DigestCount {
                trees: parts.frozen.len(),
                digests: digests.len(),
            });
        }
        let ready = digests
            .into_iter()
            .map(|frozen| Ready {
                content: match self.inner.driver {
                    DriverName::Overlay => Content::Change(frozen.tree),
                    DriverName::Vfs => Content::Whole(frozen.tree),
                },
                split: frozen.split,
                digest: frozen.digest,
                blob: None,
            })
            .collect();
        let published =
            self.inner
                .publish(parts.base.as_ref(), ready, &parts.trees, parts.attributes);
        drop(parts.splits);
        published
    }
}

impl Inner {
    /// Publishes layers on each other, the first on `parent`.
    pub(crate) fn publish(
        &self,
        parent: Option<&LayerId>,
        ready: Vec<Ready>,
        trees: &Arc<TempDir>,
        attributes: RootAttributes,
    ) -> Result<Vec<LayerId>> {
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let prepared = self.prepare(parent, ready, trees, attributes)?;
        fault::point("publish-prepared");
        if self.settings.sync == SyncMode::Filesystem {
            let dir = fs::File::open(trees.path()).at("open", trees.path())?;
            rustix::fs::syncfs(&dir).at("sync the file system of", trees.path())?;
        }
        let mut layers = self.write_layers()?;
        if let Some(parent) = parent {
            self.check_parent(&layers, parent)?;
        }
        let mut missing = Vec::new();
        for one in &prepared {
            if !self.exists(&layers, &one.id)? {
                missing.push(PlacedLayer {
                    layer: one.id.clone(),
                    link: one.link.clone(),
                });
            }
        }
        let placing = self.announce_layers(&layers, &missing)?;
        fault::point("publish-announced");
        let mut ids = Vec::with_capacity(prepared.len());
        // What the next layer finds below it, where that differs from what was prepared.
        let mut actual: Option<Below> = None;
        for one in prepared {
            ids.push(one.id.clone());
            if !missing.iter().any(|placed| placed.layer == one.id) {
                if self.driver == DriverName::Overlay {
                    actual = Some(Below::child_of(self.home_of(&one.id)?, &one.id)?);
                }
                continue;
            }
            if let Some(below) = actual.take() {
                below.write(&one.dir)?;
                actual = Some(below.with(format!("l/{}", one.link), one.id.clone())?);
            }
            self.place(&one, trees)?;
            layers.push(File::Stable, one.record);
        }
        fault::point("publish-placed");
        save_placed(layers, placing)?;
        fault::point("publish-saved");
        Ok(ids)
    }

    /// Builds the directories of layers, without any lock.
    fn prepare(
        &self,
        parent: Option<&LayerId>,
        ready: Vec<Ready>,
        trees: &TempDir,
        attributes: RootAttributes,
    ) -> Result<Vec<Prepared>> {
        let mut parent = parent.cloned();
        let mut below = match &parent {
            Some(parent) if self.driver == DriverName::Overlay => {
                Below::child_of(self.home_of(parent)?, parent)?
            }
            _ => Below::default(),
        };
        let mut whole: Option<PathBuf> = match &parent {
            Some(parent) if self.driver == DriverName::Vfs => {
                Some(self.home_of(parent)?.join(parent))
            }
            _ => None,
        };
        let mut prepared = Vec::with_capacity(ready.len());
        for one in ready {
            let id = LayerId::chain(parent.as_ref(), &one.digest.diff_id);
            let record = record(&id, parent.as_ref(), &one);
            let dir = trees.next("addition");
            let mut link = String::new();
            match (self.driver, one.content) {
                (DriverName::Overlay, Content::Change(tree) | Content::Whole(tree)) => {
                    link = overlay::make_layer_dir(&dir, &below)?;
                    let diff = dir.join("diff");
                    crate::tempdir::rename(&tree, &diff).at("move", &tree)?;
                    attributes.apply(&diff)?;
                    below = below.with(format!("l/{link}"), id.clone())?;
                }
                (DriverName::Vfs, Content::Whole(tree)) => {
                    crate::tempdir::rename(&tree, &dir).at("move", &tree)?;
                    attributes.apply(&dir)?;
                }
                (DriverName::Vfs, Content::Change(tree)) => {
                    match &whole {
                        Some(lower) => vfs::copy_tree(lower, &dir, vfs::Marks::Drop)?,
                        None => crate::root::fresh_dir(&dir, attributes)?,
                    }
                    vfs::apply(&tree, &dir)?;
                    attributes.apply(&dir)?;
                }
            }
            whole = Some(dir.clone());
            parent = Some(id.clone());
            prepared.push(Prepared {
                id,
                dir,
                link,
                split: one.split,
                record,
            });
        }
        Ok(prepared)
    }

    /// Moves a prepared layer to its place; the layers lock is held.
    fn place(&self, one: &Prepared, trees: &TempDir) -> Result<()> {
        let dir = self.layer_dir(&one.id);
        if dir.exists() {
            // Left without a record by somebody's crash.
            if self.driver == DriverName::Overlay {
                overlay::remove_link(&self.home, &dir)?;
            }
            trees.take_away(&dir)?;
        }
        if self.driver == DriverName::Overlay {
            overlay::make_link(&self.home, &one.link, &one.id)?;
        }
        fault::point("publish-one-linked");
        crate::tempdir::rename(&one.dir, &dir).at("move into place", &dir)?;
        let split = self.tar_split_path(&one.id);
        crate::tempdir::rename(&one.split, &split).at("move into place", &split)?;
        fault::point("publish-one-placed");
        Ok(())
    }

    /// Tells whether a layer is there, in this store or an additional one.
    pub(crate) fn exists(
        &self,
        layers: &Writing<'_, LayerRecord>,
        layer: &LayerId,
    ) -> Result<bool> {
        if layers.get(layer.as_str()).is_some() {
            return Ok(true);
        }
        for other in &self.others {
            if other.layers.snapshot()?.get(layer.as_str()).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks, under the lock of the publication, that a parent is there and an image layer.
    pub(crate) fn check_parent(
        &self,
        layers: &Writing<'_, LayerRecord>,
        parent: &LayerId,
    ) -> Result<()> {
        if !self.exists(layers, parent)? {
            return Err(StoreError::ParentVanished {
                parent: parent.clone(),
            });
        }
        let containers = self.containers.snapshot()?;
        match containers
            .iter()
            .find(|container| container.layer == *parent)
        {
            Some(container) => Err(StoreError::ParentIsContainer {
                parent: parent.clone(),
                container: container.id.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The record of a layer to be published.
fn record(id: &LayerId, parent: Option<&LayerId>, ready: &Ready) -> LayerRecord {
    let mut record = LayerRecord::new(id.clone(), parent.cloned());
    fill(&mut record, &ready.digest, ready.blob.as_ref());
    record
}

/// Enters what is known of a layer's content into its record.
pub(crate) fn fill(record: &mut LayerRecord, digest: &LayerDigest, blob: Option<&Blob>) {
    let size = i64::try_from(digest.size).unwrap_or(i64::MAX);
    record.diff_digest = Some(digest.diff_id.clone());
    record.diff_size = Some(size);
    match blob {
        Some(blob) => {
            record.compressed_digest = Some(blob.digest.clone());
            record.compressed_size = Some(i64::try_from(blob.size).unwrap_or(i64::MAX));
            record.compression = blob.compression;
        }
        None => {
            record.compressed_digest = Some(digest.diff_id.0.clone());
            record.compressed_size = Some(size);
        }
    }
    record.uids = digest.uids.iter().copied().collect();
    record.gids = digest.gids.iter().copied().collect();
}

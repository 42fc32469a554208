//! A container's layer becomes an image layer, by renaming it.
//!
//! ```text
//! before   W: parent P, diff with the changes
//! hash     no lock held; W is not mounted and locked against our other processes
//! locked   journal entry, overlay/N built in place, W/diff -> N/diff, W gets an empty diff
//!          and N as its parent, records saved, journal entry removed
//! after    N: parent P, the changes.  W: parent N, empty diff
//! ```
//! Between the rename and the save the container's content is in a directory without a
//! record. The journal entry, in our own state directory, tells the next start to move it
//! back; see `reap`. The directory is built in place and not in `tempdirs`, where any tool's
//! recovery would delete the content.

use std::fs;
use std::path::Path;

use archive::{LayerDigest, Times};
use model::{ContainerId, LayerId};
use sys::FileLock;
use sys::overlay::XattrFlavour;

use crate::driver::{RootAttributes, overlay, overlay::Below, vfs};
use crate::error::{IoContext as _, Result, StoreError};
use crate::fault;
use crate::journal::{JournalEntry, journal_dir};
use crate::json::{self, Durability};
use crate::ledger::{File, Writing};
use crate::locks::private_dir;
use crate::options::DriverName;
use crate::publish::{Content, Ready, fill};
use crate::record::{ContainerRecord, LayerRecord};
use crate::root::fresh_dir;
use crate::shift::Unshifted;
use crate::snapshot::Layers;
use crate::stack::{LowerRoots, digest_upper, remove_sockets};
use crate::store::{Inner, Store};
use crate::tempdir::TempDir;

/// A container's layer that became an image layer.
#[derive(Clone, Debug)]
pub struct CommittedLayer {
    /// The image layer.
    pub id: LayerId,
    /// Its parent.
    pub parent: Option<LayerId>,
    /// DiffID, size and owners.
    pub digest: LayerDigest,
}

impl Store {
    /// Makes a container's changes an image layer by moving them. The container goes on with
    /// an empty layer on top of the new one.
    ///
    /// # Errors
    /// [`StoreError::ContainerMounted`] while it is mounted visibly or used by another
    /// process of ours; [`StoreError::Hash`]; [`StoreError::Io`].
    pub fn commit_container_layer(
        &self,
        container: &ContainerId,
        times: Times,
    ) -> Result<CommittedLayer> {
        let inner = &*self.inner;
        let record = self.containers()?.require(container)?.clone();
        let _exclusive = self.lock_container(container)?;
        if inner.visible_mount(&record.layer)?.is_some() {
            return Err(StoreError::ContainerMounted {
                container: container.clone(),
            });
        }
        if inner.driver == DriverName::Vfs {
            let committed = self.copy_container_layer(&record, times)?;
            let mut layers = inner.write_layers()?;
            let parent = Some(committed.id.clone());
            layers.update(record.layer.as_str(), |layer| layer.parent = parent);
            layers.save()?;
            return Ok(committed);
        }
        if !record.maps().is_empty() {
            // Its files cannot be moved: in the image they have other owners.
            return self.copy_container_layer(&record, times);
        }
        let contents = overlay::contents(&inner.home, &record.layer)?;
        if contents.len() > 1 {
            return Err(StoreError::FeatureUnsupported {
                feature: "a container layer with shifted owners",
                at: contents[1].clone(),
            });
        }
        let splits = inner.file_temp()?;
        let split = splits.next("addition");
        remove_sockets(&contents[0])?;
        let lowers = inner.lower_dirs(&record.layer)?;
        let digest = {
            let lowers = LowerRoots::open(&lowers[1..], inner.flavour())?;
            digest_upper(&contents[0], lowers.roots(), inner.flavour(), times, &split)?
        };
        fault::point("commit-hashed");
        let committed = self.move_container_layer(&record, digest, &split)?;
        splits.close()?;
        Ok(committed)
    }

    /// Makes a copy of a container's changes an image layer and leaves the container, which
    /// may be visibly mounted, as it is. Blocks are shared where the file system can.
    ///
    /// # Errors
    /// [`StoreError::ContainerMounted`] while another process of ours works in it privately;
    /// [`StoreError::Hash`]; [`StoreError::Io`].
    pub fn copy_container(&self, container: &ContainerId, times: Times) -> Result<CommittedLayer> {
        let record = self.containers()?.require(container)?.clone();
        let _exclusive = self.lock_container(container)?;
        self.copy_container_layer(&record, times)
    }

    fn lock_container(&self, container: &ContainerId) -> Result<FileLock> {
        let path = self.container_lock_path(container)?;
        FileLock::try_write(&path)
            .at("lock", &path)?
            .ok_or_else(|| StoreError::ContainerMounted {
                container: container.clone(),
            })
    }

    fn copy_container_layer(
        &self,
        container: &ContainerRecord,
        times: Times,
    ) -> Result<CommittedLayer> {
        let inner = &*self.inner;
        let layers = self.layers()?;
        let parent = self.image_parent(&layers, container)?;
        let maps = container.maps();
        let trees = std::sync::Arc::new(inner.tree_temp()?);
        let splits = inner.file_temp()?;
        let (tree, split) = (trees.next("tree"), splits.next("addition"));
        let (content, attributes, digest) = match inner.driver {
            DriverName::Overlay => {
                let dirs = inner.lower_dirs(&container.layer)?;
                let attributes = match dirs.get(1) {
                    Some(parent) => RootAttributes::of(parent)?,
                    None => RootAttributes::base(),
                };
                let upper = Unshifted::view(&dirs[0], &maps)?;
                vfs::copy_tree(upper.path(), &tree, vfs::Marks::Keep)?;
                let lowers = LowerRoots::open(&dirs[1..], inner.flavour())?;
                let digest = digest_upper(&tree, lowers.roots(), inner.flavour(), times, &split)?;
                (Content::Change(tree), attributes, digest)
            }
            DriverName::Vfs => {
                let dir = inner.layer_dir(&container.layer);
                let below = match &parent {
                    Some(parent) => Some(inner.home_of(parent)?.join(parent)),
                    None => None,
                };
                let attributes = match &below {
                    Some(below) => RootAttributes::of(below)?,
                    None => RootAttributes::base(),
                };
                let whole = Unshifted::view(&dir, &maps)?;
                vfs::copy_tree(whole.path(), &tree, vfs::Marks::Drop)?;
                let change = trees.next("change");
                vfs::change(below.as_deref(), &tree, &change)?;
                let digest = digest_upper(&change, &[], XattrFlavour::User, times, &split)?;
                (Content::Whole(tree), attributes, digest)
            }
        };
        let ready = Ready {
            content,
            split,
            digest: digest.clone(),
            blob: None,
        };
        let id = LayerId::chain(parent.as_ref(), &digest.diff_id);
        inner.publish(parent.as_ref(), vec![ready], &trees, attributes)?;
        Ok(CommittedLayer { id, parent, digest })
    }

    /// The layer below a container's own in its image. Below it on the disk may be a copy of that
    /// with mapped ids, as Buildah makes it.
    fn image_parent(
        &self,
        layers: &Layers,
        container: &ContainerRecord,
    ) -> Result<Option<LayerId>> {
        let Some(parent) = layers.require(&container.layer)?.parent.clone() else {
            return Ok(None);
        };
        if !layers.require(&parent)?.is_shifted() {
            return Ok(Some(parent));
        }
        let images = self.images()?;
        let image = container.image.as_ref().and_then(|id| images.get(id));
        match image.and_then(|image| image.layer.clone()) {
            Some(layer) => Ok(Some(layer)),
            None => Err(StoreError::FeatureUnsupported {
                feature: "a container on a layer with mapped ids whose image is gone",
                at: self.inner.layer_dir(&parent),
            }),
        }
    }

    fn move_container_layer(
        &self,
        container: &ContainerRecord,
        digest: LayerDigest,
        split: &Path,
    ) -> Result<CommittedLayer> {
        let inner = &*self.inner;
        let journal = journal_dir(&self.state_dir()?);
        private_dir(&journal)?;
        let trees = inner.tree_temp()?;
        let mut layers = inner.write_layers()?;
        let from = container.layer.clone();
        let source =
            layers
                .get(from.as_str())
                .cloned()
                .ok_or_else(|| StoreError::LayerUnknown {
                    wanted: from.to_string(),
                })?;
        let parent = source.parent.clone();
        if let Some(parent) = &parent {
            inner.check_parent(&layers, parent)?;
        }
        if inner.visible_mount_locked(&layers, &from)? {
            return Err(StoreError::ContainerMounted {
                container: container.id.clone(),
            });
        }
        let id = LayerId::chain(parent.as_ref(), &digest.diff_id);
        let entry = JournalEntry {
            layer: id.clone(),
            from: from.clone(),
        };
        // Written under the lock that its reader takes: an entry that can be seen with the
        // lock held is that of a dead process.
        let entry_path = journal.join(format!("{id}.json"));
        let text = model::go_json::to_vec(&entry).map_err(|source| StoreError::Encode {
            path: entry_path.clone(),
            source,
        })?;
        json::replace(&entry_path, &text, Durability::Data)?;
        fault::point("commit-journalled");
        if inner.exists(&layers, &id)? {
            trees.take_away(&inner.layer_dir(&from).join("diff"))?;
        } else {
            inner.give_away(&entry, split, &trees)?;
            let mut record = LayerRecord::new(id.clone(), parent.clone());
            fill(&mut record, &digest, None);
            layers.push(File::Stable, record);
        }
        fault::point("commit-renamed");
        inner.restart_layer(&entry, &trees)?;
        fault::point("commit-restarted");
        layers.update(from.as_str(), |layer| layer.parent = Some(id.clone()));
        let held = layers.save_and_keep()?;
        fault::point("commit-saved");
        fs::remove_file(&entry_path).at("remove", &entry_path)?;
        drop(held);
        trees.close()?;
        Ok(CommittedLayer { id, parent, digest })
    }
}

impl Inner {
    /// Builds the new layer's directory in place and moves the content there.
    fn give_away(&self, entry: &JournalEntry, split: &Path, trees: &TempDir) -> Result<()> {
        let from = self.layer_dir(&entry.from);
        let to = self.layer_dir(&entry.layer);
        if to.exists() {
            overlay::remove_link(&self.home, &to)?;
            trees.take_away(&to)?;
        }
        let below = Below::of(&self.home, &entry.from)?;
        let attributes = match below.layers().first() {
            Some(parent) => RootAttributes::of(&self.home_of(parent)?.join(parent).join("diff"))?,
            None => RootAttributes::base(),
        };
        let link = overlay::make_layer_dir(&to, &below)?;
        overlay::make_link(&self.home, &link, &entry.layer)?;
        let split_path = self.tar_split_path(&entry.layer);
        crate::tempdir::rename(split, &split_path).at("move into place", &split_path)?;
        fault::point("commit-built");
        let diff = from.join("diff");
        crate::tempdir::rename(&diff, &to.join("diff")).at("move into place", &diff)?;
        attributes.apply(&to.join("diff"))
    }

    /// Gives a container's layer an empty `diff` on top of the layer that took its content.
    fn restart_layer(&self, entry: &JournalEntry, trees: &TempDir) -> Result<()> {
        let dir = self.layer_dir(&entry.from);
        let below_diff = self.home_of(&entry.layer)?.join(&entry.layer).join("diff");
        fresh_dir(&dir.join("diff"), RootAttributes::of(&below_diff)?)?;
        trees.take_away(&dir.join("work"))?;
        private_dir(&dir.join("work"))?;
        Below::child_of(self.home_of(&entry.layer)?, &entry.layer)?.write(&dir)
    }

    /// Ends a commit whose process died: finishes it if the new layer has its record, undoes
    /// it otherwise. The layers lock is held; the caller saves.
    pub(crate) fn settle(
        &self,
        entry: &JournalEntry,
        layers: &mut Writing<'_, LayerRecord>,
        trees: &TempDir,
    ) -> Result<()> {
        let from = self.layer_dir(&entry.from);
        let to = self.layer_dir(&entry.layer);
        let diff = from.join("diff");
        if layers.get(entry.layer.as_str()).is_some() {
            // Either a layer that was there before, or one saved just before the end. What
            // is left may be the container's restart or its own record.
            if from.is_dir() && layers.get(entry.from.as_str()).is_some() {
                if !diff.exists() {
                    self.restart_layer(entry, trees)?;
                }
                if Below::of(&self.home, &entry.from)?.layers().first() == Some(&entry.layer) {
                    let parent = Some(entry.layer.clone());
                    layers.update(entry.from.as_str(), |layer| layer.parent = parent);
                } else if fs::read_dir(&diff).is_ok_and(|mut entries| entries.next().is_none()) {
                    // The restart was cut short after its empty directory was made.
                    trees.take_away(&diff)?;
                    self.restart_layer(entry, trees)?;
                    let parent = Some(entry.layer.clone());
                    layers.update(entry.from.as_str(), |layer| layer.parent = parent);
                }
            }
            return Ok(());
        }
        if !to.exists() {
            return Ok(());
        }
        let moved = to.join("diff");
        if moved.exists() && from.is_dir() {
            if diff.exists() {
                trees.take_away(&diff)?;
            }
            crate::tempdir::rename(&moved, &diff).at("move back", &diff)?;
            Below::of(&self.home, &entry.layer)?.write(&from)?;
        }
        overlay::remove_link(&self.home, &to)?;
        trees.take_away(&to)?;
        crate::tempdir::remove_file(&self.tar_split_path(&entry.layer))
    }
}

//! A journal of what is about to get its final place but has no record yet.
//!
//! ```text
//! locked   announcement G/cooper/publish/D-KIND-RANDOM.json written and locked
//!          directories placed, records saved, announcement removed
//! ```
//! An announcement whose lock is free is that of a dead process, or of a failed attempt:
//! what it lists and nobody recorded meanwhile is waste, which `reap` removes. It is never
//! synced: after a power cut the waste may stay, which is what every other tool leaves too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::{ImageId, LayerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sys::FileLock;
use sys::lock::LockMode;

use crate::error::{IoContext as _, Result, StoreError};
use crate::fault;
use crate::ident;
use crate::journal::{entries, journal_dir};
use crate::json;
use crate::ledger::Writing;
use crate::locks::private_dir;
use crate::record::{ImageRecord, LayerRecord, Record};
use crate::store::Inner;
use crate::tempdir::remove_file;
use crate::trash::Trash;

/// Largest announcement read, in bytes: the deepest stack of layers takes 60 KiB.
const MAX_SIZE: u64 = 1 << 20;

/// A layer that gets a directory, and for overlay a short link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlacedLayer {
    pub(crate) layer: LayerId,
    /// Name under `l/`; made before the directory, which alone could tell it otherwise.
    pub(crate) link: String,
}

/// An announcement, held by a living process. Dropping it leaves the file to `reap`, since
/// what was announced may be in place.
#[derive(Debug)]
#[must_use]
pub(crate) struct Placing {
    path: PathBuf,
    _lock: FileLock,
}

impl Placing {
    fn announce<T: Serialize>(dir: &Path, prefix: &str, placed: &[T]) -> Result<Self> {
        private_dir(dir)?;
        let number = u64::from_le_bytes(ident::random_bytes());
        let path = dir.join(format!("{prefix}{number:016x}.json"));
        let text = model::go_json::to_vec(placed).map_err(|source| StoreError::Encode {
            path: path.clone(),
            source,
        })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .at("create", &path)?;
        let lock = FileLock::acquire(file, LockMode::Write).at("lock", &path)?;
        lock.file().write_all(&text).at("write", &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Withdraws the announcement: the records are saved.
    pub(crate) fn finish(self) -> Result<()> {
        remove_file(&self.path)
    }
}

/// Saves the records of what was announced, and withdraws the announcement.
pub(crate) fn save_placed<R: Record>(
    records: Writing<'_, R>,
    placing: Option<Placing>,
) -> Result<()> {
    let held = records.save_and_keep()?;
    fault::point("placing-saved");
    if let Some(placing) = placing {
        placing.finish()?;
    }
    drop(held);
    Ok(())
}

impl Inner {
    /// Announces layers that have no record; `None` if there are none. The lock is held so
    /// that an announcement seen under it is either locked or nobody's.
    pub(crate) fn announce_layers(
        &self,
        _layers: &Writing<'_, LayerRecord>,
        placed: &[PlacedLayer],
    ) -> Result<Option<Placing>> {
        if placed.is_empty() {
            return Ok(None);
        }
        Placing::announce(&self.placing_dir(), &self.placing_prefix("layers"), placed).map(Some)
    }

    /// Announces the items of an image; `None` if the image has a record.
    pub(crate) fn announce_image(
        &self,
        images: &Writing<'_, ImageRecord>,
        image: &ImageId,
    ) -> Result<Option<Placing>> {
        if images.get(image.as_str()).is_some() {
            return Ok(None);
        }
        let prefix = self.placing_prefix("images");
        Placing::announce(&self.placing_dir(), &prefix, &[image]).map(Some)
    }

    /// Removes the directories that dead processes placed and did not record; returns how
    /// many.
    pub(crate) fn remove_unrecorded(&self) -> Result<usize> {
        if entries(&self.placing_dir())?.is_empty() {
            return Ok(0);
        }
        Ok(self.remove_unrecorded_layers()? + self.remove_unrecorded_images()?)
    }

    fn remove_unrecorded_layers(&self) -> Result<usize> {
        let (dir, prefix) = (self.placing_dir(), self.placing_prefix("layers"));
        if abandoned(&dir, &prefix)?.is_empty() {
            return Ok(0);
        }
        let mut trash = Trash::new(self)?;
        let layers = self.write_layers()?;
        if !entries(&journal_dir(&self.options.graph_root.join("cooper")))?.is_empty() {
            // A commit died since the commits were settled. Its layer, which has no record
            // either and may be one of ours, holds the content of a container.
            return Ok(0);
        }
        let dead = abandoned(&dir, &prefix)?;
        let mut count = 0;
        for (path, _lock) in &dead {
            for placed in read::<PlacedLayer>(path)? {
                if layers.get(placed.layer.as_str()).is_some() {
                    continue;
                }
                if !placed.link.is_empty() && !placed.link.contains('/') {
                    remove_file(&self.home.join("l").join(&placed.link))?;
                }
                count += usize::from(self.layer_dir(&placed.layer).exists());
                trash.layers.push(placed.layer);
            }
        }
        trash.collect(self)?;
        for (path, _lock) in &dead {
            remove_file(path)?;
        }
        drop(dead);
        drop(layers);
        trash.empty()?;
        Ok(count)
    }

    fn remove_unrecorded_images(&self) -> Result<usize> {
        let (dir, prefix) = (self.placing_dir(), self.placing_prefix("images"));
        if abandoned(&dir, &prefix)?.is_empty() {
            return Ok(0);
        }
        let trash = self.file_temp()?;
        let images = self.write_images()?;
        let dead = abandoned(&dir, &prefix)?;
        let mut count = 0;
        for (path, _lock) in &dead {
            for image in read::<ImageId>(path)? {
                if images.get(image.as_str()).is_none() {
                    let items = self.image_dir(&image);
                    count += usize::from(items.exists());
                    trash.take_away(&items)?;
                }
            }
            remove_file(path)?;
        }
        drop(dead);
        drop(images);
        trash.close()?;
        Ok(count)
    }

    fn placing_dir(&self) -> PathBuf {
        self.options.graph_root.join("cooper/publish")
    }

    /// Announcements of another driver are guarded by other locks.
    fn placing_prefix(&self, kind: &str) -> String {
        format!("{}-{kind}-", self.driver)
    }
}

/// The announcements that no living process holds, with their locks.
fn abandoned(dir: &Path, prefix: &str) -> Result<Vec<(PathBuf, FileLock)>> {
    let mut found = Vec::new();
    for path in entries(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(prefix) {
            continue;
        }
        // Not made if missing: its owner may remove it at this moment.
        let file: File = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err).at("open", &path),
        };
        if let Some(lock) = FileLock::try_acquire(file, LockMode::Write).at("lock", &path)? {
            found.push((path, lock));
        }
    }
    Ok(found)
}

/// Reads an announcement. One that is not whole was never acted on, so it lists nothing.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = json::read_optional(path, MAX_SIZE)?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{DriverName, Reaped, Store, StoreOptions};

    #[test]
    fn only_what_dead_processes_announced_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path().join("root"), dir.path().join("run"))
            .with_driver(DriverName::Vfs);
        let store = Store::open(options).unwrap();
        let inner = &*store.inner;
        let (layer, image) = (ident::layer(), ident::image());
        let placed = PlacedLayer {
            layer: layer.clone(),
            link: String::new(),
        };
        let layers = inner.write_layers().unwrap();
        let layers_placing = inner.announce_layers(&layers, &[placed]).unwrap();
        drop(layers);
        let images = inner.write_images().unwrap();
        let images_placing = inner.announce_image(&images, &image).unwrap();
        drop(images);
        fs::create_dir_all(inner.layer_dir(&layer)).unwrap();
        fs::create_dir_all(inner.image_dir(&image)).unwrap();
        let torn = inner.placing_dir().join("vfs-layers-1.json");
        fs::write(&torn, "[{\"lay").unwrap();
        assert_eq!(store.reap().unwrap(), Reaped::default());
        assert!(!torn.exists());
        assert!(inner.layer_dir(&layer).exists());
        assert!(inner.image_dir(&image).exists());
        drop((layers_placing, images_placing));
        let expected = Reaped {
            unrecorded: 2,
            ..Reaped::default()
        };
        assert_eq!(store.reap().unwrap(), expected);
        assert!(!inner.layer_dir(&layer).exists());
        assert!(!inner.image_dir(&image).exists());
        assert_eq!(fs::read_dir(inner.placing_dir()).unwrap().count(), 0);
    }
}

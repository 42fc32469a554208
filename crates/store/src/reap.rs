//! Cleans up what crashed processes left: ours and, where the format says so, others'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, Result};
use crate::journal::{JournalEntry, entries, journal_dir};
use crate::json;
use crate::ledger::Writing;
use crate::record::Record;
use crate::store::{Inner, Store};
use crate::tempdir;

/// Largest journal entry read, in bytes.
const MAX_ENTRY_SIZE: u64 = 64 << 10;

/// What a reaping found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Temporary directories whose owners were dead.
    pub temp_dirs: usize,
    /// Commits that were finished or undone.
    pub commits: usize,
    /// Layers that were never whole.
    pub layers: usize,
    /// Layers and images that were in place but never recorded.
    pub unrecorded: usize,
    /// Half-written state files.
    pub files: usize,
}

impl Store {
    /// Removes what crashed processes left behind. With nothing to do it lists seven
    /// directories and looks at the layers' records; every command that writes calls it
    /// first.
    ///
    /// # Errors
    /// [`crate::StoreError::Io`] when something cannot be listed or removed.
    pub fn reap(&self) -> Result<Reaped> {
        let inner = &*self.inner;
        if !inner.kind_dir("layers").is_dir() {
            return Ok(Reaped::default());
        }
        // Commits first: what they hold is content, and no reaper of directories knows it.
        let commits = inner.settle_commits()?;
        let unrecorded = inner.remove_unrecorded()?;
        let layers = inner.discard_incomplete()?;
        let files = inner.sweep_state_files()?;
        let temp_dirs =
            tempdir::reap(&inner.tree_temp_root())? + tempdir::reap(&inner.file_temp_root())?;
        Ok(Reaped {
            temp_dirs,
            commits,
            layers,
            unrecorded,
            files,
        })
    }
}

impl Inner {
    /// Removes temporary files of records whose writer died before the rename. Everybody
    /// writes records with the lock held, so under the lock such a file is nobody's.
    fn sweep_state_files(&self) -> Result<usize> {
        let mut count = 0;
        for kind in ["layers", "images", "containers"] {
            if unfinished(&self.kind_dir(kind), kind)?.is_empty() {
                continue;
            }
            match kind {
                "layers" => count += self.sweep(kind, &self.write_layers()?)?,
                "images" => count += self.sweep(kind, &self.write_images()?)?,
                _ => count += self.sweep(kind, &self.write_containers()?)?,
            }
        }
        Ok(count)
    }

    fn sweep<R: Record>(&self, kind: &str, _locked: &Writing<'_, R>) -> Result<usize> {
        let files = unfinished(&self.kind_dir(kind), kind)?;
        for file in &files {
            tempdir::remove_file(file)?;
        }
        Ok(files.len())
    }

    fn settle_commits(&self) -> Result<usize> {
        let journal = journal_dir(&self.options.graph_root.join("cooper"));
        if entries(&journal)?.is_empty() {
            return Ok(0);
        }
        let trees = self.tree_temp()?;
        let mut layers = self.write_layers()?;
        // Listed again: with the lock held, nobody is in the middle of a commit.
        let dead = entries(&journal)?;
        for path in &dead {
            let bytes = json::read_limited(path, MAX_ENTRY_SIZE)?;
            // An unreadable entry cannot have been written by us, whose writes are whole.
            if let Ok(entry) = serde_json::from_slice::<JournalEntry>(&bytes) {
                self.settle(&entry, &mut layers, &trees)?;
            }
        }
        let held = layers.save_and_keep()?;
        for path in &dead {
            tempdir::remove_file(path)?;
        }
        drop(held);
        trees.close()?;
        Ok(dead.len())
    }
}

/// The temporary files of `KIND.json` and `volatile-KIND.json`.
fn unfinished(dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err).at("list", dir),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.at("list", dir)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.strip_prefix(".tmp-").is_some_and(|name| {
            let name = name.strip_prefix("volatile-").unwrap_or(name);
            name.strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(".json"))
        });
        if ours {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

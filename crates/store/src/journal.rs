//! The journal of commits that are under way: one file each, in a folder of our own.

use std::path::{Path, PathBuf};
use std::{fs, io};

use model::LayerId;
use serde::{Deserialize, Serialize};

use crate::error::{IoContext as _, Result};

/// One commit that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JournalEntry {
    /// The image layer that takes the content.
    pub(crate) layer: LayerId,
    /// The container's layer that gives it.
    pub(crate) from: LayerId,
}

/// Where journal entries are.
pub(crate) fn journal_dir(state: &Path) -> PathBuf {
    state.join("journal")
}

/// The entries of a journal, which may not exist.
pub(crate) fn entries(journal: &Path) -> Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(journal) {
        Ok(listing) => listing,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err).at("list", journal),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let path = entry.at("list", journal)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    Ok(paths)
}

//! Temporary directories for callers, on the file system of the layers.

use std::path::Path;

use crate::error::Result;
use crate::store::Store;
use crate::tempdir::TempDir;

/// An empty directory of mode 0700 that is removed with this value, and after a crash by any
/// tool. It can hold the upper directory of an overlay.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Store {
    /// Makes a directory for trees that nobody keeps.
    ///
    /// # Errors
    /// [`crate::StoreError::Io`] when it cannot be made.
    pub fn scratch(&self) -> Result<Scratch> {
        Ok(Scratch(self.inner.tree_temp()?))
    }
}

//! Content on its way out: moved aside under the locks, removed after them.

use model::LayerId;

use crate::driver::overlay;
use crate::error::Result;
use crate::options::DriverName;
use crate::store::Inner;
use crate::tempdir::TempDir;

/// What is to be removed: moved away under the locks once no record names it, and removed
/// after them. A crash in between leaves waste, never a record of something that is gone.
pub(crate) struct Trash {
    trees: TempDir,
    pub(crate) files: TempDir,
    pub(crate) layers: Vec<LayerId>,
}

impl Trash {
    pub(crate) fn new(inner: &Inner) -> Result<Self> {
        Ok(Self {
            trees: inner.tree_temp()?,
            files: inner.file_temp()?,
            layers: Vec::new(),
        })
    }

    /// Moves the layers' directories and tar-splits away; the layers lock is held.
    pub(crate) fn collect(&mut self, inner: &Inner) -> Result<()> {
        for layer in self.layers.drain(..) {
            let dir = inner.layer_dir(&layer);
            if inner.driver == DriverName::Overlay {
                overlay::remove_link(&inner.home, &dir)?;
            }
            self.trees.take_away(&dir)?;
            self.files.take_away(&inner.tar_split_path(&layer))?;
            self.files
                .take_away(&inner.kind_dir("layers").join(&layer))?;
        }
        Ok(())
    }

    pub(crate) fn empty(self) -> Result<()> {
        let trees = self.trees.close();
        let files = self.files.close();
        trees.and(files)
    }
}

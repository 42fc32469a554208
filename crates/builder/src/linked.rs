//! Layers that the image of a container gets on top of the container's own: what was copied with `--link`.
//!
//! They lie beside `buildah.json`, where Buildah has them, too, and are packed anew at each commit. The
//! container itself does not show them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use archive::{Flavour, Times, TreeError, TreeOptions};
use model::{History, LayerId};
use store::{Store, StoreError};

use crate::commit::{CommitError, import_written};
use crate::container::{ContainerError, WorkingContainer};
use crate::state::LinkedLayer;

/// Beginning of the names of directories with the files of such layers.
const TREE_PREFIX: &str = "linked-layer-";
/// How many numbers are tried behind it.
const TREES_MAX: u32 = 1 << 16;
/// The mode of a layer's root directory.
const ROOT_MODE: u32 = 0o755;
/// Field of the state with layers that go below the container's own.
const PREPENDED: &str = "PrependedLinkedLayers";

/// A directory for the files of a layer to be. It is removed again unless the layer is kept.
#[derive(Debug)]
pub struct LinkedTree {
    path: Option<PathBuf>,
}

impl LinkedTree {
    /// Makes an empty one for a container.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(container: &WorkingContainer) -> Result<Self, ContainerError> {
        let parent = container.store().container_dirs(container.id())?.persistent;
        for number in 0..TREES_MAX {
            let path = parent.join(format!("{TREE_PREFIX}{number}"));
            match DirBuilder::new().mode(ROOT_MODE).create(&path) {
                Ok(()) => return Ok(Self { path: Some(path) }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ContainerError::LinkedTree { path, source }),
            }
        }
        Err(ContainerError::LinkedTree {
            path: parent.join(TREE_PREFIX),
            source: io::ErrorKind::AlreadyExists.into(),
        })
    }

    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Makes a layer of it that every image of the container gets.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn keep(
        mut self,
        container: &mut WorkingContainer,
        history: History,
    ) -> Result<(), ContainerError> {
        container.state.appended_layers.push(LinkedLayer {
            history,
            blob_path: self.path().to_owned(),
        });
        container.save()?;
        self.path = None;
        Ok(())
    }
}

impl Drop for LinkedTree {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Refuses a container that another tool gave layers to be put below its own.
pub(crate) fn check(container: &WorkingContainer) -> Result<(), CommitError> {
    let below = container.state.extra.get(PREPENDED);
    match below.and_then(serde_json::Value::as_array) {
        Some(layers) if !layers.is_empty() => Err(CommitError::LayersBelow {
            container: container.id().clone(),
        }),
        _ => Ok(()),
    }
}

/// Makes a layer on `parent`, and returns it.
pub(crate) fn import(
    store: &Store,
    parent: &LayerId,
    layer: &LinkedLayer,
    times: Times,
) -> Result<LayerId, CommitError> {
    let path = &layer.blob_path;
    let failed = |source| CommitError::Linked {
        path: path.clone(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_dir() {
        return Ok(store.import_layer(Some(parent), file, None)?.id.clone());
    }
    let options = TreeOptions {
        times,
        ..TreeOptions::new(Flavour::Plain)
    };
    let (packed, imported) = import_written(store, Some(parent), |writer| {
        archive::write_tree(&file, &[], &options, writer)
    })?;
    packed_layer(packed, imported)
}

/// Returns the layer that was packed and imported at once, or why there is none: the packer sees a
/// closed pipe when the store gives up, and then the store knows why.
pub(crate) fn packed_layer(
    packed: Result<(), TreeError>,
    imported: Result<LayerId, StoreError>,
) -> Result<LayerId, CommitError> {
    match (packed, imported) {
        (Err(TreeError::Output(_)), Err(source)) => Err(source.into()),
        (Err(source), _) => Err(CommitError::Squash { source }),
        (Ok(()), imported) => Ok(imported?),
    }
}

//! Root file systems to work in: detached overlay mounts, or directories.
//!
//! A detached mount is attached nowhere, so a killed process leaves none behind, and no
//! other tool's home mount hides it. Visible mounts are in `mounts`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ContainerId, LayerId};
use sys::overlay::{Durability, OverlaySpec, Shift};
use sys::{FileLock, Root};

use crate::driver::overlay::{Below, contents};
use crate::error::{IoContext as _, Result, StoreError};
use crate::locks::private_dir;
use crate::options::DriverName;
use crate::store::{Inner, Store};
use crate::tempdir::{TempDir, remove_tree};

/// Where a root file system is.
#[derive(Clone, Copy, Debug)]
pub enum RootSource<'a> {
    /// A mount that is attached nowhere. Who wants it at a path clones it into its own
    /// mount namespace.
    Detached(BorrowedFd<'a>),
    /// A directory of the host.
    Directory(&'a Path),
}

/// What ends by being dropped, after the mount that it was done for.
pub(crate) trait Undone: std::fmt::Debug + Send + Sync {}

/// A root file system, usable for as long as this value lives.
#[derive(Debug)]
pub struct RootMount {
    root: Root,
    directory: Option<PathBuf>,
    // What must outlive the mount: staged trees, the lock of a container.
    _trees: Option<Arc<TempDir>>,
    _undone: Option<Box<dyn Undone>>,
    _lock: Option<FileLock>,
}

impl RootMount {
    pub(crate) fn mount(spec: &OverlaySpec, trees: Option<Arc<TempDir>>) -> Result<Self> {
        let first = spec
            .upper
            .as_ref()
            .or(spec.lowers.first())
            .cloned()
            .unwrap_or_default();
        let mount = sys::overlay::mount_detached(spec).at("mount the overlay of", first)?;
        Ok(Self {
            root: Root::from_fd(mount),
            directory: None,
            _trees: trees,
            _undone: None,
            _lock: None,
        })
    }

    /// As [`RootMount::mount`], with owners shifted.
    pub(crate) fn shifted(
        spec: &OverlaySpec,
        shift: Shift<'_>,
        trees: Option<Arc<TempDir>>,
    ) -> Result<Self> {
        let upper = spec.upper.clone().unwrap_or_default();
        let mount = sys::overlay::mount_shifted(spec, shift);
        let mount = mount.at("mount the overlay with shifted owners of", upper)?;
        Ok(Self {
            _trees: trees,
            ..Self::of(mount)
        })
    }

    /// Takes a detached mount.
    pub(crate) fn of(mount: OwnedFd) -> Self {
        Self {
            root: Root::from_fd(mount),
            directory: None,
            _trees: None,
            _undone: None,
            _lock: None,
        }
    }

    /// Keeps trees for as long as this lives.
    pub(crate) fn keeping(mut self, trees: Arc<TempDir>) -> Self {
        self._trees = Some(trees);
        self
    }

    pub(crate) fn directory(path: &Path, trees: Option<Arc<TempDir>>) -> Result<Self> {
        let root = Root::open(path).at("open", path)?;
        Ok(Self {
            root,
            directory: Some(path.to_path_buf()),
            _trees: trees,
            _undone: None,
            _lock: None,
        })
    }

    /// Keeps something that is undone afterwards.
    pub(crate) fn undoing(mut self, done: Option<Box<dyn Undone>>) -> Self {
        self._undone = done;
        self
    }

    pub(crate) fn with_lock(mut self, lock: Option<FileLock>) -> Self {
        self._lock = lock;
        self
    }

    /// Returns the handle inside which paths are resolved.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Returns where it is.
    #[must_use]
    pub fn source(&self) -> RootSource<'_> {
        match &self.directory {
            Some(path) => RootSource::Directory(path),
            None => RootSource::Detached(self.root.as_fd()),
        }
    }
}

impl AsFd for RootMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Store {
    /// Returns a private read-only view of a layer with all below it, or of nothing.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`]; [`StoreError::Io`] when the mount fails.
    pub fn read_only_root(&self, layer: Option<&LayerId>) -> Result<RootMount> {
        let inner = &*self.inner;
        let Some(layer) = layer else {
            let temp = Arc::new(inner.tree_temp()?);
            let empty = temp.next("empty");
            private_dir(&empty)?;
            return RootMount::directory(&empty, Some(temp));
        };
        self.layers()?.require(layer)?;
        match inner.driver {
            DriverName::Vfs => RootMount::directory(&inner.home_of(layer)?.join(layer), None),
            DriverName::Overlay => {
                let spec = OverlaySpec {
                    lowers: inner.lower_dirs(layer)?,
                    upper: None,
                    work: None,
                    xattrs: inner.flavour(),
                    durability: Durability::Synced,
                };
                RootMount::mount(&spec, None)
            }
        }
    }

    /// The lock that our processes hold while they have a container mounted privately.
    pub(crate) fn container_lock_path(&self, container: &ContainerId) -> Result<PathBuf> {
        let dir = self.state_dir()?.join("containers");
        private_dir(&dir)?;
        Ok(dir.join(format!("{container}.lock")))
    }
}

impl Inner {
    /// The directories of a layer and all below it, nearest first, as overlay lowers.
    pub(crate) fn lower_dirs(&self, layer: &LayerId) -> Result<Vec<PathBuf>> {
        let home = self.home_of(layer)?;
        let mut dirs = contents(home, layer)?;
        for below in Below::of(home, layer)?.layers() {
            dirs.extend(contents(self.home_of(below)?, below)?);
        }
        Ok(dirs)
    }

    /// What to stack to mount a container's layer for writing.
    pub(crate) fn writable_spec(
        &self,
        layer: &LayerId,
        durability: Durability,
    ) -> Result<OverlaySpec> {
        let dir = self.layer_dir(layer);
        let mut lowers = self.lower_dirs(layer)?;
        let upper = lowers.remove(0);
        if lowers.is_empty() {
            let empty = dir.join("empty");
            private_dir(&empty)?;
            lowers.push(empty);
        }
        let work = dir.join("work");
        private_dir(&work)?;
        // The kernel refuses an upper that was mounted volatile before, since it cannot know
        // whether the machine crashed meanwhile.
        remove_tree(&work.join("work/incompat/volatile"))?;
        Ok(OverlaySpec {
            lowers,
            upper: Some(upper),
            work: Some(work),
            xattrs: self.flavour(),
            durability,
        })
    }

    pub(crate) fn mount_layer(&self, layer: &LayerId, durability: Durability) -> Result<RootMount> {
        if !self.layer_dir(layer).join("diff").is_dir() {
            return Err(StoreError::LayerUnknown {
                wanted: layer.to_string(),
            });
        }
        RootMount::mount(&self.writable_spec(layer, durability)?, None)
    }

    /// The path of a layer's visible mount, if it is recorded and really there.
    pub(crate) fn visible_mount(&self, layer: &LayerId) -> Result<Option<PathBuf>> {
        let mounts = self.mounts.snapshot()?;
        let path = mounts
            .get(layer.as_str())
            .filter(|mount| mount.count > 0 && !mount.path.is_empty())
            .map(|mount| PathBuf::from(&mount.path));
        Ok(path.filter(|path| self.driver == DriverName::Vfs || is_mount_point(path)))
    }
}

/// Tells whether something is mounted exactly at `path`.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    )
    .is_ok_and(|stat| {
        stat.stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
            && stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

/// Makes a new empty directory of exactly these attributes.
pub(crate) fn fresh_dir(path: &Path, attributes: crate::driver::RootAttributes) -> Result<()> {
    fs::create_dir(path).at("create the directory", path)?;
    attributes.apply(path)
}

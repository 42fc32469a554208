//! The layer trees on disk: where they are, how they are stacked, how a new one is made.
//!
//! Records and locks are not handled here.

pub(crate) mod overlay;
pub(crate) mod vfs;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use sys::idmap::IdMaps;

use crate::error::{IoContext as _, Result};

/// Owner and mode of a layer's root directory.
///
/// The `./` entry of a layer's tar is ignored by every tool, so a base layer's root is 0555
/// and a child's is its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootAttributes {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl RootAttributes {
    /// Those of a base layer.
    pub(crate) fn base() -> Self {
        Self {
            mode: 0o555,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// Those of an existing root.
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let meta = fs::metadata(dir).at("examine", dir)?;
        Ok(Self {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        })
    }

    /// Those that a container with mapped ids has on the disk.
    pub(crate) fn shifted(self, ids: &IdMaps) -> Self {
        let (uid, gid) = ids.outside((self.uid, self.gid));
        Self { uid, gid, ..self }
    }

    /// Gives them to a directory.
    pub(crate) fn apply(self, dir: &Path) -> Result<()> {
        if Self::of(dir)? == self {
            return Ok(());
        }
        std::os::unix::fs::chown(dir, Some(self.uid), Some(self.gid))
            .at("change the owner of", dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(self.mode))
            .at("change the mode of", dir)
    }
}

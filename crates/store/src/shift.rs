//! Containers whose files belong to other users on the disk than in the image.
//!
//! What such a container has changed lies on the disk with the host's ids, and what lies below with
//! those of the image. Each view of it shifts what the other has: owners on the fly, by mounts, so
//! that nothing is copied but by the vfs driver.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sys::Root;
use sys::idmap::{self, IdMap, IdMaps};
use sys::mount::Depth;
use sys::overlay::{Durability, Shift};

use crate::error::{IoContext as _, Result};
use crate::locks::private_dir;
use crate::options::DriverName;
use crate::record::{ContainerRecord, IdRange, LayerRecord};
use crate::root::RootMount;
use crate::store::Inner;
use crate::tempdir::remove_tree;

/// Whose ids a view of a container shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The image's: root is 0.
    Image,
    /// Those that the container's processes have on the host.
    Host,
}

fn maps(users: &[IdRange], groups: &[IdRange]) -> IdMaps {
    let map = |ranges: &[IdRange]| {
        let range = |range: &IdRange| idmap::IdRange {
            inside: range.container_id,
            outside: range.host_id,
            count: range.size,
        };
        IdMap::from_ranges(ranges.iter().map(range).collect())
    };
    IdMaps {
        users: map(users),
        groups: map(groups),
    }
}

/// The ranges of a map as records have them.
pub(crate) fn ranges(map: &IdMap) -> Vec<IdRange> {
    let range = |range: &idmap::IdRange| IdRange {
        container_id: range.inside,
        host_id: range.outside,
        size: range.count,
    };
    map.ranges().iter().map(range).collect()
}

impl ContainerRecord {
    /// Returns how its ids are mapped; empty when they are the host's.
    #[must_use]
    pub fn maps(&self) -> IdMaps {
        maps(&self.uid_map, &self.gid_map)
    }
}

impl LayerRecord {
    /// Says whether its files on the disk have other owners than in the image.
    pub(crate) fn is_shifted(&self) -> bool {
        !self.uid_map.is_empty() || !self.gid_map.is_empty()
    }
}

/// A directory seen with the ids of the image.
pub(crate) struct Unshifted {
    path: PathBuf,
    // The path leads through it.
    _mount: Option<OwnedFd>,
}

impl Unshifted {
    /// Shows the directory `dir`, whose files have the ids of the host by `maps`.
    pub(crate) fn view(dir: &Path, maps: &IdMaps) -> Result<Self> {
        if maps.is_empty() {
            return Ok(Self {
                path: dir.to_owned(),
                _mount: None,
            });
        }
        let namespace = namespace(&maps.inverse(), dir)?;
        let mount = bind(dir, namespace.as_fd())?;
        Ok(Self {
            // The dot at the end has the link before it followed.
            path: format!("/proc/self/fd/{}/.", mount.as_raw_fd()).into(),
            _mount: Some(mount),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Binds a directory with its owners shifted.
pub(crate) fn bind(dir: &Path, namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let shifted = || -> io::Result<OwnedFd> {
        let mount = sys::mount::bind_detached(Root::open(dir)?.as_fd(), Depth::One)?;
        sys::mount::shift_owners(mount.as_fd(), namespace)?;
        Ok(mount)
    };
    shifted().at("shift the owners of", dir)
}

fn namespace(maps: &IdMaps, dir: &Path) -> Result<OwnedFd> {
    sys::userns::namespace(maps).at("make a user namespace for", dir)
}

/// Gives a directory to the container's root if its owner does not exist in the container: Buildah
/// leaves a container's root directory to that of the host.
fn give_to_root(dir: &Path, maps: &IdMaps) -> Result<()> {
    let meta = std::fs::metadata(dir).at("examine", dir)?;
    let inside = maps.inverse();
    if inside.users.contains(meta.uid()) && inside.groups.contains(meta.gid()) {
        return Ok(());
    }
    let (uid, gid) = maps.outside((0, 0));
    std::os::unix::fs::chown(dir, Some(uid), Some(gid)).at("change the owner of", dir)
}

impl Inner {
    /// Mounts a container's layer for writing, in one of its views.
    pub(crate) fn mount_view(
        &self,
        container: &ContainerRecord,
        view: View,
        durability: Durability,
    ) -> Result<RootMount> {
        let (layer, maps) = (&container.layer, container.maps());
        let dir = self.layer_dir(layer);
        if !maps.is_empty() {
            let content = match self.driver {
                DriverName::Vfs => dir.clone(),
                DriverName::Overlay => dir.join("diff"),
            };
            give_to_root(&content, &maps)?;
        }
        if self.driver == DriverName::Vfs {
            if maps.is_empty() || view == View::Host {
                return RootMount::directory(&dir, None);
            }
            let namespace = namespace(&maps.inverse(), &dir)?;
            return Ok(RootMount::of(bind(&dir, namespace.as_fd())?));
        }
        if maps.is_empty() {
            return self.mount_layer(layer, durability);
        }
        // Whoever does not exist in a view cannot pass through a directory of theirs.
        give_to_root(&dir, &maps)?;
        // As it was left it may belong to somebody who does not exist in the other view.
        let work = dir.join("work");
        remove_tree(&work)?;
        private_dir(&work)?;
        give_to_root(&work, &maps)?;
        let namespace = match view {
            View::Image => namespace(&maps.inverse(), &dir)?,
            View::Host => namespace(&maps, &dir)?,
        };
        let shift = match view {
            View::Image => Shift {
                upper: Some(namespace.as_fd()),
                ..Shift::default()
            },
            View::Host => Shift {
                lowers: Some(namespace.as_fd()),
                ..Shift::default()
            },
        };
        RootMount::shifted(&self.writable_spec(layer, durability)?, shift, None)
    }
}

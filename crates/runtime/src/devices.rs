//! `/dev`: a file system in memory with the usual device nodes and links, and more on demand.
//!
//! Where device nodes cannot be made (in a user namespace nobody can) the host's own are
//! bind-mounted over empty files.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, Uid};
use rustix::io::Errno;
use sys::Root;
use sys::mount::{Depth, MountFlags};

use crate::owners::Owners;
use crate::spec::{Device, DeviceKind};

/// Character devices that every container has: name, major, minor.
const USUAL: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What is mounted for `/dev`.
pub(crate) struct Dev {
    /// On `/dev` itself.
    pub(crate) mount: OwnedFd,
    /// Below it, by name there.
    pub(crate) nodes: Vec<(PathBuf, OwnedFd)>,
}

/// Makes `/dev` with the usual nodes and `more`.
pub(crate) fn dev(more: &[Device], owners: Owners<'_>) -> io::Result<Dev> {
    let flags = MountFlags::MOUNT_ATTR_NOSUID | MountFlags::MOUNT_ATTR_NOEXEC;
    let mount = sys::mount::tmpfs_detached(&[("mode", "755"), ("size", "65536k")], flags)?;
    let mut dev = Dev {
        mount,
        nodes: Vec::new(),
    };
    for (name, major, minor) in USUAL {
        let node = Node {
            kind: DeviceKind::Character,
            number: (*major, *minor),
            mode: 0o666,
        };
        let dir = dev.mount.try_clone()?;
        if dev.add(dir.as_fd(), OsStr::new(name), Path::new(name), &node)? == Made::Node {
            chown(&dir, *name, owners, (0, 0))?;
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev.mount, *name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev.mount, name, Mode::from_raw_mode(0o755))?;
        chown(&dev.mount, name, owners, (0, 0))?;
    }
    owners.give(&dev.mount)?;
    let root = Root::from_fd(dev.mount.try_clone()?);
    for device in more {
        let (dir, name) = root.parent_of(&device.name).or_else(|_| {
            let parent = device.name.parent().unwrap_or(Path::new(""));
            root.make_dirs(parent, Mode::from_raw_mode(0o755))?;
            root.parent_of(&device.name)
        })?;
        let node = Node {
            kind: device.kind,
            number: device.number,
            mode: device.mode,
        };
        if dev.add(dir.as_fd(), &name, &device.name, &node)? == Made::Node {
            chown(&dir, &name, owners, device.owner)?;
        }
    }
    Ok(dev)
}

/// Sets the owner and the group, as the container calls them.
fn chown(
    dir: &OwnedFd,
    name: impl rustix::path::Arg,
    owners: Owners<'_>,
    owner: (u32, u32),
) -> io::Result<()> {
    let (uid, gid) = owners.here(owner);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(
        dir,
        name,
        Some(uid),
        Some(gid),
        nofollow,
    )?)
}

/// A device node to make.
struct Node {
    kind: DeviceKind,
    number: (u32, u32),
    mode: RawMode,
}

/// How a device came to be in `/dev`.
#[derive(PartialEq, Eq)]
enum Made {
    /// As a node of its own.
    Node,
    /// As the host's, whose owner and mode it keeps.
    Bound,
}

impl Dev {
    /// Adds the node `name` of `dir`, which is `below` in `/dev`.
    fn add(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        below: &Path,
        node: &Node,
    ) -> io::Result<Made> {
        let kind = match node.kind {
            DeviceKind::Character => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
        };
        let number = rustix::fs::makedev(node.number.0, node.number.1);
        let mode = Mode::from_raw_mode(node.mode);
        match rustix::fs::mknodat(dir, name, kind, mode, number) {
            Ok(()) => {
                // The umask took part in the making.
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
                Ok(Made::Node)
            }
            Err(Errno::PERM) => {
                let place = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(dir, name, place, Mode::from_raw_mode(0o600))?;
                self.nodes
                    .push((below.to_owned(), hosts(below, kind, number)?));
                Ok(Made::Bound)
            }
            Err(err) => Err(err.into()),
        }
    }
}

/// The host's device of the same name, if it is the same device.
fn hosts(below: &Path, kind: FileType, number: u64) -> io::Result<OwnedFd> {
    let path = Path::new("/dev").join(below);
    let node = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&node)?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
        return Err(Errno::PERM.into());
    }
    sys::mount::bind_detached(node.as_fd(), Depth::One)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_device_is_taken_from_the_host() {
        let check = |name: &str, kind, number: (u32, u32), expected: io::ErrorKind| {
            let number = rustix::fs::makedev(number.0, number.1);
            let found = hosts(Path::new(name), kind, number);
            assert_eq!(found.unwrap_err().kind(), expected, "{name}");
        };
        let character = FileType::CharacterDevice;
        check("null", character, (1, 5), io::ErrorKind::PermissionDenied);
        check(
            "null",
            FileType::BlockDevice,
            (1, 3),
            io::ErrorKind::PermissionDenied,
        );
        check("no-such-device", character, (1, 3), io::ErrorKind::NotFound);
    }
}

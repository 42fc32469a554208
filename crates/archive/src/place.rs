//! Putting members into a tree, each through the handle of its directory.
//!
//! Laws:
//! - A parent is resolved inside the root by the kernel; a symbolic link in it is followed inside the root only.
//! - The last part of a name is never followed: it is made exclusively, or opened with `O_NOFOLLOW` and checked.
//! - What is already there is replaced only where the caller says so, and never through a link.
//! - Owner before attributes before mode before time: each later one would be undone by an earlier one.
//! - Times of directories come last, because every name made in a directory changes its time.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sys::Root;
use sys::xattr::Node;

use crate::tar::{Header, Kind, Time, Xattrs};
use crate::whiteout;

/// Number of directories that are kept open; members of one directory usually follow each other.
const CACHED_DIRECTORIES: usize = 64;
/// Mode of a directory that the archive uses but has no entry for.
const IMPLIED_MODE: u32 = 0o755;
/// Deepest tree that is removed to make place.
const REMOVE_DEPTH: usize = 1024;

/// What the process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Everything in the archive must come to be.
    Full,
    /// In a user namespace: devices and attributes that the kernel forbids are left out.
    Rootless,
}

/// What becomes of a member whose owner cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerChange {
    /// It is an error.
    #[default]
    Required,
    /// The member stays with whoever extracts it.
    Attempted,
}

/// Why a member could not be put into its place.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// The kernel refused its owner.
    Owner(io::Error),
    /// Anything else.
    Io(io::Error),
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for PlaceError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Owner, mode, time and attributes of a member.
pub(crate) struct Metadata<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: &'a Xattrs,
}

/// A name in an open directory.
#[derive(Clone)]
pub(crate) struct Spot {
    pub(crate) dir: Rc<OwnedFd>,
    pub(crate) name: Vec<u8>,
}

impl Spot {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Returns what is there, a link not followed.
    pub(crate) fn stat(&self) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&*self.dir, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a name that is no directory.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &*self.dir,
            self.name(),
            AtFlags::empty(),
        )?)
    }
}

/// Places members below one root.
pub(crate) struct Placer<'a> {
    root: &'a Root,
    privilege: Privilege,
    owners: OwnerChange,
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories in the order of their entries, for their times.
    dated: Vec<(Vec<u8>, Time)>,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(root: &'a Root, privilege: Privilege, owners: OwnerChange) -> Self {
        Self {
            root,
            privilege,
            owners,
            open: HashMap::new(),
            dated: Vec::new(),
        }
    }

    /// Returns the handle of a directory, which is made with its parents when it is missing.
    pub(crate) fn directory(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some(dir) = self.open.get(path) {
            return Ok(Rc::clone(dir));
        }
        let name = if path.is_empty() {
            Path::new(".")
        } else {
            Path::new(OsStr::from_bytes(path))
        };
        let dir = match self
            .root
            .open_with(name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self
                .root
                .make_dirs(name, Mode::from_raw_mode(IMPLIED_MODE))?,
            other => other?,
        };
        Ok(self.remember(path, dir))
    }

    /// Returns the place of `path`, which must not be empty.
    pub(crate) fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        Ok(Spot {
            dir: self.directory(parent)?,
            name: name.to_vec(),
        })
    }

    /// Returns the place of an existing `path`, for links to it.
    pub(crate) fn existing(&self, path: &[u8]) -> io::Result<Spot> {
        let (dir, name) = self.root.parent_of(Path::new(OsStr::from_bytes(path)))?;
        Ok(Spot {
            dir: Rc::new(dir),
            name: name.into_encoded_bytes(),
        })
    }

    fn remember(&mut self, path: &[u8], dir: OwnedFd) -> Rc<OwnedFd> {
        if self.open.len() >= CACHED_DIRECTORIES {
            self.open.clear();
        }
        let dir = Rc::new(dir);
        self.open.insert(path.to_vec(), Rc::clone(&dir));
        dir
    }

    /// Makes an empty regular file for writing; the name must be free.
    pub(crate) fn new_file(spot: &Spot) -> io::Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            &*spot.dir,
            spot.name(),
            flags,
            Mode::from_raw_mode(0o600),
        )?)
    }

    /// Sets what [`Metadata`] says on a file that [`Self::new_file`] made.
    pub(crate) fn dress_file(
        &self,
        file: BorrowedFd<'_>,
        metadata: &Metadata<'_>,
    ) -> Result<(), PlaceError> {
        self.owned(rustix::fs::fchown(
            file,
            Some(uid(metadata)),
            Some(gid(metadata)),
        ))?;
        self.set_xattrs(Node::Open(file), metadata.xattrs)?;
        rustix::fs::fchmod(file, mode(metadata))?;
        rustix::fs::futimens(file, &timestamps(metadata.mtime))?;
        Ok(())
    }

    /// Makes a directory or takes over the one that is there.
    pub(crate) fn make_directory(
        &mut self,
        path: &[u8],
        spot: &Spot,
        metadata: &Metadata<'_>,
    ) -> Result<(), PlaceError> {
        match rustix::fs::mkdirat(&*spot.dir, spot.name(), Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&*spot.dir, spot.name(), flags, Mode::empty())?;
        self.dress_directory(path, dir.as_fd(), metadata)?;
        self.remember(path, dir);
        Ok(())
    }

    /// Sets what [`Metadata`] says on an open directory; its time follows in [`Self::finish`].
    pub(crate) fn dress_directory(
        &mut self,
        path: &[u8],
        dir: BorrowedFd<'_>,
        metadata: &Metadata<'_>,
    ) -> Result<(), PlaceError> {
        self.owned(rustix::fs::fchown(
            dir,
            Some(uid(metadata)),
            Some(gid(metadata)),
        ))?;
        self.set_xattrs(Node::Open(dir), metadata.xattrs)?;
        rustix::fs::fchmod(dir, mode(metadata))?;
        self.dated.push((path.to_vec(), metadata.mtime));
        Ok(())
    }

    /// Makes a symbolic link.
    pub(crate) fn make_symlink(
        &self,
        spot: &Spot,
        target: &[u8],
        metadata: &Metadata<'_>,
    ) -> Result<(), PlaceError> {
        rustix::fs::symlinkat(OsStr::from_bytes(target), &*spot.dir, spot.name())?;
        self.dress_node(spot, metadata)
    }

    /// Makes a hard link; a symbolic link is linked to itself, not to its target.
    pub(crate) fn make_hard_link(spot: &Spot, target: &Spot) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            &*target.dir,
            target.name(),
            &*spot.dir,
            spot.name(),
            AtFlags::empty(),
        )?)
    }

    /// Makes a device or FIFO. Returns whether it was made: rootless, the kernel may forbid it.
    pub(crate) fn make_node(
        &self,
        spot: &Spot,
        header: &Header,
        metadata: &Metadata<'_>,
    ) -> Result<bool, PlaceError> {
        let kind = match header.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let number = |value: i64| u32::try_from(value).map_err(|_| io::Error::from(Errno::INVAL));
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(number(header.dev_major)?, number(header.dev_minor)?),
        };
        match rustix::fs::mknodat(
            &*spot.dir,
            spot.name(),
            kind,
            Mode::from_raw_mode(0o600),
            device,
        ) {
            Err(Errno::PERM) if kind != FileType::Fifo && self.privilege == Privilege::Rootless => {
                return Ok(false);
            }
            other => other?,
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&*spot.dir, spot.name(), flags, Mode::empty())?;
        self.dress_node(spot, metadata)?;
        // There is no chmod that does not follow links before Linux 6.6; a handle of the node itself cannot be one.
        if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) == kind {
            rustix::fs::chmodat(
                CWD,
                format!("/proc/self/fd/{}", handle.as_raw_fd()),
                mode(metadata),
                AtFlags::empty(),
            )?;
        }
        set_time(spot, metadata.mtime)?;
        Ok(true)
    }

    /// Makes the device that tells overlayfs that a name is removed. On an overlay file system, which
    /// has no such nodes and so cannot hold layers for another, it is a file with the archive's name.
    pub(crate) fn make_whiteout(
        &self,
        spot: &Spot,
        metadata: &Metadata<'_>,
    ) -> Result<(), PlaceError> {
        let device = FileType::CharacterDevice;
        match rustix::fs::mknodat(&*spot.dir, spot.name(), device, Mode::empty(), 0) {
            Err(Errno::PERM) => {
                let mark = Spot {
                    dir: Rc::clone(&spot.dir),
                    name: [whiteout::PREFIX, &spot.name].concat(),
                };
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&*mark.dir, mark.name(), flags, Mode::empty())?;
                self.finish_whiteout(&mark, metadata)
            }
            made => {
                made?;
                self.finish_whiteout(spot, metadata)
            }
        }
    }

    fn finish_whiteout(&self, spot: &Spot, metadata: &Metadata<'_>) -> Result<(), PlaceError> {
        self.chown(spot, metadata)?;
        Ok(set_time(spot, metadata.mtime)?)
    }

    fn chown(&self, spot: &Spot, metadata: &Metadata<'_>) -> Result<(), PlaceError> {
        self.owned(rustix::fs::chownat(
            &*spot.dir,
            spot.name(),
            Some(uid(metadata)),
            Some(gid(metadata)),
            AtFlags::SYMLINK_NOFOLLOW,
        ))
    }

    fn owned(&self, changed: Result<(), Errno>) -> Result<(), PlaceError> {
        match self.owners {
            OwnerChange::Attempted => Ok(()),
            OwnerChange::Required => changed.map_err(|errno| PlaceError::Owner(errno.into())),
        }
    }

    fn dress_node(&self, spot: &Spot, metadata: &Metadata<'_>) -> Result<(), PlaceError> {
        self.chown(spot, metadata)?;
        self.set_xattrs(Node::At(spot.dir.as_fd(), spot.name()), metadata.xattrs)?;
        Ok(set_time(spot, metadata.mtime)?)
    }

    fn set_xattrs(&self, node: Node<'_>, xattrs: &Xattrs) -> io::Result<()> {
        for (name, value) in xattrs {
            // Marks of overlayfs from a stranger would redirect or hide what other layers have.
            if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
                continue;
            }
            let result = node.set(OsStr::from_bytes(name), value);
            match result.as_ref().err().and_then(Errno::from_io_error) {
                Some(Errno::NOTSUP) => {}
                Some(Errno::PERM) if self.privilege == Privilege::Rootless => {}
                _ => result?,
            }
        }
        Ok(())
    }

    /// Removes what is at a place, with everything below it. `keep` is asked for each path below `path`, by name; a
    /// directory that still holds something afterwards stays. Returns whether the place is free.
    pub(crate) fn remove(
        &mut self,
        path: &[u8],
        spot: &Spot,
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        self.open.clear();
        remove(&mut path.to_vec(), spot, keep, REMOVE_DEPTH)
    }

    /// Removes what is in a directory except what `keep` answers for.
    pub(crate) fn empty(
        &mut self,
        path: &[u8],
        dir: BorrowedFd<'_>,
        keep: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        self.open.clear();
        let flags = crate::walk::open_dir_flags();
        let dir = Rc::new(rustix::fs::openat(dir, c".", flags, Mode::empty())?);
        remove_children(&mut path.to_vec(), &dir, keep, REMOVE_DEPTH).map(|_| ())
    }

    /// Sets the times of directories.
    pub(crate) fn finish(self) -> io::Result<()> {
        for (path, time) in self.dated {
            let name = if path.is_empty() {
                Path::new(".")
            } else {
                Path::new(OsStr::from_bytes(&path))
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match self.root.open_with(name, flags, Mode::empty()) {
                Ok(dir) => rustix::fs::futimens(dir, &timestamps(time))?,
                // A later entry took its place.
                Err(error)
                    if matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn remove(
    path: &mut Vec<u8>,
    spot: &Spot,
    keep: &mut dyn FnMut(&[u8]) -> bool,
    depth: usize,
) -> io::Result<bool> {
    match spot.unlink() {
        Ok(()) => return Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => return Ok(true),
            Some(Errno::ISDIR | Errno::PERM) if depth > 0 => {}
            _ => return Err(error),
        },
    }
    let flags = crate::walk::open_dir_flags();
    let dir = Rc::new(rustix::fs::openat(
        &*spot.dir,
        spot.name(),
        flags,
        Mode::empty(),
    )?);
    if !remove_children(path, &dir, keep, depth - 1)? {
        return Ok(false);
    }
    rustix::fs::unlinkat(&*spot.dir, spot.name(), AtFlags::REMOVEDIR)?;
    Ok(true)
}

fn remove_children(
    path: &mut Vec<u8>,
    dir: &Rc<OwnedFd>,
    keep: &mut dyn FnMut(&[u8]) -> bool,
    depth: usize,
) -> io::Result<bool> {
    let mut is_empty = true;
    for name in crate::walk::names_of(dir.as_fd())? {
        let base = path.len();
        if base > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        is_empty &= if keep(path) {
            // What stays may be a directory that was merged with an old one.
            match rustix::fs::openat(
                &**dir,
                name.as_c_str(),
                crate::walk::open_dir_flags(),
                Mode::empty(),
            ) {
                Ok(inner) if depth > 0 => {
                    remove_children(path, &Rc::new(inner), keep, depth - 1).map(|_| false)?
                }
                _ => false,
            }
        } else {
            let spot = Spot {
                dir: Rc::clone(dir),
                name: name.into_bytes(),
            };
            remove(path, &spot, keep, depth)?
        };
        path.truncate(base);
    }
    Ok(is_empty)
}

fn set_time(spot: &Spot, time: Time) -> io::Result<()> {
    Ok(rustix::fs::utimensat(
        &*spot.dir,
        spot.name(),
        &timestamps(time),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn uid(metadata: &Metadata<'_>) -> Uid {
    Uid::from_raw(metadata.uid)
}

fn gid(metadata: &Metadata<'_>) -> Gid {
    Gid::from_raw(metadata.gid)
}

fn mode(metadata: &Metadata<'_>) -> Mode {
    Mode::from_raw_mode(metadata.mode & 0o7777)
}

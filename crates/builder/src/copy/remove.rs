//! Takes away what is in the way at the destination.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::path::os;

/// Deepest tree that is removed; each level holds one descriptor while it is emptied.
const MAX_DEPTH: usize = 512;

/// Removes the entry `name` of `dir`, with all that is below it when it is a directory.
///
/// No link is followed. That it is gone already is fine.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, os(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EPERM is what POSIX and some file systems say of a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(err) => return Err(err.into()),
    }
    let mut stack = vec![Level::open(dir, name.to_vec())?];
    while let Some(level) = stack.last_mut() {
        let Some((name, is_dir)) = level.left.pop() else {
            let done = stack.pop().expect("the loop saw it");
            let parent = stack.last().map_or(dir, |level| level.fd.as_fd());
            match rustix::fs::unlinkat(parent, os(&done.name), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(err) => return Err(err.into()),
            }
        };
        if !is_dir {
            match rustix::fs::unlinkat(&level.fd, os(&name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(err) => return Err(err.into()),
            }
        }
        let next = Level::open(level.fd.as_fd(), name)?;
        if stack.len() == MAX_DEPTH {
            return Err(Errno::NAMETOOLONG.into());
        }
        stack.push(next);
    }
    Ok(())
}

struct Level {
    fd: OwnedFd,
    name: Vec<u8>,
    left: Vec<(Vec<u8>, bool)>,
}

impl Level {
    fn open(parent: BorrowedFd<'_>, name: Vec<u8>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, os(&name), flags, Mode::empty())?;
        let mut left = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                left.push((name.to_vec(), entry.file_type() == FileType::Directory));
            }
        }
        Ok(Self { fd, name, left })
    }
}

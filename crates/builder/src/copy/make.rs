//! Makes single things in a directory of the target: new, dressed with owner, mode and times.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::path::os;
use super::plan::{FileTime, Payload, Xattrs};
use super::remove::remove;

/// How often something is removed that comes back before the new thing is made.
pub(super) const ATTEMPTS: usize = 3;

/// What something that is made will look like, beside its content.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: FileTime,
    pub xattrs: Option<&'a Xattrs>,
}

/// What new files of one directory are born with, seen at the first one.
#[derive(Clone, Copy)]
pub(super) struct Birth {
    asked: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

pub(super) fn both(time: FileTime) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Does `make`; when the name is taken, removes what has it and does it again.
pub(super) fn replacing<T>(
    dir: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        match make() {
            Err(Errno::EXIST) => remove(dir, name)?,
            other => return Ok(other?),
        }
    }
    Err(Errno::EXIST.into())
}

/// Makes a new, empty file that nobody else has open.
pub(super) fn create(dir: BorrowedFd<'_>, name: &[u8], wanted: &Wanted<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replacing(dir, name, || {
        rustix::fs::openat(
            dir,
            os(name),
            flags,
            Mode::from_raw_mode(wanted.mode & 0o777),
        )
    })
}

/// Sets owner, mode, attributes and times, in the order in which none undoes another: a change of
/// the owner clears set-ID bits and capabilities, and everything changes times.
///
/// New files of one directory are born alike, so that what `birth` knows is not set again.
pub(super) fn dress(
    fd: BorrowedFd<'_>,
    wanted: &Wanted<'_>,
    birth: &mut Option<Birth>,
) -> io::Result<()> {
    let asked = wanted.mode & 0o777;
    let born = match birth {
        Some(born) if born.asked == asked => *born,
        _ => {
            let stat = rustix::fs::fstat(fd)?;
            let seen = Birth {
                asked,
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
            };
            *birth = Some(seen);
            seen
        }
    };
    let own = (born.uid, born.gid) != (wanted.uid, wanted.gid);
    if own {
        rustix::fs::fchown(
            fd,
            Some(Uid::from_raw(wanted.uid)),
            Some(Gid::from_raw(wanted.gid)),
        )?;
    }
    if born.mode != wanted.mode || own && wanted.mode & 0o6000 != 0 {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(wanted.mode))?;
    }
    if let Some(xattrs) = wanted.xattrs {
        for (name, value) in xattrs {
            sys::xattr::Node::Open(fd).set(os(name), value)?;
        }
    }
    Ok(rustix::fs::futimens(fd, &both(wanted.mtime))?)
}

/// Makes a link, a FIFO, a socket or a device.
pub(super) fn make_special(
    dir: BorrowedFd<'_>,
    name: &[u8],
    payload: &Payload,
    wanted: &Wanted<'_>,
) -> io::Result<()> {
    let node =
        |kind, number| rustix::fs::mknodat(dir, os(name), kind, Mode::from_raw_mode(0o600), number);
    replacing(dir, name, || match payload {
        Payload::Symlink(target) => rustix::fs::symlinkat(os(target), dir, os(name)),
        Payload::Fifo => node(FileType::Fifo, 0),
        Payload::Socket => node(FileType::Socket, 0),
        Payload::CharDevice(number) => node(FileType::CharacterDevice, *number),
        Payload::BlockDevice(number) => node(FileType::BlockDevice, *number),
        Payload::File { .. }
        | Payload::HardLink { .. }
        | Payload::Directory(_)
        | Payload::ExcludedDirectory(_) => Err(Errno::INVAL),
    })?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(
        dir,
        os(name),
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
        flags,
    )?;
    if !matches!(payload, Payload::Symlink(_)) {
        // fchmodat(2) follows links, and a process in the container may have put one there.
        let handle_flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(dir, os(name), handle_flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        rustix::fs::chmod(path, Mode::from_raw_mode(wanted.mode))?;
    }
    Ok(rustix::fs::utimensat(
        dir,
        os(name),
        &both(wanted.mtime),
        flags,
    )?)
}

pub(super) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

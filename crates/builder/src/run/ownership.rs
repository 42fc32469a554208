//! Gives the files of a mount to the user of the process: the option `U`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

/// Deepest folder below a mount whose files change their owner.
const MAX_DEPTH: usize = 400;

/// Folders of the host whose owner is never changed, whatever a user asks for: a mistake there ends
/// the host.
const PROTECTED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// Whose the files of a mount are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Whose they have been.
    #[default]
    Kept,
    /// The user's who the process is: all of them change their owner, on the host too where what is
    /// written goes there.
    OfUser,
}

/// Says whether the owner of `path` on the host must not be changed.
pub(super) fn is_protected(path: &Path) -> bool {
    PROTECTED.iter().any(|known| path == Path::new(known))
}

/// Gives `object` and everything below it to the user and group `owner`. Links are given, not
/// followed, and what has that owner already is not touched.
pub(super) fn give(object: BorrowedFd<'_>, owner: (u32, u32)) -> io::Result<()> {
    give_one(object, c"", AtFlags::EMPTY_PATH, owner)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(object)?.st_mode);
    if kind == FileType::Directory {
        let directory = open_below(object, c".")?;
        give_below(&directory, owner, 0)?;
    }
    Ok(())
}

fn give_below(directory: &OwnedFd, owner: (u32, u32), depth: usize) -> io::Result<()> {
    if depth == MAX_DEPTH {
        return Err(io::Error::other(format!(
            "more than {MAX_DEPTH} folders in each other"
        )));
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        give_one(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW, owner)?;
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            give_below(&open_below(directory.as_fd(), name)?, owner, depth + 1)?;
        }
    }
    Ok(())
}

fn give_one(
    directory: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    flags: AtFlags,
    (uid, gid): (u32, u32),
) -> io::Result<()> {
    let stat = rustix::fs::statat(directory, name, flags)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(
        directory,
        name,
        Some(uid),
        Some(gid),
        flags,
    )?)
}

fn open_below(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_host_are_protected_and_what_lies_in_them_is_not() {
        for (path, expected) in [
            ("/", true),
            ("/etc", true),
            ("/etc/", true),
            ("/etc/x", false),
        ] {
            assert_eq!(is_protected(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn priv_all_below_is_given_and_links_are_not_followed() {
        use std::os::unix::fs::MetadataExt as _;
        let path = std::env::temp_dir().join(format!("cooper-ownership-{}", std::process::id()));
        std::fs::create_dir_all(path.join("given/sub")).expect("makes folders");
        for file in ["outside", "given/file", "given/sub/file"] {
            std::fs::write(path.join(file), "x").expect("writes");
        }
        std::os::unix::fs::symlink("../outside", path.join("given/link")).expect("links");
        let object = std::fs::File::open(path.join("given")).expect("opens");
        let given = give(object.as_fd(), (7, 8));
        let owner = |name: &str| {
            let facts = std::fs::symlink_metadata(path.join(name)).expect(name);
            (facts.uid(), facts.gid())
        };
        let found = [
            "given",
            "given/file",
            "given/sub",
            "given/sub/file",
            "given/link",
        ]
        .map(owner);
        let outside = owner("outside");
        std::fs::remove_dir_all(&path).expect("cleans up");
        given.expect("needs root");
        assert_eq!((found, outside), ([(7, 8); 5], (0, 0)));
    }
}

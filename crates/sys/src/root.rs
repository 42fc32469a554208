//! A directory below which every path stays.
//!
//! Paths from images, contexts and archives are resolved by the kernel with
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`: an absolute path, an absolute symbolic link
//! and `..` all mean the root's own tree. The result is a descriptor, so that what was checked is
//! what is used. There is no fallback for kernels without `openat2` (before Linux 5.6): the error
//! is the kernel's `ENOSYS`.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a resolution that raced with a rename is tried again (`EAGAIN`, openat2(2)).
const RACE_RETRIES: u32 = 64;
/// How many dangling symbolic links [`Root::make_dirs`] follows, the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// A directory handle; every path given to it is resolved inside it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

/// A directory entry that [`Root::make_dirs_listed`] made.
#[derive(Debug)]
pub struct Made {
    /// Handle (`O_PATH`) of the directory that holds the entry.
    pub parent: OwnedFd,
    /// Name of the entry in `parent`.
    pub name: OsString,
}

impl Root {
    /// Opens the directory at the host path `path`, following symbolic links.
    ///
    /// # Errors
    /// The kernel's error of opening it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            dir: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Takes a directory descriptor (`O_PATH` is enough) as the root.
    #[must_use]
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir }
    }

    /// Gives the descriptor back.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.dir
    }

    /// Returns a second handle on the same directory.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            dir: self.dir.try_clone()?,
        })
    }

    /// Opens `path` with `flags` (`O_CLOEXEC` is added) and, when it creates, `mode`.
    ///
    /// # Errors
    /// The kernel's error; `ELOOP` for a magic link of procfs.
    pub fn open_with(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut left = RACE_RETRIES;
        loop {
            match rustix::fs::openat2(&self.dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if left > 0 => left -= 1,
                other => return Ok(other?),
            }
        }
    }

    /// Resolves `path`, the last symbolic link included, to an `O_PATH` handle.
    ///
    /// # Errors
    /// The kernel's error of the resolution.
    pub fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH, Mode::empty())
    }

    /// Resolves `path` to an `O_PATH` handle; when the last part is a symbolic link, of the link.
    ///
    /// # Errors
    /// The kernel's error of the resolution.
    pub fn resolve_nofollow(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Opens a directory for reading its entries.
    ///
    /// # Errors
    /// The kernel's error; `ENOTDIR` when it is something else.
    pub fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The kernel's error; [`io::ErrorKind::InvalidInput`] when it is not a regular file.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        // Opening a device or a FIFO named by an image can block or have effects on the host, so
        // the type is known before the object itself is opened.
        let handle = self.resolve(path)?;
        let stat = rustix::fs::fstat(&handle)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(reopen(handle.as_fd(), OFlags::RDONLY)?.into()),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }

    /// Returns the directory at `path` as a root of its own.
    ///
    /// # Errors
    /// The kernel's error; `ENOTDIR` when it is something else.
    pub fn sub_root(&self, path: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: self.open_with(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?,
        })
    }

    /// Splits `path` into an `O_PATH` handle of its existing parent directory and its last name.
    ///
    /// Trailing slashes are ignored. The last name is not looked up.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when `path` has no last name (`/`, `..`, empty); otherwise the
    /// kernel's error of resolving the parent.
    pub fn parent_of(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "path has no last name",
            ));
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((
            self.open_with(parent, flags, Mode::empty())?,
            name.to_owned(),
        ))
    }

    /// Makes the directory `path` and its missing parents, each with exactly `mode`; existing ones
    /// are left as they are. Returns an `O_PATH` handle of the last one.
    ///
    /// Symbolic links are followed inside the root, dangling ones too: their target is made.
    ///
    /// # Errors
    /// The kernel's error; `ENOTDIR` when a part exists and is no directory.
    pub fn make_dirs(&self, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
        self.make_dirs_listed(path, mode, &mut Vec::new())
    }

    /// Does what [`Root::make_dirs`] does and appends every directory it made to `made`, outermost
    /// first, also when it fails half-way.
    ///
    /// # Errors
    /// As [`Root::make_dirs`].
    pub fn make_dirs_listed(
        &self,
        path: &Path,
        mode: Mode,
        made: &mut Vec<Made>,
    ) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_with(path, flags, Mode::empty()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut todo: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut here = self.dir.try_clone()?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            let next = done.join(&name);
            match self.open_with(&next, flags, Mode::empty()) {
                Ok(dir) => {
                    here = dir;
                    done = next;
                    continue;
                }
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
            match rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    made.push(Made {
                        parent: here.try_clone()?,
                        name: name.clone(),
                    });
                    let dir = rustix::fs::openat(
                        &here,
                        &name,
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    // The process's umask must not decide what an image contains.
                    rustix::fs::fchmod(&dir, mode)?;
                    here = dir;
                    done = next;
                }
                Err(Errno::EXIST) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = match rustix::fs::readlinkat(&here, &name, Vec::new()) {
                        Ok(target) => target,
                        // Another thread made the directory between the two calls.
                        Err(Errno::INVAL) => {
                            todo.push_front(name);
                            continue;
                        }
                        Err(err) => return Err(err.into()),
                    };
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        done = PathBuf::new();
                        here = self.dir.try_clone()?;
                    }
                    for part in parts(target).into_iter().rev() {
                        todo.push_front(part);
                    }
                }
                Err(err) => return Err(err.into()),
            }
        }
        self.open_with(&done, flags, Mode::empty())
    }

    /// Returns the metadata of `path`; of the link itself when it is one.
    ///
    /// # Errors
    /// The kernel's error of the resolution.
    pub fn stat_nofollow(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::fstat(self.resolve_nofollow(path)?)?)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// The words of a path without roots and `.`; `..` stays, for the kernel to resolve.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// Opens the object behind `handle` (also an `O_PATH` one) anew with `flags`.
///
/// # Errors
/// The kernel's error; needs `/proc`.
pub fn reopen(handle: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Removes what was made, innermost first; directories that are no longer empty stay.
///
/// # Errors
/// The first error that is not "gone already" or "not empty"; the rest is removed all the same.
pub fn remove_made(made: Vec<Made>) -> io::Result<()> {
    let mut first = Ok(());
    for Made { parent, name } in made.into_iter().rev() {
        let done = match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            other => other.map_err(io::Error::from),
        };
        if first.is_ok() {
            first = done;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Tree(PathBuf);
    impl Tree {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!(
                "/var/tmp/cooper-dev-sys/root-{name}-{}",
                std::process::id()
            ));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("in/sub")).unwrap();
            std::fs::write(path.join("in/file"), "inside").unwrap();
            std::fs::write(path.join("secret"), "outside").unwrap();
            symlink("/file", path.join("in/abs")).unwrap();
            symlink("../../../secret", path.join("in/up")).unwrap();
            symlink("/run/deep", path.join("in/dangling")).unwrap();
            symlink("dangling", path.join("in/dangling2")).unwrap();
            symlink("loop", path.join("in/loop")).unwrap();
            Self(path)
        }
        fn root(&self) -> Root {
            Root::open(&self.0.join("in")).unwrap()
        }
    }
    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_path_stays_inside() {
        let tree = Tree::new("inside");
        let root = tree.root();
        let read = |path: &str| {
            root.open_file(Path::new(path))
                .map(|file| std::io::read_to_string(file).unwrap())
                .map_err(|e| e.raw_os_error())
        };
        for path in [
            "file",
            "/file",
            "abs",
            "../file",
            "/../../file",
            "sub/../abs",
        ] {
            assert_eq!(read(path), Ok("inside".to_owned()), "{path}");
        }
        assert_eq!(read("up"), Err(Some(libc::ENOENT)));
        assert_eq!(read("loop"), Err(Some(libc::ELOOP)));
        assert_eq!(read("sub"), Err(Some(libc::EISDIR)));
        assert!(root.resolve(Path::new("")).is_ok());
    }

    #[test]
    fn magic_links_are_refused() {
        let root = Root::open(Path::new("/proc")).unwrap();
        let err = root.resolve(Path::new("self/root")).unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn parent_and_name() {
        let tree = Tree::new("parent");
        let root = tree.root();
        for (path, expected) in [
            ("a", Some("a")),
            ("/sub/b/", Some("b")),
            ("/", None),
            ("", None),
            ("sub/..", None),
            ("up/x", None),
        ] {
            let got = root.parent_of(Path::new(path)).ok().map(|(_, name)| name);
            assert_eq!(got.as_deref(), expected.map(OsStr::new), "{path}");
        }
    }

    #[test]
    fn directories_are_made_through_links_and_taken_away() {
        let tree = Tree::new("make");
        let root = tree.root();
        let inside = tree.0.join("in");
        let mut made = Vec::new();
        for path in ["a/b/c", "/dangling2/x", "sub/../d", "../../e"] {
            root.make_dirs_listed(Path::new(path), Mode::from_raw_mode(0o755), &mut made)
                .unwrap();
        }
        for path in ["a/b/c", "run/deep/x", "d", "e"] {
            let meta = std::fs::metadata(inside.join(path)).unwrap();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777,
                0o755,
                "{path}"
            );
        }
        assert!(!tree.0.join("e").exists());
        assert_eq!(made.len(), 8);
        std::fs::write(inside.join("a/b/kept"), "").unwrap();
        remove_made(made).unwrap();
        assert!(inside.join("a/b/kept").exists() && !inside.join("a/b/c").exists());
        assert!(!inside.join("run").exists() && !inside.join("d").exists());
        let err = root
            .make_dirs(Path::new("file/x"), Mode::from_raw_mode(0o755))
            .unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ENOTDIR));
        let err = root
            .make_dirs(Path::new("loop/x"), Mode::from_raw_mode(0o755))
            .unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ELOOP));
    }
}

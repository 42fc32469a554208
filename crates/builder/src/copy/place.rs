//! Where things go: the destination rules (containerfile-semantics 9.3, 9.4, 9.9).
//!
//! The container root is a stranger's: every path is resolved inside it by the kernel, and what is
//! made is made through handles of the directories that were found.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::{Made, Root};

use super::gather::Gathered;
use super::path::{dir_of, join, os, shown};
use super::plan::{Part, Shape};
use super::source::clean;
use super::{CopyError, Destination, Layout};

/// Mode of directories that a copy makes on the way to the destination.
const MADE_MODE: u32 = 0o755;
/// Most links that lead from one to the next at the destination.
const MAX_LINKS: usize = 40;

/// Where the parts of a request go.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory, as a path in the container root. It exists.
    pub dir: Vec<u8>,
    /// The name of the one file, when it does not keep its own.
    pub name: Option<Vec<u8>>,
}

/// Finds places and makes directories on the way.
pub(super) struct Placer<'a> {
    pub target: &'a Root,
    pub owner: (u32, u32),
    pub onto: Destination,
    pub made: Vec<Made>,
}

impl Placer<'_> {
    /// Applies the destination rules to what was gathered.
    pub fn place(&mut self, gathered: &Gathered) -> Result<Place, CopyError> {
        let written = &gathered.destination;
        let mut text = written.clone();
        if !text.starts_with(b"/") {
            text = [&gathered.cwd[..], b"/", written].concat();
        }
        let path = clean(&text).join(&b'/');
        let as_asked = || {
            let slash = if written.ends_with(b"/") && !path.is_empty() {
                "/"
            } else {
                ""
            };
            format!("/{}{slash}", shown(&path))
        };
        let one_file = match gathered.parts.as_slice() {
            [Part::Inline { .. }] => true,
            [
                Part::Tree {
                    shape: Shape::Named,
                    ..
                },
            ] => gathered.items == 1,
            _ => false,
        };
        if !one_file
            || names_directory(written)
            || gathered.layout == Layout::Parents
            || path.is_empty()
        {
            return self
                .directory(&path, &as_asked)
                .map(|dir| Place { dir, name: None });
        }
        match self.onto {
            Destination::Existing => self.file(path.clone(), &as_asked),
            Destination::Fresh => {
                self.fresh(dir_of(&path))?;
                Ok(at(&path))
            }
        }
    }

    fn directory(
        &mut self,
        path: &[u8],
        as_asked: &dyn Fn() -> String,
    ) -> Result<Vec<u8>, CopyError> {
        match self.onto {
            Destination::Fresh => self.fresh(path)?,
            Destination::Existing => {
                if let Err(err) = self.make_dirs(path) {
                    return Err(match err {
                        CopyError::ParentNotDirectory { .. }
                            if self.target.resolve(Path::new(os(path))).is_ok() =>
                        {
                            CopyError::DestinationNotDirectory { path: as_asked() }
                        }
                        err => err,
                    });
                }
            }
        }
        Ok(path.to_vec())
    }

    /// Finds the place of one file at `path`, which has no trailing slash.
    fn file(
        &mut self,
        mut path: Vec<u8>,
        as_asked: &dyn Fn() -> String,
    ) -> Result<Place, CopyError> {
        for _ in 0..MAX_LINKS {
            let failed = |action| {
                let path = format!("/{}", shown(&path));
                move |source| CopyError::Target {
                    action,
                    path,
                    source,
                }
            };
            let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
            let found = self.target.stat_nofollow(Path::new(os(&path))).map(kind);
            match found {
                Ok(FileType::Directory) => {
                    return Ok(Place {
                        dir: path,
                        name: None,
                    });
                }
                Ok(FileType::Symlink) => {}
                Ok(_) => return Ok(at(&path)),
                Err(err) if is(&err, Errno::NOENT) => {
                    self.make_dirs(dir_of(&path))?;
                    return Ok(at(&path));
                }
                Err(err) if is(&err, Errno::NOTDIR) => {
                    return Err(CopyError::ParentNotDirectory {
                        path: format!("/{}", shown(&path)),
                    });
                }
                Err(err) => return Err(failed("resolve")(err)),
            }
            match self
                .target
                .resolve(Path::new(os(&path)))
                .and_then(|fd| Ok(rustix::fs::fstat(fd)?))
                .map(kind)
            {
                Ok(FileType::Directory) => {
                    return Ok(Place {
                        dir: path,
                        name: None,
                    });
                }
                // The link is replaced, not what it leads to.
                Ok(_) => return Ok(at(&path)),
                Err(err) if is(&err, Errno::NOENT) => {}
                Err(err) if is(&err, Errno::NOTDIR) => {
                    return Err(CopyError::ParentNotDirectory {
                        path: format!("/{}", shown(&path)),
                    });
                }
                Err(err) if is(&err, Errno::LOOP) => break,
                Err(err) => return Err(failed("resolve")(err)),
            }
            let (parent, name) = self
                .target
                .parent_of(Path::new(os(&path)))
                .map_err(failed("resolve"))?;
            let link = rustix::fs::readlinkat(&parent, &name, Vec::new())
                .map_err(|err| failed("read the link")(err.into()))?
                .into_bytes();
            // `..` stays: the kernel resolves it behind whatever links are before it.
            let next = if link.starts_with(b"/") {
                link
            } else {
                join(dir_of(&path), &link)
            };
            let next = next.strip_prefix(b"/").unwrap_or(&next).to_vec();
            if names_directory(&next) {
                self.make_dirs(&next)?;
                return Ok(Place {
                    dir: next,
                    name: None,
                });
            }
            path = next;
        }
        Err(CopyError::TooManyLinks {
            path: as_asked(),
            limit: MAX_LINKS,
        })
    }

    /// Makes a directory and its parents, links followed.
    fn make_dirs(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let before = self.made.len();
        let outcome = self.target.make_dirs_listed(
            Path::new(os(path)),
            Mode::from_raw_mode(MADE_MODE),
            &mut self.made,
        );
        let shown = || format!("/{}", shown(path));
        outcome.map_err(
            |err| match err.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOTDIR) => CopyError::ParentNotDirectory { path: shown() },
                Some(Errno::LOOP) => CopyError::TooManyLinks {
                    path: shown(),
                    limit: MAX_LINKS,
                },
                _ => CopyError::Target {
                    action: "make directory",
                    path: shown(),
                    source: err,
                },
            },
        )?;
        self.own(before).map_err(|source| CopyError::Target {
            action: "set the owner of",
            path: shown(),
            source,
        })
    }

    /// Makes a directory and its parents; what is in the way and not a directory is replaced.
    fn fresh(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let failed = |source| CopyError::Target {
            action: "make directory",
            path: format!("/{}", shown(path)),
            source,
        };
        let before = self.made.len();
        let mut here = self.target.open_dir(Path::new("")).map_err(failed)?;
        for name in clean(path) {
            here = self.fresh_step(here, name).map_err(failed)?;
        }
        self.own(before).map_err(failed)
    }

    fn fresh_step(&mut self, here: OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&here, os(name), flags, Mode::empty()) {
            Ok(dir) => return Ok(dir),
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => {
                rustix::fs::unlinkat(&here, os(name), AtFlags::empty())?;
            }
            Err(err) => return Err(err.into()),
        }
        rustix::fs::mkdirat(&here, os(name), Mode::from_raw_mode(0o700))?;
        let dir = rustix::fs::openat(&here, os(name), flags, Mode::empty())?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(MADE_MODE))?;
        self.made.push(Made {
            parent: here,
            name: os(name).to_owned(),
        });
        Ok(dir)
    }

    /// Gives the directories made since `from` their owner.
    fn own(&self, from: usize) -> io::Result<()> {
        let (uid, gid) = self.owner;
        for made in &self.made[from..] {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(
                &made.parent,
                &made.name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                flags,
            )?;
        }
        Ok(())
    }
}

fn at(path: &[u8]) -> Place {
    let dir = dir_of(path);
    let name = if dir.is_empty() && !path.starts_with(b"/") {
        path
    } else {
        &path[dir.len() + 1..]
    };
    Place {
        dir: dir.to_vec(),
        name: Some(name.to_vec()),
    }
}

/// Whether the text itself says that it is a directory.
fn names_directory(text: &[u8]) -> bool {
    let last = text.rsplit(|b| *b == b'/').next().unwrap_or_default();
    last.is_empty() || last == b"." || last == b".."
}

fn is(err: &io::Error, errno: Errno) -> bool {
    err.raw_os_error() == Some(errno.raw_os_error())
}

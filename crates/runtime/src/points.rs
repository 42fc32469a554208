//! Mount points that have to exist in the root, and their removal.
//!
//! What is made here must never be seen in a layer: it is recorded, and taken away after the run
//! if it is still the same object and still empty. The time stamps of the directories around it
//! are put back unless the process changed them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use sys::Root;
use sys::launch::{Links, TargetKind};
use sys::making::MakingAs;

/// How many dangling links are followed to the place of a file, the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// Something made in the root.
struct Point {
    parent: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
    kind: TargetKind,
}

/// Time stamps of a directory, before and after something was made in it.
struct Touched {
    dir: OwnedFd,
    before: Stat,
    after: Stat,
}

/// The mount points made for one run.
pub(crate) struct MountPoints {
    root: Root,
    /// To whom what is made belongs, unless it is us.
    owner: Option<(u32, u32)>,
    made: Vec<Point>,
    touched: Vec<Touched>,
}

impl MountPoints {
    pub(crate) fn new(root: Root, owner: Option<(u32, u32)>) -> Self {
        Self {
            root,
            owner,
            made: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Makes sure that `target` exists, as an empty directory or file when it was missing.
    pub(crate) fn ensure(
        &mut self,
        target: &Path,
        kind: TargetKind,
        links: Links,
    ) -> io::Result<()> {
        let probe = match links {
            Links::Follow => OFlags::PATH,
            Links::Refuse => OFlags::PATH | OFlags::NOFOLLOW,
        };
        match self.root.open_with(target, probe, Mode::empty()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(drop),
        }
        let _making = self.owner.map(MakingAs::new).transpose()?;
        match kind {
            TargetKind::Directory => self.make_dirs(target).map(drop),
            TargetKind::File => self.make_file(target.to_owned()),
        }
    }

    fn make_dirs(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let mode = Mode::from_raw_mode(0o755);
        let existing = self.nearest_existing(path)?;
        let before = rustix::fs::fstat(&existing)?;
        let mut made = Vec::new();
        let done = self.root.make_dirs_listed(path, mode, &mut made);
        if let Some(first) = made.first() {
            let parent = rustix::fs::fstat(&first.parent)?;
            // A link may have led elsewhere than the path's words; then the times are unknown.
            if (parent.st_dev, parent.st_ino) == (before.st_dev, before.st_ino) {
                self.touch(existing, before)?;
            }
        }
        for sys::Made { parent, name } in made {
            self.record(parent, name, TargetKind::Directory)?;
        }
        done
    }

    fn make_file(&mut self, mut path: PathBuf) -> io::Result<()> {
        for _ in 0..MAX_LINKS {
            let Some(Component::Normal(name)) = path.components().next_back() else {
                return Err(Errno::ISDIR.into());
            };
            let name = name.to_owned();
            let parent_path = path.parent().unwrap_or(Path::new("/")).to_owned();
            let parent = self.make_dirs(&parent_path)?;
            let before = rustix::fs::fstat(&parent)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) => {
                    self.touch(parent.try_clone()?, before)?;
                    return self.record(parent, name, TargetKind::File);
                }
                // A dangling link, such as resolv.conf's of systemd: the file belongs at its end.
                Err(Errno::EXIST) => {
                    let link = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
                    path = parent_path.join(OsStr::from_bytes(link.as_bytes()));
                }
                Err(err) => return Err(err.into()),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// The innermost directory of `path` that exists.
    fn nearest_existing(&self, path: &Path) -> io::Result<OwnedFd> {
        for ancestor in path.ancestors() {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            match self.root.open_with(ancestor, flags, Mode::empty()) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.root.resolve(Path::new("/"))
    }

    fn touch(&mut self, dir: OwnedFd, before: Stat) -> io::Result<()> {
        let after = rustix::fs::fstat(&dir)?;
        let same = |known: &&mut Touched| {
            (known.before.st_dev, known.before.st_ino) == (before.st_dev, before.st_ino)
        };
        match self.touched.iter_mut().find(same) {
            Some(known) => known.after = after,
            None => self.touched.push(Touched { dir, before, after }),
        }
        Ok(())
    }

    fn record(&mut self, parent: OwnedFd, name: OsString, kind: TargetKind) -> io::Result<()> {
        let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let (device, inode) = (stat.st_dev, stat.st_ino);
        self.made.push(Point {
            parent,
            name,
            device,
            inode,
            kind,
        });
        Ok(())
    }

    /// Takes away what was made. Works on after an error and returns the first.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> io::Result<()> {
        let mut first = Ok(());
        // A directory whose times differ from those after the making was changed by the process.
        let unchanged: Vec<Touched> = self
            .touched
            .drain(..)
            .filter(|touched| {
                rustix::fs::fstat(&touched.dir).is_ok_and(|now| {
                    (now.st_mtime, now.st_mtime_nsec)
                        == (touched.after.st_mtime, touched.after.st_mtime_nsec)
                })
            })
            .collect();
        for point in self.made.drain(..).rev() {
            let done = remove_point(&point);
            if first.is_ok() {
                first = done;
            }
        }
        for Touched { dir, before, .. } in unchanged {
            let times = Timestamps {
                last_access: Timespec {
                    tv_sec: before.st_atime,
                    tv_nsec: before.st_atime_nsec as _,
                },
                last_modification: Timespec {
                    tv_sec: before.st_mtime,
                    tv_nsec: before.st_mtime_nsec as _,
                },
            };
            let done = rustix::fs::utimensat(dir.as_fd(), ".", &times, AtFlags::empty());
            if first.is_ok() {
                first = done.map_err(io::Error::from);
            }
        }
        first
    }
}

impl Drop for MountPoints {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

fn remove_point(point: &Point) -> io::Result<()> {
    let stat = match rustix::fs::statat(&point.parent, &point.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    if (stat.st_dev, stat.st_ino) != (point.device, point.inode) {
        return Ok(());
    }
    let flags = match point.kind {
        TargetKind::Directory => AtFlags::REMOVEDIR,
        TargetKind::File => {
            let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !file || stat.st_size != 0 || stat.st_nlink != 1 {
                return Ok(());
            }
            AtFlags::empty()
        }
    };
    match rustix::fs::unlinkat(&point.parent, &point.name, flags) {
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

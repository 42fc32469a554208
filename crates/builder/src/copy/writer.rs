//! Makes one part of a plan below a root.
//!
//! ```text
//! per part:  directories (parents first) → files and the like (parallel) → hard links
//!            → owner, mode, attributes and times of directories (children first)
//! when the layer is hashed meanwhile: → contents of large files
//! ```
//! Nothing is ever written through an existing name: what is in the way is removed, then made anew.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::Root;

use super::archived::open_entry;
use super::content::{Content, Making, source_error};
use super::error::target_error;
use super::gather::Gathered;
use super::make::{ATTEMPTS, Wanted, create, dress, make_special, replacing, write_all};
use super::path::{base_of, dir_of, join, os, shown};
use super::place::Place;
use super::plan::{self, Entry, FileTime, Listing, Locate, ParentDir, Payload};
use super::remove::remove;
use super::walk::open_below;
use super::{CopyError, Destination, Times, pool};

/// From this size on, in bytes, a file may come late: below it, opening it twice costs more than
/// reading it again.
const LATE_FROM: u64 = 1 << 20;
/// Names that one thread takes at a time, and the bytes after which it takes no more.
const PIECE: usize = 64;
const PIECE_BYTES: u64 = 8 << 20;

/// What a copy made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Files, directories, links and the like; of archives, their members.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
}

/// The target and what is the same for all parts.
pub(super) struct Writer<'a> {
    pub target: &'a Root,
    pub gathered: &'a Gathered,
    /// What the names in `--chown` mean here.
    pub named_owner: Option<(u32, u32)>,
}

impl Writer<'_> {
    pub fn wanted<'e>(&self, entry: &'e Entry) -> Wanted<'e> {
        let (uid, gid) = self.named_owner.unwrap_or((entry.uid, entry.gid));
        let mtime = self.time(entry.stamp.mtime);
        Wanted {
            mode: entry.mode.into(),
            uid,
            gid,
            mtime,
            xattrs: entry.xattrs.as_ref(),
        }
    }

    pub fn time(&self, kept: FileTime) -> FileTime {
        match self.gathered.times {
            Times::Kept { .. } => kept,
            Times::Fixed(seconds) => FileTime { seconds, nanos: 0 },
        }
    }

    pub fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, CopyError> {
        self.target
            .open_dir(Path::new(os(path)))
            .map_err(target_error("open directory", path))
    }

    pub fn inline(
        &self,
        place: &Place,
        name: &[u8],
        content: &[u8],
        meta: (u16, u32, u32),
    ) -> Result<Applied, CopyError> {
        let name = place.name.as_deref().unwrap_or(name);
        let path = join(&place.dir, name);
        let dir = self.open_dir(&place.dir)?;
        let (mode, uid, gid) = meta;
        let (uid, gid) = self.named_owner.unwrap_or((uid, gid));
        let mtime = match self.gathered.times {
            Times::Kept { now } => {
                let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                FileTime {
                    seconds: i64::try_from(since.as_secs()).unwrap_or(0),
                    nanos: since.subsec_nanos(),
                }
            }
            Times::Fixed(seconds) => FileTime { seconds, nanos: 0 },
        };
        let wanted = Wanted {
            mode: mode.into(),
            uid,
            gid,
            mtime,
            xattrs: None,
        };
        let failed = target_error("write", &path);
        let make = || -> io::Result<()> {
            let file = create(dir.as_fd(), name, &wanted)?;
            write_all(file.as_fd(), content)?;
            dress(file.as_fd(), &wanted, &mut None)
        };
        make().map_err(failed)?;
        Ok(Applied {
            entries: 1,
            bytes: content.len() as u64,
        })
    }
}

/// When the contents of large files are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Large {
    /// With all others.
    AtOnce,
    /// When everything else is made.
    Late,
}

/// One part that is a tree.
pub(super) struct TreeWriter<'a> {
    pub writer: &'a Writer<'a>,
    root: &'a Root,
    pub listings: &'a [Listing],
    locate: &'a Locate,
    /// The source directory that the first listing is of.
    base: OwnedFd,
    /// Where the first listing goes.
    bottom: Vec<u8>,
    rename: Option<&'a [u8]>,
    parents: &'a [ParentDir],
    place: &'a Place,
    /// When large files get their contents.
    pub large: Large,
}

struct Piece {
    dir: usize,
    from: usize,
    to: usize,
}

/// What one thread keeps.
#[derive(Default)]
struct Own {
    buffer: Vec<u8>,
    applied: Applied,
}

impl<'a> TreeWriter<'a> {
    pub fn new(
        writer: &'a Writer<'a>,
        place: &'a Place,
        root: &'a Root,
        parents: &'a [ParentDir],
        listings: &'a [Listing],
        locate: &'a Locate,
    ) -> Result<Self, CopyError> {
        let path = &listings[0].path;
        let base = root
            .open_dir(Path::new(os(path)))
            .map_err(|source| CopyError::Source {
                action: "open",
                path: format!("/{}", shown(path)),
                source,
            })?;
        let bottom = place.dir.clone();
        Ok(Self {
            writer,
            root,
            listings,
            locate,
            base,
            bottom,
            rename: place.name.as_deref(),
            parents,
            place,
            large: Large::AtOnce,
        })
    }

    /// Makes everything; what waits for its content, and what must come after that, excepted.
    pub fn write(&mut self) -> Result<Applied, CopyError> {
        for parent in self.parents {
            let path = join(&self.place.dir, &parent.below);
            let (above, name) = (dir_of(&path), base_of(&path));
            let dir = self.writer.open_dir(above)?;
            self.make_dir(dir.as_fd(), above, name)?;
            self.bottom = path;
        }
        let mut applied = self.directories()?;
        let owns = pool::run(self.pieces(), Own::default, |own, piece| {
            self.piece(own, &piece)
        })?;
        for own in owns {
            applied.entries += own.applied.entries;
            applied.bytes += own.applied.bytes;
        }
        for entry in self.listings.iter().flat_map(|listing| &listing.entries) {
            if self.is_late(entry) {
                applied.entries += 1;
                applied.bytes += entry.stamp.size;
            }
            applied.entries += u64::from(matches!(entry.payload, Payload::HardLink { .. }));
        }
        applied.entries += self.parents.len() as u64;
        Ok(applied)
    }

    /// Makes what needs all files to be there, if only by name.
    pub fn end(&self) -> Result<(), CopyError> {
        self.hard_links()?;
        self.finish_directories()?;
        for parent in self.parents.iter().rev() {
            self.finish_parent(parent)?;
        }
        Ok(())
    }

    fn is_late(&self, entry: &Entry) -> bool {
        self.large == Large::Late && may_be_late(entry)
    }

    pub fn at(&self, dir: usize) -> Vec<u8> {
        join(&self.bottom, &self.listings[dir].below)
    }

    pub fn name(&self, dir: usize, entry: &'a Entry) -> &'a [u8] {
        match self.rename {
            Some(name) if dir == 0 => name,
            _ => self.listings[dir].name(entry),
        }
    }

    /// Returns the contents of an entry that is a file, which is made in the directory `path`.
    pub fn content<'c>(
        &'c self,
        dir: usize,
        entry: &'c Entry,
        path: &'c [u8],
    ) -> Option<Content<'c>> {
        let Payload::File { digest, trust } = &entry.payload else {
            return None;
        };
        Some(Content {
            listing: &self.listings[dir],
            entry,
            digest,
            trust: *trust,
            path,
        })
    }

    /// Makes all directories, parents first.
    fn directories(&self) -> Result<Applied, CopyError> {
        let mut open: Option<(usize, OwnedFd, Vec<u8>)> = None;
        let order = self.order();
        for &(dir, at, _) in &order {
            if open.as_ref().is_none_or(|(number, ..)| *number != dir) {
                let path = self.at(dir);
                open = Some((dir, self.writer.open_dir(&path)?, path));
            }
            let (_, fd, path) = open.as_ref().expect("set just above");
            self.make_dir(
                fd.as_fd(),
                path,
                self.name(dir, &self.listings[dir].entries[at]),
            )?;
        }
        Ok(Applied {
            entries: order.len() as u64,
            bytes: 0,
        })
    }

    /// Returns all directories, parents first: listing, entry, and their own listing.
    fn order(&self) -> Vec<(usize, usize, usize)> {
        let mut order = Vec::new();
        plan::visit(self.listings, 0, &mut |dir, at, entry| {
            if let Payload::Directory(below) = entry.payload {
                order.push((dir, at, below as usize));
            }
        });
        order
    }

    /// Makes one directory, or finds that it is there. Its mode is set when it is full.
    fn make_dir(&self, dir: BorrowedFd<'_>, above: &[u8], name: &[u8]) -> Result<(), CopyError> {
        let path = join(above, name);
        let failed = || target_error("make directory", &path);
        for _ in 0..ATTEMPTS {
            match rustix::fs::mkdirat(dir, os(name), Mode::from_raw_mode(0o700)) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(err) => return Err(failed()(err.into())),
            }
            let stat = rustix::fs::statat(dir, os(name), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|err| failed()(err.into()))?;
            match (
                FileType::from_raw_mode(stat.st_mode),
                self.writer.gathered.onto,
            ) {
                (FileType::Directory, _) => return Ok(()),
                (FileType::Symlink, Destination::Existing) => {
                    return match self.writer.target.open_dir(Path::new(os(&path))) {
                        Ok(_) => Ok(()),
                        Err(_) => Err(CopyError::DirectoryOverFile {
                            path: format!("/{}", shown(&path)),
                        }),
                    };
                }
                (FileType::Symlink, Destination::Fresh) => remove(dir, name).map_err(failed())?,
                _ => {
                    return Err(CopyError::DirectoryOverFile {
                        path: format!("/{}", shown(&path)),
                    });
                }
            }
        }
        Err(failed()(Errno::EXIST.into()))
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (dir, listing) in self.listings.iter().enumerate() {
            let (mut from, mut bytes) = (0, 0);
            for (at, entry) in listing.entries.iter().enumerate() {
                bytes += entry.stamp.size;
                if at + 1 - from == PIECE || bytes >= PIECE_BYTES {
                    pieces.push(Piece {
                        dir,
                        from,
                        to: at + 1,
                    });
                    (from, bytes) = (at + 1, 0);
                }
            }
            if from < listing.entries.len() {
                pieces.push(Piece {
                    dir,
                    from,
                    to: listing.entries.len(),
                });
            }
        }
        // The last is taken first.
        pieces.reverse();
        pieces
    }

    fn piece(&self, own: &mut Own, piece: &Piece) -> Result<Vec<Piece>, CopyError> {
        let listing = &self.listings[piece.dir];
        let entries = &listing.entries[piece.from..piece.to];
        let elsewhere = |entry: &Entry| {
            matches!(
                entry.payload,
                Payload::Directory(_) | Payload::HardLink { .. }
            ) || self.is_late(entry)
        };
        if entries.iter().all(elsewhere) {
            return Ok(Vec::new());
        }
        let path = self.at(piece.dir);
        let to = self.writer.open_dir(&path)?;
        let mut from = None;
        let mut birth = None;
        for entry in entries.iter().filter(|entry| !elsewhere(entry)) {
            let name = self.name(piece.dir, entry);
            let wanted = self.writer.wanted(entry);
            if let Some(content) = self.content(piece.dir, entry, &path) {
                let source = self.open_file(&mut from, listing, entry)?;
                let making = Making {
                    wanted: &wanted,
                    birth: &mut birth,
                    buffer: &mut own.buffer,
                };
                content.copy(source.as_fd(), to.as_fd(), name, making)?;
                own.applied.bytes += entry.stamp.size;
            } else {
                make_special(to.as_fd(), name, &entry.payload, &wanted)
                    .map_err(target_error("make", &join(&path, name)))?;
            }
            own.applied.entries += 1;
        }
        Ok(Vec::new())
    }

    pub fn open_file(
        &self,
        dir: &mut Option<OwnedFd>,
        listing: &Listing,
        entry: &Entry,
    ) -> Result<OwnedFd, CopyError> {
        if let Locate::Path(_) = self.locate {
            return open_entry(self.root, listing, self.locate)
                .map_err(source_error("open", listing, entry));
        }
        let changed = |err: Errno| match err {
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO => CopyError::Changed {
                path: listing.shown(entry),
            },
            err => source_error("open", listing, entry)(err.into()),
        };
        if dir.is_none() {
            *dir = Some(open_below(self.base.as_fd(), &listing.below).map_err(changed)?);
        }
        let dir = dir.as_ref().expect("opened just above");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(dir, os(listing.name(entry)), flags, Mode::empty()).map_err(changed)
    }

    fn hard_links(&self) -> Result<(), CopyError> {
        for (number, listing) in self.listings.iter().enumerate() {
            for entry in &listing.entries {
                let Payload::HardLink { dir, entry: first } = entry.payload else {
                    continue;
                };
                let dir = dir as usize;
                let first_name = self.name(dir, &self.listings[dir].entries[first as usize]);
                let from = self.writer.open_dir(&self.at(dir))?;
                let path = self.at(number);
                let to = self.writer.open_dir(&path)?;
                let name = listing.name(entry);
                let link =
                    || rustix::fs::linkat(&from, os(first_name), &to, os(name), AtFlags::empty());
                replacing(to.as_fd(), name, link)
                    .map_err(target_error("link", &join(&path, name)))?;
            }
        }
        Ok(())
    }

    /// Gives the directories their owner, mode, attributes and times, children first.
    fn finish_directories(&self) -> Result<(), CopyError> {
        for (dir, at, below) in self.order().into_iter().rev() {
            let wanted = self.writer.wanted(&self.listings[dir].entries[at]);
            self.finish(
                &self.at(below),
                &Wanted {
                    xattrs: self.listings[below].xattrs.as_ref(),
                    ..wanted
                },
            )?;
        }
        Ok(())
    }

    fn finish_parent(&self, parent: &ParentDir) -> Result<(), CopyError> {
        let ParentDir {
            below,
            mode,
            uid,
            gid,
            mtime,
        } = parent;
        let (uid, gid) = self.writer.named_owner.unwrap_or((*uid, *gid));
        let wanted = Wanted {
            mode: (*mode).into(),
            uid,
            gid,
            mtime: self.writer.time(*mtime),
            xattrs: None,
        };
        self.finish(&join(&self.place.dir, below), &wanted)
    }

    fn finish(&self, path: &[u8], wanted: &Wanted<'_>) -> Result<(), CopyError> {
        let fd = self.writer.open_dir(path)?;
        dress(fd.as_fd(), wanted, &mut None).map_err(target_error("set the metadata of", path))
    }
}

/// Whether a plan's entry is a file that may come late.
pub(super) fn may_be_late(entry: &Entry) -> bool {
    matches!(entry.payload, Payload::File { .. }) && entry.stamp.size >= LATE_FROM
}

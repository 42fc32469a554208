//! Large files whose contents are copied last, so that the layer can be hashed at the same time.
//!
//! ```text
//! apply:  names, links, metadata, small files ── then, in the order of the archive:
//!         source ──read──▶ buffer ──write──▶ target
//!                             └──────────────▶ the hash of the layer
//! ```
//! [`Late`] fills the files that the digest asks for, when it asks. What it is never asked for it
//! fills afterwards, so the copy is whole whatever becomes of the digest.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use archive::{Expected, Supply};
use rustix::fs::{Mode, OFlags};
use sys::copy::Passage;

use super::CopyError;
use super::error::target_error;
use super::gather::Gathered;
use super::make::{Wanted, create, dress};
use super::path::{join, os};
use super::plan::{Entry, Part};
use super::writer::{TreeWriter, may_be_late};

/// The bytes of late files from which on hashing while copying is worth its thread.
const WORTH_FROM: u64 = 16 << 20;
/// The mode of a file until it is whole: even a copy that its owner may not write is filled.
const UNFINISHED_MODE: u32 = 0o600;

/// Where a late file is in the plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    tree: usize,
    dir: usize,
    entry: usize,
}

/// The late files of a copy, by the inode numbers of the empty files that stand for them.
pub(super) struct Late<'a> {
    trees: &'a [TreeWriter<'a>],
    files: HashMap<u64, Spot>,
    failed: Option<CopyError>,
}

/// Returns the first of the parts whose large files may come late; there may be none.
///
/// A later part must not take a name away from a file that waits for its content. Files that go by
/// different names into one directory do not meet; of everything else only the last part is safe.
pub(super) fn first_part(gathered: &Gathered) -> usize {
    let parts = &gathered.parts;
    let mut names = HashSet::new();
    let mut is_apart = |part: &'_ Part| match part {
        Part::Tree {
            parents, listings, ..
        } => {
            let [listing] = listings.as_slice() else {
                return false;
            };
            let mut entries = listing.entries.iter();
            parents.is_empty() && entries.all(|entry| names.insert(listing.name(entry).to_vec()))
        }
        Part::Inline { name, .. } => names.insert(name.clone()),
        Part::Archive { .. } => false,
    };
    let first = if parts.iter().all(&mut is_apart) {
        0
    } else {
        parts.len() - 1
    };
    let late = parts[first..].iter().flat_map(|part| match part {
        Part::Tree { listings, .. } => listings.as_slice(),
        Part::Inline { .. } | Part::Archive { .. } => &[],
    });
    let late = late.flat_map(|listing| &listing.entries);
    let late = late.filter(|entry| may_be_late(entry));
    if late.map(|entry| entry.stamp.size).sum::<u64>() < WORTH_FROM {
        return parts.len();
    }
    first
}

impl<'a> Late<'a> {
    /// Makes the late files of trees, empty. No other file may be made in the target afterwards:
    /// an inode number must not become another file's.
    pub fn make(trees: &'a [TreeWriter<'a>]) -> Result<Self, CopyError> {
        let mut files = HashMap::new();
        for (index, tree) in trees.iter().enumerate() {
            for (dir, listing) in tree.listings.iter().enumerate() {
                let mut open = None;
                for (entry, planned) in listing.entries.iter().enumerate() {
                    if !may_be_late(planned) {
                        continue;
                    }
                    if open.is_none() {
                        let path = tree.at(dir);
                        open = Some((tree.writer.open_dir(&path)?, path));
                    }
                    let (to, path) = open.as_ref().expect("set just above");
                    let name = tree.name(dir, planned);
                    let inode = make_empty(to, name, &tree.writer.wanted(planned))
                        .map_err(|err| target_error("make", &join(path, name))(err))?;
                    let spot = Spot {
                        tree: index,
                        dir,
                        entry,
                    };
                    files.insert(inode, spot);
                }
            }
        }
        Ok(Self {
            trees,
            files,
            failed: None,
        })
    }

    /// Fills what is still empty.
    pub fn finish(mut self) -> Result<(), CopyError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let mut left: Vec<(u64, Spot)> = self.files.drain().collect();
        left.sort_unstable_by_key(|(_, spot)| *spot);
        for (inode, spot) in left {
            let Some(file) = self.open(inode, spot)? else {
                // Another entry of the same copy took the name, as can happen through a link to a
                // directory: the last one stays.
                continue;
            };
            rustix::fs::ftruncate(&file, 0).map_err(|err| self.failure(spot)(err.into()))?;
            self.fill(spot, &file, None)?;
        }
        Ok(())
    }

    fn tree(&self, spot: Spot) -> &'a TreeWriter<'a> {
        &self.trees[spot.tree]
    }

    fn entry(&self, spot: Spot) -> &'a Entry {
        &self.tree(spot).listings[spot.dir].entries[spot.entry]
    }

    fn failure(&self, spot: Spot) -> impl Fn(io::Error) -> CopyError {
        let name = self.tree(spot).name(spot.dir, self.entry(spot));
        let path = join(&self.tree(spot).at(spot.dir), name);
        move |err| target_error("write", &path)(err)
    }

    /// Opens a late file; `None` when its name is another file's now.
    fn open(&self, inode: u64, spot: Spot) -> Result<Option<OwnedFd>, CopyError> {
        let to = self
            .tree(spot)
            .writer
            .open_dir(&self.tree(spot).at(spot.dir))?;
        let name = self.tree(spot).name(spot.dir, self.entry(spot));
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&to, os(name), flags, Mode::empty())
            .and_then(|file| Ok((rustix::fs::fstat(&file)?.st_ino, file)));
        match found {
            Ok((found, file)) => Ok((found == inode).then_some(file)),
            Err(err) => Err(self.failure(spot)(err.into())),
        }
    }

    fn fill(
        &self,
        spot: Spot,
        file: &OwnedFd,
        passage: Option<&mut dyn Passage>,
    ) -> Result<(), CopyError> {
        let (tree, entry) = (self.tree(spot), self.entry(spot));
        let path = tree.at(spot.dir);
        let name = tree.name(spot.dir, entry);
        let Some(content) = tree.content(spot.dir, entry, &path) else {
            return Ok(());
        };
        let source = tree.open_file(&mut None, &tree.listings[spot.dir], entry)?;
        match passage {
            Some(passage) => {
                content.fill_through(source.as_fd(), file.as_fd(), name, passage)?;
            }
            None => content.fill(source.as_fd(), file.as_fd(), name)?,
        }
        let wanted = tree.writer.wanted(entry);
        dress(file.as_fd(), &wanted, &mut None).map_err(self.failure(spot))
    }
}

fn make_empty(dir: &OwnedFd, name: &[u8], wanted: &Wanted<'_>) -> io::Result<u64> {
    let unfinished = Wanted {
        mode: UNFINISHED_MODE,
        ..*wanted
    };
    let file = create(dir.as_fd(), name, &unfinished)?;
    dress(file.as_fd(), &unfinished, &mut None)?;
    Ok(rustix::fs::fstat(&file)?.st_ino)
}

impl Supply for Late<'_> {
    fn expected(&self, inode: u64) -> Option<Expected> {
        let spot = *self.files.get(&inode)?;
        let entry = self.entry(spot);
        let wanted = self.tree(spot).writer.wanted(entry);
        Some(Expected {
            size: entry.stamp.size,
            mode: wanted.mode,
            mtime: wanted.mtime.seconds,
        })
    }

    fn supply(&mut self, inode: u64, passage: &mut dyn Passage) -> io::Result<()> {
        let spot = *self.files.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        let mut watched = Watched {
            passage,
            is_closed: false,
        };
        let filled = self.open(inode, spot).and_then(|file| match file {
            Some(file) => self.fill(spot, &file, Some(&mut watched)).map(|()| true),
            None => Ok(false),
        });
        match filled {
            Ok(true) => {
                self.files.remove(&inode);
                Ok(())
            }
            // Only the digest ended: the file stays on the list.
            Ok(false) => Err(io::ErrorKind::NotFound.into()),
            Err(_) if watched.is_closed => Err(io::ErrorKind::BrokenPipe.into()),
            Err(failed) => {
                self.failed = Some(failed);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

/// Tells the end of the digest from a copy that failed.
struct Watched<'a> {
    passage: &'a mut dyn Passage,
    is_closed: bool,
}

impl Passage for Watched<'_> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        let is_closed = &mut self.is_closed;
        self.passage.room().inspect_err(|_| *is_closed = true)
    }

    fn passed(&mut self, len: usize) -> io::Result<()> {
        let passed = self.passage.passed(len);
        self.is_closed |= passed.is_err();
        passed
    }
}

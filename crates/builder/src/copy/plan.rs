//! What will be made: a tree of entries with everything but the bytes of files, and its digest.
//!
//! The digest covers, in a fixed order: names, types, modes after `--chmod`, owners after
//! `--chown`, link targets, hard links, device numbers, carried attributes and the digests of file
//! contents. Times do not count (containerfile-semantics 13.2, 14.2), nor do inode numbers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use containerfile::{Chmod, ChmodTarget};

use super::path::{join, shown};
use super::{Chown, Origin};

/// Version word of the digest; a change of what counts changes it.
const DIGEST_VERSION: &[u8] = b"cooper copy content 1";

/// The digest of what a request copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// Returns the digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A point in time as the file system keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileTime {
    pub seconds: i64,
    pub nanos: u32,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime: FileTime,
    pub ctime: FileTime,
}

/// Whether the stamp alone proves that a file is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Its times were well in the past when it was read: any later change has another time.
    Settled,
    /// It was changed so shortly before that a later change may carry the same times.
    Racy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Contents, by their BLAKE3 digest.
    File {
        digest: [u8; 32],
        trust: Trust,
    },
    /// The same file as an earlier entry (directory number, entry number).
    HardLink {
        dir: u32,
        entry: u32,
    },
    /// A directory, with the number of its listing.
    Directory(u32),
    /// A directory that is excluded itself, while something below it may be kept. Only a walk in
    /// progress has these.
    ExcludedDirectory(u32),
    Symlink(Box<[u8]>),
    Fifo,
    Socket,
    CharDevice(u64),
    BlockDevice(u64),
}

/// Extended attributes that are carried, sorted by name.
pub(super) type Xattrs = Box<[(Box<[u8]>, Box<[u8]>)]>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Place of the name in the listing's `names`.
    pub name: (u32, u16),
    /// Bits 07777 as they will be set.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub stamp: Stamp,
    pub payload: Payload,
    pub xattrs: Option<Xattrs>,
    /// How many names the file has in all.
    pub links: u32,
}

/// The entries of one directory, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Path of the directory in the source tree, without a leading slash.
    pub path: Vec<u8>,
    /// Path below the part's own place at the destination.
    pub below: Vec<u8>,
    pub names: Vec<u8>,
    pub entries: Vec<Entry>,
    /// Attributes of the directory itself.
    pub xattrs: Option<Xattrs>,
}

impl Listing {
    pub fn name(&self, entry: &Entry) -> &[u8] {
        let (start, len) = (entry.name.0 as usize, usize::from(entry.name.1));
        &self.names[start..start + len]
    }

    /// Place of an entry in the source tree, with a leading slash.
    pub fn shown(&self, entry: &Entry) -> String {
        shown(&[b"/", &join(&self.path, self.name(entry))[..]].concat())
    }
}

/// A directory that `--parents` makes.
#[derive(Clone, Debug)]
pub(super) struct ParentDir {
    /// Path below the destination.
    pub below: Vec<u8>,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: FileTime,
}

/// How the entries of a part's first listing are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Locate {
    /// By name in the listing's directory; a link is never followed.
    Name,
    /// The one entry is what this path of the source tree leads to.
    Path(Vec<u8>),
}

/// What one or more neighbouring sources contribute.
#[derive(Debug)]
pub(super) enum Part {
    /// Entries of a tree. The first listing's entries go straight below the destination.
    Tree {
        root: Arc<sys::Root>,
        parents: Vec<ParentDir>,
        listings: Vec<Listing>,
        locate: Locate,
        shape: Shape,
    },
    /// A heredoc.
    Inline {
        name: Vec<u8>,
        content: Vec<u8>,
        mode: u16,
        uid: u32,
        gid: u32,
    },
    /// A tar archive that ADD unpacks; the listing has it as its one entry.
    Archive {
        root: Arc<sys::Root>,
        listing: Listing,
        locate: Locate,
    },
}

/// What the first listing of a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All that a directory holds.
    Contents,
    /// Things that were named one by one.
    Named,
}

/// What the request says about owners and modes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub chown: Option<&'a Chown>,
    pub chmod: Option<&'a Chmod>,
    pub origin: Origin,
}

impl Rules<'_> {
    /// Owner of something that has `uid` and `gid` in the source.
    ///
    /// Names stand for 0:0 until the container's accounts are read.
    pub fn owner(&self, uid: u32, gid: u32) -> (u32, u32) {
        match (self.chown, self.origin) {
            (Some(Chown::Ids { uid, gid }), _) => (*uid, *gid),
            (Some(Chown::Named(_)), _) | (None, Origin::Context | Origin::Host) => (0, 0),
            (None, Origin::Image) => (uid, gid),
        }
    }

    /// Mode of something that has `mode` in the source.
    pub fn mode(&self, mode: u32, of: ChmodTarget) -> u16 {
        let dropped = match self.origin {
            Origin::Context => 0o6000,
            Origin::Host | Origin::Image => 0,
        };
        let mode = mode & 0o7777 & !dropped;
        let mode = self.chmod.map_or(mode, |chmod| chmod.apply(mode, of));
        u16::try_from(mode & 0o7777).unwrap_or(0)
    }
}

/// Turns all but the first of the names that one file has in `listings` into hard links.
///
/// Order is that of [`visit`], so that the first name is made before the others need it.
pub(super) fn link_names(listings: &mut [Listing]) {
    let mut first: HashMap<(u64, u64), (u32, u32)> = HashMap::new();
    let mut found = Vec::new();
    visit(listings, 0, &mut |dir, index, entry| {
        if entry.links > 1 && matches!(entry.payload, Payload::File { .. }) {
            let here = (to_u32(dir), to_u32(index));
            match first.entry((entry.stamp.dev, entry.stamp.ino)) {
                std::collections::hash_map::Entry::Occupied(seen) => {
                    found.push((here, *seen.get()));
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(here);
                }
            }
        }
    });
    for ((dir, index), (to_dir, to_entry)) in found {
        listings[dir as usize].entries[index as usize].payload = Payload::HardLink {
            dir: to_dir,
            entry: to_entry,
        };
    }
}

/// Calls `see` for each entry below the listing `from`, parents before their children, by name.
pub(super) fn visit<'a>(
    listings: &'a [Listing],
    from: usize,
    see: &mut impl FnMut(usize, usize, &'a Entry),
) {
    // An explicit stack: the depth is the source's choice.
    let mut stack = vec![(from, 0)];
    while let Some((dir, at)) = stack.pop() {
        let Some(entry) = listings
            .get(dir)
            .and_then(|listing| listing.entries.get(at))
        else {
            continue;
        };
        see(dir, at, entry);
        stack.push((dir, at + 1));
        if let Payload::Directory(below) = entry.payload {
            stack.push((below as usize, 0));
        }
    }
}

pub(super) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("the number of entries is limited to less than 2^32")
}

/// Writes values so that no two sequences of them give the same bytes.
struct Sink {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Sink {
    const FLUSH: usize = 64 << 10;

    fn new() -> Self {
        let mut sink = Self {
            hasher: blake3::Hasher::new(),
            buffer: Vec::new(),
        };
        sink.bytes(DIGEST_VERSION);
        sink
    }

    fn number(&mut self, n: u64) {
        self.buffer.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > Self::FLUSH {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn meta(&mut self, mode: u16, uid: u32, gid: u32) {
        self.number(u64::from(mode) << 32 | u64::from(uid));
        self.number(u64::from(gid));
    }

    fn finish(mut self) -> ContentDigest {
        self.hasher.update(&self.buffer);
        ContentDigest(*self.hasher.finalize().as_bytes())
    }
}

/// Digests the parts of a request, and the words that change what is made of them.
pub(super) fn digest(words: &[&[u8]], parts: &[Part]) -> ContentDigest {
    let mut sink = Sink::new();
    words.iter().for_each(|word| sink.bytes(word));
    sink.number(parts.len() as u64);
    for part in parts {
        match part {
            Part::Inline {
                name,
                content,
                mode,
                uid,
                gid,
            } => {
                sink.bytes(b"inline");
                sink.bytes(name);
                sink.bytes(blake3::hash(content).as_bytes());
                sink.meta(*mode, *uid, *gid);
            }
            Part::Archive { listing, .. } => {
                sink.bytes(b"archive");
                digest_listings(&mut sink, std::slice::from_ref(listing));
            }
            Part::Tree {
                parents,
                listings,
                shape,
                root: _,
                locate: _,
            } => {
                sink.bytes(match shape {
                    Shape::Contents => b"contents",
                    Shape::Named => b"named",
                });
                sink.number(parents.len() as u64);
                for ParentDir {
                    below,
                    mode,
                    uid,
                    gid,
                    mtime: _,
                } in parents
                {
                    sink.bytes(below);
                    sink.meta(*mode, *uid, *gid);
                }
                digest_listings(&mut sink, listings);
            }
        }
    }
    sink.finish()
}

fn digest_listings(sink: &mut Sink, listings: &[Listing]) {
    visit(listings, 0, &mut |dir, _, entry| {
        let listing = &listings[dir];
        let Entry {
            name: _,
            mode,
            uid,
            gid,
            stamp,
            payload,
            xattrs,
            links: _,
        } = entry;
        sink.bytes(&listing.below);
        sink.bytes(listing.name(entry));
        sink.meta(*mode, *uid, *gid);
        match payload {
            Payload::File { digest, trust: _ } => {
                sink.bytes(b"file");
                sink.number(stamp.size);
                sink.bytes(digest);
            }
            Payload::HardLink { dir, entry } => {
                let first = &listings[*dir as usize];
                sink.bytes(b"link");
                sink.bytes(&first.below);
                sink.bytes(first.name(&first.entries[*entry as usize]));
            }
            Payload::Directory(below) => {
                sink.bytes(b"directory");
                digest_xattrs(sink, listings[*below as usize].xattrs.as_ref());
            }
            Payload::ExcludedDirectory(_) => sink.bytes(b"excluded"),
            Payload::Symlink(target) => {
                sink.bytes(b"symlink");
                sink.bytes(target);
            }
            Payload::Fifo => sink.bytes(b"fifo"),
            Payload::Socket => sink.bytes(b"socket"),
            Payload::CharDevice(number) => {
                sink.bytes(b"char");
                sink.number(*number);
            }
            Payload::BlockDevice(number) => {
                sink.bytes(b"block");
                sink.number(*number);
            }
        }
        digest_xattrs(sink, xattrs.as_ref());
    });
    sink.bytes(b"end");
}

fn digest_xattrs(sink: &mut Sink, xattrs: Option<&Xattrs>) {
    let xattrs = xattrs.map_or(&[][..], |all| &all[..]);
    sink.number(xattrs.len() as u64);
    for (name, value) in xattrs {
        sink.bytes(name);
        sink.bytes(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_do_not_run_together() {
        assert_ne!(digest(&[b"ab", b"c"], &[]), digest(&[b"a", b"bc"], &[]));
        assert_ne!(digest(&[b"ab"], &[]), digest(&[b"ab", b""], &[]));
    }
}

//! Reads a source: names, metadata and content digests, in parallel, into listings.
//!
//! A directory's names are read and filtered by one thread; their metadata and contents in pieces
//! by all. No descriptor is kept between pieces, so neither depth nor width is limited by the
//! number of descriptors. Below the directory that a source names no link is ever followed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use containerfile::ChmodTarget;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::filter::{Decision, Filter};
use super::memo::{Attributes, Known, Memo, SETTLED_AFTER};
use super::path::{dir_of, join, os, shown};
use super::plan::{Entry, FileTime, Listing, Payload, Rules, Stamp, Trust, Xattrs};
use super::{CopyError, pool};

/// Most entries that one source may hold.
pub(super) const MAX_ENTRIES: usize = 8 << 20;
/// Longest path in a source, in bytes: what the kernel resolves in one call (`PATH_MAX`).
pub(super) const MAX_PATH: usize = 4095;
/// Names that one thread takes at a time.
const PIECE: usize = 256;
/// Bytes read at a time.
const BUFFER: usize = 512 << 10;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;
/// Mode of a directory that is excluded itself and made for something below it.
const EXCLUDED_PARENT_MODE: u16 = 0o755;

/// What a walk needs to know.
pub(super) struct Walker<'a> {
    pub root: &'a sys::Root,
    pub rules: Rules<'a>,
    pub filter: &'a Filter<'a>,
    pub memo: Option<&'a Memo>,
    /// Files changed at or after this moment are racy.
    pub settled_before: FileTime,
}

/// What a walk found.
pub(super) struct Walked {
    pub listings: Vec<Listing>,
    /// How many names `--exclude` left out.
    pub excluded: usize,
}

impl FileTime {
    /// Returns the moment before which files have settled, given the time of starting.
    pub fn settled_before(now: std::time::SystemTime) -> Self {
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(SETTLED_AFTER);
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        }
    }
}

/// Names of one directory, shared by the threads that look at them.
struct Names {
    dir: u32,
    path: Vec<u8>,
    below: Vec<u8>,
    bytes: Vec<u8>,
    spans: Vec<(u32, u16, Decision)>,
    xattrs: Option<Xattrs>,
}

enum Task {
    List {
        dir: u32,
        below: Vec<u8>,
    },
    Piece {
        names: Arc<Names>,
        from: usize,
        to: usize,
    },
}

/// What one thread keeps.
struct Reader {
    buffer: Vec<u8>,
    lists: Vec<Arc<Names>>,
    pieces: Vec<(u32, usize, Vec<Entry>)>,
    learned: Vec<(Stamp, Known)>,
}

impl Reader {
    fn new() -> Self {
        Self {
            buffer: Vec::new(),
            lists: Vec::new(),
            pieces: Vec::new(),
            learned: Vec::new(),
        }
    }
}

/// One walk: a base directory, below which everything is opened without following links.
struct Walk<'a> {
    walker: &'a Walker<'a>,
    base: OwnedFd,
    base_path: &'a [u8],
    next_dir: AtomicU32,
    entries: AtomicUsize,
    excluded: AtomicUsize,
}

impl Walker<'_> {
    /// Reads all that the directory at `path` holds.
    pub fn contents(&self, path: &[u8]) -> Result<Walked, CopyError> {
        self.walk(
            path,
            vec![Task::List {
                dir: 0,
                below: Vec::new(),
            }],
        )
    }

    /// Reads the named entries of the directory at `path`; `names` are sorted.
    pub fn named(&self, path: &[u8], names: &[&[u8]]) -> Result<Listing, CopyError> {
        let mut list = Names {
            dir: 0,
            path: path.to_vec(),
            below: Vec::new(),
            bytes: Vec::new(),
            spans: Vec::new(),
            xattrs: None,
        };
        for name in names {
            list.push(name, Decision::Keep);
        }
        let mut walked = self.walk(path, pieces(&Arc::new(list)))?;
        Ok(walked.listings.swap_remove(0))
    }

    /// Reads the one entry that `path` leads to, links followed, and gives it the name `name`.
    pub fn followed(&self, path: &[u8], name: &[u8]) -> Result<Listing, CopyError> {
        let place = || format!("/{}", shown(path));
        let walk = self.begin(b"", 1)?;
        let mut reader = Reader::new();
        let handle = self
            .root
            .resolve(Path::new(os(path)))
            .map_err(source("open", place))?;
        let stat = stat_fd(handle.as_fd()).map_err(source("read the metadata of", place))?;
        let open = || {
            self.root
                .open_with(Path::new(os(path)), READ & !OFlags::NOFOLLOW, Mode::empty())
        };
        let link = || Err(Errno::LOOP.into());
        let entry = walk.entry(&mut reader, &stat, &open, &link, &place)?;
        let mut listing = Listing {
            path: dir_of(path).to_vec(),
            ..Listing::default()
        };
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        listing.names.extend_from_slice(name);
        listing.entries.push(Entry {
            name: (0, name_len),
            ..entry
        });
        self.remember(reader.learned);
        Ok(listing)
    }

    fn begin<'w>(&'w self, path: &'w [u8], first_free: u32) -> Result<Walk<'w>, CopyError> {
        let base = self
            .root
            .open_dir(Path::new(os(path)))
            .map_err(source("open", || format!("/{}", shown(path))))?;
        Ok(Walk {
            walker: self,
            base,
            base_path: path,
            next_dir: AtomicU32::new(first_free),
            entries: AtomicUsize::new(0),
            excluded: AtomicUsize::new(0),
        })
    }

    fn remember(&self, learned: Vec<(Stamp, Known)>) {
        if let (Some(memo), false) = (self.memo, learned.is_empty()) {
            memo.learn(learned);
        }
    }

    fn walk(&self, path: &[u8], tasks: Vec<Task>) -> Result<Walked, CopyError> {
        let walk = self.begin(path, 1)?;
        let readers = pool::run(tasks, Reader::new, |reader, task| walk.step(reader, task))?;
        let dirs = walk.next_dir.load(Ordering::Relaxed) as usize;
        let mut listings: Vec<Listing> = (0..dirs).map(|_| Listing::default()).collect();
        let mut lists = Vec::new();
        let mut found = Vec::new();
        for reader in readers {
            lists.extend(reader.lists);
            found.extend(reader.pieces);
            self.remember(reader.learned);
        }
        for names in lists {
            let dir = names.dir as usize;
            let names = Arc::try_unwrap(names).unwrap_or_else(|shared| shared.copy());
            listings[dir] = Listing {
                path: names.path,
                below: names.below,
                names: names.bytes,
                xattrs: names.xattrs,
                entries: Vec::new(),
            };
        }
        found.sort_unstable_by_key(|(dir, from, _)| (*dir, *from));
        for (dir, _, entries) in found {
            let all = &mut listings[dir as usize].entries;
            if all.is_empty() {
                *all = entries;
            } else {
                all.extend(entries);
            }
        }
        drop_empty_parents(&mut listings, &self.rules);
        Ok(Walked {
            listings,
            excluded: walk.excluded.into_inner(),
        })
    }
}

/// Leaves out excluded directories below which nothing is kept, and gives the others their mode.
fn drop_empty_parents(listings: &mut [Listing], rules: &Rules<'_>) {
    // A directory's number is higher than its parent's: from the last to the first, what is below
    // is settled before it is asked for.
    for dir in (0..listings.len()).rev() {
        let mut entries = std::mem::take(&mut listings[dir].entries);
        entries.retain_mut(|entry| {
            let Payload::ExcludedDirectory(below) = entry.payload else {
                return true;
            };
            entry.payload = Payload::Directory(below);
            entry.mode = rules.mode(EXCLUDED_PARENT_MODE.into(), ChmodTarget::Directory);
            (entry.uid, entry.gid) = rules.owner(0, 0);
            listings[below as usize].xattrs = None;
            !listings[below as usize].entries.is_empty()
        });
        listings[dir].entries = entries;
    }
}

impl Names {
    fn push(&mut self, name: &[u8], decision: Decision) {
        let start = super::plan::to_u32(self.bytes.len());
        // Names are at most 255 bytes long on Linux.
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(name);
        self.spans.push((start, len, decision));
    }

    fn name(&self, at: usize) -> &[u8] {
        let (start, len, _) = self.spans[at];
        &self.bytes[start as usize..start as usize + usize::from(len)]
    }

    fn copy(&self) -> Self {
        Self {
            dir: self.dir,
            path: self.path.clone(),
            below: self.below.clone(),
            bytes: self.bytes.clone(),
            spans: Vec::new(),
            xattrs: self.xattrs.clone(),
        }
    }
}

fn pieces(names: &Arc<Names>) -> Vec<Task> {
    let total = names.spans.len();
    // An empty directory still has a listing, which the thread that sees this piece reports.
    (0..total.max(1))
        .step_by(PIECE)
        .map(|from| Task::Piece {
            names: Arc::clone(names),
            from,
            to: (from + PIECE).min(total),
        })
        .collect()
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

impl Walk<'_> {
    fn step(&self, reader: &mut Reader, task: Task) -> Result<Vec<Task>, CopyError> {
        match task {
            Task::List { dir, below } => self.list(reader, dir, below),
            Task::Piece { names, from, to } => self.piece(reader, names, from, to),
        }
    }

    fn open_dir(&self, below: &[u8]) -> Result<OwnedFd, CopyError> {
        let path = || format!("/{}", shown(&join(self.base_path, below)));
        open_below(self.base.as_fd(), below).map_err(|err| match err {
            // Something else took the directory's place after it was listed.
            Errno::LOOP | Errno::NOTDIR | Errno::NOENT => CopyError::Changed { path: path() },
            err => CopyError::Source {
                action: "open",
                path: path(),
                source: err.into(),
            },
        })
    }

    fn list(&self, reader: &mut Reader, dir: u32, below: Vec<u8>) -> Result<Vec<Task>, CopyError> {
        let fd = self.open_dir(&below)?;
        let path = join(self.base_path, &below);
        let place = || format!("/{}", shown(&path));
        let xattrs = read_xattrs(fd.as_fd()).map_err(source("read the attributes of", place))?;
        let mut names = Names {
            dir,
            path: path.clone(),
            below,
            bytes: Vec::new(),
            spans: Vec::new(),
            xattrs,
        };
        reader.buffer.resize(BUFFER, 0);
        let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
        let mut listing = RawDir::new(&fd, &mut buffer);
        let mut full = path.clone();
        let stem = full.len();
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(|err| CopyError::Source {
                action: "read",
                path: place(),
                source: err.into(),
            })?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            full.truncate(stem);
            if stem > 0 {
                full.push(b'/');
            }
            full.extend_from_slice(name);
            let below = if self.base_path.is_empty() {
                &full[..]
            } else {
                &full[self.base_path.len() + 1..]
            };
            match self.walker.filter.decide(&full, below) {
                Decision::Ignore => {}
                Decision::Exclude => {
                    self.excluded.fetch_add(1, Ordering::Relaxed);
                }
                decision => names.push(name, decision),
            }
            self.count(names.spans.len(), &path)?;
        }
        drop(buffer);
        self.entries.fetch_add(names.spans.len(), Ordering::Relaxed);
        let bytes = &names.bytes;
        let text = |span: &(u32, u16, Decision)| &bytes[span.0 as usize..][..usize::from(span.1)];
        names.spans.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        Ok(pieces(&Arc::new(names)))
    }

    fn count(&self, more: usize, path: &[u8]) -> Result<(), CopyError> {
        if self.entries.load(Ordering::Relaxed) + more <= MAX_ENTRIES {
            return Ok(());
        }
        Err(CopyError::TooMany {
            path: format!("/{}", shown(path)),
            what: "entries",
            limit: MAX_ENTRIES,
        })
    }

    fn piece(
        &self,
        reader: &mut Reader,
        names: Arc<Names>,
        from: usize,
        to: usize,
    ) -> Result<Vec<Task>, CopyError> {
        let mut more = Vec::new();
        let mut entries = Vec::with_capacity(to - from);
        if from < to {
            let fd = self.open_dir(&names.below)?;
            for at in from..to {
                let name = names.name(at);
                let place = || format!("/{}", shown(&join(&names.path, name)));
                let stat = match stat_at(fd.as_fd(), name) {
                    Ok(stat) => stat,
                    // It was removed after the directory was read: it is not there.
                    Err(Errno::NOENT) => continue,
                    Err(err) => return Err(source("read the metadata of", place)(err.into())),
                };
                let (start, len, decision) = names.spans[at];
                let is_dir = file_type(&stat) == FileType::Directory;
                if decision == Decision::Descend && !is_dir {
                    continue;
                }
                let entry = if is_dir {
                    let (dir, task) = self.descend(&names, name)?;
                    more.push(task);
                    let payload = match decision {
                        Decision::Descend => Payload::ExcludedDirectory(dir),
                        _ => Payload::Directory(dir),
                    };
                    self.meta(&stat, payload, None)
                } else {
                    let open = || Ok(rustix::fs::openat(&fd, os(name), READ, Mode::empty())?);
                    let link =
                        || Ok(rustix::fs::readlinkat(&fd, os(name), Vec::new())?.into_bytes());
                    self.entry(reader, &stat, &open, &link, &place)?
                };
                entries.push(Entry {
                    name: (start, len),
                    ..entry
                });
            }
        }
        reader.pieces.push((names.dir, from, entries));
        if from == 0 {
            reader.lists.push(names);
        }
        more.reverse();
        Ok(more)
    }

    fn descend(&self, names: &Names, name: &[u8]) -> Result<(u32, Task), CopyError> {
        let below = join(&names.below, name);
        if self.base_path.len() + 1 + below.len() > MAX_PATH {
            let path = format!("/{}", shown(&join(&names.path, name)));
            return Err(CopyError::TooMany {
                path,
                what: "bytes in its path",
                limit: MAX_PATH,
            });
        }
        let dir = self.next_dir.fetch_add(1, Ordering::Relaxed);
        Ok((dir, Task::List { dir, below }))
    }

    fn meta(&self, stat: &Statx, payload: Payload, xattrs: Option<Xattrs>) -> Entry {
        let of = if matches!(
            payload,
            Payload::Directory(_) | Payload::ExcludedDirectory(_)
        ) {
            ChmodTarget::Directory
        } else {
            ChmodTarget::File
        };
        let (uid, gid) = self.walker.rules.owner(stat.stx_uid, stat.stx_gid);
        Entry {
            name: (0, 0),
            mode: self.walker.rules.mode(stat.stx_mode.into(), of),
            uid,
            gid,
            stamp: Stamp::of(stat),
            payload,
            xattrs,
            links: stat.stx_nlink,
        }
    }

    /// Reads what is not a directory.
    fn entry(
        &self,
        reader: &mut Reader,
        stat: &Statx,
        open: &dyn Fn() -> io::Result<OwnedFd>,
        read_link: &dyn Fn() -> io::Result<Vec<u8>>,
        place: &dyn Fn() -> String,
    ) -> Result<Entry, CopyError> {
        let payload = match file_type(stat) {
            FileType::RegularFile => return self.file(reader, stat, open, place),
            FileType::Symlink => Payload::Symlink(
                read_link()
                    .map_err(source("read the link", place))?
                    .into_boxed_slice(),
            ),
            FileType::Fifo => Payload::Fifo,
            FileType::Socket => Payload::Socket,
            FileType::CharacterDevice => {
                let number = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
                if number == 0 {
                    return Err(CopyError::WhiteoutDevice { path: place() });
                }
                Payload::CharDevice(number)
            }
            FileType::BlockDevice => Payload::BlockDevice(rustix::fs::makedev(
                stat.stx_rdev_major,
                stat.stx_rdev_minor,
            )),
            FileType::Directory | FileType::Unknown => {
                return Err(CopyError::Changed { path: place() });
            }
        };
        Ok(self.meta(stat, payload, None))
    }

    fn file(
        &self,
        reader: &mut Reader,
        stat: &Statx,
        open: &dyn Fn() -> io::Result<OwnedFd>,
        place: &dyn Fn() -> String,
    ) -> Result<Entry, CopyError> {
        let failed = |action| {
            move |err: io::Error| match err.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::LOOP | Errno::NXIO) => CopyError::Changed { path: place() },
                _ => CopyError::Source {
                    action,
                    path: place(),
                    source: err,
                },
            }
        };
        let stamp = Stamp::of(stat);
        if let Some(known) = self.walker.memo.and_then(|memo| memo.look_up(&stamp)) {
            let payload = Payload::File {
                digest: known.digest,
                trust: Trust::Settled,
            };
            let xattrs = match known.attributes {
                Attributes::Without => None,
                Attributes::With => {
                    let fd = open().map_err(failed("open"))?;
                    read_xattrs(fd.as_fd()).map_err(failed("read the attributes of"))?
                }
            };
            return Ok(self.meta(stat, payload, xattrs));
        }
        let mut before = *stat;
        for _ in 0..ATTEMPTS {
            let fd = open().map_err(failed("open"))?;
            let (digest, size) =
                hash(fd.as_fd(), before.stx_size, &mut reader.buffer).map_err(failed("read"))?;
            let xattrs = read_xattrs(fd.as_fd()).map_err(failed("read the attributes of"))?;
            let after = stat_fd(fd.as_fd()).map_err(failed("read the metadata of"))?;
            if file_type(&after) != FileType::RegularFile {
                break;
            }
            let stamp = Stamp::of(&after);
            if stamp == Stamp::of(&before) && size == stamp.size {
                let trust = stamp.trust(self.walker.settled_before);
                if trust == Trust::Settled {
                    let attributes = if xattrs.is_some() {
                        Attributes::With
                    } else {
                        Attributes::Without
                    };
                    reader.learned.push((stamp, Known { digest, attributes }));
                }
                return Ok(self.meta(&after, Payload::File { digest, trust }, xattrs));
            }
            before = after;
        }
        Err(CopyError::Changed { path: place() })
    }
}

impl Stamp {
    pub fn of(stat: &Statx) -> Self {
        let time = |t: rustix::fs::StatxTimestamp| FileTime {
            seconds: t.tv_sec,
            nanos: t.tv_nsec,
        };
        Self {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
        }
    }

    fn trust(&self, settled_before: FileTime) -> Trust {
        if self.mtime < settled_before && self.ctime < settled_before {
            Trust::Settled
        } else {
            Trust::Racy
        }
    }
}

fn source<P: Fn() -> String>(action: &'static str, place: P) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Source {
        action,
        path: place(),
        source,
    }
}

pub(super) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, os(name), flags, StatxFlags::BASIC_STATS)
}

pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> io::Result<Statx> {
    Ok(rustix::fs::statx(
        fd,
        c"",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS,
    )?)
}

/// Opens a directory below `base` without following any link.
pub(super) fn open_below(base: BorrowedFd<'_>, below: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if below.is_empty() {
        os(b".")
    } else {
        os(below)
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Digests a whole file and counts its bytes; `expected` saves the read that finds the end.
fn hash(fd: BorrowedFd<'_>, expected: u64, buffer: &mut Vec<u8>) -> io::Result<([u8; 32], u64)> {
    if buffer.len() < BUFFER {
        buffer.resize(BUFFER, 0);
    }
    let mut hasher = None;
    let mut total = 0;
    loop {
        let got = match rustix::io::read(fd, &mut buffer[..]) {
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(err) => return Err(err.into()),
        };
        total += got as u64;
        let whole = got < BUFFER && total >= expected;
        match (&mut hasher, whole) {
            (None, true) => return Ok((*blake3::hash(&buffer[..got]).as_bytes(), total)),
            (slot, _) => {
                let hasher = slot.get_or_insert_with(blake3::Hasher::new);
                hasher.update(&buffer[..got]);
                if whole || got == 0 {
                    return Ok((*hasher.finalize().as_bytes(), total));
                }
            }
        }
    }
}

/// Reads the attributes that a copy carries: `user.*` but overlayfs' own, capabilities and IMA.
pub(super) fn read_xattrs(fd: BorrowedFd<'_>) -> io::Result<Option<Xattrs>> {
    use std::os::unix::ffi::OsStrExt;
    let node = sys::xattr::Node::Open(fd);
    let mut carried = Vec::new();
    for name in node.list()? {
        let bytes = name.as_bytes();
        let is_carried = bytes == b"security.capability"
            || bytes == b"security.ima"
            || bytes.starts_with(b"user.") && !bytes.starts_with(b"user.overlay.");
        if !is_carried {
            continue;
        }
        if let Some(value) = node.get(&name)? {
            carried.push((bytes.into(), value.into_boxed_slice()));
        }
    }
    carried.sort_unstable();
    Ok((!carried.is_empty()).then(|| carried.into_boxed_slice()))
}

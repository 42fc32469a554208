//! Turning a directory tree into a tar stream, in the order and with the headers of Go's storage library.
//!
//! The order is lexical by name within each directory, a directory before its content, and the tree's root without
//! an entry of its own. Everything is opened relative to its directory's handle, so a tree that changes under the
//! walk cannot lead out of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use sys::Root;
use sys::xattr::Node;

use crate::chunk::{ChunkWriter, Closed, Sums};
use crate::outline::Outline;
use crate::supply::{Lent, Supply};
use crate::tar::{Header, Kind, Time, Xattrs, encode_header, padding};
use crate::view::{Times, TreeError, TreeOptions};
use crate::whiteout;

/// Deepest nesting that is archived; every level holds a descriptor open while its content is read.
pub const MAX_DEPTH: usize = 512;

const DIRECTORY_BUFFER: usize = 32 << 10;
const XATTR_LIST: usize = 1024;
const ZEROS: [u8; 512] = [0; 512];
/// From this size on the kernel is told that a file is read from start to end.
const READ_AHEAD_FROM: u64 = 4 << 20;

/// Why the walk stopped.
pub(crate) enum Stop {
    Error(TreeError),
    /// The consumer has an error of its own.
    Closed,
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Stop::Closed
    }
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Stop::Error(error)
    }
}

/// What happens with the contents of files.
pub(crate) enum Contents<'a> {
    /// They are read.
    Read(Sums),
    /// They are read or, where they are not there yet, supplied; the outline is taken.
    Supplied(&'a mut (dyn Supply + Send)),
    /// They are left out; only the outline is taken.
    Outlined,
}

/// The owners that a layer names, without those of whiteouts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    pub(crate) uids: BTreeSet<u32>,
    pub(crate) gids: BTreeSet<u32>,
}

/// A name in a directory, with the type that the directory gives, when it does.
struct Listed {
    name: CString,
    kind: FileType,
}

/// What a walk leaves beside the stream.
pub(crate) struct Walked {
    pub(crate) owners: Owners,
    pub(crate) outline: Outline,
}

pub(crate) struct Walk<'a> {
    options: &'a TreeOptions,
    lowers: &'a [Root],
    excludes: HashSet<&'a [u8]>,
    out: ChunkWriter,
    owners: Owners,
    contents: Contents<'a>,
    outline: Outline,
    /// First name of each inode with several links.
    links: HashMap<(u64, u64), Vec<u8>>,
    path: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        lowers: &'a [Root],
        options: &'a TreeOptions,
        contents: Contents<'a>,
        out: ChunkWriter,
    ) -> Self {
        let excludes = options
            .excludes
            .iter()
            .map(|path| path.as_os_str().as_bytes())
            .collect();
        let (links, path, scratch) = (HashMap::new(), Vec::new(), Vec::new());
        Self {
            options,
            lowers,
            excludes,
            out,
            owners: Owners::default(),
            contents,
            outline: Outline::default(),
            links,
            path,
            scratch,
        }
    }

    /// Archives everything below `root`.
    pub(crate) fn tree(mut self, root: BorrowedFd<'_>) -> Result<Walked, Stop> {
        let dir = rustix::fs::openat(root, c".", open_dir_flags(), Mode::empty())
            .map_err(|e| self.failed("open", e))?;
        self.children(&dir, 0)?;
        self.finish()
    }

    /// Archives the listed paths only; `(path, true)` is one that was removed.
    pub(crate) fn changes(
        mut self,
        root: &Root,
        changes: Vec<(Vec<u8>, bool)>,
    ) -> Result<Walked, Stop> {
        for (path, removed) in changes {
            self.path = path;
            if self.excludes.contains(&self.path[..]) {
                continue;
            }
            if removed {
                self.removed()?;
                continue;
            }
            let path = self.path.clone();
            let (dir, name) = root
                .parent_of(Path::new(OsStr::from_bytes(&path)))
                .map_err(|e| self.io_failed("open", e))?;
            let name =
                CString::new(name.as_bytes()).map_err(|e| self.io_failed("open", e.into()))?;
            self.entry(
                dir.as_fd(),
                &Listed {
                    name,
                    kind: FileType::Unknown,
                },
            )?;
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Walked, Stop> {
        self.out.raw(&ZEROS)?;
        self.out.raw(&ZEROS)?;
        self.out.finish()?;
        Ok(Walked {
            owners: self.owners,
            outline: self.outline,
        })
    }

    fn children(&mut self, dir: &OwnedFd, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(TreeError::TooDeep {
                path: self.shown(),
                limit: MAX_DEPTH,
            }
            .into());
        }
        let names = list(dir.as_fd()).map_err(|e| self.failed("list", e))?;
        let base = self.path.len();
        for listed in names {
            if base > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(listed.name.to_bytes());
            if !self.excludes.contains(&self.path[..])
                && let Some(child) = self.entry(dir.as_fd(), &listed)?
            {
                self.children(&child, depth + 1)?;
            }
            self.path.truncate(base);
        }
        Ok(())
    }

    /// Archives the entry that [`Self::path`] names; returns its handle when it is a directory.
    fn entry(&mut self, dir: BorrowedFd<'_>, listed: &Listed) -> Result<Option<OwnedFd>, Stop> {
        let name = listed.name.as_c_str();
        let kind = match listed.kind {
            FileType::Unknown => FileType::from_raw_mode(self.stat(dir, name)?.st_mode),
            kind => kind,
        };
        match kind {
            FileType::RegularFile => self.file(dir, name).map(|()| None),
            FileType::Directory => self.directory(dir, name).map(Some),
            FileType::Socket => Ok(None),
            _ => self.node(dir, name).map(|()| None),
        }
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Stop> {
        // O_NONBLOCK: should the name have become a FIFO since it was listed, opening must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())
            .map_err(|e| self.failed("open", e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| self.failed("stat", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.changed());
        }
        let mut header = self.header(&stat, Kind::File);
        header.size = stat.st_size.cast_unsigned();
        header.xattrs = self.xattrs(Node::Open(file.as_fd()))?;
        self.note_link(&stat, &mut header);
        let is_content = header.kind == Kind::File;
        let expected = match &self.contents {
            Contents::Supplied(supply) if is_content => supply.expected(stat.st_ino),
            _ => None,
        };
        if let Some(expected) = expected {
            header.size = expected.size;
            header.mode = i64::from(stat.st_mode & !0o7777 | expected.mode & 0o7777);
            header.mtime = self.time(Time {
                seconds: expected.mtime,
                nanoseconds: 0,
            });
        }
        self.write_header(&header)?;
        self.out.begin_file(&header.name, header.size);
        match &mut self.contents {
            Contents::Supplied(supply) if expected.is_some() => {
                let mut lent = Lent::new(&mut self.out, header.size);
                let supplied = supply.supply(stat.st_ino, &mut lent);
                if supplied.is_err() || !lent.is_complete() {
                    return Err(self.unsupplied(supplied.err()));
                }
            }
            Contents::Read(_) | Contents::Supplied(_) => self.data(file.as_fd(), header.size)?,
            Contents::Outlined => {}
        }
        if is_content && !matches!(self.contents, Contents::Read(_)) {
            let after = rustix::fs::fstat(&file).map_err(|e| self.failed("stat", e))?;
            self.outline.content(&after);
        }
        self.out.raw(&ZEROS[..padding(header.size)])?;
        Ok(())
    }

    fn data(&mut self, file: BorrowedFd<'_>, size: u64) -> Result<(), Stop> {
        if size >= READ_AHEAD_FROM {
            // Advice: a file system that does not know it reads as before.
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        }
        let mut left = size;
        while left > 0 {
            let space = self.out.space()?;
            let want = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match rustix::io::read(file, &mut space[..want]) {
                Ok(0) => return Err(self.changed()),
                Ok(got) => {
                    self.out.filled(got);
                    left -= got as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read", errno)),
            }
        }
        Ok(())
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Stop> {
        let handle = rustix::fs::openat(dir, name, open_dir_flags(), Mode::empty())
            .map_err(|e| self.failed("open", e))?;
        let stat = rustix::fs::fstat(&handle).map_err(|e| self.failed("stat", e))?;
        let mut header = self.header(&stat, Kind::Directory);
        header.name.push(b'/');
        let names =
            list_xattrs(handle.as_fd()).map_err(|e| self.failed("read the attributes of", e))?;
        header.xattrs = self.pick_xattrs(Node::Open(handle.as_fd()), &names)?;
        self.write_header(&header)?;
        self.out.begin_file(&header.name, 0);
        if let Some(mark) = self.options.flavour.opaque_xattr()
            && names.iter().any(|name| name == mark.as_bytes())
        {
            let value = Node::Open(handle.as_fd())
                .get(OsStr::new(mark))
                .map_err(|e| self.io_failed("read", e))?;
            if value.as_deref() == Some(b"y") && self.covers_lower()? {
                self.opaque_mark(&header)?;
            }
        }
        Ok(handle)
    }

    /// Symbolic links, devices, FIFOs, and the whiteouts among them.
    fn node(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Stop> {
        let stat = self.stat(dir, name)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => return Err(self.changed()),
        };
        let mut header = self.header(&stat, kind);
        if kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())
                .map_err(|e| self.failed("read", e))?;
            header.link = target.into_bytes();
        }
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            header.dev_major = rustix::fs::major(stat.st_rdev).into();
            header.dev_minor = rustix::fs::minor(stat.st_rdev).into();
        }
        let is_whiteout = kind == Kind::CharDevice
            && stat.st_rdev == 0
            && self.options.flavour.has_whiteout_nodes();
        if !is_whiteout {
            header.xattrs = self.xattrs(Node::At(dir, OsStr::from_bytes(name.to_bytes())))?;
        }
        // The kernel makes whiteouts as links of one inode, and Go's writer leaves the link's name in their headers.
        self.note_link(&stat, &mut header);
        if is_whiteout {
            header.name = whiteout::name_of(&header.name);
            header.kind = Kind::File;
            header.mode = 0;
        }
        self.write_header(&header)?;
        self.out.begin_file(&header.name, 0);
        Ok(())
    }

    /// Writes the whiteout of a path that a lower tree has and this one has not (flavour vfs).
    fn removed(&mut self) -> Result<(), Stop> {
        let mut header = Header::new(whiteout::name_of(&self.path), Kind::File);
        header.mtime = self.time(Time::default());
        self.write_header(&header)?;
        self.out.begin_file(&header.name, 0);
        Ok(())
    }

    fn opaque_mark(&mut self, directory: &Header) -> Result<(), Stop> {
        let mut header = Header::new([&directory.name[..], whiteout::OPAQUE].concat(), Kind::File);
        header.mode = directory.mode & 0o777;
        header.uid = directory.uid;
        header.gid = directory.gid;
        header.mtime = self.time(Time::default());
        self.write_header(&header)?;
        self.out.begin_file(&header.name, 0);
        Ok(())
    }

    /// Returns whether a lower tree has the current path, so that the opaque mark hides something: the nearest lower
    /// that has it or a whiteout of it or of a directory above it decides.
    fn covers_lower(&self) -> Result<bool, Stop> {
        for lower in self.lowers {
            let mut end = self.path.len();
            let mut is_whole = true;
            loop {
                let path = Path::new(OsStr::from_bytes(&self.path[..end]));
                match lower.stat_nofollow(path) {
                    Ok(stat) if is_device_zero(&stat) => return Ok(false),
                    Ok(_) if is_whole => return Ok(true),
                    Ok(_) => {}
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(self.io_failed("look below", error)),
                }
                is_whole = false;
                match self.path[..end].iter().rposition(|byte| *byte == b'/') {
                    Some(slash) => end = slash,
                    None => break,
                }
            }
        }
        Ok(false)
    }

    fn header(&self, stat: &Stat, kind: Kind) -> Header {
        let mut header = Header::new(self.path.clone(), kind);
        header.mode = stat.st_mode.into();
        header.uid = stat.st_uid.into();
        header.gid = stat.st_gid.into();
        header.mtime = self.time(Time {
            seconds: stat.st_mtime,
            nanoseconds: 0,
        });
        header
    }

    fn time(&self, time: Time) -> Time {
        match self.options.times {
            Times::Keep => time,
            Times::Fixed(seconds) => Time {
                seconds,
                nanoseconds: 0,
            },
            Times::Clamp(seconds) => time.min(Time {
                seconds,
                nanoseconds: 0,
            }),
        }
    }

    /// Makes the header that of a hard link when its inode was archived under another name.
    fn note_link(&mut self, stat: &Stat, header: &mut Header) {
        if stat.st_nlink < 2 {
            return;
        }
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                header.link.clone_from(first.get());
                header.kind = Kind::HardLink;
                header.size = 0;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.path.clone());
            }
        }
    }

    fn write_header(&mut self, header: &Header) -> Result<(), Stop> {
        if !whiteout::is_whiteout(&header.name)
            && let (Ok(uid), Ok(gid)) = (header.uid.try_into(), header.gid.try_into())
        {
            self.owners.uids.insert(uid);
            self.owners.gids.insert(gid);
        }
        self.scratch.clear();
        encode_header(header, &mut self.scratch).map_err(|source| TreeError::Encode {
            path: self.shown(),
            source,
        })?;
        if !matches!(self.contents, Contents::Read(_)) {
            self.outline.header(&self.scratch);
        }
        self.out.raw(&self.scratch)?;
        Ok(())
    }

    fn xattrs(&self, node: Node<'_>) -> Result<Xattrs, Stop> {
        let names = match node {
            Node::Open(fd) => list_xattrs(fd),
            other => other
                .list()
                .map(|names| names.iter().map(|name| name.as_bytes().to_vec()).collect()),
        };
        let names = names.map_err(|e| self.io_failed("read the attributes of", e))?;
        self.pick_xattrs(node, &names)
    }

    fn pick_xattrs(&self, node: Node<'_>, names: &[Vec<u8>]) -> Result<Xattrs, Stop> {
        let mut picked = Vec::new();
        for name in names.iter().filter(|name| is_archived(name)) {
            let value = node
                .get(OsStr::from_bytes(name))
                .map_err(|e| self.io_failed("read an attribute of", e))?;
            picked.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(picked)
    }

    fn stat(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Stat, Stop> {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.failed("stat", e))
    }

    fn shown(&self) -> PathBuf {
        Path::new("/").join(OsStr::from_bytes(&self.path))
    }

    fn changed(&self) -> Stop {
        TreeError::Changed { path: self.shown() }.into()
    }

    /// The content of a file did not come as it was expected.
    fn unsupplied(&self, source: Option<io::Error>) -> Stop {
        let source = source.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        self.io_failed("fill", source)
    }

    fn failed(&self, action: &'static str, error: impl Into<io::Error>) -> Stop {
        self.io_failed(action, error.into())
    }

    fn io_failed(&self, action: &'static str, source: io::Error) -> Stop {
        TreeError::Access {
            action,
            path: self.shown(),
            source,
        }
        .into()
    }
}

pub(crate) fn open_dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Returns whether an attribute travels in layers: Go's library takes these and no others, so that markers of the
/// store, labels and ACLs of the host stay where they are.
pub(crate) fn is_archived(name: &[u8]) -> bool {
    name == b"security.capability"
        || name == b"security.ima"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

pub(crate) fn is_device_zero(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Returns whether a path is simply not there; a parent that is no directory counts as that.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR)
    )
}

/// Lists attribute names of an open file. One call suffices for nearly every file.
fn list_xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); XATTR_LIST];
    match rustix::fs::flistxattr(fd, &mut buffer[..]) {
        Ok((names, _)) => Ok(names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()),
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        Err(Errno::RANGE) => Ok(Node::Open(fd)
            .list()?
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect()),
        Err(errno) => Err(errno.into()),
    }
}

/// Lists a directory in lexical order, without `.` and `..`.
fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<Listed>> {
    let mut buffer = vec![MaybeUninit::uninit(); DIRECTORY_BUFFER];
    let mut reader = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(Listed {
                name: entry.file_name().to_owned(),
                kind: entry.file_type(),
            });
        }
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// The names of a directory in lexical order, for comparing two trees.
pub(crate) fn names_of(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    Ok(list(dir)?.into_iter().map(|listed| listed.name).collect())
}

//! Foreign tar streams into trees.
//!
//! The law: whatever a stream contains, nothing outside the root changes. Names are cleaned first; one that would
//! leave the root through `..` is refused, an absolute one counts from the root; everything after that goes through
//! [`Placer`]. The table says what becomes of the odd cases.
//!
//! | member | layer | archive for ADD |
//! |---|---|---|
//! | the same cleaned name twice | refused: tar-split cannot hold it | the later one wins |
//! | sparse | refused, as Go's library does | expanded |
//! | `.wh.NAME` | removal, in the store's flavour | a name like any other |
//! | `.wh.`, `.wh..`, `.wh...`, AUFS leftovers, anything below a whiteout | refused | ordinary |
//! | removal of a name that the layer itself has | hides lower layers only (image specification, layer.md) | - |
//! | non-directory where an earlier member needs a directory | refused | replaces it |
//! | hard link to nothing or out of the root | refused | refused |
//! | owner, mode, time of a hard link's entry | ignored: they are those of its first name | same |
//! | attributes of overlayfs | left out | left out |
//! | the root as a directory | its metadata is the store's business | applied |
//! | the root as anything else | refused | refused |
//! | extended global header | kept in the split, without effect | without effect |

mod error;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use model::{DiffId, Digest};
use rustix::fs::FileType;
use rustix::io::Errno;
use sys::Root;
use sys::xattr::Node;

use crate::compression::Compression;
use crate::place::{Metadata, PlaceError, Placer, Spot};
use crate::split::TarSplitWriter;
use crate::stream::{Source, with_decompressed};
use crate::tar::{Entry, Header, Kind, Reader, TarError, clean_name, lossy};
use crate::tree::LayerDigest;
use crate::view::Flavour;
use crate::walk::{Owners, is_device_zero};
use crate::whiteout::{self, Meaning};

pub use self::error::ExtractError;
pub use crate::place::{OwnerChange, Privilege};

/// Default for [`Limits::entries`].
pub const MAX_ENTRIES: u64 = 5_000_000;
/// Type byte of a "contiguous" file, which everybody treats as a file.
const CONTIGUOUS: u8 = b'7';

/// How much a stream may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of members.
    pub entries: u64,
    /// Size of the decompressed stream in bytes, and of any file in it.
    pub size: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: MAX_ENTRIES,
            size: None,
        }
    }
}

/// How [`extract_layer`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerOptions {
    /// How removals appear on disk. With [`Flavour::Vfs`] the root holds a copy of the parent layer.
    pub flavour: Flavour,
    /// What the process may do.
    pub privilege: Privilege,
    /// What becomes of members whose owner cannot be set.
    pub owners: OwnerChange,
    /// How much the layer may contain.
    pub limits: Limits,
}

/// What becomes of the permission bits of members.
#[derive(Clone, Copy)]
pub enum Modes<'a> {
    /// They are the archive's.
    Kept,
    /// These, for all.
    All(u32),
    /// What this makes of the archive's, for a directory or for something else.
    Changed(&'a dyn Fn(u32, Kind) -> u32),
}

impl Modes<'_> {
    fn of(self, mode: u32, kind: Kind) -> u32 {
        match self {
            Self::Kept => mode,
            Self::All(mode) => mode,
            Self::Changed(change) => change(mode, kind),
        }
    }
}

impl std::fmt::Debug for Modes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept => f.write_str("Kept"),
            Self::All(mode) => write!(f, "All({mode:o})"),
            Self::Changed(_) => f.write_str("Changed"),
        }
    }
}

/// How [`extract_archive`] works.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveOptions<'a> {
    /// User and group for all members instead of those in the archive.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of members.
    pub modes: Modes<'a>,
    /// What the process may do.
    pub privilege: Privilege,
    /// How much the archive may contain.
    pub limits: Limits,
}

/// What [`extract_layer`] learned in its one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Identity of the uncompressed layer.
    pub digest: LayerDigest,
    /// Digest of the blob as it came.
    pub blob_digest: Digest,
    /// Size of the blob as it came, in bytes.
    pub blob_size: u64,
    /// How the blob was compressed.
    pub compression: Compression,
}

/// Extracts a layer and learns everything about it, in one pass.
///
/// `blob` may be compressed in any way that [`Compression`] knows; it is read to its end. `into` is a directory that
/// nobody else changes meanwhile. The split is complete when this returns; it describes the very stream whose digest
/// is returned. Nothing is synced.
///
/// # Errors
/// [`ExtractError`]; what was extracted until then stays and is the caller's to remove.
pub fn extract_layer(
    blob: impl Read + Send,
    into: &Root,
    options: &LayerOptions,
    split: impl Write,
) -> Result<Extracted, ExtractError> {
    let work = |source: Source| {
        let mut layer = Layer {
            options,
            placer: Placer::new(into, options.privilege, options.owners),
            split: TarSplitWriter::new(split),
            seen: Names::default(),
            removed: Names::default(),
            owners: Owners::default(),
        };
        let mut reader = Reader::new(source);
        let mut count = 0;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            check_limits(&options.limits, count, &entry, reader.offset())?;
            layer.raw(&mut reader)?;
            layer.entry(&entry, &mut reader)?;
        }
        layer.raw(&mut reader)?;
        let split = &mut layer.split;
        reader.trailer(|bytes| split.raw(bytes).map_err(ExtractError::Split))?;
        layer
            .split
            .finish()
            .and_then(|mut out| out.flush())
            .map_err(ExtractError::Split)?;
        layer.placer.finish().map_err(ExtractError::Times)?;
        Ok::<_, ExtractError>((reader.into_source().digest(), layer.owners))
    };
    let (((digest, size), owners), ends) = with_decompressed(blob, work)?;
    let diff_id = DiffId(digest.unwrap_or_else(|| ends.blob_digest.clone()));
    Ok(Extracted {
        digest: LayerDigest {
            diff_id,
            size,
            uids: owners.uids,
            gids: owners.gids,
        },
        blob_digest: ends.blob_digest,
        blob_size: ends.blob_size,
        compression: ends.compression,
    })
}

/// Extracts an archive into the directory `dest` of `root`, as `tar -x` does: directories are merged, everything else
/// is replaced. Symbolic links on the way are followed inside `root`. Returns the number of members.
///
/// # Errors
/// [`ExtractError`]; what was extracted until then stays.
pub fn extract_archive(
    archive: impl Read + Send,
    root: &Root,
    dest: &Path,
    options: &ArchiveOptions<'_>,
) -> Result<u64, ExtractError> {
    let prefix = inside(dest.as_os_str().as_bytes()).ok_or_else(|| ExtractError::Escapes {
        name: dest.display().to_string(),
    })?;
    let (count, _) = with_decompressed(archive, |source| {
        let mut plain = Plain {
            options,
            placer: Placer::new(root, options.privilege, OwnerChange::Required),
            prefix,
        };
        let mut reader = Reader::new(source);
        let mut count = 0;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            check_limits(&options.limits, count, &entry, reader.offset())?;
            plain.entry(&entry, &mut reader)?;
            reader.raw().clear();
        }
        reader.trailer(|_| Ok::<_, TarError>(()))?;
        plain.placer.finish().map_err(ExtractError::Times)?;
        Ok::<_, ExtractError>(count)
    })?;
    Ok(count)
}

/// Returns whether a stream, compressed or not, is a tar archive with at least one member. Reads its beginning only.
///
/// # Errors
/// Those of reading `source`; malformed data is the answer "no".
pub fn is_archive(source: impl Read + Send) -> io::Result<bool> {
    let (_, decoder) = crate::compression::decode(io::BufReader::new(source))?;
    match Reader::new(io::BufReader::new(decoder)).next_entry() {
        Ok(entry) => Ok(entry.is_some()),
        Err(TarError::Read(error)) if Errno::from_io_error(&error).is_some() => Err(error),
        Err(_) => Ok(false),
    }
}

fn check_limits(
    limits: &Limits,
    count: u64,
    entry: &Entry,
    offset: u64,
) -> Result<(), ExtractError> {
    if count > limits.entries {
        return Err(ExtractError::Limit {
            what: "entries",
            limit: limits.entries,
        });
    }
    // The announced size counts before the data comes, so that a bomb is refused at its header.
    let ahead = offset.saturating_add(entry.stored).max(entry.header.size);
    match limits.size {
        Some(limit) if ahead > limit => Err(ExtractError::Limit {
            what: "bytes",
            limit,
        }),
        _ => Ok(()),
    }
}

/// Cleans a name to a path below the root, empty for the root itself; `None` when it leaves the root.
fn inside(name: &[u8]) -> Option<Vec<u8>> {
    let clean = clean_name(name);
    let path = clean.strip_prefix(b"/").unwrap_or(&clean);
    match path {
        b"." => Some(Vec::new()),
        b".." => None,
        _ if path.starts_with(b"../") => None,
        _ => Some(path.to_vec()),
    }
}

fn metadata<'a>(header: &'a Header, name: &str) -> Result<Metadata<'a>, ExtractError> {
    let id = |id: i64| {
        // The largest value means "unchanged" to chown.
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or(ExtractError::Owner { name: name.into() })
    };
    Ok(Metadata {
        uid: id(header.uid)?,
        gid: id(header.gid)?,
        mode: u32::try_from(header.mode & 0o7777).unwrap_or(0),
        mtime: header.mtime,
        xattrs: &header.xattrs,
    })
}

/// A set of names that costs the same for each, however long: 128 bits of keyed hashes.
#[derive(Default)]
struct Names {
    keys: (RandomState, RandomState),
    set: HashSet<(u64, u64)>,
}

impl Names {
    fn key(&self, name: &[u8]) -> (u64, u64) {
        (self.keys.0.hash_one(name), self.keys.1.hash_one(name))
    }

    fn insert(&mut self, name: &[u8]) -> bool {
        let key = self.key(name);
        self.set.insert(key)
    }

    fn contains(&self, name: &[u8]) -> bool {
        self.set.contains(&self.key(name))
    }
}

/// Makes what is the same in layers and archives: a member at a free place.
fn place(
    placer: &mut Placer<'_>,
    member: &Member<'_>,
    spot: &Spot,
    reader: &mut Reader<Source>,
    tee: &mut dyn FnMut(&[u8]) -> Result<(), ExtractError>,
) -> Result<(), ExtractError> {
    let failed = |error: PlaceError| member.failed(error);
    let Member {
        path,
        entry,
        metadata,
        ..
    } = member;
    match entry.header.kind {
        Kind::Directory => placer.make_directory(path, spot, metadata).map_err(failed),
        Kind::Symlink => placer
            .make_symlink(spot, &entry.header.link, metadata)
            .map_err(failed),
        Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => placer
            .make_node(spot, &entry.header, metadata)
            .map(|_| ())
            .map_err(failed),
        Kind::File | Kind::GnuSparse | Kind::Other(CONTIGUOUS) => {
            let file = Placer::new_file(spot).map_err(|error| member.failed(error))?;
            copy_data(reader, member, &file, tee)?;
            placer.dress_file(file.as_fd(), metadata).map_err(failed)
        }
        Kind::HardLink | Kind::Other(_) => Err(ExtractError::Kind {
            name: member.name.clone(),
            kind: kind_byte(entry.header.kind),
        }),
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Other(byte) => byte,
        Kind::GnuSparse => b'S',
        _ => b'1',
    }
}

fn copy_data(
    reader: &mut Reader<Source>,
    member: &Member<'_>,
    file: impl AsFd,
    tee: &mut dyn FnMut(&[u8]) -> Result<(), ExtractError>,
) -> Result<(), ExtractError> {
    let whole = [(0, member.entry.stored)];
    let fragments = member.entry.fragments.as_deref().unwrap_or(&whole);
    for (start, len) in fragments {
        let (mut position, mut left) = (*start, *len);
        while left > 0 {
            let bytes = reader.chunk()?;
            let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            let len = match rustix::io::pwrite(&file, bytes, position) {
                Ok(len) => len,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(member.failed(errno)),
            };
            tee(&bytes[..len])?;
            reader.consume(len);
            position += len as u64;
            left -= len as u64;
        }
    }
    if member.entry.fragments.is_some() {
        rustix::fs::ftruncate(&file, member.entry.header.size)
            .map_err(|errno| member.failed(errno))?;
    }
    Ok(())
}

/// A member with what was worked out about it.
struct Member<'a> {
    /// Path below the root, not empty.
    path: &'a [u8],
    entry: &'a Entry,
    metadata: Metadata<'a>,
    /// The name as it is shown.
    name: String,
}

impl Member<'_> {
    fn failed(&self, error: impl Into<PlaceError>) -> ExtractError {
        let name = self.name.clone();
        match error.into() {
            // What the kernel says of an id that the user namespace lacks.
            PlaceError::Owner(source) if Errno::from_io_error(&source) == Some(Errno::INVAL) => {
                ExtractError::NoSuchOwner {
                    path: format!("/{name}"),
                    uid: self.metadata.uid,
                    gid: self.metadata.gid,
                    source,
                }
            }
            PlaceError::Owner(source) | PlaceError::Io(source) => {
                ExtractError::Place { name, source }
            }
        }
    }

    /// Returns the place that a hard link leads to; `prefix` is what its target counts from.
    fn link_target(&self, placer: &Placer<'_>, prefix: &[u8]) -> Result<Spot, ExtractError> {
        let (name, target) = (self.name.clone(), lossy(&self.entry.header.link));
        let Some(path) = inside(&self.entry.header.link) else {
            return Err(ExtractError::LinkEscapes { name, target });
        };
        if path.is_empty() {
            return Err(ExtractError::LinkTarget { name, target });
        }
        let found = match placer.existing(&join(prefix, &path)) {
            Ok(spot) => spot.stat().map(|stat| stat.map(|stat| (spot, stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match found.map_err(|source| self.failed(source))? {
            Some((spot, stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                Ok(spot)
            }
            _ => Err(ExtractError::LinkTarget { name, target }),
        }
    }
}

fn join(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    match (prefix, path) {
        (b"", path) | (path, b"") => path.to_vec(),
        (prefix, path) => [prefix, b"/", path].concat(),
    }
}

struct Layer<'a, W: Write> {
    options: &'a LayerOptions,
    placer: Placer<'a>,
    split: TarSplitWriter<W>,
    /// Cleaned names of all members.
    seen: Names,
    /// Names that this layer removed.
    removed: Names,
    owners: Owners,
}

impl<W: Write> Layer<'_, W> {
    fn raw(&mut self, reader: &mut Reader<Source>) -> Result<(), ExtractError> {
        self.split.raw(reader.raw()).map_err(ExtractError::Split)?;
        reader.raw().clear();
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, reader: &mut Reader<Source>) -> Result<(), ExtractError> {
        let header = &entry.header;
        let name = lossy(&header.name);
        if entry.fragments.is_some() {
            return Err(ExtractError::Sparse { name });
        }
        let Some(path) = inside(&header.name) else {
            return Err(ExtractError::Escapes { name });
        };
        if !self.seen.insert(&path) {
            return Err(ExtractError::Duplicate { name });
        }
        self.split
            .begin_file(&header.name, entry.stored)
            .map_err(ExtractError::Split)?;
        if path.is_empty() {
            return if header.kind == Kind::Directory {
                Ok(())
            } else {
                Err(ExtractError::Root { name })
            };
        }
        let metadata = metadata(header, &name)?;
        let meaning = self.meaning(&path);
        if !matches!(meaning, Meaning::Ordinary) {
            if entry.stored > 0 || header.kind == Kind::Directory {
                return Err(ExtractError::Whiteout { name });
            }
        } else {
            self.owners.uids.insert(metadata.uid);
            self.owners.gids.insert(metadata.gid);
        }
        let member = Member {
            path: &path,
            entry,
            metadata,
            name,
        };
        match meaning {
            Meaning::Ordinary => self.member(&member, reader),
            Meaning::Opaque => self.opaque(&member),
            Meaning::Removed(removed) => self.removed(&member, removed),
            Meaning::Invalid => Err(ExtractError::Whiteout { name: member.name }),
        }
    }

    fn meaning<'p>(&self, path: &'p [u8]) -> Meaning<'p> {
        if self.options.flavour == Flavour::Plain {
            return Meaning::Ordinary;
        }
        let last = whiteout::last_part(path);
        let above = &path[..path.len() - last.len()];
        if above.split(|byte| *byte == b'/').any(whiteout::is_whiteout) {
            return Meaning::Invalid;
        }
        whiteout::meaning(last)
    }

    fn member(
        &mut self,
        member: &Member<'_>,
        reader: &mut Reader<Source>,
    ) -> Result<(), ExtractError> {
        let failed = |source| member.failed(source);
        let spot = self.placer.spot(member.path).map_err(failed)?;
        let mut was_removed = false;
        if let Some(stat) = spot.stat().map_err(failed)? {
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory && member.entry.header.kind == Kind::Directory {
                // Merged: the parent's in a full tree, or one that an earlier member implied.
            } else if self.options.flavour == Flavour::Vfs {
                self.make_free(member, &spot)?;
            } else if is_device_zero(&stat) && self.removed.contains(member.path) {
                spot.unlink().map_err(failed)?;
                was_removed = true;
            } else {
                return Err(ExtractError::Conflict {
                    name: member.name.clone(),
                });
            }
        }
        if member.entry.header.kind == Kind::HardLink {
            let target = member.link_target(&self.placer, b"")?;
            return Placer::make_hard_link(&spot, &target).map_err(failed);
        }
        let split = &mut self.split;
        let mut tee = |bytes: &[u8]| split.data(bytes).map_err(ExtractError::Split);
        place(&mut self.placer, member, &spot, reader, &mut tee)?;
        if was_removed && member.entry.header.kind == Kind::Directory {
            self.mark_opaque(member, member.path)?;
        }
        Ok(())
    }

    /// Removes what the parent layer has at a place; what this layer put there stays and is a conflict.
    fn make_free(&mut self, member: &Member<'_>, spot: &Spot) -> Result<(), ExtractError> {
        let seen = &self.seen;
        let is_free = self
            .placer
            .remove(member.path, spot, &mut |path| seen.contains(path))
            .map_err(|source| member.failed(source))?;
        if is_free {
            Ok(())
        } else {
            Err(ExtractError::Conflict {
                name: member.name.clone(),
            })
        }
    }

    fn removed(&mut self, member: &Member<'_>, name: &[u8]) -> Result<(), ExtractError> {
        let failed = |source| member.failed(source);
        let parent = &member.path[..member.path.len() - whiteout::last_part(member.path).len()];
        let path = [parent, name].concat();
        self.removed.insert(&path);
        if self.options.flavour == Flavour::Vfs {
            return self.removed_from_copy(member, &path);
        }
        let spot = self.placer.spot(&path).map_err(failed)?;
        match spot.stat().map_err(failed)? {
            None => {
                let made = self.placer.make_whiteout(&spot, &member.metadata);
                made.map_err(|error| member.failed(error))
            }
            // The layer's own entry came first: only what lies below is removed.
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.mark_opaque(member, &path)
            }
            Some(_) => Ok(()),
        }
    }

    fn removed_from_copy(&mut self, member: &Member<'_>, path: &[u8]) -> Result<(), ExtractError> {
        let failed = |source| member.failed(source);
        let spot = match self.placer.existing(path) {
            Ok(spot) => spot,
            Err(error) if crate::walk::is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let Some(stat) = spot.stat().map_err(failed)? else {
            return Ok(());
        };
        let seen = &self.seen;
        let mut keep = |path: &[u8]| seen.contains(path);
        if !keep(path) {
            return self
                .placer
                .remove(path, &spot, &mut keep)
                .map(|_| ())
                .map_err(failed);
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let dir = self.placer.directory(path).map_err(failed)?;
            self.placer
                .empty(path, dir.as_fd(), &mut keep)
                .map_err(failed)?;
        }
        Ok(())
    }

    fn opaque(&mut self, member: &Member<'_>) -> Result<(), ExtractError> {
        let parent = member.path.len() - whiteout::last_part(member.path).len();
        self.mark_opaque(member, &member.path[..parent.saturating_sub(1)])
    }

    fn mark_opaque(&mut self, member: &Member<'_>, path: &[u8]) -> Result<(), ExtractError> {
        let failed = |source| member.failed(source);
        let dir = self.placer.directory(path).map_err(failed)?;
        match self.options.flavour.opaque_xattr() {
            Some(mark) => Node::Handle(dir.as_fd())
                .set(OsStr::new(mark), b"y")
                .map_err(failed),
            None => {
                let seen = &self.seen;
                self.placer
                    .empty(path, dir.as_fd(), &mut |path| seen.contains(path))
                    .map_err(failed)
            }
        }
    }
}

struct Plain<'a> {
    options: &'a ArchiveOptions<'a>,
    placer: Placer<'a>,
    /// The directory below the root that names count from.
    prefix: Vec<u8>,
}

impl Plain<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<Source>) -> Result<(), ExtractError> {
        let name = lossy(&entry.header.name);
        let Some(below) = inside(&entry.header.name) else {
            return Err(ExtractError::Escapes { name });
        };
        let mut metadata = metadata(&entry.header, &name)?;
        if let Some((uid, gid)) = self.options.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        metadata.mode = self.options.modes.of(metadata.mode, entry.header.kind);
        let path = join(&self.prefix, &below);
        let member = Member {
            path: &path,
            entry,
            metadata,
            name,
        };
        if below.is_empty() {
            return self.root(&member);
        }
        self.member(&member, reader)
    }

    fn root(&mut self, member: &Member<'_>) -> Result<(), ExtractError> {
        if member.entry.header.kind != Kind::Directory {
            return Err(ExtractError::Root {
                name: member.name.clone(),
            });
        }
        let failed = |source| member.failed(source);
        let handle = self.placer.directory(member.path).map_err(failed)?;
        let flags = crate::walk::open_dir_flags();
        let dir = rustix::fs::openat(&*handle, c".", flags, rustix::fs::Mode::empty());
        let dir = dir.map_err(|errno| failed(errno.into()))?;
        self.placer
            .dress_directory(member.path, dir.as_fd(), &member.metadata)
            .map_err(|error| member.failed(error))
    }

    fn member(
        &mut self,
        member: &Member<'_>,
        reader: &mut Reader<Source>,
    ) -> Result<(), ExtractError> {
        let failed = |source| member.failed(source);
        let kind = member.entry.header.kind;
        if let Kind::Other(byte) = kind
            && byte != CONTIGUOUS
        {
            return Err(ExtractError::Kind {
                name: member.name.clone(),
                kind: byte,
            });
        }
        let spot = self.placer.spot(member.path).map_err(failed)?;
        let target = match kind {
            Kind::HardLink => Some(member.link_target(&self.placer, &self.prefix)?),
            _ => None,
        };
        if let Some(stat) = spot.stat().map_err(failed)? {
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if target.as_ref().is_some_and(|target| is_same(target, &stat)) {
                return Ok(());
            }
            if !(is_directory && kind == Kind::Directory) {
                self.placer
                    .remove(member.path, &spot, &mut |_| false)
                    .map_err(failed)?;
            }
        }
        match target {
            Some(target) => Placer::make_hard_link(&spot, &target).map_err(failed),
            None => place(&mut self.placer, member, &spot, reader, &mut |_| Ok(())),
        }
    }
}

/// Returns whether a link's target is what is at its place already.
fn is_same(target: &Spot, stat: &rustix::fs::Stat) -> bool {
    target
        .stat()
        .ok()
        .flatten()
        .is_some_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino))
}

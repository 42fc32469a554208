//! A tar file on the disk whose members are found by name and read in any order.
//!
//! Nothing is unpacked: names are keys of a map, so that a hostile one can point nowhere. A compressed archive, or one
//! that comes through a pipe, is first copied into an unnamed file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use archive::Compression;
use archive::tar::{Kind, Reader};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{CHUNK, read_all_limited};
use crate::layout::Place;

/// The most members an archive of images may have.
const MEMBERS_MAX: usize = 1 << 18;
/// The most bytes a compressed archive, or one from a pipe, may unpack to.
const UNPACKED_MAX: u64 = 1 << 40;
/// The most links that are followed to a member.
const LINKS_MAX: usize = 16;

enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

/// An archive with its table of contents.
pub(crate) struct ArchiveFile {
    path: PathBuf,
    file: File,
    members: BTreeMap<String, Member>,
}

impl ArchiveFile {
    /// Opens an archive and reads its headers. `temporary` is a directory for a large file.
    pub(crate) fn open(path: &Path, temporary: &Path) -> Result<Self> {
        Self::of(File::open(path).at("open", path)?, path, temporary)
    }

    /// Takes an archive that is open already, at its beginning; `path` is for messages.
    pub(crate) fn of(file: File, path: &Path, temporary: &Path) -> Result<Self> {
        let metadata = file.metadata().at("look at", path)?;
        if metadata.is_dir() {
            return Err(TransferError::NotFile {
                path: path.to_owned(),
            });
        }
        let mut start = [0; 6];
        let plain = metadata.is_file() && {
            let length = file.read_at(&mut start, 0).at("read", path)?;
            archive::detect(&start[..length]) == Compression::None
        };
        let file = if plain {
            file
        } else {
            unpack(file, path, temporary)?
        };
        let mut archive = Self {
            path: path.to_owned(),
            file,
            members: BTreeMap::new(),
        };
        archive.scan()?;
        Ok(archive)
    }

    /// Reads the headers and skips over the data.
    fn scan(&mut self) -> Result<()> {
        let unreadable = |source| TransferError::Archive {
            path: self.path.clone(),
            source,
        };
        let mut source = BufReader::with_capacity(8192, &self.file);
        let mut at = 0;
        source.seek(SeekFrom::Start(0)).at("read", &self.path)?;
        loop {
            let mut reader = Reader::new(source);
            let Some(entry) = reader.next_entry().map_err(unreadable)? else {
                return Ok(());
            };
            let offset = at + reader.offset();
            let name = clean(&entry.header.name);
            let member = match entry.header.kind {
                Kind::File if entry.fragments.is_none() => Some(Member::File {
                    offset,
                    size: entry.stored,
                }),
                Kind::Symlink => Some(Member::Link(beside(&name, &entry.header.link))),
                Kind::HardLink => Some(Member::Link(clean(&entry.header.link))),
                _ => None,
            };
            if let Some(member) = member {
                // Of two members with one name other readers see the first.
                self.members.entry(name).or_insert(member);
            }
            if self.members.len() > MEMBERS_MAX {
                return Err(TransferError::TooManyMembers {
                    path: self.path.clone(),
                    limit: MEMBERS_MAX,
                });
            }
            let next = entry
                .stored
                .checked_next_multiple_of(512)
                .and_then(|size| offset.checked_add(size));
            at = next.ok_or_else(|| unreadable(archive::tar::TarError::Truncated { offset }))?;
            source = reader.into_source();
            source.seek(SeekFrom::Start(at)).at("read", &self.path)?;
        }
    }

    fn find(&self, name: &str) -> Result<(u64, u64)> {
        let missing = || TransferError::NoMember {
            path: self.path.clone(),
            member: name.to_owned(),
        };
        let mut wanted = clean(name.as_bytes());
        for _ in 0..LINKS_MAX {
            match self.members.get(&wanted) {
                None => return Err(missing()),
                Some(Member::File { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => wanted.clone_from(target),
            }
        }
        Err(missing())
    }

    /// Returns the size of a member in bytes.
    pub(crate) fn size(&self, name: &str) -> Result<u64> {
        self.find(name).map(|(_, size)| size)
    }
}

impl Place for ArchiveFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        read_all_limited(self.stream(name)?, &self.path.join(name), limit)
    }

    fn stream(&self, name: &str) -> Result<Box<dyn Read + Send + '_>> {
        let (offset, left) = self.find(name)?;
        Ok(Box::new(BufReader::with_capacity(
            CHUNK,
            Section {
                file: &self.file,
                offset,
                left,
            },
        )))
    }
}

/// A part of a file, read without moving the file's position.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Copies an archive, without its compression, into a file that vanishes with its handle.
fn unpack(file: File, path: &Path, temporary: &Path) -> Result<File> {
    let (_, mut reader) =
        archive::decode(BufReader::with_capacity(CHUNK, file)).at("read", path)?;
    let mut out = tempfile::tempfile_in(temporary).at("create a file in", temporary)?;
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let count = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err).at("read", path),
        };
        size += count as u64;
        if size > UNPACKED_MAX {
            return Err(TransferError::TooLarge {
                path: path.to_owned(),
                size,
                limit: UNPACKED_MAX,
            });
        }
        out.write_all(&chunk[..count]).at("write in", temporary)?;
    }
    Ok(out)
}

/// Returns a name without `.`, `..`, doubled and outer slashes, all relative to the archive's root.
fn clean(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns where a symbolic link in the member `name` leads.
fn beside(name: &str, target: &[u8]) -> String {
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    clean(&[directory.as_bytes(), b"/", target].concat())
}

/// Copies all of a file into a stream.
pub(crate) fn copy_file(path: &Path, mut out: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::with_capacity(CHUNK, File::open(path).at("open", path)?);
    loop {
        let bytes = reader.fill_buf().at("read", path)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len();
        out(bytes)?;
        reader.consume(count);
    }
}

/// Opens a file for an archive only to see whether it has content.
pub(crate) fn has_content(path: &Path) -> bool {
    OpenOptions::new()
        .read(true)
        .open(path)
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, expected) in [
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("../../x", "x"),
            ("", ""),
        ] {
            assert_eq!(clean(name.as_bytes()), expected);
        }
        assert_eq!(beside("id/layer.tar", b"../x.tar"), "x.tar");
        assert_eq!(beside("layer.tar", b"../../x.tar"), "x.tar");
    }
}

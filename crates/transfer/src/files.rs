//! Small work on host files: reading with a limit, and writing so that a name appears only with its whole content.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use archive::{Compression, Encoder};
use model::{Digest, digest::Algorithm, digest::Hasher};
use tempfile::NamedTempFile;

use crate::error::{IoContext as _, Result, TransferError};
use crate::packing::Packing;
use crate::unfinished;

/// How much is read and hashed at once.
pub(crate) const CHUNK: usize = 128 * 1024;

/// Opens a regular file; anything else could block or never end.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .at("open", path)?;
    if !file.metadata().at("look at", path)?.is_file() {
        return Err(TransferError::NotFile {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

/// Reads all of a regular file that may have at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_all_limited(open_regular(path)?, path, limit)
}

/// Reads all of a stream that may have at most `limit` bytes.
pub(crate) fn read_all_limited(reader: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .at("read", path)? as u64;
    if size > limit {
        return Err(TransferError::TooLarge {
            path: path.to_owned(),
            size,
            limit,
        });
    }
    Ok(bytes)
}

/// Opens a regular file for a stream.
pub(crate) fn open_stream(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(CHUNK, open_regular(path)?))
}

/// A file from its beginning, whatever others do with the handle's position.
pub(crate) struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> FromStart<'a> {
    /// Begins to read; the caller reads in large pieces.
    pub(crate) fn of(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A file that has its content but not yet its name.
pub(crate) struct Spooled {
    pub(crate) file: NamedTempFile,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// What its descriptor is to say besides.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Spooled {
    /// Gives the file its name, readable by everybody.
    pub(crate) fn publish(self, path: &Path) -> Result<()> {
        publish(self.file, path)
    }
}

/// How a stream is to be compressed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
    /// Whether a zstd stream can be fetched in parts.
    pub(crate) chunked: bool,
}

impl Encoding {
    /// Not at all.
    pub(crate) const PLAIN: Encoding = Encoding {
        compression: Compression::None,
        level: None,
        chunked: false,
    };

    /// Starts a stream.
    pub(crate) fn encoder<W: Write>(self, out: W) -> io::Result<Encoder<W>> {
        if self.chunked {
            Encoder::chunked(out, self.level)
        } else {
            Encoder::new(out, self.compression, self.level)
        }
    }
}

/// Copies a stream, packed on the way, into an unnamed file of `directory`, and says what it became.
pub(crate) fn spool(
    reader: &mut dyn Read,
    packing: Packing<'_>,
    directory: &Path,
) -> Result<Spooled> {
    spool_written(packing, directory, |writer| {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match reader.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(TransferError::Stream(err)),
            };
            writer
                .write_all(&chunk[..count])
                .at("write in", directory)?;
        }
    })
}

/// Puts what `write` writes, packed on the way, into an unnamed file of `directory`, and says what it became.
pub(crate) fn spool_written(
    packing: Packing<'_>,
    directory: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Spooled> {
    let out = Hashed {
        file: unfinished::file(directory)?,
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
    };
    let mut writer = packing.writer(out).map_err(TransferError::Stream)?;
    write(&mut writer)?;
    let (out, annotations) = writer.finish().at("write in", directory)?;
    Ok(Spooled {
        file: out.file,
        digest: out.hasher.finish(),
        size: out.size,
        annotations,
    })
}

/// A file that is hashed while it is written.
struct Hashed {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file so that it is there entirely or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = unfinished::file(parent(path))?;
    file.write_all(bytes).at("write", path)?;
    publish(file, path)
}

/// Gives a file its name, readable by everybody.
pub(crate) fn publish(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .at("change the mode of", path)?;
    file.persist(path)
        .map_err(|err| err.error)
        .at("create", path)?;
    Ok(())
}

/// The directory that a path lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a new archive goes.
pub(crate) enum Output {
    /// A file that replaces what has its name when it is whole.
    Whole(NamedTempFile, PathBuf),
    /// Something that is no regular file, such as a pipe.
    Direct(File),
    /// Something that wants to know when the archive is whole.
    Stream(Box<dyn Stream>),
}

/// Takes an archive that is no file here.
pub(crate) trait Stream: Write + Send {
    /// The archive is whole.
    fn finish(self: Box<Self>) -> Result<()>;
}

impl Output {
    /// Opens the output for an archive.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(there) if !there.is_file() => Ok(Self::Direct(
                OpenOptions::new().write(true).open(path).at("open", path)?,
            )),
            _ => {
                unfinished::reap(parent(path));
                let file = unfinished::file(parent(path))?;
                Ok(Self::Whole(file, path.to_owned()))
            }
        }
    }

    /// Gives the archive its name.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Whole(file, path) => publish(file, &path),
            Self::Direct(_) => Ok(()),
            Self::Stream(stream) => stream.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Whole(file, _) => file.write(bytes),
            Self::Direct(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Whole(file, _) => file.flush(),
            Self::Direct(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

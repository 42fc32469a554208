//! tar-split: a tar stream without the data of its members, from which, together with the extracted files, the stream
//! can be made again byte for byte.
//!
//! The file is gzip of one JSON object per line, as `vbatts/tar-split` (`tar/storage`) writes it: type 2 has raw
//! bytes, type 1 stands for a member's data and has its CRC-64. How raw bytes are spread over lines is free.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use sys::Root;

/// Level that Go's storage library compresses the file with; the content compresses well at any.
const GZIP_LEVEL: u32 = 1;
/// Raw bytes are written out when there are that many.
const RAW_LINE: usize = 64 << 10;
/// Longest line that is read, in bytes. Go writes the bytes behind an archive as one line.
pub const MAX_LINE: u64 = 128 << 20;
/// Piece in which files are copied.
const COPY_PIECE: usize = 256 << 10;

const TYPE_FILE: u8 = 1;
const TYPE_RAW: u8 = 2;

/// Why a split cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The split cannot be read.
    #[error("cannot read the tar-split data")]
    Read(#[source] io::Error),
    /// A line is not what it should be.
    #[error("invalid tar-split line {line}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What the JSON parser says, if it is that.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// A line is longer than [`MAX_LINE`].
    #[error("tar-split line {line} is longer than the limit of {MAX_LINE} bytes")]
    LongLine {
        /// Number of the line, from 1.
        line: u64,
    },
    /// A member's file cannot be read from the tree.
    #[error("cannot read `{path}` of the layer")]
    File {
        /// The member.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what was archived.
    #[error("`{path}` of the layer is not the file that was archived")]
    Mismatch {
        /// The member.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("cannot write the tar stream")]
    Write(#[source] io::Error),
}

/// Starts the checksum of a member's data.
pub(crate) fn new_crc() -> Crc {
    Crc::new(CrcAlgorithm::Crc64GoIso)
}

enum Output<W: Write> {
    Gzip(Box<GzEncoder<W>>),
    Plain(W),
}

/// Writes a split while a tar stream passes by.
///
/// The caller tells every byte of the stream once, in order: [`TarSplitWriter::raw`] for what is not data;
/// [`TarSplitWriter::begin_file`] at the start of each member's data, also when it has none; then
/// [`TarSplitWriter::data`] until the announced size is reached.
pub struct TarSplitWriter<W: Write> {
    out: Output<W>,
    line: String,
    raw: Vec<u8>,
    position: u64,
    file: Option<(Vec<u8>, u64)>,
    left: u64,
    crc: Crc,
}

impl<W: Write> TarSplitWriter<W> {
    /// Starts a split.
    pub fn new(out: W) -> Self {
        let level = Compression::new(GZIP_LEVEL);
        Self::onto(Output::Gzip(Box::new(GzEncoder::new(out, level))))
    }

    /// Starts a split without compression, as others than stores have it.
    pub(crate) fn plain(out: W) -> Self {
        Self::onto(Output::Plain(out))
    }

    fn onto(out: Output<W>) -> Self {
        Self {
            out,
            line: String::with_capacity(RAW_LINE * 2),
            raw: Vec::with_capacity(RAW_LINE),
            position: 0,
            file: None,
            left: 0,
            crc: new_crc(),
        }
    }

    /// Takes bytes that are not data.
    ///
    /// # Errors
    /// Those of the output.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(RAW_LINE) {
            self.raw.extend_from_slice(piece);
            if self.raw.len() >= RAW_LINE {
                self.flush_raw()?;
            }
        }
        Ok(())
    }

    /// Starts the data of a member, `size` bytes.
    ///
    /// # Errors
    /// Those of the output.
    pub fn begin_file(&mut self, name: &[u8], size: u64) -> io::Result<()> {
        self.flush_raw()?;
        self.left = size;
        if size == 0 {
            return self.file_line(name, 0, 0);
        }
        self.file = Some((name.to_vec(), size));
        Ok(())
    }

    /// Takes a member's whole data by its checksum, in place of [`Self::begin_file`] and
    /// [`Self::data`].
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn file(&mut self, name: &[u8], size: u64, crc: u64) -> io::Result<()> {
        self.flush_raw()?;
        self.file_line(name, size, crc)
    }

    /// Takes data of the member.
    ///
    /// # Errors
    /// Those of the output; [`io::ErrorKind::InvalidInput`] when it is more than was announced.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if self.left == 0
            && let Some((name, size)) = self.file.take()
        {
            let crc = self.crc.finalize_reset();
            self.file_line(&name, size, crc)?;
        }
        Ok(())
    }

    /// Ends the split and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_raw()?;
        match self.out {
            Output::Gzip(out) => out.finish(),
            Output::Plain(out) => Ok(out),
        }
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.line.clear();
        self.line.push_str("{\"type\":2,\"payload\":\"");
        STANDARD.encode_string(&self.raw, &mut self.line);
        self.raw.clear();
        self.line.push('"');
        self.end_line()
    }

    fn file_line(&mut self, name: &[u8], size: u64, crc: u64) -> io::Result<()> {
        self.line.clear();
        self.line.push_str("{\"type\":1,");
        if let Ok(text) = std::str::from_utf8(name) {
            self.line.push_str("\"name\":");
            self.line.push_str(&serde_json::to_string(text)?);
        } else {
            self.line.push_str("\"name_raw\":\"");
            STANDARD.encode_string(name, &mut self.line);
            self.line.push('"');
        }
        if size > 0 {
            self.line.push_str(",\"size\":");
            self.line.push_str(&size.to_string());
            self.line.push_str(",\"payload\":\"");
            STANDARD.encode_string(crc.to_be_bytes(), &mut self.line);
            self.line.push('"');
        } else {
            self.line.push_str(",\"payload\":null");
        }
        self.end_line()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.line.push_str(",\"position\":");
        self.line.push_str(&self.position.to_string());
        self.line.push_str("}\n");
        self.position += 1;
        match &mut self.out {
            Output::Gzip(out) => out.write_all(self.line.as_bytes()),
            Output::Plain(out) => out.write_all(self.line.as_bytes()),
        }
    }
}

/// A piece of the stream as a split has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes that are not data.
    Raw(Vec<u8>),
    /// The place of a member's data.
    File {
        /// The member's name, as in its header.
        name: Vec<u8>,
        /// Size of the data in bytes.
        size: u64,
        /// CRC-64 of the data, when there is any.
        crc: u64,
    },
}

#[derive(Deserialize)]
struct Line {
    r#type: u8,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    payload: Option<String>,
}

/// Reads a split, segment by segment.
pub struct TarSplitReader<R: Read> {
    source: BufReader<MultiGzDecoder<BufReader<R>>>,
    line: Vec<u8>,
    number: u64,
}

impl<R: Read> TarSplitReader<R> {
    /// Starts at the beginning of a gzip-compressed split.
    pub fn new(source: R) -> Self {
        let source =
            BufReader::with_capacity(RAW_LINE, MultiGzDecoder::new(BufReader::new(source)));
        Self {
            source,
            line: Vec::new(),
            number: 0,
        }
    }

    /// Returns the next segment; `None` at the end.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn next_segment(&mut self) -> Result<Option<Segment>, SplitError> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = (&mut self.source).take(MAX_LINE);
            let len = limited
                .read_until(b'\n', &mut self.line)
                .map_err(SplitError::Read)?;
            if len == 0 {
                return Ok(None);
            }
            if len as u64 == MAX_LINE && !self.line.ends_with(b"\n") {
                return Err(SplitError::LongLine { line: self.number });
            }
            if !self.line.trim_ascii().is_empty() {
                return self.parse().map(Some);
            }
        }
    }

    fn parse(&self) -> Result<Segment, SplitError> {
        let bad = |source| SplitError::Line {
            line: self.number,
            source,
        };
        let line: Line = serde_json::from_slice(&self.line).map_err(|error| bad(Some(error)))?;
        let payload = line
            .payload
            .map(|text| STANDARD.decode(text))
            .transpose()
            .ok()
            .flatten();
        match line.r#type {
            TYPE_RAW => payload.map(Segment::Raw).ok_or_else(|| bad(None)),
            TYPE_FILE => {
                let name = match (line.name, line.name_raw) {
                    (Some(name), _) if !name.is_empty() => name.into_bytes(),
                    (_, Some(raw)) => STANDARD.decode(raw).ok().ok_or_else(|| bad(None))?,
                    _ => Vec::new(),
                };
                let size = u64::try_from(line.size.unwrap_or(0))
                    .ok()
                    .ok_or_else(|| bad(None))?;
                let crc = match payload.map(<[u8; 8]>::try_from) {
                    Some(Ok(bytes)) => u64::from_be_bytes(bytes),
                    _ if size == 0 => 0,
                    _ => return Err(bad(None)),
                };
                Ok(Segment::File { name, size, crc })
            }
            _ => Err(bad(None)),
        }
    }
}

/// Writes the tar stream that `split` describes, with the data from `roots`: each member's file is taken from the
/// first root that has its path. Paths are resolved inside the root.
///
/// # Errors
/// [`SplitError`]. A file whose size or CRC is not that of the archived one is [`SplitError::Mismatch`], found before
/// the file's last byte is written.
pub fn regenerate(
    split: impl Read,
    roots: &[&Root],
    mut out: impl Write,
) -> Result<u64, SplitError> {
    let mut reader = TarSplitReader::new(split);
    let mut buffer = vec![0; COPY_PIECE];
    let mut total = 0;
    while let Some(segment) = reader.next_segment()? {
        match segment {
            Segment::Raw(bytes) => {
                out.write_all(&bytes).map_err(SplitError::Write)?;
                total += bytes.len() as u64;
            }
            Segment::File { size: 0, .. } => {}
            Segment::File { name, size, crc } => {
                copy_file(
                    roots,
                    Path::new(OsStr::from_bytes(&name)),
                    (size, crc),
                    &mut buffer,
                    &mut out,
                )?;
                total += size;
            }
        }
    }
    out.flush().map_err(SplitError::Write)?;
    Ok(total)
}

fn copy_file(
    roots: &[&Root],
    path: &Path,
    (size, crc): (u64, u64),
    buffer: &mut [u8],
    out: &mut impl Write,
) -> Result<(), SplitError> {
    let failed = |source| SplitError::File {
        path: path.to_owned(),
        source,
    };
    let mismatch = || SplitError::Mismatch {
        path: path.to_owned(),
    };
    let mut file = open_in(roots, path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() != size {
        return Err(mismatch());
    }
    let mut sum = new_crc();
    let mut left = size;
    while left > 0 {
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = match file.read(&mut buffer[..want]) {
            Ok(0) => return Err(mismatch()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        sum.update(&buffer[..got]);
        left -= got as u64;
        if left == 0 && sum.finalize() != crc {
            return Err(mismatch());
        }
        out.write_all(&buffer[..got]).map_err(SplitError::Write)?;
    }
    Ok(())
}

fn open_in(roots: &[&Root], path: &Path) -> io::Result<std::fs::File> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for root in roots {
        match root.open_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
            other => return other,
        }
    }
    Err(last)
}

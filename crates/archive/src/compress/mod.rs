//! Writing compressed streams with all processors.
//!
//! The input is cut into pieces of a fixed size, and each becomes a gzip member or a zstd frame of its own. So the
//! bytes depend on the input, the format and the level only, never on the number of threads, the machine or the time:
//! equal layers have equal digests, and an upload can be taken up again by compressing once more. Readers see one
//! stream; RFC 1952 and RFC 8878 both define the concatenation.
//!
//! Hashing either side, and the choice of format and level, are the callers' business.

mod chunked;
mod codec;
mod cores;
mod pieces;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::compression::Compression;
use chunked::Chunked;
pub use chunked::ChunkedError;
use codec::Codec;
pub use codec::LevelError;
pub use cores::Cores;
use pieces::Pieces;

/// Compresses what is written to it. [`Encoder::finish`] must be called at the end.
///
/// Flushing hands on what is ready and ends no member, so that it does not change the bytes.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Pieces(Pieces<W>),
    Chunked(Box<Chunked<W>>),
}

/// A finished stream.
#[derive(Debug)]
pub struct Encoded<W> {
    /// The output.
    pub out: W,
    /// What a layer's descriptor has to say about the stream; empty for most formats.
    pub annotations: BTreeMap<String, String>,
}

impl<W: Write> Encoder<W> {
    /// Starts a stream on the process's own threads. `level` is the format's own scale; `None` is its usual level
    /// (gzip 1 of 0 to 12, with what does not compress stored as it is; zstd 3 of -7 to 22).
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] for bzip2 and xz; [`io::ErrorKind::InvalidInput`] with a [`LevelError`] for an
    /// impossible level.
    pub fn new(out: W, kind: Compression, level: Option<i32>) -> io::Result<Self> {
        Self::with_cores(out, kind, level, &Cores::all())
    }

    /// The same on other threads.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_cores(
        out: W,
        kind: Compression,
        level: Option<i32>,
        cores: &Cores,
    ) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let codec = match kind {
            Compression::None => return Ok(Self(Inner::Plain(out))),
            Compression::Gzip => Codec::gzip(level),
            Compression::Zstd => Codec::zstd(level),
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        };
        let codec = codec.map_err(invalid)?;
        Ok(Self(Inner::Pieces(Pieces::new(out, (), codec, cores))))
    }

    /// Starts a stream of zstd:chunked, for which the input has to be a tar archive, on the process's own threads. `level`
    /// is zstd's scale.
    ///
    /// Writing fails with [`io::ErrorKind::InvalidData`] when the input is no archive, or one with members that the
    /// format cannot describe, which a [`ChunkedError`] names.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] with a [`LevelError`] for an impossible level.
    pub fn chunked(out: W, level: Option<i32>) -> io::Result<Self> {
        Self::chunked_with_cores(out, level, &Cores::all())
    }

    /// The same on other threads.
    ///
    /// # Errors
    /// As [`Encoder::chunked`].
    pub fn chunked_with_cores(out: W, level: Option<i32>, cores: &Cores) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let level = codec::zstd_level(level).map_err(invalid)?;
        let chunked = Chunked::new(out, level, cores)?;
        Ok(Self(Inner::Chunked(Box::new(chunked))))
    }

    /// Ends the stream and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<Encoded<W>> {
        let (out, annotations) = match self.0 {
            Inner::Plain(out) => (out, BTreeMap::new()),
            Inner::Pieces(pieces) => (pieces.finish()?.0, BTreeMap::new()),
            Inner::Chunked(chunked) => chunked.finish()?,
        };
        Ok(Encoded { out, annotations })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(out) => out.write(bytes),
            Inner::Pieces(pieces) => pieces.write(bytes).map(|()| bytes.len()),
            Inner::Chunked(chunked) => chunked.write(bytes).map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(out) => out.flush(),
            Inner::Pieces(pieces) => pieces.flush(),
            Inner::Chunked(chunked) => chunked.flush(),
        }
    }
}

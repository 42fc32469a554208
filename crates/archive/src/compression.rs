//! Compressed streams: which kind it is, and reading and writing it.
//!
//! Reading accepts several members, frames or streams in a row, as real layers have them. Writing is one plain stream
//! whose bytes depend on the input and the level only. Choosing a level and compressing in parallel are the callers'
//! business.

use std::io::{self, BufRead, Cursor, Read, Write};

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2; only read.
    Bzip2,
    /// xz; only read.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Length in bytes of the longest magic number.
const MAGIC_LEN: usize = 6;
/// Most memory that an xz stream may ask for, in KiB. Level 9 needs 65 MiB.
const XZ_MEMORY_KIB: u32 = 256 << 10;
/// Largest window that a zstd frame may ask for, as a power of two; what every decoder must offer is 8 MiB, what the
/// `--ultra` levels use is 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Tells the compression from the first bytes of a stream; six are enough.
pub fn detect(start: &[u8]) -> Compression {
    const MAGICS: [(&[u8], Compression); 4] = [
        (&[0x1f, 0x8b, 0x08], Compression::Gzip),
        (b"BZh", Compression::Bzip2),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    ];
    let is_skippable_frame =
        start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    if is_skippable_frame {
        return Compression::Zstd;
    }
    MAGICS
        .iter()
        .find(|(magic, _)| start.starts_with(magic))
        .map_or(Compression::None, |(_, kind)| *kind)
}

/// A stream of decompressed bytes.
pub type Decoder<'a> = Box<dyn Read + Send + 'a>;

/// Detects the compression of `source` and returns it with the decompressed stream.
///
/// # Errors
/// Those of reading the first bytes, and of starting a decoder. Malformed data shows as an error of the stream.
pub fn decode<'a>(mut source: impl BufRead + Send + 'a) -> io::Result<(Compression, Decoder<'a>)> {
    let mut start = Vec::with_capacity(MAGIC_LEN);
    (&mut source)
        .take(MAGIC_LEN as u64)
        .read_to_end(&mut start)?;
    let kind = detect(&start);
    let whole = Cursor::new(start).chain(source);
    let decoder: Decoder<'a> = match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            whole,
            true,
            XZ_MEMORY_KIB,
        )),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok((kind, decoder))
}

/// Compresses what is written to it. [`Encoder::finish`] must be called at the end.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Starts a stream. `level` is the format's own scale; `None` is its usual level (gzip 6, zstd 3).
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] for bzip2 and xz; [`io::ErrorKind::InvalidInput`] for an impossible level.
    pub fn new(out: W, kind: Compression, level: Option<i32>) -> io::Result<Self> {
        Ok(Self(match kind {
            Compression::None => Inner::Plain(out),
            Compression::Gzip => {
                let level = u32::try_from(level.unwrap_or(6))
                    .ok()
                    .filter(|level| *level <= 9);
                let level = flate2::Compression::new(level.ok_or(io::ErrorKind::InvalidInput)?);
                Inner::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            Compression::Zstd => {
                Inner::Zstd(zstd::stream::write::Encoder::new(out, level.unwrap_or(3))?)
            }
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// Ends the stream and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Plain(out) => Ok(out),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(out) => out.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(out) => out.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
        }
    }
}

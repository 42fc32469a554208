//! Compressed streams: which kind it is, and reading it. Writing is in [`compress`](crate::compress).
//!
//! Reading accepts several members, frames or streams in a row, as real layers have them.

use std::io::{self, BufRead, Cursor, Read};

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

//! One piece of input to one gzip member or zstd frame, always to the same bytes.

use std::io;

use libdeflater::{CompressionLvl, Compressor, Crc};

/// gzip's usual level.
const GZIP_LEVEL: i32 = 6;
/// The levels of gzip: those of zlib, and three more that libdeflate has.
const GZIP_LEVELS: (i32, i32) = (0, 12);
/// zstd's usual level.
const ZSTD_LEVEL: i32 = 3;
/// The levels of zstd. The negative ones are faster than any layer can be read.
const ZSTD_LEVELS: (i32, i32) = (-7, 22);

/// A member's head: no name, no time, unknown system, and an extra field with the member's length in bytes, so that
/// members can be found without inflating them. The field is that of mgzip and gzp.
const GZIP_HEAD: [u8; 16] = [
    0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 8, 0, b'I', b'G', 4, 0,
];
/// Where the member's length stands, and where the head ends.
const GZIP_LENGTH: std::ops::Range<usize> = 16..20;
/// CRC-32 and length of the content.
const GZIP_TAIL: usize = 8;

/// A compression level that its format does not have. Travels inside an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compression level {level} is not one of {format}, which has {min} to {max}")]
pub struct LevelError {
    /// The level.
    pub level: i32,
    /// The format.
    pub format: &'static str,
    /// The lowest level.
    pub min: i32,
    /// The highest level.
    pub max: i32,
}

/// A format at a level that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip(i32),
    Zstd(i32),
}

impl Codec {
    /// gzip at a level; `None` and -1 are the usual one.
    pub(super) fn gzip(level: Option<i32>) -> Result<Self, LevelError> {
        let level = level.filter(|level| *level != -1).unwrap_or(GZIP_LEVEL);
        check_level("gzip", level, GZIP_LEVELS).map(Self::Gzip)
    }

    /// zstd at a level; `None` is the usual one.
    pub(super) fn zstd(level: Option<i32>) -> Result<Self, LevelError> {
        check_level("zstd", level.unwrap_or(ZSTD_LEVEL), ZSTD_LEVELS).map(Self::Zstd)
    }

    /// How many bytes of input become one member or frame. Part of the format of our output: another size makes other
    /// bytes and thereby other digests of equal layers.
    pub(super) fn piece(self) -> usize {
        match self {
            Codec::Gzip(_) => 1 << 20,
            Codec::Zstd(_) => 4 << 20,
        }
    }
}

fn check_level(
    format: &'static str,
    level: i32,
    (min, max): (i32, i32),
) -> Result<i32, LevelError> {
    if (min..=max).contains(&level) {
        Ok(level)
    } else {
        Err(LevelError {
            level,
            format,
            min,
            max,
        })
    }
}

/// The compressors of one thread, kept from piece to piece.
#[derive(Default)]
pub(super) struct Tools {
    gzip: Option<(i32, Compressor)>,
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl Tools {
    /// Appends `piece` to `out` as one member or frame and returns the length of that.
    pub(super) fn compress(
        &mut self,
        codec: Codec,
        piece: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let start = out.len();
        match codec {
            Codec::Gzip(level) => gzip_member(self.gzip(level), piece, out)?,
            Codec::Zstd(level) => {
                let room = zstd::zstd_safe::compress_bound(piece.len());
                out.resize(start + room, 0);
                let size = self
                    .zstd(level)?
                    .compress_to_buffer(piece, &mut out[start..])?;
                out.truncate(start + size);
            }
        }
        Ok(out.len() - start)
    }

    fn gzip(&mut self, level: i32) -> &mut Compressor {
        if self.gzip.as_ref().is_none_or(|(of, _)| *of != level) {
            let made = CompressionLvl::new(level).unwrap_or_default();
            self.gzip = Some((level, Compressor::new(made)));
        }
        let (_, compressor) = self.gzip.as_mut().expect("it was made above");
        compressor
    }

    fn zstd(&mut self, level: i32) -> io::Result<&mut zstd::bulk::Compressor<'static>> {
        if self.zstd.as_ref().is_none_or(|(of, _)| *of != level) {
            self.zstd = Some((level, zstd::bulk::Compressor::new(level)?));
        }
        let (_, compressor) = self.zstd.as_mut().expect("it was made above");
        Ok(compressor)
    }
}

fn gzip_member(compressor: &mut Compressor, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    let body = start + GZIP_LENGTH.end;
    out.extend_from_slice(&GZIP_HEAD);
    out.resize(body + compressor.deflate_compress_bound(piece.len()), 0);
    let size = compressor
        .deflate_compress(piece, &mut out[body..])
        .map_err(io::Error::other)?;
    out.truncate(body + size);
    let mut crc = Crc::new();
    crc.update(piece);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    // Both are below 4 GiB, as pieces are; the format counts modulo that anyway.
    out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
    let length = (GZIP_LENGTH.end + size + GZIP_TAIL) as u32;
    out[start..][GZIP_LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_format() {
        for (level, expected) in [
            (None, Ok(6)),
            (Some(-1), Ok(6)),
            (Some(0), Ok(0)),
            (Some(12), Ok(12)),
            (
                Some(13),
                Err("the compression level 13 is not one of gzip, which has 0 to 12"),
            ),
        ] {
            let found = Codec::gzip(level).map_err(|err| err.to_string());
            let expected = expected.map(Codec::Gzip).map_err(str::to_owned);
            assert_eq!(found, expected, "{level:?}");
        }
        for (level, expected) in [
            (None, Ok(3)),
            (Some(-1), Ok(-1)),
            (Some(22), Ok(22)),
            (
                Some(99),
                Err("the compression level 99 is not one of zstd, which has -7 to 22"),
            ),
        ] {
            let found = Codec::zstd(level).map_err(|err| err.to_string());
            let expected = expected.map(Codec::Zstd).map_err(str::to_owned);
            assert_eq!(found, expected, "{level:?}");
        }
    }

    #[test]
    fn a_member_says_how_long_it_is() {
        let mut tools = Tools::default();
        for piece in [&b""[..], b"x", &[7; 5000]] {
            let mut out = b"before".to_vec();
            let len = tools.compress(Codec::Gzip(6), piece, &mut out).unwrap();
            assert_eq!(out.len(), len + 6);
            let member = &out[6..];
            assert_eq!(member[..16], GZIP_HEAD);
            assert_eq!(member[GZIP_LENGTH], (len as u32).to_le_bytes());
        }
    }
}

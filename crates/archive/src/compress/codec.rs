//! One piece of input to one gzip member or zstd frame, always to the same bytes.

use std::io;

use libdeflater::{CompressionLvl, Compressor, Crc};

/// gzip's usual level. It gives 6 % more bytes than level 6 on a Debian tree, in little more than half the time.
const GZIP_LEVEL: i32 = 1;
/// The levels of gzip: those of zlib, and three more that libdeflate has.
const GZIP_LEVELS: (i32, i32) = (0, 12);
/// zstd's usual level.
const ZSTD_LEVEL: i32 = 3;
/// The levels of zstd. The negative ones are faster than any layer can be read.
const ZSTD_LEVELS: (i32, i32) = (-7, 22);

/// How many bytes of a piece are tried before all of it is compressed, at how many places, and at which level. Part of
/// the format of our output, as the size of a piece is.
const SAMPLE: usize = 16 << 10;
const SAMPLES: usize = 4;
const SAMPLE_LEVEL: i32 = 1;
/// A piece whose samples keep more than this many hundredths of their size is stored as it is.
const WORTH_MAX: usize = 97;

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
    Gzip(Gzip),
    Zstd(i32),
}

/// How hard gzip tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gzip {
    /// At the usual level, and not at all where samples say that nothing is won: most of a layer that does not
    /// compress is compressed already.
    Usual,
    /// At this level whatever comes, because it was asked for.
    Level(i32),
}

impl Codec {
    /// gzip at a level; `None` and -1 are the usual one.
    pub(super) fn gzip(level: Option<i32>) -> Result<Self, LevelError> {
        let gzip = match level.filter(|level| *level != -1) {
            None => Gzip::Usual,
            Some(level) => Gzip::Level(check_level("gzip", level, GZIP_LEVELS)?),
        };
        Ok(Self::Gzip(gzip))
    }

    /// zstd at a level; `None` is the usual one.
    pub(super) fn zstd(level: Option<i32>) -> Result<Self, LevelError> {
        zstd_level(level).map(Self::Zstd)
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

/// Returns zstd's level for a wish.
pub(super) fn zstd_level(level: Option<i32>) -> Result<i32, LevelError> {
    check_level("zstd", level.unwrap_or(ZSTD_LEVEL), ZSTD_LEVELS)
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
    gzip: Vec<(i32, Compressor)>,
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
            Codec::Gzip(gzip) => {
                let level = self.gzip_level(gzip, piece)?;
                gzip_member(self.gzip(level), piece, out)?;
            }
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

    fn gzip_level(&mut self, gzip: Gzip, piece: &[u8]) -> io::Result<i32> {
        match gzip {
            Gzip::Level(level) => Ok(level),
            Gzip::Usual if self.is_worth_it(piece)? => Ok(GZIP_LEVEL),
            Gzip::Usual => Ok(0),
        }
    }

    /// Compresses some of the piece to see whether it becomes shorter.
    fn is_worth_it(&mut self, piece: &[u8]) -> io::Result<bool> {
        if piece.len() < SAMPLE * SAMPLES * 2 {
            return Ok(true);
        }
        let compressor = self.gzip(SAMPLE_LEVEL);
        let mut room = vec![0; compressor.deflate_compress_bound(SAMPLE)];
        for sample in piece.chunks(piece.len() / SAMPLES).take(SAMPLES) {
            let size = compressor
                .deflate_compress(&sample[..SAMPLE], &mut room)
                .map_err(io::Error::other)?;
            if size * 100 <= SAMPLE * WORTH_MAX {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn gzip(&mut self, level: i32) -> &mut Compressor {
        let index = self.gzip.iter().position(|(of, _)| *of == level);
        let index = index.unwrap_or_else(|| {
            let made = CompressionLvl::new(level).unwrap_or_default();
            self.gzip.push((level, Compressor::new(made)));
            self.gzip.len() - 1
        });
        &mut self.gzip[index].1
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
            (None, Ok(Gzip::Usual)),
            (Some(-1), Ok(Gzip::Usual)),
            (Some(0), Ok(Gzip::Level(0))),
            (Some(12), Ok(Gzip::Level(12))),
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
            let level_6 = Codec::Gzip(Gzip::Level(6));
            let len = tools.compress(level_6, piece, &mut out).unwrap();
            assert_eq!(out.len(), len + 6);
            let member = &out[6..];
            assert_eq!(member[..16], GZIP_HEAD);
            assert_eq!(member[GZIP_LENGTH], (len as u32).to_le_bytes());
        }
    }

    #[test]
    fn what_does_not_compress_is_stored() {
        let mut state = 1_u64;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..1 << 20).map(|_| byte()).collect();
        let text = b"all work and no play ".repeat(50_000);
        let mixed = [&noise[..900_000], &text[..100_000]].concat();
        let late = [&text[..100_000], &noise[..900_000]].concat();
        for (name, piece, expected) in [
            ("noise", &noise, false),
            ("text", &text, true),
            ("a text at the start", &late, true),
            ("a text where no sample is taken", &mixed, false),
            ("a short piece", &noise[..1000].to_vec(), true),
        ] {
            assert_eq!(
                Tools::default().is_worth_it(piece).unwrap(),
                expected,
                "{name}"
            );
        }
        let mut stored = Vec::new();
        let usual = Codec::Gzip(Gzip::Usual);
        let len = Tools::default()
            .compress(usual, &noise, &mut stored)
            .unwrap();
        assert!(len < noise.len() + 1024, "{len}");
    }
}

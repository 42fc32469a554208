//! The compressions that a user can name.

use archive::Compression;

use crate::files::Encoding;

/// A compression for layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionFormat {
    /// gzip.
    Gzip,
    /// Zstandard; OCI only.
    Zstd,
    /// Zstandard in chunks that can be fetched one by one; OCI only.
    ZstdChunked,
    /// bzip2, which no manifest can name.
    Bzip2,
    /// xz, which no manifest can name.
    Xz,
}

/// A text that names no compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot find compressor for {text:?}")]
pub struct UnknownCompression {
    /// The text.
    pub text: String,
}

impl CompressionFormat {
    /// Reads the word of `--compression-format`.
    ///
    /// # Errors
    /// When the word is none of the names.
    pub fn parse(text: &str) -> Result<Self, UnknownCompression> {
        [
            Self::Gzip,
            Self::Zstd,
            Self::ZstdChunked,
            Self::Bzip2,
            Self::Xz,
        ]
        .into_iter()
        .find(|format| format.name() == text)
        .ok_or_else(|| UnknownCompression {
            text: text.to_owned(),
        })
    }

    /// Its name as the peers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::ZstdChunked => "zstd:chunked",
            Self::Bzip2 => "bzip2",
            Self::Xz => "Xz",
        }
    }

    pub(crate) fn encoding(self, level: Option<i32>) -> Encoding {
        Encoding {
            compression: match self {
                Self::Gzip => Compression::Gzip,
                Self::Zstd | Self::ZstdChunked => Compression::Zstd,
                Self::Bzip2 => Compression::Bzip2,
                Self::Xz => Compression::Xz,
            },
            level,
            chunked: self == Self::ZstdChunked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for name in ["gzip", "zstd", "zstd:chunked", "bzip2", "Xz"] {
            assert_eq!(CompressionFormat::parse(name).unwrap().name(), name);
        }
        let err = CompressionFormat::parse("nope").unwrap_err();
        assert_eq!(err.to_string(), "cannot find compressor for \"nope\"");
    }
}

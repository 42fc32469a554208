//! Content digests (`algorithm:hex`), as the OCI image specification's "Digests" clause has them.
//!
//! Only algorithms that are registered there and that we can compute exist as values. Comparing a digest with content is
//! done by [`Hasher`] or [`Digest::verify`]; nothing here reads files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the one every tool computes.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Returns the name that stands before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Returns how many hexadecimal digits a digest of this algorithm has.
    pub const fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha384 => 96,
            Algorithm::Sha512 => 128,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Why a text is no digest. The texts are those of Buildah.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text has not the form `algorithm:hex`, or has upper-case digits.
    #[error("invalid checksum digest format")]
    Format,
    /// The number of digits is not that of the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// The algorithm is not one of SHA-256, SHA-384, SHA-512.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

/// A digest of bytes: `sha256:` and 64 lower-case hexadecimal digits, or the longer forms of SHA-384 and SHA-512.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    // Invariant: `algorithm.name()`, a colon, then `algorithm.hex_len()` lower-case hexadecimal digits.
    text: Box<str>,
}

impl Digest {
    /// Computes the SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_sha256_bytes(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps an already computed SHA-256 value.
    pub fn from_sha256_bytes(bytes: [u8; 32]) -> Self {
        Self::from_raw(Algorithm::Sha256, &bytes)
    }

    fn from_raw(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(algorithm.name().len() + 1 + bytes.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        push_hex(&mut text, bytes);
        Self {
            algorithm,
            text: text.into(),
        }
    }

    /// Builds a SHA-256 digest from its 64 hexadecimal digits.
    ///
    /// # Errors
    /// When `hex` is not 64 lower-case hexadecimal digits.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, DigestError> {
        format!("sha256:{hex}").parse()
    }

    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// See [`DigestError`].
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        if name.is_empty() || hex.is_empty() {
            return Err(DigestError::Format);
        }
        let Some(algorithm) = Algorithm::from_name(name) else {
            return Err(if is_generic_digest(name, hex) {
                DigestError::Algorithm
            } else {
                DigestError::Format
            });
        };
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::Length);
        }
        if !is_lower_hex(hex) {
            return Err(DigestError::Format);
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hexadecimal digits behind the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// Returns the whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether `bytes` have this digest.
    pub fn verify(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

/// Computes a digest piece by piece.
#[derive(Clone, Debug)]
pub struct Hasher(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Starts a computation.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Inner::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Inner::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Inner::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Sha256(inner) => inner.update(bytes),
            Inner::Sha384(inner) => inner.update(bytes),
            Inner::Sha512(inner) => inner.update(bytes),
        }
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Inner::Sha256(inner) => Digest::from_raw(Algorithm::Sha256, &inner.finalize()),
            Inner::Sha384(inner) => Digest::from_raw(Algorithm::Sha384, &inner.finalize()),
            Inner::Sha512(inner) => Digest::from_raw(Algorithm::Sha512, &inner.finalize()),
        }
    }
}

pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The form `[a-z0-9]+([.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+` of the OCI clause, for algorithms that we do not know.
fn is_generic_digest(name: &str, encoded: &str) -> bool {
    let component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    name.split(['.', '+', '_', '-']).all(component)
        && encoded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_bytes_have_the_known_digest() {
        let digest = Digest::sha256(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(digest.verify(b""));
        assert!(!digest.verify(b"x"));
    }

    #[test]
    fn digests_parse_or_say_why_not() {
        let hex = "a".repeat(64);
        let check = |text: &str, expected: Result<(), DigestError>| {
            assert_eq!(Digest::parse(text).map(|_| ()), expected, "{text}");
        };
        check(&format!("sha256:{hex}"), Ok(()));
        check(&format!("sha384:{}", "0".repeat(96)), Ok(()));
        check(&format!("sha512:{}", "0".repeat(128)), Ok(()));
        check(
            &format!("sha256:{}", "A".repeat(64)),
            Err(DigestError::Format),
        );
        check("sha256:abcd", Err(DigestError::Length));
        check(
            &format!("md5:{}", "a".repeat(32)),
            Err(DigestError::Algorithm),
        );
        check("sha256", Err(DigestError::Format));
        check(":abc", Err(DigestError::Format));
        check("sha256:", Err(DigestError::Format));
        check("S!:abc", Err(DigestError::Format));
    }
}

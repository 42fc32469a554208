//! The identifiers of the store: 64 hexadecimal digits that mean different things, hence different types.
//!
//! Random identifiers are drawn by the store; this module has only the computed one ([`LayerId::chain`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError, is_lower_hex};

/// The digest of a layer's uncompressed tar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl DiffId {
    /// Returns the digest as a digest of plain bytes.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DiffId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(DiffId)
    }
}

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier of 64 lower-case hexadecimal digits")]
pub struct IdError {
    /// The text as given.
    pub text: String,
}

/// The number of digits of an identifier.
pub const ID_LEN: usize = 64;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses 64 lower-case hexadecimal digits.
            ///
            /// # Errors
            /// When the text is anything else.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if text.len() == ID_LEN && is_lower_hex(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { text: text.to_owned() })
                }
            }

            /// Wraps 32 bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                let mut text = String::with_capacity(ID_LEN);
                crate::digest::push_hex(&mut text, &bytes);
                Self(text.into())
            }

            /// Returns the 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the first 12 digits, the form that lists show.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                std::path::Path::new(&*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier! {
    /// The identifier of an image: the digits of its config's SHA-256, or random digits for a manifest list.
    ImageId
}
identifier! {
    /// The identifier of a layer in the store: computed from its ancestry ([`LayerId::chain`]), or random for a working
    /// container's layer.
    LayerId
}
identifier! {
    /// The identifier of a working container.
    ContainerId
}

impl ImageId {
    /// Returns the identifier of the image with this config blob; `None` unless the digest is SHA-256.
    pub fn from_config_digest(digest: &Digest) -> Option<Self> {
        Self::parse(digest.hex()).ok()
    }

    /// Returns the digest of the config, for images whose identifier is made from it.
    pub fn to_config_digest(&self) -> Digest {
        Digest::from_sha256_hex(&self.0).expect("an identifier is 64 hexadecimal digits")
    }
}

impl LayerId {
    /// Computes the identifier that containers/image gives the layer with content `diff` on top of `parent`.
    ///
    /// A base layer has the digits of its DiffID; another one SHA-256 of `parent`, `+` and those digits. This is not the
    /// ChainID of the OCI image specification.
    pub fn chain(parent: Option<&LayerId>, diff: &DiffId) -> LayerId {
        let hex = diff.0.hex();
        match parent {
            None => LayerId::parse(hex)
                .unwrap_or_else(|_| LayerId(Digest::sha256(hex.as_bytes()).hex().into())),
            Some(parent) => LayerId(
                Digest::sha256(format!("{parent}+{hex}").as_bytes())
                    .hex()
                    .into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_two_is_the_hash_of_parent_plus_diff() {
        let base: DiffId = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let next: DiffId = format!("sha256:{}", "2".repeat(64)).parse().unwrap();
        let bottom = LayerId::chain(None, &base);
        assert_eq!(bottom.as_str(), "1".repeat(64));
        let text = format!("{}+{}", "1".repeat(64), "2".repeat(64));
        assert_eq!(
            LayerId::chain(Some(&bottom), &next).as_str(),
            Digest::sha256(text.as_bytes()).hex()
        );
    }

    #[test]
    fn identifiers_are_strict() {
        assert!(ImageId::parse(&"a".repeat(64)).is_ok());
        assert!(ImageId::parse(&"A".repeat(64)).is_err());
        assert!(ImageId::parse("abc").is_err());
        assert!(ImageId::parse("../../../../etc/passwd").is_err());
    }
}

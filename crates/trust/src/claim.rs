//! What a signature says: that a manifest with this digest is what this name means.
//!
//! Both kinds of signatures say it in the same words, except for one that names the kind. The text is read strictly.

use model::{Digest, DigestError};
use serde::Serialize;

use crate::strict_json::{Json, JsonError};

/// The kind of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// Simple signing.
    Simple,
    /// sigstore.
    Sigstore,
}

impl ClaimKind {
    fn text(self) -> &'static str {
        match self {
            ClaimKind::Simple => "atomic container signature",
            ClaimKind::Sigstore => "cosign container image signature",
        }
    }
}

/// Why a signed text is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The form is not the expected one.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is a claim of another kind.
    #[error("Unrecognized signature type {kind}")]
    Kind {
        /// The kind.
        kind: String,
    },
    /// The digest is none.
    #[error("invalid docker-manifest-digest value {text:?}")]
    Digest {
        /// What stands there.
        text: String,
        /// Why it is none.
        source: DigestError,
    },
    /// The time has a fraction.
    #[error("Field optional.timestamp is not an integer")]
    Timestamp,
}

/// What a signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The manifest's digest.
    pub manifest: Digest,
    /// The name, as it was written.
    pub reference: String,
}

impl Claim {
    /// Reads a signed text.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn parse(kind: ClaimKind, text: &[u8]) -> Result<Self, ClaimError> {
        let mut fields = Json::parse(text)?.fields(&["critical", "optional"])?;
        let critical = fields.require("critical")?;
        match fields.require("optional")? {
            Json::Null if kind == ClaimKind::Sigstore => {}
            optional => check_optional(optional)?,
        }
        let mut fields = critical.fields(&["type", "image", "identity"])?;
        let found = fields.require_string("type")?;
        let (image, identity) = (fields.require("image")?, fields.require("identity")?);
        if found != kind.text() {
            return Err(ClaimError::Kind { kind: found });
        }
        let key = "docker-manifest-digest";
        let text = image.fields(&[key])?.require_string(key)?;
        let manifest =
            Digest::parse(&text).map_err(|source| ClaimError::Digest { text, source })?;
        let key = "docker-reference";
        let reference = identity.fields(&[key])?.require_string(key)?;
        Ok(Self {
            manifest,
            reference,
        })
    }

    /// Writes the text to be signed.
    pub fn to_bytes(&self, kind: ClaimKind, made: &Made<'_>) -> Vec<u8> {
        let text = Text {
            critical: Critical {
                identity: Identity {
                    reference: &self.reference,
                },
                image: Image {
                    digest: &self.manifest,
                },
                kind: kind.text(),
            },
            optional: Optional {
                creator: made.by,
                timestamp: made.at,
            },
        };
        model::go_json::to_vec(&text).expect("all keys are texts")
    }
}

/// Who made a signature, and when.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The program and its version.
    pub by: &'a str,
    /// Seconds since the beginning of 1970.
    pub at: i64,
}

// The order of the fields is that of Go's sorted maps.
#[derive(Serialize)]
struct Text<'a> {
    critical: Critical<'a>,
    optional: Optional<'a>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Identity<'a> {
    #[serde(rename = "docker-reference")]
    reference: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    #[serde(rename = "docker-manifest-digest")]
    digest: &'a Digest,
}

#[derive(Serialize)]
struct Optional<'a> {
    creator: &'a str,
    timestamp: i64,
}

/// Anything may stand here, but two values have a form.
fn check_optional(optional: Json) -> Result<(), ClaimError> {
    for (key, value) in optional.entries()? {
        match (&*key, value) {
            ("creator", value) => {
                value.string(&key)?;
            }
            ("timestamp", Json::Number(number)) => {
                let whole = number.is_i64() || number.as_f64().is_some_and(|f| f.fract() == 0.0);
                if !whole {
                    return Err(ClaimError::Timestamp);
                }
            }
            ("timestamp", value) => return Err(value.is_not(&key, "a number").into()),
            _ => {}
        }
    }
    Ok(())
}

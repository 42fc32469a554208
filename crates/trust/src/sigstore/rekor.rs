//! The promise of a Rekor log to record a signature ("signed entry timestamp"), which also says when it was made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::pem;
use crate::sigstore::SigstoreError;
use crate::sigstore::public_key::PublicKey;
use crate::strict_json::{Json, JsonError};

const KIND: &str = "hashedrekord";
const VERSION: &str = "0.0.1";

/// Why a promise is not good.
#[derive(Debug, thiserror::Error)]
pub enum RekorError {
    /// The form is not the expected one.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A number is none.
    #[error("{key} is not an integer")]
    Number {
        /// Which.
        key: &'static str,
    },
    /// The log's signature is not its own.
    #[error("cryptographic signature verification of Rekor SET failed")]
    Signature,
    /// What is promised cannot be read.
    #[error("decoding the body of a Rekor SET payload")]
    Body(#[source] serde_json::Error),
    /// What is promised is something else.
    #[error("unsupported Rekor SET Payload {kind} version {version}")]
    Kind {
        /// What it is.
        kind: String,
        /// In which version.
        version: String,
    },
    /// The recorded key is no PEM.
    #[error("publicKey in Rekor SET")]
    Key(#[source] pem::PemError),
    /// A part of the record is not encoded as it must be.
    #[error("decoding {what} of a Rekor SET payload")]
    Base64 {
        /// Which.
        what: &'static str,
        /// The cause.
        source: base64::DecodeError,
    },
    /// The record is of something else.
    #[error("{what} in Rekor SET does not match")]
    Mismatch {
        /// What differs.
        what: &'static str,
    },
    /// The record has another hash.
    #[error("Unexpected \"data.hash.algorithm\" value {algorithm:?}")]
    Hash {
        /// Its name.
        algorithm: String,
    },
}

/// What a record has to be of.
#[derive(Clone, Copy)]
pub(crate) struct Recorded<'a> {
    /// The bytes of the key or certificate, in DER.
    pub(crate) key: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) payload: &'a [u8],
}

// The fields are in the order of the canonical form (RFC 8785), which is what the log signs.
#[derive(Serialize)]
struct Canonical<'a> {
    body: &'a str,
    #[serde(rename = "integratedTime")]
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: &'a str,
    #[serde(rename = "logIndex")]
    log_index: i64,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "apiVersion")]
    version: String,
    kind: String,
    spec: serde_json::Value,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signed,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct Signed {
    content: String,
    #[serde(rename = "publicKey")]
    key: Key,
}

#[derive(Deserialize)]
struct Key {
    content: String,
}

/// Checks that one of `logs` promises to have recorded the signature; returns when, in seconds since the beginning of
/// 1970.
pub(crate) fn verify(
    logs: &[PublicKey],
    promise: &[u8],
    recorded: &Recorded<'_>,
) -> Result<i64, SigstoreError> {
    check(logs, promise, recorded).map_err(SigstoreError::Rekor)
}

fn check(logs: &[PublicKey], promise: &[u8], recorded: &Recorded<'_>) -> Result<i64, RekorError> {
    let mut fields = Json::parse(promise)?.fields(&["SignedEntryTimestamp", "Payload"])?;
    let timestamp = fields
        .require("SignedEntryTimestamp")?
        .base64("SignedEntryTimestamp")?;
    let keys = ["body", "integratedTime", "logIndex", "logID"];
    let mut fields = fields.require("Payload")?.fields(&keys)?;
    let number = |value: Json, key| match value {
        Json::Number(number) => number.as_i64().ok_or(RekorError::Number { key }),
        _ => Err(RekorError::Number { key }),
    };
    let canonical = Canonical {
        body: &fields.require_string("body")?,
        integrated_time: number(fields.require("integratedTime")?, "integratedTime")?,
        log_id: &fields.require_string("logID")?,
        log_index: number(fields.require("logIndex")?, "logIndex")?,
    };
    let text = serde_json::to_vec(&canonical).expect("all keys are texts");
    if !logs.iter().any(|log| log.verifies(&text, &timestamp)) {
        return Err(RekorError::Signature);
    }
    check_body(canonical.body, recorded)?;
    Ok(canonical.integrated_time)
}

fn check_body(body: &str, recorded: &Recorded<'_>) -> Result<(), RekorError> {
    let base64 = |what, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|source| RekorError::Base64 { what, source })
    };
    let body: Body =
        serde_json::from_slice(&base64("the body", body)?).map_err(RekorError::Body)?;
    if body.kind != KIND || body.version != VERSION {
        return Err(RekorError::Kind {
            kind: body.kind,
            version: body.version,
        });
    }
    let spec: Spec = serde_json::from_value(body.spec).map_err(RekorError::Body)?;
    let key = base64("the public key", &spec.signature.key.content)?;
    if pem::block(&key).map_err(RekorError::Key)?.bytes != recorded.key {
        return Err(RekorError::Mismatch { what: "publicKey" });
    }
    if base64("the signature", &spec.signature.content)? != recorded.signature {
        return Err(RekorError::Mismatch { what: "signature" });
    }
    if spec.data.hash.algorithm != "sha256" {
        return Err(RekorError::Hash {
            algorithm: spec.data.hash.algorithm,
        });
    }
    if spec.data.hash.value != Digest::sha256(recorded.payload).hex() {
        return Err(RekorError::Mismatch { what: "payload" });
    }
    Ok(())
}

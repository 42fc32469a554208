//! The promise of a Rekor log to record a signature ("signed entry timestamp"), which also says when it was made: asked
//! for, taken out of the log's answer, and verified.

use std::collections::BTreeMap;

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
    /// A log's answer cannot be read.
    #[error("decoding a Rekor log entry")]
    Entry(#[source] serde_json::Error),
    /// A log's answer is not about one record.
    #[error("expected 1 Rekor entry, got {count}")]
    Entries {
        /// About how many.
        count: usize,
    },
    /// A log's answer promises nothing.
    #[error("invalid Rekor entry (missing data)")]
    NoPromise,
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

/// What becomes an annotation. The keys are in the order in which Go writes them.
#[derive(Serialize)]
struct Promise<'a> {
    #[serde(rename = "Payload")]
    payload: Canonical<'a>,
    #[serde(rename = "SignedEntryTimestamp")]
    timestamp: String,
}

/// What a log answers of one record.
#[derive(Deserialize)]
struct Entry {
    body: Option<String>,
    #[serde(rename = "integratedTime")]
    integrated_time: Option<i64>,
    #[serde(rename = "logID")]
    log_id: Option<String>,
    #[serde(rename = "logIndex")]
    log_index: Option<i64>,
    verification: Option<Verification>,
}

#[derive(Deserialize)]
struct Verification {
    #[serde(rename = "signedEntryTimestamp")]
    timestamp: Option<String>,
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

/// Writes what a log is asked to record; the key or certificate is in PEM.
pub(crate) fn proposal(key: &str, signature: &[u8], payload: &[u8]) -> Vec<u8> {
    let entry = serde_json::json!({
        "apiVersion": VERSION,
        "kind": KIND,
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": Digest::sha256(payload).hex()}},
            "signature": {
                "content": STANDARD.encode(signature),
                "publicKey": {"content": STANDARD.encode(key)},
            },
        },
    });
    serde_json::to_vec(&entry).expect("all keys are texts")
}

/// Takes the promise out of a log's answer, whose signature nobody has checked; returns it, and when the log says that
/// it has recorded what was asked for, in seconds since the beginning of 1970.
pub(crate) fn promise(
    answer: &[u8],
    recorded: &Recorded<'_>,
) -> Result<(String, i64), SigstoreError> {
    take_promise(answer, recorded).map_err(SigstoreError::Rekor)
}

fn take_promise(answer: &[u8], recorded: &Recorded<'_>) -> Result<(String, i64), RekorError> {
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(answer).map_err(RekorError::Entry)?;
    let count = entries.len();
    let mut entries = entries.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(RekorError::Entries { count });
    };
    let timestamp = entry.verification.and_then(|one| one.timestamp);
    let (Some(body), Some(integrated_time), Some(log_id), Some(log_index), Some(timestamp)) = (
        entry.body,
        entry.integrated_time,
        entry.log_id,
        entry.log_index,
        timestamp,
    ) else {
        return Err(RekorError::NoPromise);
    };
    check_body(&body, recorded)?;
    let timestamp = decode("the signed entry timestamp", &timestamp)?;
    if timestamp.is_empty() {
        return Err(RekorError::NoPromise);
    }
    let promise = Promise {
        payload: Canonical {
            body: &body,
            integrated_time,
            log_id: &log_id,
            log_index,
        },
        timestamp: STANDARD.encode(timestamp),
    };
    let text = serde_json::to_string(&promise).expect("all keys are texts");
    Ok((text, integrated_time))
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, RekorError> {
    STANDARD
        .decode(text)
        .map_err(|source| RekorError::Base64 { what, source })
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
    let body: Body =
        serde_json::from_slice(&decode("the body", body)?).map_err(RekorError::Body)?;
    if body.kind != KIND || body.version != VERSION {
        return Err(RekorError::Kind {
            kind: body.kind,
            version: body.version,
        });
    }
    let spec: Spec = serde_json::from_value(body.spec).map_err(RekorError::Body)?;
    let key = decode("the public key", &spec.signature.key.content)?;
    if pem::block(&key).map_err(RekorError::Key)?.bytes != recorded.key {
        return Err(RekorError::Mismatch { what: "publicKey" });
    }
    if decode("the signature", &spec.signature.content)? != recorded.signature {
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

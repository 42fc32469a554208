//! Signatures that a registry keeps by itself, as OpenShift's does (`/extensions/v2/…/signatures/…`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Digest;
use registry::Repository;
use serde::{Deserialize, Serialize};
use trust::{SIGNATURES_MAX, Signature};

use super::SignaturesError;
use super::lookaside::parse;

type Result<T> = std::result::Result<T, SignaturesError>;

const VERSION: u32 = 2;
const KIND: &str = "atomic";

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    signatures: Vec<One>,
}

#[derive(Serialize, Deserialize)]
struct One {
    #[serde(rename = "schemaVersion")]
    version: u32,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    content: String,
}

/// Reads the signatures of a manifest. What is of another kind is passed over.
pub(super) fn read(repository: &Repository, manifest: &Digest) -> Result<Vec<Signature>> {
    let list = fetch(repository, manifest)?;
    let ours = list
        .signatures
        .iter()
        .filter(|one| one.version == VERSION && one.kind == KIND);
    ours.enumerate()
        .map(|(at, one)| match STANDARD.decode(&one.content) {
            Ok(bytes) => parse(at + 1, manifest, &bytes),
            Err(_) => parse(at + 1, manifest, &[]),
        })
        .collect()
}

fn fetch(repository: &Repository, manifest: &Digest) -> Result<List> {
    let trouble = |source| SignaturesError::Registry {
        attempt: "reading",
        manifest: manifest.clone(),
        source: Box::new(source),
    };
    let bytes = repository.extension_signatures(manifest).map_err(trouble)?;
    let list: List =
        serde_json::from_slice(&bytes).map_err(|source| SignaturesError::Extension {
            manifest: manifest.clone(),
            source,
        })?;
    if list.signatures.len() > SIGNATURES_MAX {
        return Err(SignaturesError::TooMany {
            manifest: manifest.clone(),
        });
    }
    Ok(list)
}

/// Adds signatures that the registry does not have yet.
pub(super) fn write(
    repository: &Repository,
    manifest: &Digest,
    signatures: &[&Signature],
) -> Result<()> {
    let known = fetch(repository, manifest)?;
    for signature in signatures {
        let bytes = signature.to_bytes();
        let content = STANDARD.encode(&bytes);
        if known.signatures.iter().any(|one| one.content == content) {
            continue;
        }
        // The registry wants names that nobody else chooses; equal signatures may share one.
        let name = format!("{manifest}@{}", &Digest::sha256(&bytes).hex()[..32]);
        let one = One {
            version: VERSION,
            name,
            kind: KIND.to_owned(),
            content,
        };
        let body = serde_json::to_vec(&one).expect("all keys are texts");
        repository
            .put_extension_signature(manifest, &body)
            .map_err(|source| SignaturesError::Registry {
                attempt: "writing",
                manifest: manifest.clone(),
                source: Box::new(source),
            })?;
    }
    Ok(())
}

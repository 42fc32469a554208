//! What sigstore attaches to an image in a registry: an image of its own in the same repository, whose tag is made of the
//! first one's digest, and whose layers are what is signed, with the signatures as annotations.

use std::io::Read as _;

use model::{Descriptor, Digest, Document, Manifest, ManifestFormat, media_type};
use registry::{ManifestRef, NewBlob, RegistryError, Repository};
use trust::{SIGNATURE_MAX, SIGNATURES_MAX, Signature, Sigstore};

use super::SignaturesError;

type Result<T> = std::result::Result<T, SignaturesError>;

/// The most bytes of the config that says nothing but which layers there are.
const CONFIG_MAX: u64 = 1 << 20;

fn tag_of(manifest: &Digest) -> String {
    format!("{}-{}.sig", manifest.algorithm().name(), manifest.hex())
}

fn trouble(attempt: &'static str, manifest: &Digest) -> impl Fn(RegistryError) -> SignaturesError {
    move |source| SignaturesError::Registry {
        attempt,
        manifest: manifest.clone(),
        source: Box::new(source),
    }
}

fn attached(repository: &Repository, manifest: &Digest) -> Result<Option<Manifest>> {
    let tag = tag_of(manifest);
    let fetched = match repository.manifest(&ManifestRef::Tag(tag.clone())) {
        Ok(fetched) => fetched,
        Err(err) if err.is_not_found() => return Ok(None),
        Err(err) => return Err(trouble("reading", manifest)(err)),
    };
    match Document::parse(fetched.bytes) {
        Ok(Document::Manifest(found)) if found.format() == ManifestFormat::Oci => {
            if found.manifest().layers.len() > SIGNATURES_MAX {
                return Err(SignaturesError::TooMany {
                    manifest: manifest.clone(),
                });
            }
            Ok(Some(found.manifest().clone()))
        }
        Ok(_) => Err(SignaturesError::NotAttachments { tag }),
        Err(source) => Err(SignaturesError::Attachments { tag, source }),
    }
}

fn blob(repository: &Repository, of: &Digest, wanted: &Descriptor, limit: u64) -> Result<Vec<u8>> {
    if wanted.size > limit {
        let size = usize::try_from(wanted.size).unwrap_or(usize::MAX);
        return Err(SignaturesError::Parse {
            number: 1,
            manifest: of.clone(),
            source: trust::SignatureError::TooLarge { size },
        });
    }
    let mut bytes = Vec::new();
    repository
        .download(&wanted.digest, Some(wanted.size), None)
        .map_err(trouble("reading", of))?
        .read_to_end(&mut bytes)
        .map_err(|source| SignaturesError::Body {
            url: wanted.digest.to_string(),
            source,
        })?;
    Ok(bytes)
}

/// Reads what is attached to an image.
pub(super) fn read(repository: &Repository, manifest: &Digest) -> Result<Vec<Signature>> {
    let Some(found) = attached(repository, manifest)? else {
        return Ok(Vec::new());
    };
    let one = |layer: &Descriptor| {
        Ok(Signature::Sigstore(Sigstore {
            media_type: layer.media_type.clone(),
            payload: blob(repository, manifest, layer, SIGNATURE_MAX as u64)?,
            annotations: layer.annotations.clone(),
        }))
    };
    found.layers.iter().map(one).collect()
}

/// Attaches what is not attached yet.
pub(super) fn write(
    repository: &Repository,
    manifest: &Digest,
    signatures: &[&Sigstore],
) -> Result<()> {
    let found = attached(repository, manifest)?;
    let mut config = match &found {
        Some(found) => {
            let bytes = blob(repository, manifest, &found.config, CONFIG_MAX)?;
            serde_json::from_slice(&bytes).unwrap_or(serde_json::Value::Null)
        }
        None => serde_json::Value::Null,
    };
    let mut layers = found.map(|found| found.layers).unwrap_or_default();
    for signature in signatures {
        let mut layer = Descriptor::new(
            &signature.media_type,
            Digest::sha256(&signature.payload),
            signature.payload.len() as u64,
        );
        layer.annotations.clone_from(&signature.annotations);
        let same = |there: &Descriptor| {
            there.digest == layer.digest
                && there.media_type == layer.media_type
                && there.annotations == layer.annotations
        };
        if layers.iter().any(same) {
            continue;
        }
        upload(repository, manifest, &signature.payload)?;
        layers.push(layer);
    }
    if !config.is_object() {
        config = serde_json::json!({"architecture": "", "os": "", "config": {}});
    }
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    config["rootfs"] = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
    let config = model::go_json::to_vec(&config).expect("all keys are texts");
    upload(repository, manifest, &config)?;
    let config = Descriptor::new(
        media_type::OCI_CONFIG,
        Digest::sha256(&config),
        config.len() as u64,
    );
    let bytes = Manifest::new(ManifestFormat::Oci, config, layers).to_bytes();
    repository
        .put_manifest(
            &ManifestRef::Tag(tag_of(manifest)),
            media_type::OCI_MANIFEST,
            &bytes,
        )
        .map_err(trouble("writing", manifest))
}

fn upload(repository: &Repository, manifest: &Digest, bytes: &[u8]) -> Result<()> {
    let digest = Digest::sha256(bytes);
    let trouble = trouble("writing", manifest);
    if repository.blob(&digest).map_err(&trouble)?.is_some() {
        return Ok(());
    }
    let blob = NewBlob {
        digest: Some(digest),
        size: Some(bytes.len() as u64),
    };
    repository
        .upload(&blob, &mut &*bytes)
        .map_err(&trouble)
        .map(|_| ())
}

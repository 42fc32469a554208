//! Signatures in a store: one after the other in an item of the image, with their sizes in its record.

use std::collections::BTreeMap;

use model::Digest;
use serde::{Deserialize, Serialize};
use store::{ImageRecord, Item, Store};
use trust::{SIGNATURES_MAX, Signature};

use super::SignaturesError;
use super::lookaside::parse;

type Result<T> = std::result::Result<T, SignaturesError>;

const KEY: &str = "signatures";

fn key_of(manifest: &Digest) -> String {
    format!("signature-{}", manifest.hex())
}

/// What an image's record says of signatures.
#[derive(Default, Serialize, Deserialize)]
struct Sizes {
    #[serde(
        default,
        rename = "signature-sizes",
        skip_serializing_if = "Vec::is_empty"
    )]
    own: Vec<usize>,
    #[serde(
        default,
        rename = "signatures-sizes",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    by_manifest: BTreeMap<String, Vec<usize>>,
    /// What else it says.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

fn sizes(image: &str, metadata: Option<&str>) -> Result<Sizes> {
    match metadata {
        None | Some("") => Ok(Sizes::default()),
        Some(text) => serde_json::from_str(text).map_err(|source| SignaturesError::Record {
            image: image.to_owned(),
            source: Some(source),
        }),
    }
}

/// Reads the signatures of one of an image's manifests.
pub(crate) fn read_stored(
    store: &Store,
    image: &ImageRecord,
    manifest: &Digest,
) -> Result<Vec<Signature>> {
    let known = sizes(image.id.as_str(), image.metadata.as_deref())?;
    let (key, lengths) = match known.by_manifest.get(manifest.as_str()) {
        Some(lengths) => (key_of(manifest), lengths),
        None => (KEY.to_owned(), &known.own),
    };
    if lengths.is_empty() {
        return Ok(Vec::new());
    }
    if lengths.len() > SIGNATURES_MAX {
        return Err(SignaturesError::TooMany {
            manifest: manifest.clone(),
        });
    }
    let bytes = store
        .image_item(&image.id, &key)
        .map_err(SignaturesError::Store)?;
    split(image.id.as_str(), manifest, &bytes, lengths)
}

fn split(
    image: &str,
    manifest: &Digest,
    bytes: &[u8],
    lengths: &[usize],
) -> Result<Vec<Signature>> {
    let broken = || SignaturesError::Record {
        image: image.to_owned(),
        source: None,
    };
    let mut rest = bytes;
    let mut signatures = Vec::with_capacity(lengths.len());
    for (at, length) in lengths.iter().enumerate() {
        let (one, after) = rest.split_at_checked(*length).ok_or_else(broken)?;
        signatures.push(parse(at + 1, manifest, one)?);
        rest = after;
    }
    if rest.is_empty() {
        Ok(signatures)
    } else {
        Err(broken())
    }
}

/// Returns what an image's items and record have to be for it to have these signatures; `None` when there are none.
/// `metadata` is what its record says so far.
pub(crate) fn stored_items(
    manifest: &Digest,
    signatures: &[Signature],
    metadata: Option<&str>,
) -> Result<Option<(Vec<Item>, String)>> {
    if signatures.is_empty() {
        return Ok(None);
    }
    let blobs: Vec<Vec<u8>> = signatures.iter().map(Signature::to_bytes).collect();
    let lengths: Vec<usize> = blobs.iter().map(Vec::len).collect();
    let mut known = sizes(manifest.as_str(), metadata)?;
    known.own.clone_from(&lengths);
    known.by_manifest.insert(manifest.to_string(), lengths);
    let bytes = blobs.concat();
    let items = vec![
        Item::new(KEY, bytes.clone()),
        Item::new(key_of(manifest), bytes),
    ];
    let metadata = serde_json::to_string(&known).expect("all keys are texts");
    Ok(Some((items, metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_signatures_apart() {
        let manifest = Digest::sha256(b"m");
        let signatures = [
            Signature::Simple(vec![0x90, 1, 2]),
            Signature::Simple(vec![0xc4]),
        ];
        let (items, metadata) = stored_items(&manifest, &signatures, Some(r#"{"x":1}"#))
            .unwrap()
            .unwrap();
        assert_eq!(
            metadata,
            format!(
                r#"{{"signature-sizes":[3,1],"signatures-sizes":{{"{manifest}":[3,1]}},"x":1}}"#
            )
        );
        assert_eq!(items[0].key, "signatures");
        assert_eq!(items[1].key, format!("signature-{}", manifest.hex()));
        let check = |lengths: &[usize], expected: bool| {
            let found = split("i", &manifest, &items[0].bytes, lengths);
            assert_eq!(found.ok() == Some(signatures.to_vec()), expected);
        };
        check(&[3, 1], true);
        check(&[3], false);
        check(&[3, 2], false);
        check(&[4], false);
        assert!(stored_items(&manifest, &[], None).unwrap().is_none());
        assert!(sizes("i", Some("[")).is_err());
    }
}

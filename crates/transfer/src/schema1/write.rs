//! Manifests in Docker's first format, for registries and clients of before 2016.
//!
//! They have to be signed, but by anybody: a key is made for each and thrown away. What the digest is of depends on
//! the image only.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Digest, ImageConfig, Timestamp, go_json, media_type};
use serde::Serialize;
use serde_json::value::RawValue;

/// The layer that stands for entries without content: gzip of 1 KiB of zeros, the same for everybody.
pub(crate) const EMPTY_LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255,
    46, 175, 181, 239, 0, 4, 0, 0,
];
/// What stands before a point of P-256 in a public key (RFC 5480): algorithm, curve and length.
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// How many bytes of a hash name a key.
const KEY_ID: usize = 30;
/// A signature has to say when, and this one says nothing.
const NEVER: &str = "1970-01-01T00:00:00Z";
const INDENT: &str = "   ";

/// Why an image cannot be written in the first format.
#[derive(Debug, thiserror::Error)]
pub enum Schema1WriteError {
    /// The format goes to registries.
    #[error("manifests of format v2s1 can only be written to a registry, by tag")]
    Place,
    /// The config says nothing of layers.
    #[error(
        "Cannot convert an image with 0 history entries to {}",
        media_type::DOCKER_SCHEMA1_SIGNED
    )]
    NoHistory,
    /// History and layers do not go together.
    #[error(
        "Invalid image configuration, it describes other layers than the {layers} distributed ones"
    )]
    Layers {
        /// How many layers the manifest has.
        layers: usize,
    },
    /// Signatures for the image would be for another manifest.
    #[error("signing images of format v2s1 is not supported yet")]
    Signatures,
    /// The config cannot be parsed.
    #[error("cannot parse the config")]
    Config(#[source] model::ConfigError),
    /// JSON cannot be made or read.
    #[error("cannot convert the config")]
    Json(#[source] serde_json::Error),
    /// No key could be made, or nothing signed with it.
    #[error("the cryptographic library cannot sign the manifest")]
    Crypto,
}

type Result<T> = std::result::Result<T, Schema1WriteError>;

/// A signed manifest.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// Of the manifest without its signature.
    pub(crate) digest: Digest,
    /// Whether it names [`EMPTY_LAYER`].
    pub(crate) needs_empty_layer: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewManifest<'a> {
    name: &'a str,
    tag: &'a str,
    architecture: &'a str,
    fs_layers: Vec<Layer>,
    history: Vec<History>,
    schema_version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    blob_sum: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    v1_compatibility: String,
}

#[derive(Serialize)]
struct Description<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    created: Timestamp,
    container_config: Command<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    throwaway: bool,
}

#[derive(Serialize)]
struct Command<'a> {
    #[serde(rename = "Cmd")]
    cmd: [&'a str; 1],
}

#[derive(Serialize)]
struct Signature<'a> {
    header: SignatureHeader<'a>,
    signature: String,
    protected: String,
}

#[derive(Serialize)]
struct SignatureHeader<'a> {
    jwk: BTreeMap<&'a str, String>,
    alg: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Protected<'a> {
    format_length: usize,
    format_tail: String,
    time: &'a str,
}

/// Writes the manifest of an image with this config and these compressed layers.
pub(crate) fn write(config: &[u8], layers: &[Digest], name: &str, tag: &str) -> Result<Written> {
    let parsed = ImageConfig::parse(config).map_err(Schema1WriteError::Config)?;
    let mismatch = || Schema1WriteError::Layers {
        layers: layers.len(),
    };
    let empty = Digest::sha256(&EMPTY_LAYER);
    let mut left = layers.iter();
    let mut entries = Vec::with_capacity(parsed.history.len());
    let (mut id, mut parent) = (String::new(), String::new());
    for told in &parsed.history {
        let blob = if told.empty_layer {
            &empty
        } else {
            left.next().ok_or_else(mismatch)?
        };
        parent = std::mem::take(&mut id);
        id = entry_id(&[blob.hex(), &parent]);
        let description = Description {
            id: &id,
            parent: &parent,
            comment: &told.comment,
            created: told.created.unwrap_or(Timestamp::GO_ZERO),
            container_config: Command {
                cmd: [&told.created_by],
            },
            author: &told.author,
            throwaway: told.empty_layer,
        };
        entries.push((blob.clone(), text(&description)?));
    }
    if left.next().is_some() {
        return Err(mismatch());
    }
    let last = parsed.history.last().ok_or(Schema1WriteError::NoHistory)?;
    if let Some((blob, description)) = entries.last_mut() {
        let whole = String::from_utf8_lossy(config);
        let id = entry_id(&[blob.hex(), &parent, &whole]);
        *description = of_image(config, &id, &parent, last.empty_layer)?;
    }
    entries.reverse();
    let (fs_layers, history) = entries
        .into_iter()
        .map(|(blob_sum, v1_compatibility)| (Layer { blob_sum }, History { v1_compatibility }))
        .unzip();
    let manifest = NewManifest {
        name,
        tag,
        architecture: &parsed.architecture,
        fs_layers,
        history,
        schema_version: 1,
    };
    let payload = go_json::to_vec_indent(&manifest, INDENT).map_err(Schema1WriteError::Json)?;
    Ok(Written {
        bytes: signed(&payload)?,
        digest: Digest::sha256(&payload),
        needs_empty_layer: parsed.history.iter().any(|told| told.empty_layer),
    })
}

fn text<T: Serialize>(value: &T) -> Result<String> {
    let bytes = go_json::to_vec(value).map_err(Schema1WriteError::Json)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn entry_id(parts: &[&str]) -> String {
    Digest::sha256(parts.join(" ").as_bytes()).hex().to_owned()
}

/// The topmost description is the config without what the manifest says.
fn of_image(config: &[u8], id: &str, parent: &str, throwaway: bool) -> Result<String> {
    let raw = |value: &str| serde_json::value::to_raw_value(value).map_err(Schema1WriteError::Json);
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(config).map_err(Schema1WriteError::Json)?;
    members.remove("rootfs");
    members.remove("history");
    members.insert("id".to_owned(), raw(id)?);
    if !parent.is_empty() {
        members.insert("parent".to_owned(), raw(parent)?);
    }
    if throwaway {
        let yes = serde_json::value::to_raw_value(&true).map_err(Schema1WriteError::Json)?;
        members.insert("throwaway".to_owned(), yes);
    }
    text(&members)
}

/// Puts a signature into a document, in the way of Docker's libtrust.
fn signed(payload: &[u8]) -> Result<Vec<u8>> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| Schema1WriteError::Crypto)?;
    // The signatures go where the outermost object ends.
    let brace = payload.len() - 1;
    let length = payload[..brace].trim_ascii_end().len();
    let tail = &payload[length..];
    let protected = go_json::to_vec(&Protected {
        format_length: length,
        format_tail: URL_SAFE_NO_PAD.encode(tail),
        time: NEVER,
    })
    .map_err(Schema1WriteError::Json)?;
    let protected = URL_SAFE_NO_PAD.encode(protected);
    let message = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = pair
        .sign(&SystemRandom::new(), message.as_bytes())
        .map_err(|_| Schema1WriteError::Crypto)?;
    let block = Signature {
        header: SignatureHeader {
            jwk: public_key(pair.public_key().as_ref()),
            alg: "ES256",
        },
        signature: URL_SAFE_NO_PAD.encode(signature.as_ref()),
        protected,
    };
    let block = text(&[block])?;
    let middle = format!(",\n{INDENT}\"signatures\": {block}");
    Ok([&payload[..length], middle.as_bytes(), tail].concat())
}

/// Describes a public key, which comes as an uncompressed point.
fn public_key(point: &[u8]) -> BTreeMap<&'static str, String> {
    let coordinates = &point[1..];
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    BTreeMap::from([
        ("kty", "EC".to_owned()),
        ("crv", "P-256".to_owned()),
        ("kid", key_id(point)),
        ("x", URL_SAFE_NO_PAD.encode(x)),
        ("y", URL_SAFE_NO_PAD.encode(y)),
    ])
}

/// Names a key by a hash of it, in groups of four letters.
fn key_id(point: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Digest::sha256(&[&PUBLIC_KEY_HEAD, point].concat());
    let byte = |at: usize| u8::from_str_radix(&hash.hex()[2 * at..2 * at + 2], 16).unwrap_or(0);
    let bytes: Vec<u8> = (0..KEY_ID).map(byte).collect();
    let mut id = String::new();
    for (group, five) in bytes.chunks(5).enumerate() {
        let bits = five
            .iter()
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for at in 0..8 {
            if at == 4 || (at == 0 && group > 0) {
                id.push(':');
            }
            id.push(char::from(LETTERS[(bits >> (35 - 5 * at) & 31) as usize]));
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let config = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]},
            "history":[{"created":"2020-01-02T03:04:05Z","created_by":"one"},
                       {"created_by":"two","empty_layer":true},{"created_by":"three"}]}"#;
        let layers = [b"a", b"b"].map(|content| Digest::sha256(content));
        let written = write(config, &layers, "a/b", "t").unwrap();
        assert!(written.needs_empty_layer);
        let payload = registry::schema1_payload(&written.bytes).unwrap();
        assert_eq!(Digest::sha256(&payload), written.digest);
        assert_eq!(
            write(config, &layers, "a/b", "t").unwrap().digest,
            written.digest
        );
        let whole: serde_json::Value = serde_json::from_slice(&written.bytes).unwrap();
        assert_eq!(whole["tag"], "t");
        assert_eq!(whole["fsLayers"][0]["blobSum"], layers[1].as_str());
        assert_eq!(
            whole["fsLayers"][1]["blobSum"],
            Digest::sha256(&EMPTY_LAYER).as_str()
        );
        let kid = whole["signatures"][0]["header"]["jwk"]["kid"]
            .as_str()
            .unwrap();
        assert_eq!(kid.split(':').map(str::len).collect::<Vec<_>>(), [4; 12]);
        let old = super::super::Old::parse(&payload).unwrap();
        let told: Vec<_> = old
            .entries
            .iter()
            .map(|entry| entry.description.throwaway)
            .collect();
        assert_eq!(told, [false, true, false]);
    }

    #[test]
    fn configs_that_do_not_fit_are_refused() {
        let layer = [Digest::sha256(b"a")];
        for (config, expected) in [
            (r#"{"history":[]}"#, "describes other layers"),
            (r#"{"history":[{},{}]}"#, "describes other layers"),
            ("[]", "cannot parse the config"),
        ] {
            let error = write(config.as_bytes(), &layer, "n", "t").err().unwrap();
            assert!(error.to_string().contains(expected), "{config}: {error}");
        }
        let error = write(br#"{"history":[]}"#, &[], "n", "t").err().unwrap();
        assert!(error.to_string().contains("0 history entries"), "{error}");
    }
}

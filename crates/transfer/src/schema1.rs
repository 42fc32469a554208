//! Images in Docker's first format, which are read by making them images of its second.
//!
//! The old manifest names compressed layers and carries a config per layer; contents have no digests of their own. So
//! every layer is fetched and decompressed before the image can be described at all, and is kept in a file until it is
//! copied. Entries without content are left out. Signatures within the manifest say nothing about who made it and are
//! not looked at. Writing is in [`write`].

pub(crate) mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;

use archive::Compression;
use model::digest::{Algorithm, Hasher};
use model::manifest::LAYERS_MAX;
use model::{
    Descriptor, Digest, Document, Manifest, ManifestError, ManifestFormat, RawManifest, Timestamp,
    go_json, media_type,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{CHUNK, FromStart};
use crate::signatures::{Candidate, Guard};
use crate::source::Blobs;

/// What an entry's description says of the entry itself, and not of the image.
const OF_THE_ENTRY: [&str; 6] = ["Size", "id", "layer_id", "parent", "parent_id", "throwaway"];

/// Why an image of the first format cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Schema1Error {
    /// The manifest is malformed.
    #[error("cannot parse the manifest")]
    Parse(#[source] serde_json::Error),
    /// The manifest is of two kinds at once.
    #[error("rejecting ambiguous manifest, unexpected field {field:?} in supposedly schema 1")]
    Ambiguous {
        /// What does not belong there.
        field: &'static str,
    },
    /// Layers and descriptions do not go together.
    #[error("it has {layers} layers and {history} descriptions of layers")]
    Count {
        /// How many layers.
        layers: usize,
        /// How many descriptions.
        history: usize,
    },
    /// There is nothing in it.
    #[error("image has no layers")]
    Empty,
    /// The description of a layer is malformed.
    #[error("cannot parse the description of layer {index}, counted from the top")]
    Description {
        /// Its position from the top, from 0.
        index: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// A layer's identifier is none.
    #[error("{id:?} is no identifier of a layer")]
    Id {
        /// The text.
        id: String,
    },
    /// Two layers have one identifier.
    #[error("ID {id} appears multiple times in manifest")]
    Twice {
        /// The identifier.
        id: String,
    },
    /// The lowest layer is not the lowest.
    #[error("Invalid parent ID in the base layer of the image")]
    Base,
    /// A layer does not lie on the one below.
    #[error("Invalid parent ID. Expected {expected:?}, got {found:?}")]
    Parent {
        /// The layer below.
        expected: String,
        /// What the description says.
        found: String,
    },
    /// A layer's bytes cannot be decompressed.
    #[error("cannot read the layer `{digest}`")]
    Layer {
        /// The blob.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldManifest {
    fs_layers: Vec<OldLayer>,
    history: Vec<OldHistory>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldLayer {
    blob_sum: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldHistory {
    v1_compatibility: String,
}

/// What a layer's description says of the layer.
#[derive(Deserialize)]
struct Description {
    id: String,
    #[serde(default)]
    parent: String,
    #[serde(default)]
    comment: String,
    created: Option<Timestamp>,
    #[serde(default)]
    container_config: Option<Command>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    throwaway: bool,
}

#[derive(Default, Deserialize)]
struct Command {
    #[serde(default, rename = "Cmd")]
    cmd: Option<Vec<String>>,
}

/// An entry of the new config's history, in the order of the Go program that everybody uses.
#[derive(Serialize)]
struct NewHistory {
    created: Timestamp,
    #[serde(skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

#[derive(Serialize)]
struct NewRootFs<'a> {
    r#type: &'a str,
    diff_ids: &'a [Digest],
}

/// A parsed manifest: its entries from the base up.
struct Old {
    entries: Vec<Entry>,
    /// The description of the topmost entry, which is that of the image.
    top: String,
}

struct Entry {
    blob: Digest,
    description: Description,
}

/// Returns what a manifest of the first format is without its signatures: what its digest covers, and all that may be
/// believed. `None` for other manifests.
pub(crate) fn payload(bytes: &[u8]) -> Option<Vec<u8>> {
    is_schema1(bytes).then(|| registry::schema1_payload(bytes).unwrap_or_else(|| bytes.to_vec()))
}

fn is_schema1(bytes: &[u8]) -> bool {
    let known = [
        media_type::DOCKER_SCHEMA1,
        media_type::DOCKER_SCHEMA1_SIGNED,
    ];
    match Document::parse(bytes.to_vec()) {
        Err(ManifestError::Unsupported { media_type }) => known.contains(&media_type.as_str()),
        _ => false,
    }
}

/// An image of the second format with everything that belongs to it.
pub(crate) struct Converted {
    pub(crate) manifest: RawManifest,
    config: Vec<u8>,
    layers: BTreeMap<Digest, Kept>,
}

/// A layer in a file that vanishes with its handle.
struct Kept {
    file: File,
    size: u64,
    diff_id: Digest,
}

/// Opens a layer's blob, which is verified when it was read to its end.
pub(crate) type Fetch<'a> = dyn Fn(&Digest) -> Result<Box<dyn Read + Send + 'a>> + 'a;

/// Converts an image that its guard lets pass. The candidate is its manifest without signatures, and `temporary` a
/// directory for large files.
pub(crate) fn admit(
    place: &str,
    candidate: &Candidate<'_>,
    guard: &Guard,
    fetch: &Fetch<'_>,
    temporary: &Path,
) -> Result<(Converted, Guard)> {
    let guard = guard.ask(candidate)?.without_signatures();
    let converted = convert(place, candidate.manifest, fetch, temporary)?;
    Ok((converted, guard))
}

fn convert(place: &str, payload: &[u8], fetch: &Fetch<'_>, temporary: &Path) -> Result<Converted> {
    let refused = |source| TransferError::Schema1 {
        place: place.to_owned(),
        source: Box::new(source),
    };
    let old = Old::parse(payload).map_err(refused)?;
    let mut layers: BTreeMap<Digest, Kept> = BTreeMap::new();
    let (mut diff_ids, mut described) = (Vec::new(), Vec::new());
    let with_content = |entry: &&Entry| !entry.description.throwaway;
    for entry in old.entries.iter().filter(with_content) {
        if !layers.contains_key(&entry.blob) {
            let mut stream = fetch(&entry.blob)?;
            let kept = keep(&mut *stream, temporary)?;
            let unreadable = |source| {
                refused(Schema1Error::Layer {
                    digest: entry.blob.clone(),
                    source,
                })
            };
            let diff_id = content(&kept.0).map_err(unreadable)?;
            let (file, size) = kept;
            let kept = Kept {
                file,
                size,
                diff_id,
            };
            layers.insert(entry.blob.clone(), kept);
        }
        let kept = &layers[&entry.blob];
        diff_ids.push(kept.diff_id.clone());
        let kind = media_type::DOCKER_LAYER_GZIP;
        described.push(Descriptor::new(kind, entry.blob.clone(), kept.size));
    }
    let config = old.config(&diff_ids).map_err(refused)?;
    let size = config.len() as u64;
    let digest = Digest::sha256(&config);
    let descriptor = Descriptor::new(media_type::DOCKER_CONFIG, digest, size);
    let manifest = Manifest::new(ManifestFormat::Docker, descriptor, described);
    Ok(Converted {
        manifest: RawManifest::from_manifest(manifest),
        config,
        layers,
    })
}

fn keep(stream: &mut dyn Read, temporary: &Path) -> Result<(File, u64)> {
    let mut file = tempfile::tempfile_in(temporary).at("create a file in", temporary)?;
    let size = io::copy(stream, &mut file).map_err(TransferError::Stream)?;
    file.rewind().at("read a file in", temporary)?;
    Ok((file, size))
}

/// Computes the digest of what is compressed in a file.
fn content(file: &File) -> io::Result<Digest> {
    let (_, mut reader): (Compression, _) = archive::decode(BufReader::with_capacity(CHUNK, file))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&chunk[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

impl Old {
    fn parse(payload: &[u8]) -> std::result::Result<Self, Schema1Error> {
        let manifest: OldManifest = serde_json::from_slice(payload).map_err(Schema1Error::Parse)?;
        for (field, found) in [
            ("config", &manifest.config),
            ("layers", &manifest.layers),
            ("manifests", &manifest.manifests),
        ] {
            if found.is_some() {
                return Err(Schema1Error::Ambiguous { field });
            }
        }
        let (layers, history) = (manifest.fs_layers.len(), manifest.history.len());
        if layers != history || layers > LAYERS_MAX {
            return Err(Schema1Error::Count { layers, history });
        }
        let mut entries = Vec::with_capacity(layers);
        let pairs = manifest.fs_layers.into_iter().zip(&manifest.history);
        for (index, (layer, history)) in pairs.enumerate() {
            let description = serde_json::from_str(&history.v1_compatibility)
                .map_err(|source| Schema1Error::Description { index, source })?;
            entries.push(Entry {
                blob: layer.blob_sum,
                description,
            });
        }
        let Some(top) = manifest.history.into_iter().next() else {
            return Err(Schema1Error::Empty);
        };
        entries.reverse();
        Ok(Self {
            entries: chained(entries)?,
            top: top.v1_compatibility,
        })
    }

    /// Writes the config that the image would have in the second format.
    fn config(&self, diff_ids: &[Digest]) -> std::result::Result<Vec<u8>, Schema1Error> {
        let unparsed = |source| Schema1Error::Description { index: 0, source };
        let mut config: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&self.top).map_err(unparsed)?;
        for key in OF_THE_ENTRY {
            config.remove(key);
        }
        let history: Vec<NewHistory> = self
            .entries
            .iter()
            .map(|entry| NewHistory::of(&entry.description))
            .collect();
        let rootfs = NewRootFs {
            r#type: "layers",
            diff_ids,
        };
        let raw = serde_json::value::to_raw_value(&rootfs).map_err(unparsed)?;
        config.insert("rootfs".to_owned(), raw);
        let raw = serde_json::value::to_raw_value(&history).map_err(unparsed)?;
        config.insert("history".to_owned(), raw);
        go_json::to_vec(&config).map_err(unparsed)
    }
}

/// Checks that every entry lies on the one before, and drops those that are told twice in a row.
fn chained(entries: Vec<Entry>) -> std::result::Result<Vec<Entry>, Schema1Error> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let told = &entry.description;
        let is_id = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if told.id.len() != 64 || !told.id.bytes().all(is_id) {
            return Err(Schema1Error::Id {
                id: told.id.clone(),
            });
        }
        match kept.last() {
            None if !told.parent.is_empty() => return Err(Schema1Error::Base),
            None => {}
            Some(below) if below.description.id == told.id => {
                // The description nearest to the base is the one that counts.
                continue;
            }
            Some(below) if below.description.id != told.parent => {
                return Err(Schema1Error::Parent {
                    expected: below.description.id.clone(),
                    found: told.parent.clone(),
                });
            }
            Some(_) => {}
        }
        if !seen.insert(told.id.clone()) {
            return Err(Schema1Error::Twice {
                id: told.id.clone(),
            });
        }
        kept.push(entry);
    }
    Ok(kept)
}

impl NewHistory {
    fn of(told: &Description) -> Self {
        let command = told.container_config.as_ref();
        let words = command.and_then(|command| command.cmd.as_deref());
        Self {
            created: told.created.unwrap_or(Timestamp::GO_ZERO),
            author: told.author.clone(),
            created_by: words.unwrap_or_default().join(" "),
            comment: told.comment.clone(),
            empty_layer: told.throwaway,
        }
    }
}

impl Blobs for Converted {
    fn manifest(&self, digest: &Digest, _limit: u64) -> Result<Vec<u8>> {
        Err(TransferError::OtherDigest {
            expected: digest.clone(),
            actual: self.manifest.digest(),
        })
    }

    fn config(&self, _config: &Descriptor, _limit: u64) -> Result<Vec<u8>> {
        Ok(self.config.clone())
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let kept = self
            .layers
            .get(&layer.digest)
            .ok_or_else(|| TransferError::OtherDigest {
                expected: layer.digest.clone(),
                actual: self.manifest.digest(),
            })?;
        Ok(Box::new(FromStart::of(&kept.file)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    fn entry(id: &str, parent: &str, more: &serde_json::Value) -> String {
        let mut entry = json!({"id": id, "parent": parent, "created": "2020-01-02T03:04:05Z"});
        let members = entry.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        if parent.is_empty() {
            members.remove("parent");
        }
        entry.to_string()
    }

    /// A manifest with these blobs and descriptions, from the top down.
    fn manifest(entries: &[(Digest, String)]) -> serde_json::Value {
        let layers: Vec<_> = entries
            .iter()
            .map(|(blob, _)| json!({"blobSum": blob}))
            .collect();
        let history: Vec<_> = entries
            .iter()
            .map(|(_, text)| json!({"v1Compatibility": text}))
            .collect();
        json!({
            "schemaVersion": 1, "name": "a/b", "tag": "1", "architecture": "amd64",
            "fsLayers": layers, "history": history,
        })
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = archive::Encoder::new(Vec::new(), Compression::Gzip, None).unwrap();
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap().out
    }

    fn converted(manifest: &serde_json::Value, blobs: &[Vec<u8>]) -> Result<Converted> {
        let blobs: BTreeMap<Digest, Vec<u8>> = blobs
            .iter()
            .map(|blob| (Digest::sha256(blob), blob.clone()))
            .collect();
        let fetch = move |digest: &Digest| -> Result<Box<dyn Read + Send>> {
            let blob = blobs.get(digest).cloned();
            let missing = || TransferError::Stream(io::ErrorKind::NotFound.into());
            Ok(Box::new(io::Cursor::new(blob.ok_or_else(missing)?)))
        };
        let payload = serde_json::to_vec(manifest).unwrap();
        convert("x", &payload, &fetch, &std::env::temp_dir())
    }

    #[test]
    fn an_old_image_becomes_a_new_one() {
        let (one, two) = (pack(b"one"), pack(b"two"));
        let digest = |bytes: &[u8]| Digest::sha256(bytes);
        let top = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "X": "<&>"},
            "layer_id": "sha256:x", "Size": 5, "author": "me",
            "container_config": {"Cmd": ["/bin/sh", "-c", "three"]},
        });
        let empty = json!({"throwaway": true, "comment": "c"});
        let base = json!({"container_config": {"Cmd": null}});
        let entries = [
            (digest(&two), entry(&id('c'), &id('b'), &top)),
            (digest(b"nobody asks"), entry(&id('b'), &id('a'), &empty)),
            // The same once more, as old registries did.
            (digest(&one), entry(&id('a'), "", &base)),
            (digest(&one), entry(&id('a'), "", &base)),
        ];
        let found = converted(&manifest(&entries), &[one.clone(), two.clone()]).unwrap();
        let config = String::from_utf8(found.config.clone()).unwrap();
        let (diff_one, diff_two) = (digest(b"one"), digest(b"two"));
        assert_eq!(
            config,
            format!(
                "{{\"architecture\":\"amd64\",\"author\":\"me\",\"config\":{{\"Cmd\":[\"sh\"],\"X\":\"<&>\"}},\
                 \"container_config\":{{\"Cmd\":[\"/bin/sh\",\"-c\",\"three\"]}},\"created\":\"2020-01-02T03:04:05Z\",\
                 \"history\":[{{\"created\":\"2020-01-02T03:04:05Z\"}},\
                 {{\"created\":\"2020-01-02T03:04:05Z\",\"comment\":\"c\",\"empty_layer\":true}},\
                 {{\"created\":\"2020-01-02T03:04:05Z\",\"author\":\"me\",\"created_by\":\"/bin/sh -c three\"}}],\
                 \"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{diff_one}\",\"{diff_two}\"]}}}}"
            )
        );
        let layers = &found.manifest.manifest().layers;
        let expected = [&one, &two].map(|blob| (digest(blob), blob.len() as u64));
        let seen: Vec<_> = layers
            .iter()
            .map(|one| (one.digest.clone(), one.size))
            .collect();
        assert_eq!(seen, expected);
        for (layer, expected) in layers.iter().zip([&one, &two]) {
            let mut bytes = Vec::new();
            found.layer(layer).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, **expected);
        }
    }

    #[test]
    fn malformed_images_are_refused() {
        let blob = Digest::sha256(b"x");
        let one = |text: String| manifest(&[(blob.clone(), text)]);
        let nothing = json!({});
        let two = |upper: (char, char), lower: (char, &str)| {
            manifest(&[
                (blob.clone(), entry(&id(upper.0), &id(upper.1), &nothing)),
                (blob.clone(), entry(&id(lower.0), lower.1, &nothing)),
            ])
        };
        let mut ambiguous = one(entry(&id('a'), "", &nothing));
        ambiguous["manifests"] = json!([]);
        let mut uneven = one(entry(&id('a'), "", &nothing));
        uneven["history"] = json!([]);
        let loops = manifest(&[
            (blob.clone(), entry(&id('a'), &id('b'), &nothing)),
            (blob.clone(), entry(&id('b'), &id('a'), &nothing)),
            (blob.clone(), entry(&id('a'), "", &nothing)),
        ]);
        for (manifest, expected) in [
            (json!([]), "cannot parse the manifest"),
            (json!({"fsLayers": []}), "cannot parse the manifest"),
            (ambiguous, "unexpected field \"manifests\""),
            (uneven, "it has 1 layers and 0 descriptions"),
            (manifest(&[]), "image has no layers"),
            (
                one("{".to_owned()),
                "cannot parse the description of layer 0",
            ),
            (
                one(entry("../../x", "", &nothing)),
                "\"../../x\" is no identifier",
            ),
            (
                one(entry(&id('a'), &id('b'), &nothing)),
                "Invalid parent ID in the base",
            ),
            (two(('b', 'c'), ('a', "")), "Invalid parent ID. Expected"),
            (loops, "appears multiple times"),
            (one(entry(&id('a'), "", &nothing)), "cannot move its bytes"),
        ] {
            let error = converted(&manifest, &[]).err().unwrap();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("{error}: {}", cause.unwrap_or_default());
            assert!(text.contains(expected), "{text}");
        }
        let torn = pack(&[7; 3000])[..40].to_vec();
        let entries = [(Digest::sha256(&torn), entry(&id('a'), "", &nothing))];
        let error = converted(&manifest(&entries), &[torn]).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("cannot read the layer"), "{cause}");
    }
}

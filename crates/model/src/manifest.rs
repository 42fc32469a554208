//! Manifests and lists of manifests, OCI's and Docker's (schema 2), with the bytes as they came.
//!
//! Docker's schema 1 is recognised and refused. Digests are always of received bytes; [`Manifest::to_bytes`] is for
//! manifests of our own.

use std::collections::BTreeMap;

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::go_json;
use crate::go_order::Fields;
use crate::media_type;
use crate::platform::Platform;
use crate::serde_go::null_default;

/// The most bytes a manifest or list may have.
pub const MANIFEST_MAX: usize = 4 << 20;
/// The most layers an image may have; far above the kernel's limit for overlay mounts.
pub const LAYERS_MAX: usize = 4096;
/// The most entries a list may have.
pub const INDEX_MAX: usize = 16384;

/// The two families of image documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestFormat {
    /// OCI image specification 1.x.
    #[default]
    Oci,
    /// Docker image manifest, version 2, schema 2.
    Docker,
}

impl ManifestFormat {
    /// Returns the media type of an image's manifest.
    pub const fn manifest_type(self) -> &'static str {
        match self {
            ManifestFormat::Oci => media_type::OCI_MANIFEST,
            ManifestFormat::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    /// Returns the media type of a list of manifests.
    pub const fn index_type(self) -> &'static str {
        match self {
            ManifestFormat::Oci => media_type::OCI_INDEX,
            ManifestFormat::Docker => media_type::DOCKER_LIST,
        }
    }

    /// Returns the media type of an image's config.
    pub const fn config_type(self) -> &'static str {
        match self {
            ManifestFormat::Oci => media_type::OCI_CONFIG,
            ManifestFormat::Docker => media_type::DOCKER_CONFIG,
        }
    }

    /// Returns the media type of an uncompressed layer.
    pub const fn layer_type(self) -> &'static str {
        match self {
            ManifestFormat::Oci => media_type::OCI_LAYER,
            ManifestFormat::Docker => media_type::DOCKER_LAYER,
        }
    }
}

/// Why bytes are no manifest that we can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are not JSON of the right shape.
    #[error("cannot parse manifest")]
    Parse(#[source] serde_json::Error),
    /// More than [`MANIFEST_MAX`] bytes.
    #[error("manifest of {size} bytes is larger than {MANIFEST_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// More layers or entries than we handle.
    #[error("manifest has {count} {what}, more than {limit}")]
    TooMany {
        /// `layers` or `manifests`.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The bytes have members of two kinds of documents.
    #[error(
        "rejecting ambiguous manifest, unexpected fields {fields:?} in supposedly {media_type}"
    )]
    Ambiguous {
        /// The members that do not belong.
        fields: Vec<&'static str>,
        /// What the document says it is.
        media_type: String,
    },
    /// Docker's schema 1.
    #[error("manifest type {media_type} is not supported")]
    Unsupported {
        /// The media type.
        media_type: String,
    },
    /// Nothing tells what the bytes are.
    #[error("cannot determine the type of the manifest")]
    Unknown,
    /// Not even an object with a schema version of 2.
    #[error("manifest has schema version {version}, expected 2")]
    SchemaVersion {
        /// The version.
        version: i64,
    },
}

/// A reference to content by digest (OCI "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    #[serde(default)]
    pub size: u64,
    /// Where it may be had.
    #[serde(default, deserialize_with = "null_default")]
    pub urls: Vec<String>,
    /// Remarks.
    #[serde(default, deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64.
    #[serde(default)]
    pub data: Option<String>,
    /// Which machine it is for; in lists.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// What kind of artifact it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// Makes a descriptor with nothing but type, digest and size in bytes.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: i64,
    /// What the document says it is; may be empty with OCI.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// What kind of artifact it is, if it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers from the base up.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// What the document is about.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(default, deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A list of manifests (OCI image index, Docker manifest list).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: i64,
    /// What the document says it is; may be empty with OCI.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// What kind of artifact it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The entries.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// What the document is about.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(default, deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Makes a manifest of a config and layers.
    pub fn new(format: ManifestFormat, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: format.manifest_type().to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Returns the format, as the media type says it; without one it is OCI.
    pub fn format(&self) -> ManifestFormat {
        if self.media_type == media_type::DOCKER_MANIFEST
            || (self.media_type.is_empty() && self.config.media_type == media_type::DOCKER_CONFIG)
        {
            ManifestFormat::Docker
        } else {
            ManifestFormat::Oci
        }
    }

    /// Returns whether it describes an image, rather than some other artifact.
    pub fn is_image(&self) -> bool {
        matches!(
            self.config.media_type.as_str(),
            media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
        )
    }

    /// Writes the manifest in its [format](Self::format) as containers/image writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_vec(self).expect("all keys are strings and all values plain")
    }
}

impl Index {
    /// Makes a list.
    pub fn new(format: ManifestFormat, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: format.index_type().to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Returns the format, as the media type says it; without one it is OCI.
    pub fn format(&self) -> ManifestFormat {
        if self.media_type == media_type::DOCKER_LIST {
            ManifestFormat::Docker
        } else {
            ManifestFormat::Oci
        }
    }

    /// Writes the list in its [format](Self::format) as containers/image writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_vec(self).expect("all keys are strings and all values plain")
    }

    /// Returns the entry that a machine prefers, or `None` if none fits.
    ///
    /// An OCI entry without a platform fits every machine, after all that name it; of equals an entry with zstd layers
    /// wins, then the first.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let wanted = platform.wanted();
        let oci = self.format() == ManifestFormat::Oci;
        self.manifests
            .iter()
            .filter_map(|entry| {
                let rank = match &entry.platform {
                    Some(offered) => wanted
                        .iter()
                        .position(|wanted| wanted.same_machine(offered))?,
                    None if oci => wanted.len(),
                    None => return None,
                };
                let zstd = entry
                    .annotations
                    .get(ZSTD_ANNOTATION)
                    .is_some_and(|value| value == "true");
                Some(((rank, !(oci && zstd)), entry))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }
}

const ZSTD_ANNOTATION: &str = "io.github.containers.compression.zstd";

/// A manifest of one image with the bytes that it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct RawManifest {
    // Invariant: `parsed` is what `bytes` say.
    bytes: Vec<u8>,
    // Boxed, since a manifest is much larger than a list.
    parsed: Box<Manifest>,
}

/// A list of manifests with the bytes that it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct RawIndex {
    // Invariant: `parsed` is what `bytes` say.
    bytes: Vec<u8>,
    parsed: Box<Index>,
}

/// One of the two documents that a name can lead to.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// An image.
    Manifest(RawManifest),
    /// Several.
    Index(RawIndex),
}

impl RawManifest {
    /// Parses the manifest of one image.
    ///
    /// # Errors
    /// See [`ManifestError`]; a list is [`ManifestError::Unsupported`] here.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        match Document::parse(bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(index) => Err(ManifestError::Unsupported {
                media_type: index.parsed.format().index_type().to_owned(),
            }),
        }
    }

    /// Writes a manifest of our own and keeps the bytes.
    pub fn from_manifest(manifest: Manifest) -> Self {
        Self {
            bytes: manifest.to_bytes(),
            parsed: Box::new(manifest),
        }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what the bytes say.
    pub fn manifest(&self) -> &Manifest {
        &self.parsed
    }

    /// Computes the digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }

    /// Returns the format.
    pub fn format(&self) -> ManifestFormat {
        self.parsed.format()
    }
}

impl RawIndex {
    /// Writes a list of our own and keeps the bytes.
    pub fn from_index(index: Index) -> Self {
        Self {
            bytes: index.to_bytes(),
            parsed: Box::new(index),
        }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what the bytes say.
    pub fn index(&self) -> &Index {
        &self.parsed
    }

    /// Computes the digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }
}

impl Document {
    /// Parses a manifest or list by what its bytes say.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_MAX {
            return Err(ManifestError::TooLarge { size: bytes.len() });
        }
        let outline: Outline = serde_json::from_slice(&bytes).map_err(ManifestError::Parse)?;
        match outline.media_type()? {
            media_type @ (media_type::OCI_INDEX | media_type::DOCKER_LIST) => {
                outline.refuse(media_type, Kind::Index)?;
                let parsed: Index = serde_json::from_slice(&bytes).map_err(ManifestError::Parse)?;
                check_count("manifests", parsed.manifests.len(), INDEX_MAX)?;
                check_version(parsed.schema_version)?;
                Ok(Document::Index(RawIndex {
                    bytes,
                    parsed: Box::new(parsed),
                }))
            }
            media_type @ (media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) => {
                outline.refuse(media_type, Kind::Manifest)?;
                let parsed: Manifest =
                    serde_json::from_slice(&bytes).map_err(ManifestError::Parse)?;
                check_count("layers", parsed.layers.len(), LAYERS_MAX)?;
                check_version(parsed.schema_version)?;
                Ok(Document::Manifest(RawManifest {
                    bytes,
                    parsed: Box::new(parsed),
                }))
            }
            other => Err(ManifestError::Unsupported {
                media_type: other.to_owned(),
            }),
        }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Document::Manifest(manifest) => manifest.bytes(),
            Document::Index(index) => index.bytes(),
        }
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit {
        Err(ManifestError::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

fn check_version(version: i64) -> Result<(), ManifestError> {
    if version == 2 {
        Ok(())
    } else {
        Err(ManifestError::SchemaVersion { version })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manifest,
    Index,
    Schema1,
}

/// What tells the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: i64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    layers: Option<Value>,
    #[serde(default)]
    manifests: Option<Value>,
    #[serde(default)]
    fs_layers: Option<Value>,
    #[serde(default)]
    history: Option<Value>,
    #[serde(default)]
    signatures: Option<Value>,
}

impl Outline {
    fn media_type(&self) -> Result<&'static str, ManifestError> {
        let declared = self.media_type.as_deref().unwrap_or_default();
        let known = [
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_LIST,
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
        ];
        if let Some(known) = known.into_iter().find(|known| *known == declared) {
            return Ok(known);
        }
        let config = self
            .config
            .as_ref()
            .and_then(|config| config.get("mediaType"))
            .and_then(Value::as_str);
        let has_entries = self
            .manifests
            .as_ref()
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        match (self.schema_version, config) {
            (1, _) if self.signatures.is_some() => Ok(media_type::DOCKER_SCHEMA1_SIGNED),
            (1, _) => Ok(media_type::DOCKER_SCHEMA1),
            (2, Some(media_type::DOCKER_CONFIG)) => Ok(media_type::DOCKER_MANIFEST),
            (2, None | Some("")) if has_entries => Ok(media_type::OCI_INDEX),
            (2, _) => Ok(media_type::OCI_MANIFEST),
            _ => Err(ManifestError::Unknown),
        }
    }

    /// Refuses a document that another reader could take for another kind.
    fn refuse(&self, media_type: &str, kind: Kind) -> Result<(), ManifestError> {
        let members = [
            ("config", &self.config, Kind::Manifest),
            ("layers", &self.layers, Kind::Manifest),
            ("manifests", &self.manifests, Kind::Index),
            ("fsLayers", &self.fs_layers, Kind::Schema1),
            ("history", &self.history, Kind::Schema1),
        ];
        let fields: Vec<_> = members
            .into_iter()
            .filter(|(_, member, of)| member.is_some() && *of != kind)
            .map(|(name, ..)| name)
            .collect();
        if fields.is_empty() {
            Ok(())
        } else {
            Err(ManifestError::Ambiguous {
                fields,
                media_type: media_type.to_owned(),
            })
        }
    }
}

/// A descriptor in the member order of one format.
struct InFormat<'a>(&'a Descriptor, ManifestFormat);

impl Serialize for InFormat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(descriptor, format) = *self;
        let mut fields = Fields::new(serializer);
        fields.always("mediaType", &descriptor.media_type);
        match format {
            ManifestFormat::Oci => fields
                .always("digest", &descriptor.digest)
                .always("size", &descriptor.size),
            ManifestFormat::Docker => fields
                .always("size", &descriptor.size)
                .always("digest", &descriptor.digest),
        };
        fields
            .filled("urls", &descriptor.urls)
            .filled("annotations", &descriptor.annotations)
            .filled("data", &descriptor.data)
            .filled("platform", &descriptor.platform)
            .filled("artifactType", &descriptor.artifact_type)
            .rest(&descriptor.extra);
        fields.end()
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        InFormat(self, ManifestFormat::Oci).serialize(serializer)
    }
}

fn in_format(descriptors: &[Descriptor], format: ManifestFormat) -> Vec<InFormat<'_>> {
    descriptors
        .iter()
        .map(|descriptor| InFormat(descriptor, format))
        .collect()
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let format = self.format();
        let mut fields = Fields::new(serializer);
        fields
            .always("schemaVersion", &self.schema_version)
            .filled("mediaType", &self.media_type)
            .filled("artifactType", &self.artifact_type)
            .always("config", &InFormat(&self.config, format))
            .always("layers", &in_format(&self.layers, format))
            .filled("subject", &self.subject)
            .filled("annotations", &self.annotations)
            .rest(&self.extra);
        fields.end()
    }
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::new(serializer);
        fields
            .always("schemaVersion", &self.schema_version)
            .filled("mediaType", &self.media_type)
            .filled("artifactType", &self.artifact_type)
            .always("manifests", &in_format(&self.manifests, self.format()))
            .filled("subject", &self.subject)
            .filled("annotations", &self.annotations)
            .rest(&self.extra);
        fields.end()
    }
}

//! The records of `layers.json`, `images.json`, `containers.json` and `mountpoints.json`.
//!
//! Fields that this program does not know are kept and written back. Records that are not
//! changed are not re-encoded at all: the table keeps their text (see `table`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use model::{ContainerId, DiffId, Digest, ImageId, LayerId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The time a record was made, as its writer spelled it.
///
/// Kept as text so that rewriting a record never alters it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordTime(String);

impl RecordTime {
    /// The time that means "unknown".
    pub const UNKNOWN: &'static str = "0001-01-01T00:00:00Z";

    /// Returns the present time in the form that Go writes.
    #[must_use]
    pub fn now() -> Self {
        Timestamp::from_system_time(SystemTime::now())
            .map_or_else(|_| Self::default(), |now| Self(now.to_string()))
    }

    /// Takes a time from an image's config.
    #[must_use]
    pub fn from_timestamp(time: &Timestamp) -> Self {
        Self(time.to_string())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the time, or `None` for the unknown or an unreadable one.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.0)
            .ok()
            .filter(|time| !time.is_go_zero())
    }
}

impl Default for RecordTime {
    fn default() -> Self {
        Self(Self::UNKNOWN.to_owned())
    }
}

impl std::fmt::Display for RecordTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One range of a user or group ID mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First ID inside the container.
    pub container_id: u32,
    /// First ID on the host.
    pub host_id: u32,
    /// How many IDs.
    pub size: u32,
}

/// The kind of compression that a layer's blob had, as containers/storage numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobCompression {
    /// 0: an uncompressed tar.
    #[default]
    None,
    /// 1.
    Bzip2,
    /// 2.
    Gzip,
    /// 3.
    Xz,
    /// 4.
    Zstd,
    /// A number of a newer version.
    Unknown(i64),
}

impl BlobCompression {
    fn number(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Bzip2 => 1,
            Self::Gzip => 2,
            Self::Xz => 3,
            Self::Zstd => 4,
            Self::Unknown(n) => n,
        }
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Serialize for BlobCompression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.number())
    }
}

impl<'de> Deserialize<'de> for BlobCompression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<i64>::deserialize(deserializer)? {
            None | Some(0) => Self::None,
            Some(1) => Self::Bzip2,
            Some(2) => Self::Gzip,
            Some(3) => Self::Xz,
            Some(4) => Self::Zstd,
            Some(n) => Self::Unknown(n),
        })
    }
}

/// Reads `null` as the default value, as Go does for lists and maps.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an empty string as absent, as Go does for identifiers and digests.
fn blank<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Reads an empty or missing identifier as absent and writes an absent one as `""`.
mod always {
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer, T: std::fmt::Display>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        super::blank(deserializer)
    }
}

/// A layer, as `layers.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Its identifier: the chain of DiffIDs for image layers, random for containers'.
    pub id: LayerId,
    /// Names; unused in practice.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// The layer below; absent for a base layer.
    #[serde(
        default,
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub parent: Option<LayerId>,
    /// The caller's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// SELinux label for mounting.
    #[serde(
        default,
        rename = "mountlabel",
        skip_serializing_if = "Option::is_none"
    )]
    pub mount_label: Option<String>,
    /// When the record was made.
    #[serde(default)]
    pub created: RecordTime,
    /// Digest of the blob as it came in.
    #[serde(
        default,
        rename = "compressed-diff-digest",
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub compressed_digest: Option<Digest>,
    /// Its length in bytes.
    #[serde(
        default,
        rename = "compressed-size",
        skip_serializing_if = "Option::is_none"
    )]
    pub compressed_size: Option<i64>,
    /// Digest of the uncompressed tar.
    #[serde(
        default,
        rename = "diff-digest",
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub diff_digest: Option<DiffId>,
    /// Its length in bytes; -1 for layers known by table of contents only.
    #[serde(default, rename = "diff-size", skip_serializing_if = "Option::is_none")]
    pub diff_size: Option<i64>,
    /// Digest of the table of contents of a partially pulled layer.
    #[serde(
        default,
        rename = "toc-digest",
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub toc_digest: Option<Digest>,
    /// Compression of the blob.
    #[serde(default, skip_serializing_if = "BlobCompression::is_none")]
    pub compression: BlobCompression,
    /// User IDs that occur, sorted.
    #[serde(
        default,
        rename = "uidset",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uids: Vec<u32>,
    /// Group IDs that occur, sorted.
    #[serde(
        default,
        rename = "gidset",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gids: Vec<u32>,
    /// `incomplete` and others.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Map::is_empty"
    )]
    pub flags: Map<String, Value>,
    /// Mapping of user IDs the files on disk were shifted by.
    #[serde(
        default,
        rename = "uidmap",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uid_map: Vec<IdRange>,
    /// Mapping of group IDs the files on disk were shifted by.
    #[serde(
        default,
        rename = "gidmap",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gid_map: Vec<IdRange>,
    /// Keys of items kept beside the layer.
    #[serde(
        default,
        rename = "big-data-names",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub item_names: Vec<String>,
    /// Whatever else the record holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl LayerRecord {
    pub(crate) fn new(id: LayerId, parent: Option<LayerId>) -> Self {
        Self {
            id,
            names: Vec::new(),
            parent,
            metadata: None,
            mount_label: None,
            created: RecordTime::now(),
            compressed_digest: None,
            compressed_size: None,
            diff_digest: None,
            diff_size: None,
            toc_digest: None,
            compression: BlobCompression::None,
            uids: Vec::new(),
            gids: Vec::new(),
            flags: Map::new(),
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            item_names: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Tells whether its writer died before the layer was whole.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.flags.get("incomplete") == Some(&Value::Bool(true))
    }
}

/// An image, as `images.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Hex of the config's digest, or random for a manifest list.
    pub id: ImageId,
    /// The first manifest digest recorded.
    #[serde(
        default,
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub digest: Option<Digest>,
    /// Fully qualified names.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// Names it has or had, newest first.
    #[serde(
        default,
        rename = "names-history",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names_history: Vec<String>,
    /// Top layer; absent for lists and artifacts.
    #[serde(
        default,
        rename = "layer",
        deserialize_with = "blank",
        skip_serializing_if = "Option::is_none"
    )]
    pub layer: Option<LayerId>,
    /// Copies of the top layer with shifted owners.
    #[serde(
        default,
        rename = "mapped-layers",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub mapped_layers: Vec<LayerId>,
    /// JSON text: sizes of signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The files that lie beside the record.
    #[serde(flatten)]
    pub items: Items,
    /// When the image was made, from its config.
    #[serde(default)]
    pub created: RecordTime,
    /// None are defined.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Map::is_empty"
    )]
    pub flags: Map<String, Value>,
    /// Whatever else the record holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageRecord {
    /// Returns every manifest digest that this image answers to.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.digest.iter().chain(
            self.items
                .digests
                .iter()
                .filter(|(key, _)| key.starts_with("manifest"))
                .map(|(_, digest)| digest),
        )
    }

    /// Tells whether this is a locally made manifest list.
    #[must_use]
    pub fn is_manifest_list(&self) -> bool {
        self.layer.is_none() && self.items.has("instances.json")
    }

    /// Puts the names at the front of the history, in list order, as containers/storage does
    /// on every change of names.
    pub(crate) fn remember_names(&mut self) {
        for name in &self.names {
            self.names_history.retain(|old| old != name);
            self.names_history.insert(0, name.clone());
        }
    }
}

/// What an image's or a container's record says of its items ("big data").
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Items {
    /// Keys of them, in the order first set.
    #[serde(
        default,
        rename = "big-data-names",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// Length in bytes of each.
    #[serde(
        default,
        rename = "big-data-sizes",
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub sizes: BTreeMap<String, i64>,
    /// Digest of each.
    #[serde(
        default,
        rename = "big-data-digests",
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub digests: BTreeMap<String, Digest>,
}

impl Items {
    /// Tells whether there is an item of this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.names.iter().any(|known| known == key)
    }

    /// Enters an item, or what an item of this key is now.
    pub(crate) fn enter(&mut self, key: &str, size: usize, digest: &Digest) {
        if !self.has(key) {
            self.names.push(key.to_owned());
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.sizes.insert(key.to_owned(), size);
        self.digests.insert(key.to_owned(), digest.clone());
    }
}

/// A container, as `containers.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its random identifier.
    pub id: ContainerId,
    /// Names, unique among containers.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// The image it was made from.
    #[serde(default, with = "always")]
    pub image: Option<ImageId>,
    /// Its writable layer.
    pub layer: LayerId,
    /// The engine's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The files that lie beside the record.
    #[serde(flatten)]
    pub items: Items,
    /// When it was made.
    #[serde(default)]
    pub created: RecordTime,
    /// Mapping of user IDs it runs with.
    #[serde(
        default,
        rename = "uidmap",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uid_map: Vec<IdRange>,
    /// Mapping of group IDs it runs with.
    #[serde(
        default,
        rename = "gidmap",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gid_map: Vec<IdRange>,
    /// `MountLabel`, `ProcessLabel`, `Volatile`, `MountOpts`.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Map::is_empty"
    )]
    pub flags: Map<String, Value>,
    /// Whatever else the record holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A visible mount, as `mountpoints.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountRecord {
    /// The mounted layer.
    pub id: LayerId,
    /// The absolute mount point.
    #[serde(default)]
    pub path: String,
    /// How many users it has.
    #[serde(default)]
    pub count: i64,
    /// Whatever else the record holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a table needs to know of its records.
pub(crate) trait Record: Clone + Serialize + for<'de> Deserialize<'de> {
    /// The identifier, for look-ups.
    fn key(&self) -> &str;
}

impl Record for LayerRecord {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Record for ImageRecord {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Record for ContainerRecord {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Record for MountRecord {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

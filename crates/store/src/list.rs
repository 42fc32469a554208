//! Manifest lists being put together: images without layers, of which two more items say where the members are.
//!
//! The formats are those of containers/common: `manifest` is the list, `instances.json` leads from the digest of a
//! member to the place it can be copied from, `artifacts.json` has the manifests and files of artifacts, which are not
//! copied into the store. Nothing here reads a member.

use std::collections::BTreeMap;

use base64::Engine as _;
use model::{Digest, Document, ImageId, Index, ManifestError};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Result, StoreError};
use crate::ident;
use crate::image::{Item, NewImage, TakenNames};
use crate::locks::{Access, Held, Rank};
use crate::store::Store;

const MANIFEST: &str = "manifest";
const INSTANCES: &str = "instances.json";
const ARTIFACTS: &str = "artifacts.json";

/// A manifest list with what is known of its members.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The list.
    pub index: Index,
    /// Where members are: their manifests' digests with texts of the form `transport:reference`.
    pub places: BTreeMap<Digest, String>,
    /// Members that are made of files.
    pub artifacts: Artifacts,
}

/// The artifacts of a list; all keys are digests as texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Artifacts {
    /// Their manifests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manifests: BTreeMap<String, String>,
    /// The files that each is made of, to be shown.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_lists"
    )]
    pub files: BTreeMap<String, Vec<String>>,
    /// The digest of each one's config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The digests of each one's layers.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_lists"
    )]
    pub layers: BTreeMap<String, Vec<String>>,
    /// The absolute paths of the files by the digests of their contents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detached: BTreeMap<String, String>,
    /// Contents that are no files, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blobs: BTreeMap<String, String>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Go writes an empty list of strings as `null`.
fn null_lists<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, Vec<String>>, D::Error> {
    let lists = BTreeMap::<String, Option<Vec<String>>>::deserialize(deserializer)?;
    Ok(lists
        .into_iter()
        .map(|(key, list)| (key, list.unwrap_or_default()))
        .collect())
}

impl Artifacts {
    /// Keeps a content that is no file.
    pub fn put_blob(&mut self, digest: &Digest, content: &[u8]) {
        let text = base64::engine::general_purpose::STANDARD.encode(content);
        self.blobs.insert(digest.to_string(), text);
    }

    /// Returns a content that is no file; `None` if there is none, or it is no base64.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let text = self.blobs.get(digest.as_str())?;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    }

    /// Forgets an artifact; contents that others may share stay.
    pub fn remove(&mut self, manifest: &Digest) {
        let key = manifest.as_str();
        self.manifests.remove(key);
        self.files.remove(key);
        self.config.remove(key);
        self.layers.remove(key);
    }
}

impl Default for List {
    fn default() -> Self {
        Self {
            index: Index::empty(),
            places: BTreeMap::new(),
            artifacts: Artifacts::default(),
        }
    }
}

impl List {
    /// The items to store; the list itself is known by the empty key.
    fn items(&self, id: &ImageId) -> Vec<Item> {
        let own = id.to_string();
        let places: BTreeMap<&str, &str> = self
            .places
            .iter()
            .map(|(digest, place)| (digest.as_str(), place.as_str()))
            .chain([("", own.as_str())])
            .collect();
        let json = "maps of strings are JSON";
        vec![
            Item::new(MANIFEST, self.index.to_bytes()),
            Item::new(INSTANCES, model::go_json::to_vec(&places).expect(json)),
            Item::new(
                ARTIFACTS,
                model::go_json::to_vec(&self.artifacts).expect(json),
            ),
        ]
    }
}

/// The lock on one list: whoever changes it, or needs it to stay as it is, holds this.
#[derive(Debug)]
pub struct ListLock {
    id: ImageId,
    _held: Held,
}

impl ListLock {
    /// Returns which list is locked.
    #[must_use]
    pub fn list(&self) -> &ImageId {
        &self.id
    }
}

impl Store {
    /// Waits for the lock on a list, which other tools respect, too.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::LockOrder`] when this thread holds another lock of the store.
    pub fn lock_list(&self, list: &ImageId) -> Result<ListLock> {
        self.inner.create()?;
        let path = self
            .inner
            .run_kind_dir("locks")
            .join(format!("sha256:{list}"));
        Ok(ListLock {
            id: list.clone(),
            _held: Held::take(&path, Rank::Lists, Access::Write)?,
        })
    }

    /// Records a new list under a random identifier, and returns that.
    ///
    /// # Errors
    /// [`StoreError::ImageNameInUse`] when an image has one of the names; [`StoreError::Io`].
    pub fn create_list(&self, names: Vec<String>, list: &List) -> Result<ImageId> {
        let id = ident::image();
        let image = NewImage {
            id: Some(id.clone()),
            layer: None,
            names,
            former_names: Vec::new(),
            items: list.items(&id),
            created: None,
            metadata: None,
        };
        Ok(self.place_image(image, TakenNames::Refuse)?.id.clone())
    }

    /// Reads a list; `None` when the image is no list that was put together here.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`]; [`StoreError::Parse`] and [`StoreError::List`] for one that is damaged;
    /// [`StoreError::Io`].
    pub fn list(&self, image: &ImageId) -> Result<Option<List>> {
        let images = self.images()?;
        let record = images.get(image).ok_or_else(|| StoreError::ImageUnknown {
            wanted: image.to_string(),
        })?;
        let items = &record.items;
        if record.layer.is_some() || !items.has(MANIFEST) || !items.has(INSTANCES) {
            return Ok(None);
        }
        let damaged = |source: ManifestError| StoreError::List {
            image: image.clone(),
            source,
        };
        let index = match Document::parse(self.image_item(image, MANIFEST)?).map_err(damaged)? {
            Document::Index(index) => index.index().clone(),
            Document::Manifest(_) => return Ok(None),
        };
        let artifacts = if items.has(ARTIFACTS) {
            self.list_item(image, ARTIFACTS)?
        } else {
            Artifacts::default()
        };
        let places: BTreeMap<String, String> = self.list_item(image, INSTANCES)?;
        let places = places
            .into_iter()
            .filter_map(|(digest, place)| Some((Digest::parse(&digest).ok()?, place)))
            .collect();
        Ok(Some(List {
            index,
            places,
            artifacts,
        }))
    }

    fn list_item<T: serde::de::DeserializeOwned>(&self, image: &ImageId, key: &str) -> Result<T> {
        let bytes = self.image_item(image, key)?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Parse {
            path: self.inner.image_dir(image).join(key),
            source,
        })
    }

    /// Replaces a list. Its digest in the record of images stays what it was at first, as with other tools.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`] when it was removed meanwhile; [`StoreError::Io`].
    pub fn save_list(&self, lock: &ListLock, list: &List) -> Result<()> {
        self.put_image_items(&lock.id, &list.items(&lock.id))
    }
}

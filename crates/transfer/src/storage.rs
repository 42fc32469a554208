//! `containers-storage:`: images of a store.
//!
//! Layers come out as the uncompressed archives that they once were, and go in unpacked by several threads; they are
//! published together, when all of them are right.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archive::{Compression, Limits, Piped};
use model::digest::Algorithm;
use model::event::BlobOutcome;
use model::{DiffId, Digest, Document, ImageConfig, ImageId, LayerId, Platform, Reference};
use store::{
    BlobCompression, DriverChoice, ImageRecord, Item, LayerRecord, NewImage, Privilege, RecordTime,
    Store, StoreOptions, UnpackedLayer,
};
use trust::{ClaimKind, Signature};

use crate::error::{Result, StoreContext as _, TransferError};
use crate::facts::Form;
use crate::lookup::{LookupError, Tried, instance_of};
use crate::signatures::{Guard, SignaturesError, read_stored, stored_items};
use crate::sink::{Finished, Incoming, Landed, Lanes, Sink, Wish, declared_compression};
use crate::source::{Layers, Offered, Opened, Promised, parse, parse_config};
use crate::transport::{StorageRef, StoreSpec};

/// Returns the store that a reference means: the open one, or another one opened with its driver settings.
pub(crate) fn store_of(place: &StorageRef, open: Option<&Store>) -> Result<Store> {
    let open = open.ok_or_else(|| TransferError::NoStore {
        place: place.text.clone(),
    })?;
    let Some(spec) = &place.store else {
        return Ok(open.clone());
    };
    let same = |path: &Option<std::path::PathBuf>, there: &std::path::Path| {
        path.as_deref().is_none_or(|path| path == there)
    };
    if same(&spec.graph_root, open.graph_root())
        && same(&spec.run_root, open.run_root())
        && spec
            .driver
            .as_deref()
            .is_none_or(|driver| driver == open.driver().as_str())
        && spec.options.is_empty()
    {
        return Ok(open.clone());
    }
    open_other(spec, open)
}

fn open_other(spec: &StoreSpec, open: &Store) -> Result<Store> {
    let graph_root = spec
        .graph_root
        .clone()
        .unwrap_or_else(|| open.graph_root().to_owned());
    let run_root = spec
        .run_root
        .clone()
        .unwrap_or_else(|| open.run_root().to_owned());
    let mut options = StoreOptions::new(graph_root, run_root);
    options.driver = DriverChoice {
        name: spec.driver.clone(),
        chosen_by: spec.to_string(),
        ..DriverChoice::default()
    };
    options.driver_options.clone_from(&spec.options);
    options.privilege = if rustix::process::geteuid().is_root() {
        Privilege::Root
    } else {
        Privilege::Rootless
    };
    Store::open(options).when("be opened")
}

/// Finds the image that a reference means.
pub(crate) fn find(store: &Store, place: &StorageRef) -> Result<Arc<ImageRecord>> {
    let images = store.images().when("list its images")?;
    let unknown = || {
        let tried = place
            .name
            .iter()
            .map(ToString::to_string)
            .chain(place.id.clone())
            .collect();
        LookupError::NotFound {
            wanted: place.text.clone(),
            source: Tried(tried),
        }
    };
    if let Some(prefix) = &place.id {
        let found = images
            .by_prefix(prefix)
            .when("find an image")?
            .ok_or_else(unknown)?;
        if let Some(name) = &place.name
            && !found.names.iter().any(|known| in_repository(known, name))
        {
            return Err(unknown().into());
        }
        return Ok(Arc::clone(found));
    }
    // Before a text counts as a name it may be the beginning of an identifier.
    let prefix =
        Some(&place.text).filter(|text| text.len() >= 3 && !text.contains(['@', ':', '/']));
    if let Some(prefix) = prefix
        && let Ok(Some(found)) = images.by_prefix(prefix)
    {
        return Ok(Arc::clone(found));
    }
    let name = place.name.as_ref().ok_or_else(unknown)?;
    crate::lookup::by_reference(&images, name).ok_or_else(|| unknown().into())
}

fn in_repository(known: &str, name: &Reference) -> bool {
    Reference::parse_normalized(known).is_ok_and(|known| known.same_repository(name))
}

struct StoredLayers {
    store: Store,
    image: Arc<ImageRecord>,
    layers: Vec<LayerId>,
    /// The digests that the store compares the layers with when it makes their archives again.
    diffs: Vec<Option<DiffId>>,
    recorded: Vec<Option<Form>>,
}

impl Layers for StoredLayers {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        let source = self
            .store
            .open_layer(&self.layers[index])
            .when("open a layer")?;
        let archive = Piped::start(move |out| source.write_to(out).map(drop));
        Ok(Box::new(archive.map_err(TransferError::Stream)?))
    }

    fn vouched(&self, index: usize) -> Option<Digest> {
        self.diffs[index].as_ref().map(|diff| diff.0.clone())
    }

    fn recorded(&self, index: usize) -> Option<Form> {
        self.recorded[index].clone()
    }

    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        read_stored(&self.store, &self.image, manifest)
    }
}

/// The compressed blob that a layer came as.
fn recorded(layer: &LayerRecord) -> Option<Form> {
    let compression = match layer.compression {
        BlobCompression::Gzip => Compression::Gzip,
        BlobCompression::Zstd => Compression::Zstd,
        _ => return None,
    };
    Some(Form {
        blob: layer.compressed_digest.clone()?,
        size: Some(u64::try_from(layer.compressed_size?).ok()?),
        compression,
        annotations: BTreeMap::new(),
    })
}

/// Opens an image of a store.
pub(crate) fn open(
    label: &str,
    store: &Store,
    place: &StorageRef,
    platform: &Platform,
) -> Result<Opened<'static>> {
    let record = find(store, place)?;
    let record = instance_of(store, &record, Some(platform))?;
    let bytes = store.image_manifest(&record.id).when("read a manifest")?;
    let Document::Manifest(manifest) = parse(label, bytes)? else {
        let tried = Tried(vec![record.id.to_string()]);
        return Err(LookupError::NotFound {
            wanted: label.to_owned(),
            source: tried,
        }
        .into());
    };
    let key = manifest.manifest().config.digest.to_string();
    let config = store.image_item(&record.id, &key).when("read a config")?;
    crate::source::check_document("config", &config, &manifest.manifest().config)?;
    let diff_ids = parse_config(label, &config)?.rootfs.diff_ids;
    let mut chain = match &record.layer {
        Some(layer) => store.chain(layer).when("find the layers of an image")?,
        None => Vec::new(),
    };
    chain.reverse();
    let described = &manifest.manifest().layers;
    if chain.len() != diff_ids.len() || described.len() != diff_ids.len() {
        let (layers, diff_ids) = (chain.len(), diff_ids.len());
        return Err(TransferError::LayerCount {
            place: label.to_owned(),
            layers,
            diff_ids,
        });
    }
    let mut offered = Vec::with_capacity(chain.len());
    let mut layers = Vec::with_capacity(chain.len());
    let mut diffs = Vec::with_capacity(chain.len());
    let mut recorded_forms = Vec::with_capacity(chain.len());
    for ((layer, diff_id), old) in chain.iter().zip(diff_ids).zip(described) {
        let size = layer.diff_size.and_then(|size| u64::try_from(size).ok());
        let mut descriptor = old.clone();
        descriptor.digest = diff_id.0.clone();
        descriptor.size = size.unwrap_or_default();
        let promised = if size.is_some() {
            Promised::Blob
        } else {
            Promised::Content
        };
        offered.push(Offered {
            descriptor,
            promised,
            diff_id: Some(diff_id),
        });
        layers.push(layer.id.clone());
        diffs.push(layer.diff_digest.clone());
        recorded_forms.push(recorded(layer));
    }
    Ok(Opened {
        place: label.to_owned(),
        guard: Guard::Unasked,
        manifest,
        list: None,
        config,
        offered,
        names: record.names.clone(),
        layers: Box::new(StoredLayers {
            store: store.clone(),
            image: Arc::clone(&record),
            layers,
            diffs,
            recorded: recorded_forms,
        }),
    })
}

/// Returns the identifiers that a config's layers have in every store, from the base.
pub(crate) fn chain(place: &str, config: &[u8]) -> Result<Vec<LayerId>> {
    let mut chain: Vec<LayerId> = Vec::new();
    for diff_id in parse_config(place, config)?.rootfs.diff_ids {
        if diff_id.0.algorithm() != Algorithm::Sha256 {
            return Err(TransferError::ConfigAlgorithm {
                place: place.to_owned(),
                digest: diff_id.0,
            });
        }
        chain.push(LayerId::chain(chain.last(), &diff_id));
    }
    Ok(chain)
}

/// An image on its way into a store.
pub(crate) struct StorageSink {
    place: String,
    store: Store,
    chain: Vec<LayerId>,
    slots: Mutex<Vec<Option<Slot>>>,
}

enum Slot {
    /// A layer of the same chain that is there already.
    There(LayerId),
    Unpacked(UnpackedLayer),
}

impl StorageSink {
    /// Prepares for an image with this config; the identifier must be `id`, if one is given.
    pub(crate) fn create(
        place: &str,
        store: Store,
        wanted: &StorageRef,
        config: &[u8],
    ) -> Result<Self> {
        let digest = Digest::sha256(config);
        if let Some(id) = &wanted.id
            && !digest.hex().starts_with(id.as_str())
        {
            let id = ImageId::from_config_digest(&digest).expect("SHA-256 was computed");
            return Err(TransferError::OtherId {
                place: place.to_owned(),
                id,
            });
        }
        let chain = chain(place, config)?;
        let slots = Mutex::new(chain.iter().map(|_| None).collect());
        Ok(Self {
            place: place.to_owned(),
            store,
            chain,
            slots,
        })
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Option<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds signatures to those of other manifests of an image that is there already.
    fn add_signatures(&self, image: &mut NewImage, finished: &Finished<'_>) -> Result<()> {
        let images = self.store.images().when("list its images")?;
        let known = image.id.as_ref().and_then(|id| images.get(id));
        let metadata = known.and_then(|known| known.metadata.as_deref());
        let digest = finished.manifest.digest();
        if let Some((items, metadata)) = stored_items(&digest, finished.signatures, metadata)? {
            image.items.extend(items);
            image.metadata = Some(metadata);
        }
        Ok(())
    }

    fn publish_layers(&self) -> Result<Option<LayerId>> {
        let mut top = None;
        let mut unpacked = Vec::new();
        for slot in std::mem::take(&mut *self.slots()) {
            match slot {
                // What is there is always below what is not, since a layer's identifier covers all below it.
                Some(Slot::There(layer)) if unpacked.is_empty() => top = Some(layer),
                Some(Slot::Unpacked(layer)) => unpacked.push(layer),
                _ => return Err(TransferError::GivenUp),
            }
        }
        if !unpacked.is_empty() {
            let published = self
                .store
                .publish_layers(top.as_ref(), unpacked)
                .when("publish layers")?;
            top = published.into_iter().last().or(top);
        }
        Ok(top)
    }
}

/// A name by digest must be one of the image's own digests.
fn check_names(names: &[String], manifest: &Digest, list: Option<&Digest>) -> Result<()> {
    for name in names {
        let parsed = Reference::parse_normalized(name).map_err(|source| TransferError::Name {
            name: name.clone(),
            source,
        })?;
        if let Some(digest) = parsed.digest()
            && digest != manifest
            && Some(digest) != list
        {
            return Err(TransferError::NameDigest {
                name: name.clone(),
                actual: manifest.clone(),
            });
        }
    }
    Ok(())
}

impl Sink for StorageSink {
    fn wish(&self) -> Wish {
        Wish::Preserve
    }

    fn lanes(&self) -> Lanes {
        Lanes::Many
    }

    fn checks_content(&self) -> bool {
        true
    }

    fn takes_artifacts(&self) -> bool {
        false
    }

    fn reuse(&self, index: usize, offered: &Offered) -> Result<Option<Landed>> {
        let layers = self.store.layers().when("list its layers")?;
        let landed = |size: Option<i64>| {
            let size = match offered.promised {
                Promised::Blob => Some(offered.descriptor.size),
                Promised::Content => size.and_then(|size| u64::try_from(size).ok()),
            };
            let digest = offered.descriptor.digest.clone();
            let compression = declared_compression(&offered.descriptor.media_type);
            size.map(|size| Landed::new(digest, size, compression).by(BlobOutcome::AlreadyThere))
        };
        if let Some(layer) = layers
            .get(&self.chain[index])
            .filter(|layer| !layer.is_incomplete())
        {
            let Some(landed) = landed(layer.diff_size) else {
                return Ok(None);
            };
            self.slots()[index] = Some(Slot::There(layer.id.clone()));
            return Ok(Some(landed));
        }
        let Some(diff_id) = &offered.diff_id else {
            return Ok(None);
        };
        for layer in layers.by_diff(diff_id) {
            // A copy that fails costs no more than reading the layer from its source.
            if let Some(landed) = landed(layer.diff_size)
                && let Ok(unpacked) = self.store.copy_layer(&layer.id)
            {
                self.slots()[index] = Some(Slot::Unpacked(unpacked));
                return Ok(Some(landed));
            }
        }
        Ok(None)
    }

    fn put_layer(&self, index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let unpacked = self
            .store
            .unpack_layer(&mut *layer.reader, None, Limits::default())
            .when("unpack a layer")?;
        let (blob, size) = unpacked.blob();
        let (blob, size) = (blob.clone(), size);
        layer.check(&blob, size)?;
        let content = unpacked.digest();
        if let Some(expected) = &layer.diff_id
            && content.diff_id != *expected
        {
            let (expected, actual) = (expected.0.clone(), content.diff_id.0.clone());
            return Err(TransferError::DiffId {
                index,
                blob,
                expected,
                actual,
            });
        }
        let landed = match layer.blob {
            Some((digest, size)) => Landed::new(digest, size, layer.compression),
            None => Landed::new(content.diff_id.0.clone(), content.size, Compression::None),
        };
        self.slots()[index] = Some(Slot::Unpacked(unpacked));
        Ok(landed)
    }

    fn check_signatures(&self, _kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        Ok(())
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        let list = finished
            .list
            .map(|list| Item::new(format!("manifest-{}", list.digest()), list.bytes().to_vec()));
        check_names(
            finished.names,
            &finished.manifest.digest(),
            list.as_ref().map(|item| &item.digest),
        )?;
        let described = &finished.manifest.manifest().config;
        if described.digest.algorithm() != Algorithm::Sha256 {
            let digest = described.digest.clone();
            return Err(TransferError::ConfigAlgorithm {
                place: self.place.clone(),
                digest,
            });
        }
        let config: ImageConfig = parse_config(&self.place, finished.config)?;
        let layer = self.publish_layers()?;
        let mut image = NewImage::new(layer, finished.manifest.bytes(), finished.config)
            .with_names(finished.names.to_vec());
        if let Some(created) = &config.created {
            image = image.with_created(RecordTime::from_timestamp(created));
        }
        if let Some(list) = list {
            image = image.with_first_item(list);
        }
        self.add_signatures(&mut image, finished)?;
        let record = self.store.put_image(image).when("record an image")?;
        Ok(Some(record.id.clone()))
    }
}

//! Writing `docker://`.
//!
//! Layers are compressed while they are sent; nothing is put on the disk. What the registry has already, in this
//! repository or in one that it was seen in, is not sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::Compression;
use model::event::BlobOutcome;
use model::{DiffId, Digest, ImageId, RawIndex, Reference};
use registry::{ManifestRef, NewBlob, RegistryError, Repository};
use trust::{ClaimKind, Signature};

use crate::body::LayerBody;
use crate::docker::manifest_ref;
use crate::error::{Result, TransferError};
use crate::facts::Form;
use crate::packing::Packing;
use crate::registries::Registries;
use crate::schema1::write::{EMPTY_LAYER, Schema1WriteError, write};
use crate::signatures::{Remote, SignaturePlaces, SignaturesError};
use crate::sink::{Accept, Finished, Incoming, Landed, Lanes, Role, Sink, Wish};
use crate::source::Offered;

/// The most known blobs that are asked for before a layer is sent.
const CANDIDATES_MAX: usize = 7;
/// The most repositories from which a blob is tried to be mounted.
const MOUNTS_MAX: usize = 3;

/// A repository being written to.
pub(crate) struct DockerSink<'a> {
    host: String,
    path: String,
    name: Reference,
    places: &'a dyn SignaturePlaces,
    repository: Repository,
    // `None` when the manifest is to be found by its digest only, whatever it will be.
    target: Option<ManifestRef>,
    registries: &'a Registries,
    /// The config that the repository is known to have.
    config: Mutex<Option<Digest>>,
    /// For manifests of Docker's first format: the digest of the one that was written.
    schema1: Option<Mutex<Option<Digest>>>,
}

impl<'a> DockerSink<'a> {
    /// Prepares for an image of this name.
    pub(crate) fn create(
        name: &Reference,
        registries: &'a Registries,
        places: &'a dyn SignaturePlaces,
        schema1: bool,
    ) -> Result<Self> {
        let route = registries.route_to(name)?;
        Ok(Self {
            host: route.located.host,
            path: route.located.name.path().to_owned(),
            name: route.located.name,
            places,
            repository: route.repository,
            target: manifest_ref(name),
            registries,
            config: Mutex::default(),
            schema1: schema1.then(Mutex::default),
        })
    }

    /// Looks for a blob here, and takes it from other repositories of the registry that are known to have it.
    /// Returns its size with how it came there; `size` is what is known of that already.
    fn find(&self, blob: &Digest, size: Option<u64>) -> Result<Option<(u64, BlobOutcome)>> {
        let facts = self.registries.facts();
        let places = facts.places(blob, &self.host, &self.path);
        let trouble = |source| TransferError::Reuse {
            blob: blob.clone(),
            source: Box::new(source),
        };
        // A repository that was never seen with a blob is asked for it only if no other is known to have it.
        let ask = places.is_empty() || places.contains(&self.path);
        if ask && let Some(found) = self.repository.blob(blob).map_err(trouble)? {
            facts.seen(blob, &self.host, &self.path);
            // Without a size no manifest can name it.
            let size = found.size.or(size);
            return Ok(size.map(|size| (size, BlobOutcome::AlreadyThere)));
        }
        let others = places.iter().filter(|place| **place != self.path);
        for other in others.take(MOUNTS_MAX) {
            // A registry that cannot or will not mount is sent the bytes.
            let Some(size) = size.or_else(|| self.size_in(other, blob)) else {
                continue;
            };
            if let Ok(true) = self.repository.mount(blob, other) {
                facts.seen(blob, &self.host, &self.path);
                return Ok(Some((size, BlobOutcome::Mounted)));
            }
        }
        Ok(None)
    }

    /// The size that a blob has in another repository, if it is there and can be asked for.
    fn size_in(&self, other: &str, blob: &Digest) -> Option<u64> {
        self.repository.blob_in(other, blob).ok()??.size
    }

    fn config(&self) -> MutexGuard<'_, Option<Digest>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_signatures(&self, manifest: &Digest, signatures: &[Signature]) -> Result<()> {
        if !signatures.is_empty() {
            Remote::find(&self.repository, &self.name, self.places)?.write(manifest, signatures)?;
        }
        Ok(())
    }

    fn finish_schema1(&self, finished: &Finished<'_>) -> Result<Digest> {
        let refused = |source| TransferError::Schema1Write {
            place: self.name.to_string(),
            source: Box::new(source),
        };
        let target = match (&self.target, finished.role) {
            (Some(target @ ManifestRef::Tag(_)), Role::Single) => target,
            _ => return Err(refused(Schema1WriteError::Place)),
        };
        if !finished.signatures.is_empty() {
            return Err(refused(Schema1WriteError::Signatures));
        }
        let layers: Vec<Digest> = finished
            .landed
            .iter()
            .map(|one| one.digest.clone())
            .collect();
        let tag = self.name.tag().unwrap_or_default();
        let written = write(finished.config, &layers, &self.path, tag).map_err(refused)?;
        if written.needs_empty_layer {
            self.put_small(&EMPTY_LAYER, &Digest::sha256(&EMPTY_LAYER))?;
        }
        let media_type = model::media_type::DOCKER_SCHEMA1_SIGNED;
        self.repository
            .put_manifest(target, media_type, &written.bytes)
            .map_err(manifest_trouble)?;
        Ok(written.digest)
    }

    fn put_small(&self, bytes: &[u8], digest: &Digest) -> Result<()> {
        let trouble = |source| TransferError::Reuse {
            blob: digest.clone(),
            source: Box::new(source),
        };
        if self.repository.blob(digest).map_err(trouble)?.is_some() {
            return Ok(());
        }
        let blob = NewBlob {
            digest: Some(digest.clone()),
            size: Some(bytes.len() as u64),
        };
        self.repository
            .upload(&blob, &mut &*bytes)
            .map_err(blob_trouble)?;
        Ok(())
    }

    /// Remembers a layer that was sent; `content` is the digest of what was compressed on the way, if it was.
    fn remember(&self, content: Option<&DiffId>, landed: &Landed) {
        let facts = self.registries.facts();
        if let Some(diff) = content {
            let form = Form {
                blob: landed.digest.clone(),
                size: Some(landed.size),
                compression: landed.compression,
                annotations: landed.annotations.clone(),
            };
            facts.became(diff, &form);
        }
        facts.seen(&landed.digest, &self.host, &self.path);
    }
}

fn blob_trouble(source: RegistryError) -> TransferError {
    TransferError::WriteBlob {
        source: Box::new(source),
    }
}

fn manifest_trouble(source: RegistryError) -> TransferError {
    TransferError::WriteManifest {
        source: Box::new(source),
    }
}

impl Sink for DockerSink<'_> {
    fn wish(&self) -> Wish {
        Wish::Compress
    }

    fn lanes(&self) -> Lanes {
        Lanes::Remote
    }

    fn takes_artifacts(&self) -> bool {
        true
    }

    fn leaves_foreign(&self) -> bool {
        true
    }

    fn fixed_digest(&self) -> Option<&Digest> {
        match &self.target {
            Some(ManifestRef::Digest(digest)) => Some(digest),
            _ => None,
        }
    }

    fn reuse(&self, _index: usize, offered: &Offered) -> Result<Option<Landed>> {
        let descriptor = &offered.descriptor;
        if offered.promised != crate::source::Promised::Blob {
            return Ok(None);
        }
        let found = self.find(&descriptor.digest, Some(descriptor.size))?;
        // A blob of another size is not the one that the manifest describes.
        let found = found.filter(|(size, _)| *size == descriptor.size);
        Ok(found.map(|(size, outcome)| {
            let compression = crate::sink::declared_compression(&descriptor.media_type);
            Landed::new(descriptor.digest.clone(), size, compression).by(outcome)
        }))
    }

    fn reuse_content(&self, offered: &Offered, accept: &Accept<'_>) -> Result<Option<Landed>> {
        let Some(diff) = &offered.diff_id else {
            return Ok(None);
        };
        let mut forms = self.registries.facts().forms(diff, &self.host);
        forms.extend(accept.recorded.clone());
        forms.retain(|form| {
            // Nothing but its annotations tells whether a zstd blob can be fetched in parts.
            let chunks = !accept.encoding.chunked || !form.annotations.is_empty();
            chunks && (accept.compression)(form.compression)
        });
        let mut asked: Vec<Digest> = Vec::new();
        for form in forms.into_iter().take(CANDIDATES_MAX) {
            if asked.contains(&form.blob) {
                continue;
            }
            asked.push(form.blob.clone());
            if let Some((size, outcome)) = self.find(&form.blob, form.size)?
                && form.size.is_none_or(|expected| size == expected)
            {
                let mut landed = Landed::new(form.blob, size, form.compression).by(outcome);
                landed.annotations = form.annotations;
                return Ok(Some(landed));
            }
        }
        Ok(None)
    }

    fn put_config_early(&self, config: &[u8], digest: &Digest) {
        // Docker's first format has none.
        if self.schema1.is_none() && self.put_small(config, digest).is_ok() {
            *self.config() = Some(digest.clone());
        }
    }

    fn put_layer(&self, _index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let compression = layer.landing();
        // What is encrypted is another blob each time.
        let Packing { encoding, seal } = layer.packing;
        let encoded = encoding.compression != Compression::None && seal.is_none();
        let blob = NewBlob {
            digest: layer.blob.as_ref().map(|(digest, _)| digest.clone()),
            size: layer.blob.as_ref().map(|(_, size)| *size),
        };
        let mut body = LayerBody::new(layer.reader, layer.again, layer.packing)
            .map_err(TransferError::Stream)?;
        let uploaded = match self.repository.upload(&blob, &mut body) {
            Ok(uploaded) => uploaded,
            // What was wrong with the bytes says more than that the sending of them failed.
            Err(source) => {
                return Err(match body.into_failure() {
                    Some(failure) => failure,
                    None => blob_trouble(source),
                });
            }
        };
        let mut landed = Landed::new(uploaded.digest, uploaded.size, compression);
        landed.annotations = body.into_annotations();
        self.remember(layer.diff_id.as_ref().filter(|_| encoded), &landed);
        Ok(landed)
    }

    fn published(&self) -> Option<Digest> {
        let published = self.schema1.as_ref()?.lock();
        published.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        if let Some(published) = &self.schema1 {
            let digest = self.finish_schema1(finished)?;
            *published.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
            return Ok(None);
        }
        let manifest = finished.manifest;
        let config = &manifest.manifest().config.digest;
        if self.config().as_ref() != Some(config) {
            self.put_small(finished.config, config)?;
        }
        let by_digest = || ManifestRef::Digest(manifest.digest());
        let target = match finished.role {
            Role::Single => self.target.clone().unwrap_or_else(by_digest),
            Role::Instance => by_digest(),
        };
        let media_type = manifest.format().manifest_type();
        self.repository
            .put_manifest(&target, media_type, manifest.bytes())
            .map_err(manifest_trouble)?;
        self.put_signatures(&manifest.digest(), finished.signatures)?;
        Ok(None)
    }

    fn check_signatures(&self, kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        Remote::find(&self.repository, &self.name, self.places)?.check(kinds)
    }

    fn finish_list(&self, list: &RawIndex, signatures: &[Signature]) -> Result<()> {
        let by_digest = || ManifestRef::Digest(list.digest());
        let target = self.target.clone().unwrap_or_else(by_digest);
        let media_type = list.index().format().index_type();
        self.repository
            .put_manifest(&target, media_type, list.bytes())
            .map_err(manifest_trouble)?;
        self.put_signatures(&list.digest(), signatures)
    }
}

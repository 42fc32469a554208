//! What every source of an image offers, and the choice among several images.

use std::io::{self, Read};
use std::sync::Arc;

use model::image_config::CONFIG_MAX;
use model::manifest::{LAYERS_MAX, MANIFEST_MAX};
use model::{Descriptor, DiffId, Digest, Document, ImageConfig, Platform, RawIndex, RawManifest};
use trust::Signature;

use crate::error::{Offers, Result, TransferError};
use crate::facts::Form;
use crate::signatures::{Candidate, Guard, SignaturesError};

/// Lists within lists: more is no honest image.
const NESTING_MAX: usize = 4;

/// A layer as its source has it.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    /// Type, digest and size of what [`Layers::open`] gives, as far as [`Offered::promised`] says.
    pub(crate) descriptor: Descriptor,
    /// Whether digest and size are known to be those of the stream.
    pub(crate) promised: Promised,
    /// The content without compression; none for what is no image.
    pub(crate) diff_id: Option<DiffId>,
}

/// What a source knows beforehand about the bytes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promised {
    /// Digest and size are those of the bytes.
    Blob,
    /// Only the content's digest after decompression is known.
    Content,
}

/// Opens an image's layers; may be called from several threads.
pub(crate) trait Layers: Send + Sync {
    /// Returns the bytes of one layer, compressed or not.
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>>;
    /// The digest that [`Layers::open`]'s bytes of a layer are compared with while they are read: their end is an error
    /// if they have another one.
    fn vouched(&self, index: usize) -> Option<Digest> {
        let _ = index;
        None
    }
    /// The registry's host and the repository that layers come from.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }
    /// How many bytes of a layer that was opened an earlier copy has left here.
    fn resumed(&self, layer: &Digest) -> u64 {
        let _ = layer;
        0
    }
    /// Says that all layers that were read are safe at their destination.
    fn settle(&self) {}
    /// The signatures of the image's manifest.
    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        let _ = manifest;
        Ok(Vec::new())
    }
    /// The blob that a layer is known to have been once.
    fn recorded(&self, index: usize) -> Option<Form> {
        let _ = index;
        None
    }
}

/// An image, ready to be copied.
pub(crate) struct Opened<'a> {
    /// The place, for messages.
    pub(crate) place: String,
    /// What stands before it, or that it has passed.
    pub(crate) guard: Guard,
    pub(crate) manifest: RawManifest,
    /// The list that it was chosen from.
    pub(crate) list: Option<RawIndex>,
    /// Verified bytes.
    pub(crate) config: Vec<u8>,
    pub(crate) offered: Vec<Offered>,
    /// Names that the image gets in a store when none is asked for.
    pub(crate) names: Vec<String>,
    pub(crate) layers: Box<dyn Layers + 'a>,
}

/// Where documents and blobs are found by digest.
pub(crate) trait Blobs: Send + Sync {
    /// Returns the bytes of a manifest or list.
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>>;
    /// The signatures of a manifest or list.
    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        let _ = manifest;
        Ok(Vec::new())
    }
    /// Returns the bytes of a config.
    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>>;
    /// Returns the bytes of a layer as they are.
    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>>;
    /// The registry's host and the repository that blobs come from.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }
    /// How many bytes of a layer that was opened an earlier copy has left here.
    fn resumed(&self, layer: &Digest) -> u64 {
        let _ = layer;
        0
    }
    /// Says that all layers that were read are safe at their destination.
    fn settle(&self) {}
}

/// Documents by digest, of which one image or several are taken.
pub(crate) struct Library<'a> {
    /// The place, for messages.
    pub(crate) place: String,
    /// What stands before its images.
    pub(crate) guard: Guard,
    /// What the reference leads to.
    pub(crate) top: Document,
    /// Names that an image gets in a store when none is asked for.
    pub(crate) names: Vec<String>,
    pub(crate) blobs: Arc<dyn Blobs + 'a>,
}

/// What was found behind a reference.
pub(crate) enum Source<'a> {
    /// One image.
    Image(Opened<'a>),
    /// Perhaps several.
    Library(Library<'a>),
}

impl Source<'_> {
    /// Puts a guard before what was found, unless it has passed one already.
    pub(crate) fn put_behind(&mut self, guard: Guard) {
        let place = match self {
            Source::Image(image) => &mut image.guard,
            Source::Library(library) => &mut library.guard,
        };
        if matches!(place, Guard::Unasked) {
            *place = guard;
        }
    }
}

impl<'a> Library<'a> {
    /// Follows lists to the image for a platform, asks about it and reads its config, everything verified.
    pub(crate) fn choose(&self, platform: &Platform) -> Result<Opened<'a>> {
        let mut list = None;
        let mut document = self.top.clone();
        for _ in 0..=NESTING_MAX {
            let index = match document {
                Document::Manifest(manifest) => return self.open(manifest, list),
                Document::Index(index) => index,
            };
            let entry = index
                .index()
                .choose(platform)
                .ok_or_else(|| no_platform(&self.place, &index, platform))?;
            document = self.document(entry)?;
            // The outermost list is the one that a name leads to.
            list = list.or(Some(index));
        }
        Err(TransferError::TooDeep {
            place: self.place.clone(),
            limit: NESTING_MAX,
        })
    }

    /// Reads one entry of the list.
    pub(crate) fn document(&self, entry: &Descriptor) -> Result<Document> {
        let bytes = self.blobs.manifest(&entry.digest, MANIFEST_MAX as u64)?;
        check_document("manifest", &bytes, entry)?;
        parse(&self.place, bytes)
    }

    /// Opens one image of the list.
    pub(crate) fn instance(&self, entry: &Descriptor) -> Result<Opened<'a>> {
        match self.document(entry)? {
            Document::Manifest(manifest) => self.open(manifest, None),
            Document::Index(_) => Err(TransferError::NestedList {
                place: self.place.clone(),
                digest: entry.digest.clone(),
            }),
        }
    }

    /// Reads the config of an image that may be used.
    fn open(&self, manifest: RawManifest, list: Option<RawIndex>) -> Result<Opened<'a>> {
        let guard = self.guard.ask(&Candidate {
            digest: manifest.digest(),
            manifest: manifest.bytes(),
            signatures: &|digest| self.blobs.signatures(digest),
        })?;
        let wanted = &manifest.manifest().config;
        let config = self.blobs.config(wanted, CONFIG_MAX as u64)?;
        check_document("config", &config, wanted)?;
        let offered = offer(&self.place, &manifest, &config)?;
        let layers = LibraryLayers {
            blobs: Arc::clone(&self.blobs),
            layers: manifest.manifest().layers.clone(),
        };
        Ok(Opened {
            place: self.place.clone(),
            guard,
            manifest,
            list,
            config,
            offered,
            names: self.names.clone(),
            layers: Box::new(layers),
        })
    }
}

struct LibraryLayers<'a> {
    blobs: Arc<dyn Blobs + 'a>,
    layers: Vec<Descriptor>,
}

impl Layers for LibraryLayers<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        self.blobs.layer(&self.layers[index])
    }

    fn repository(&self) -> Option<(&str, &str)> {
        self.blobs.repository()
    }

    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        self.blobs.signatures(manifest)
    }

    fn resumed(&self, layer: &Digest) -> u64 {
        self.blobs.resumed(layer)
    }

    fn settle(&self) {
        self.blobs.settle();
    }
}

pub(crate) fn no_platform(place: &str, index: &RawIndex, platform: &Platform) -> TransferError {
    let kind = match index.index().format() {
        model::ManifestFormat::Oci => "image index",
        model::ManifestFormat::Docker => "manifest list",
    };
    let offers = index
        .index()
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.clone())
        .collect();
    TransferError::NoPlatform {
        place: place.to_owned(),
        kind,
        platform: Box::new(platform.clone()),
        source: Offers(offers),
    }
}

pub(crate) fn parse(place: &str, bytes: Vec<u8>) -> Result<Document> {
    Document::parse(bytes).map_err(|source| TransferError::Manifest {
        place: place.to_owned(),
        source,
    })
}

/// Compares a document with its descriptor.
pub(crate) fn check_document(
    what: &'static str,
    bytes: &[u8],
    descriptor: &Descriptor,
) -> Result<()> {
    let mut reader =
        archive::VerifiedReader::new(bytes, descriptor.digest.clone(), Some(descriptor.size));
    match io::copy(&mut reader, &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(source) => Err(TransferError::Document {
            what,
            digest: descriptor.digest.clone(),
            source,
        }),
    }
}

/// Joins a manifest's layers with the contents that the config promises.
fn offer(place: &str, manifest: &RawManifest, config: &[u8]) -> Result<Vec<Offered>> {
    let layers = &manifest.manifest().layers;
    let diff_ids = if manifest.manifest().is_image() {
        let diff_ids = parse_config(place, config)?.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let (layers, diff_ids) = (layers.len(), diff_ids.len());
            return Err(TransferError::LayerCount {
                place: place.to_owned(),
                layers,
                diff_ids,
            });
        }
        diff_ids.into_iter().map(Some).collect()
    } else {
        vec![None; layers.len()]
    };
    let offered = layers.iter().zip(diff_ids).map(|(layer, diff_id)| Offered {
        descriptor: layer.clone(),
        promised: Promised::Blob,
        diff_id,
    });
    Ok(offered.collect())
}

pub(crate) fn parse_config(place: &str, bytes: &[u8]) -> Result<ImageConfig> {
    let refused = |source| TransferError::Config {
        place: place.to_owned(),
        source,
    };
    let config = ImageConfig::parse(bytes).map_err(refused)?;
    let count = config.rootfs.diff_ids.len();
    if count > LAYERS_MAX {
        let source = model::ManifestError::TooMany {
            what: "layers",
            count,
            limit: LAYERS_MAX,
        };
        return Err(TransferError::Manifest {
            place: place.to_owned(),
            source,
        });
    }
    Ok(config)
}

//! What every destination of an image takes.

use std::collections::BTreeMap;
use std::io::Read;

use archive::{Compression, VerifyError};
use model::event::BlobOutcome;
use model::media_type::{LayerCompression, LayerType, Secrecy};
use model::{DiffId, Digest, ImageId, RawIndex, RawManifest};
use trust::{ClaimKind, Signature};

use crate::error::{Result, TransferError};
use crate::facts::Form;
use crate::files::Encoding;
use crate::packing::Packing;
use crate::signatures::{NoRoom, SignaturesError};
use crate::source::Offered;

/// How a destination wants its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Compress,
    Decompress,
    Preserve,
}

/// Opens a layer's bytes once more from the start.
pub(crate) type Again<'a> = dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync + 'a;

/// A layer on its way in. The reader fails at its end if the content is not the promised one.
pub(crate) struct Incoming<'a> {
    pub(crate) reader: &'a mut (dyn Read + Send),
    /// The same reader from the start, for a destination that was interrupted.
    pub(crate) again: &'a Again<'a>,
    /// How the reader's bytes are compressed.
    pub(crate) compression: Compression,
    /// How the destination is to pack them.
    pub(crate) packing: Packing<'a>,
    /// Digest and size of the reader's bytes, when they are known before.
    pub(crate) blob: Option<(Digest, u64)>,
    pub(crate) diff_id: Option<DiffId>,
}

impl Incoming<'_> {
    /// Compares what has come with what was promised.
    pub(crate) fn check(&self, digest: &Digest, size: u64) -> Result<()> {
        let Some((expected, expected_size)) = &self.blob else {
            return Ok(());
        };
        // The digests of other algorithms are checked where the bytes are read.
        let source = if *expected_size != size {
            VerifyError::TooShort {
                expected: *expected_size,
                actual: size,
            }
        } else if expected.algorithm() == digest.algorithm() && expected != digest {
            VerifyError::Digest {
                expected: expected.clone(),
                actual: digest.clone(),
            }
        } else {
            return Ok(());
        };
        Err(TransferError::Blob {
            expected: expected.clone(),
            source,
        })
    }

    /// How the layer is compressed once it has landed.
    pub(crate) fn landing(&self) -> Compression {
        match self.packing.encoding.compression {
            Compression::None => self.compression,
            encoded => encoded,
        }
    }
}

/// A layer at its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
    /// Whether it was encrypted on the way.
    pub(crate) secrecy: Secrecy,
    /// What the layer's descriptor is to say besides.
    pub(crate) annotations: BTreeMap<String, String>,
    /// How it came there.
    pub(crate) outcome: BlobOutcome,
}

impl Landed {
    /// A layer whose bytes have moved.
    pub(crate) fn new(digest: Digest, size: u64, compression: Compression) -> Self {
        Self {
            digest,
            size,
            compression,
            secrecy: Secrecy::Open,
            annotations: BTreeMap::new(),
            outcome: BlobOutcome::Copied,
        }
    }

    /// The same without bytes having moved.
    pub(crate) fn by(self, outcome: BlobOutcome) -> Self {
        Self { outcome, ..self }
    }
}

/// What an image is at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What the destination's name leads to.
    Single,
    /// A member of a list, found by digest only.
    Instance,
}

/// Everything but the layers, which have landed before.
pub(crate) struct Finished<'a> {
    pub(crate) manifest: &'a RawManifest,
    pub(crate) list: Option<&'a RawIndex>,
    pub(crate) config: &'a [u8],
    pub(crate) landed: &'a [Landed],
    pub(crate) names: &'a [String],
    /// What is stored beside the manifest.
    pub(crate) signatures: &'a [Signature],
    pub(crate) role: Role,
}

/// How many layers a destination takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    One,
    Many,
    /// As many as are worth while with a network in between.
    Remote,
}

/// Which forms of a layer will do.
pub(crate) struct Accept<'a> {
    /// How it would be compressed if none is there.
    pub(crate) encoding: Encoding,
    /// Whether a compression will do.
    pub(crate) compression: &'a (dyn Fn(Compression) -> bool + Sync),
    /// The blob that the source's records say the layer once was.
    pub(crate) recorded: Option<Form>,
}

/// What a media type says of the compression of a layer's bytes, which an encryption hides.
pub(crate) fn declared_compression(media_type: &str) -> Compression {
    let readable = LayerType::parse(media_type).filter(|kind| !kind.is_encrypted());
    match readable.map(|kind| kind.compression) {
        Some(LayerCompression::Gzip) => Compression::Gzip,
        Some(LayerCompression::Zstd) => Compression::Zstd,
        Some(LayerCompression::None) | None => Compression::None,
    }
}

/// A destination.
pub(crate) trait Sink: Sync {
    /// How it wants its layers.
    fn wish(&self) -> Wish;
    /// How many layers it takes at once; one after the other they come from the base up.
    fn lanes(&self) -> Lanes;
    /// Whether it decompresses layers itself and compares the content with the config.
    fn checks_content(&self) -> bool {
        false
    }
    /// Whether something that is no image may go there.
    fn takes_artifacts(&self) -> bool;
    /// Returns the layer, if it is there already and need not be read.
    fn reuse(&self, index: usize, offered: &Offered) -> Result<Option<Landed>>;
    /// Returns a layer of the same content that is there already, in a form that need not be the offered one.
    fn reuse_content(&self, offered: &Offered, accept: &Accept<'_>) -> Result<Option<Landed>> {
        let _ = (offered, accept);
        Ok(None)
    }
    /// Whether layers that their publisher keeps elsewhere stay there.
    fn leaves_foreign(&self) -> bool {
        false
    }
    /// The digest that the manifest must have at the destination.
    fn fixed_digest(&self) -> Option<&Digest> {
        None
    }
    /// Checks that signatures of these kinds can be stored.
    fn check_signatures(&self, kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        let _ = kinds;
        Err(NoRoom::Other.into())
    }
    /// Takes the config beside the layers, if that saves time later. What goes wrong shows again in [`Sink::finish`].
    fn put_config_early(&self, config: &[u8], digest: &Digest) {
        let _ = (config, digest);
    }
    /// Takes a layer.
    fn put_layer(&self, index: usize, layer: Incoming<'_>) -> Result<Landed>;
    /// Publishes the image; returns its identifier where it has one.
    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>>;
    /// The digest of what was published, where that is not the image's manifest.
    fn published(&self) -> Option<Digest> {
        None
    }
    /// Publishes a list whose images were published before as [`Role::Instance`].
    fn finish_list(&self, list: &RawIndex, signatures: &[Signature]) -> Result<()> {
        let _ = signatures;
        Err(TransferError::ListRefused {
            list: list.digest(),
        })
    }
}

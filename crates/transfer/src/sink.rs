//! What every destination of an image takes.

use std::io::Read;

use archive::{Compression, VerifyError};
use model::{DiffId, Digest, ImageId, RawIndex, RawManifest};

use crate::error::{Result, TransferError};
use crate::files::Encoding;
use crate::source::Offered;

/// How a destination wants its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Compress,
    Decompress,
    Preserve,
}

/// A layer on its way in. The reader fails at its end if the content is not the promised one.
pub(crate) struct Incoming<'a> {
    pub(crate) reader: &'a mut (dyn Read + Send),
    /// How the reader's bytes are compressed.
    pub(crate) compression: Compression,
    /// How the destination is to compress them.
    pub(crate) encoding: Encoding,
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
        match self.encoding.compression {
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
}

/// Everything but the layers, which have landed before.
pub(crate) struct Finished<'a> {
    pub(crate) manifest: &'a RawManifest,
    pub(crate) list: Option<&'a RawIndex>,
    pub(crate) config: &'a [u8],
    pub(crate) landed: &'a [Landed],
    pub(crate) names: &'a [String],
}

/// How many layers a destination takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    One,
    Many,
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
    /// Takes a layer.
    fn put_layer(&self, index: usize, layer: Incoming<'_>) -> Result<Landed>;
    /// Publishes the image; returns its identifier where it has one.
    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>>;
}

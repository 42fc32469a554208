//! Layers as archives: in from a stream, out to a stream byte for byte, and the same content
//! again on another parent.
//!
//! A stream is unpacked, hashed and described in one pass, without any lock and without
//! knowing the parent; only publishing needs both. So the layers of an image are unpacked at
//! the same time and published together.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Compression, Extracted, Flavour, LayerDigest, LayerOptions, Limits, Piped};
use model::{DiffId, Digest, LayerId};
use sha2::{Digest as _, Sha256};
use sys::Root;
use sys::overlay::XattrFlavour;

use crate::driver::{RootAttributes, vfs};
use crate::error::{IoContext as _, Result, StoreError};
use crate::options::{DriverName, Privilege};
use crate::publish::{Blob, Content, Ready};
use crate::record::{BlobCompression, LayerRecord};
use crate::root::fresh_dir;
use crate::stack::{LowerRoots, open_file};
use crate::store::{Inner, Store};
use crate::tempdir::TempDir;

/// A layer that is unpacked and verified but not published. It may be sent to another
/// thread; dropping it removes its content.
#[derive(Debug)]
pub struct UnpackedLayer {
    tree: PathBuf,
    split: PathBuf,
    digest: LayerDigest,
    blob: Option<Blob>,
    trees: Arc<TempDir>,
    splits: Arc<TempDir>,
}

impl UnpackedLayer {
    /// Returns the DiffID, size and owners of the layer.
    #[must_use]
    pub fn digest(&self) -> &LayerDigest {
        &self.digest
    }

    /// Returns the digest and size in bytes of the blob that it was unpacked from.
    #[must_use]
    pub fn blob(&self) -> (&Digest, u64) {
        match &self.blob {
            Some(blob) => (&blob.digest, blob.size),
            None => (&self.digest.diff_id.0, self.digest.size),
        }
    }
}

/// A layer's content, pinned: it can be read to the end even if the layer is deleted.
#[derive(Debug)]
pub struct LayerSource {
    layer: LayerId,
    diff_id: DiffId,
    size: Option<u64>,
    split: File,
    roots: LowerRoots,
}

impl LayerSource {
    /// Returns the digest of the archive.
    #[must_use]
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// Returns the length of the archive in bytes, if recorded.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Writes the uncompressed archive as it once came, and returns its length in bytes.
    ///
    /// # Errors
    /// [`StoreError::Regenerate`] when a file is missing or changed or `out` fails;
    /// [`StoreError::LayerChanged`] when the archive has another digest than recorded.
    pub fn write_to(self, out: impl Write) -> Result<u64> {
        let mut out = Hashing {
            out,
            hash: Sha256::new(),
        };
        let roots: Vec<&Root> = self.roots.roots().iter().collect();
        let size = archive::regenerate(&self.split, &roots, &mut out).map_err(|source| {
            StoreError::Regenerate {
                layer: self.layer.clone(),
                source,
            }
        })?;
        let found = DiffId(Digest::from_sha256_bytes(out.hash.finalize().into()));
        if found != self.diff_id {
            return Err(StoreError::LayerChanged {
                layer: self.layer,
                expected: self.diff_id,
                found,
            });
        }
        Ok(size)
    }
}

struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Store {
    /// Unpacks a layer, compressed or not, and checks its DiffID if one is expected.
    /// Several threads may do this at the same time.
    ///
    /// # Errors
    /// [`StoreError::Unpack`]; [`StoreError::DigestMismatch`]; [`StoreError::Io`].
    pub fn unpack_layer(
        &self,
        blob: impl Read + Send,
        expected: Option<&DiffId>,
        limits: Limits,
    ) -> Result<UnpackedLayer> {
        let inner = &*self.inner;
        let trees = Arc::new(inner.tree_temp()?);
        let splits = Arc::new(inner.file_temp()?);
        let tree = trees.next("tree");
        let split_path = splits.next("addition");
        fresh_dir(&tree, RootAttributes::base())?;
        let root = Root::open(&tree).at("open", &tree)?;
        let split = new_file(&split_path)?;
        let options = LayerOptions {
            flavour: inner.tree_flavour(),
            privilege: match inner.options.privilege {
                Privilege::Root => archive::Privilege::Full,
                Privilege::Rootless => archive::Privilege::Rootless,
            },
            owners: inner.settings.owners,
            limits,
        };
        let extracted =
            archive::extract_layer(blob, &root, &options, &split).map_err(|source| {
                StoreError::Unpack {
                    tree: tree.clone(),
                    source,
                }
            })?;
        if let Some(expected) = expected
            && extracted.digest.diff_id != *expected
        {
            return Err(StoreError::DigestMismatch {
                what: "the layer".to_owned(),
                expected: expected.to_string(),
                found: extracted.digest.diff_id.to_string(),
            });
        }
        split.sync_data().at("sync", &split_path)?;
        let blob = blob_of(&extracted);
        Ok(UnpackedLayer {
            tree,
            split: split_path,
            digest: extracted.digest,
            blob,
            trees,
            splits,
        })
    }

    /// Publishes unpacked layers on each other, the first on `parent`, with one save, and
    /// returns their identifiers. Layers that exist already are used as they are.
    ///
    /// # Errors
    /// [`StoreError::ParentVanished`] when the parent was removed meanwhile;
    /// [`StoreError::Io`].
    pub fn publish_layers(
        &self,
        parent: Option<&LayerId>,
        layers: Vec<UnpackedLayer>,
    ) -> Result<Vec<LayerId>> {
        let inner = &*self.inner;
        let attributes = match parent {
            Some(parent) => RootAttributes::of(&inner.root_dir(parent)?)?,
            None => RootAttributes::base(),
        };
        let trees = Arc::new(inner.tree_temp()?);
        let mut kept = Vec::with_capacity(layers.len());
        let mut ready = Vec::with_capacity(layers.len());
        for layer in layers {
            ready.push(Ready {
                content: Content::Change(layer.tree),
                split: layer.split,
                digest: layer.digest,
                blob: layer.blob,
            });
            kept.push((layer.trees, layer.splits));
        }
        let published = inner.publish(parent, ready, &trees, attributes);
        drop(kept);
        published
    }

    /// Unpacks and publishes one layer.
    ///
    /// # Errors
    /// As [`Store::unpack_layer`] and [`Store::publish_layers`].
    pub fn import_layer(
        &self,
        parent: Option<&LayerId>,
        blob: impl Read + Send,
        expected: Option<&DiffId>,
    ) -> Result<Arc<LayerRecord>> {
        let unpacked = self.unpack_layer(blob, expected, Limits::default())?;
        let ids = self.publish_layers(parent, vec![unpacked])?;
        self.layers()?.require(&ids[0]).cloned()
    }

    /// Takes a copy of an existing layer's content, to be published on another parent.
    /// Blocks are shared where the file system can.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`]; [`StoreError::NoDigest`]; [`StoreError::Io`].
    pub fn copy_layer(&self, layer: &LayerId) -> Result<UnpackedLayer> {
        let inner = &*self.inner;
        let record = self.layers()?.require(layer)?.clone();
        let (Some(diff_id), Some(size)) = (
            record.diff_digest.clone(),
            record.diff_size.and_then(|size| size.try_into().ok()),
        ) else {
            return Err(StoreError::NoDigest {
                layer: layer.clone(),
            });
        };
        let split_from = inner.tar_split_of(layer)?;
        let dirs = match inner.driver {
            DriverName::Overlay => inner.lower_dirs(layer)?,
            DriverName::Vfs => Vec::new(),
        };
        if !split_from.exists()
            || inner.driver == DriverName::Vfs
            || !record.uid_map.is_empty()
            || !record.gid_map.is_empty()
        {
            // Only the archive still tells this layer from what lies below it.
            return self.unpack_again(layer, &diff_id);
        }
        let trees = Arc::new(inner.tree_temp()?);
        let splits = Arc::new(inner.file_temp()?);
        let (tree, split) = (trees.next("tree"), splits.next("addition"));
        vfs::copy_tree(&dirs[0], &tree, vfs::Marks::Keep)?;
        let mut to = new_file(&split)?;
        io::copy(&mut open_file(&split_from)?, &mut to).at("copy", &split_from)?;
        to.sync_data().at("sync", &split)?;
        let digest = LayerDigest {
            diff_id,
            size,
            uids: record.uids.iter().copied().collect(),
            gids: record.gids.iter().copied().collect(),
        };
        let blob = match (&record.compressed_digest, record.compressed_size) {
            (Some(blob), Some(size)) if record.compression != BlobCompression::None => {
                u64::try_from(size).ok().map(|size| Blob {
                    digest: blob.clone(),
                    size,
                    compression: record.compression,
                })
            }
            _ => None,
        };
        Ok(UnpackedLayer {
            tree,
            split,
            digest,
            blob,
            trees,
            splits,
        })
    }

    fn unpack_again(&self, layer: &LayerId, diff_id: &DiffId) -> Result<UnpackedLayer> {
        let source = self.open_layer(layer)?;
        let archive = Piped::start(move |out| source.write_to(out).map(drop))
            .at("start a thread to read", self.graph_root())?;
        self.unpack_layer(archive, Some(diff_id), Limits::default())
    }

    /// Opens a layer's content for writing out its archive. No lock is held meanwhile.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`]; [`StoreError::NoDigest`]; [`StoreError::Io`], for
    /// instance when the layer is deleted at this moment.
    pub fn open_layer(&self, layer: &LayerId) -> Result<LayerSource> {
        let inner = &*self.inner;
        let record = self.layers()?.require(layer)?.clone();
        let diff_id = record
            .diff_digest
            .clone()
            .ok_or_else(|| StoreError::NoDigest {
                layer: layer.clone(),
            })?;
        let dirs = match inner.driver {
            DriverName::Vfs => vec![inner.root_dir(layer)?],
            DriverName::Overlay if record.uid_map.is_empty() && record.gid_map.is_empty() => {
                crate::driver::overlay::contents(inner.home_of(layer)?, layer)?
            }
            // The files of a layer with shifted owners may still be in those below.
            DriverName::Overlay => inner.lower_dirs(layer)?,
        };
        let roots = LowerRoots::open(&dirs, inner.flavour())?;
        let split = open_file(&inner.tar_split_of(layer)?)?;
        Ok(LayerSource {
            layer: layer.clone(),
            diff_id,
            size: record.diff_size.and_then(|size| u64::try_from(size).ok()),
            split,
            roots,
        })
    }

    /// Writes a layer's uncompressed archive as it once came, and returns its length in
    /// bytes.
    ///
    /// # Errors
    /// As [`Store::open_layer`] and [`LayerSource::write_to`].
    pub fn export_layer(&self, layer: &LayerId, out: impl Write) -> Result<u64> {
        self.open_layer(layer)?.write_to(out)
    }
}

impl Inner {
    /// How staged changes mark removals; vfs stages changes too and applies them later.
    fn tree_flavour(&self) -> Flavour {
        match self.flavour() {
            XattrFlavour::Trusted => Flavour::OverlayTrusted,
            XattrFlavour::User => Flavour::OverlayUser,
        }
    }

    /// The directory whose owner and mode are those of a layer's root.
    pub(crate) fn root_dir(&self, layer: &LayerId) -> Result<PathBuf> {
        let dir = self.home_of(layer)?.join(layer);
        Ok(match self.driver {
            DriverName::Overlay => dir.join("diff"),
            DriverName::Vfs => dir,
        })
    }

    /// The tar-split of a layer, here or in the additional store that has the layer.
    fn tar_split_of(&self, layer: &LayerId) -> Result<PathBuf> {
        let home = self.home_of(layer)?;
        let name = format!("{layer}.tar-split.gz");
        Ok(self
            .others
            .iter()
            .find(|other| other.home == home)
            .map_or_else(
                || self.tar_split_path(layer),
                |other| other.layers_dir.join(name),
            ))
    }
}

fn new_file(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)
}

fn blob_of(extracted: &Extracted) -> Option<Blob> {
    let compression = match extracted.compression {
        Compression::None => return None,
        Compression::Gzip => BlobCompression::Gzip,
        Compression::Bzip2 => BlobCompression::Bzip2,
        Compression::Xz => BlobCompression::Xz,
        Compression::Zstd => BlobCompression::Zstd,
    };
    Some(Blob {
        digest: extracted.blob_digest.clone(),
        size: extracted.blob_size,
        compression,
    })
}

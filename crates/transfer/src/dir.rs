//! `dir:`: a directory of files named by digest, for looking at and for handing on unchanged.
//!
//! Signature files are neither read nor written.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use model::manifest::MANIFEST_MAX;
use model::{Digest, ImageId, Platform, digest::Algorithm};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{open_stream, read_limited, spool, write_whole};
use crate::sink::{Finished, Incoming, Landed, Lanes, Sink, Wish};
use crate::source::{Blobs, Documents, Layers, Offered, Opened, parse, resolve};

const VERSION: &str = "Directory Transport Version: 1.1\n";
const VERSION_1_2: &str = "Directory Transport Version: 1.2\n";
const VERSION_PREFIX: &str = "Directory Transport Version: 1.";
const VERSION_MAX: u64 = 256;

fn blob_name(digest: &Digest) -> String {
    match digest.algorithm() {
        Algorithm::Sha256 => digest.hex().to_owned(),
        other => format!("{}-{}", other.name(), digest.hex()),
    }
}

struct Directory(PathBuf);

impl Blobs for Directory {
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        read_limited(
            &self.0.join(format!("{}.manifest.json", blob_name(digest))),
            limit,
        )
    }

    fn config(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        read_limited(&self.0.join(blob_name(digest)), limit)
    }
}

struct DirLayers {
    path: PathBuf,
    digests: Vec<Digest>,
}

impl Layers for DirLayers {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(open_stream(
            &self.path.join(blob_name(&self.digests[index])),
        )?))
    }
}

/// Opens the image in a directory.
pub(crate) fn open(label: &str, path: &Path, platform: &Platform) -> Result<Opened<'static>> {
    let bytes = read_limited(&path.join("manifest.json"), MANIFEST_MAX as u64)?;
    let top = parse(label, bytes)?;
    let blobs = Directory(path.to_owned());
    let Documents {
        manifest,
        list,
        config,
        offered,
    } = resolve(label, top, platform, &blobs)?;
    let digests = offered
        .iter()
        .map(|layer: &Offered| layer.descriptor.digest.clone())
        .collect();
    Ok(Opened {
        place: label.to_owned(),
        manifest,
        list,
        config,
        offered,
        names: Vec::new(),
        layers: Box::new(DirLayers {
            path: path.to_owned(),
            digests,
        }),
    })
}

/// A directory being written.
pub(crate) struct DirSink {
    path: PathBuf,
    wish: Wish,
    /// Files of an image that was there before.
    old: Vec<PathBuf>,
}

impl DirSink {
    /// Starts writing into a directory, which must be missing, empty, or hold an image already.
    pub(crate) fn create(path: &Path, wish: Wish) -> Result<Self> {
        fs::create_dir_all(path).at("create the directory", path)?;
        let mut old = Vec::new();
        for entry in fs::read_dir(path).at("read the directory", path)? {
            old.push(entry.at("read the directory", path)?.path());
        }
        if !old.is_empty() {
            let refused = TransferError::NotImageDirectory {
                path: path.to_owned(),
            };
            let version = path.join("version");
            if !old.contains(&version) {
                return Err(refused);
            }
            let version = read_limited(&version, VERSION_MAX).map_err(|_| refused)?;
            let version = String::from_utf8_lossy(&version);
            if ![VERSION, VERSION_1_2].contains(&&*version) {
                return Err(if version.starts_with(VERSION_PREFIX) {
                    TransferError::DirectoryVersion {
                        path: path.to_owned(),
                        version: version.trim().to_owned(),
                    }
                } else {
                    TransferError::NotImageDirectory {
                        path: path.to_owned(),
                    }
                });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            wish,
            old,
        })
    }

    /// Removes what an earlier image left. Only now, so that a failed copy leaves that image whole.
    fn remove_old(&self, keep: &BTreeSet<PathBuf>) -> Result<()> {
        for path in self.old.iter().filter(|path| !keep.contains(*path)) {
            let removed = match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
                Ok(_) => fs::remove_file(path),
                Err(err) => Err(err),
            };
            match removed {
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                other => other.at("remove", path)?,
            }
        }
        Ok(())
    }
}

impl Sink for DirSink {
    fn wish(&self) -> Wish {
        self.wish
    }

    fn lanes(&self) -> Lanes {
        Lanes::Many
    }

    fn takes_artifacts(&self) -> bool {
        true
    }

    fn reuse(&self, _index: usize, _offered: &Offered) -> Result<Option<Landed>> {
        Ok(None)
    }

    fn put_layer(&self, _index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let compression = layer.landing();
        let spooled = spool(&mut *layer.reader, layer.encoding, &self.path)?;
        layer.check(&spooled.digest, spooled.size)?;
        // Bytes that go through unchanged keep the name that the manifest has for them.
        let (digest, size) = layer
            .blob
            .unwrap_or_else(|| (spooled.digest.clone(), spooled.size));
        spooled.publish(&self.path.join(blob_name(&digest)))?;
        Ok(Landed {
            digest,
            size,
            compression,
        })
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        let manifest = finished.manifest.manifest();
        let digests = || {
            manifest
                .layers
                .iter()
                .chain([&manifest.config])
                .map(|descriptor| &descriptor.digest)
        };
        let version = match digests().all(|digest| digest.algorithm() == Algorithm::Sha256) {
            true => VERSION,
            false => VERSION_1_2,
        };
        write_whole(
            &self.path.join(blob_name(&manifest.config.digest)),
            finished.config,
        )?;
        write_whole(&self.path.join("version"), version.as_bytes())?;
        write_whole(&self.path.join("manifest.json"), finished.manifest.bytes())?;
        let mut keep: BTreeSet<PathBuf> = digests()
            .map(|digest| self.path.join(blob_name(digest)))
            .collect();
        keep.extend(["version", "manifest.json"].map(|name| self.path.join(name)));
        self.remove_old(&keep)?;
        Ok(None)
    }
}

//! `dir:`: a directory of files named by digest, for looking at and for handing on unchanged, signatures included.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archive::VerifiedReader;
use model::manifest::MANIFEST_MAX;
use model::{Descriptor, Digest, Document, ImageId, RawIndex, digest::Algorithm};
use trust::{ClaimKind, Signature};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{open_stream, read_limited, spool, write_whole};
use crate::schema1;
use crate::signatures::{Candidate, Guard, SignatureFiles, SignaturesError, read_files};
use crate::sink::{Finished, Incoming, Landed, Lanes, Role, Sink, Wish};
use crate::source::{Blobs, Library, Offered, parse};

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

struct Directory {
    path: PathBuf,
    /// The digest of what the directory's name leads to.
    top: Digest,
}

impl Directory {
    /// Opens a blob whose size nobody has said; its end is one only if all of it was right.
    fn verified(&self, digest: &Digest) -> Result<Box<dyn Read + Send + '_>> {
        let file = open_stream(&self.path.join(blob_name(digest)))?;
        Ok(Box::new(VerifiedReader::new(file, digest.clone(), None)))
    }
}

impl Blobs for Directory {
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        read_limited(
            &self
                .path
                .join(format!("{}.manifest.json", blob_name(digest))),
            limit,
        )
    }

    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        read_limited(&self.path.join(blob_name(&config.digest)), limit)
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(open_stream(
            &self.path.join(blob_name(&layer.digest)),
        )?))
    }

    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        let files = if *manifest == self.top {
            SignatureFiles::Top
        } else {
            SignatureFiles::Member
        };
        read_files(files, &self.path, manifest)
    }
}

/// Opens what is in a directory. `temporary` is one for large files.
pub(crate) fn open(
    label: &str,
    path: &Path,
    guard: &Guard,
    temporary: &Path,
) -> Result<Library<'static>> {
    let bytes = read_limited(&path.join("manifest.json"), MANIFEST_MAX as u64)?;
    let payload = schema1::payload(&bytes);
    let directory = Directory {
        path: path.to_owned(),
        top: Digest::sha256(payload.as_ref().unwrap_or(&bytes)),
    };
    let (top, blobs, guard): (_, Arc<dyn Blobs>, _) = match payload {
        None => (parse(label, bytes)?, Arc::new(directory), guard.clone()),
        Some(payload) => {
            let candidate = Candidate {
                digest: directory.top.clone(),
                manifest: &payload,
                signatures: &|digest| directory.signatures(digest),
            };
            let fetch = |digest: &Digest| directory.verified(digest);
            let (converted, guard) = schema1::admit(label, &candidate, guard, &fetch, temporary)?;
            let document = Document::Manifest(converted.manifest.clone());
            (document, Arc::new(converted), guard)
        }
    };
    Ok(Library {
        place: label.to_owned(),
        guard,
        top,
        names: Vec::new(),
        blobs,
    })
}

/// A directory being written.
pub(crate) struct DirSink {
    path: PathBuf,
    wish: Wish,
    /// Files of an image that was there before.
    old: Vec<PathBuf>,
    /// What belongs to the images of a list.
    written: Mutex<BTreeSet<PathBuf>>,
    /// The signatures of the images of a list.
    signed: Mutex<BTreeSet<PathBuf>>,
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
        if old.is_empty() {
            // Without it the next copy would not know whose these files are if this one is killed.
            write_whole(&path.join("version"), VERSION.as_bytes())?;
        }
        Ok(Self {
            path: path.to_owned(),
            wish,
            old,
            written: Mutex::default(),
            signed: Mutex::default(),
        })
    }

    fn written(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signed(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the document that a reader begins with, and leaves nothing else but what it needs.
    fn publish(&self, top: &[u8], signatures: &[Signature]) -> Result<()> {
        let mut keep = std::mem::take(&mut *self.written());
        // Only the digests of other algorithms have a hyphen in their files' names.
        let old = keep.iter().all(|path| {
            path.file_name()
                .is_none_or(|name| !name.to_string_lossy().contains('-'))
        });
        let version = if old { VERSION } else { VERSION_1_2 };
        write_whole(&self.path.join("version"), version.as_bytes())?;
        write_whole(&self.path.join("manifest.json"), top)?;
        keep.extend(["version", "manifest.json"].map(|name| self.path.join(name)));
        keep.append(&mut std::mem::take(&mut *self.signed()));
        let digest = Digest::sha256(top);
        keep.extend(SignatureFiles::Top.write(&self.path, &digest, signatures)?);
        self.remove_old(&keep)
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
        let spooled = spool(&mut *layer.reader, layer.packing, &self.path)?;
        layer.check(&spooled.digest, spooled.size)?;
        // Bytes that go through unchanged keep the name that the manifest has for them.
        let (digest, size) = layer
            .blob
            .unwrap_or_else(|| (spooled.digest.clone(), spooled.size));
        let annotations = spooled.annotations.clone();
        spooled.publish(&self.path.join(blob_name(&digest)))?;
        let mut landed = Landed::new(digest, size, compression);
        landed.annotations = annotations;
        Ok(landed)
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        let manifest = finished.manifest.manifest();
        write_whole(
            &self.path.join(blob_name(&manifest.config.digest)),
            finished.config,
        )?;
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        self.written()
            .extend(blobs.map(|blob| self.path.join(blob_name(&blob.digest))));
        if finished.role == Role::Instance {
            let digest = finished.manifest.digest();
            let name = format!("{}.manifest.json", blob_name(&digest));
            let path = self.path.join(name);
            write_whole(&path, finished.manifest.bytes())?;
            self.written().insert(path);
            let files = SignatureFiles::Member.write(&self.path, &digest, finished.signatures)?;
            self.signed().extend(files);
        } else {
            self.publish(finished.manifest.bytes(), finished.signatures)?;
        }
        Ok(None)
    }

    fn check_signatures(&self, _kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        Ok(())
    }

    fn finish_list(&self, list: &RawIndex, signatures: &[Signature]) -> Result<()> {
        self.publish(list.bytes(), signatures)
    }
}

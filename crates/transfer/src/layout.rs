//! OCI image layouts: directories with `oci-layout`, `index.json` and `blobs/`.
//!
//! Names in a layout are data; the only paths made are `blobs/<algorithm>/<hex>` of parsed digests. Blobs that nobody
//! refers to any more are never deleted, as with the other tools.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use archive::Compression;
use model::event::BlobOutcome;
use model::manifest::MANIFEST_MAX;
use model::{
    Descriptor, Digest, ImageId, Index, Manifest, ManifestFormat, RawIndex, RawManifest, Reference,
};
use serde::Deserialize;
use trust::{ClaimKind, Signature};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{Spooled, open_stream, parent, read_limited, spool, write_whole};
use crate::signatures::{Guard, NoRoom, SignaturesError};
use crate::sink::{Finished, Incoming, Landed, Lanes, Role, Sink, Wish, declared_compression};
use crate::source::{Blobs, Library, Offered, parse};
use crate::transport::Pick;
use crate::unfinished;

/// What `oci-layout` says.
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation of an entry's name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that containerd and docker give an entry's full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const LAYOUT_MAX: u64 = 4096;
/// Where new blobs go.
const BLOBS: &str = "blobs/sha256";

/// Where the parts of a layout are: a directory or an archive.
pub(crate) trait Place: Send + Sync {
    /// The directory or archive, for messages.
    fn path(&self) -> &Path;
    /// Reads a small file by its path in the layout.
    fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>>;
    /// Opens a file by its path in the layout.
    fn stream(&self, name: &str) -> Result<Box<dyn Read + Send + '_>>;
}

/// A layout that is a directory.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Place for Directory {
    fn path(&self) -> &Path {
        &self.0
    }

    fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        read_limited(&self.0.join(name), limit)
    }

    fn stream(&self, name: &str) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(open_stream(&self.0.join(name))?))
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

struct InPlace<'a>(Box<dyn Place + 'a>);

impl Blobs for InPlace<'_> {
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        self.0.small(&blob_name(digest), limit)
    }

    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        self.0.small(&blob_name(&config.digest), limit)
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        self.0.stream(&blob_name(&layer.digest))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

/// Which tool's rule gives a pulled image its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `oci:`: the reference as a name of Docker's.
    Directory,
    /// `oci-archive:`: annotations, as a local name.
    Archive,
}

/// Opens an entry of a layout.
pub(crate) fn open<'a>(
    label: &str,
    place: Box<dyn Place + 'a>,
    pick: &Pick,
    naming: Naming,
) -> Result<Library<'a>> {
    let index = read_index(&*place)?;
    let entry = pick_entry(&index, pick, place.path())?;
    let names = names(entry, pick, naming)?;
    let bytes = place.small(&blob_name(&entry.digest), MANIFEST_MAX as u64)?;
    crate::source::check_document("manifest", &bytes, entry)?;
    Ok(Library {
        place: label.to_owned(),
        guard: Guard::Unasked,
        top: parse(label, bytes)?,
        names,
        blobs: Arc::new(InPlace(place)),
    })
}

fn read_index(place: &dyn Place) -> Result<Index> {
    let not_layout = || TransferError::NotLayout {
        path: place.path().to_owned(),
    };
    let marker = place.small("oci-layout", LAYOUT_MAX)?;
    let marker: LayoutFile = serde_json::from_slice(&marker).map_err(|_| not_layout())?;
    if !marker.image_layout_version.starts_with("1.") {
        return Err(not_layout());
    }
    let bytes = place.small("index.json", MANIFEST_MAX as u64)?;
    serde_json::from_slice(&bytes).map_err(|source| TransferError::Json {
        path: place.path().join("index.json"),
        source,
    })
}

fn ref_name(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

fn pick_entry<'a>(index: &'a Index, pick: &Pick, path: &Path) -> Result<&'a Descriptor> {
    let entries = &index.manifests;
    match pick {
        Pick::Only => match entries.as_slice() {
            [] => Err(TransferError::EmptyLayout {
                path: path.to_owned(),
            }),
            [one] => Ok(one),
            _ => Err(TransferError::SeveralInLayout),
        },
        Pick::Named(name) => entries
            .iter()
            .find(|entry| ref_name(entry) == Some(name))
            .ok_or_else(|| TransferError::NoSuchReference { name: name.clone() }),
        Pick::At(at) => entries.get(*at).ok_or(TransferError::NoSuchEntry {
            index: *at,
            count: entries.len(),
        }),
    }
}

fn names(entry: &Descriptor, pick: &Pick, naming: Naming) -> Result<Vec<String>> {
    let parsed = match (naming, pick) {
        (Naming::Directory, Pick::Named(name)) => Some((
            name.as_str(),
            Reference::parse_normalized(name).map(Reference::with_default_tag),
        )),
        (Naming::Directory, _) => None,
        (Naming::Archive, _) => entry
            .annotations
            .get(CONTAINERD_NAME)
            .map(String::as_str)
            .or_else(|| ref_name(entry))
            .filter(|name| !name.is_empty())
            .map(|name| (name, Reference::parse_local(name))),
    };
    match parsed {
        None => Ok(Vec::new()),
        Some((_, Ok(name))) => Ok(vec![name.to_string()]),
        Some((name, Err(source))) => Err(TransferError::Name {
            name: name.to_owned(),
            source,
        }),
    }
}

/// A layout being written.
pub(crate) struct LayoutSink {
    path: PathBuf,
    name: Option<String>,
    // Guards the making of blob directories by several layers at once.
    made: Mutex<bool>,
}

impl LayoutSink {
    /// Starts writing into a directory, which is made if it is missing.
    pub(crate) fn create(place: &str, path: &Path, pick: &Pick) -> Result<Self> {
        let name = match pick {
            Pick::Only => None,
            Pick::Named(name) => Some(name.clone()),
            Pick::At(_) => {
                return Err(TransferError::ReadOnly {
                    place: place.to_owned(),
                });
            }
        };
        fs::create_dir_all(path).at("create the directory", path)?;
        for directory in [path, &path.join(BLOBS)] {
            unfinished::reap(directory);
        }
        Ok(Self {
            path: path.to_owned(),
            name,
            made: Mutex::new(false),
        })
    }

    /// Opens a layout that is there, to add to it without a name.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        read_index(&Directory(path.to_owned()))?;
        Self::create("oci:", path, &Pick::Only)
    }

    /// The directory of blobs, which is made if it is missing.
    pub(crate) fn blobs(&self) -> Result<PathBuf> {
        let directory = self.path.join(BLOBS);
        let mut made = self
            .made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*made {
            fs::create_dir_all(&directory).at("create the directory", &directory)?;
            *made = true;
        }
        Ok(directory)
    }

    /// Stores a small blob.
    pub(crate) fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        let path = self.blobs()?.join(digest.hex());
        write_whole(&path, bytes)?;
        Ok(digest)
    }

    /// Gives a blob that was written here its name.
    pub(crate) fn publish(&self, spooled: Spooled) -> Result<()> {
        let path = self.blobs()?.join(spooled.digest.hex());
        spooled.publish(&path)
    }

    /// Enters what the layout's name leads to.
    pub(crate) fn enter(&self, mut entry: Descriptor) -> Result<()> {
        if let Some(name) = &self.name {
            entry.annotations.insert(REF_NAME.to_owned(), name.clone());
        }
        self.update_index(entry)
    }

    fn update_index(&self, entry: Descriptor) -> Result<()> {
        let _lock = lock(&self.path)?;
        let path = self.path.join("index.json");
        let mut index = match fs::symlink_metadata(&path) {
            // containers/image leaves the index's own type out.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Index {
                media_type: String::new(),
                ..Index::new(ManifestFormat::Oci, Vec::new())
            },
            _ => read_index(&Directory(self.path.clone()))?,
        };
        add_entry(&mut index.manifests, entry);
        write_whole(&self.path.join("oci-layout"), LAYOUT)?;
        write_whole(&path, &index.to_bytes())
    }
}

/// Keeps other writers away: two of one layout would lose one of the entries.
fn lock(path: &Path) -> Result<File> {
    let directory = File::open(path).at("open", path)?;
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)
        .map_err(std::io::Error::from)
        .at("lock", path)?;
    Ok(directory)
}

/// Changes the manifest that is a layout's only one, and removes the old one. Returns the new one's digest.
pub(crate) fn change_manifest(
    path: &Path,
    change: impl FnOnce(&mut Manifest) -> Result<()>,
) -> Result<Digest> {
    let _lock = lock(path)?;
    let place = Directory(path.to_owned());
    let mut index = read_index(&place)?;
    let entry = pick_entry(&index, &Pick::Only, path)?;
    let old = place.path().join(blob_name(&entry.digest));
    let bytes = read_limited(&old, MANIFEST_MAX as u64)?;
    crate::source::check_document("manifest", &bytes, entry)?;
    let parsed = RawManifest::parse(bytes).map_err(|source| TransferError::Manifest {
        place: format!("oci:{}", path.display()),
        source,
    })?;
    let mut manifest = parsed.manifest().clone();
    change(&mut manifest)?;
    let bytes = manifest.to_bytes();
    let digest = Digest::sha256(&bytes);
    let new = place.path().join(blob_name(&digest));
    write_whole(&new, &bytes)?;
    for entry in &mut index.manifests {
        entry.digest = digest.clone();
        entry.size = bytes.len() as u64;
    }
    write_whole(&path.join("index.json"), &index.to_bytes())?;
    if old != new {
        fs::remove_file(&old).at("remove", &old)?;
    }
    Ok(digest)
}

/// Adds an entry as containers/image does: an older one of the same name loses it, an unnamed one of the same digest is
/// replaced, and all others stay.
fn add_entry(entries: &mut Vec<Descriptor>, new: Descriptor) {
    if let Some(name) = ref_name(&new)
        && let Some(old) = entries
            .iter_mut()
            .find(|entry| ref_name(entry) == Some(name))
    {
        old.annotations.remove(REF_NAME);
    }
    match entries
        .iter_mut()
        .find(|entry| entry.digest == new.digest && ref_name(entry).is_none())
    {
        Some(same) => *same = new,
        None => entries.push(new),
    }
}

impl Sink for LayoutSink {
    fn wish(&self) -> Wish {
        Wish::Compress
    }

    fn lanes(&self) -> Lanes {
        Lanes::Many
    }

    fn takes_artifacts(&self) -> bool {
        true
    }

    fn leaves_foreign(&self) -> bool {
        true
    }

    fn reuse(&self, _index: usize, offered: &Offered) -> Result<Option<Landed>> {
        // A file of that name could be anything; only a compressed layer that need not change can be compared cheaply.
        let compression = declared_compression(&offered.descriptor.media_type);
        if compression == Compression::None {
            return Ok(None);
        }
        let (digest, size) = (&offered.descriptor.digest, offered.descriptor.size);
        let path = self.path.join(blob_name(digest));
        if !path.is_file() {
            return Ok(None);
        }
        let mut reader =
            archive::VerifiedReader::new(open_stream(&path)?, digest.clone(), Some(size));
        Ok(std::io::copy(&mut reader, &mut std::io::sink())
            .is_ok()
            .then(|| Landed::new(digest.clone(), size, compression).by(BlobOutcome::AlreadyThere)))
    }

    fn put_layer(&self, _index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let directory = self.blobs()?;
        let compression = layer.landing();
        let spooled = spool(&mut *layer.reader, layer.packing, &directory)?;
        layer.check(&spooled.digest, spooled.size)?;
        let (digest, size) = layer
            .blob
            .unwrap_or_else(|| (spooled.digest.clone(), spooled.size));
        let annotations = spooled.annotations.clone();
        let mut landed = Landed::new(digest, size, compression);
        landed.annotations = annotations;
        let path = self.path.join(blob_name(&landed.digest));
        fs::create_dir_all(parent(&path)).at("create the directory", &path)?;
        spooled.publish(&path)?;
        Ok(landed)
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        self.put_bytes(finished.config)?;
        let digest = self.put_bytes(finished.manifest.bytes())?;
        if finished.role == Role::Single {
            let size = finished.manifest.bytes().len() as u64;
            let kind = finished.manifest.format().manifest_type();
            self.enter(Descriptor::new(kind, digest, size))?;
        }
        Ok(None)
    }

    fn check_signatures(&self, _kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        Err(NoRoom::Oci.into())
    }

    fn finish_list(&self, list: &RawIndex, _signatures: &[Signature]) -> Result<()> {
        let digest = self.put_bytes(list.bytes())?;
        let size = list.bytes().len() as u64;
        let kind = list.index().format().index_type();
        self.enter(Descriptor::new(kind, digest, size))
    }
}

#[cfg(test)]
mod tests {
    use model::media_type;

    use super::*;

    #[test]
    fn entries_move_their_names() {
        let entry = |content: &str, name: Option<&str>| {
            let mut entry = Descriptor::new(
                media_type::OCI_MANIFEST,
                Digest::sha256(content.as_bytes()),
                1,
            );
            entry
                .annotations
                .extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
            entry
        };
        let mut entries = Vec::new();
        for (content, name) in [
            ("a", Some("t")),
            ("b", Some("t")),
            ("a", Some("u")),
            ("c", None),
            ("c", None),
        ] {
            add_entry(&mut entries, entry(content, name));
        }
        assert_eq!(
            entries,
            [
                entry("a", Some("u")),
                entry("b", Some("t")),
                entry("c", None)
            ]
        );
    }
}

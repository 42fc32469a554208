//! Lists of images: copied whole, in part, or put together from members that lie in many places.
//!
//! Every image goes as any other does, but is published by its digest only; the list follows when all of them are there.
//! Entries say what their images became; a list of which nothing changed keeps its bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use model::media_type::{LayerCompression, LayerType};
use model::{
    Descriptor, Digest, Document, Event, Index, ManifestFormat, Platform, RawIndex, RawManifest,
    Reporter,
};
use store::Store;
use trust::Signature;

use crate::compression::CompressionFormat;
use crate::copy::{Copied, CopyOptions, CopyScope, abilities, create, open, retrying};
use crate::error::{Attempt, Attempts, IoContext as _, Result, TransferError};
use crate::files::read_limited;
use crate::mover::Mover;
use crate::plan::{Abilities, Plan};
use crate::signatures::{self, Carried, Guard, Permit, SignaturesError};
use crate::sink::{Role, Sink};
use crate::source::{Blobs, Library, Opened, Source};
use crate::transport::TransportRef;

/// Says in a list that an image's layers are zstd.
const ZSTD_ANNOTATION: &str = "io.github.containers.compression.zstd";

/// A list with the places of its members.
#[derive(Clone, Debug)]
pub struct ListSource {
    /// The list.
    pub index: RawIndex,
    /// Where each member is, by the digest in its entry.
    pub members: BTreeMap<Digest, Member>,
}

/// Where a member of a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// An image in some place; of a list there, the image with the entry's digest.
    Place(TransportRef),
    /// An artifact made of files.
    Artifact {
        /// Its manifest's bytes.
        manifest: Vec<u8>,
        /// Its config and layers.
        blobs: BTreeMap<Digest, BlobAt>,
    },
}

/// Where a blob of an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobAt {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// What the copy of a list has made.
#[derive(Clone, Debug)]
pub struct CopiedList {
    /// The list at the destination.
    pub index: RawIndex,
    /// Its digest.
    pub digest: Digest,
}

/// Copies a list that was put together here: all members, some of them, or with [`CopyScope::System`] none.
///
/// # Errors
/// See [`TransferError`]; the list is not published then, although some of its images may have arrived.
pub fn copy_list(
    list: &ListSource,
    destination: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<CopiedList> {
    retrying(options, reporter, || {
        let members = Members {
            members: &list.members,
            store,
            options,
        };
        let wanted = match &options.scope {
            CopyScope::System => Vec::new(),
            CopyScope::All => all(list.index.index()),
            CopyScope::Instances(digests) => some(list.index.index(), digests)?,
        };
        let target = Target::open(destination, store, options)?;
        let index = ListCopy {
            list: &list.index,
            instances: &members,
            options,
            reporter,
        }
        .run(&wanted, &target)?
        .0;
        Ok(CopiedList {
            digest: index.digest(),
            index,
        })
    })
}

/// Copies the list that a place has, or its only image if it has no list.
pub(crate) fn copy_library(
    library: &Library<'_>,
    destination: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Copied> {
    let Document::Index(list) = &library.top else {
        if !options.add_compression.is_empty() {
            return Err(TransferError::VariantsWithoutList);
        }
        let image = library.choose(&options.platform)?;
        return crate::copy::copy_image(&image, destination, store, options, reporter);
    };
    let wanted = match &options.scope {
        CopyScope::System | CopyScope::All => all(list.index()),
        CopyScope::Instances(digests) => some(list.index(), digests)?,
    };
    let target = Target::open(destination, store, options)?;
    let (list, first) = ListCopy {
        list,
        instances: library,
        options,
        reporter,
    }
    .run(&wanted, &target)?;
    let manifest = first.ok_or_else(|| TransferError::EmptyList {
        place: library.place.clone(),
    })?;
    Ok(Copied {
        manifest,
        digest: list.digest(),
        list: Some(list),
        image: None,
        names: Vec::new(),
    })
}

fn all(index: &Index) -> Vec<usize> {
    (0..index.manifests.len()).collect()
}

fn some(index: &Index, digests: &[Digest]) -> Result<Vec<usize>> {
    for digest in digests {
        if !index.manifests.iter().any(|entry| entry.digest == *digest) {
            return Err(TransferError::NoSuchInstance {
                digest: digest.clone(),
            });
        }
    }
    let listed = index.manifests.iter().enumerate();
    Ok(listed
        .filter(|(_, entry)| digests.contains(&entry.digest))
        .map(|(at, _)| at)
        .collect())
}

/// Where the images of a list are found.
trait Instances {
    /// Opens the image of an entry for as long as `work` takes.
    fn with(
        &self,
        entry: &Descriptor,
        work: &mut dyn FnMut(&Opened<'_>) -> Result<()>,
    ) -> Result<()>;
    /// The signatures of the list itself.
    fn signatures(&self, list: &Digest) -> std::result::Result<Vec<Signature>, SignaturesError> {
        let _ = list;
        Ok(Vec::new())
    }
}

impl Instances for Library<'_> {
    fn with(
        &self,
        entry: &Descriptor,
        work: &mut dyn FnMut(&Opened<'_>) -> Result<()>,
    ) -> Result<()> {
        work(&self.instance(entry)?)
    }

    fn signatures(&self, list: &Digest) -> std::result::Result<Vec<Signature>, SignaturesError> {
        self.blobs.signatures(list)
    }
}

/// Members in many places.
struct Members<'a> {
    members: &'a BTreeMap<Digest, Member>,
    store: Option<&'a Store>,
    options: &'a CopyOptions,
}

impl Instances for Members<'_> {
    fn with(
        &self,
        entry: &Descriptor,
        work: &mut dyn FnMut(&Opened<'_>) -> Result<()>,
    ) -> Result<()> {
        let absent = || TransferError::NoSuchInstance {
            digest: entry.digest.clone(),
        };
        match self.members.get(&entry.digest).ok_or_else(absent)? {
            Member::Place(place) => match open(place, self.store, self.options)? {
                Source::Image(image) => {
                    if !entry.digest.verify(image.manifest.bytes()) {
                        return Err(absent());
                    }
                    work(&image)
                }
                Source::Library(library) => work(&library.instance(entry)?),
            },
            Member::Artifact { manifest, blobs } => {
                let library = Library {
                    place: entry.digest.to_string(),
                    guard: Guard::Passed(Permit::default()),
                    top: crate::source::parse(entry.digest.as_str(), manifest.clone())?,
                    names: Vec::new(),
                    blobs: Arc::new(Scattered { manifest, blobs }),
                };
                work(&library.instance(entry)?)
            }
        }
    }
}

/// An artifact's blobs, wherever they are.
struct Scattered<'a> {
    manifest: &'a [u8],
    blobs: &'a BTreeMap<Digest, BlobAt>,
}

impl Scattered<'_> {
    fn find(&self, digest: &Digest) -> Result<&BlobAt> {
        self.blobs.get(digest).ok_or_else(|| TransferError::NoBlob {
            digest: digest.clone(),
        })
    }
}

impl Blobs for Scattered<'_> {
    fn manifest(&self, _digest: &Digest, _limit: u64) -> Result<Vec<u8>> {
        Ok(self.manifest.to_vec())
    }

    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        match self.find(&config.digest)? {
            BlobAt::File(path) => read_limited(path, limit),
            BlobAt::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        Ok(match self.find(&layer.digest)? {
            BlobAt::File(path) => Box::new(BufReader::new(File::open(path).at("open", path)?)),
            BlobAt::Bytes(bytes) => Box::new(&bytes[..]),
        })
    }
}

/// A destination for a list.
struct Target<'a> {
    place: String,
    signed: signatures::Target,
    abilities: &'static Abilities,
    sink: Box<dyn Sink + 'a>,
}

impl<'a> Target<'a> {
    fn open(
        destination: &TransportRef,
        store: Option<&Store>,
        options: &'a CopyOptions,
    ) -> Result<Self> {
        let abilities = abilities(destination);
        if !abilities.lists {
            return Err(TransferError::NoLists {
                transport: destination.transport(),
            });
        }
        Ok(Self {
            place: destination.to_string(),
            signed: signatures::Target::of(destination),
            abilities,
            sink: create(destination, store, None, options)?,
        })
    }
}

/// One image to be written for a list.
#[derive(Clone, Copy)]
struct Task {
    /// Its entry's position.
    at: usize,
    /// The compression that it is to have besides its own.
    added: Option<CompressionFormat>,
}

/// One list under way.
struct ListCopy<'a> {
    list: &'a RawIndex,
    instances: &'a dyn Instances,
    options: &'a CopyOptions,
    reporter: &'a dyn Reporter,
}

impl ListCopy<'_> {
    /// Copies the images at these positions and then the list; returns it with the manifest of the first image.
    fn run(
        &self,
        wanted: &[usize],
        target: &Target<'_>,
    ) -> Result<(RawIndex, Option<RawManifest>)> {
        let carried = Carried::of_list(
            || self.instances.signatures(&self.list.digest()),
            target.signed.clone(),
            &*target.sink,
            &self.options.signatures,
            self.reporter,
        )?;
        let tasks = self.tasks(wanted)?;
        self.reporter.event(Event::CopyingList {
            copied: tasks.len(),
            listed: self.list.index().manifests.len(),
        });
        let mut entries = self.list.index().manifests.clone();
        let mut first = None;
        for (number, task) in tasks.iter().enumerate() {
            let manifest = self
                .copy_one(number + 1, tasks.len(), *task, target)
                .map_err(|source| TransferError::Instance {
                    number: number + 1,
                    count: tasks.len(),
                    source: Box::new(source),
                })?;
            let entry = described(&self.list.index().manifests[task.at], &manifest);
            if task.added.is_none() {
                entries[task.at] = entry;
            } else if !entries.iter().any(|known| known.digest == entry.digest) {
                entries.push(entry);
            }
            first.get_or_insert(manifest);
        }
        self.reporter.event(Event::WritingList);
        let list = self.publish(&entries, target, &carried)?;
        self.reporter.event(Event::StoringListSignatures);
        Ok((list, first))
    }

    /// Every wanted image as it is, then those that are to be there in another compression, too.
    fn tasks(&self, wanted: &[usize]) -> Result<Vec<Task>> {
        let mut tasks: Vec<Task> = wanted.iter().map(|&at| Task { at, added: None }).collect();
        for added in &self.options.add_compression {
            if matches!(added, CompressionFormat::Bzip2 | CompressionFormat::Xz) {
                return Err(TransferError::NoReplication { name: added.name() });
            }
            let manifests = &self.list.index().manifests;
            let has = |entry: &Descriptor| -> CompressionFormat {
                match (self.options.compression, is_zstd(entry)) {
                    (Some(compression), _) => compression,
                    (None, true) => CompressionFormat::Zstd,
                    (None, false) => CompressionFormat::Gzip,
                }
            };
            // What the list has for a machine already need not be added.
            let there = |platform: &Option<Platform>| {
                manifests
                    .iter()
                    .any(|entry| entry.platform == *platform && same_kind(has(entry), *added))
            };
            for &at in wanted {
                let entry = &manifests[at];
                if entry.platform.is_some() && !there(&entry.platform) {
                    tasks.push(Task {
                        at,
                        added: Some(*added),
                    });
                }
            }
        }
        Ok(tasks)
    }

    fn copy_one(
        &self,
        number: usize,
        count: usize,
        task: Task,
        target: &Target<'_>,
    ) -> Result<RawManifest> {
        let entry = &self.list.index().manifests[task.at];
        let digest = entry.digest.clone();
        self.reporter.event(match task.added {
            None => Event::CopyingInstance {
                digest,
                number,
                count,
            },
            Some(_) => Event::ReplicatingInstance {
                digest,
                number,
                count,
            },
        });
        let mut options = self.options.clone();
        if let Some(added) = task.added {
            options.compression = Some(added);
            options.force_compression = true;
            options.level = None;
        }
        let mut result = None;
        self.instances.with(entry, &mut |opened| {
            let mut plan = Plan::new(opened, target.abilities, &target.place, &options)?;
            if target.sink.fixed_digest().is_some() {
                plan.keep(crate::plan::Keep::Digest)?;
            }
            let mover = Mover {
                opened,
                plan,
                sink: &*target.sink,
                target: target.signed.clone(),
                options: &options,
                reporter: self.reporter,
                role: Role::Instance,
            };
            result = Some(mover.run(Vec::new())?.manifest);
            Ok(())
        })?;
        result.ok_or(TransferError::GivenUp)
    }

    /// Writes the list, in another format if the destination rejects the first.
    fn publish(
        &self,
        entries: &[Descriptor],
        target: &Target<'_>,
        carried: &Carried<'_>,
    ) -> Result<RawIndex> {
        let own = self.list.index().format();
        let takes = target.abilities.formats;
        let mut formats = match self.options.format {
            Some(format) => vec![format],
            None if takes.contains(&own) => vec![own],
            None => Vec::new(),
        };
        let fixed = target.sink.fixed_digest();
        if self.options.format.is_none() && fixed.is_none() {
            let others = takes.iter().filter(|format| **format != own);
            formats.extend(others);
        }
        let mut attempts = Vec::new();
        for format in formats {
            let list = self.written(entries, format);
            if let Some(expected) = fixed.filter(|digest| !digest.verify(list.bytes())) {
                return Err(TransferError::OtherDigest {
                    expected: expected.clone(),
                    actual: list.digest(),
                });
            }
            if carried.binds() && list.bytes() != self.list.bytes() {
                let why = crate::plan::Keep::Signatures;
                return Err(TransferError::MustNotChange { why });
            }
            let signatures = carried.complete(&list.digest(), self.reporter)?;
            match target.sink.finish_list(&list, &signatures) {
                Ok(()) => return Ok(list),
                Err(error) if error.is_manifest_rejection() => attempts.push(Attempt {
                    manifest: format.index_type(),
                    error,
                }),
                Err(error) => return Err(error),
            }
        }
        Err(TransferError::AllFormats {
            what: "manifest list",
            attempts: Attempts(attempts),
        })
    }

    fn written(&self, entries: &[Descriptor], format: ManifestFormat) -> RawIndex {
        let old = self.list.index();
        if format == old.format() && entries == old.manifests {
            return self.list.clone();
        }
        let mut index = if format == old.format() {
            old.clone()
        } else {
            Index::new(format, Vec::new())
        };
        index.manifests = entries.to_vec();
        match format {
            ManifestFormat::Oci => index
                .manifests
                .iter_mut()
                .filter_map(|entry| entry.platform.as_mut())
                .for_each(|platform| platform.features.clear()),
            ManifestFormat::Docker => index.manifests.iter_mut().for_each(as_docker),
        }
        RawIndex::from_index(index)
    }
}

/// Leaves of an entry what Docker's lists know.
fn as_docker(entry: &mut Descriptor) {
    entry.annotations.clear();
    entry.artifact_type = None;
    entry.data = None;
    entry.extra.clear();
    entry.platform.get_or_insert_with(Platform::host);
}

fn same_kind(one: CompressionFormat, other: CompressionFormat) -> bool {
    use CompressionFormat::{Zstd, ZstdChunked};
    one == other || (matches!(one, ZstdChunked) && other == Zstd)
}

fn is_zstd(entry: &Descriptor) -> bool {
    entry
        .annotations
        .get(ZSTD_ANNOTATION)
        .is_some_and(|value| value == "true")
}

/// The entry of an image that has become `manifest`.
fn described(old: &Descriptor, manifest: &RawManifest) -> Descriptor {
    let digest = manifest.digest();
    if digest == old.digest {
        return old.clone();
    }
    let mut new = Descriptor {
        size: manifest.bytes().len() as u64,
        digest,
        ..old.clone()
    };
    manifest
        .format()
        .manifest_type()
        .clone_into(&mut new.media_type);
    let layers = &manifest.manifest().layers;
    let zstd = |layer: &Descriptor| {
        LayerType::parse(&layer.media_type)
            .is_some_and(|kind| kind.compression == LayerCompression::Zstd)
    };
    if !layers.is_empty() && layers.iter().all(zstd) {
        let (key, value) = (ZSTD_ANNOTATION.to_owned(), "true".to_owned());
        new.annotations.insert(key, value);
    } else {
        new.annotations.remove(ZSTD_ANNOTATION);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::media_type;

    fn manifest(layer_type: &str) -> RawManifest {
        let config = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(b"{}"), 2);
        let layer = Descriptor::new(layer_type, Digest::sha256(b"x"), 1);
        RawManifest::from_manifest(model::Manifest::new(
            ManifestFormat::Oci,
            config,
            vec![layer],
        ))
    }

    #[test]
    fn entries_say_what_images_became() {
        let gzip = manifest(media_type::OCI_LAYER_GZIP);
        let mut old = Descriptor::new(media_type::DOCKER_MANIFEST, Digest::sha256(b"old"), 3);
        old.platform = Some(Platform::new("linux", "arm64"));
        old.annotations
            .insert(ZSTD_ANNOTATION.to_owned(), "true".to_owned());
        let new = described(&old, &gzip);
        assert_eq!(new.digest, gzip.digest());
        assert_eq!(new.size, gzip.bytes().len() as u64);
        assert_eq!(new.media_type, media_type::OCI_MANIFEST);
        assert_eq!(new.platform, old.platform);
        assert!(!is_zstd(&new));
        assert!(is_zstd(&described(
            &new,
            &manifest(media_type::OCI_LAYER_ZSTD)
        )));
        assert_eq!(described(&new, &gzip), new);
    }
}

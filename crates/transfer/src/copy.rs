//! The one pipeline for images: open a source, see what the destination takes, move the layers, publish.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use archive::{Compression, VerifiedReader};
use model::digest::Algorithm;
use model::event::BlobOutcome;
use model::{
    Digest, Event, ImageId, ManifestFormat, Platform, RawManifest, Reference, Reporter, edit,
    media_type,
};
use store::Store;

use crate::dir::{self, DirSink};
use crate::docker_archive::DockerArchive;
use crate::docker_writer::DockerArchiveSink;
use crate::error::{Result, TransferError};
use crate::files::{CHUNK, Encoding};
use crate::layout::{self, Directory, LayoutSink, Naming};
use crate::manifest_update::updated;
use crate::oci_archive::{self, OciArchiveSink};
use crate::sink::{Finished, Incoming, Landed, Lanes, Sink, Wish};
use crate::source::{Offered, Opened, Promised, parse_config};
use crate::storage::{self, StorageSink};
use crate::transport::{StorageRef, TransportRef};

/// The most layers moved at once.
const LANES_MAX: usize = 6;
/// How many bytes of a layer pass between two events.
const PROGRESS_STEP: u64 = 4 << 20;

/// Whether layers are compressed where the destination leaves a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// As the destination usually has them: `oci:` and `oci-archive:` compressed, `dir:` as they come.
    #[default]
    Usual,
    /// `dir:` compressed, too.
    Always,
    /// As they come.
    Never,
}

/// A compression for layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionFormat {
    /// gzip.
    Gzip,
    /// Zstandard; OCI only.
    Zstd,
}

/// How an image is to be copied.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// The manifest's format; `None` keeps the source's if the destination takes it.
    pub format: Option<ManifestFormat>,
    /// Whether layers are compressed.
    pub compress: Compress,
    /// The compression; with one given, layers that have another one are compressed again.
    pub compression: Option<CompressionFormat>,
    /// The compression's level on its own scale; `None` is the usual one.
    pub level: Option<i32>,
    /// Which image of a list.
    pub platform: Platform,
    /// More names for the image in a `docker-archive:`.
    pub additional_names: Vec<Reference>,
    /// A directory for large files that are needed only meanwhile.
    pub temporary: PathBuf,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            format: None,
            compress: Compress::Usual,
            compression: None,
            level: None,
            platform: Platform::host(),
            additional_names: Vec::new(),
            temporary: PathBuf::from("/var/tmp"),
        }
    }
}

/// What a copy has made.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The manifest at the destination.
    pub manifest: RawManifest,
    /// Its digest.
    pub digest: Digest,
    /// The image in the store, if the destination is one.
    pub image: Option<ImageId>,
    /// The names that it was given there.
    pub names: Vec<String>,
}

/// Copies one image.
///
/// `store` is the store that `containers-storage:` without a bracket means.
///
/// # Errors
/// See [`TransferError`]; nothing is published then.
pub fn copy(
    source: &TransportRef,
    destination: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Copied> {
    refuse_foreign(destination)?;
    let opened = open(source, store, options)?;
    let label = destination.to_string();
    let prepared = Prepared::new(&opened, allowed(destination), &label, options)?;
    let sink: Box<dyn Sink> = match destination {
        TransportRef::Storage(place) => {
            let store = storage::store_of(place, store)?;
            Box::new(StorageSink::create(&label, store, place, &prepared.config)?)
        }
        TransportRef::Dir(path) => {
            let wish = if options.compress == Compress::Always {
                Wish::Compress
            } else {
                Wish::Preserve
            };
            Box::new(DirSink::create(path, wish)?)
        }
        TransportRef::Oci { path, pick } => Box::new(LayoutSink::create(&label, path, pick)?),
        TransportRef::OciArchive { path, pick } => Box::new(OciArchiveSink::create(
            &label,
            path,
            pick,
            &options.temporary,
        )?),
        TransportRef::DockerArchive { path, pick } => {
            let (names, temporary) = (&options.additional_names, &options.temporary);
            Box::new(DockerArchiveSink::create(
                &label, path, pick, names, temporary,
            )?)
        }
        other => {
            return Err(TransferError::TransportUnsupported {
                transport: other.transport(),
            });
        }
    };
    let names = match destination {
        TransportRef::Storage(StorageRef {
            name: Some(name), ..
        }) => vec![name.to_string()],
        _ => Vec::new(),
    };
    Mover {
        opened: &opened,
        prepared: &prepared,
        sink: &*sink,
        options,
        reporter,
    }
    .run(names)
}

/// Copies into a store what a source holds, under the names that the source suggests: all images of a
/// `docker-archive:`, otherwise one.
///
/// # Errors
/// See [`TransferError`]. Images of an archive before the one that failed stay.
pub fn pull(
    source: &TransportRef,
    store: &Store,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Vec<Copied>> {
    let all = match source {
        TransportRef::DockerArchive { path, pick } => {
            DockerArchive::open(&source.to_string(), path, &options.temporary)?.all(pick)?
        }
        _ => vec![open(source, Some(store), options)?],
    };
    let nowhere = StorageRef {
        store: None,
        name: None,
        id: None,
        text: String::new(),
    };
    let mut copied = Vec::with_capacity(all.len());
    for opened in &all {
        let destination = "containers-storage:";
        let prepared = Prepared::new(opened, STORE_FORMATS, destination, options)?;
        let sink = StorageSink::create(destination, store.clone(), &nowhere, &prepared.config)?;
        let mover = Mover {
            opened,
            prepared: &prepared,
            sink: &sink,
            options,
            reporter,
        };
        copied.push(mover.run(opened.names.clone())?);
    }
    Ok(copied)
}

const STORE_FORMATS: &[ManifestFormat] = &[ManifestFormat::Oci, ManifestFormat::Docker];

fn allowed(destination: &TransportRef) -> &'static [ManifestFormat] {
    match destination {
        TransportRef::Oci { .. } | TransportRef::OciArchive { .. } => &[ManifestFormat::Oci],
        TransportRef::DockerArchive { .. } => &[ManifestFormat::Docker],
        _ => STORE_FORMATS,
    }
}

fn refuse_foreign(place: &TransportRef) -> Result<()> {
    match place {
        TransportRef::Docker(_) | TransportRef::Foreign { .. } => {
            Err(TransferError::TransportUnsupported {
                transport: place.transport(),
            })
        }
        _ => Ok(()),
    }
}

fn open<'a>(
    source: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
) -> Result<Opened<'a>> {
    let label = source.to_string();
    let (platform, temporary) = (&options.platform, &options.temporary);
    match source {
        TransportRef::Storage(place) => {
            storage::open(&label, &storage::store_of(place, store)?, place, platform)
        }
        TransportRef::Dir(path) => dir::open(&label, path, platform),
        TransportRef::Oci { path, pick } => layout::open(
            &label,
            Box::new(Directory(path.clone())),
            pick,
            Naming::Directory,
            platform,
        ),
        TransportRef::OciArchive { path, pick } => {
            oci_archive::open(&label, path, pick, temporary, platform)
        }
        TransportRef::DockerArchive { path, pick } => {
            DockerArchive::open(&label, path, temporary)?.one(pick)
        }
        other => Err(TransferError::TransportUnsupported {
            transport: other.transport(),
        }),
    }
}

/// What is settled before a destination is touched.
struct Prepared {
    format: ManifestFormat,
    config: Vec<u8>,
}

impl Prepared {
    fn new(
        opened: &Opened<'_>,
        allowed: &[ManifestFormat],
        destination: &str,
        options: &CopyOptions,
    ) -> Result<Self> {
        let from = opened.manifest.format();
        let format = match options.format {
            Some(format) if allowed.contains(&format) => format,
            Some(format) => {
                let (place, manifest) = (destination.to_owned(), format.manifest_type());
                return Err(TransferError::FormatRefused { place, manifest });
            }
            None if allowed.contains(&from) => from,
            None => allowed[0],
        };
        if format == ManifestFormat::Docker && options.compression == Some(CompressionFormat::Zstd)
        {
            return Err(TransferError::ZstdFormat {
                manifest: format.manifest_type(),
            });
        }
        let manifest = opened.manifest.manifest();
        if format != from && !manifest.is_image() {
            return Err(artifact(&opened.manifest));
        }
        let config = if (from, format) == (ManifestFormat::Docker, ManifestFormat::Oci) {
            let config = parse_config(&opened.place, &opened.config)?;
            edit::into_dialect(config, format).0.to_bytes(format)
        } else {
            opened.config.clone()
        };
        Ok(Self { format, config })
    }
}

fn artifact(manifest: &RawManifest) -> TransferError {
    let manifest = manifest.manifest();
    let kind = manifest
        .artifact_type
        .clone()
        .unwrap_or_else(|| manifest.config.media_type.clone());
    TransferError::Artifact { kind }
}

/// One copy under way.
struct Mover<'a> {
    opened: &'a Opened<'a>,
    prepared: &'a Prepared,
    sink: &'a dyn Sink,
    options: &'a CopyOptions,
    reporter: &'a dyn Reporter,
}

/// What becomes of a layer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Pass,
    Decode,
    Encode(Encoding),
    Recode(Encoding),
}

impl Mover<'_> {
    fn run(&self, names: Vec<String>) -> Result<Copied> {
        if !self.opened.manifest.manifest().is_image() && !self.sink.takes_artifacts() {
            return Err(artifact(&self.opened.manifest));
        }
        self.reporter.event(Event::GettingSignatures);
        let landed = self.move_layers()?;
        let manifest = updated(
            &self.opened.manifest,
            self.prepared.format,
            &self.prepared.config,
            &landed,
        )?;
        let digest = self.opened.manifest.manifest().config.digest.clone();
        self.reporter.event(Event::CopyingConfig { digest });
        self.reporter.event(Event::WritingManifest);
        let image = self.sink.finish(&Finished {
            manifest: &manifest,
            list: self.opened.list.as_ref(),
            config: &self.prepared.config,
            landed: &landed,
            names: &names,
        })?;
        Ok(Copied {
            digest: manifest.digest(),
            manifest,
            image,
            names,
        })
    }

    /// Moves the layers, several at once if the destination takes them so.
    fn move_layers(&self) -> Result<Vec<Landed>> {
        let count = self.opened.offered.len();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = match self.sink.lanes() {
            Lanes::One => 1,
            Lanes::Many => count.min(cores).clamp(1, LANES_MAX),
        };
        let next = AtomicUsize::new(0);
        let given_up = AtomicBool::new(false);
        let landed: Mutex<Vec<Option<Landed>>> = Mutex::new(vec![None; count]);
        let failure: Mutex<Option<TransferError>> = Mutex::new(None);
        let work = || {
            while !given_up.load(Ordering::Acquire) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(offered) = self.opened.offered.get(index) else {
                    return;
                };
                match self.move_layer(index, offered, &given_up) {
                    Ok(one) => {
                        landed.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(one);
                    }
                    Err(source) => {
                        let (digest, source) =
                            (offered.descriptor.digest.clone(), Box::new(source));
                        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(TransferError::Layer {
                            index,
                            digest,
                            source,
                        });
                        given_up.store(true, Ordering::Release);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..lanes {
                scope.spawn(work);
            }
            work();
        });
        if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        let landed = landed.into_inner().unwrap_or_else(PoisonError::into_inner);
        landed
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(TransferError::GivenUp)
    }

    fn move_layer(&self, index: usize, offered: &Offered, given_up: &AtomicBool) -> Result<Landed> {
        let digest = offered.descriptor.digest.clone();
        let size = (offered.promised == Promised::Blob).then_some(offered.descriptor.size);
        self.reporter.event(Event::BlobStarted {
            digest: digest.clone(),
            size,
        });
        let (landed, outcome) = match self.reuse(index, offered)? {
            Some(landed) => (landed, BlobOutcome::AlreadyThere),
            None => (
                self.transmit(index, offered, given_up)?,
                BlobOutcome::Copied,
            ),
        };
        self.reporter.event(Event::BlobDone { digest, outcome });
        Ok(landed)
    }

    fn reuse(&self, index: usize, offered: &Offered) -> Result<Option<Landed>> {
        let declared = match media_type::LayerType::parse(&offered.descriptor.media_type) {
            _ if offered.promised == Promised::Content => Compression::None,
            Some(kind) => match kind.compression {
                media_type::LayerCompression::None => Compression::None,
                media_type::LayerCompression::Gzip => Compression::Gzip,
                media_type::LayerCompression::Zstd => Compression::Zstd,
            },
            None => return Ok(None),
        };
        if self.action(offered, declared) != Action::Pass {
            return Ok(None);
        }
        self.sink.reuse(index, offered)
    }

    fn action(&self, offered: &Offered, found: Compression) -> Action {
        if !storage::is_layer(&offered.descriptor.media_type) {
            return Action::Pass;
        }
        let wish = match (self.sink.wish(), self.options.compress) {
            (Wish::Compress, Compress::Never) => Wish::Preserve,
            (wish, _) => wish,
        };
        let wanted = match self.options.compression {
            Some(CompressionFormat::Zstd) => Compression::Zstd,
            Some(CompressionFormat::Gzip) | None => Compression::Gzip,
        };
        let encoding = Encoding {
            compression: wanted,
            level: self.options.level,
        };
        let docker = self.prepared.format == ManifestFormat::Docker;
        let unsure = offered.promised == Promised::Content && !self.sink.checks_content();
        match (wish, found) {
            // Only what was decompressed can be compared with the one digest that is known.
            (Wish::Preserve, other) if unsure && other != Compression::None => Action::Decode,
            (Wish::Compress, other) if unsure && other != Compression::None => {
                Action::Recode(encoding)
            }
            (Wish::Decompress, Compression::None) => Action::Pass,
            (Wish::Decompress, _) => Action::Decode,
            (Wish::Compress, Compression::None) => Action::Encode(encoding),
            // No media type names these.
            (Wish::Compress, Compression::Bzip2 | Compression::Xz) => Action::Recode(encoding),
            (Wish::Compress, other) if self.options.compression.is_some() && other != wanted => {
                Action::Recode(encoding)
            }
            (_, Compression::Zstd) if docker && !self.keeps_format() => Action::Recode(Encoding {
                compression: Compression::Gzip,
                level: self.options.level,
            }),
            _ => Action::Pass,
        }
    }

    /// Whether the manifest's own format is kept, so that what is in it may stay.
    fn keeps_format(&self) -> bool {
        self.prepared.format == self.opened.manifest.format()
    }

    fn transmit(&self, index: usize, offered: &Offered, given_up: &AtomicBool) -> Result<Landed> {
        let digest = offered.descriptor.digest.clone();
        let size = (offered.promised == Promised::Blob).then_some(offered.descriptor.size);
        let raw = Watched {
            inner: self.opened.layers.open(index)?,
            left: size,
            done: 0,
            told: 0,
            digest: &digest,
            reporter: self.reporter,
            given_up,
        };
        let mut raw = BufReader::with_capacity(CHUNK, raw);
        let found = archive::detect(raw.fill_buf().map_err(TransferError::Stream)?);
        let action = self.action(offered, found);
        if action == Action::Pass {
            return self.pass(index, offered, found, &mut raw);
        }
        let mut source = Source::new(raw, offered, found);
        let landed = match action {
            Action::Encode(encoding) => self.hand_over(index, offered, encoding, &mut source)?,
            Action::Pass | Action::Decode => {
                self.decoded(index, offered, Encoding::PLAIN, &mut source)?
            }
            Action::Recode(encoding) => self.decoded(index, offered, encoding, &mut source)?,
        };
        source.check_end()?;
        Ok(landed)
    }

    /// Hands the bytes on as they come. The destination computes their digest anyway.
    fn pass(
        &self,
        index: usize,
        offered: &Offered,
        compression: Compression,
        raw: &mut (dyn Read + Send),
    ) -> Result<Landed> {
        let (digest, size) = (offered.descriptor.digest.clone(), offered.descriptor.size);
        let blob = (offered.promised == Promised::Blob).then_some((digest.clone(), size));
        let diff_id = offered.diff_id.clone();
        let incoming = |reader| Incoming {
            reader,
            compression,
            encoding: Encoding::PLAIN,
            blob,
            diff_id,
        };
        let expected = match (offered.promised, &offered.diff_id) {
            (Promised::Blob, _) if digest.algorithm() != Algorithm::Sha256 => {
                Some((digest, Some(size)))
            }
            (Promised::Content, Some(diff_id)) if !self.sink.checks_content() => {
                Some((diff_id.0.clone(), None))
            }
            _ => None,
        };
        if let Some((digest, size)) = expected {
            let mut verified = VerifiedReader::new(raw, digest, size);
            let landed = self.sink.put_layer(index, incoming(&mut verified))?;
            return if verified.is_verified() {
                Ok(landed)
            } else {
                Err(TransferError::Trailing)
            };
        }
        self.sink.put_layer(index, incoming(raw))
    }

    fn decoded(
        &self,
        index: usize,
        offered: &Offered,
        encoding: Encoding,
        source: &mut (dyn Read + Send),
    ) -> Result<Landed> {
        let (_, plain) = archive::decode(BufReader::with_capacity(CHUNK, source))
            .map_err(TransferError::Stream)?;
        match &offered.diff_id {
            None => self.hand_over(index, offered, encoding, &mut { plain }),
            Some(diff_id) => {
                let mut plain = VerifiedReader::new(plain, diff_id.0.clone(), None);
                let landed = self.hand_over(index, offered, encoding, &mut plain)?;
                if plain.is_verified() {
                    Ok(landed)
                } else {
                    Err(TransferError::Trailing)
                }
            }
        }
    }

    /// Hands on content without compression, to be compressed by the destination as `encoding` says.
    fn hand_over(
        &self,
        index: usize,
        offered: &Offered,
        encoding: Encoding,
        reader: &mut (dyn Read + Send),
    ) -> Result<Landed> {
        let diff_id = offered.diff_id.clone();
        self.sink.put_layer(
            index,
            Incoming {
                reader,
                compression: Compression::None,
                encoding,
                blob: None,
                diff_id,
            },
        )
    }
}

/// A source's bytes that are checked while they are transformed.
enum Source<R> {
    Checked(Box<VerifiedReader<R>>),
    /// Only the content behind the compression has a known digest.
    Unknown(R),
}

impl<R: Read> Source<R> {
    fn new(reader: R, offered: &Offered, found: Compression) -> Self {
        match (offered.promised, &offered.diff_id) {
            (Promised::Blob, _) => {
                let (digest, size) = (offered.descriptor.digest.clone(), offered.descriptor.size);
                Self::Checked(Box::new(VerifiedReader::new(reader, digest, Some(size))))
            }
            (Promised::Content, Some(diff_id)) if found == Compression::None => Self::Checked(
                Box::new(VerifiedReader::new(reader, diff_id.0.clone(), None)),
            ),
            (Promised::Content, _) => Self::Unknown(reader),
        }
    }

    fn check_end(&self) -> Result<()> {
        match self {
            Self::Checked(reader) if !reader.is_verified() => Err(TransferError::Trailing),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Checked(reader) => reader.read(buffer),
            Self::Unknown(reader) => reader.read(buffer),
        }
    }
}

/// A layer's bytes on their way: counted, stopped when they exceed their size or the copy is given up.
struct Watched<'a> {
    inner: Box<dyn Read + Send + 'a>,
    left: Option<u64>,
    done: u64,
    told: u64,
    digest: &'a Digest,
    reporter: &'a dyn Reporter,
    given_up: &'a AtomicBool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(std::io::Error::other(TransferError::GivenUp));
        }
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if let Some(left) = &mut self.left {
            let expected = self.done - count as u64 + *left;
            *left = left.checked_sub(count as u64).ok_or_else(|| {
                let source = archive::VerifyError::TooLong { expected };
                std::io::Error::new(std::io::ErrorKind::InvalidData, source)
            })?;
        }
        if self.done >= self.told + PROGRESS_STEP {
            self.told = self.done;
            self.reporter.event(Event::BlobProgress {
                digest: self.digest.clone(),
                done: self.done,
            });
        }
        Ok(count)
    }
}

//! The one pipeline for images: open a source, see what the destination takes, move the layers, publish.
//!
//! [`copy`] writes to any place; `pull` into a store under the names that the source suggests. What fails because a
//! registry is busy or away is tried again as a whole, as often as the options say; what had arrived by then need not
//! arrive again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::error::in_one_line;
use model::{
    Digest, Event, ImageId, ManifestFormat, Platform, RawIndex, RawManifest, Reference, Reporter,
    media_type,
};
use store::Store;
use trust::encryption::DecryptionKeys;

use crate::compression::CompressionFormat;
use crate::daemon;
use crate::dir::{self, DirSink};
use crate::docker;
use crate::docker_archive::DockerArchive;
use crate::docker_sink::DockerSink;
use crate::docker_writer::DockerArchiveSink;
use crate::encryption::{EncryptionError, LayerEncryption};
use crate::error::{Result, TransferError};
use crate::layout::{self, Directory, LayoutSink, Naming};
use crate::list;
use crate::mover::Mover;
use crate::oci_archive::{self, OciArchiveSink};
use crate::plan::{Abilities, Plan};
use crate::registries::Registries;
use crate::schema1::write::Schema1WriteError;
use crate::signatures::{Guard, SignatureOptions, Target, origin_of};
use crate::sink::{Role, Sink, Wish};
use crate::source::{Opened, Source};
use crate::static_registry::{self, StaticSink};
use crate::stop::stoppable;
use crate::storage::{self, StorageSink};
use crate::tarball;
use crate::transport::{StorageRef, TransportRef};

/// How many layers move at once unless told otherwise.
pub const PARALLEL_DEFAULT: usize = 6;

/// Where a Docker daemon listens.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

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

/// Which images of a list are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CopyScope {
    /// The one for the platform, without the list.
    #[default]
    System,
    /// All, and the list.
    All,
    /// Those with these digests, and the list with all its entries.
    Instances(Vec<Digest>),
}

/// How often a copy that failed is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// How often, beyond the first time.
    pub times: u32,
    /// How long to wait before each; `None` doubles from a second.
    pub delay: Option<Duration>,
}

/// How an image is to be copied.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// The manifest's format; `None` keeps the source's if the destination takes it.
    pub format: Option<ManifestFormat>,
    /// Whether the manifest is written in Docker's first format, which [`Self::format`] has to be Docker's for.
    pub schema1: bool,
    /// Whether layers are compressed.
    pub compress: Compress,
    /// The compression; with one given, layers that have another one are compressed again.
    pub compression: Option<CompressionFormat>,
    /// The compression's level on its own scale; `None` is the usual one.
    pub level: Option<i32>,
    /// Whether a layer that is there in another compression is sent again in the wanted one.
    pub force_compression: bool,
    /// Compressions of which a list is to have every image, too.
    pub add_compression: Vec<CompressionFormat>,
    /// Whether to fail rather than to change a manifest.
    pub preserve_digests: bool,
    /// Which image of a list.
    pub platform: Platform,
    /// Whether one image or several.
    pub scope: CopyScope,
    /// More names for the image in a `docker-archive:`.
    pub additional_names: Vec<Reference>,
    /// The socket of the Docker daemon.
    pub docker_socket: PathBuf,
    /// A directory for large files that are needed only meanwhile.
    pub temporary: PathBuf,
    /// How many layers move at once.
    pub parallel: usize,
    /// How to reach registries; without it they cannot be.
    pub registries: Option<Arc<Registries>>,
    /// How often a whole copy from or to a registry is tried again.
    pub retry: Retry,
    /// What images have to meet, and what becomes of their signatures.
    pub signatures: SignatureOptions,
    /// Whether layers are encrypted.
    pub encryption: Option<LayerEncryption>,
    /// What encrypted layers are decrypted with; without it they stay as they are.
    pub decryption: Option<Arc<DecryptionKeys>>,
    /// Ends a copy of one image at its next bytes, once it is true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            format: None,
            schema1: false,
            compress: Compress::Usual,
            compression: None,
            level: None,
            force_compression: false,
            add_compression: Vec::new(),
            preserve_digests: false,
            platform: Platform::host(),
            scope: CopyScope::System,
            additional_names: Vec::new(),
            docker_socket: PathBuf::from(DOCKER_SOCKET),
            temporary: PathBuf::from("/var/tmp"),
            parallel: PARALLEL_DEFAULT,
            registries: None,
            retry: Retry::default(),
            signatures: SignatureOptions::unchecked(),
            encryption: None,
            decryption: None,
            stop: None,
        }
    }
}

impl CopyOptions {
    /// The connections for a place that needs them.
    pub(crate) fn registries(&self, place: &str) -> Result<&Registries> {
        self.registries
            .as_deref()
            .ok_or_else(|| TransferError::NoRegistries {
                place: place.to_owned(),
            })
    }
}

/// What a copy has made.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The manifest at the destination; of a list, that of its first image.
    pub manifest: RawManifest,
    /// The list at the destination, if one was copied.
    pub list: Option<RawIndex>,
    /// The digest of what the destination's name leads to.
    pub digest: Digest,
    /// The image in the store, if the destination is one.
    pub image: Option<ImageId>,
    /// The names that it was given there.
    pub names: Vec<String>,
}

/// Copies one image, or a list with its images.
///
/// `store` is the store that `containers-storage:` without a bracket means.
///
/// # Errors
/// See [`TransferError`]; nothing is published then under the destination's name.
pub fn copy(
    source: &TransportRef,
    destination: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Copied> {
    let options = &without_useless_compression(destination, options)?;
    refuse_early(destination, options)?;
    retrying(options, reporter, || {
        contact_early(destination, options);
        let opened = open(source, store, options)?;
        match opened {
            Source::Library(library) if options.scope != CopyScope::System => {
                list::copy_library(&library, destination, store, options, reporter)
            }
            _ if !options.add_compression.is_empty() => Err(TransferError::VariantsWithoutList),
            Source::Library(library) => {
                let image = stopping(library.choose(&options.platform)?, options)?;
                copy_image(&image, destination, store, options, reporter)
            }
            Source::Image(image) => {
                let image = stopping(image, options)?;
                copy_image(&image, destination, store, options, reporter)
            }
        }
    })
}

/// Lets the layers of an image end early, if the options say when.
fn stopping<'a>(mut image: Opened<'a>, options: &CopyOptions) -> Result<Opened<'a>> {
    if let Some(stop) = &options.stop {
        if stop.load(Ordering::Relaxed) {
            return Err(TransferError::GivenUp);
        }
        image.layers = stoppable(image.layers, stop);
    }
    Ok(image)
}

/// Makes contact with the registry that is written to while the source is opened. What goes wrong shows when it is needed.
fn contact_early(destination: &TransportRef, options: &CopyOptions) {
    if let (TransportRef::Docker(name), Some(registries)) = (destination, &options.registries)
        && let Ok(route) = registries.route_to(name)
    {
        route.repository.endpoint().contact_early();
    }
}

pub(crate) fn copy_image(
    opened: &Opened<'_>,
    destination: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Copied> {
    let label = destination.to_string();
    let plan = Plan::new(opened, abilities(destination), &label, options)?;
    let config = plan.config(plan.formats()[0])?;
    let sink = create(destination, store, Some(&config), options)?;
    let names = match destination {
        TransportRef::Storage(StorageRef {
            name: Some(name), ..
        }) => vec![name.to_string()],
        _ => Vec::new(),
    };
    Mover {
        opened,
        plan,
        sink: &*sink,
        target: Target::of(destination),
        options,
        reporter,
        role: Role::Single,
    }
    .run(names)
}

/// Opens a destination for writing; `config` is the image's, if it is one image.
pub(crate) fn create<'a>(
    destination: &TransportRef,
    store: Option<&Store>,
    config: Option<&[u8]>,
    options: &'a CopyOptions,
) -> Result<Box<dyn Sink + 'a>> {
    let label = destination.to_string();
    let temporary = &options.temporary;
    Ok(match (destination, config) {
        (TransportRef::Storage(place), Some(config)) => {
            let store = storage::store_of(place, store)?;
            Box::new(StorageSink::create(&label, store, place, config)?)
        }
        (TransportRef::Dir(path), _) => {
            let wish = if options.compress == Compress::Always {
                Wish::Compress
            } else {
                Wish::Preserve
            };
            Box::new(DirSink::create(path, wish)?)
        }
        (TransportRef::Oci { path, pick }, _) => Box::new(LayoutSink::create(&label, path, pick)?),
        (TransportRef::OciArchive { path, pick }, _) => {
            Box::new(OciArchiveSink::create(&label, path, pick, temporary)?)
        }
        (TransportRef::DockerArchive { path, pick }, Some(_)) => {
            let names = &options.additional_names;
            Box::new(DockerArchiveSink::create(
                &label, path, pick, names, temporary,
            )?)
        }
        (TransportRef::Docker(name), _) => Box::new(DockerSink::create(
            name,
            options.registries(&label)?,
            &*options.signatures.places,
            options.schema1,
        )?),
        (TransportRef::Daemon(image), Some(_)) => Box::new(daemon::create(
            &label,
            &options.docker_socket,
            image,
            temporary,
        )?),
        (TransportRef::StaticRegistry { path, name }, _) => {
            let suggested = options.additional_names.first();
            Box::new(StaticSink::create(path, name.as_ref(), suggested)?)
        }
        (TransportRef::Tarball(_), _) => {
            return Err(TransferError::ReadOnly { place: label });
        }
        (
            TransportRef::Storage(_) | TransportRef::DockerArchive { .. } | TransportRef::Daemon(_),
            None,
        ) => {
            return Err(TransferError::NoLists {
                transport: destination.transport(),
            });
        }
        (TransportRef::Foreign { transport, .. }, _) => {
            return Err(TransferError::TransportUnsupported { transport });
        }
    })
}

const IMAGE_TYPES: &[&str] = &[media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST];
const LAYOUT_TYPES: &[&str] = &[media_type::OCI_MANIFEST, media_type::OCI_INDEX];
const ALL_TYPES: &[&str] = &[
    media_type::OCI_MANIFEST,
    media_type::DOCKER_MANIFEST,
    media_type::OCI_INDEX,
    media_type::DOCKER_LIST,
];

pub(crate) const ANYTHING: Abilities = Abilities {
    formats: &[ManifestFormat::Oci, ManifestFormat::Docker],
    on_request: &[],
    named: IMAGE_TYPES,
    lists: false,
};
const DOCUMENTS: Abilities = Abilities {
    formats: &[ManifestFormat::Oci, ManifestFormat::Docker],
    on_request: &[],
    named: ALL_TYPES,
    lists: true,
};
const LAYOUTS: Abilities = Abilities {
    formats: &[ManifestFormat::Oci],
    // Not what the format of layouts asks for, but what containers/image writes there, too.
    on_request: &[ManifestFormat::Docker],
    named: LAYOUT_TYPES,
    lists: true,
};
const DOCKER_ONLY: Abilities = Abilities {
    formats: &[ManifestFormat::Docker],
    on_request: &[],
    named: &[media_type::DOCKER_MANIFEST],
    lists: false,
};

/// What a destination takes.
pub(crate) fn abilities(destination: &TransportRef) -> &'static Abilities {
    match destination {
        TransportRef::Oci { .. } | TransportRef::OciArchive { .. } => &LAYOUTS,
        TransportRef::DockerArchive { .. } | TransportRef::Daemon(_) => &DOCKER_ONLY,
        TransportRef::Docker(_) | TransportRef::Dir(_) | TransportRef::StaticRegistry { .. } => {
            &DOCUMENTS
        }
        TransportRef::Storage(_) | TransportRef::Tarball(_) | TransportRef::Foreign { .. } => {
            &ANYTHING
        }
    }
}

/// Drops a compression that the destination's own format cannot have, as Buildah does.
fn without_useless_compression(
    destination: &TransportRef,
    options: &CopyOptions,
) -> Result<CopyOptions> {
    let mut options = options.clone();
    let docker = options.format == Some(ManifestFormat::Docker)
        && options.compression != Some(CompressionFormat::Gzip);
    if abilities(destination).formats == [ManifestFormat::Docker]
        || (docker && options.force_compression)
    {
        options.compression = None;
    }
    if options.force_compression && options.compression.is_none() {
        return Err(TransferError::ForceWithoutFormat);
    }
    Ok(options)
}

/// Refuses a destination that cannot be one before the source is touched.
fn refuse_early(destination: &TransportRef, options: &CopyOptions) -> Result<()> {
    if options.encryption.is_some() && options.decryption.is_some() {
        return Err(EncryptionError::BothWays.into());
    }
    if options.schema1 && !matches!(destination, TransportRef::Docker(_)) {
        return Err(TransferError::Schema1Write {
            place: destination.to_string(),
            source: Box::new(Schema1WriteError::Place),
        });
    }
    match destination {
        TransportRef::Docker(_) => options.registries(&destination.to_string()).map(|_| ()),
        TransportRef::Foreign { transport, .. } => {
            Err(TransferError::TransportUnsupported { transport })
        }
        _ => Ok(()),
    }
}

/// Opens a place whose images are to be used as far as the policy lets them.
pub(crate) fn open<'a>(
    source: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
) -> Result<Source<'a>> {
    open_behind(&guard_of(source, options)?, source, store, options)
}

pub(crate) fn guard_of(source: &TransportRef, options: &CopyOptions) -> Result<Guard> {
    Ok(Guard::Policy {
        origin: origin_of(source)?,
        policy: Arc::clone(&options.signatures.policy),
    })
}

/// Opens a place for reading, behind a guard.
pub(crate) fn open_behind<'a>(
    guard: &Guard,
    source: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
) -> Result<Source<'a>> {
    let mut opened = open_place(guard, source, store, options)?;
    opened.put_behind(guard.clone());
    Ok(opened)
}

fn open_place<'a>(
    guard: &Guard,
    source: &TransportRef,
    store: Option<&Store>,
    options: &CopyOptions,
) -> Result<Source<'a>> {
    let label = source.to_string();
    let (platform, temporary) = (&options.platform, &options.temporary);
    Ok(match source {
        TransportRef::Storage(place) => {
            let store = storage::store_of(place, store)?;
            Source::Image(storage::open(&label, &store, place, platform)?)
        }
        TransportRef::Dir(path) => Source::Library(dir::open(&label, path, guard, temporary)?),
        TransportRef::Oci { path, pick } => {
            let place = Box::new(Directory(path.clone()));
            Source::Library(layout::open(&label, place, pick, Naming::Directory)?)
        }
        TransportRef::OciArchive { path, pick } => {
            Source::Library(oci_archive::open(&label, path, pick, temporary)?)
        }
        TransportRef::DockerArchive { path, pick } => {
            Source::Image(DockerArchive::open(&label, path, temporary)?.one(pick)?)
        }
        TransportRef::Docker(name) => {
            let (registries, places) = (options.registries(&label)?, &options.signatures.places);
            let opened = docker::open(&label, name, registries, places, guard, temporary)?;
            Source::Library(opened)
        }
        TransportRef::Daemon(image) => {
            let socket = &options.docker_socket;
            Source::Image(daemon::open(&label, socket, image, temporary)?)
        }
        TransportRef::Tarball(paths) => {
            Source::Image(tarball::open(&label, paths, platform, temporary)?)
        }
        TransportRef::StaticRegistry { path, name } => {
            Source::Library(static_registry::open(&label, path, name.as_ref())?)
        }
        TransportRef::Foreign { transport, .. } => {
            return Err(TransferError::TransportUnsupported { transport });
        }
    })
}

/// Tries until it goes well, or fails in a way that will not change, or was tried often enough; then what was learnt on
/// the way is written down.
pub(crate) fn retrying<T>(
    options: &CopyOptions,
    reporter: &dyn Reporter,
    work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let outcome = trying(options, reporter, work);
    if let Some(registries) = &options.registries {
        registries.facts().write();
    }
    outcome
}

fn trying<T>(
    options: &CopyOptions,
    reporter: &dyn Reporter,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let retry = options.retry;
    for attempt in 0.. {
        let error = match work() {
            Ok(done) => return Ok(done),
            Err(error) if attempt < retry.times && error.is_retryable() => error,
            Err(error) => {
                let registries = options.registries.as_ref();
                for text in registries.map_or_else(Vec::new, |known| known.explain(&error)) {
                    reporter.event(Event::Warning { text });
                }
                return Err(error);
            }
        };
        let delay = retry
            .delay
            .unwrap_or_else(|| Duration::from_secs(1 << attempt.min(16)));
        reporter.event(Event::Warning {
            text: format!(
                "Failed, retrying in {} ... ({}/{}). Error: {}",
                go_duration(delay),
                attempt + 1,
                retry.times,
                in_one_line(&error)
            ),
        });
        std::thread::sleep(delay + jitter(delay));
    }
    Err(TransferError::GivenUp)
}

/// Up to a tenth, so that many that failed together do not come back together.
fn jitter(delay: Duration) -> Duration {
    let mut byte = [0; 1];
    let drawn = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    match drawn {
        Ok(_) => delay.mul_f64(f64::from(byte[0]) / 2560.0),
        Err(_) => Duration::ZERO,
    }
}

/// A length of time as Go prints it.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fraction = |whole: u64, nanos: u32, digits: usize| {
        let text = format!("{whole}.{nanos:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let nanos = duration.subsec_nanos();
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", fraction((nanos / 1_000).into(), nanos % 1_000, 3)),
            _ => format!(
                "{}ms",
                fraction((nanos / 1_000_000).into(), nanos % 1_000_000, 6)
            ),
        };
    }
    let mut text = String::new();
    if seconds >= 3600 {
        text = format!("{}h", seconds / 3600);
    }
    if seconds >= 60 {
        text = format!("{text}{}m", seconds / 60 % 60);
    }
    format!("{text}{}s", fraction(seconds % 60, nanos, 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (duration, expected) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1_500), "1.5µs"),
            (Duration::from_millis(100), "100ms"),
            (Duration::from_secs(1), "1s"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(60), "1m0s"),
            (Duration::from_secs(3_723), "1h2m3s"),
        ] {
            assert_eq!(go_duration(duration), expected);
        }
    }
}

//! Into a store under the names that the source suggests, at once or in two steps: first what is said of an image, later
//! its layers.
//!
//! ```text
//! source ── open ── choose ── policy ── config ─▶ BegunPull ── layers ── config, manifest ─▶ image in the store
//!           └──────────── tried again ─────────┘             └────────── tried again ────┘
//! ```
//! Whoever only wants to know what an image is, and perhaps never needs its files, ends after the first step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Digest, ImageId, LayerId, RawManifest, Reporter};
use store::Store;

use crate::copy::{ANYTHING, Copied, CopyOptions, guard_of, open, retrying};
use crate::docker_archive::DockerArchive;
use crate::error::{Result, TransferError};
use crate::mover::Mover;
use crate::plan::Plan;
use crate::signatures::{Candidate, Target};
use crate::sink::Role;
use crate::source::{Opened, Source};
use crate::stop::stoppable;
use crate::storage::{self, StorageSink};
use crate::transport::{StorageRef, TransportRef};

/// The place that images are pulled to, for messages.
const DESTINATION: &str = "containers-storage:";

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
    retrying(options, reporter, || {
        if let TransportRef::DockerArchive { path, pick } = source {
            let archive = DockerArchive::open(&source.to_string(), path, &options.temporary)?;
            let images = archive.all(pick)?;
            let guard = guard_of(source, options)?;
            return images
                .into_iter()
                .map(|mut image| {
                    image.guard = guard.clone();
                    move_image(&image, store, options, reporter)
                })
                .collect();
        }
        let image = open_one(source, store, options)?;
        Ok(vec![move_image(&image, store, options, reporter)?])
    })
}

/// A pull whose image is known: the policy lets it be used, its manifest and config are read, and none of its layers has
/// moved.
pub struct BegunPull {
    source: TransportRef,
    store: Store,
    options: CopyOptions,
    opened: Opened<'static>,
    config: Vec<u8>,
    top_layer: Option<LayerId>,
}

impl BegunPull {
    /// Finds out what a source holds, of several images the one for the wanted platform.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn new(
        source: &TransportRef,
        store: &Store,
        options: &CopyOptions,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let (opened, config) = retrying(options, reporter, || {
            let mut opened = open_one(source, store, options)?;
            opened.guard = opened.guard.ask(&Candidate {
                digest: opened.manifest.digest(),
                manifest: opened.manifest.bytes(),
                signatures: &|digest| opened.layers.signatures(digest),
            })?;
            let plan = Plan::new(&opened, &ANYTHING, DESTINATION, options)?;
            let config = plan.config(plan.formats()[0])?;
            Ok((opened, config))
        })?;
        let top_layer = storage::chain(&source.to_string(), &config)?.pop();
        Ok(Self {
            source: source.clone(),
            store: store.clone(),
            options: options.clone(),
            opened,
            config,
            top_layer,
        })
    }

    /// Returns where the image comes from.
    pub fn source(&self) -> &TransportRef {
        &self.source
    }

    /// Returns the identifier that the image will have in the store.
    pub fn image(&self) -> ImageId {
        ImageId::from_config_digest(&Digest::sha256(&self.config)).expect("SHA-256 was computed")
    }

    /// Returns the image's config as the store will have it.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Returns the image's manifest as the source has it.
    pub fn manifest(&self) -> &RawManifest {
        &self.opened.manifest
    }

    /// Returns the names that the image will get in the store.
    pub fn names(&self) -> &[String] {
        &self.opened.names
    }

    /// Returns the image's top layer as the store will have it; none for an image without layers.
    pub fn top_layer(&self) -> Option<&LayerId> {
        self.top_layer.as_ref()
    }

    /// Moves the layers and publishes the image. Once `stop` is true the copy ends at its next bytes.
    ///
    /// A second attempt asks the source again, and fails if the name has come to lead to another image meanwhile.
    ///
    /// # Errors
    /// See [`TransferError`]; [`TransferError::GivenUp`] when it was stopped.
    pub fn finish(self, stop: &Arc<AtomicBool>, reporter: &dyn Reporter) -> Result<Copied> {
        let Self {
            source,
            store,
            options,
            opened,
            ..
        } = self;
        let wanted = opened.manifest.digest();
        let mut first = Some(opened);
        retrying(&options, reporter, || {
            if stop.load(Ordering::Relaxed) {
                return Err(TransferError::GivenUp);
            }
            let mut opened = match first.take() {
                Some(opened) => opened,
                None => open_one(&source, &store, &options)?,
            };
            let actual = opened.manifest.digest();
            if actual != wanted {
                return Err(TransferError::Replaced {
                    place: source.to_string(),
                    expected: wanted.clone(),
                    actual,
                });
            }
            opened.layers = stoppable(opened.layers, stop);
            move_image(&opened, &store, &options, reporter)
        })
    }
}

/// Opens the one image that a source holds for the wanted platform.
fn open_one(
    source: &TransportRef,
    store: &Store,
    options: &CopyOptions,
) -> Result<Opened<'static>> {
    match open(source, Some(store), options)? {
        Source::Image(image) => Ok(image),
        Source::Library(library) => library.choose(&options.platform),
    }
}

fn move_image(
    opened: &Opened<'_>,
    store: &Store,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<Copied> {
    let nowhere = StorageRef {
        store: None,
        name: None,
        id: None,
        text: String::new(),
    };
    let plan = Plan::new(opened, &ANYTHING, DESTINATION, options)?;
    let config = plan.config(plan.formats()[0])?;
    let sink = StorageSink::create(DESTINATION, store.clone(), &nowhere, &config)?;
    Mover {
        opened,
        plan,
        sink: &sink,
        target: Target::of(&TransportRef::Storage(nowhere)),
        options,
        reporter,
        role: Role::Single,
    }
    .run(opened.names.clone())
}

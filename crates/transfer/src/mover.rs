//! One image on its way: its layers side by side, then config and manifest in the first format that is accepted.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use archive::{Compression, VerifiedReader};
use model::event::BlobOutcome;
use model::{Digest, Event, ManifestFormat, RawManifest, Reporter, media_type};

use crate::copy::{Copied, CopyOptions};
use crate::encryption::{Crossing, EncryptionError};
use crate::error::{Attempt, Attempts, Result, TransferError};
use crate::facts::Form;
use crate::manifest_update::updated;
use crate::packing::Packing;
use crate::plan::{Action, Keep, Plan, artifact};
use crate::registries::Registries;
use crate::signatures::{Carried, Target, admit};
use crate::sink::{Accept, Finished, Incoming, Landed, Lanes, Role, Sink, declared_compression};
use crate::source::{Offered, Opened, Promised};
use crate::stream::{Begun, ContentCheck, Watched};

/// The most layers moved at once, whatever is asked for.
const LANES_MAX: usize = 32;

/// One layer to be moved.
#[derive(Clone, Copy)]
struct Task<'b> {
    /// Its position from the base.
    index: usize,
    offered: &'b Offered,
    crossing: &'b Crossing,
    given_up: &'b AtomicBool,
}

/// One copy under way.
pub(crate) struct Mover<'a> {
    pub(crate) opened: &'a Opened<'a>,
    pub(crate) plan: Plan<'a>,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) target: Target,
    pub(crate) options: &'a CopyOptions,
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) role: Role,
}

impl Mover<'_> {
    pub(crate) fn run(mut self, names: Vec<String>) -> Result<Copied> {
        if !self.opened.manifest.manifest().is_image() && !self.sink.takes_artifacts() {
            return Err(artifact(self.opened));
        }
        if self.role == Role::Single && self.sink.fixed_digest().is_some() {
            self.plan.keep(Keep::Digest)?;
        }
        let carried = admit(
            self.opened,
            self.target.clone(),
            self.sink,
            &self.options.signatures,
            self.reporter,
        )?;
        if carried.binds() {
            self.plan.keep(Keep::Signatures)?;
        }
        let crossings = self.crossings(&names)?;
        let landed = self.move_content(&crossings)?;
        self.learn(&landed);
        let digest = self.opened.manifest.manifest().config.digest.clone();
        self.reporter.event(Event::CopyingConfig { digest });
        let registries = self.options.registries.as_deref();
        let copied = std::thread::scope(|scope| {
            // The disk may write down what was learnt while the destination takes the manifest.
            if let Some(facts) = registries
                .map(Registries::facts)
                .filter(|facts| facts.are_unwritten())
            {
                scope.spawn(|| facts.write());
            }
            self.finish(&landed, names, &carried)
        })?;
        self.opened.layers.settle();
        Ok(copied)
    }

    /// Remembers what was read from a registry and compared with the config on the way.
    fn learn(&self, landed: &[Landed]) {
        let (Some((host, repository)), Some(registries)) = (
            self.opened.layers.repository(),
            self.options.registries.as_deref(),
        ) else {
            return;
        };
        for (offered, landed) in self.opened.offered.iter().zip(landed) {
            let blob = &offered.descriptor.digest;
            let moved = landed.outcome == BlobOutcome::Copied && landed.digest == *blob;
            if !moved {
                continue;
            }
            registries.facts().seen(blob, host, repository);
            if let (true, Some(diff)) = (self.sink.checks_content(), &offered.diff_id) {
                let form = Form {
                    blob: blob.clone(),
                    size: Some(landed.size),
                    compression: landed.compression,
                    // What its descriptor says of its parts was not compared with them.
                    annotations: BTreeMap::new(),
                };
                registries.facts().became(diff, &form);
            }
        }
    }

    /// Writes config and manifest, in another format if the destination rejects the first.
    fn finish(
        &self,
        landed: &[Landed],
        names: Vec<String>,
        carried: &Carried<'_>,
    ) -> Result<Copied> {
        let mut attempts = Vec::new();
        let formats = self.plan.formats();
        for (number, format) in formats.iter().enumerate() {
            let error = match self.finish_as(*format, landed, &names, carried) {
                Ok((manifest, image)) => {
                    return Ok(Copied {
                        digest: self.sink.published().unwrap_or_else(|| manifest.digest()),
                        manifest,
                        list: None,
                        image,
                        names,
                    });
                }
                Err(error) => error,
            };
            let others = number > 0 || formats.len() > 1;
            if !others || !(number > 0 || error.is_manifest_rejection()) {
                return Err(error);
            }
            attempts.push(Attempt {
                manifest: format.manifest_type(),
                error,
            });
        }
        Err(TransferError::AllFormats {
            what: "manifest",
            attempts: Attempts(attempts),
        })
    }

    fn finish_as(
        &self,
        format: ManifestFormat,
        landed: &[Landed],
        names: &[String],
        carried: &Carried<'_>,
    ) -> Result<(RawManifest, Option<model::ImageId>)> {
        let config = self.plan.config(format)?;
        let manifest = updated(&self.opened.manifest, format, &config, landed)?;
        if let Some(why) = self.plan.kept()
            && manifest.bytes() != self.opened.manifest.bytes()
        {
            return Err(TransferError::MustNotChange { why });
        }
        if let Some(expected) = self.sink.fixed_digest()
            && self.role == Role::Single
            && !expected.verify(manifest.bytes())
        {
            return Err(TransferError::OtherDigest {
                expected: expected.clone(),
                actual: manifest.digest(),
            });
        }
        let signatures = carried.complete(&manifest.digest(), self.reporter)?;
        self.reporter.event(Event::WritingManifest);
        if !signatures.is_empty() {
            self.reporter.event(Event::StoringSignatures);
        }
        let image = self.sink.finish(&Finished {
            manifest: &manifest,
            list: self.opened.list.as_ref(),
            config: &config,
            landed,
            names,
            signatures: &signatures,
            role: self.role,
        })?;
        Ok((manifest, image))
    }

    fn lanes(&self, count: usize) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let remote = self.opened.layers.repository().is_some();
        match self.sink.lanes() {
            Lanes::One => 1,
            Lanes::Many if !remote => count.min(cores).clamp(1, self.options.parallel.max(1)),
            Lanes::Many | Lanes::Remote => {
                count.clamp(1, self.options.parallel.clamp(1, LANES_MAX))
            }
        }
    }

    /// Moves the layers, and the config beside them where the way is long.
    fn move_content(&self, crossings: &[Crossing]) -> Result<Vec<Landed>> {
        if self.sink.lanes() != Lanes::Remote {
            return self.move_layers(crossings);
        }
        let config = self.plan.config(self.plan.formats()[0])?;
        let digest = if config == self.opened.config {
            self.opened.manifest.manifest().config.digest.clone()
        } else {
            Digest::sha256(&config)
        };
        std::thread::scope(|scope| {
            scope.spawn(|| self.sink.put_config_early(&config, &digest));
            self.move_layers(crossings)
        })
    }

    /// Moves the layers, several at once if the destination takes them so.
    fn move_layers(&self, crossings: &[Crossing]) -> Result<Vec<Landed>> {
        let count = self.opened.offered.len();
        let known = |offered: &&Offered| offered.promised == Promised::Blob;
        let sizes = self.opened.offered.iter().filter(known);
        self.reporter.event(Event::BlobsPlanned {
            count,
            bytes: sizes.fold(0, |sum, offered| {
                sum.saturating_add(offered.descriptor.size)
            }),
        });
        let next = AtomicUsize::new(0);
        let given_up = AtomicBool::new(false);
        let landed: Mutex<Vec<Option<Landed>>> = Mutex::new(vec![None; count]);
        let failure: Mutex<Option<TransferError>> = Mutex::new(None);
        let work = || {
            while !given_up.load(Ordering::Acquire) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(offered), Some(crossing)) =
                    (self.opened.offered.get(index), crossings.get(index))
                else {
                    return;
                };
                let task = Task {
                    index,
                    offered,
                    crossing,
                    given_up: &given_up,
                };
                match self.move_layer(task) {
                    Ok(one) => {
                        landed.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(one);
                    }
                    Err(source) => {
                        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert_with(|| in_layer(index, offered, source));
                        given_up.store(true, Ordering::Release);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.lanes(count) {
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

    fn move_layer(&self, task: Task<'_>) -> Result<Landed> {
        let offered = task.offered;
        let digest = offered.descriptor.digest.clone();
        let size = (offered.promised == Promised::Blob).then_some(offered.descriptor.size);
        self.reporter.event(Event::BlobStarted {
            digest: digest.clone(),
            size,
        });
        self.check_type(offered)?;
        let landed = match self.reuse(task)? {
            Some(landed) => landed,
            None => self.transmit(task)?,
        };
        let outcome = landed.outcome;
        self.reporter.event(Event::BlobDone { digest, outcome });
        Ok(landed)
    }

    /// What is unpacked must be called a layer.
    fn check_type(&self, offered: &Offered) -> Result<()> {
        let media_type = &offered.descriptor.media_type;
        let known = media_type::LayerType::parse(media_type).is_some();
        if known || self.sink.takes_artifacts() {
            return Ok(());
        }
        Err(TransferError::NoLayer {
            media_type: media_type.clone(),
        })
    }

    fn reuse(&self, task: Task<'_>) -> Result<Option<Landed>> {
        let (index, offered) = (task.index, task.crossing.offered(task.offered));
        let media_type = &offered.descriptor.media_type;
        let kind = media_type::LayerType::parse(media_type);
        let known = kind.is_some();
        let foreign = kind.is_some_and(|kind| {
            kind.distribution == media_type::Distribution::Foreign
                && !offered.descriptor.urls.is_empty()
        });
        // A store offers layers without the compression that its manifests still speak of.
        let content = offered.diff_id.as_ref().map(|diff_id| &diff_id.0);
        let plain =
            offered.promised == Promised::Content || content == Some(&offered.descriptor.digest);
        let declared = if plain {
            Compression::None
        } else {
            declared_compression(media_type)
        };
        if foreign && self.sink.leaves_foreign() && !plain {
            let descriptor = &offered.descriptor;
            let landed = Landed::new(descriptor.digest.clone(), descriptor.size, declared);
            return Ok(Some(landed.by(BlobOutcome::Foreign)));
        }
        if task.crossing.seal().is_some() {
            return Ok(None);
        }
        match self.plan.action(self.sink, offered, declared)? {
            Action::Pass if !known && !self.sink.takes_artifacts() => Ok(None),
            Action::Pass => self.sink.reuse(index, offered),
            Action::Decode => Ok(None),
            action @ (Action::Encode(_) | Action::Recode(_)) => {
                let accept = Accept {
                    encoding: action.encoding(),
                    compression: &|compression| self.plan.accepts(compression),
                    recorded: self.opened.layers.recorded(index),
                };
                self.sink.reuse_content(offered, &accept)
            }
        }
    }

    fn begin<'b>(&'b self, task: Task<'b>) -> Result<Begun<'b>> {
        let descriptor = &task.offered.descriptor;
        let bytes = self.opened.layers.open(task.index)?;
        let at = self.opened.layers.resumed(&descriptor.digest);
        if at > 0 {
            let digest = descriptor.digest.clone();
            self.reporter.event(Event::BlobResumed { digest, at });
        }
        let watched = Watched::new(bytes, task.offered, self.reporter, task.given_up);
        let Crossing::Decrypted(opened, _) = task.crossing else {
            return Begun::new(Box::new(watched), self.opened.layers.vouched(task.index));
        };
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let verified = VerifiedReader::new(watched, digest, Some(size));
        let plain = opened
            .reader(verified)
            .map_err(|source| EncryptionError::Decrypt {
                layer: descriptor.digest.clone(),
                source,
            })?;
        Begun::new(Box::new(plain), None)
    }

    fn transmit(&self, task: Task<'_>) -> Result<Landed> {
        let begun = self.begin(task)?;
        let found = begun.found;
        let (offered, seal) = (task.crossing.offered(task.offered), task.crossing.seal());
        let action = self.plan.action(self.sink, offered, found)?;
        let content = if seal.is_some() {
            ContentCheck::BeforeEncryption
        } else if self.sink.checks_content() {
            ContentCheck::Destination
        } else {
            ContentCheck::Here
        };
        let mut reader = begun.into_reader(action, offered, content)?;
        let again = || -> Result<Box<dyn Read + Send + '_>> {
            let begun = self.begin(task)?;
            begun.into_reader(action, offered, content)
        };
        let passed = action == Action::Pass;
        let known = passed && seal.is_none() && offered.promised == Promised::Blob;
        let mut landed = self.sink.put_layer(
            task.index,
            Incoming {
                reader: &mut *reader,
                again: &again,
                compression: if passed { found } else { Compression::None },
                packing: Packing {
                    encoding: action.encoding(),
                    seal,
                },
                blob: known.then(|| (offered.descriptor.digest.clone(), offered.descriptor.size)),
                diff_id: offered.diff_id.clone(),
            },
        )?;
        task.crossing.label(&mut landed)?;
        Ok(landed)
    }
}

fn in_layer(index: usize, offered: &Offered, source: TransferError) -> TransferError {
    // What holds for the whole image needs no layer's name, and registries' errors have the blob's.
    if matches!(
        source,
        TransferError::MustNotChange { .. }
            | TransferError::Registry(_)
            | TransferError::Reuse { .. }
            | TransferError::WriteBlob { .. }
    ) {
        return source;
    }
    TransferError::Layer {
        index,
        digest: offered.descriptor.digest.clone(),
        source: Box::new(source),
    }
}

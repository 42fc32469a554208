//! Results of other machines: repositories of a registry that a build looks in, and puts its own results into.
//!
//! ```text
//! REPOSITORY:KEY of a step     an image with the layers up to the step; an annotation lists the stage's steps until there
//! REPOSITORY:KEY of an image   the image that a stage came to
//! ```
//! The keys are those of the local index ([`crate::key`]), which name everything that went into a step. Buildah's tags
//! digest the lines of the history instead, in which words are not expanded and networks, devices and volumes do not
//! appear: one such tag stands for different results, so none is looked for here, and none is written.
//!
//! Of an entry nothing is believed that can be checked: it must list our keys one by one and stand on the layer that we
//! stand on, the registry's answers are verified by digest, the policy for images is asked, and what is taken on is the
//! layers as they are in the store afterwards. Of the image of a stage only the times are used: ours is put together with
//! them, and must have the same ID.
//!
//! All of a stage's keys are known before its first step is performed (see [`crate::ahead`]), so the entry of the last step
//! that anybody has is found with one request for each step, several at once, and it alone is brought. What cannot be
//! reached or is not what it says costs a warning and the work.

use crate::cache::StepEntry;
use crate::key::StepKey;
use model::error::in_one_line;
use model::{
    DiffId, Digest, Event, ImageConfig, ImageId, LayerId, RawManifest, Reporter, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many requests are under way at once in a look-up.
const LANES: usize = 8;

/// How many entries of a stage are tried, each shorter than the one before, when they cannot be brought.
const TRIES: usize = 3;

/// The annotation that says what an entry holds.
const STEPS: &str = "io.cooper.cache.steps";

/// Why a repository did not do what was asked.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// One repository. Called from several threads.
pub trait RemoteCache: Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Returns the manifest under a tag, if there is one.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    fn manifest(&self, tag: &str) -> Result<Option<RawManifest>, RemoteError>;

    /// Returns the image under a tag, if there is one, without its layers.
    ///
    /// # Errors
    /// When the repository cannot be asked, or the config is not the one that the manifest names.
    fn image(&self, tag: &str) -> Result<Option<RemoteImage>, RemoteError>;

    /// Brings the image with this manifest into the store, without a name; layers that are there stay.
    ///
    /// # Errors
    /// When it cannot be had, or is not what its digests say, or the policy refuses it.
    fn bring(&self, manifest: &Digest) -> Result<ImageId, RemoteError>;

    /// Puts an image of the store under a tag.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn push(&self, image: &ImageId, tag: &str) -> Result<(), RemoteError>;
}

/// An image that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteImage {
    /// Its identifier.
    pub id: ImageId,
    /// Its configuration.
    pub config: ImageConfig,
}

/// `--cache-from` and `--cache-to`.
#[derive(Default)]
pub struct RemoteCaches<'a> {
    /// Where results are looked for, in order.
    pub from: Vec<Box<dyn RemoteCache + 'a>>,
    /// Where results are put.
    pub to: Vec<Box<dyn RemoteCache + 'a>>,
}

/// What an entry says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The layer that the first step stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<LayerId>,
    /// The steps of the stage that have keys, up to the entry's own.
    pub(crate) steps: Vec<Listed>,
}

/// One step of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Its key.
    pub(crate) key: String,
    /// The content of its layer; none when it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) diff_id: Option<DiffId>,
    /// When it was performed.
    pub(crate) created: Timestamp,
}

impl Listing {
    /// Returns the annotation that holds it.
    pub(crate) fn annotation(&self) -> Result<(String, String), serde_json::Error> {
        Ok((STEPS.to_owned(), serde_json::to_string(self)?))
    }

    fn read(manifest: &RawManifest) -> Option<Self> {
        let text = manifest.manifest().annotations.get(STEPS)?;
        serde_json::from_str(text).ok()
    }

    /// Says whether it is about these steps, on this layer, and all of them are young enough.
    fn fits(&self, base: Option<&LayerId>, keys: &[StepKey], oldest: Option<Timestamp>) -> bool {
        let same = |(listed, key): (&Listed, &StepKey)| listed.key == key.to_string();
        self.base.as_ref() == base
            && self.steps.len() == keys.len()
            && self.steps.iter().zip(keys).all(same)
            && oldest.is_none_or(|oldest| {
                let mut steps = self.steps.iter();
                steps.all(|step| step.created.unix_seconds() > oldest.unix_seconds())
            })
    }

    /// Returns what the local index says of each step.
    pub(crate) fn entries(&self) -> Vec<StepEntry> {
        let mut current = self.base.clone();
        let mut entries = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let layer = step
                .diff_id
                .as_ref()
                .map(|diff| LayerId::chain(current.as_ref(), diff));
            current = layer.clone().or(current);
            entries.push(StepEntry {
                layer,
                diff_id: step.diff_id.clone(),
                created: step.created,
            });
        }
        entries
    }
}

/// What a stage wants to know of other machines.
#[derive(Debug)]
pub(crate) struct Question<'q> {
    /// The layer that its first step stands on.
    pub(crate) base: Option<&'q LayerId>,
    /// The keys of its steps.
    pub(crate) keys: &'q [StepKey],
    /// How many of the first steps are known here.
    pub(crate) known: usize,
    /// What is not younger than this does not count.
    pub(crate) oldest: Option<Timestamp>,
}

/// An entry that would do.
#[derive(Clone, Debug)]
struct Candidate {
    /// Position of the entry's step.
    at: usize,
    source: usize,
    digest: Digest,
    listing: Listing,
}

/// An entry whose layers are in the store.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    /// The image that holds them.
    pub(crate) image: ImageId,
    /// The repository.
    pub(crate) repository: String,
    /// Its steps.
    pub(crate) listing: Listing,
}

/// The repositories that one build looks in.
pub(crate) struct Sources<'a> {
    all: &'a [Box<dyn RemoteCache + 'a>],
    /// Those that failed: nobody waits for them again.
    away: Vec<AtomicBool>,
    /// Keys whose results came from elsewhere in this build, with the place.
    pulled: Mutex<BTreeMap<StepKey, String>>,
    reporter: &'a dyn Reporter,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(all: &'a [Box<dyn RemoteCache + 'a>], reporter: &'a dyn Reporter) -> Self {
        Self {
            all,
            away: all.iter().map(|_| AtomicBool::new(false)).collect(),
            pulled: Mutex::default(),
            reporter,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns from where the result of a key was brought in this build.
    pub(crate) fn place_of(&self, key: &StepKey) -> Option<String> {
        self.lock().get(key).cloned()
    }

    /// Notes that the result of a key was brought.
    pub(crate) fn mark(&self, key: StepKey, repository: &str) {
        self.lock().insert(key, place(repository, &key));
    }

    /// Brings the longest row of results that some repository has and that goes on beyond what is known here. `arrived` says
    /// whether an entry's layers are where they belong.
    pub(crate) fn bring(
        &self,
        question: &Question<'_>,
        arrived: &dyn Fn(&Listing) -> bool,
    ) -> Option<Brought> {
        let mut end = question.keys.len();
        for _ in 0..TRIES {
            let found = self.longest(question, end)?;
            let source = &self.all[found.source];
            let place = place(source.name(), &question.keys[found.at]);
            match source.bring(&found.digest) {
                Ok(image) if arrived(&found.listing) => {
                    return Some(Brought {
                        image,
                        repository: source.name().to_owned(),
                        listing: found.listing,
                    });
                }
                Ok(_) => self.warn(format!(
                    "the cache entry {place} is not used: it does not hold the layers that it lists"
                )),
                Err(error) => {
                    let why = in_one_line(&*error);
                    self.warn(format!("the cache entry {place} is not used: {why}"));
                }
            }
            end = found.at;
        }
        None
    }

    /// Returns the entry of the last step before `end` that has one: of several repositories the first.
    fn longest(&self, question: &Question<'_>, end: usize) -> Option<Candidate> {
        // The longest row is asked for first: when it is there, shorter ones need not be.
        let steps = (question.known..end).rev();
        let jobs: Vec<(usize, usize)> = steps
            .flat_map(|at| (0..self.all.len()).map(move |source| (at, source)))
            .collect();
        let (next, best) = (AtomicUsize::new(0), Mutex::new(None::<Candidate>));
        let worker = || {
            while let Some(&(at, source)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let rank = |found: &Candidate| (found.at, Reverse(found.source));
                let lock = || best.lock().unwrap_or_else(PoisonError::into_inner);
                let is_beaten = |best: &Option<Candidate>| {
                    best.as_ref()
                        .is_some_and(|found| rank(found) > (at, Reverse(source)))
                };
                if is_beaten(&lock()) {
                    return;
                }
                if let Some(found) = self.candidate(question, at, source) {
                    let mut best = lock();
                    if !is_beaten(&best) {
                        *best = Some(found);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..LANES.min(jobs.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        best.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn candidate(&self, question: &Question<'_>, at: usize, source: usize) -> Option<Candidate> {
        let key = &question.keys[at];
        let manifest = self.ask(source, |cache| cache.manifest(&key.to_string()))?;
        let listing = Listing::read(&manifest)?;
        let fits = listing.fits(question.base, &question.keys[..=at], question.oldest);
        fits.then(|| Candidate {
            at,
            source,
            digest: manifest.digest(),
            listing,
        })
    }

    /// Returns the image that a stage came to elsewhere, with its repository.
    pub(crate) fn image(&self, key: &StepKey) -> Option<(RemoteImage, String)> {
        let tag = key.to_string();
        (0..self.all.len()).find_map(|source| {
            let image = self.ask(source, |cache| cache.image(&tag))?;
            Some((image, self.all[source].name().to_owned()))
        })
    }

    /// Asks a repository, unless it has failed before.
    fn ask<T>(
        &self,
        source: usize,
        question: impl FnOnce(&dyn RemoteCache) -> Result<Option<T>, RemoteError>,
    ) -> Option<T> {
        let (cache, away) = (&*self.all[source], &self.away[source]);
        if away.load(Ordering::Relaxed) {
            return None;
        }
        question(cache).unwrap_or_else(|error| {
            if !away.swap(true, Ordering::Relaxed) {
                let (name, why) = (cache.name(), in_one_line(&*error));
                self.warn(format!("the cache {name} is not used: {why}"));
            }
            None
        })
    }

    fn warn(&self, text: String) {
        self.reporter.event(Event::Warning { text });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StepKey, String>> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How lines name an entry.
fn place(repository: &str, key: &StepKey) -> String {
    format!("{repository}:{key}")
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;

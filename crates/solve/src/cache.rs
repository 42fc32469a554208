//! The index of what has been built: from a key to what came of it.
//!
//! ```text
//! <state>/cache/1/step/ab/cdef…    StepKey  → the layer (or none), its DiffID, when, history text
//! <state>/cache/1/image/ab/cdef…   StepKey  → the image of a whole stage, and its times
//! <state>/cache/1/input/ab/cdef…   StepKey  → content digest of files in an unchanging tree
//! <state>/cache/1/trace/ab/cdef…   StepKey  → what went into the keys of a stage's steps, last time
//! ```
//! One small file for each key: a look-up is one `open`, whatever the number of entries. A file
//! is written beside its place and renamed, so a reader sees all of it or none. Nothing is
//! synced: a file that a crash left half-written does not parse and counts as absent, as does
//! every file of another version. The whole directory can be removed at any time; the next
//! build then performs what it would have found.
//!
//! [`Cache::tidy`], called after builds, bounds it.
//!
//! The index deliberately does not say whether a layer still exists: the store does.

use crate::key::{Part, StepKey};
use model::{DiffId, ImageId, LayerId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Version of the directory; entries of another version are not looked at.
const VERSION: &str = "1";

/// Largest entry that is read, in bytes. A trace of 2,000 steps stays far below.
const MAX_ENTRY: u64 = 4 << 20;

/// How often the index is gone through.
const TIDY_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an entry is kept that stands for nothing in the store.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The layer that holds its change; `None` when it changed nothing.
    pub layer: Option<LayerId>,
    /// DiffID of that layer.
    pub diff_id: Option<DiffId>,
    /// When the step was performed.
    pub created: Timestamp,
}

/// What a whole stage came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// The image.
    pub image: ImageId,
    /// `created` of the image, then of its own history entries, so that an image that was
    /// removed can be written again with the same ID.
    pub created: Vec<Timestamp>,
}

/// Content of files in a tree that does not change (a layer).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputEntry {
    /// Digest of the content, as `builder` computes it, in hex.
    pub digest: String,
    /// The words that stand for it in the history line.
    pub history: String,
}

/// What the keys of a stage's steps were made of, the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// One list for each step that has a key, in order.
    pub steps: Vec<Vec<(Part, u64)>>,
    /// What each step was shown as, those that have no key as well: their first eight bytes.
    pub shown: Vec<u64>,
}

/// The four kinds of entries.
pub trait Entry: Serialize + DeserializeOwned {
    /// Name of the directory that holds them.
    const KIND: &'static str;
}
impl Entry for StepEntry {
    const KIND: &'static str = "step";
}
impl Entry for ImageEntry {
    const KIND: &'static str = "image";
}
impl Entry for InputEntry {
    const KIND: &'static str = "input";
}
impl Entry for Trace {
    const KIND: &'static str = "trace";
}

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the build cache entry `{}`", path.display())]
pub struct CacheError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The index below one directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Makes the names of unfinished files different for all indexes of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// Returns the index below `state_dir`. Nothing is opened or made before it is needed.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            root: state_dir.join("cache").join(VERSION),
        }
    }

    /// Returns the entry of `key`, if there is a whole one.
    #[must_use]
    pub fn get<E: Entry>(&self, key: &StepKey) -> Option<E> {
        let path = self.path::<E>(key);
        let file = fs::File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        if size > MAX_ENTRY {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
        io::Read::read_to_end(&mut io::Read::take(file, MAX_ENTRY), &mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the entry of `key`, replacing an older one.
    ///
    /// # Errors
    /// When the file cannot be written or put in its place.
    pub fn put<E: Entry>(&self, key: &StepKey, entry: &E) -> Result<(), CacheError> {
        let path = self.path::<E>(key);
        let fail = |source| CacheError {
            path: path.clone(),
            source,
        };
        let bytes = serde_json::to_vec(entry).map_err(|e| fail(e.into()))?;
        let written = || -> io::Result<()> {
            let (beside, mut file) = self.new_file()?;
            let ended =
                io::Write::write_all(&mut file, &bytes).and_then(|()| fs::rename(&beside, &path));
            if ended.is_err() {
                let _ = fs::remove_file(&beside);
            }
            ended
        };
        match written() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // The first entry of its directory: made only now, so that a look-up in an
                // empty index touches nothing.
                let parent = path.parent().unwrap_or(&self.root);
                fs::create_dir_all(parent).map_err(fail)?;
                written().map_err(fail)
            }
            other => other.map_err(fail),
        }
    }

    /// Makes a file that nobody else writes: another process may have our number in a PID
    /// namespace of its own, and a crash may have left a file.
    fn new_file(&self) -> io::Result<(PathBuf, fs::File)> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = self
                .root
                .join(format!("new-{}-{number}", std::process::id()));
            match fs::File::create_new(&path) {
                Ok(file) => return Ok((path, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Goes through the index, so that it does not grow for ever: what stands for a layer or an image goes when that is
    /// gone, everything else when it is [`KEPT`] old; it is found out again when it is wanted. Returns the number of entries that went.
    ///
    /// # Errors
    /// When a directory cannot be read or an entry cannot be removed.
    pub fn tidy(
        &self,
        now: SystemTime,
        layer_is_there: &dyn Fn(&LayerId) -> bool,
        image_is_there: &dyn Fn(&ImageId) -> bool,
    ) -> Result<usize, CacheError> {
        let steps = self.tidy_kind::<StepEntry>(now, &|entry, age| match &entry.layer {
            Some(layer) => layer_is_there(layer),
            None => age < KEPT,
        })?;
        let images = self.tidy_kind::<ImageEntry>(now, &|entry, _| image_is_there(&entry.image))?;
        let inputs = self.tidy_kind::<InputEntry>(now, &|_, age| age < KEPT)?;
        let traces = self.tidy_kind::<Trace>(now, &|_, age| age < KEPT)?;
        Ok(steps + images + inputs + traces)
    }

    /// Says whether the index is to be gone through, which is once a day; saying yes counts as having done so, and a new
    /// index begins its first day.
    ///
    /// # Errors
    /// When the file that holds the last time cannot be written.
    pub fn is_due(&self, now: SystemTime) -> Result<bool, CacheError> {
        let path = self.root.join("tidied");
        let last = fs::metadata(&path).and_then(|facts| facts.modified());
        let due = last
            .as_ref()
            .is_ok_and(|last| age(now, *last) >= TIDY_EVERY);
        if (due || last.is_err()) && self.root.is_dir() {
            let opened = fs::File::create(&path).and_then(|file| file.set_modified(now));
            opened.map_err(|source| CacheError { path, source })?;
        }
        Ok(due)
    }

    fn tidy_kind<E: Entry>(
        &self,
        now: SystemTime,
        is_kept: &dyn Fn(&E, Duration) -> bool,
    ) -> Result<usize, CacheError> {
        let mut gone = 0;
        for dir in list(&self.root.join(E::KIND))? {
            for path in list(&dir)? {
                let read = fs::metadata(&path).and_then(|facts| {
                    let bytes = fs::read(&path)?;
                    Ok((bytes, age(now, facts.modified()?)))
                });
                let kept = read.is_ok_and(|(bytes, age)| {
                    serde_json::from_slice(&bytes).is_ok_and(|entry| is_kept(&entry, age))
                });
                if kept {
                    continue;
                }
                match fs::remove_file(&path) {
                    Ok(()) => gone += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(CacheError { path, source }),
                }
            }
        }
        Ok(gone)
    }

    fn path<E: Entry>(&self, key: &StepKey) -> PathBuf {
        let hex = key.to_string();
        let (head, tail) = hex.split_at(2);
        self.root.join(E::KIND).join(head).join(tail)
    }
}

/// How old a file is; one from the future is new.
fn age(now: SystemTime, modified: SystemTime) -> Duration {
    now.duration_since(modified).unwrap_or_default()
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let fail = |source| CacheError {
        path: dir.to_owned(),
        source,
    };
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| Ok(entry.map_err(fail)?.path()))
            .collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(fail(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);
    impl Dir {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!(
                "/var/tmp/cooper-dev-solve/cache-{name}-{}",
                std::process::id()
            ));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn layer(n: u8) -> LayerId {
        LayerId::from_bytes([n; 32])
    }

    fn step(n: u8) -> StepEntry {
        StepEntry {
            layer: Some(layer(n)),
            diff_id: None,
            created: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_put_is_got_and_the_last_one_wins() {
        let dir = Dir::new("put");
        let cache = Cache::new(&dir.0);
        let key = StepKey::from_bytes([1; 32]);
        assert_eq!(cache.get::<StepEntry>(&key), None);
        assert!(!dir.0.exists(), "a look-up made a directory");
        cache.put(&key, &step(1)).unwrap();
        cache.put(&key, &step(2)).unwrap();
        assert_eq!(cache.get::<StepEntry>(&key), Some(step(2)));
        assert_eq!(cache.get::<ImageEntry>(&key), None);
    }

    #[test]
    fn a_broken_entry_counts_as_absent() {
        let dir = Dir::new("broken");
        let cache = Cache::new(&dir.0);
        let key = StepKey::from_bytes([1; 32]);
        cache.put(&key, &step(1)).unwrap();
        let path = cache.path::<StepEntry>(&key);
        for text in [
            "",
            "{\"layer\":",
            "{\"layer\":\"nothex\",\"created\":\"x\"}",
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(cache.get::<StepEntry>(&key), None, "{text}");
        }
    }

    #[test]
    fn tidying_removes_what_is_gone_or_old_once_a_day() {
        let dir = Dir::new("tidy");
        let cache = Cache::new(&dir.0);
        let key = |n: u8| StepKey::from_bytes([n; 32]);
        for n in 1..=3 {
            cache.put(&key(n), &step(n)).unwrap();
        }
        let unchanged = StepEntry {
            layer: None,
            ..step(4)
        };
        cache.put(&key(4), &unchanged).unwrap();
        cache.put(&key(5), &Trace::default()).unwrap();
        let tidy = |days: u64| {
            let now = SystemTime::now() + Duration::from_secs(24 * 60 * 60 * days);
            if !cache.is_due(now).unwrap() {
                return 0;
            }
            cache.tidy(now, &|l| *l == layer(2), &|_| true).unwrap()
        };
        let there = || (1..=4).filter(|n| cache.get::<StepEntry>(&key(*n)).is_some());
        assert_eq!(tidy(0), 0, "the first day begins");
        assert_eq!(there().count(), 4);
        assert_eq!(tidy(2), 2, "layers that are gone");
        assert_eq!(there().collect::<Vec<_>>(), [2, 4]);
        cache.put(&key(1), &step(1)).unwrap();
        assert_eq!(tidy(2), 0, "the same day");
        assert_eq!(tidy(40), 3, "what is gone and what is old");
        assert_eq!(there().collect::<Vec<_>>(), [2]);
        assert_eq!(cache.get::<Trace>(&key(5)), None);
    }
}

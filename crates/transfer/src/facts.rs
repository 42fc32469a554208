//! What was learnt of layers on earlier copies: which blob a layer becomes when it is compressed, and which repositories
//! have been seen with a blob.
//!
//! It is kept in the blob-info cache of this host, which the Go tools read and write, too, whatever the store. It is a
//! memory, not a record. What is written down has been computed here from bytes that passed: what a registry only claims
//! is not. What is read may have been written by anybody who may write there, and is believed as far as the Go tools
//! believe it: it suggests blobs to a destination that is then asked for them. No content of a store is ever named by it,
//! and a pair that is wrong makes an image that whoever fetches it refuses, since its config has the content's digest.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use archive::Compression;
use model::{DiffId, Digest};

use self::cache_file::CacheFile;

mod cache_file;

/// The most repositories that are remembered for a blob, and forms for a layer, that the file does not have.
const LEARNT_MAX: usize = 8;
/// How long facts may wait to be written together, so that a copy that is killed has not learnt in vain.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A layer in the form that it once had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The blob.
    pub(crate) blob: Digest,
    /// Its size in bytes, where it is known.
    pub(crate) size: Option<u64>,
    pub(crate) compression: Compression,
    /// What its descriptor says besides.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The registry's host.
    pub(crate) host: String,
    /// The repository's path.
    pub(crate) repository: String,
}

/// Something learnt.
enum Fact {
    Became { diff: DiffId, form: Form },
    Seen { blob: Digest, place: Place },
}

/// What is known of blobs.
pub(crate) struct Facts(Mutex<Known>);

struct Known {
    // What this process has learnt, younger facts last.
    forms: HashMap<DiffId, Vec<Form>>,
    places: HashMap<Digest, Vec<Place>>,
    // `None`: the memory ends with the process.
    file: Option<CacheFile>,
    unwritten: Vec<Fact>,
    written: Instant,
}

impl Facts {
    /// A memory that ends with the process.
    pub(crate) fn forgetful() -> Self {
        Self::with(None)
    }

    /// A memory in the file of a directory. Neither is touched before something is asked for or learnt.
    pub(crate) fn in_directory(directory: &Path, now: SystemTime) -> Self {
        Self::with(Some(CacheFile::in_directory(directory, now)))
    }

    fn with(file: Option<CacheFile>) -> Self {
        Self(Mutex::new(Known {
            forms: HashMap::new(),
            places: HashMap::new(),
            file,
            unwritten: Vec::new(),
            written: Instant::now(),
        }))
    }

    /// Returns the forms in which a layer was seen: those of this process, then those last seen at the registry.
    pub(crate) fn forms(&self, diff: &DiffId, host: &str) -> Vec<Form> {
        let mut known = self.known();
        let learnt = known.forms.get(diff).into_iter().flatten();
        let mut forms: Vec<Form> = learnt.rev().cloned().collect();
        let read = known.file.as_mut().map(|file| file.forms(diff, host));
        for form in read.into_iter().flatten() {
            if !forms.iter().any(|other| other.blob == form.blob) {
                forms.push(form);
            }
        }
        forms
    }

    /// Returns repositories of a registry in which a blob was seen: those of this process, then the one called `own` if it
    /// is among them, then those where it was seen last.
    pub(crate) fn places(&self, blob: &Digest, host: &str, own: &str) -> Vec<String> {
        let mut known = self.known();
        let learnt = known.places.get(blob).into_iter().flatten().rev();
        let here = learnt.filter(|place| place.host == host);
        let mut places: Vec<String> = here.map(|place| place.repository.clone()).collect();
        let read = known.file.as_mut().map(|file| file.places(blob, host, own));
        for place in read.into_iter().flatten() {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Remembers which blob a layer became. Only for bytes that were read or made here.
    pub(crate) fn became(&self, diff: &DiffId, form: &Form) {
        let mut known = self.known();
        if push_last(known.forms.entry(diff.clone()).or_default(), form) {
            let (diff, form) = (diff.clone(), form.clone());
            known.learn(Fact::Became { diff, form });
        }
    }

    /// Remembers that a repository has a blob.
    pub(crate) fn seen(&self, blob: &Digest, host: &str, repository: &str) {
        let place = Place {
            host: host.to_owned(),
            repository: repository.to_owned(),
        };
        let mut known = self.known();
        if push_last(known.places.entry(blob.clone()).or_default(), &place) {
            let blob = blob.clone();
            known.learn(Fact::Seen { blob, place });
        }
    }

    /// Returns whether something learnt waits to be written down.
    pub(crate) fn are_unwritten(&self) -> bool {
        !self.known().unwritten.is_empty()
    }

    /// Writes down what was learnt since the last time.
    pub(crate) fn write(&self) {
        self.known().write();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, fact: Fact) {
        if self.file.is_none() {
            return;
        }
        self.unwritten.push(fact);
        if self.written.elapsed() > WAIT_MAX {
            self.write();
        }
    }

    fn write(&mut self) {
        let facts = std::mem::take(&mut self.unwritten);
        if let (Some(file), false) = (&mut self.file, facts.is_empty()) {
            file.write(&facts);
            self.written = Instant::now();
        }
    }
}

/// Makes `item` the youngest; returns whether it was not that before.
fn push_last<T: Clone + PartialEq>(items: &mut Vec<T>, item: &T) -> bool {
    if items.last() == Some(item) {
        return false;
    }
    items.retain(|known| known != item);
    items.push(item.clone());
    if items.len() > LEARNT_MAX {
        items.remove(0);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use rusqlite::Connection;

    use super::*;

    fn blob(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn form(text: &str, compression: Compression) -> Form {
        Form {
            blob: blob(text),
            size: Some(7),
            compression,
            annotations: BTreeMap::new(),
        }
    }

    fn at(directory: &Path, seconds: u64) -> Facts {
        Facts::in_directory(directory, UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn rows(directory: &Path, query: &str) -> Vec<String> {
        let file = Connection::open(directory.join("blob-info-cache-v1.sqlite")).unwrap();
        let mut query = file.prepare(query).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn facts_outlive_the_process() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("made/for/it");
        let diff = DiffId(blob("content"));
        let facts = at(&directory, 1_000_000_000);
        facts.became(&diff, &form("1", Compression::Gzip));
        facts.became(&diff, &form("2", Compression::Zstd));
        facts.became(&diff, &form("3", Compression::Xz));
        facts.seen(&blob("1"), "h.example:1", "a/b");
        facts.seen(&blob("1"), "other.example", "d");
        facts.write();
        let facts = at(&directory, 1_000_500_000);
        facts.seen(&blob("1"), "h.example:1", "c");
        facts.write();
        let facts = at(&directory, 0);
        let read = |text: &str, compression| Form {
            size: None,
            ..form(text, compression)
        };
        let (gzip, zstd) = (read("1", Compression::Gzip), read("2", Compression::Zstd));
        assert_eq!(facts.forms(&diff, "h.example:1"), [gzip.clone(), zstd]);
        let places = |own| facts.places(&blob("1"), "h.example:1", own);
        assert_eq!(places("z"), ["c", "a/b"]);
        assert_eq!(places("a/b"), ["a/b", "c"]);
        assert!(facts.places(&blob("2"), "h.example:1", "z").is_empty());
        // What is learnt now comes first, and once.
        facts.became(&diff, &form("2", Compression::Zstd));
        assert_eq!(
            facts.forms(&diff, "h.example:1"),
            [form("2", Compression::Zstd), gzip]
        );
        facts.seen(&blob("1"), "h.example:1", "a/b");
        assert_eq!(places("c"), ["a/b", "c"]);
    }

    #[test]
    fn values_have_the_forms_of_the_go_tools() {
        let scratch = tempfile::tempdir().unwrap();
        let facts = at(scratch.path(), 1_763_746_477);
        let contents = "io.github.containers.zstd-chunked.manifest-checksum";
        let chunked = Form {
            annotations: BTreeMap::from([(contents.to_owned(), "sha256:c".to_owned())]),
            ..form("1", Compression::Zstd)
        };
        facts.became(&DiffId(blob("content")), &chunked);
        facts.seen(&blob("1"), "registry.example.com:5000", "a/b");
        facts.write();
        let check = |query: &str, expected: &str| {
            let expected = expected
                .replace("CONTENT", blob("content").as_str())
                .replace("BLOB", blob("1").as_str());
            assert_eq!(rows(scratch.path(), query), [expected], "{query}");
        };
        check(
            "SELECT anyDigest || ' ' || uncompressedDigest FROM DigestUncompressedPairs",
            "BLOB CONTENT",
        );
        check(
            "SELECT group_concat(compressor) FROM \
             (SELECT compressor FROM DigestCompressors ORDER BY compressor)",
            "uncompressed,zstd",
        );
        check(
            "SELECT specificVariantCompressor || ' ' || typeof(specificVariantAnnotations) || ' ' || \
             CAST(specificVariantAnnotations AS TEXT) FROM DigestSpecificVariantCompressors",
            "zstd:chunked blob {\"io.github.containers.zstd-chunked.manifest-checksum\":\"sha256:c\"}",
        );
        check(
            "SELECT tocDigest || ' ' || uncompressedDigest FROM DigestTOCUncompressedPairs",
            "sha256:c CONTENT",
        );
        check(
            "SELECT transport || ' ' || scope || ' ' || location || ' ' || time FROM KnownLocations",
            "docker registry.example.com:5000 registry.example.com:5000/a/b 2025-11-21 17:34:37+00:00",
        );
        let forms = at(scratch.path(), 0).forms(&DiffId(blob("content")), "h.example");
        assert_eq!(forms[0].annotations, chunked.annotations);
    }

    #[test]
    fn a_young_place_is_not_written_again() {
        let scratch = tempfile::tempdir().unwrap();
        let times = |seconds| {
            let facts = at(scratch.path(), seconds);
            facts.seen(&blob("1"), "h.example", "r");
            facts.write();
            rows(scratch.path(), "SELECT time FROM KnownLocations")
        };
        assert_eq!(times(1_000_000_000), ["2001-09-09 01:46:40+00:00"]);
        assert_eq!(times(1_000_000_900), ["2001-09-09 01:46:40+00:00"]);
        assert_eq!(times(1_000_100_000), ["2001-09-10 05:33:20+00:00"]);
    }

    #[test]
    fn rows_that_make_no_sense_are_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let diff = DiffId(blob("content"));
        let facts = at(scratch.path(), 1_000_000_000);
        facts.became(&diff, &form("1", Compression::Gzip));
        facts.seen(&blob("1"), "h.example", "r");
        facts.write();
        let file = Connection::open(scratch.path().join("blob-info-cache-v1.sqlite")).unwrap();
        let spoil = "
            INSERT INTO DigestUncompressedPairs VALUES ('sha256:x', 'CONTENT'), ('BLOB', 'CONTENT'), (x'ff', 'CONTENT');
            INSERT INTO DigestCompressors VALUES ('sha256:x', 'gzip'), ('BLOB', 'zstd'), (x'ff', 'gzip');
            INSERT INTO DigestSpecificVariantCompressors VALUES ('BLOB', 'zstd:chunked', '{]');
            INSERT INTO KnownLocations VALUES
                ('docker', 'h.example', 'ONE', 'other.example/r', 'x'),
                ('docker', 'h.example', 'ONE', 'h.example/../r', x'ff'),
                ('docker', 'h.example', 'ONE', 'h.example/r:tag', 7),
                ('docker', 'h.example', 'ONE', x'ff', '2100-01-01 00:00:00+00:00');";
        file.execute_batch(
            &spoil
                .replace("CONTENT", blob("content").as_str())
                .replace("BLOB", blob("2").as_str())
                .replace("ONE", blob("1").as_str()),
        )
        .unwrap();
        let facts = at(scratch.path(), 0);
        let blobs = facts.forms(&diff, "h.example");
        assert_eq!(blobs.len(), 1);
        assert_eq!(blobs[0].blob, blob("1"));
        assert_eq!(facts.places(&blob("1"), "h.example", "z"), ["r"]);
    }

    #[test]
    fn a_file_of_an_older_tool_is_completed() {
        let scratch = tempfile::tempdir().unwrap();
        let file = Connection::open(scratch.path().join("blob-info-cache-v1.sqlite")).unwrap();
        let older = "CREATE TABLE DigestUncompressedPairs(anyDigest TEXT PRIMARY KEY NOT NULL, uncompressedDigest TEXT NOT NULL);
            CREATE TABLE DigestCompressors(digest TEXT PRIMARY KEY NOT NULL, compressor TEXT NOT NULL);";
        file.execute_batch(older).unwrap();
        let diff = DiffId(blob("content"));
        let facts = at(scratch.path(), 0);
        assert!(facts.forms(&diff, "h.example").is_empty());
        facts.became(&diff, &form("1", Compression::Gzip));
        facts.write();
        assert_eq!(at(scratch.path(), 0).forms(&diff, "h.example").len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_no_error() {
        let check = |directory: &Path| {
            let facts = at(directory, 0);
            assert!(facts.places(&blob("1"), "h.example", "r").is_empty());
            facts.seen(&blob("1"), "h.example", "r");
            facts.write();
            assert_eq!(facts.places(&blob("1"), "h.example", "r"), ["r"]);
            facts.became(&DiffId(blob("c")), &form("1", Compression::Gzip));
            facts.write();
        };
        check(Path::new("/proc/no/such/directory"));
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("blob-info-cache-v1.sqlite");
        fs::write(&file, "garbage").unwrap();
        check(scratch.path());
        assert_eq!(fs::read(&file).unwrap(), b"garbage");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        check(scratch.path());
    }

    #[test]
    fn the_own_repository_is_known_beside_any_number_of_others() {
        let scratch = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let facts = at(scratch.path(), 1_000_000_000 + number);
            facts.seen(&blob("1"), "h.example", &format!("r{number}"));
            facts.write();
        }
        let places = at(scratch.path(), 0).places(&blob("1"), "h.example", "r3");
        assert_eq!(places[..3], ["r3", "r39", "r38"]);
        assert!(places.len() < 20);
    }

    #[test]
    fn many_processes_lose_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for process in 0..8 {
                let directory = scratch.path();
                scope.spawn(move || {
                    for round in 0..5 {
                        let facts = at(directory, 0);
                        facts.seen(&blob("1"), "h.example", &format!("r{process}{round}"));
                        facts.write();
                    }
                });
            }
        });
        let count = "SELECT CAST(count(*) AS TEXT) FROM KnownLocations";
        assert_eq!(rows(scratch.path(), count), ["40"]);
    }
}

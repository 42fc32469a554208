//! What was learnt of layers on earlier copies: which blob a layer becomes when it is compressed, and which repositories
//! have been seen with a blob.
//!
//! A file of our own with one JSON object per line, appended under a lock. It is a memory, not a record: a line that
//! cannot be read is skipped, a file that cannot be written is left alone, and a blob is looked for at the registry
//! before anything is built on it. What a registry only claims is not written down: pairs of content and blob are
//! those whose bytes have passed through here.
//!
//! The peers keep the same knowledge in an SQLite file, which is neither read nor written.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::Compression;
use model::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::files::Encoding;

/// The most bytes of the file that are read; a longer one is begun anew from its younger half.
const FILE_MAX: u64 = 8 << 20;
/// The most repositories that are remembered for a blob.
const PLACES_MAX: usize = 8;

/// A layer in the form that it once had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    /// The blob.
    pub(crate) blob: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
    #[serde(with = "compression_name")]
    pub(crate) compression: Compression,
    /// The settings that we made it with; none for a blob that others made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<String>,
    /// What its descriptor says besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The registry's host.
    pub(crate) host: String,
    /// The repository's path.
    pub(crate) repository: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Form {
        diff: Digest,
        #[serde(flatten)]
        form: Form,
    },
    Place {
        blob: Digest,
        #[serde(flatten)]
        place: Place,
    },
}

#[derive(Default)]
struct Known {
    // Younger ones last.
    forms: HashMap<Digest, Vec<Form>>,
    places: HashMap<Digest, Vec<Place>>,
}

/// What is known of blobs.
pub(crate) struct Facts {
    path: Option<PathBuf>,
    // `None` until the first question.
    known: Mutex<Option<Known>>,
}

impl Facts {
    /// A memory that ends with the process.
    pub(crate) fn forgetful() -> Self {
        Self {
            path: None,
            known: Mutex::default(),
        }
    }

    /// A memory in a file.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            known: Mutex::default(),
        }
    }

    /// Returns the forms in which a layer was seen: those made with these settings first, then younger before older.
    pub(crate) fn forms(&self, diff: &DiffId, encoding: Encoding) -> Vec<Form> {
        let mut known = self.known();
        let known = self.loaded(&mut known);
        let mut forms: Vec<Form> = known.forms.get(&diff.0).cloned().unwrap_or_default();
        forms.reverse();
        let settings = encoding.settings();
        forms.sort_by_key(|form| form.settings.as_deref() != Some(&*settings));
        forms
    }

    /// Returns the repositories of a registry in which a blob was seen, the youngest first.
    pub(crate) fn places(&self, blob: &Digest, host: &str) -> Vec<String> {
        let mut known = self.known();
        let known = self.loaded(&mut known);
        let places = known.places.get(blob).into_iter().flatten();
        let here = places.filter(|place| place.host == host);
        here.map(|place| place.repository.clone()).rev().collect()
    }

    /// Remembers which blob a layer became. Only for bytes that were read or made here.
    pub(crate) fn became(&self, diff: &DiffId, form: &Form) {
        self.learn(Line::Form {
            diff: diff.0.clone(),
            form: form.clone(),
        });
    }

    /// Remembers that a repository has a blob.
    pub(crate) fn seen(&self, blob: &Digest, host: &str, repository: &str) {
        self.learn(Line::Place {
            blob: blob.clone(),
            place: Place {
                host: host.to_owned(),
                repository: repository.to_owned(),
            },
        });
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded<'a>(&self, known: &'a mut Option<Known>) -> &'a mut Known {
        known.get_or_insert_with(|| {
            let mut known = Known::default();
            for line in self.read().lines() {
                if let Ok(line) = serde_json::from_str(line) {
                    known.learn(line);
                }
            }
            known
        })
    }

    fn learn(&self, line: Line) {
        let text = serde_json::to_string(&line);
        let mut known = self.known();
        if self.loaded(&mut known).learn(line)
            && let Ok(text) = text
        {
            // A memory that cannot be kept is no reason to fail.
            let _ = self.append(&text);
        }
    }

    fn read(&self) -> String {
        let mut bytes = Vec::new();
        if let Some(path) = &self.path
            && let Ok(file) = File::open(path)
        {
            let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        if file.metadata()?.len() + line.len() as u64 > FILE_MAX {
            let whole = self.read();
            let whole = whole.as_bytes();
            let older = &whole[..whole.len() / 2];
            let end = older.iter().rposition(|byte| *byte == b'\n');
            file.set_len(0)?;
            file.write_all(&whole[end.map_or(0, |end| end + 1)..])?;
        }
        // One write: a reader sees all of a line or none.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

impl Known {
    /// Takes a line; returns whether it was new.
    fn learn(&mut self, line: Line) -> bool {
        match line {
            Line::Form { diff, form } => push_last(self.forms.entry(diff).or_default(), form),
            Line::Place { blob, place } => push_last(self.places.entry(blob).or_default(), place),
        }
    }
}

/// Makes `item` the youngest; returns whether it was not that before.
fn push_last<T: PartialEq>(items: &mut Vec<T>, item: T) -> bool {
    if items.last() == Some(&item) {
        return false;
    }
    items.retain(|known| *known != item);
    items.push(item);
    if items.len() > PLACES_MAX {
        items.remove(0);
    }
    true
}

mod compression_name {
    use archive::Compression;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    const NAMES: [(Compression, &str); 5] = [
        (Compression::None, "none"),
        (Compression::Gzip, "gzip"),
        (Compression::Bzip2, "bzip2"),
        (Compression::Xz, "xz"),
        (Compression::Zstd, "zstd"),
    ];

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub(super) fn serialize<S: Serializer>(
        compression: &Compression,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let name = NAMES.iter().find(|(known, _)| known == compression);
        serializer.serialize_str(name.map_or("none", |(_, name)| name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Compression, D::Error> {
        let text = String::deserialize(deserializer)?;
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(known, _)| *known)
            .ok_or_else(|| D::Error::custom("no such compression"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(blob: &str, settings: Option<&str>) -> Form {
        Form {
            blob: Digest::sha256(blob.as_bytes()),
            size: 7,
            compression: Compression::Gzip,
            settings: settings.map(str::to_owned),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        }
    }

    #[test]
    fn facts_outlive_the_process_and_broken_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/blobs.jsonl");
        let diff = DiffId(Digest::sha256(b"content"));
        let gzip = Encoding {
            compression: Compression::Gzip,
            level: None,
            chunked: false,
        };
        let facts = Facts::at(path.clone());
        facts.became(&diff, &form("1", Some(&gzip.settings())));
        facts.became(&diff, &form("2", None));
        facts.seen(&Digest::sha256(b"1"), "h:1", "a/b");
        facts.seen(&Digest::sha256(b"1"), "h:1", "c");
        facts.seen(&Digest::sha256(b"1"), "other", "d");
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"diff\":\n\xff\n{}\n")
            .unwrap();
        let facts = Facts::at(path);
        let made = form("1", Some(&gzip.settings()));
        assert_eq!(facts.forms(&diff, gzip), [made.clone(), form("2", None)]);
        let plain = Encoding::PLAIN;
        assert_eq!(facts.forms(&diff, plain), [form("2", None), made]);
        assert_eq!(facts.places(&Digest::sha256(b"1"), "h:1"), ["c", "a/b"]);
        assert!(facts.places(&Digest::sha256(b"2"), "h:1").is_empty());
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blobs.jsonl");
        fs::write(&path, "x\n".repeat(usize::try_from(FILE_MAX / 2).unwrap())).unwrap();
        let facts = Facts::at(path.clone());
        facts.seen(&Digest::sha256(b"1"), "h", "r");
        assert!(fs::metadata(&path).unwrap().len() < FILE_MAX / 2 + 500);
        assert_eq!(Facts::at(path).places(&Digest::sha256(b"1"), "h"), ["r"]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_error() {
        let facts = Facts::at("/proc/no/such/file".into());
        facts.seen(&Digest::sha256(b"1"), "h", "r");
        assert_eq!(facts.places(&Digest::sha256(b"1"), "h"), ["r"]);
    }
}

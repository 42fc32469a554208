//! What several tests need.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cooper_trust::{Circumstances, Image, Policy, Signature, Subject, verify};
use model::{Digest, Reference};

/// The manifest that the fixtures sign.
pub const MANIFEST: &[u8] = b"{}";
/// A moment after the fixtures were made, in seconds since the beginning of 1970.
pub const NOW: i64 = 1_795_274_053 + 3600;
pub const DAY: i64 = 86_400;

pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust/fixtures");
    std::fs::read(path.join(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An image, a policy, and key files by name.
pub struct Case {
    pub policy: String,
    pub name: String,
    pub manifest: Vec<u8>,
    pub signatures: Vec<Signature>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub now: i64,
}

impl Case {
    /// The image `ex.com/a:1` under one requirement.
    pub fn new(requirement: &str) -> Self {
        Self {
            policy: format!(r#"{{"default":[{requirement}]}}"#),
            name: "ex.com/a:1".to_owned(),
            manifest: MANIFEST.to_vec(),
            signatures: Vec::new(),
            files: BTreeMap::new(),
            now: NOW,
        }
    }

    pub fn with(mut self, signature: Signature) -> Self {
        self.signatures.push(signature);
        self
    }

    pub fn file(mut self, path: &str, bytes: Vec<u8>) -> Self {
        self.files.insert(path.into(), bytes);
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    /// The verdict: nothing, or the reasons in one line.
    pub fn verdict(&self) -> Result<(), String> {
        let policy = Policy::parse(self.policy.as_bytes()).map_err(|err| chain(&err))?;
        let name = Reference::parse_normalized(&self.name).unwrap();
        let subject = Subject::docker(format!("docker://{name}"), &name);
        let read = |path: &Path| {
            let bytes = self.files.get(path).cloned();
            bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        verify(
            policy.requirements(&subject),
            &Image {
                subject: &subject,
                digest: &Digest::sha256(&self.manifest),
                manifest: &self.manifest,
                signatures: &self.signatures,
            },
            &Circumstances {
                read: &read,
                now: self.now,
            },
        )
        .map_err(|err| chain(&err))
    }

    /// Checks the verdict; of a refusal, that its text has a part.
    #[track_caller]
    pub fn check(&self, expected: Result<(), &str>) {
        match (self.verdict(), expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(part)) if found.contains(part) => {}
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

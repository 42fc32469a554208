//! The host's policy: found once, when the first image is to be used.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use trust::{POLICY_MAX, Policy, Requirement};

use super::SignaturesError;

/// Where the policy is.
#[derive(Debug)]
pub struct PolicySource {
    place: Place,
    read: OnceLock<Policy>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Missing(Vec<PathBuf>),
    Given(Policy),
}

impl PolicySource {
    fn new(place: Place) -> Self {
        Self {
            place,
            read: OnceLock::new(),
        }
    }

    /// A file, which is read when the policy is needed.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Place::File(path.into()))
    }

    /// None of these files is there. That becomes an error only when the policy is needed.
    pub fn missing(searched: Vec<PathBuf>) -> Self {
        Self::new(Place::Missing(searched))
    }

    /// A policy that is at hand.
    pub fn given(policy: Policy) -> Self {
        Self::new(Place::Given(policy))
    }

    /// A policy that asks for nothing.
    pub fn accepting() -> Self {
        Self::given(Policy::uniform(Requirement::InsecureAcceptAnything))
    }

    /// Returns the policy.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn policy(&self) -> Result<&Policy, SignaturesError> {
        let path = match &self.place {
            Place::Given(policy) => return Ok(policy),
            Place::Missing(searched) => {
                let searched: Vec<String> = searched
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                return Err(SignaturesError::NoPolicy {
                    searched: searched.join(" "),
                });
            }
            Place::File(path) => path,
        };
        if let Some(policy) = self.read.get() {
            return Ok(policy);
        }
        let bytes = read_at_most(path, POLICY_MAX as u64 + 1).map_err(|source| {
            SignaturesError::PolicyFile {
                path: path.clone(),
                source: plain(source),
            }
        })?;
        let policy = Policy::parse(&bytes).map_err(|source| SignaturesError::Policy {
            path: path.clone(),
            source: Box::new(source),
        })?;
        Ok(self.read.get_or_init(|| policy))
    }
}

/// Reads the beginning of a file.
pub(super) fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives an error the words that Go has for it.
fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::NotFound, "no such file or directory")
        }
        io::ErrorKind::PermissionDenied => {
            io::Error::new(io::ErrorKind::PermissionDenied, "permission denied")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::error::in_one_line;

    #[test]
    fn policies_are_found_when_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        let source = PolicySource::file(&path);
        assert_eq!(
            in_one_line(&source.policy().unwrap_err()),
            format!("open {}: no such file or directory", path.display())
        );
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(
            in_one_line(&source.policy().unwrap_err()),
            format!("invalid policy in {path:?}: Default policy is missing")
        );
        std::fs::write(&path, r#"{"default":[{"type":"reject"}]}"#).unwrap();
        let first = source.policy().unwrap().clone();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*source.policy().unwrap(), first);
        let missing = PolicySource::missing(vec!["/a".into(), "/b".into()]);
        assert_eq!(
            missing.policy().unwrap_err().to_string(),
            "config file not found: no policy.json file found; searched paths: [/a /b]"
        );
    }
}

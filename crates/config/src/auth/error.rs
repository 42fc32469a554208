//! What can go wrong with credentials. None of these shows a secret.

use std::io;
use std::path::PathBuf;

use super::helper::HelperError;

/// Why credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The file that the command line names is not there.
    #[error("credential file is not accessible: faccessat {}", .path.display())]
    NotAccessible {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("reading JSON file {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("reading JSON file {path:?}: unmarshaling JSON at {path:?}: {problem}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line, and without what is written there.
        problem: String,
    },
    /// An entry's `auth` is no base64.
    #[error("illegal base64 data at input byte {offset} (entry {key:?} of {})", .path.display())]
    Base64 {
        /// Where in the text.
        offset: usize,
        /// The entry.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// A helper gave no answer.
    #[error("{}error getting credentials - {source}", named(.named_in))]
    Helper {
        /// What happened.
        source: Box<HelperError>,
        /// The file that names it.
        named_in: Option<PathBuf>,
    },
    /// A helper did not store or erase.
    #[error("error {doing} credentials - {source}")]
    Keep {
        /// `storing` or `erasing` or `listing`.
        doing: &'static str,
        /// What happened.
        source: Box<HelperError>,
    },
    /// A key is no host with an optional path.
    #[error("key {key} {problem}")]
    Key {
        /// The key.
        key: String,
        /// Why not.
        problem: &'static str,
    },
    /// A helper knows hosts only.
    #[error("namespaced key is not supported for credential helper {helper}")]
    Namespaced {
        /// The helper.
        helper: String,
    },
    /// Docker knows hosts only.
    #[error(
        "Credentials cannot be recorded in Docker-compatible format with namespaced key {key:?}"
    )]
    NamespacedDocker {
        /// The key.
        key: String,
    },
    /// The directory of the session is not there.
    #[error(
        "{dir:?} directory set by $XDG_RUNTIME_DIR does not exist. Either create the directory or unset $XDG_RUNTIME_DIR.: faccessat {}: no such file or directory",
        .dir.display()
    )]
    NoRuntimeDir {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be written.
    #[error("writing to file {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `credential-helpers` names no place.
    #[error("no place is configured that keeps credentials")]
    NowhereToStore,
    /// Several places failed.
    #[error("{attempt}:{}", list(.errors))]
    All {
        /// What was attempted.
        attempt: &'static str,
        /// What happened.
        errors: Vec<AuthError>,
    },
}

impl AuthError {
    /// The failure of several places: that of the only one, or all.
    pub(super) fn first_or_all(mut errors: Vec<Self>, attempt: &'static str) -> Option<Self> {
        match errors.len() {
            0 => None,
            1 => errors.pop(),
            _ => Some(Self::All { attempt, errors }),
        }
    }

    /// Tells whether a helper is not installed.
    pub(super) fn is_missing_helper(&self) -> bool {
        match self {
            Self::Helper { source, .. } | Self::Keep { source, .. } => {
                matches!(**source, HelperError::Missing { .. })
            }
            _ => false,
        }
    }
}

fn named(file: &Option<PathBuf>) -> String {
    file.as_ref()
        .map(|path| format!("{}: ", path.display()))
        .unwrap_or_default()
}

fn list(errors: &[AuthError]) -> String {
    errors
        .iter()
        .map(|error| format!("\n\t* {error}"))
        .collect()
}

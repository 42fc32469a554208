//! What can be wrong with `registries.conf`.

use std::path::{Path, PathBuf};

use model::ReferenceError;

use crate::document::ConfigError;
use crate::origin::Place;

/// Why the configuration of registries cannot be used, or forbids something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesError {
    /// A file cannot be used.
    #[error("loading registries configuration {path:?}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RegistriesFault>,
    },
    /// A registry must not be used.
    #[error("registry {prefix} is blocked in one of [{}]", quoted(.sources))]
    Blocked {
        /// The entry that says so.
        prefix: String,
        /// The main file and the directories that may say so.
        sources: Vec<PathBuf>,
    },
    /// A name that the configuration makes is none.
    #[error("rewriting reference: {name}")]
    Rewrite {
        /// The name.
        name: String,
        /// What the grammar says.
        source: ReferenceError,
    },
    /// A name that the configuration makes is not written out in full.
    #[error("rewriting reference: repository name must be canonical: {name} ({place})")]
    NotCanonical {
        /// The name.
        name: String,
        /// Where its beginning is written.
        place: Place,
    },
}

impl RegistriesError {
    pub(super) fn load(path: &Path, source: RegistriesFault) -> Self {
        Self::Load {
            path: path.to_path_buf(),
            source: Box::new(source),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesFault {
    /// It cannot be read, or a value has the wrong type.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// It has tables of the format before this one.
    #[error("registries.conf must be in v2 format but is in v1 ({place})")]
    Version1 {
        /// The first such table.
        place: Place,
    },
    /// The mode is none of the three.
    #[error("invalid short-name mode: {value:?} ({place})")]
    ShortNameMode {
        /// Where.
        place: Place,
        /// What is written there.
        value: String,
    },
    /// A location is a URL.
    #[error("invalid location '{location}': URI schemes are not supported ({place})")]
    Scheme {
        /// Where.
        place: Place,
        /// What is written there.
        location: String,
    },
    /// A registry is nowhere.
    #[error("invalid condition: both location and prefix are unset ({place})")]
    Nowhere {
        /// Where its table begins.
        place: Place,
    },
    /// A registry has only a prefix, and that is no wildcard.
    #[error(
        "invalid condition: location is unset and prefix is not in the format: *.example.com ({place})"
    )]
    NoLocation {
        /// Where the prefix is.
        place: Place,
    },
    /// A wildcard is elsewhere than in the first labels of a host.
    #[error(
        "Wildcarded prefix should be in the format: *.example.com. Current prefix {prefix:?} is incorrectly formatted ({place})"
    )]
    Wildcard {
        /// Where.
        place: Place,
        /// What is written there.
        prefix: String,
    },
    /// A setting of mirrors is given to a registry.
    #[error("pull-from-mirror must not be set for a non-mirror registry {prefix:?} ({place})")]
    NoMirror {
        /// Where.
        place: Place,
        /// The registry.
        prefix: String,
    },
    /// A mirror is nowhere.
    #[error("invalid condition: mirror location is unset ({place})")]
    MirrorNowhere {
        /// Where its table begins.
        place: Place,
    },
    /// Two ways of saying when mirrors are asked.
    #[error(
        "cannot set mirror usage mirror-by-digest-only for the registry ({prefix:?}) and pull-from-mirror for per-mirror ({mirror:?}) at the same time ({place})"
    )]
    MirrorUsages {
        /// Where the mirror's is.
        place: Place,
        /// The registry.
        prefix: String,
        /// The mirror.
        mirror: String,
    },
    /// A word that says nothing of when a mirror is asked.
    #[error("unsupported pull-from-mirror value {value:?} for mirror {mirror:?} ({place})")]
    MirrorUsage {
        /// Where.
        place: Place,
        /// What is written there.
        value: String,
        /// The mirror.
        mirror: String,
    },
    /// One place has two answers to the same question.
    #[error(
        "registry '{location}' is defined multiple times with conflicting '{setting}' setting ({first}, {second})"
    )]
    Conflict {
        /// The place.
        location: String,
        /// The question.
        setting: &'static str,
        /// Where one answer is.
        first: Place,
        /// Where the other is.
        second: Place,
    },
    /// Aliases are no names.
    #[error("validating short-name aliases: {}", lines(.faults))]
    Aliases {
        /// All of them.
        faults: Vec<AliasFault>,
    },
}

/// What is wrong with an alias.
#[derive(Debug, thiserror::Error)]
#[error("{problem} ({place})")]
pub struct AliasFault {
    /// Where.
    pub place: Place,
    /// What.
    #[source]
    pub problem: crate::AliasError,
}

fn quoted(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    quoted.join(" ")
}

fn lines(faults: &[AliasFault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

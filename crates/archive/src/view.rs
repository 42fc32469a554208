//! How a tree is seen when it is archived, and why that can fail.

use std::io;
use std::path::PathBuf;

use crate::tar::TarError;

/// How removed and replaced names appear on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Overlay upper directory with `trusted.overlay.*` marks: a store of root.
    OverlayTrusted,
    /// Overlay upper directory with `user.overlay.*` marks: a rootless store.
    OverlayUser,
    /// A full copy of the parent with the changes made in it.
    Vfs,
    /// No meaning at all: the tree is archived as it stands.
    Plain,
}

/// What becomes of modification times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// They stay, cut to seconds.
    Keep,
    /// All become that many seconds since 1970.
    Fixed(i64),
    /// Later ones become that many seconds since 1970.
    Clamp(i64),
}

/// How [`crate::digest_tree`] and [`crate::write_tree`] see a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// How removals appear.
    pub flavour: Flavour,
    /// What becomes of times.
    pub times: Times,
    /// Paths relative to the tree that are left out with all below them.
    pub excludes: Vec<PathBuf>,
}

impl TreeOptions {
    /// Returns options that keep times and leave nothing out.
    pub fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            times: Times::Keep,
            excludes: Vec::new(),
        }
    }
}

impl Flavour {
    /// Name of the attribute that marks an opaque directory on disk.
    pub(crate) fn opaque_xattr(self) -> Option<&'static str> {
        match self {
            Flavour::OverlayTrusted => Some("trusted.overlay.opaque"),
            Flavour::OverlayUser => Some("user.overlay.opaque"),
            Flavour::Vfs | Flavour::Plain => None,
        }
    }

    /// Returns whether a character device 0:0 stands for a removed name.
    pub(crate) fn has_whiteout_nodes(self) -> bool {
        matches!(self, Flavour::OverlayTrusted | Flavour::OverlayUser)
    }
}

/// Why a tree cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something in the tree cannot be used.
    #[error("cannot {action} `{path}` of the tree")]
    Access {
        /// What was tried, as a verb.
        action: &'static str,
        /// Path inside the tree.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file became another or shorter while it was read.
    #[error("`{path}` changed while it was archived")]
    Changed {
        /// Path inside the tree.
        path: PathBuf,
    },
    /// Directories are nested too deeply.
    #[error("`{path}` is nested more deeply than the limit of {limit} directories")]
    TooDeep {
        /// Path inside the tree.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The tar format cannot hold an entry.
    #[error("cannot archive `{path}`")]
    Encode {
        /// Path inside the tree.
        path: PathBuf,
        /// Why.
        source: TarError,
    },
    /// The archive or the split cannot be written.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
}

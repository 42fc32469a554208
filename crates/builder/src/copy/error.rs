//! What can go wrong while copying into a root, with the words that Buildah's users know.

use std::io;
use std::path::PathBuf;

use super::path::shown;
use crate::passwd::AccountError;

/// A copy that could not be planned or carried out.
///
/// Paths are relative to the source tree or to the container root, written with a leading `/`.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A plain source names nothing.
    #[error(
        "checking on sources under \"{}\": copier: stat: \"/{}\": no such file or directory",
        .tree.display(), .pattern
    )]
    MissingSource {
        /// The tree that was searched, as it is shown to the user.
        tree: PathBuf,
        /// The source as it was resolved, without its leading slash.
        pattern: String,
    },
    /// A pattern matches nothing.
    #[error(
        "checking on sources under \"{}\": no items matching glob \"{}/{pattern}\": no such file or directory",
        .tree.display(), .tree.display()
    )]
    NoMatch {
        /// The tree that was searched, as it is shown to the user.
        tree: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// Everything that a source names is excluded.
    #[error(
        "no items matching glob \"{}/{pattern}\" copied ({count} filtered out{}): no such file or directory",
        .tree.display(), using(.rules.as_ref())
    )]
    AllFiltered {
        /// The tree that was searched, as it is shown to the user.
        tree: PathBuf,
        /// The source.
        pattern: String,
        /// How many matches were excluded.
        count: usize,
        /// The file that holds the rules, when one was used.
        rules: Option<PathBuf>,
    },
    /// The pattern's grammar is broken.
    #[error("cannot read pattern \"{pattern}\"")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        source: containerfile::PatternError,
    },
    /// A COPY source is a URL.
    #[error("source can't be a URL for COPY")]
    UrlInCopy,
    /// A kind of source that this builder does not read.
    #[error("adding `{source_text}` is not supported yet: {what} sources cannot be fetched")]
    RemoteSource {
        /// The source as written.
        source_text: String,
        /// `URL` or `git`.
        what: &'static str,
    },
    /// The request has sources below a tree and no tree.
    #[error("source `{pattern}` has no tree to be read from")]
    NoTree {
        /// The source.
        pattern: String,
    },
    /// The request has no source.
    #[error("nothing to copy: no source was given")]
    NoSource,
    /// A destination that must be a directory is something else.
    #[error("destination {path} already exists but is not a directory")]
    DestinationNotDirectory {
        /// The destination as it was asked for.
        path: String,
    },
    /// A directory would replace something that is not one, below the destination.
    #[error("cannot put a directory over `{path}`, which is not a directory")]
    DirectoryOverFile {
        /// Place in the container root.
        path: String,
    },
    /// A part of the destination is not a directory.
    #[error("cannot make directory `{path}`: a parent of it is not a directory")]
    ParentNotDirectory {
        /// Place in the container root.
        path: String,
    },
    /// More links on the way to the destination than anybody needs.
    #[error("destination `{path}` passes through more than {limit} symbolic links")]
    TooManyLinks {
        /// Place in the container root.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// A limit on what a source may hold was passed.
    #[error("source `{path}` has more than {limit} {what}")]
    TooMany {
        /// Place in the source tree.
        path: String,
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A character device 0:0 is overlayfs' own mark for a deleted name.
    #[error("source `{path}` is a character device 0:0, which overlayfs reads as a deleted file")]
    WhiteoutDevice {
        /// Place in the source tree.
        path: String,
    },
    /// A source is different from what the digest was made of.
    #[error("source `{path}` changed while it was copied")]
    Changed {
        /// Place in the source tree.
        path: String,
    },
    /// `--chown` holds something else than an owner.
    #[error("no value specified for --chown=")]
    EmptyChown,
    /// A name in `--chown` could not be turned into numbers.
    #[error("looking up UID/GID for \"{spec}\"")]
    Owner {
        /// The value of the flag.
        spec: String,
        /// Why.
        source: AccountError,
    },
    /// A call on a source failed.
    #[error("cannot {action} source `{path}`")]
    Source {
        /// The verb.
        action: &'static str,
        /// Place in the source tree.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A call in the container root failed.
    #[error("cannot {action} `{path}` in the container")]
    Target {
        /// The verb.
        action: &'static str,
        /// Place in the container root.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An archive that ADD found could not be unpacked.
    #[error("cannot unpack `{path}`")]
    Unpack {
        /// Place of the archive in the source tree.
        path: String,
        /// Why.
        source: archive::ExtractError,
    },
    /// The memo file could not be written.
    #[error("cannot save the file digests in `{}`", .path.display())]
    Memo {
        /// The memo file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn using(rules: Option<&PathBuf>) -> String {
    rules.map_or_else(String::new, |path| format!(" using {}", path.display()))
}

/// What became of an attempt on a path of the target.
pub(super) fn target_error(action: &'static str, path: &[u8]) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Target {
        action,
        path: format!("/{}", shown(path)),
        source,
    }
}

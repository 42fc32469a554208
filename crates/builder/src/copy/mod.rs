//! COPY and ADD: reads sources, names their content by a digest, and puts them into a root.
//!
//! ```text
//! CopyRequest ──gather──▶ Gathered (plan + digest) ──apply──▶ files below the target root
//!                  │                                    │
//!             Memo: stamp → digest          bytes are checked against the plan's digests
//! ```
//! `gather` walks each source once, through directory handles, in parallel threads, and reads only
//! files whose digest the [`Memo`] does not know. `apply` creates what the plan says; names, modes,
//! link targets and attributes come from the plan, and file contents are refused when they are not
//! those that the digest was made of. So a cache entry made under the digest is always the content.
//!
//! It deliberately fetches nothing: URL and git sources are the business of `transfer`. It does not
//! know the cache either: the digest covers the sources and what the request does to them, but not
//! the destination, which the caller knows in words.

mod apply;
mod archived;
mod content;
mod error;
mod filter;
mod gather;
mod late;
mod make;
mod memo;
mod owner;
mod path;
mod place;
mod plan;
mod pool;
mod remove;
mod source;
mod unpack;
mod walk;
mod writer;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

pub use apply::{Digesting, apply, apply_digesting, apply_with_accounts};
pub use error::CopyError;
pub use gather::{Gathered, gather};
pub use memo::Memo;
pub use owner::Chown;
pub use plan::ContentDigest;
pub use writer::Applied;

use containerfile::{Chmod, IgnoreRules};

/// The instruction that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// COPY: everything is copied as it is.
    Copy,
    /// ADD: a local tar archive, compressed or not, is unpacked.
    Add,
    /// ADD with `--unpack=false`: as COPY, but the words of ADD.
    AddPacked,
}

/// What the sources are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The build context or a named one: owners become 0:0, set-ID bits are dropped.
    Context,
    /// Files of the host that a user names on a command line: owners become 0:0.
    Host,
    /// A stage or an image: owners and modes are kept.
    Image,
}

/// A tree that sources are read from.
#[derive(Clone, Copy, Debug)]
pub struct SourceTree<'a> {
    /// The tree. Every source, and every link on the way to it, is resolved inside.
    pub root: &'a sys::Root,
    /// How messages name the tree.
    pub shown: &'a std::path::Path,
    /// What kind of tree it is.
    pub origin: Origin,
    /// What is left out.
    pub ignore: Option<Ignore<'a>>,
}

/// The ignore rules of a context.
#[derive(Clone, Copy, Debug)]
pub struct Ignore<'a> {
    /// The rules; paths are relative to the tree's root.
    pub rules: &'a IgnoreRules,
    /// The file they come from, for messages.
    pub file: &'a std::path::Path,
}

/// One word of the sources.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// A path or a pattern below the tree.
    Path(OsString),
    /// A heredoc: a file whose content is in the instruction.
    Inline {
        /// The file's name, without slashes.
        name: OsString,
        /// The file's content.
        content: &'a [u8],
    },
}

/// What becomes of the directories in a source's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// They are left out.
    Flat,
    /// `--parents`: they are made again below the destination, from a `/./` on if there is one.
    Parents,
}

/// Whether the destination depends on what is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Links on the way are followed, an existing directory takes files inside.
    Existing,
    /// `--link`: links and files on the way are replaced by directories.
    Fresh,
}

/// The modification times of what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Those of the sources, to the nanosecond. Heredocs get `now`.
    Kept {
        /// The time of the step.
        now: SystemTime,
    },
    /// One time for everything, in seconds since the epoch.
    Fixed(i64),
}

/// One COPY or ADD, bound: words are expanded, names are resolved.
#[derive(Clone, Debug)]
pub struct CopyRequest<'a> {
    /// The instruction.
    pub kind: CopyKind,
    /// Where [`Source::Path`] is read from; may be absent when there is none.
    pub tree: Option<SourceTree<'a>>,
    /// The sources in their order.
    pub sources: Vec<Source<'a>>,
    /// The destination as written, after expansion.
    pub destination: OsString,
    /// WORKDIR, what a relative destination is joined to.
    pub cwd: PathBuf,
    /// `--exclude`, from [`IgnoreRules::from_excludes`].
    pub excludes: IgnoreRules,
    /// `--chown`.
    pub chown: Option<Chown>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--parents`.
    pub layout: Layout,
    /// `--link`.
    pub onto: Destination,
    /// Times of what is made. Members of archives keep their own.
    pub times: Times,
    /// What the process may do: whether archives may lose what the kernel forbids.
    pub privilege: archive::Privilege,
}

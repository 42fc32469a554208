//! What can go wrong before and during a build, each with the place in the file.

use crate::cache::CacheError;
use crate::mounts::NotGiven;
use crate::remote::RemoteError;
use builder::run::Isolation;
use containerfile::{Diagnostic, ExpandError, MountError, Sources, Span};
use model::Digest;
use std::fmt;
use std::io;
use std::path::PathBuf;
use store::StoreError;

/// Why a file of the web could not be had.
pub type DownloadError = Box<dyn std::error::Error + Send + Sync>;

/// Why a root file system could not be scanned.
pub type ScanError = Box<dyn std::error::Error + Send + Sync>;

/// Where in which file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file's name, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The line with a mark below it.
    pub excerpt: String,
}

impl Location {
    /// Returns the place of `span` in `sources`.
    #[must_use]
    pub fn of(sources: &Sources, span: Span) -> Self {
        Self {
            file: sources.name(span.source).to_owned(),
            line: span.start.line,
            column: span.start.column,
            excerpt: sources.excerpt(span),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why no graph can be made of the targets.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file has no stage.
    #[error("no stages to build")]
    NoStages,
    /// `--target` names no stage.
    #[error("the target \"{name}\" was not found in the provided Dockerfile")]
    NoSuchTarget {
        /// The name.
        name: String,
    },
    /// An instruction cannot be carried out.
    #[error("building at STEP \"{step}\"")]
    Step {
        /// Where it stands.
        at: Box<Location>,
        /// The instruction.
        step: String,
        /// What is wrong.
        source: StepFault,
    },
}

impl PlanError {
    /// Returns where the instruction stands.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Step { at, .. } => Some(at),
            Self::NoStages | Self::NoSuchTarget { .. } => None,
        }
    }
}

/// What is wrong with one instruction.
#[derive(Debug, thiserror::Error)]
pub enum StepFault {
    /// It is known, but cannot be carried out.
    #[error("{what} is not supported yet")]
    NotSupported {
        /// The instruction or its flag.
        what: &'static str,
    },
    /// Stages need each other in a circle.
    #[error("stage `{stage}` needs itself")]
    Circle {
        /// One of them.
        stage: String,
    },
    /// A name is neither a context, nor a stage, nor an image.
    #[error("{word}={name}: no stage or image found with that name")]
    NoSuchSource {
        /// The flag.
        word: &'static str,
        /// The name.
        name: String,
        /// Why it is no image; none for a stage's number.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The image of a FROM is not to be had.
    #[error("creating build container for base image \"{name}\"")]
    Base {
        /// The name.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The word after FROM is empty or no name.
    #[error("invalid base image specification \"{name}\"")]
    BadBase {
        /// The word after expansion.
        name: String,
    },
    /// A platform cannot be understood.
    #[error("`--platform` has the value `{text}`")]
    Platform {
        /// The text after expansion.
        text: String,
        /// What is wrong.
        source: model::PlatformError,
    },
    /// A variable has no value.
    #[error("cannot expand `{text}`")]
    Expand {
        /// The text as written.
        text: String,
        /// What is wrong.
        source: ExpandError,
    },
    /// A name of ENV or LABEL expands to nothing.
    #[error("{keyword} names can not be blank")]
    BlankName {
        /// The instruction.
        keyword: &'static str,
    },
    /// A platform argument is given a default.
    #[error("attempted to redefine \"{name}\": invalid argument")]
    Redefined {
        /// The argument.
        name: String,
    },
    /// A mount cannot be decoded.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A value of RUN is none of the known ones.
    #[error(transparent)]
    RunValue(#[from] containerfile::UnknownRunValue),
    /// `--chmod` cannot be decoded.
    #[error(transparent)]
    Chmod(#[from] containerfile::ChmodError),
    /// A signal has no such name.
    #[error(transparent)]
    Signal(#[from] containerfile::UnknownSignal),
    /// A flag was given without its value.
    #[error("no value specified for --{flag}=")]
    NoValue {
        /// The flag.
        flag: &'static str,
    },
    /// COPY cannot fetch.
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// A secret or an agent was not given.
    #[error(transparent)]
    NotGiven(#[from] NotGiven),
    /// A kind of mount that cannot be made.
    #[error("RUN --mount={what} is not supported yet")]
    MountNotSupported {
        /// The words that ask for it.
        what: &'static str,
    },
    /// A file of the web has a name in its address only.
    #[error("cannot determine filename from url: {url}")]
    NoFileName {
        /// Its address.
        url: String,
    },
    /// A checksum is none.
    #[error("invalid checksum flag")]
    BadChecksum(#[source] model::DigestError),
    /// What is local has no checksum.
    #[error("checksum flag is not supported for local sources")]
    LocalChecksum,
    /// A volume without a name.
    #[error("Volume specified can not be an empty string")]
    EmptyVolume,
    /// A trigger of the base is no instruction.
    #[error(
        "the trigger `{text}` of the base is no instruction: {}",
        first(diagnostics)
    )]
    Trigger {
        /// Its text.
        text: String,
        /// What is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
}

fn first(diagnostics: &[Diagnostic]) -> &str {
    diagnostics.first().map_or("", |d| d.message.as_str())
}

/// Why a step that was started has no result.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Its process could not be started, or ended badly.
    #[error("while running runtime")]
    Run(#[source] Box<builder::run::StepError>),
    /// What its process needs could not be had: a user, a directory, a mount. Or it failed without
    /// a runtime to speak of.
    #[error(transparent)]
    Prepare(Box<builder::run::StepError>),
    /// Files could not be copied.
    #[error(transparent)]
    Copy(Box<builder::copy::CopyError>),
    /// The store could not be used.
    #[error(transparent)]
    Store(Box<store::StoreError>),
    /// `--chmod` cannot be decoded.
    #[error(transparent)]
    Chmod(#[from] containerfile::ChmodError),
    /// `--exclude` cannot be decoded.
    #[error(transparent)]
    Exclude(#[from] containerfile::IgnoreError),
    /// A user of the image is not known.
    #[error(transparent)]
    Account(#[from] builder::passwd::AccountError),
    /// The image could not be put together.
    #[error(transparent)]
    Image(#[from] builder::image::ImageError),
    /// A directory that files are taken from cannot be opened.
    #[error("cannot open the context `{}`", path.display())]
    Context {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the web cannot be had.
    #[error("reading \"{url}\"")]
    Download {
        /// Its address.
        url: String,
        /// Why.
        source: DownloadError,
    },
    /// A file of the web cannot be kept.
    #[error("keeping `{url}`")]
    KeepDownload {
        /// Its address.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the web is not the one that was wanted.
    #[error("reading \"{url}\": unexpected response digest for \"{url}\": {found}, want {wanted}")]
    Checksum {
        /// Its address.
        url: String,
        /// What it has.
        found: Digest,
        /// What was wanted.
        wanted: Digest,
    },
    /// A directory cannot be made in the image.
    #[error("cannot make the directory `{}`", path.display())]
    MakeDir {
        /// The directory, in the image.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A root file system cannot be used twice.
    #[error("cannot share the root file system of a stage")]
    Root(#[source] io::Error),
    /// The user namespace of a process cannot be made.
    #[error("cannot make a user namespace")]
    UserNamespace(#[source] io::Error),
    /// No handle for stopping processes.
    #[error("cannot prepare to stop processes")]
    Stop(#[source] io::Error),
    /// The root file system could not be scanned. Scripts match this text.
    #[error("scanning rootfs to generate SBOM")]
    Scan(#[source] ScanError),
    /// The image could not be committed.
    #[error(transparent)]
    Commit(Box<builder::commit::CommitError>),
    /// The index could not be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The build was told to stop.
    #[error("interrupted")]
    Cancelled,
}

macro_rules! boxed {
    ($($variant:ident of $error:ty,)*) => {$(
        impl From<$error> for StepError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

boxed! {
    Copy of builder::copy::CopyError,
    Store of store::StoreError,
    Commit of builder::commit::CommitError,
}

impl StepError {
    /// An error of a process with this isolation.
    pub(crate) fn of_run(error: builder::run::StepError, isolation: Isolation) -> Self {
        let started =
            error.exit_status().is_some() || matches!(error, builder::run::StepError::Run(_));
        if started && isolation.has_runtime() {
            Self::Run(Box::new(error))
        } else {
            Self::Prepare(Box::new(error))
        }
    }
}

/// Why a build has no result.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no graph.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step failed.
    #[error("building at STEP \"{step}\"")]
    Step {
        /// Where it stands.
        at: Box<Location>,
        /// The instruction.
        step: String,
        /// What went wrong.
        source: Box<StepError>,
    },
    /// What a stage came to could not be kept.
    #[error("committing stage {stage}")]
    Commit {
        /// The stage's name or number.
        stage: String,
        /// What went wrong.
        source: Box<StepError>,
    },
    /// A result could not be put where other machines find it.
    #[error("failed pushing cache to \"{place}\"")]
    PushCache {
        /// The repository with the tag.
        place: String,
        /// What went wrong.
        source: RemoteError,
    },
    /// An image that was fetched is not the one that the build was planned with.
    #[error("the image {name} has become another one")]
    ImageChanged {
        /// Its name.
        name: String,
    },
    /// The build was told to stop.
    #[error("interrupted")]
    Cancelled,
}

impl BuildError {
    /// Returns the status of the process that failed, which is that of the whole build.
    #[must_use]
    pub fn exit_status(&self) -> Option<i32> {
        match self {
            Self::Step { source, .. } => match &**source {
                StepError::Run(error) | StepError::Prepare(error) => error.exit_status(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Says whether what the build was planned with is not there any more: somebody removed a layer, or an image has become
    /// another one.
    #[must_use]
    pub fn is_vanished(&self) -> bool {
        let source = match self {
            Self::ImageChanged { .. } => return true,
            Self::Step { source, .. } | Self::Commit { source, .. } => &**source,
            Self::Plan(_) | Self::PushCache { .. } | Self::Cancelled => return false,
        };
        let error = match source {
            StepError::Store(error) => error,
            StepError::Commit(error) => match &**error {
                builder::commit::CommitError::Store(error) => error,
                _ => return false,
            },
            _ => return false,
        };
        matches!(
            error,
            StoreError::LayerUnknown { .. } | StoreError::ParentVanished { .. }
        )
    }

    /// Returns where the instruction that failed stands.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Plan(error) => error.location(),
            Self::Step { at, .. } => Some(at),
            Self::Commit { .. }
            | Self::ImageChanged { .. }
            | Self::PushCache { .. }
            | Self::Cancelled => None,
        }
    }
}

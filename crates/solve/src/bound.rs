//! Steps as they are carried out: words are expanded, names are inputs, `ARG` is gone.
//!
//! A bound step carries all that it can see (its environment, directory, user), so that a key
//! can be made and the step performed without looking at any other step. The configuration
//! that the steps lead to is known as well: no step changes it while it runs.

use containerfile::{RunForm, RunMount, RunNetwork, Span};
use model::{ContainerConfig, Platform};

/// Where files come from: a number in the graph's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The result of a node.
    Stage(usize),
    /// An image of the store.
    Image(usize),
    /// A directory on the host.
    Directory(usize),
}

/// What a stage starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundBase {
    /// An empty root.
    Scratch,
    /// A stage, an image or a directory.
    From(Input),
}

/// A stage whose names and words are known.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundStage {
    /// What it starts from.
    pub base: BoundBase,
    /// The platform that it is built for.
    pub platform: Platform,
    /// Its steps, triggers of the base first.
    pub steps: Vec<BoundStep>,
    /// The configuration after the last step.
    pub config: ContainerConfig,
    /// The author after the last step.
    pub author: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundStep {
    /// Where it is written; for a trigger the FROM that brought it.
    pub at: Span,
    /// What `STEP n/m: ` is followed by.
    pub shown: String,
    /// What `building at STEP "…"` holds.
    pub error_text: String,
    /// What is done.
    pub op: BoundOp,
    /// Its line in the image's history.
    pub history: HistoryText,
    /// The author from this step on.
    pub author: Option<String>,
}

/// What a step does to files.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundOp {
    /// Nothing: it changed the configuration.
    Config,
    /// Makes directories that are missing.
    Dirs(BoundDirs),
    /// Runs a process.
    Run(Box<BoundRun>),
    /// Copies files.
    Copy(Box<BoundCopy>),
}

/// The text of a history entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryText {
    /// All of it.
    Whole(String),
    /// Around the digest of what was copied, which is known when the sources are.
    Copied {
        /// Up to the digest.
        before: String,
        /// Behind it.
        after: String,
    },
}

impl HistoryText {
    /// Returns the text; `content` is `file:HEX` or the like for a copy.
    #[must_use]
    pub fn render(&self, content: &str) -> String {
        match self {
            Self::Whole(text) => text.clone(),
            Self::Copied { before, after } => format!("{before}{content}{after}"),
        }
    }
}

/// `WORKDIR` and `VOLUME`: directories that exist afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundDirs {
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Who owns those that are made: the USER at that point, empty for root.
    pub owner: String,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundRun {
    /// The command as written.
    pub form: RunForm,
    /// The shell for those forms that have one.
    pub shell: Vec<String>,
    /// ENV.
    pub env: Vec<(String, String)>,
    /// ARGs in scope that ENV does not hide.
    pub args: Vec<(String, String)>,
    /// Predefined variables, which do not count.
    pub proxies: Vec<(String, String)>,
    /// Absolute working directory.
    pub workdir: String,
    /// USER, empty for root.
    pub user: String,
    /// `--network`.
    pub network: RunNetwork,
    /// `--mount`, in order.
    pub mounts: Vec<BoundMount>,
    /// Absolute paths of the volumes so far.
    pub volumes: Vec<String>,
}

/// One `RUN --mount`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundMount {
    /// The flag's value after expansion.
    pub text: String,
    /// The same, decoded.
    pub mount: RunMount,
    /// What `from=` names, or the main context of a bind mount without it.
    pub from: Option<Input>,
}

/// A file whose content stands in the instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its content, expanded.
    pub body: String,
}

/// One source of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or a pattern in the input.
    Path(String),
    /// A here-document.
    Inline(InlineFile),
    /// A file of the web.
    Url {
        /// Its address.
        url: String,
        /// The digest that it must have.
        checksum: Option<model::Digest>,
    },
}

/// Which instruction copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyWord {
    /// `COPY`
    Copy,
    /// `ADD`
    Add,
    /// `ADD --unpack=false`
    AddPacked,
}

/// Whether a copy is a layer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is relative to what lies below.
    Below,
    /// `--link`: it does not depend on what lies below.
    Own,
}

/// Which directories of a source's path are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// None.
    Dropped,
    /// `--parents`.
    Kept,
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundCopy {
    /// Which of the two.
    pub word: CopyWord,
    /// Where paths are looked up.
    pub from: Input,
    /// The sources, in order.
    pub sources: Vec<CopySource>,
    /// The destination after expansion, as written.
    pub destination: String,
    /// Absolute working directory, which a relative destination is joined to.
    pub workdir: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`, known to be one.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: Link,
    /// `--parents`.
    pub parents: Parents,
    /// `--exclude`.
    pub excludes: Vec<String>,
}

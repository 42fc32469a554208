//! What is asked for: files, contexts and settings, each kept with the one who uses it.
//!
//! These are values that a caller has resolved; nothing here looks at the host.

use crate::cancel::Cancel;
use crate::error::ScanError;
use crate::scope::ArgValues;
use builder::commit::AddedFile;
use containerfile::{IgnoreRules, Parsed};
use model::{Digest, ImageConfig, ImageId, LayerId, ManifestFormat, Platform, Reference};
use runtime::Stop;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use store::RootMount;

/// One image to build.
#[derive(Clone, Debug)]
pub struct Target {
    /// How events name it; only needed when several are built at once.
    pub name: Option<String>,
    /// The parsed Containerfile, without errors.
    pub file: Arc<Parsed>,
    /// The main context.
    pub context: Directory,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--build-arg` and what belongs to it.
    pub args: ArgValues,
    /// The platform to build for.
    pub platform: Platform,
    /// The platform of the builder.
    pub build_platform: Platform,
    /// `--target`.
    pub stage: Option<String>,
    /// Whether stages that the target does not need are built.
    pub unused_stages: UnusedStages,
    /// `--from`: the image of the first FROM.
    pub base: Option<String>,
    /// `--env`: set at the head of every stage.
    pub env: Vec<(String, String)>,
    /// `--label`: one LABEL step at the end of the last stage.
    pub labels: Vec<(String, String)>,
    /// What the image becomes beside its files.
    pub image: ImageSettings,
}

/// `--skip-unused-stages`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnusedStages {
    /// They are left out.
    #[default]
    Skipped,
    /// Every stage up to the target is built.
    Built,
}

/// A directory on the host that files are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// What COPY and ADD do not see, and the file that says so.
    pub ignore: Option<(PathBuf, Arc<IgnoreRules>)>,
}

/// The value of a `--build-context`.
#[derive(Clone, Debug, PartialEq)]
pub enum NamedContext {
    /// A directory.
    Directory(Directory),
    /// An image: a name, or a transport and what it takes.
    Image(String),
}

/// What is written around the files.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// `-t`, in order.
    pub names: Vec<Reference>,
    /// How the image is called when it is committed: the first name as it was given.
    pub shown_name: Option<String>,
    /// `--format`.
    pub format: ManifestFormat,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// Value of the label `io.buildah.version`; none leaves it out.
    pub identity: Option<String>,
    /// Whether `org.opencontainers.image.created` is written.
    pub created_annotation: CreatedAnnotation,
    /// `--squash`.
    pub squash: Squash,
    /// `--omit-history`.
    pub history: HistoryKept,
    /// `--unsetenv`.
    pub unset_env: Vec<String>,
    /// `--unsetlabel`.
    pub unset_labels: Vec<String>,
    /// `--unsetannotation`.
    pub unset_annotations: Vec<String>,
    /// `--layer-label`: labels of the images of stages that are not asked for.
    pub layer_labels: Vec<(String, String)>,
    /// `--os-version`.
    pub os_version: Option<String>,
    /// `--os-feature`, besides those of the base; one with `-` at its end is taken away.
    pub os_features: Vec<String>,
    /// `--inherit-labels`.
    pub inherit_labels: Inherit,
    /// `--inherit-annotations`.
    pub inherit_annotations: Inherit,
    /// `--sbom…`: looks at the image before it is committed.
    pub scanner: Option<Arc<dyn Scanner>>,
}

impl ImageSettings {
    /// Returns the settings of a build without switches.
    #[must_use]
    pub fn new(format: ManifestFormat) -> Self {
        Self {
            names: Vec::new(),
            shown_name: None,
            format,
            annotations: BTreeMap::new(),
            identity: None,
            created_annotation: CreatedAnnotation::Written,
            squash: Squash::Layers,
            history: HistoryKept::Kept,
            unset_env: Vec::new(),
            unset_labels: Vec::new(),
            unset_annotations: Vec::new(),
            layer_labels: Vec::new(),
            os_version: None,
            os_features: Vec::new(),
            inherit_labels: Inherit::Yes,
            inherit_annotations: Inherit::Yes,
            scanner: None,
        }
    }
}

impl ImageSettings {
    /// Says whether an image of a stage without steps differs from the one that the stage stands on.
    pub(crate) fn changes_base(&self) -> bool {
        self.squash == Squash::One
            || !self.annotations.is_empty()
            || !self.unset_env.is_empty()
            || !self.unset_labels.is_empty()
            || !self.unset_annotations.is_empty()
            || self.os_version.is_some()
            || !self.os_features.is_empty()
            || self.inherit_labels == Inherit::No
            || self.inherit_annotations == Inherit::No
            || self.history == HistoryKept::Omitted
            || self.scanner.is_some()
    }
}

/// `--created-annotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreatedAnnotation {
    /// It is written.
    Written,
    /// It is left out.
    LeftOut,
}

/// `--squash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// Layers stay as they are.
    Layers,
    /// One layer in all, base included.
    One,
}

/// `--omit-history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryKept {
    /// As usual.
    Kept,
    /// No entries at all.
    Omitted,
}

/// Whether something of the base goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// It does.
    Yes,
    /// It is dropped at every FROM.
    No,
}

/// An image as a base or a source of files.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseImage {
    /// Whether its layers are in the store.
    pub presence: Presence,
    /// Its identifier.
    pub id: ImageId,
    /// Its full name as it was found; its identifier when it has none.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Option<Digest>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its top layer as the store has it or will have it; none when it has no layers.
    pub top_layer: Option<LayerId>,
}

impl BaseImage {
    /// Says whether a build on one comes to the same as a build on the other.
    pub(crate) fn is_same_image(&self, other: &Self) -> bool {
        let Self {
            presence: _,
            id,
            name: _,
            digest,
            config,
            annotations,
            top_layer,
        } = self;
        *id == other.id
            && *digest == other.digest
            && *config == other.config
            && *annotations == other.annotations
            && *top_layer == other.top_layer
    }
}

/// Where the layers of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the store.
    Stored,
    /// Where [`Images::fetch`] brings them from.
    Elsewhere,
}

/// Finds images by the names that a Containerfile uses.
pub trait Images: Sync {
    /// Why a name leads to no image.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the image that `name` (with or without a transport) stands for. It may be used, as far as that is known
    /// without its layers.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, Self::Error>;

    /// Brings an image that is elsewhere into the store, and returns it as it is there. May be called for several images
    /// at once; ends early once `cancel` is turned.
    ///
    /// # Errors
    /// When it cannot be had.
    fn fetch(&self, image: &BaseImage, cancel: &Cancel) -> Result<BaseImage, Self::Error>;

    /// Learns which images will probably be asked for, and may begin to look for them, several at once. What fails here
    /// is to be said when the image is asked for.
    fn foresee(&self, _wanted: &[(String, Platform)]) {}
}

/// Looks at the root file system of an image before it is committed.
pub trait Scanner: fmt::Debug + Send + Sync {
    /// Returns the files of the host that the image gets in a further layer. `stop` ends processes.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn scan(&self, root: &RootMount, stop: &Stop) -> Result<Vec<AddedFile>, ScanError>;
}

/// Why an image could not be brought.
pub(crate) type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Brings an image into the store, and returns it as it is there.
pub(crate) type Fetch<'a> =
    dyn Fn(&BaseImage, &Cancel) -> Result<BaseImage, FetchError> + Sync + 'a;

/// The image that a chain of stages goes back to, for the annotations of the result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ancestor {
    /// Name of the first base; empty for `scratch`.
    pub name: String,
    /// Digest of its manifest; empty for `scratch`.
    pub digest: String,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

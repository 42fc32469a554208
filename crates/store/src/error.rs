//! What can go wrong in a store, said as what was attempted on what.

use std::io;
use std::path::{Path, PathBuf};

use model::{ContainerId, DiffId, ImageId, LayerId};

/// Why an operation on the store failed.
///
/// The cause, where there is one, is in [`std::error::Error::source`]; for system calls it
/// is the `io::Error` with its errno.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call on a path failed.
    #[error("cannot {attempt} `{path}`", path = path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        attempt: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A state file does not hold what it should; no tool can open such a store.
    #[error("`{path}` is not a list of records", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A record could not be written as JSON.
    #[error("cannot encode a record for `{path}`", path = path.display())]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// No such layer in this store or its additional stores.
    #[error("layer `{wanted}` is not in the store")]
    LayerUnknown {
        /// What was looked up.
        wanted: String,
    },
    /// No such image in this store or its additional stores.
    #[error("{wanted}: image not known")]
    ImageUnknown {
        /// What was looked up.
        wanted: String,
    },
    /// No such container.
    #[error("{wanted}: container not known")]
    ContainerUnknown {
        /// What was looked up.
        wanted: String,
    },
    /// A prefix fits several identifiers.
    #[error("`{prefix}` fits several {kind}")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// What was looked for, in the plural.
        kind: &'static str,
    },
    /// Somebody removed the parent while its child was being made.
    #[error("layer {parent} was removed while a layer was built on it")]
    ParentVanished {
        /// The parent.
        parent: LayerId,
    },
    /// A container's layer was named as the parent of an image layer.
    #[error("layer {parent} belongs to container {container} and cannot be a parent")]
    ParentIsContainer {
        /// The layer.
        parent: LayerId,
        /// Its container.
        container: ContainerId,
    },
    /// The layer has a child, an image, a container or a mount.
    #[error("layer {layer} is in use by {by}")]
    LayerInUse {
        /// The layer.
        layer: LayerId,
        /// What uses it.
        by: String,
    },
    /// A container is based on the image.
    #[error("image used by {container}: image is in use by a container")]
    ImageInUse {
        /// The image.
        image: ImageId,
        /// One of the containers.
        container: ContainerId,
    },
    /// An image with several names was to be removed by its identifier.
    #[error(
        "unable to delete image \"{image}\" by ID with more than one tag ([{names}]): please force removal"
    )]
    SeveralNames {
        /// The image.
        image: ImageId,
        /// Its names.
        names: String,
    },
    /// Another mount of the container exists.
    #[error("container {container} is mounted")]
    ContainerMounted {
        /// The container.
        container: ContainerId,
    },
    /// The name belongs to another record.
    #[error("the name \"{name}\" is already in use by {by}")]
    NameInUse {
        /// The name.
        name: String,
        /// The record that has it.
        by: String,
    },
    /// An image of this ID exists with other content.
    #[error("image {image} exists, but uses a different top layer")]
    ImageExists {
        /// The image.
        image: ImageId,
    },
    /// A name for a new list belongs to an image.
    #[error(
        "image name \"{name}\" is already associated with image \"{image}\": that name is already in use"
    )]
    ImageNameInUse {
        /// The name.
        name: String,
        /// The image that has it.
        image: ImageId,
    },
    /// The manifest list of a record cannot be read.
    #[error("decoding manifest blob for image \"{image}\"")]
    List {
        /// The record.
        image: ImageId,
        /// The cause.
        source: model::ManifestError,
    },
    /// The image has no item of this key.
    #[error("image {image} has no item `{key}`")]
    ItemUnknown {
        /// The image or container.
        image: String,
        /// The key.
        key: String,
    },
    /// The content is not what its digest promised.
    #[error("{what} has the digest {found}, not {expected}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The promised digest.
        expected: String,
        /// The computed one.
        found: String,
    },
    /// A layer has no recorded DiffID, so nothing can be built on or exported from it.
    #[error("layer {layer} has no recorded digest")]
    NoDigest {
        /// The layer.
        layer: LayerId,
    },
    /// More layers than the overlay file system stacks.
    #[error("layer {parent} already has {depth} layers below it; at most {limit} can be stacked")]
    TooDeep {
        /// The parent.
        parent: String,
        /// Its depth.
        depth: usize,
        /// The limit, [`crate::MAX_DEPTH`].
        limit: usize,
    },
    /// A chain of parents never ends.
    #[error("the parents of layer {layer} form a ring")]
    ParentRing {
        /// The layer.
        layer: LayerId,
    },
    /// The configured driver exists in containers/storage, not here.
    #[error("storage driver `{driver}` ({chosen_by}) is not supported yet")]
    DriverUnsupported {
        /// Its name.
        driver: String,
        /// Who asked for it.
        chosen_by: String,
    },
    /// The store uses something that this program cannot handle without damage.
    #[error("{feature} (found at `{at}`) is not supported yet", at = at.display())]
    FeatureUnsupported {
        /// The feature.
        feature: &'static str,
        /// What gave it away.
        at: PathBuf,
    },
    /// The store has been used with another driver by a tool that remembers it.
    #[error("`{graph_root}` is used with driver {existing} by Podman's database; it cannot be used with {wanted}", graph_root = graph_root.display())]
    DriverChange {
        /// The graph root.
        graph_root: PathBuf,
        /// The driver whose directory exists.
        existing: String,
        /// The one asked for.
        wanted: String,
    },
    /// A setting that this program cannot honour.
    #[error("storage option `{option}` is not supported yet")]
    OptionUnsupported {
        /// The option, as written.
        option: String,
    },
    /// No driver is configured and the store has several.
    #[error("`{graph_root}` contains several valid graphdrivers: {names}; please cleanup or explicitly choose storage driver (-s <DRIVER>)", graph_root = graph_root.display())]
    SeveralDrivers {
        /// The graph root.
        graph_root: PathBuf,
        /// Their names.
        names: String,
    },
    /// The overlay file system could not be mounted.
    #[error("{report}")]
    OverlayUnusable {
        /// What was found out.
        report: Box<crate::ProbeReport>,
        /// The errno of the trial mount.
        source: io::Error,
    },
    /// Two lock orders met; a programming error, refused before it can hang.
    #[error("lock `{wanted}` was asked for while `{held}` is held", wanted = wanted.display(), held = held.display())]
    LockOrder {
        /// The lock asked for.
        wanted: PathBuf,
        /// The lock held.
        held: PathBuf,
    },
    /// The number of layers and of digests given for publishing differ.
    #[error("{trees} frozen trees were to be published with {digests} digests")]
    DigestCount {
        /// Trees of the stack.
        trees: usize,
        /// Digests given.
        digests: usize,
    },
    /// A tree could not be hashed as a layer.
    #[error("cannot hash the layer in `{tree}`", tree = tree.display())]
    Hash {
        /// The tree.
        tree: PathBuf,
        /// The cause.
        source: archive::TreeError,
    },
    /// A layer's archive could not be unpacked.
    #[error("cannot unpack the layer into `{tree}`", tree = tree.display())]
    Unpack {
        /// Where to.
        tree: PathBuf,
        /// The cause.
        source: archive::ExtractError,
    },
    /// A layer's archive could not be made again from its files.
    #[error("cannot regenerate the archive of layer {layer}")]
    Regenerate {
        /// The layer.
        layer: LayerId,
        /// The cause.
        source: archive::SplitError,
    },
    /// The regenerated layer is not the recorded one.
    #[error("layer {layer} was changed on disk: its content is {found} instead of {expected}")]
    LayerChanged {
        /// The layer.
        layer: LayerId,
        /// Recorded.
        expected: DiffId,
        /// Found.
        found: DiffId,
    },
    /// A big-data key that has no safe file name.
    #[error("`{key}` cannot be used as the key of an item")]
    BadKey {
        /// The key.
        key: String,
    },
    /// The thread pool or channel between threads broke.
    #[error("the digesting thread of `{tree}` ended without a result", tree = tree.display())]
    DigestThread {
        /// The tree it was hashing.
        tree: PathBuf,
    },
}

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Returns the errno of the failed system call, if that is what failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::OverlayUnusable { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Attaches the attempt and the path to an `io::Error`.
pub(crate) trait IoContext<T> {
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|err| StoreError::Io {
            attempt,
            path: path.as_ref().to_path_buf(),
            source: err.into(),
        })
    }
}

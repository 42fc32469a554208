//! What can go wrong while an image moves.

mod enumerated;

use std::io;
use std::path::PathBuf;

use model::{ConfigError, Digest, DigestError, ImageId, ManifestError, Platform, ReferenceError};
use registry::RegistryError;
use store::StoreError;

use crate::encryption::EncryptionError;
use crate::lookup::LookupError;
use crate::plan::Requirement;
use crate::signatures::SignaturesError;
pub use enumerated::{Attempt, Attempts, MirrorFailure, MirrorFailures, Offers};

/// Why an image could not be moved. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A transport that other tools have.
    #[error("the transport `{transport}:` is not supported yet")]
    TransportUnsupported {
        /// Its name.
        transport: &'static str,
    },
    /// A reference that says where to read, not where to write.
    #[error("`{place}` can only be read from, not written to")]
    ReadOnly {
        /// The place.
        place: String,
    },
    /// The host's policy does not let the image through.
    #[error("Source image rejected")]
    Rejected(#[source] Box<trust::Rejection>),
    /// Signatures could not be read, written or made, or there is no policy.
    #[error(transparent)]
    Signatures(Box<SignaturesError>),
    /// A name in a Docker daemon that nothing can be stored under.
    #[error("Invalid destination {place}: a destination must be a name:tag")]
    DaemonDestination {
        /// The place.
        place: String,
    },
    /// A Docker daemon did not do its part.
    #[error("cannot {attempt} `{place}`")]
    Daemon {
        /// `read` or `write`.
        attempt: &'static str,
        /// The place.
        place: String,
        /// The cause.
        source: Box<crate::daemon::DaemonError>,
    },
    /// An archive that was to become a layer has nothing in it.
    #[error("`{path}` is empty", path = path.display())]
    EmptyTarball {
        /// The archive.
        path: PathBuf,
    },
    /// Something cannot be added to a source image.
    #[error("cannot archive `{path}`", path = path.display())]
    SourceArtifact {
        /// What was to be added.
        path: PathBuf,
        /// The cause.
        source: crate::source_image::ArtifactError,
    },
    /// An image of Docker's first format cannot be used.
    #[error("cannot convert the image of Docker's schema 1 at `{place}`")]
    Schema1 {
        /// The place.
        place: String,
        /// The cause.
        source: Box<crate::schema1::Schema1Error>,
    },
    /// An image cannot be written in Docker's first format.
    #[error("cannot write `{place}` in Docker's schema 1")]
    Schema1Write {
        /// The place.
        place: String,
        /// The cause.
        source: Box<crate::schema1::write::Schema1WriteError>,
    },
    /// A tree for web servers cannot be used.
    #[error("cannot use the registry tree `{path}`", path = path.display())]
    StaticRegistry {
        /// The tree.
        path: PathBuf,
        /// The cause.
        source: crate::static_registry::StaticError,
    },
    /// A call on a file failed.
    #[error("cannot {attempt} `{path}`", path = path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A layer could not be moved.
    #[error("cannot copy layer {index} (`{digest}`)")]
    Layer {
        /// Its position from the base, from 0.
        index: usize,
        /// Its digest at the source.
        digest: Digest,
        /// The cause.
        source: Box<TransferError>,
    },
    /// Bytes did not arrive.
    #[error("cannot move its bytes")]
    Stream(#[source] io::Error),
    /// A document is not what its digest or size promised.
    #[error("the {what} is not `{digest}`")]
    Document {
        /// `manifest` or `config`.
        what: &'static str,
        /// The promise.
        digest: Digest,
        /// The difference: an [`archive::VerifyError`] within.
        source: io::Error,
    },
    /// Something follows the end of a compressed stream.
    #[error("there is data behind the compressed stream")]
    Trailing,
    /// A manifest cannot be used.
    #[error("cannot use the manifest of `{place}`")]
    Manifest {
        /// The place.
        place: String,
        /// The cause.
        source: ManifestError,
    },
    /// A config cannot be used.
    #[error("cannot use the config of `{place}`")]
    Config {
        /// The place.
        place: String,
        /// The cause.
        source: ConfigError,
    },
    /// A JSON file cannot be used.
    #[error("cannot parse `{path}`", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A file is larger than such files may be.
    #[error("`{path}` has {size} bytes, more than {limit}", path = path.display())]
    TooLarge {
        /// The file, or the member of an archive.
        path: PathBuf,
        /// Its size in bytes, as far as it was read.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is no regular one.
    #[error("`{path}` is not a regular file", path = path.display())]
    NotFile {
        /// The file.
        path: PathBuf,
    },
    /// A list has no image for the machine.
    #[error(
        "choosing an image from manifest list {place}: no image found in {kind} for architecture \"{}\", variant \"{}\", OS \"{}\"",
        platform.architecture, platform.variant.as_deref().unwrap_or_default(), platform.os
    )]
    NoPlatform {
        /// The place.
        place: String,
        /// `image index` or `manifest list`.
        kind: &'static str,
        /// What was wanted.
        platform: Box<Platform>,
        /// What there is.
        source: Offers,
    },
    /// Lists within lists without end.
    #[error("`{place}` has lists of manifests within each other, more than {limit} deep")]
    TooDeep {
        /// The place.
        place: String,
        /// The limit.
        limit: usize,
    },
    /// Something that is no image was to become one.
    #[error("unsupported image-specific operation on artifact with type \"{kind}\"")]
    Artifact {
        /// Its type.
        kind: String,
    },
    /// Manifest and config do not fit together.
    #[error("the manifest of `{place}` has {layers} layers, its config {diff_ids}")]
    LayerCount {
        /// The place.
        place: String,
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// An unpacked layer is another one than the config says.
    #[error(
        "layer {index} (blob \"{blob}\") does not match config's DiffID \"{expected}\": it is \"{actual}\""
    )]
    DiffId {
        /// Its position from the base, from 0.
        index: usize,
        /// Its digest at the source.
        blob: Digest,
        /// By the config.
        expected: Digest,
        /// By its bytes.
        actual: Digest,
    },
    /// A part of an image is called something that is no layer.
    #[error("its type is `{media_type}`, which is no type of an image's layers")]
    NoLayer {
        /// The type.
        media_type: String,
    },
    /// A layer's type has no counterpart in the wanted format.
    #[error(
        "layer {index} of type `{media_type}` cannot be part of a manifest of type `{manifest}`"
    )]
    LayerType {
        /// Its position from the base, from 0.
        index: usize,
        /// The type.
        media_type: String,
        /// The manifest's type.
        manifest: &'static str,
    },
    /// Something that the wanted format cannot say.
    #[error(
        "{required} required together with format {manifest}, which does not support {}",
        required.again()
    )]
    FormatUnable {
        /// What that is.
        required: Requirement,
        /// The manifest's type.
        manifest: &'static str,
    },
    /// Something that no format of the destination can say.
    #[error(
        "{required} required but the destination only supports MIME types [{named}], none of which support {}",
        required.again()
    )]
    PlaceUnable {
        /// What that is.
        required: Requirement,
        /// The types that the destination takes.
        named: String,
    },
    /// Layers cannot be encrypted or decrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// All layers are to have a compression, and none was named.
    #[error("cannot use ForceCompressionFormat with undefined default compression format")]
    ForceWithoutFormat,
    /// The format asked for is none that the destination takes.
    #[error("`{place}` does not take manifests of type `{manifest}`")]
    FormatRefused {
        /// The place.
        place: String,
        /// The manifest's type.
        manifest: &'static str,
    },
    /// Several images and no choice.
    #[error("more than one image in oci, choose an image")]
    SeveralInLayout,
    /// A layout without images.
    #[error("there is no image in `{path}`", path = path.display())]
    EmptyLayout {
        /// The layout.
        path: PathBuf,
    },
    /// No image of this name in a layout.
    #[error("no descriptor found for reference \"{name}\"")]
    NoSuchReference {
        /// The name.
        name: String,
    },
    /// No image at this position in a layout.
    #[error("index {index} is too large, only {count} entries available")]
    NoSuchEntry {
        /// The position.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A layout that is no OCI layout of version 1.
    #[error("`{path}` is not an OCI image layout of version 1", path = path.display())]
    NotLayout {
        /// The directory or archive.
        path: PathBuf,
    },
    /// A directory that holds something else.
    #[error("initializing destination dir:{path}: not a containers image directory, don't want to overwrite important data", path = path.display())]
    NotImageDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A directory written by a newer tool.
    #[error("unsupported directory transport version {version:?} in `{path}`", path = path.display())]
    DirectoryVersion {
        /// The directory.
        path: PathBuf,
        /// What its `version` says.
        version: String,
    },
    /// An archive that exists already.
    #[error("docker-archive doesn't support modifying existing images")]
    ArchiveExists,
    /// No image with this tag in an archive.
    #[error("Tag \"{tag}\" not found")]
    NoSuchTag {
        /// The tag.
        tag: String,
    },
    /// No image at this position in an archive.
    #[error("Invalid source index @{index}, only {count} manifest items available")]
    NoSuchItem {
        /// The position.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Not exactly one image in an archive.
    #[error("Unexpected tar manifest.json: expected 1 item, got {count}")]
    ItemCount {
        /// How many there are.
        count: usize,
    },
    /// A member of an archive is missing.
    #[error("there is no `{member}` in `{path}`", path = path.display())]
    NoMember {
        /// The archive.
        path: PathBuf,
        /// The member.
        member: String,
    },
    /// An archive is no tar.
    #[error("cannot read `{path}` as an archive", path = path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: archive::tar::TarError,
    },
    /// An archive could not be written.
    #[error("cannot write the archive `{path}`", path = path.display())]
    ArchiveWrite {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: archive::tar::TarError,
    },
    /// An archive with more members than we handle.
    #[error("`{path}` has more than {limit} members", path = path.display())]
    TooManyMembers {
        /// The archive.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A name in an image's documents is no reference.
    #[error("cannot use the name `{name}` of the image")]
    Name {
        /// The name.
        name: String,
        /// The cause.
        source: ReferenceError,
    },
    /// A digest in an image's documents is none.
    #[error("cannot use the digest `{text}`")]
    Digest {
        /// The text.
        text: String,
        /// The cause.
        source: DigestError,
    },
    /// No image of the store was meant.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A store's part of the work failed.
    #[error("the store cannot {attempt}")]
    Store {
        /// What was attempted, as a verb phrase.
        attempt: &'static str,
        /// The cause.
        source: StoreError,
    },
    /// A copy from or to a store without a store at hand.
    #[error("`{place}` needs a store, and none is open")]
    NoStore {
        /// The place.
        place: String,
    },
    /// An image of the store whose config has not SHA-256.
    #[error(
        "the config of `{place}` has the digest {digest}; an image in a store needs one of SHA-256"
    )]
    ConfigAlgorithm {
        /// The place.
        place: String,
        /// The digest.
        digest: Digest,
    },
    /// An identifier was asked for, and the image has another one.
    #[error("`{place}` asks for another image than {id}")]
    OtherId {
        /// The place.
        place: String,
        /// The image's identifier.
        id: ImageId,
    },
    /// A name by digest that is not the image's.
    #[error("the name `{name}` is by another digest than the image's, {actual}")]
    NameDigest {
        /// The name.
        name: String,
        /// The manifest's digest.
        actual: Digest,
    },
    /// A blob is not what its descriptor says.
    #[error("the blob is not `{expected}`")]
    Blob {
        /// The promise.
        expected: Digest,
        /// The difference.
        source: archive::VerifyError,
    },
    /// A registry said no, or could not be reached.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// A place could not be opened for reading.
    #[error("initializing source {place}")]
    Open {
        /// The place.
        place: String,
        /// The cause.
        source: Box<TransferError>,
    },
    /// The registry and all its mirrors failed.
    #[error("(Mirrors also failed: {mirrors}): {name}")]
    Mirrors {
        /// What the mirrors said.
        mirrors: MirrorFailures,
        /// The name at the registry itself.
        name: String,
        /// What the registry said.
        source: Box<TransferError>,
    },
    /// The host's configuration gives no way to a registry.
    #[error(transparent)]
    Host(crate::registries::HostError),
    /// The configuration has no endpoint for a name.
    #[error("the configuration names no place for `{name}`")]
    NoEndpoint {
        /// The name that was asked for.
        name: String,
    },
    /// Registries are needed, and the caller has none.
    #[error("`{place}` needs a registry, and none can be reached from here")]
    NoRegistries {
        /// The place.
        place: String,
    },
    /// A name for reading without either.
    #[error("`{name}` has neither a tag nor a digest")]
    NoTagOrDigest {
        /// The name.
        name: String,
    },
    /// A document that a registry calls another kind than it is.
    #[error("the registry calls what `{place}` leads to `{declared}`, which it is not")]
    WrongType {
        /// The place.
        place: String,
        /// The type it was sent with.
        declared: String,
    },
    /// A manifest is not the one that a name asks for.
    #[error("the manifest has the digest {actual} instead of {expected}")]
    OtherDigest {
        /// By the name.
        expected: Digest,
        /// By its bytes.
        actual: Digest,
    },
    /// A registry could not be asked for a blob.
    #[error("trying to reuse blob {blob} at destination")]
    Reuse {
        /// The blob.
        blob: Digest,
        /// The cause.
        source: Box<RegistryError>,
    },
    /// A blob could not be sent.
    #[error("writing blob")]
    WriteBlob {
        /// The cause.
        source: Box<RegistryError>,
    },
    /// A manifest could not be sent.
    #[error("writing manifest")]
    WriteManifest {
        /// The cause.
        source: Box<RegistryError>,
    },
    /// No format of the manifest was accepted.
    #[error("Uploading {what} failed, attempted the following formats: {attempts}")]
    AllFormats {
        /// `manifest` or `manifest list`.
        what: &'static str,
        /// The formats with what became of them.
        attempts: Attempts,
    },
    /// A layer would have to change in an image that must not.
    #[error(
        "Copying this image would require changing layer representation, which we cannot do: \"{why}\""
    )]
    MustNotChange {
        /// Why it must not.
        why: crate::plan::Keep,
    },
    /// Another format was asked for an image that must not change.
    #[error("Manifest must be converted to type {manifest}, but we cannot modify it: \"{why}\"")]
    MustNotConvert {
        /// The format asked for.
        manifest: &'static str,
        /// Why it must not.
        why: crate::plan::Keep,
    },
    /// An entry of a list is a list.
    #[error("`{place}` lists {digest}, which is itself a list")]
    NestedList {
        /// The place.
        place: String,
        /// The entry.
        digest: Digest,
    },
    /// A list for a destination that takes single images.
    #[error(
        "copying multiple images: destination transport \"{transport}\" does not support copying multiple images as a group"
    )]
    NoLists {
        /// The destination's transport.
        transport: &'static str,
    },
    /// A list for a sink that takes none.
    #[error("the destination does not take the list {list}")]
    ListRefused {
        /// The list.
        list: Digest,
    },
    /// Something only a list can have was asked of a single image.
    #[error(
        "EnsureCompressionVariantsExist is not implemented when not creating a multi-architecture image"
    )]
    VariantsWithoutList,
    /// A compression that cannot be added to a list.
    #[error("requested algorithm {name} is not supported for replication")]
    NoReplication {
        /// The compression's name.
        name: &'static str,
    },
    /// An image that was asked for is not in a list.
    #[error("the list has no image {digest}")]
    NoSuchInstance {
        /// The image.
        digest: Digest,
    },
    /// A list without images.
    #[error("`{place}` is a list without images")]
    EmptyList {
        /// The place.
        place: String,
    },
    /// A part of an artifact is missing.
    #[error("nothing says where the blob {digest} of the artifact is")]
    NoBlob {
        /// The blob.
        digest: Digest,
    },
    /// One image of a list could not be copied.
    #[error("copying image {number}/{count} from manifest list")]
    Instance {
        /// Its number among those that are copied, from 1.
        number: usize,
        /// How many are copied.
        count: usize,
        /// The cause.
        source: Box<TransferError>,
    },
    /// A name leads to another image than when the copy began.
    #[error("{place} has become another image: its digest was {expected} and is {actual}")]
    Replaced {
        /// The source.
        place: String,
        /// The manifest's digest at first.
        expected: Digest,
        /// The manifest's digest now.
        actual: Digest,
    },
    /// Another thread of the same copy failed first, or nobody wants the copy any more.
    #[error("the copy was given up")]
    GivenUp,
}

impl From<RegistryError> for TransferError {
    fn from(source: RegistryError) -> Self {
        Self::Registry(Box::new(source))
    }
}

impl From<SignaturesError> for TransferError {
    fn from(source: SignaturesError) -> Self {
        Self::Signatures(Box::new(source))
    }
}

impl TransferError {
    /// Returns whether the same copy may go well a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Registry(source)
            | Self::WriteBlob { source }
            | Self::WriteManifest { source } => source.is_retryable(),
            Self::Reuse { source, .. } => source.is_retryable(),
            Self::Layer { source, .. }
            | Self::Open { source, .. }
            | Self::Mirrors { source, .. }
            | Self::Instance { source, .. } => source.is_retryable(),
            Self::Stream(source) | Self::Io { source, .. } => {
                in_stream(source).is_some_and(RegistryError::is_retryable)
            }
            Self::Signatures(source) => in_causes(source).is_some_and(RegistryError::is_retryable),
            Self::Store { source, .. } => {
                in_causes(source).is_some_and(RegistryError::is_retryable)
            }
            _ => false,
        }
    }

    /// Returns the registry's error at the bottom of this one.
    pub fn registry_error(&self) -> Option<&RegistryError> {
        in_causes(self)
    }

    /// Returns whether a destination did not like the format of a manifest.
    pub(crate) fn is_manifest_rejection(&self) -> bool {
        match self {
            Self::WriteManifest { source } => source.reply().is_some_and(|reply| {
                let invalid = ["MANIFEST_INVALID", "TAG_INVALID", "UNSUPPORTED"];
                // Artifactory has no code for it.
                reply
                    .code
                    .as_deref()
                    .is_some_and(|code| invalid.contains(&code))
                    || reply.to_string().contains("Invalid JSON syntax")
            }),
            Self::LayerType { .. } => true,
            _ => false,
        }
    }
}

fn in_stream(error: &io::Error) -> Option<&RegistryError> {
    error.get_ref()?.downcast_ref()
}

/// A registry's error below others: a stream is read deep inside an unpacking.
fn in_causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a RegistryError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // A transparent variant hides the error that it is, and so does a box.
        let transfer = error.downcast_ref::<TransferError>().or_else(|| {
            let boxed = error.downcast_ref::<Box<TransferError>>();
            boxed.map(|boxed| &**boxed)
        });
        if let Some(TransferError::Registry(found)) = transfer {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<RegistryError>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<Box<RegistryError>>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(in_stream) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

pub(crate) type Result<T> = std::result::Result<T, TransferError>;

/// Says what was attempted on which file.
pub(crate) trait IoContext<T> {
    fn at(self, attempt: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, attempt: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| TransferError::Io {
            attempt,
            path: path.to_owned(),
            source,
        })
    }
}

/// Says what a store was asked to do.
pub(crate) trait StoreContext<T> {
    fn when(self, attempt: &'static str) -> Result<T>;
}

impl<T> StoreContext<T> for std::result::Result<T, StoreError> {
    fn when(self, attempt: &'static str) -> Result<T> {
        self.map_err(|source| TransferError::Store { attempt, source })
    }
}

//! What can go wrong while an image moves.

use std::fmt;
use std::io;
use std::path::PathBuf;

use model::{ConfigError, Digest, DigestError, ImageId, ManifestError, Platform, ReferenceError};
use store::StoreError;

use crate::lookup::LookupError;

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
    /// A compression that the wanted format does not know.
    #[error(
        "compression using zstd required together with format {manifest}, which does not support it"
    )]
    ZstdFormat {
        /// The manifest's type.
        manifest: &'static str,
    },
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
    /// Another thread of the same copy failed first.
    #[error("the copy was given up")]
    GivenUp,
}

/// The platforms of a list, for the message that the wanted one is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers(pub Vec<Platform>);

impl fmt::Display for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it names no platforms");
        }
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "it has images for {}", names.join(", "))
    }
}

impl std::error::Error for Offers {}

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

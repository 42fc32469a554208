//! What can go wrong with signatures.

use std::io;
use std::path::PathBuf;

use model::Digest;
use registry::RegistryError;
use trust::{PolicyError, SIGNATURES_MAX, SignatureError};

use super::clock::ClockError;
use super::sigstore::SigningServiceError;

/// Why signatures could not be read, written or made, or a policy not be found.
#[derive(Debug, thiserror::Error)]
pub enum SignaturesError {
    /// The policy's file cannot be read.
    #[error("open {path}", path = path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The policy cannot be used.
    #[error("invalid policy in {path:?}", path = path.display().to_string())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<PolicyError>,
    },
    /// There is no policy.
    #[error("config file not found: no policy.json file found; searched paths: [{searched}]")]
    NoPolicy {
        /// Where it was looked for.
        searched: String,
    },
    /// The policy was not asked about the image.
    #[error("the policy was not asked about `{place}`")]
    Unasked {
        /// The place as messages have it.
        place: String,
    },
    /// The path of a place cannot be resolved.
    #[error("cannot find out the full path of `{path}`", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The signatures of a source cannot be had.
    #[error("reading signatures of {manifest}")]
    Read {
        /// The manifest.
        manifest: Digest,
        /// The cause.
        source: Box<SignaturesError>,
    },
    /// A destination has no room for signatures.
    #[error("Can not copy signatures to {place}")]
    Refused {
        /// The destination.
        place: String,
        /// Why.
        source: Box<SignaturesError>,
    },
    /// A kind of destination has none.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The configuration that says where signatures are cannot be used.
    #[error("looking for the place of signatures of {name}")]
    Place {
        /// The image.
        name: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address of a place for signatures is of no known kind.
    #[error("Unsupported scheme in lookaside URL {url:?}")]
    Scheme {
        /// The address.
        url: String,
    },
    /// A place that can only be read.
    #[error(
        "Writing directly to a http lookaside {url} is not supported. Configure a lookaside-staging: location"
    )]
    ReadOnlyLookaside {
        /// Its address.
        url: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {attempt} `{path}`", path = path.display())]
    File {
        /// What was attempted, as a verb phrase.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no place to write to.
    #[error("no place for signatures of {name} is configured")]
    NoLookaside {
        /// The image.
        name: String,
    },
    /// A server does not give a signature.
    #[error("reading signature from {url}")]
    Fetch {
        /// The address.
        url: String,
        /// The cause.
        source: Box<RegistryError>,
    },
    /// A server's answer breaks off.
    #[error("reading signature from {url}")]
    Body {
        /// The address.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// What lies in a signature's place is none.
    #[error("parsing signature {number} of {manifest}")]
    Parse {
        /// Its number, from 1.
        number: usize,
        /// What it is beside.
        manifest: Digest,
        /// Why it is none.
        source: SignatureError,
    },
    /// There are more signatures than anybody needs.
    #[error("{manifest} has more than {SIGNATURES_MAX} signatures")]
    TooMany {
        /// The manifest.
        manifest: Digest,
    },
    /// What the registry keeps as signatures is in no known form.
    #[error("decoding the list of signatures of {manifest}")]
    Extension {
        /// The manifest.
        manifest: Digest,
        /// The cause.
        source: serde_json::Error,
    },
    /// The registry's own keeping of signatures fails.
    #[error("{attempt} signatures of {manifest} in the registry")]
    Registry {
        /// `reading` or `writing`.
        attempt: &'static str,
        /// The manifest.
        manifest: Digest,
        /// The cause.
        source: Box<RegistryError>,
    },
    /// What lies where attachments of sigstore do is something else.
    #[error("the sigstore attachments `{tag}` are not an OCI image")]
    NotAttachments {
        /// The tag.
        tag: String,
    },
    /// The manifest of attachments is not well formed.
    #[error("parsing the manifest of sigstore attachments `{tag}`")]
    Attachments {
        /// The tag.
        tag: String,
        /// The cause.
        source: model::ManifestError,
    },
    /// Attachments of sigstore are not asked for.
    #[error("writing sigstore attachments is disabled by configuration")]
    AttachmentsDisabled,
    /// A store's record of signatures is not well formed.
    #[error("the record of signatures of image {image} is not well formed")]
    Record {
        /// The image.
        image: String,
        /// The cause, where there is one.
        source: Option<serde_json::Error>,
    },
    /// The store does not give signatures.
    #[error("reading signatures from the store")]
    Store(#[source] store::StoreError),
    /// The store does not take signatures.
    #[error("writing signatures to the store")]
    Write(#[source] store::StoreError),
    /// What is to be signed is not in the store.
    #[error("image {image} is not in the store")]
    NotStored {
        /// The image.
        image: String,
    },
    /// A destination has no name to put on a signature.
    #[error("Cannot determine canonical Docker reference for destination {place}")]
    NoIdentity {
        /// The destination.
        place: String,
    },
    /// A name that cannot be put on a signature.
    #[error("Sign identity {name} has neither a tag nor digest")]
    NameOnly {
        /// The name.
        name: String,
    },
    /// The program that signs could not be started.
    #[error("creating signature with `{program}`")]
    GpgStart {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// The program that signs did not.
    #[error("creating signature: signing by {key:?} failed: {text}")]
    Gpg {
        /// The key's fingerprint as given.
        key: String,
        /// What the program said.
        text: String,
    },
    /// A signature of sigstore was not made.
    #[error("creating signature")]
    Sigstore(#[source] Box<SigningServiceError>),
    /// The clock cannot be used.
    #[error(transparent)]
    Clock(#[from] ClockError),
}

/// Why a destination has no room for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// A layout of OCI.
    #[error("Pushing signatures for OCI images is not supported")]
    Oci,
    /// An archive as `docker save` writes it, or a daemon, which takes such archives.
    #[error("Storing signatures for docker tar files is not supported")]
    DockerArchive,
    /// Any other place.
    #[error("Storing signatures there is not supported")]
    Other,
}

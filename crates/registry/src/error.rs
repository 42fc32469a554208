//! What can go wrong with a registry: [`RegistryError`] says what was attempted on what, [`Failure`] why it failed.
//!
//! Printed as a chain (`a: b: c`) the texts are those of Buildah. No text contains a credential: addresses are shown
//! without user information and, where they come from a redirect, without their query.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::Digest;

use crate::reply::ErrorReply;
use crate::tls::TlsError;
use crate::wire::{Cause, WireError};

/// A failed operation on a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A manifest was refused or is not what it should be.
    #[error("reading manifest {reference} in {repository}")]
    ReadManifest {
        /// Tag or digest.
        reference: String,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A manifest could not even be asked for.
    #[error("fetching manifest {reference} in {repository}")]
    FetchManifest {
        /// Tag or digest.
        reference: String,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A manifest was not accepted.
    #[error("uploading manifest {reference} to {repository}")]
    PutManifest {
        /// Tag or digest.
        reference: String,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A manifest was not deleted.
    #[error("deleting {repository}@{digest}")]
    DeleteManifest {
        /// The digest.
        digest: Digest,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A blob could not be asked for.
    #[error("checking whether a blob {digest} exists in {repository}")]
    CheckBlob {
        /// The digest.
        digest: Digest,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A blob could not be read.
    #[error("fetching blob {digest} from {repository}")]
    FetchBlob {
        /// The digest.
        digest: Digest,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A blob of another repository could not be mounted.
    #[error("mounting {digest} from {from} to {repository}")]
    Mount {
        /// The digest.
        digest: Digest,
        /// The repository that has it.
        from: Box<str>,
        /// The repository that wants it, with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// An upload was not started.
    #[error("initiating layer upload to {path} in {host}")]
    StartUpload {
        /// The path of the request.
        path: String,
        /// The registry.
        host: String,
        /// Why.
        source: Failure,
    },
    /// The content was not taken.
    #[error("uploading layer chunked")]
    SendBlob {
        /// Why.
        source: Failure,
    },
    /// An upload was not concluded.
    #[error("uploading layer to {url}")]
    FinishUpload {
        /// The address, without its query.
        url: String,
        /// Why.
        source: Failure,
    },
    /// The tags could not be listed.
    #[error("fetching tags list of {repository}")]
    Tags {
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// The referrers of a manifest could not be listed.
    #[error("listing the referrers of {repository}@{digest}")]
    Referrers {
        /// The digest.
        digest: Digest,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// Credentials were not accepted, or could not be tried.
    #[error("logging into {host:?}")]
    Login {
        /// The registry.
        host: String,
        /// Why.
        source: Failure,
    },
    /// The first contact with the registry failed.
    #[error(transparent)]
    Contact(Failure),
    /// The signatures beside a manifest could not be read or added to.
    #[error("signatures of {manifest} in {repository}")]
    Signatures {
        /// The manifest.
        manifest: Digest,
        /// The repository with its host.
        repository: String,
        /// Why.
        source: Failure,
    },
    /// A file outside a registry could not be fetched.
    #[error("fetching {url}")]
    FetchUrl {
        /// The address, without its query.
        url: String,
        /// Why.
        source: Failure,
    },
}

/// Why an operation on a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The registry does not answer as one.
    #[error("pinging container registry {host}")]
    Ping {
        /// The registry.
        host: String,
        /// Why.
        source: Arc<Failure>,
    },
    /// The connection failed.
    #[error(transparent)]
    Wire(#[from] Box<WireError>),
    /// The registry refuses.
    #[error(transparent)]
    Reply(#[from] ErrorReply),
    /// The token server refuses the credentials.
    #[error("unable to retrieve auth token: invalid username/password")]
    TokenCredentials(#[source] ErrorReply),
    /// The token server refuses otherwise.
    #[error("Requesting bearer token")]
    Token(#[source] Box<Failure>),
    /// The token server wants fewer requests.
    #[error("too many requests to registry")]
    TokenRate,
    /// The token server's answer is no token.
    #[error("decoding bearer token (last URL {url:?}, body start {start:?})")]
    TokenBody {
        /// The address, without its query.
        url: String,
        /// How the answer begins; empty when it could contain a token.
        start: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The token server's answer has no token.
    #[error("the answer of {url:?} contains no bearer token")]
    NoToken {
        /// The address, without its query.
        url: String,
    },
    /// The registry does not say where tokens are had.
    #[error("missing realm in bearer auth challenge")]
    NoRealm,
    /// The registry names a place for tokens that is no address.
    #[error("invalid realm {realm:?} in bearer auth challenge")]
    BadRealm {
        /// The realm as sent.
        realm: String,
    },
    /// Credentials were refused at a login.
    #[error("invalid username/password")]
    Credentials,
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] Box<TlsError>),
    /// The thread that does the networking did not start.
    #[error("cannot start the network thread")]
    Start(#[source] io::Error),
    /// The work was cancelled, or the thread that does the networking has ended.
    #[error("the transfer was ended")]
    Ended,
    /// Something is longer than it may be.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is more of something than there may be.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A redirect leads nowhere, or where it must not.
    #[error("the redirect to {target:?} is not followed: {reason}")]
    Redirect {
        /// The address, without its query.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// A reply lacks a header, or its value makes no sense.
    #[error("the reply has no usable {name} header")]
    Header {
        /// The header.
        name: &'static str,
    },
    /// A list is no valid JSON of its kind.
    #[error("cannot read the list of {what}")]
    List {
        /// What is listed.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The content does not have the digest under which it was asked for.
    #[error("content does not match its digest: expected {expected}, got {actual}")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// That of the content.
        actual: Digest,
    },
    /// The content is not as long as it should be.
    #[error("content has a wrong size: expected {expected} bytes, got {actual}")]
    Size {
        /// The right size.
        expected: u64,
        /// The size found, or the smallest it can be.
        actual: u64,
    },
    /// None of the addresses of an external blob has it; the last one's reason.
    #[error("failed fetching external blob from all urls")]
    External(#[source] Box<Failure>),
    /// There is no address to fetch from.
    #[error("no address is given")]
    NoUrl,
    /// A continued download does not continue where it was cut.
    #[error("the continued download starts at a wrong place: wanted byte {wanted}, got {got:?}")]
    Range {
        /// The first byte wanted.
        wanted: u64,
        /// What the reply says of its range.
        got: String,
    },
    /// The registry reports an upload that has more than was sent.
    #[error("the registry has {has} bytes of an upload of which {sent} were sent")]
    Offset {
        /// What it says to have.
        has: u64,
        /// What was sent at the most.
        sent: u64,
    },
    /// A transfer was cut again and again without moving on.
    #[error("cut {times} times without progress, at byte {offset}")]
    NoProgress {
        /// How often in a row.
        times: u32,
        /// Where.
        offset: u64,
        /// The last cut.
        source: Box<Failure>,
    },
    /// The content to upload could not be read.
    #[error("cannot read the content to upload at byte {offset}")]
    Body {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file of a download that was cut could not be read.
    #[error("cannot read the kept part of the download")]
    Partial(#[source] io::Error),
    /// An address is none.
    #[error("{url:?} is no usable address")]
    Url {
        /// The text.
        url: String,
    },
}

impl RegistryError {
    /// Returns why the operation failed.
    pub fn failure(&self) -> &Failure {
        match self {
            RegistryError::ReadManifest { source, .. }
            | RegistryError::FetchManifest { source, .. }
            | RegistryError::PutManifest { source, .. }
            | RegistryError::DeleteManifest { source, .. }
            | RegistryError::CheckBlob { source, .. }
            | RegistryError::FetchBlob { source, .. }
            | RegistryError::Mount { source, .. }
            | RegistryError::StartUpload { source, .. }
            | RegistryError::SendBlob { source }
            | RegistryError::FinishUpload { source, .. }
            | RegistryError::Tags { source, .. }
            | RegistryError::Referrers { source, .. }
            | RegistryError::Login { source, .. }
            | RegistryError::Signatures { source, .. }
            | RegistryError::FetchUrl { source, .. }
            | RegistryError::Contact(source) => source,
        }
    }

    /// Returns whether the same operation, or the whole copy it belongs to, may succeed when tried again later.
    pub fn is_retryable(&self) -> bool {
        self.failure().is_retryable()
    }

    /// Returns whether the registry says that it does not have what was asked for.
    pub fn is_not_found(&self) -> bool {
        self.reply().is_some_and(|reply| {
            reply.status == 404
                || matches!(
                    reply.code.as_deref(),
                    Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN")
                )
        })
    }

    /// Returns whether the registry refuses for want of (good) credentials.
    pub fn is_unauthorized(&self) -> bool {
        match self.failure() {
            Failure::TokenCredentials(_) | Failure::Credentials => true,
            _ => self.reply().is_some_and(|reply| {
                matches!(reply.status, 401 | 403)
                    || matches!(reply.code.as_deref(), Some("UNAUTHORIZED" | "DENIED"))
            }),
        }
    }

    /// Returns whether TLS could not be agreed upon, for want of trust or otherwise.
    pub fn is_tls(&self) -> bool {
        self.failure().is_tls()
    }

    /// Returns the refusing reply, if that is why the operation failed.
    pub fn reply(&self) -> Option<&ErrorReply> {
        self.failure().reply()
    }
}

impl Failure {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Failure::Wire(wire) => wire.is_retryable(),
            Failure::Reply(reply) => reply.is_retryable(),
            Failure::Ping { source, .. } => source.is_retryable(),
            Failure::Token(source) => source.is_retryable(),
            Failure::NoProgress { source, .. } | Failure::External(source) => source.is_retryable(),
            _ => false,
        }
    }

    fn is_tls(&self) -> bool {
        match self {
            Failure::Wire(wire) => matches!(wire.cause(), Cause::Tls(_) | Cause::Certificate(_)),
            Failure::Ping { source, .. } => source.is_tls(),
            Failure::Token(source)
            | Failure::NoProgress { source, .. }
            | Failure::External(source) => source.is_tls(),
            _ => false,
        }
    }

    fn reply(&self) -> Option<&ErrorReply> {
        match self {
            Failure::Reply(reply) | Failure::TokenCredentials(reply) => Some(reply),
            Failure::Ping { source, .. } => source.reply(),
            Failure::Token(source) | Failure::NoProgress { source, .. } => source.reply(),
            _ => None,
        }
    }

    pub(crate) fn wire(error: WireError) -> Self {
        Failure::Wire(Box::new(error))
    }

    pub(crate) fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Failure::Reply(reply) if reply.status == wanted)
    }

    pub(crate) fn stalled(method: &str, url: &str, limit: Duration) -> Self {
        Failure::wire(WireError::stalled(method, url, limit))
    }
}

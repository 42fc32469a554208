//! The distribution protocol with one registry: contact, authentication, manifests, blobs, lists; with waiting, trying
//! again and going on where a transfer was cut.
//!
//! The face is blocking and may be used from many threads at once. Inside, one thread runs everything asynchronous; it
//! starts with the first request. The crate deliberately knows no configuration files, no mirrors and no images: which
//! endpoint, which credentials and what the bytes mean is the caller's. It prints nothing; what is worth telling comes
//! as a [`Notice`].

mod auth;
mod blobs;
mod buffers;
mod call;
mod cancel;
pub mod challenge;
mod client;
mod download;
mod endpoint;
mod error;
mod extension;
mod external;
mod feed;
mod file;
mod http;
mod jws;
mod lists;
mod manifests;
mod notice;
mod options;
mod partial;
mod pause;
mod proxy;
mod range;
mod reply;
mod scout;
mod service;
mod tls;
mod upload;
mod wire;

pub use blobs::BlobStat;
pub use download::Download;
pub use endpoint::{Access, Endpoint, ManifestRef, Repository};
pub use error::{Failure, RegistryError};
pub use file::{FetchError, FetchedFile};
pub use http::{Http, HttpOptions, TimeLimits};
pub use jws::payload as schema1_payload;
pub use lists::TagList;
pub use manifests::{Fetched, MAX_MANIFEST, ManifestHead};
pub use notice::Notice;
pub use options::{Credential, EndpointOptions, Notices, RequestRetry, Security};
pub use partial::Partials;
pub use proxy::ProxySettings;
pub use reply::ErrorReply;
pub use service::{Question, Reply, Services, query_fields, url_with_query};
pub use tls::{TlsError, TlsFiles, TlsIdentity};
pub use upload::{BodySource, NewBlob, Uploaded};
pub use wire::{Cause, WireError};

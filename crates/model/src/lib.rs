//! The nouns of container images: references, digests, manifests, configs, pure edits on them, and the words in which
//! a build tells of its progress.
//!
//! Everything here is a value or a function of values. The crate deliberately opens no file, asks no clock and draws no
//! random number: what it does not know, it is given.

pub mod artifact;
pub mod content_type;
pub mod digest;
pub mod edit;
pub mod error;
pub mod event;
pub mod go_json;
pub mod id;
pub mod image_config;
pub mod list;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod secret;
pub mod source_image;
pub mod time;
pub mod validate;

mod go_order;
mod serde_go;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use event::{Event, MissReason, Reporter};
pub use id::{ContainerId, DiffId, IdError, ImageId, LayerId};
pub use image_config::{ConfigError, ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use manifest::{
    Descriptor, Document, Index, Manifest, ManifestError, ManifestFormat, RawIndex, RawManifest,
};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use secret::Secret;
pub use time::{Timestamp, TimestampError};

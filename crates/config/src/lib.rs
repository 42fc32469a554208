//! The host's container configuration files, found, merged and validated as values with their origin.
//!
//! Nothing here reads the environment: the places to look in and the variables that matter
//! come in as [`SearchRoots`]. Every value knows the line that it stands on, so that a
//! message about it can name that line. What the values mean for a store or a registry is
//! the business of their users.

mod document;
mod origin;
mod roots;
mod storage;

pub use document::ConfigError;
pub use origin::{Origin, Place, Warning};
pub use roots::{Files, SearchRoots};
pub use storage::StorageConf;

//! Moves images between places: transports, the copy pipeline and the look-up of names.
//!
//! One pipeline ([`copy()`]) serves pull, push, load and save: a source offers a manifest, a config and streams of
//! layers; a sink says what it accepts. Nothing is published before its digest was verified, and bytes that need not
//! change are handed on as they came. Registries are not here yet, and neither is signature checking: signatures stay
//! behind. Configuration comes as values; nothing here reads the environment or the host's files.

mod archive_file;
mod copy;
mod dir;
mod docker_archive;
mod docker_writer;
mod error;
mod files;
mod layout;
mod lookup;
mod manifest_update;
mod oci_archive;
mod short_name;
mod sink;
mod source;
mod storage;
mod transport;

pub use copy::{Compress, CompressionFormat, Copied, CopyOptions, copy, pull};
pub use error::{Offers, TransferError};
pub use lookup::{Found, LookupError, Tried, instance_of, lookup, lookup_image};
pub use short_name::{Alias, NameRules, Resolved, ShortNameError};
pub use transport::{
    ArchivePick, Pick, StorageRef, StoreSpec, TransportError, TransportRef, is_transport,
};

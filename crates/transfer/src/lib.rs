//! Moves images between places: transports, the copy pipeline and the look-up of names.
//!
//! One pipeline ([`copy()`]) serves pull, push, load and save: a source offers a manifest, a config and streams of
//! layers; a sink says what it accepts. Nothing is published before its digest was verified, and bytes that need not
//! change are handed on as they came. Configuration comes as values; nothing here reads the environment or the host's
//! files.

mod archive_file;
mod body;
mod compression;
mod copy;
mod daemon;
mod dir;
mod docker;
mod docker_archive;
mod docker_sink;
mod docker_writer;
mod encryption;
mod error;
mod facts;
mod files;
mod hosts;
mod layout;
mod list;
mod look;
mod lookup;
mod manifest_update;
mod mover;
mod oci_archive;
mod packing;
mod plan;
mod pull;
mod registries;
mod schema1;
mod short_name;
mod signatures;
mod sink;
mod source;
mod source_image;
mod static_registry;
mod stop;
mod storage;
mod stream;
mod tarball;
mod transport;
mod unfinished;

pub use compression::{CompressionFormat, UnknownCompression};
pub use copy::{Compress, Copied, CopyOptions, CopyScope, PARALLEL_DEFAULT, Retry, copy};
pub use daemon::{DaemonError, HttpError};
pub use encryption::{EncryptionError, LayerEncryption};
pub use error::{Attempt, Attempts, MirrorFailure, MirrorFailures, Offers, TransferError};
pub use hosts::{ConfiguredHosts, Verify};
pub use list::{BlobAt, CopiedList, ListSource, Member, copy_list};
pub use look::{Looked, LookedImage, look, tags};
pub use lookup::{Found, LookupError, Tried, instance_of, lookup, lookup_image};
pub use plan::{Keep, Requirement};
pub use pull::{BegunPull, pull};
pub use registries::{
    HostAccess, HostError, Hosts, Located, Notices, Purpose, Registries, memory_in,
};
pub use schema1::Schema1Error;
pub use schema1::write::Schema1WriteError;
pub use short_name::{Alias, Asking, Choice, NameRules, Resolved, ShortNameError, without_tag};
pub use signatures::{
    ClockError, Conversation, Existing, Fulcio, FulcioParameters, Gpg, GpgError, IdentitySource,
    NoPlaces, NoRoom, OidcClient, OidcError, ParameterError, PolicySource, Rekor, ServiceError,
    SignatureOptions, SignaturePlace, SignaturePlaces, SignaturesError, Signer, SigningKey,
    SigningParameters, SigningServiceError, SigstoreSigner, gpg_public_keys, sign_stored,
};
pub use source_image::{ArtifactError, add_to_source_image, create_source_image};
pub use static_registry::{Names, StaticError, StaticName, StaticNameError};
pub use transport::{
    ArchivePick, DaemonImage, Pick, StorageRef, StoreSpec, TransportError, TransportRef,
    is_transport,
};

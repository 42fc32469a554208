//! The host's container configuration files, found, merged and validated as values with their origin.
//!
//! Nothing here reads the environment: the places to look in and the variables that matter
//! come in as [`SearchRoots`]. Every value knows the line that it stands on, so that a
//! message about it can name that line. What the values mean for a store or a registry is
//! the business of their users.

mod alias;
mod aliases;
mod auth;
mod build_sources;
mod certs;
mod containers;
mod document;
mod effective;
mod nearest;
mod origin;
mod registries;
mod registries_d;
mod replace;
mod roots;
mod storage;
mod subid;
#[cfg(test)]
mod test_world;

pub use alias::{Alias, AliasError};
pub use aliases::{AliasCache, AliasCacheError};
pub use auth::{
    AuthError, AuthFile, AuthFiles, AuthFlag, AuthFormat, Entry, Erased, Found, HelperError,
    Lookup, Provenance, Stored,
};
pub use build_sources::{BuildSources, BuildSourcesError};
pub use certs::{CertsDirs, CertsError, ClientPair, HostCerts, PemFile};
pub use containers::{
    ContainersConf, ContainersError, ContainersFault, ContainersTable, EngineTable, NetworkTable,
};
pub use document::ConfigError;
pub use effective::{Effective, Shown};
pub use origin::{Origin, Place, Warning};
pub use registries::{
    AUTH_FILES_HELPER, Located, Mirror, MirrorUsage, RegistriesConf, RegistriesError,
    RegistriesFault, Registry, Role, ShortNameMode, Use,
};
pub use registries_d::{RegistriesD, RegistriesDError, SignatureSection};
pub use roots::{Files, MainFile, SearchRoots};
pub use storage::StorageConf;
pub use subid::{
    SubIdError, SubIdKind, SubIdRange, SubIds, load_ranges as load_subids, parse as parse_subids,
};

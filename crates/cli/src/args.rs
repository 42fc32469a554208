//! Flags that commands share.

pub mod access;
pub mod namespaces;
pub mod process;
pub mod resources;
pub mod sbom;

use clap::Args;

pub use crate::go_values::{go_bool, go_int, go_uint};
use crate::ui::Mode;

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Storage root directory (default: storage.conf's)
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<std::path::PathBuf>,
    /// Storage state directory (default: storage.conf's)
    #[arg(long, global = true, value_name = "DIR")]
    pub runroot: Option<std::path::PathBuf>,
    /// Storage driver: overlay or vfs
    #[arg(long, global = true, value_name = "NAME")]
    pub storage_driver: Option<String>,
    /// Storage driver option
    #[arg(long, global = true, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub storage_opt: Vec<String>,
    /// Keep images in this directory, and only containers in the root (default: storage.conf's)
    #[arg(long, global = true, value_name = "DIR")]
    pub imagestore: Option<std::path::PathBuf>,
    /// Forget containers when the machine is started again
    #[arg(long, global = true)]
    pub transient_store: bool,
    /// Read this file instead of registries.conf
    #[arg(long, global = true, value_name = "FILE")]
    pub registries_conf: Option<std::path::PathBuf>,
    /// Read the files in this folder instead of those in registries.conf.d
    #[arg(long, global = true, value_name = "DIR")]
    pub registries_conf_dir: Option<std::path::PathBuf>,
    /// Keep the registries that were chosen for short names in this file
    #[arg(long, global = true, value_name = "FILE")]
    pub short_name_alias_conf: Option<std::path::PathBuf>,
    /// Keep what is known of blobs in registries in this folder instead of the one that all tools share
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub blob_info_cache: Option<std::path::PathBuf>,
    /// Log messages at this level and above: trace, debug, info, warn, error, fatal, panic
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
    /// Tell progress in this form
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        value_enum,
        default_value = "auto"
    )]
    pub progress: Mode,
}

//! What a store is opened with, and what the settings of its driver mean.
//!
//! Where the settings come from (files, environment, flags) is the caller's business.

use std::path::PathBuf;

use archive::OwnerChange;

use crate::error::{Result, StoreError};

/// A storage driver that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverName {
    /// Layers stacked by the kernel's overlay file system.
    Overlay,
    /// A full copy per layer; works everywhere.
    Vfs,
}

impl DriverName {
    /// Returns the name that containers/storage uses, which is also that of the directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Vfs => "vfs",
        }
    }
}

impl std::fmt::Display for DriverName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which driver is wanted, and by whom.
#[derive(Clone, Debug, Default)]
pub struct DriverChoice {
    /// Its name as written; `None` to go by what the graph root holds.
    pub name: Option<String>,
    /// Names to try for a new store when none is wanted.
    pub priority: Vec<String>,
    /// Who wants it, for messages: a file with its line, a flag, or "default".
    pub chosen_by: String,
}

/// Whether the Go tools would call this process rootless; see `sys::Probe::is_rootless`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// Root of the initial user namespace: `trusted.overlay.*`.
    #[default]
    Root,
    /// Anybody else, root of a user namespace included: `user.overlay.*`.
    Rootless,
}

/// Everything a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Where layers, images and containers are, "G" in the format's description.
    pub graph_root: PathBuf,
    /// Where state that ends with a reboot is, "R" in the format's description.
    pub run_root: PathBuf,
    /// The driver.
    pub driver: DriverChoice,
    /// Options of the driver, `NAME=VALUE` or `DRIVER.NAME=VALUE`; those of another driver
    /// are skipped, unknown ones are errors.
    pub driver_options: Vec<String>,
    /// Graph roots of stores to read images from as well.
    pub additional_stores: Vec<PathBuf>,
    /// A second root for images; refused when set.
    pub image_store: Option<PathBuf>,
    /// Whether containers are forgotten at reboot; refused when set.
    pub transient: bool,
    /// Which extended attributes the overlay uses.
    pub privilege: Privilege,
}

impl StoreOptions {
    /// Returns options for a store at these two places with nothing else set.
    #[must_use]
    pub fn new(graph_root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self {
            graph_root: graph_root.into(),
            run_root: run_root.into(),
            driver: DriverChoice {
                chosen_by: "default".to_owned(),
                ..DriverChoice::default()
            },
            driver_options: Vec::new(),
            additional_stores: Vec::new(),
            image_store: None,
            transient: false,
            privilege: Privilege::default(),
        }
    }

    /// Asks for a driver.
    #[must_use]
    pub fn with_driver(mut self, driver: DriverName) -> Self {
        self.driver.name = Some(driver.as_str().to_owned());
        self
    }
}

/// Whether `G/overlay` becomes a mount of its own before layers are mounted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HomeMount {
    #[default]
    Private,
    Skip,
}

/// Whether layer content is on the disk before its record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SyncMode {
    #[default]
    None,
    Filesystem,
}

/// The driver's settings, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct DriverSettings {
    pub(crate) home_mount: HomeMount,
    pub(crate) sync: SyncMode,
    /// What becomes of files whose owner cannot be set.
    pub(crate) owners: OwnerChange,
    /// Flags of the visible mount, such as `nodev`.
    pub(crate) mount_flags: Vec<MountFlag>,
}

/// Mount options that are flags of the mount rather than of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MountFlag {
    NoDev,
    NoExec,
    NoSuid,
    ReadOnly,
}

impl DriverSettings {
    /// Understands the options for `driver`.
    pub(crate) fn parse(driver: DriverName, options: &[String]) -> Result<Self> {
        let mut settings = Self::default();
        for option in options {
            let unsupported = || StoreError::OptionUnsupported {
                option: option.clone(),
            };
            let (key, value) = option.split_once('=').ok_or_else(unsupported)?;
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim();
            let name = match key.split_once('.') {
                Some((prefix, name)) => {
                    let prefix = if prefix == "overlay2" {
                        "overlay"
                    } else {
                        prefix
                    };
                    if prefix != driver.as_str() {
                        continue;
                    }
                    name
                }
                None => key.as_str(),
            };
            let off = || matches!(value, "" | "false" | "0");
            match (driver, name) {
                (_, "ignore_chown_errors") => {
                    settings.owners = if off() {
                        OwnerChange::Required
                    } else {
                        OwnerChange::Attempted
                    };
                }
                (_, "sync") => {
                    settings.sync = match value {
                        "" | "none" => SyncMode::None,
                        "filesystem" => SyncMode::Filesystem,
                        _ => return Err(unsupported()),
                    };
                }
                (DriverName::Overlay, "mountopt") => {
                    settings.mount_flags = mount_flags(value).ok_or_else(unsupported)?;
                }
                (DriverName::Overlay, "skip_mount_home") => {
                    settings.home_mount = if off() {
                        HomeMount::Private
                    } else {
                        HomeMount::Skip
                    };
                }
                (DriverName::Overlay, "use_composefs") if off() => {}
                (
                    DriverName::Overlay,
                    "size" | "inodes" | "force_mask" | "mount_program" | "override_kernel_check",
                ) if value.is_empty() => {}
                (DriverName::Vfs, "mountopt") if value.is_empty() => {}
                _ => return Err(unsupported()),
            }
        }
        Ok(settings)
    }
}

/// Splits a `mountopt` into mount flags. What would make an upper directory unreadable
/// without its mount (`metacopy`, `redirect_dir`) speeds up other tools' mounts and is left
/// out of ours; `volatile` is decided per mount.
fn mount_flags(value: &str) -> Option<Vec<MountFlag>> {
    let mut flags = Vec::new();
    for word in value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match word {
            "nodev" => flags.push(MountFlag::NoDev),
            "noexec" => flags.push(MountFlag::NoExec),
            "nosuid" => flags.push(MountFlag::NoSuid),
            "ro" => flags.push(MountFlag::ReadOnly),
            "rw" | "dev" | "exec" | "suid" | "volatile" | "userxattr" => {}
            _ if word.starts_with("metacopy=")
                || word.starts_with("redirect_dir=")
                || word.starts_with("index=") => {}
            _ => return None,
        }
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let check = |option: &str, accepted: bool| {
            let result = DriverSettings::parse(DriverName::Overlay, &[option.to_owned()]);
            assert_eq!(result.is_ok(), accepted, "{option}: {result:?}");
        };
        check("overlay.mountopt=nodev,metacopy=on", true);
        check("overlay.mountopt=context=x", false);
        check("mountopt=nodev", true);
        check("vfs.anything=1", true);
        check("overlay.mount_program=/usr/bin/fuse-overlayfs", false);
        check("overlay.size=10G", false);
        check("overlay.ignore_chown_errors=true", true);
        check("overlay.ignore_chown_errors=false", true);
        check("overlay.sync=filesystem", true);
        check("overlay.sync=sometimes", false);
        check("overlay.unheard_of=1", false);
        check("nonsense", false);
    }
}

//! A trial overlay mount, and what to say when it fails.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use sys::overlay::{Durability, OverlaySpec, XattrFlavour};

use crate::error::{IoContext as _, Result, StoreError};
use crate::locks::private_dir;
use crate::options::{Privilege, StoreOptions};
use crate::tempdir::TempDir;

/// Why the overlay file system cannot be used here, with what would help.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Who selected the driver: a file with its line, a flag, or "default".
    pub chosen_by: String,
    /// The directory that the trial was made in.
    pub at: PathBuf,
    /// The file system found there.
    pub file_system: String,
    /// The errno of the trial mount.
    pub errno: Option<i32>,
    /// Whether this process lives in a user namespace or without privileges.
    pub rootless: bool,
    /// Whether `/dev/fuse` exists.
    pub has_fuse_device: bool,
    /// Whether `fuse-overlayfs` is installed.
    pub has_fuse_overlayfs: bool,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot mount an overlay file system in `{}` ({}); driver overlay was selected by {}; \
             {} user namespace; /dev/fuse {}, fuse-overlayfs {}; ",
            self.at.display(),
            self.file_system,
            self.chosen_by,
            if self.rootless {
                "inside a"
            } else {
                "in the initial"
            },
            if self.has_fuse_device {
                "exists"
            } else {
                "is missing"
            },
            if self.has_fuse_overlayfs {
                "is installed"
            } else {
                "is not installed"
            },
        )?;
        if self.file_system == "overlayfs" || self.file_system == "nfs" {
            write!(
                f,
                "set `graphroot` to a directory on another file system (a volume), or "
            )?;
        }
        write!(
            f,
            "set `driver = \"vfs\"`, which works everywhere but copies each layer"
        )
    }
}

/// Names the file system that a path is on.
fn file_system(path: &Path) -> String {
    let Ok(stat) = rustix::fs::statfs(path) else {
        return "unknown file system".to_owned();
    };
    let name = match stat.f_type as u64 & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0x0102_1997 => "9p",
        0xca45_1a4e => "bcachefs",
        0xf2f5_2010 => "f2fs",
        other => return format!("file system type {other:#x}"),
    };
    name.to_owned()
}

/// Mounts a small overlay in the driver's directory and forgets it.
pub(crate) fn overlay(options: &StoreOptions, home: &Path, flavour: XattrFlavour) -> Result<()> {
    let temp = TempDir::create(&home.join("tempdirs"))?;
    let result = trial(temp.path(), flavour);
    let report = |source: std::io::Error| StoreError::OverlayUnusable {
        report: Box::new(ProbeReport {
            chosen_by: options.driver.chosen_by.clone(),
            at: home.to_path_buf(),
            file_system: file_system(home),
            errno: source.raw_os_error(),
            rootless: options.privilege == Privilege::Rootless,
            has_fuse_device: Path::new("/dev/fuse").exists(),
            has_fuse_overlayfs: ["/usr/bin", "/usr/local/bin", "/bin"]
                .iter()
                .any(|dir| Path::new(dir).join("fuse-overlayfs").exists()),
        }),
        source,
    };
    let outcome = match result {
        Ok(mounted) => mounted.map_err(report),
        Err(err) => Err(err),
    };
    temp.close()?;
    outcome
}

/// As [`overlay`], where the driver's directory must not be made because it would already
/// select the driver.
pub(crate) fn overlay_in(root: &Path, options: &StoreOptions) -> Result<()> {
    private_dir(root)?;
    let temp = tempfile::Builder::new()
        .prefix(".probe-")
        .tempdir_in(root)
        .at("create a directory in", root)?;
    let flavour = match options.privilege {
        Privilege::Root => XattrFlavour::Trusted,
        Privilege::Rootless => XattrFlavour::User,
    };
    overlay(options, temp.path(), flavour)
}

fn trial(dir: &Path, flavour: XattrFlavour) -> Result<std::io::Result<()>> {
    let path = |name: &str| dir.join(name);
    for name in ["lower", "upper", "work"] {
        fs::create_dir(path(name)).at("create the directory", path(name))?;
    }
    let spec = OverlaySpec {
        lowers: vec![path("lower")],
        upper: Some(path("upper")),
        work: Some(path("work")),
        xattrs: flavour,
        durability: Durability::Synced,
    };
    Ok(sys::overlay::mount_detached(&spec).map(drop))
}

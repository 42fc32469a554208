//! A folder for one test, gone at its end whatever happened, with what was mounted below it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder below `/var/tmp` (overlay needs a real file system), removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty folder whose name says who made it.
    pub fn new(purpose: &str) -> std::io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cooper-test-{purpose}-{}-{number}", std::process::id());
        let path = Path::new("/var/tmp").join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        unmount_below(&self.path);
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Detaches every mount below `path`, the deepest first.
pub fn unmount_below(path: &Path) {
    for at in mounts_below(path).iter().rev() {
        let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Lists the mount points below `path`, in the order in which they were mounted.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|at| PathBuf::from(at.replace("\\040", " ")))
        .filter(|at| at.starts_with(path))
        .collect()
}

//! Temporary directories inside a store, as containers/storage 1.59 and later have them.
//!
//! An instance is `lock-N`, held for as long as the instance lives, and `temp-dir-N`. The
//! lock exists and is held before the directory does. Whoever gets the lock of an instance
//! without waiting may remove it: its owner is dead. This is how a crash is cleaned up, by
//! us or by any other tool.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sys::FileLock;

use crate::error::{IoContext as _, Result};
use crate::ident;
use crate::locks::private_dir;

const LOCK_PREFIX: &str = "lock-";
const DIR_PREFIX: &str = "temp-dir-";

/// How often a fresh name is tried before giving up.
const MAX_ATTEMPTS: usize = 100;

/// One locked temporary directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir {
    lock: Mutex<Option<FileLock>>,
    lock_path: PathBuf,
    path: PathBuf,
    counter: AtomicUsize,
}

impl TempDir {
    /// Makes a new instance under `root`, making `root` too if needed.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        private_dir(root)?;
        for attempt in 1.. {
            let number = ident::random_digits();
            let lock_path = root.join(format!("{LOCK_PREFIX}{number}"));
            let path = root.join(format!("{DIR_PREFIX}{number}"));
            let made = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&lock_path);
            match made {
                Ok(_) => {}
                Err(err)
                    if err.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_ATTEMPTS =>
                {
                    continue;
                }
                Err(err) => return Err(err).at("create", &lock_path),
            }
            // Between the creation and the lock a reaper may have come by.
            match FileLock::try_write(&lock_path).at("lock", &lock_path)? {
                Some(lock) if lock_path.exists() => {
                    fs::DirBuilder::new()
                        .mode(0o700)
                        .create(&path)
                        .at("create the directory", &path)?;
                    return Ok(Self {
                        lock: Mutex::new(Some(lock)),
                        lock_path,
                        path,
                        counter: AtomicUsize::new(0),
                    });
                }
                _ if attempt < MAX_ATTEMPTS => {}
                _ => {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock)).at("lock", &lock_path);
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Returns the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path in the directory that was not handed out before.
    pub(crate) fn next(&self, name: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{number}-{name}"))
    }

    /// Moves a file or tree here; it disappears with the directory. A path that does not
    /// exist is as good as moved.
    pub(crate) fn take_away(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match rename(path, &self.next(&name)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.at("move away", path),
        }
    }

    /// Removes the directory and then the lock.
    pub(crate) fn close(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        let mut lock = self
            .lock
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(held) = lock.take() else {
            return Ok(());
        };
        remove_tree(&self.path)?;
        let unlinked = remove_file(&self.lock_path);
        drop(held);
        unlinked
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Whatever stays is removed by the next reaper of any tool.
        let _ = self.remove();
    }
}

/// Renames within one file system. Podman and Buildah mount a store's home on itself and away
/// again with every command; when that falls between the look-ups of the two paths they lie on
/// different mounts for the kernel, so they are then looked up from their common directory.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let crossed = match fs::rename(from, to) {
        Err(err) if err.kind() == io::ErrorKind::CrossesDevices => err,
        result => return result,
    };
    let Some(common) = from.ancestors().find(|dir| to.starts_with(dir)) else {
        return Err(crossed);
    };
    let (Ok(below_from), Ok(below_to)) = (from.strip_prefix(common), to.strip_prefix(common))
    else {
        return Err(crossed);
    };
    let dir = fs::File::open(common)?;
    Ok(rustix::fs::renameat(&dir, below_from, &dir, below_to)?)
}

/// Removes a tree that may not exist.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

/// Removes a file that may not exist.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

/// Removes the instances under `root` whose owners are dead; returns how many.
pub(crate) fn reap(root: &Path) -> Result<usize> {
    let mut numbers = BTreeSet::new();
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(err) => return Err(err).at("list", root),
    };
    for entry in entries {
        let name = entry.at("list", root)?.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix(LOCK_PREFIX)
            .or_else(|| name.strip_prefix(DIR_PREFIX));
        numbers.extend(number.map(str::to_owned));
    }
    let mut reaped = 0;
    for number in numbers {
        let lock_path = root.join(format!("{LOCK_PREFIX}{number}"));
        let Some(lock) = FileLock::try_write(&lock_path).at("lock", &lock_path)? else {
            continue;
        };
        remove_tree(&root.join(format!("{DIR_PREFIX}{number}")))?;
        remove_file(&lock_path)?;
        drop(lock);
        reaped += 1;
    }
    Ok(reaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_instances_are_not_reaped() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("tempdirs");
        assert_eq!(reap(&root).unwrap(), 0);
        let living = TempDir::create(&root).unwrap();
        fs::write(living.next("x"), "x").unwrap();
        fs::create_dir(root.join("temp-dir-77")).unwrap();
        fs::write(root.join("temp-dir-77/file"), "x").unwrap();
        fs::write(root.join("lock-78"), "").unwrap();
        assert_eq!(reap(&root).unwrap(), 2);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
        living.close().unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn things_taken_away_vanish_with_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        let temp = TempDir::create(&dir.path().join("t")).unwrap();
        temp.take_away(&victim).unwrap();
        temp.take_away(&victim).unwrap();
        assert!(!victim.exists());
        temp.close().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("t")).unwrap().count(), 0);
    }
}

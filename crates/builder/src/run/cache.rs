//! Cache directories: made once, found again by name, locked while a step uses them.
//!
//! One directory per (id, owner), named by a hash so that nobody chooses where it is. Beside it is
//! a lock file: users hold a read lock, those who want it alone a write lock, and so does whoever
//! makes or removes it. The lock is advisory and ends with the process.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};
use sha2::{Digest as _, Sha256};
use sys::FileLock;

use super::request::Sharing;

/// How many caches of one name there can be with [`Sharing::Private`].
const MAX_PRIVATE: u32 = 4096;
/// Hex digits of a directory's name.
const NAME_DIGITS: usize = 16;

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A system call failed.
    #[error("cannot {attempt} `{path}` for cache `{id}`")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Name of the cache.
        id: String,
        /// The cause.
        source: io::Error,
    },
    /// Each private copy is in use.
    #[error("all {MAX_PRIVATE} private copies of cache `{id}` are in use")]
    AllInUse {
        /// Name of the cache.
        id: String,
    },
}

/// What identifies a cache, and how its directory is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheKey<'a> {
    pub(crate) id: &'a str,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A cache in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct CacheInUse {
    path: PathBuf,
    _lock: FileLock,
}

impl CacheInUse {
    /// The directory of the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the cache `key` below `caches`, waiting for others as `sharing` has it. A new directory is
/// given to `fill` before anybody else sees it.
pub(crate) fn open(
    caches: &Path,
    key: CacheKey<'_>,
    sharing: Sharing,
    fill: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> Result<CacheInUse, CacheError> {
    let at = |attempt, path: &Path| {
        let (path, id) = (path.to_path_buf(), key.id.to_owned());
        move |source| CacheError::Io {
            attempt,
            path,
            id,
            source,
        }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(caches)
        .map_err(at("make the directory", caches))?;
    let name = name_of(key);
    for number in 0..MAX_PRIVATE {
        let name = if number == 0 {
            name.clone()
        } else {
            format!("{name}-{number}")
        };
        let path = caches.join(&name);
        let lock_path = caches.join(format!("{name}.lock"));
        let mut lock = match sharing {
            Sharing::Private => {
                match FileLock::try_write(&lock_path).map_err(at("lock", &lock_path))? {
                    Some(lock) => lock,
                    None => continue,
                }
            }
            Sharing::Locked => FileLock::write(&lock_path).map_err(at("lock", &lock_path))?,
            Sharing::Shared => FileLock::read(&lock_path).map_err(at("lock", &lock_path))?,
        };
        while !path.is_dir() {
            if sharing == Sharing::Shared {
                drop(lock);
                lock = FileLock::write(&lock_path).map_err(at("lock", &lock_path))?;
            }
            make(&path, key, fill).map_err(at("make", &path))?;
            if sharing == Sharing::Shared {
                // Somebody may remove it before the read lock is held: hence the loop.
                drop(lock);
                lock = FileLock::read(&lock_path).map_err(at("lock", &lock_path))?;
            }
        }
        return Ok(CacheInUse { path, _lock: lock });
    }
    Err(CacheError::AllInUse {
        id: key.id.to_owned(),
    })
}

/// Makes the directory under another name first: a crash in between leaves no half-filled cache.
fn make(
    path: &Path,
    key: CacheKey<'_>,
    fill: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let staged = path.with_extension("new");
    match fs::remove_dir_all(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&staged)?;
    fill(&staged)?;
    rustix::fs::chown(
        &staged,
        Some(Uid::from_raw(key.uid)),
        Some(Gid::from_raw(key.gid)),
    )?;
    rustix::fs::chmod(&staged, Mode::from_raw_mode(key.mode))?;
    fs::rename(&staged, path)
}

fn name_of(key: CacheKey<'_>) -> String {
    let hash = Sha256::digest(format!("{}\0{}\0{}", key.id, key.uid, key.gid));
    let mut name = String::with_capacity(64);
    for byte in hash {
        name.push_str(&format!("{byte:02x}"));
    }
    name.truncate(NAME_DIGITS);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    struct Caches(PathBuf);

    impl Drop for Caches {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn key(id: &str) -> CacheKey<'_> {
        let own = rustix::process::getuid().as_raw();
        CacheKey {
            id,
            mode: 0o750,
            uid: own,
            gid: rustix::process::getgid().as_raw(),
        }
    }

    fn caches(name: &str) -> Caches {
        let path = std::env::temp_dir().join(format!("cooper-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Caches(path)
    }

    #[test]
    fn a_cache_is_filled_once_and_found_again() {
        let caches = caches("again");
        let mut fills = 0;
        for _ in 0..2 {
            let mut fill = |path: &Path| {
                fills += 1;
                fs::write(path.join("first"), "x")
            };
            let cache = open(&caches.0, key("a"), Sharing::Shared, &mut fill).expect("open");
            assert!(cache.path().join("first").exists());
            let mode = fs::metadata(cache.path()).expect("stat").mode();
            assert_eq!(mode & 0o7777, 0o750);
        }
        assert_eq!(fills, 1);
    }

    #[test]
    fn private_users_get_different_directories() {
        let caches = caches("private");
        let mut fill = |_: &Path| Ok(());
        let one = open(&caches.0, key("a"), Sharing::Private, &mut fill).expect("one");
        let two = open(&caches.0, key("a"), Sharing::Private, &mut fill).expect("two");
        assert_ne!(one.path(), two.path());
        let first = one.path().to_path_buf();
        drop(one);
        let three = open(&caches.0, key("a"), Sharing::Private, &mut fill).expect("three");
        assert_eq!(three.path(), first);
    }

    #[test]
    fn locked_users_wait() {
        let caches = caches("locked");
        let mut fill = |_: &Path| Ok(());
        let first = open(&caches.0, key("a"), Sharing::Locked, &mut fill).expect("first");
        let path = caches.0.clone();
        let waiter = std::thread::spawn(move || {
            open(&path, key("a"), Sharing::Locked, &mut |_: &Path| Ok(())).expect("second")
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiter.is_finished());
        drop(first);
        drop(waiter.join().expect("joined"));
    }
}

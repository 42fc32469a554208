//! The store's locks, their order, and the token that tells whether somebody else wrote.
//!
//! A lock is an OFD record lock on a file of its own descriptor, so threads of one process
//! exclude each other just as processes do, and closing some other descriptor of the file
//! loses nothing. Taking one lock twice in one thread would wait for ever; the ranks below
//! refuse that, and every inversion of the order, before the wait begins.
//!
//! | rank | file | guards |
//! |---|---|---|
//! | `Lists` | `R/D-locks/sha256:ID` | one manifest list, from reading it to writing it back |
//! | `Storage` | `G/storage.lock` | home mount, visible mounts |
//! | `Layers` | `G/D-layers/layers.lock` | `layers.json`, tar-splits, layer directories |
//! | `OtherLayers` | the same of additional stores | read only |
//! | `Images` | `G/D-images/images.lock` | `images.json`, image directories |
//! | `OtherImages` | the same of additional stores | read only |
//! | `Containers` | `G/D-containers/containers.lock` | `containers.json`, container items |
//! | `Mounts` | `R/D-layers/mountpoints.lock`, only under `Layers` | `mountpoints.json` |

use std::cell::RefCell;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sys::FileLock;

use crate::error::{IoContext as _, Result, StoreError};
use crate::ident;

/// The place of a lock in the order; a lock may be taken only above all those held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Lists,
    Storage,
    Layers,
    OtherLayers,
    Images,
    OtherImages,
    Containers,
    Mounts,
}

impl Rank {
    /// Several locks of these ranks may be held together: one per additional store.
    fn repeats(self) -> bool {
        matches!(self, Self::OtherLayers | Self::OtherImages)
    }
}

thread_local! {
    static HELD: RefCell<Vec<(Rank, PathBuf)>> = const { RefCell::new(Vec::new()) };
}

/// Whether others may read meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A held lock. Not `Send`: the order is kept per thread.
#[derive(Debug)]
pub(crate) struct Held {
    lock: FileLock,
    path: PathBuf,
    rank: Rank,
    _thread: PhantomData<*const ()>,
}

impl Held {
    /// Waits for a lock.
    pub(crate) fn take(path: &Path, rank: Rank, access: Access) -> Result<Self> {
        HELD.with_borrow(|held| {
            let above = held
                .iter()
                .find(|(other, _)| *other > rank || (*other == rank && !rank.repeats()));
            match above {
                Some((_, other)) => Err(StoreError::LockOrder {
                    wanted: path.to_path_buf(),
                    held: other.clone(),
                }),
                None => Ok(()),
            }
        })?;
        let lock = match access {
            Access::Read => FileLock::read(path),
            Access::Write => FileLock::write(path),
        }
        .at("lock", path)?;
        HELD.with_borrow_mut(|held| held.push((rank, path.to_path_buf())));
        Ok(Self {
            lock,
            path: path.to_path_buf(),
            rank,
            _thread: PhantomData,
        })
    }

    /// Reads the token of the last writer.
    pub(crate) fn token(&self) -> Result<Token> {
        let mut bytes = [0u8; Token::SIZE];
        let mut filled = 0;
        while filled < bytes.len() {
            let count = self
                .lock
                .file()
                .read_at(&mut bytes[filled..], filled as u64)
                .at("read the token of", &self.path)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        Ok(Token(bytes[..filled].to_vec()))
    }

    /// Writes a fresh token, which tells every other process to reload.
    pub(crate) fn touch(&self) -> Result<Token> {
        let token = Token::fresh();
        self.lock
            .file()
            .write_all_at(&token.0, 0)
            .at("write the token of", &self.path)?;
        Ok(token)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held
                .iter()
                .rposition(|(rank, path)| *rank == self.rank && *path == self.path)
            {
                held.remove(at);
            }
        });
    }
}

/// The first bytes of a lock file; nobody interprets them, everybody compares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token(Vec<u8>);

impl Token {
    const SIZE: usize = 64;

    fn fresh() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend_from_slice(&nanos.to_le_bytes());
        bytes.extend_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes.extend_from_slice(&std::process::id().to_le_bytes());
        bytes.extend_from_slice(&ident::random_bytes::<44>());
        Self(bytes)
    }
}

/// Makes a directory of mode 0700 with its parents; one that exists is left as it is.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    match fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
    {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            Err(err).at("create the directory", path)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_enforced() {
        let dir = tempfile::tempdir().unwrap();
        let take = |name: &str, rank| Held::take(&dir.path().join(name), rank, Access::Write);
        let images = take("images", Rank::Images).unwrap();
        assert!(matches!(
            take("layers", Rank::Layers),
            Err(StoreError::LockOrder { .. })
        ));
        assert!(matches!(
            take("images", Rank::Images),
            Err(StoreError::LockOrder { .. })
        ));
        let containers = take("containers", Rank::Containers).unwrap();
        drop(images);
        drop(containers);
        take("layers", Rank::Layers).unwrap();
    }

    #[test]
    fn tokens_change_and_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Held::take(&path, Rank::Images, Access::Write).unwrap();
        assert_eq!(held.token().unwrap(), Token::default());
        let first = held.touch().unwrap();
        assert_eq!(held.token().unwrap(), first);
        assert_ne!(held.touch().unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().len(), 64);
    }
}

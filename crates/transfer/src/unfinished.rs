//! Files and directories that have no name of their own yet: gone unless they are finished, also after a kill.
//!
//! What a killed process has left is taken away by the next one that writes in the same directory. It is told from what
//! somebody still writes by a lock, which is held from before the first byte.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tempfile::{NamedTempFile, TempDir};

use crate::error::{IoContext as _, Result};
use crate::files::open_regular;

/// How their names begin.
const PREFIX: &str = ".cooper-";

/// Makes a file that vanishes unless it gets another name.
pub(crate) fn file(directory: &Path) -> Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempfile_in(directory)
        .at("create a file in", directory)?;
    lock(file.as_file());
    Ok(file)
}

/// A directory that vanishes with everything in it.
pub(crate) struct Directory {
    made: TempDir,
    // Held while the directory is in use.
    _lock: File,
}

impl Directory {
    /// Makes one in `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .at("create a directory in", parent)?;
        let handle = File::open(made.path()).at("open", made.path())?;
        lock(&handle);
        Ok(Self {
            made,
            _lock: handle,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.made.path()
    }
}

/// Nobody knows the name yet. Where there are no locks, nothing is ever taken for abandoned either.
fn lock(file: &File) {
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
}

/// Takes away what killed processes have left in a directory, as far as that is possible.
pub(crate) fn reap(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => reap_directory(&path),
            Ok(kind) if kind.is_file() => reap_file(&path),
            _ => Ok(()),
        };
    }
}

fn reap_file(path: &Path) -> io::Result<()> {
    let Ok(file) = open_regular(path) else {
        return Ok(());
    };
    // An empty one may have been made a moment ago, and not be locked yet.
    if file.metadata()?.len() > 0 && is_abandoned(&file) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn reap_directory(path: &Path) -> io::Result<()> {
    let handle = File::open(path)?;
    let empty = fs::read_dir(path)?.next().is_none();
    if !empty && is_abandoned(&handle) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

fn is_abandoned(handle: &File) -> bool {
    flock(handle, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_taken_away() {
        let place = tempfile::tempdir().unwrap();
        let mut written = file(place.path()).unwrap();
        written.write_all(b"x").unwrap();
        let fresh = file(place.path()).unwrap();
        let used = Directory::create(place.path()).unwrap();
        fs::write(used.path().join("x"), "x").unwrap();
        // What a kill leaves: names without anybody who holds the lock.
        fs::write(place.path().join(".cooper-file"), "x").unwrap();
        fs::create_dir_all(place.path().join(".cooper-directory/x")).unwrap();
        fs::write(place.path().join("other"), "x").unwrap();
        reap(place.path());
        let mut left: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        let mut expected = vec![
            written.path().to_owned(),
            fresh.path().to_owned(),
            used.path().to_owned(),
            place.path().join("other"),
        ];
        expected.sort();
        assert_eq!(left, expected);
    }
}

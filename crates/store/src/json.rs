//! Files replaced as a whole: temporary file, sync, rename.
//!
//! Deliberately never syncs the directory, as the other tools do not either: a lost rename
//! leaves the older state, which is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{IoContext as _, Result, StoreError};
use crate::ident;

/// Largest state file read, in bytes. A store of 10 000 layers has 5 MiB.
pub(crate) const MAX_STATE_SIZE: u64 = 512 << 20;

/// How much a replaced file must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A power cut: the data is synced before the rename.
    Data,
    /// Only the end of the process: the file is gone or stale after a reboot anyway.
    Process,
}

/// Reads a file up to a limit.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).at("open", path)?;
    let size = file.metadata().at("examine", path)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::Io {
            attempt: "read the oversized file",
            path: path.to_path_buf(),
            source: io::Error::from(io::ErrorKind::FileTooLarge),
        });
    }
    Ok(bytes)
}

/// Reads a file up to a limit; `None` if there is none.
pub(crate) fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    match read_limited(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Replaces a file of mode 0600 by new content.
pub(crate) fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".tmp-{name}{}", ident::random_digits()));
    let written = write_new(&temporary, bytes, durability)
        .and_then(|()| fs::rename(&temporary, path).at("replace", path));
    if written.is_err() {
        // The first error is the one to report; a left-over temporary file harms nobody.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)?;
    file.write_all(bytes).at("write", path)?;
    if durability == Durability::Data {
        file.sync_data().at("sync", path)?;
    }
    Ok(())
}

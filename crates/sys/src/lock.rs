//! Whole-file record locks that the Go container tools respect.
//!
//! containers/storage takes classic `fcntl` record locks. Open-file-description locks conflict with
//! them correctly, and, unlike them, are not lost when another descriptor of the file is closed and
//! exclude two threads of one process. `flock(2)` would exclude nobody. Re-entrance and upgrades are
//! deliberately absent: a reader drops its lock, takes the write lock and checks the token again.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Length of the token that names the last writer, in bytes.
pub const TOKEN_LEN: usize = 64;

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Many readers.
    Read,
    /// One writer.
    Write,
}

/// A held lock; dropping it releases the lock.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    mode: LockMode,
}

impl FileLock {
    /// Waits for a read lock on `path`, made (0644, directories 0700) when missing.
    ///
    /// # Errors
    /// The kernel's error of opening or locking.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::acquire(open(path, LockMode::Read)?, LockMode::Read)
    }

    /// Waits for the write lock on `path`, made when missing.
    ///
    /// # Errors
    /// The kernel's error of opening or locking.
    pub fn write(path: &Path) -> io::Result<Self> {
        Self::acquire(open(path, LockMode::Write)?, LockMode::Write)
    }

    /// Takes the write lock on `path` if nobody holds any, otherwise returns `None`.
    ///
    /// # Errors
    /// The kernel's error of opening or locking.
    pub fn try_write(path: &Path) -> io::Result<Option<Self>> {
        Self::try_acquire(open(path, LockMode::Write)?, LockMode::Write)
    }

    /// Takes a read lock on `path` if no writer holds it, otherwise returns `None`.
    ///
    /// # Errors
    /// The kernel's error of opening or locking.
    pub fn try_read(path: &Path) -> io::Result<Option<Self>> {
        Self::try_acquire(open(path, LockMode::Read)?, LockMode::Read)
    }

    /// Waits for a lock on an open file (opened for writing when `mode` is [`LockMode::Write`]).
    ///
    /// # Errors
    /// The kernel's error of locking.
    pub fn acquire(file: File, mode: LockMode) -> io::Result<Self> {
        set(&file, mode, libc::F_OFD_SETLKW)?;
        Ok(Self { file, mode })
    }

    /// Takes a lock on an open file, or returns `None` when somebody else holds it.
    ///
    /// # Errors
    /// The kernel's error of locking.
    pub fn try_acquire(file: File, mode: LockMode) -> io::Result<Option<Self>> {
        match set(&file, mode, libc::F_OFD_SETLK) {
            Ok(()) => Ok(Some(Self { file, mode })),
            Err(err) if matches!(err.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Returns the locked file, for the token or for comparing its inode with the path's.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the mode it was taken with.
    #[must_use]
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// Reads the token: at most [`TOKEN_LEN`] bytes, empty when nobody has written one yet.
    ///
    /// # Errors
    /// The kernel's error of reading.
    pub fn read_token(&self) -> io::Result<Vec<u8>> {
        let mut token = vec![0; TOKEN_LEN];
        let mut filled = 0;
        while filled < TOKEN_LEN {
            match self.file.read_at(&mut token[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        token.truncate(filled);
        Ok(token)
    }

    /// Writes the token at offset 0 without truncating the file.
    ///
    /// # Errors
    /// The kernel's error of writing; `EBADF` under a read lock on a file opened read-only.
    pub fn write_token(&self, token: &[u8; TOKEN_LEN]) -> io::Result<()> {
        self.file.write_all_at(token, 0)
    }
}

impl Drop for FileLock {
    /// Unlocks rather than leaving it to the close: a child that another thread is starting holds a
    /// copy of the descriptor until it executes its program, and with it the lock.
    fn drop(&mut self) {
        let _ = set_type(&self.file, libc::F_UNLCK, libc::F_OFD_SETLK);
    }
}

fn open(path: &Path, mode: LockMode) -> io::Result<File> {
    match open_once(path, mode) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    open_once(path, mode)
}

fn open_once(path: &Path, mode: LockMode) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644);
    match options.open(path) {
        // A store on a read-only medium can still be read under a read lock.
        Err(err)
            if mode == LockMode::Read
                && matches!(
                    err.raw_os_error(),
                    Some(libc::EACCES | libc::EROFS | libc::EPERM)
                ) =>
        {
            File::open(path)
        }
        other => other,
    }
}

fn set(file: &File, mode: LockMode, command: libc::c_int) -> io::Result<()> {
    let kind = match mode {
        LockMode::Read => libc::F_RDLCK,
        LockMode::Write => libc::F_WRLCK,
    };
    set_type(file, kind, command)
}

fn set_type(file: &File, kind: libc::c_int, command: libc::c_int) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all zeroes is a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    loop {
        // SAFETY: the descriptor is open for the duration of the call and `lock` outlives it.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) };
        if done == 0 {
            return Ok(());
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Scratch(PathBuf);
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.ancestors().nth(2).expect("two names deep"));
        }
    }
    fn scratch(name: &str) -> Scratch {
        Scratch(PathBuf::from(format!(
            "/var/tmp/cooper-dev-sys/lock-{name}-{}/x/y.lock",
            std::process::id()
        )))
    }

    #[test]
    fn locks_exclude_inside_one_process() {
        let at = scratch("excl");
        let one = FileLock::read(&at.0).unwrap();
        let two = FileLock::read(&at.0).unwrap();
        assert!(FileLock::try_write(&at.0).unwrap().is_none());
        // Closing an unrelated descriptor must not release anything.
        drop(File::open(&at.0).unwrap());
        drop(one);
        assert!(FileLock::try_write(&at.0).unwrap().is_none());
        drop(two);
        let write = FileLock::try_write(&at.0).unwrap().unwrap();
        assert!(FileLock::try_read(&at.0).unwrap().is_none());
        drop(write);
        FileLock::write(&at.0).unwrap();
    }

    #[test]
    fn token_round_trip() {
        let at = scratch("token");
        let lock = FileLock::write(&at.0).unwrap();
        assert_eq!(lock.read_token().unwrap(), b"");
        lock.write_token(&[7; TOKEN_LEN]).unwrap();
        assert_eq!(lock.read_token().unwrap(), [7; TOKEN_LEN]);
    }
}

//! Downloads that were cut, kept by digest until the next attempt, also of another process.
//!
//! A blob has two files: its first bytes, and a mark that says how many of them count and what their digest is. The mark
//! follows the bytes, so that what a crash or a foreign hand leaves behind is noticed before a byte of it is used. Who
//! has the first file locked owns both.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::{Algorithm, Digest, Hasher};

/// How many bytes are written between two marks.
const MARK_EVERY: u64 = 4 * 1024 * 1024;
/// Shorter blobs are not worth keeping.
pub(crate) const MIN_KEPT: u64 = 1024 * 1024;
/// The longest mark that is read.
const MAX_MARK: usize = 256;
/// What the names of marks end with.
const MARK_SUFFIX: &str = ".mark";
/// How much is read at once when the kept bytes are checked.
const CHECK_BUFFER: usize = 256 * 1024;

/// A folder of downloads that were cut.
#[derive(Clone, Debug)]
pub struct Partials {
    dir: PathBuf,
}

/// The kept part of one download, locked.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    file: File,
    mark: File,
    length: u64,
    marked: u64,
}

impl Partials {
    /// Names the folder, which is made when it is first needed.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Removes what is kept of a blob, which is now safe elsewhere. What another download uses at the moment stays.
    pub fn forget(&self, digest: &Digest) {
        let path = self.path(digest);
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            remove(&path);
        }
    }

    /// Removes what nobody has written to for `older_than`, seen from `now`. Returns what was removed.
    ///
    /// # Errors
    /// When the folder cannot be read; that it does not exist is no error.
    pub fn reap(&self, older_than: Duration, now: SystemTime) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut removed = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let Some(blob) = owner_of(&path) else {
                continue;
            };
            let age = fs::metadata(&path)
                .and_then(|data| data.modified())
                .ok()
                .and_then(|time| now.duration_since(time).ok());
            if age.is_none_or(|age| age < older_than) {
                continue;
            }
            match File::open(&blob) {
                Ok(file) if file.try_lock().is_ok() => remove(&blob),
                Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&blob),
                _ => continue,
            }
            removed.push(path);
        }
        Ok(removed)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.as_str().replace(':', "-"))
    }

    /// Opens and locks what is kept of a blob. Returns nothing when another download has it.
    pub(crate) fn open(&self, digest: &Digest) -> io::Result<Option<Kept>> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let path = self.path(digest);
        loop {
            let file = open_file(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Between opening and locking the owner before us may have removed it.
            let same = fs::metadata(&path).is_ok_and(|data| {
                file.metadata()
                    .is_ok_and(|ours| data.ino() == ours.ino() && data.dev() == ours.dev())
            });
            if same {
                let mark = open_file(&mark_of(&path))?;
                return Ok(Some(Kept {
                    path,
                    file,
                    mark,
                    length: 0,
                    marked: 0,
                }));
            }
        }
    }
}

impl Kept {
    /// Reads the kept bytes and compares them with the mark. What counts stays; returns the hash state behind it.
    pub fn check(&mut self, algorithm: Algorithm) -> io::Result<Hasher> {
        let mut hasher = Hasher::new(algorithm);
        if let Some((length, digest)) = self.read_mark() {
            let mut buffer = vec![0; CHECK_BUFFER];
            let mut at = 0;
            while at < length {
                let want = usize::try_from(length - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let got = self.file.read_at(&mut buffer[..want], at)?;
                if got == 0 {
                    break;
                }
                hasher.update(&buffer[..got]);
                at += got as u64;
            }
            if at == length && hasher.clone().finish() == digest {
                self.length = length;
                self.marked = length;
            } else {
                hasher = Hasher::new(algorithm);
            }
        }
        self.file.set_len(self.length)?;
        Ok(hasher)
    }

    /// How many bytes count.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads kept bytes.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    /// Adds bytes; `hasher` has seen all bytes up to their end.
    pub fn append(&mut self, bytes: &[u8], hasher: &Hasher) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        if self.length - self.marked >= MARK_EVERY {
            self.write_mark(hasher)?;
        }
        Ok(())
    }

    /// Writes down how far the bytes count.
    pub fn write_mark(&mut self, hasher: &Hasher) -> io::Result<()> {
        let text = format!("{:020} {}\n", self.length, hasher.clone().finish());
        self.mark.write_all_at(text.as_bytes(), 0)?;
        self.marked = self.length;
        Ok(())
    }

    fn read_mark(&mut self) -> Option<(u64, Digest)> {
        let mut text = String::new();
        (&self.mark)
            .take(MAX_MARK as u64)
            .read_to_string(&mut text)
            .ok()?;
        let (length, digest) = text.strip_suffix('\n')?.split_once(' ')?;
        Some((length.parse().ok()?, digest.parse().ok()?))
    }

    /// Removes the kept part.
    pub fn discard(self) {
        remove(&self.path);
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn mark_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(MARK_SUFFIX);
    name.into()
}

/// Returns the file of bytes that a file of our folder belongs to, or nothing when it is not one of ours.
fn owner_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let blob = name.strip_suffix(MARK_SUFFIX).unwrap_or(name);
    Digest::parse(&blob.replacen('-', ":", 1)).ok()?;
    Some(path.with_file_name(blob))
}

/// The mark goes first: without it the bytes do not count.
fn remove(path: &Path) {
    let _ = fs::remove_file(mark_of(path));
    let _ = fs::remove_file(path);
}

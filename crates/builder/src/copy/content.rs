//! The bytes of one file, copied and checked against the plan.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use sys::copy::Passage;

use super::CopyError;
use super::error::target_error;
use super::make::{Birth, Wanted, create, dress, write_all};
use super::path::{join, shown};
use super::plan::{Entry, Listing, Stamp, Trust};
use super::walk::{file_type, stat_fd};

/// Files up to this size, in bytes, are read whole and written in one call.
const SMALL: u64 = 128 << 10;

/// What a thread brings to making a file.
pub(super) struct Making<'a> {
    pub wanted: &'a Wanted<'a>,
    pub birth: &'a mut Option<Birth>,
    pub buffer: &'a mut Vec<u8>,
}

/// One file whose bytes are copied and checked.
pub(super) struct Content<'a> {
    pub listing: &'a Listing,
    pub entry: &'a Entry,
    pub digest: &'a [u8; 32],
    pub trust: Trust,
    /// The directory that it is made in.
    pub path: &'a [u8],
}

impl Content<'_> {
    /// Copies the file that is open as `source` to the new name `name` in `dir`.
    pub fn copy(
        &self,
        source: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        making: Making<'_>,
    ) -> Result<(), CopyError> {
        let Making {
            wanted,
            birth,
            buffer,
        } = making;
        let size = self.entry.stamp.size;
        let path = || join(self.path, name);
        if size <= SMALL {
            let room = usize::try_from(size).unwrap_or(0) + 1;
            if buffer.len() < room {
                buffer.resize(usize::try_from(SMALL).unwrap_or(0) + 1, 0);
            }
            let got = read_full(source, &mut buffer[..room]).map_err(source_error(
                "read",
                self.listing,
                self.entry,
            ))?;
            let content = &buffer[..got];
            self.check_digest(|| Ok(*blake3::hash(content).as_bytes()))?;
            self.check_unchanged(source, got as u64)?;
            let file =
                create(dir, name, wanted).map_err(|err| target_error("make", &path())(err))?;
            write_all(file.as_fd(), content)
                .and_then(|()| dress(file.as_fd(), wanted, birth))
                .map_err(|err| target_error("write", &path())(err))?;
            return Ok(());
        }
        let file = create(dir, name, wanted).map_err(|err| target_error("make", &path())(err))?;
        self.fill(source, file.as_fd(), name)?;
        dress(file.as_fd(), wanted, birth).map_err(self.failed(name))
    }

    /// Copies the bytes of the file that is open as `source` to the new, empty `file`.
    pub fn fill(
        &self,
        source: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), CopyError> {
        let size = self.entry.stamp.size;
        let failed = self.failed(name);
        let got = sys::copy::copy_file_data(source, file, size).map_err(&failed)?;
        self.check_unchanged(source, got)?;
        // What counts is what arrived, so the copy is read, not the source a second time.
        self.check_digest(|| digest_of(file).map_err(&failed))
    }

    /// As [`Self::fill`], and lets every byte that is written pass.
    pub fn fill_through(
        &self,
        source: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        name: &[u8],
        passage: &mut dyn Passage,
    ) -> Result<(), CopyError> {
        let size = self.entry.stamp.size;
        let failed = self.failed(name);
        let mut hashed = Hashed {
            passage,
            hasher: match self.trust {
                Trust::Settled => None,
                Trust::Racy => Some(blake3::Hasher::new()),
            },
        };
        let got = sys::copy::copy_file_data_through(source, file, size, &mut hashed);
        let got = got.map_err(&failed)?;
        self.check_unchanged(source, got)?;
        self.check_digest(|| {
            let hasher = hashed.hasher.unwrap_or_default();
            Ok(*hasher.finalize().as_bytes())
        })
    }

    fn failed(&self, name: &[u8]) -> impl Fn(io::Error) -> CopyError {
        let path = format!("/{}", shown(&join(self.path, name)));
        move |source| CopyError::Target {
            action: "write",
            path: path.clone(),
            source,
        }
    }

    /// Refuses a file whose stamp differs from the plan's after its bytes were read.
    fn check_unchanged(&self, source: BorrowedFd<'_>, got: u64) -> Result<(), CopyError> {
        let stat = stat_fd(source).map_err(source_error(
            "read the metadata of",
            self.listing,
            self.entry,
        ))?;
        if file_type(&stat) == FileType::RegularFile
            && Stamp::of(&stat) == self.entry.stamp
            && got == self.entry.stamp.size
        {
            return Ok(());
        }
        Err(self.changed())
    }

    /// Compares bytes with the plan's digest where the stamp alone cannot be trusted.
    fn check_digest(
        &self,
        digest: impl FnOnce() -> Result<[u8; 32], CopyError>,
    ) -> Result<(), CopyError> {
        if self.trust == Trust::Settled || digest()? == *self.digest {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> CopyError {
        CopyError::Changed {
            path: self.listing.shown(self.entry),
        }
    }
}

/// A passage that is hashed on the way.
struct Hashed<'a> {
    passage: &'a mut dyn Passage,
    hasher: Option<blake3::Hasher>,
}

impl Passage for Hashed<'_> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        self.passage.room()
    }

    fn passed(&mut self, len: usize) -> io::Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.passage.room()?[..len]);
        }
        self.passage.passed(len)
    }
}

pub(super) fn source_error(
    action: &'static str,
    listing: &Listing,
    entry: &Entry,
) -> impl Fn(io::Error) -> CopyError {
    move |source| CopyError::Source {
        action,
        path: listing.shown(entry),
        source,
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len().saturating_sub(1);
    let mut got = 0;
    loop {
        match rustix::io::read(fd, &mut buffer[got..]) {
            Ok(0) => return Ok(got),
            // One byte less than there is room for: the expected size, and the end.
            Ok(n) if got + n == wanted || got + n == buffer.len() => return Ok(got + n),
            Ok(n) => got += n,
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

fn digest_of(fd: BorrowedFd<'_>) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 512 << 10];
    let mut at = 0;
    loop {
        match rustix::io::pread(fd, &mut buffer[..], at) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

//! What a helper program has printed, kept in memory: nobody need read it while the program runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use rustix::fs::MemfdFlags;

/// Most of it that is shown, in bytes.
const SHOWN: usize = 4096;

/// A file in memory for the output of a program.
#[derive(Debug)]
pub(super) struct Said(File);

impl Said {
    pub(super) fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("said", MemfdFlags::CLOEXEC)?;
        Ok(Self(file.into()))
    }

    /// Returns what the program writes to.
    pub(super) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// Returns the beginning of what was written.
    pub(super) fn text(&self) -> String {
        let mut bytes = vec![0; SHOWN];
        let length = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }
}

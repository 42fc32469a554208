//! What a stream was made of, in a digest that is taken without reading contents.

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};

/// A digest of all that makes a stream, with a mark of identity in place of each content.
#[derive(Default)]
pub(crate) struct Outline(Sha256);

impl Outline {
    pub(crate) fn header(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Takes a file after its content was read or written: any later change of it has another time of change.
    pub(crate) fn content(&mut self, stat: &Stat) {
        let numbers = [
            stat.st_ino,
            stat.st_size.cast_unsigned(),
            stat.st_mtime.cast_unsigned(),
            stat.st_mtime_nsec,
            stat.st_ctime.cast_unsigned(),
            stat.st_ctime_nsec,
        ];
        // Longer than any header can be, so that no header is taken for it.
        self.0.update(u64::MAX.to_le_bytes());
        for number in numbers {
            self.0.update(number.to_le_bytes());
        }
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

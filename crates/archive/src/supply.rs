//! Contents that are brought into a tree while it is walked.

use std::io;

use sys::copy::Passage;

use crate::chunk::ChunkWriter;

/// What a file whose content is on its way will be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its size in bytes.
    pub size: u64,
    /// Its mode: the bits 07777.
    pub mode: u32,
    /// Its modification time in seconds since 1970.
    pub mtime: i64,
}

/// Brings the contents of files into a tree while it is digested.
pub trait Supply {
    /// Returns what the file with an inode number will be like; `None` when it is complete as it stands.
    fn expected(&self, inode: u64) -> Option<Expected>;

    /// Writes the content of that file into the tree, lets every byte of it pass in order, and gives the file its
    /// final metadata. Called once for each file that is expected, in the order of the archive.
    ///
    /// # Errors
    /// When the content cannot be brought; the digest ends then.
    fn supply(&mut self, inode: u64, passage: &mut dyn Passage) -> io::Result<()>;
}

/// The space of a stream, lent for one file's content.
pub(crate) struct Lent<'a> {
    out: &'a mut ChunkWriter,
    left: u64,
}

impl<'a> Lent<'a> {
    pub(crate) fn new(out: &'a mut ChunkWriter, size: u64) -> Self {
        Self { out, left: size }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }
}

impl Passage for Lent<'_> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        let space = self.out.space().map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(space)
    }

    fn passed(&mut self, len: usize) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(len as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.out.filled(len);
        Ok(())
    }
}

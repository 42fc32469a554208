//! A tree digested while the contents of its files still arrive.
//!
//! ```text
//! tree: names and metadata are there ──walk──┬─ header ─────────────────────▶ hash ─▶ Early
//! Supply: source file ──read──▶ buffer ──────┴─ written, then handed on ────▶        │ confirm
//!                                                                    the finished tree ◀┘
//! ```
//! The bytes that are hashed are the very ones that were written. Whether the tree stayed what the headers said is
//! settled afterwards: an outline (every header, and for each file's content its inode, size and times) was taken
//! during the digest, and [`Early::confirm`] takes it again from the finished tree, without reading contents. Only
//! equal outlines make the early digest the tree's; in every other case the tree is to be digested in the ordinary
//! way. The pass deliberately copies nothing by itself and knows no sources.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use sys::Root;
use sys::copy::Passage;

use crate::chunk::ChunkWriter;
use crate::tree::{LayerDigest, TreeError, TreeOptions, digest_stream, stream_tree};
use crate::walk::Contents;

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

/// The digest of a tree that was not finished when it was begun.
#[derive(Debug)]
pub struct Early {
    layer: LayerDigest,
    outline: [u8; 32],
}

impl Early {
    /// Returns the digest when the finished tree is what was hashed, `None` when it is not. `lowers` and `options`
    /// are those of [`digest_arriving`].
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn confirm(
        &self,
        tree: impl AsFd,
        lowers: &[Root],
        options: &TreeOptions,
    ) -> Result<Option<LayerDigest>, TreeError> {
        let walked = stream_tree(tree, lowers, options, Contents::Outlined, |_| Ok(()))?;
        Ok((walked.outline.finish() == self.outline).then(|| self.layer.clone()))
    }
}

/// Computes the digest of a layer as [`crate::digest_tree`] does, and writes its tar-split, while `supply` brings the
/// contents of some of its files. All names, and all metadata but what [`Expected`] has, must be there already.
///
/// # Errors
/// [`TreeError`]; [`TreeError::Access`] with the action `fill` when a content did not come.
pub fn digest_arriving(
    tree: impl AsFd,
    lowers: &[Root],
    options: &TreeOptions,
    split: impl Write,
    supply: &mut (dyn Supply + Send),
) -> Result<Early, TreeError> {
    let contents = Contents::Supplied(supply);
    let (layer, outline) = digest_stream(tree, lowers, options, contents, split)?;
    Ok(Early {
        layer,
        outline: outline.finish(),
    })
}

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

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
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

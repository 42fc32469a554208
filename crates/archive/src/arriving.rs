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

use std::io::Write;
use std::os::fd::AsFd;

use sys::Root;

use crate::supply::Supply;
use crate::tree::{LayerDigest, digest_stream, stream_tree};
use crate::view::{TreeError, TreeOptions};
use crate::walk::Contents;

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
/// contents of some of its files. All names, and all metadata but what [`crate::Expected`] has, must be there already.
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

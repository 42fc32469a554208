//! A tree as a layer: its digest, its tar-split, its bytes.
//!
//! One thread walks and reads, another hashes and compresses the split; nothing but the split is written, and memory
//! stays bounded however large the tree. Deliberately missing: compression and storing, which callers add.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use model::{DiffId, Digest};
use sha2::{Digest as _, Sha256};
use sys::Root;

use crate::chunk::{self, Chunk, Mark, Sums};
use crate::diff;
use crate::outline::Outline;
use crate::split::TarSplitWriter;
use crate::view::{Flavour, TreeError, TreeOptions};
use crate::walk::{Contents, Stop, Walk, Walked};

/// A layer's identity and what the store records with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDigest {
    /// Digest of the uncompressed tar stream.
    pub diff_id: DiffId,
    /// Size of the uncompressed tar stream in bytes.
    pub size: u64,
    /// User IDs of the members, whiteouts excepted.
    pub uids: BTreeSet<u32>,
    /// Group IDs of the members, whiteouts excepted.
    pub gids: BTreeSet<u32>,
}

/// Computes the digest of the layer that `tree` is on top of `lowers` (nearest first), and writes its tar-split.
///
/// With [`Flavour::Vfs`] the layer is the difference between `tree` and the first of `lowers`. With the overlay
/// flavours `lowers` only decide whether an opaque directory hides something. The returned value is of the same
/// stream that [`write_tree`] writes.
///
/// # Errors
/// [`TreeError`].
pub fn digest_tree(
    tree: impl AsFd,
    lowers: &[Root],
    options: &TreeOptions,
    split: impl Write,
) -> Result<LayerDigest, TreeError> {
    let contents = Contents::Read(Sums::Wanted);
    digest_stream(tree, lowers, options, contents, split).map(|(digest, _)| digest)
}

/// Computes the digest of a layer whose files' contents are read or supplied.
pub(crate) fn digest_stream<'a>(
    tree: impl AsFd,
    lowers: &'a [Root],
    options: &'a TreeOptions,
    contents: Contents<'a>,
    split: impl Write,
) -> Result<(LayerDigest, Outline), TreeError> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut split = TarSplitWriter::new(split);
    let Walked { owners, outline } = stream_tree(tree, lowers, options, contents, |chunk| {
        hash.update(chunk.bytes());
        size += chunk.bytes().len() as u64;
        split_chunk(&mut split, chunk)
    })?;
    split
        .finish()
        .and_then(|mut out| out.flush())
        .map_err(TreeError::Output)?;
    let diff_id = DiffId(Digest::from_sha256_bytes(hash.finalize().into()));
    let digest = LayerDigest {
        diff_id,
        size,
        uids: owners.uids,
        gids: owners.gids,
    };
    Ok((digest, outline))
}

/// Writes the tar stream of the layer that `tree` is on top of `lowers`. See [`digest_tree`].
///
/// # Errors
/// [`TreeError`].
pub fn write_tree(
    tree: impl AsFd,
    lowers: &[Root],
    options: &TreeOptions,
    mut out: impl Write,
) -> Result<(), TreeError> {
    let contents = Contents::Read(Sums::Unwanted);
    stream_tree(tree, lowers, options, contents, |chunk| {
        out.write_all(chunk.bytes())
    })?;
    out.flush().map_err(TreeError::Output)
}

fn split_chunk(split: &mut TarSplitWriter<impl Write>, chunk: &Chunk) -> io::Result<()> {
    let mut bytes = chunk.bytes();
    let mut names = &chunk.names[..];
    for mark in &chunk.marks {
        match *mark {
            Mark::Raw(len) => {
                split.raw(&bytes[..len])?;
                bytes = &bytes[len..];
            }
            Mark::Data(len) => bytes = &bytes[len..],
            Mark::File { name, size, crc } => {
                split.file(&names[..name], size, crc)?;
                names = &names[name..];
            }
        }
    }
    Ok(())
}

pub(crate) fn stream_tree<'a>(
    tree: impl AsFd,
    lowers: &'a [Root],
    options: &'a TreeOptions,
    contents: Contents<'a>,
    mut consume: impl FnMut(&Chunk) -> io::Result<()>,
) -> Result<Walked, TreeError> {
    let access = |source| TreeError::Access {
        action: "open",
        path: "/".into(),
        source,
    };
    let tree: OwnedFd = tree.as_fd().try_clone_to_owned().map_err(access)?;
    let sums = match contents {
        Contents::Read(sums) => sums,
        Contents::Supplied(_) => Sums::Wanted,
        Contents::Outlined => Sums::Unwanted,
    };
    let (writer, reader) = chunk::pipe(sums);
    std::thread::scope(|scope| {
        let walker = scope.spawn(move || {
            let walk = Walk::new(lowers, options, contents, writer);
            match lowers.first() {
                Some(parent) if options.flavour == Flavour::Vfs => {
                    let root = Root::from_fd(tree);
                    let changes = diff::changes(parent, &root)?;
                    walk.changes(&root, changes)
                }
                _ => walk.tree(tree.as_fd()),
            }
        });
        let mut failed = None;
        while let Some(chunk) = reader.next() {
            if let Err(error) = consume(&chunk) {
                failed = Some(error);
                break;
            }
            reader.recycle(chunk);
        }
        drop(reader);
        let walked = walker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (failed, walked) {
            (_, Err(Stop::Error(error))) => Err(error),
            (Some(error), _) => Err(TreeError::Output(error)),
            (None, Ok(walked)) => Ok(walked),
            (None, Err(Stop::Closed)) => Err(TreeError::Output(io::ErrorKind::BrokenPipe.into())),
        }
    })
}

//! Layers as bytes: tar in and out, whiteouts, compression, tar-split and confined extraction.
//!
//! A layer is a tar stream, and its name is the stream's digest. This crate makes the stream from a tree
//! ([`digest_tree`], [`write_tree`]), keeps what is needed to make it again ([`split`]), and turns foreign streams into
//! trees that cannot reach out of their root ([`extract_layer`], [`extract_archive`]).
//!
//! Everything is one pass over the bytes and needs bounded memory. Deliberately missing: where layers are kept
//! (`store`), how they travel (`transfer`), and zip and other formats.

mod arriving;
mod chunk;
mod compress;
mod compression;
mod copy_tree;
mod diff;
mod extract;
mod outline;
mod piped;
mod place;
pub mod split;
mod stream;
mod supply;
pub mod tar;
mod tree;
mod verified;
mod view;
mod walk;
mod whiteout;

pub use arriving::{Early, digest_arriving};
pub use compress::{ChunkedError, Cores, Encoded, Encoder, LevelError};
pub use compression::{Compression, Decoder, decode, detect};
pub use copy_tree::copy_tree;
pub use extract::{
    ArchiveOptions, ExtractError, Extracted, LayerOptions, Limits, MAX_ENTRIES, Modes, OwnerChange,
    Privilege, extract_archive, extract_layer, is_archive,
};
pub use piped::{Piped, PipedWriter};
pub use split::{Segment, SplitError, TarSplitReader, TarSplitWriter, regenerate};
pub use supply::{Expected, Supply};
pub use tree::{LayerDigest, digest_tree, write_tree};
pub use verified::{VerifiedReader, VerifyError};
pub use view::{Flavour, Times, TreeError, TreeOptions};
pub use walk::MAX_DEPTH;

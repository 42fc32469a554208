//! The tar format as Go's `archive/tar` understands and writes it.
//!
//! Layers are named by the digest of their tar stream, and the other tools on a store use Go's package: what it
//! reads, [`Reader`] reads the same way, and what it writes for a header, [`Writer`] writes byte for byte. Files are
//! not touched here; [`crate::tree`] and [`crate::extract`] do that.
//!
//! Deliberately missing: writing of the GNU format and of sparse members, which no layer needs.

mod block;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use header::{Header, Kind, Time, Xattrs};
pub use reader::{Entry, Reader};
pub use writer::{Writer, encode_header};

pub(crate) use block::padding;
pub(crate) use reader::special_size;

/// Size of a tar block in bytes (POSIX.1-2017, pax, "ustar Interchange Format").
pub const BLOCK: usize = 512;

/// Largest extended header or long name in bytes, as in Go's `maxSpecialFileSize`.
pub const MAX_SPECIAL_SIZE: u64 = 1 << 20;

/// Largest number of extended headers in front of one member.
pub const MAX_SPECIAL_HEADERS: usize = 16;

/// Largest name of a member in bytes; `openat2` takes no longer path (`PATH_MAX`).
pub const MAX_NAME: usize = 4096;

/// Largest number of fragments in the map of a sparse member.
pub const MAX_SPARSE_FRAGMENTS: usize = 1 << 16;

/// Largest number of bytes behind the end-of-archive blocks.
pub const MAX_TRAILER: u64 = 64 << 20;

/// Why a tar stream cannot be read or a header cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream could not be read.
    #[error("cannot read the tar stream")]
    Read(#[source] std::io::Error),
    /// The stream could not be written.
    #[error("cannot write the tar stream")]
    Write(#[source] std::io::Error),
    /// A block is no header that any of the formats knows.
    #[error("invalid tar header at byte {offset}")]
    Header {
        /// Offset of the block in the stream.
        offset: u64,
    },
    /// An extended header is malformed.
    #[error("invalid pax record in the header at byte {offset}")]
    Pax {
        /// Offset of the extended header in the stream.
        offset: u64,
    },
    /// The stream ends inside a header or a member.
    #[error("the tar stream ends unexpectedly at byte {offset}")]
    Truncated {
        /// Number of bytes that were there.
        offset: u64,
    },
    /// Something a stranger controls is larger than allowed.
    #[error("{what} of {size} is larger than the limit of {limit} at byte {offset}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
        /// Offset in the stream.
        offset: u64,
    },
    /// The map of a sparse member is malformed.
    #[error("invalid sparse map of `{name}`")]
    Sparse {
        /// The member.
        name: String,
    },
    /// No format can hold a field of the header.
    #[error("the tar format cannot hold the {field} of `{name}`")]
    Encode {
        /// The member.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// A member's data is longer or shorter than its header said.
    #[error("`{name}` has not the {size} bytes of data that its header announced")]
    Data {
        /// The member.
        name: String,
        /// The announced size.
        size: u64,
    },
}

/// Cleans a slash-separated path as Go's `path.Clean` does: no `.`, no empty parts, `..` folded where a part is in
/// front of it. The result of nothing is `.`.
pub fn clean_name(name: &[u8]) -> Vec<u8> {
    let rooted = name.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let mut out = Vec::with_capacity(name.len());
    if rooted {
        out.push(b'/');
    }
    out.extend_from_slice(&parts.join(&b'/'));
    if out.is_empty() {
        out.push(b'.');
    }
    out
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! The table of contents behind the data, and what leads to it.
//!
//! Names and order are those of containers/storage's Go types. Two skippable frames hold the table and the tar-split, and
//! a third says where they are.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{Digest, Timestamp, go_json};
use serde::Serialize;

use crate::tar::{Entry, Kind};

/// A skippable frame's magic number.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Magic number and length of a skippable frame.
const SKIPPABLE_HEAD: u64 = 8;
/// Ends the last frame.
const MAGIC: &[u8; 8] = b"GNUlInUx";
/// The kind of table of contents, the only one there is.
const KIND: u64 = 1;
const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";

/// A member that the format has no word for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {what}, which zstd:chunked cannot describe")]
pub struct ChunkedError {
    /// The member.
    pub name: String,
    /// What it is.
    pub what: &'static str,
}

/// An entry as it is written.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    r#type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: i64,
    #[serde(skip_serializing_if = "is_zero")]
    size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: i64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: i64,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: i64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: i64,
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: i64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<Digest>,
    #[serde(skip_serializing_if = "str::is_empty")]
    chunk_type: &'static str,
    /// The frames with its data, of which the places are not known before they are written.
    #[serde(skip)]
    frames: Option<(usize, usize)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A chunk of a file's data.
pub(super) struct Chunk {
    /// The first frame with its data, and the first that has not.
    pub(super) frames: (usize, usize),
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) is_zeros: bool,
}

/// Describes a member; one with several chunks takes as many lines.
pub(super) fn describe(
    entry: &Entry,
    chunks: &[Chunk],
    digest: Option<Digest>,
) -> Result<Vec<Line>, ChunkedError> {
    let mut first = of_header(entry)?;
    if let (Some(begin), Some(end)) = (chunks.first(), chunks.last()) {
        first.frames = Some((begin.frames.0, end.frames.1));
        first.digest = digest;
    }
    let name = first.name.clone();
    let mut lines = vec![first];
    if chunks.len() > 1 {
        let mut offset = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            if index > 0 {
                lines.push(Line {
                    r#type: "chunk",
                    name: name.clone(),
                    frames: Some((chunk.frames.0, chunk.frames.0)),
                    ..Line::default()
                });
            }
            let line = &mut lines[index];
            line.chunk_size = chunk.size.cast_signed();
            line.chunk_offset = offset;
            line.chunk_digest = Some(chunk.digest.clone());
            line.chunk_type = if chunk.is_zeros { "zeros" } else { "" };
            offset += chunk.size.cast_signed();
        }
    }
    Ok(lines)
}

fn of_header(entry: &Entry) -> Result<Line, ChunkedError> {
    let header = &entry.header;
    let refused = |what| ChunkedError {
        name: String::from_utf8_lossy(&header.name).into_owned(),
        what,
    };
    if entry.fragments.is_some() {
        return Err(refused("a sparse member"));
    }
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| refused("named with bytes that are no UTF-8"))
    };
    let mut xattrs = BTreeMap::new();
    for (name, value) in &header.xattrs {
        xattrs.insert(text(name)?, STANDARD.encode(value));
    }
    let time = header.mtime;
    Ok(Line {
        r#type: match header.kind {
            Kind::File => "reg",
            Kind::HardLink => "hardlink",
            Kind::Symlink => "symlink",
            Kind::CharDevice => "char",
            Kind::BlockDevice => "block",
            Kind::Directory => "dir",
            Kind::Fifo => "fifo",
            Kind::GnuSparse | Kind::Other(_) => return Err(refused("a member of unknown type")),
        },
        name: text(&header.name)?,
        link_name: text(&header.link)?,
        mode: header.mode,
        size: header.size.cast_signed(),
        uid: header.uid,
        gid: header.gid,
        modified: Timestamp::from_unix_nanos(time.seconds, time.nanoseconds).ok(),
        dev_major: header.dev_major,
        dev_minor: header.dev_minor,
        xattrs,
        ..Line::default()
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table<'a> {
    version: u32,
    entries: &'a [Line],
    tar_split_digest: Digest,
}

/// What stands behind the data, before and after compression.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) plain: u64,
}

/// Fills in where data lies and makes the table. `frames` has the place of each frame, and where the last one ends.
pub(super) fn table(lines: &mut [Line], frames: &[u64], split: &Packed) -> io::Result<Vec<u8>> {
    let place = |frame: usize| frames.get(frame).map_or(0, |place| place.cast_signed());
    for line in &mut *lines {
        if let Some((begin, end)) = line.frames {
            line.offset = place(begin);
            if end > begin {
                line.end_offset = place(end);
            }
        }
    }
    let table = Table {
        version: 1,
        entries: lines,
        tar_split_digest: Digest::sha256(&split.bytes),
    };
    go_json::to_vec(&table).map_err(io::Error::from)
}

/// Writes what follows the data, which has `offset` bytes, and returns what a descriptor has to say of it.
pub(super) fn write_end(
    out: &mut impl Write,
    offset: u64,
    table: &Packed,
    split: &Packed,
) -> io::Result<BTreeMap<String, String>> {
    let at = offset + SKIPPABLE_HEAD;
    let table_size = table.bytes.len() as u64;
    let split_at = at + table_size + SKIPPABLE_HEAD;
    let split_size = split.bytes.len() as u64;
    skippable(out, &table.bytes)?;
    skippable(out, &split.bytes)?;
    let mut footer = Vec::with_capacity(64);
    for number in [
        at,
        table_size,
        table.plain,
        KIND,
        split_at,
        split_size,
        split.plain,
    ] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    footer.extend_from_slice(MAGIC);
    skippable(out, &footer)?;
    let plain = table.plain;
    Ok(BTreeMap::from([
        (
            CHECKSUM.to_owned(),
            Digest::sha256(&table.bytes).to_string(),
        ),
        (
            POSITION.to_owned(),
            format!("{at}:{table_size}:{plain}:{KIND}"),
        ),
        (
            SPLIT_POSITION.to_owned(),
            format!("{split_at}:{split_size}:{}", split.plain),
        ),
    ]))
}

fn skippable(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let size = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    out.write_all(&SKIPPABLE)?;
    out.write_all(&size.to_le_bytes())?;
    out.write_all(bytes)
}

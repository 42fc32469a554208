//! Maps of sparse members: old GNU, and GNU's PAX formats 0.0, 0.1 and 1.0.

use super::block::{self, Block};
use super::pax::{self, Records};
use super::{BLOCK, Header, MAX_SPARSE_FRAGMENTS};

/// Offset and length of a piece of data in the file.
pub(super) type Fragment = (u64, u64);

const FRAGMENT_WIDTH: usize = 24;
const NUMBER_WIDTH: usize = 12;
/// A number of a text map has no more digits than fit 64 bits.
const MAX_DIGITS: usize = 20;

/// How a PAX member carries its map.
pub(super) enum Version {
    /// In its records (0.0 and 0.1).
    V0,
    /// In front of its data (1.0).
    V1,
}

fn record<'a>(records: &'a Records, key: &str) -> &'a [u8] {
    records
        .get(key.as_bytes())
        .map_or(&[], |value| value.as_slice())
}

pub(super) fn version(records: &Records) -> Option<Version> {
    match (
        record(records, "GNU.sparse.major"),
        record(records, "GNU.sparse.minor"),
    ) {
        (b"0", b"0" | b"1") => Some(Version::V0),
        (b"1", b"0") => Some(Version::V1),
        (b"", b"") if !record(records, "GNU.sparse.map").is_empty() => Some(Version::V0),
        _ => None,
    }
}

/// Applies the member's real name and size.
pub(super) fn apply(header: &mut Header, records: &Records) -> Option<()> {
    let name = record(records, "GNU.sparse.name");
    if !name.is_empty() {
        header.name = name.to_vec();
    }
    let size = match record(records, "GNU.sparse.size") {
        b"" => record(records, "GNU.sparse.realsize"),
        size => size,
    };
    if !size.is_empty() {
        header.size = unsigned(size)?;
    }
    Some(())
}

pub(super) fn read_0x1(records: &Records) -> Option<Vec<Fragment>> {
    let count = usize::try_from(unsigned(record(records, "GNU.sparse.numblocks"))?).ok()?;
    let text = record(records, "GNU.sparse.map");
    let numbers: Vec<&[u8]> = if text.is_empty() {
        Vec::new()
    } else {
        text.split(|byte| *byte == b',').collect()
    };
    if count > MAX_SPARSE_FRAGMENTS || numbers.len() != count * 2 {
        return None;
    }
    numbers
        .chunks_exact(2)
        .map(|pair| Some((unsigned(pair[0])?, unsigned(pair[1])?)))
        .collect()
}

pub(super) fn real_size(block: &Block) -> Option<u64> {
    u64::try_from(block::parse_numeric(&block[block::GNU_REAL_SIZE])?).ok()
}

/// Reads the four fragments of a GNU header; returns whether a block with more follows.
pub(super) fn read_old(map: &mut Vec<Fragment>, block: &Block) -> Option<bool> {
    read_fragments(map, &block[block::GNU_SPARSE])?;
    Some(block[block::GNU_EXTENDED] != 0)
}

/// Reads the fragments of a following block; returns whether yet another one follows.
pub(super) fn read_old_more(map: &mut Vec<Fragment>, block: &Block) -> Option<bool> {
    read_fragments(map, &block[block::GNU_MORE_SPARSE])?;
    Some(block[block::GNU_MORE_EXTENDED] != 0)
}

fn read_fragments(map: &mut Vec<Fragment>, bytes: &[u8]) -> Option<()> {
    for fragment in bytes
        .chunks_exact(FRAGMENT_WIDTH)
        .take_while(|fragment| fragment[0] != 0)
    {
        let (offset, len) = fragment.split_at(NUMBER_WIDTH);
        let number = |field| u64::try_from(block::parse_numeric(field)?).ok();
        map.push((number(offset)?, number(len)?));
        if map.len() > MAX_SPARSE_FRAGMENTS {
            return None;
        }
    }
    Some(())
}

/// Returns whether the fragments are in order, inside the file, and exactly the stored data.
pub(super) fn is_valid(map: &[Fragment], size: u64, stored: u64) -> bool {
    let mut end = 0;
    let mut total = 0_u64;
    for (offset, len) in map {
        let Some(next) = offset.checked_add(*len) else {
            return false;
        };
        if *offset < end || next > size {
            return false;
        }
        end = next;
        total += len;
    }
    total == stored && i64::try_from(size).is_ok()
}

fn unsigned(text: &[u8]) -> Option<u64> {
    u64::try_from(pax::parse_integer(text)?).ok()
}

/// The text map of format 1.0: a count, then offset and length of each fragment, a line each.
#[derive(Default)]
pub(super) struct TextMap {
    line: Vec<u8>,
    count: Option<usize>,
    numbers: Vec<u64>,
}

impl TextMap {
    pub(super) fn is_complete(&self) -> bool {
        self.count
            .is_some_and(|count| self.numbers.len() == count * 2)
    }

    /// Takes the next block; what follows the last line in it is fill.
    pub(super) fn push(&mut self, block: &[u8; BLOCK]) -> Option<()> {
        for byte in block {
            if self.is_complete() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > MAX_DIGITS {
                    return None;
                }
                continue;
            }
            let number = unsigned(&self.line)?;
            self.line.clear();
            if self.count.is_some() {
                self.numbers.push(number);
            } else {
                self.count = Some(
                    usize::try_from(number)
                        .ok()
                        .filter(|count| *count <= MAX_SPARSE_FRAGMENTS)?,
                );
            }
        }
        Some(())
    }

    pub(super) fn into_fragments(self) -> Vec<Fragment> {
        self.numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    }
}

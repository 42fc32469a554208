//! The fields of one header block.

use super::BLOCK;

pub(super) type Block = [u8; BLOCK];
pub(super) type Field = std::ops::Range<usize>;

pub(super) const NAME: Field = 0..100;
pub(super) const MODE: Field = 100..108;
pub(super) const UID: Field = 108..116;
pub(super) const GID: Field = 116..124;
pub(super) const SIZE: Field = 124..136;
pub(super) const MTIME: Field = 136..148;
pub(super) const CHECKSUM: Field = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Field = 157..257;
pub(super) const MAGIC: Field = 257..263;
pub(super) const VERSION: Field = 263..265;
pub(super) const UNAME: Field = 265..297;
pub(super) const GNAME: Field = 297..329;
pub(super) const DEV_MAJOR: Field = 329..337;
pub(super) const DEV_MINOR: Field = 337..345;
pub(super) const PREFIX: Field = 345..500;
pub(super) const STAR_PREFIX: Field = 345..476;
pub(super) const STAR_TRAILER: Field = 508..512;
pub(super) const GNU_ATIME: Field = 345..357;
pub(super) const GNU_CTIME: Field = 357..369;
pub(super) const GNU_SPARSE: Field = 386..482;
pub(super) const GNU_EXTENDED: usize = 482;
pub(super) const GNU_REAL_SIZE: Field = 483..495;
pub(super) const GNU_MORE_SPARSE: Field = 0..504;
pub(super) const GNU_MORE_EXTENDED: usize = 504;

/// The dialect that magic and version tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Star,
    Ustar,
    Gnu,
}

/// Returns the dialect, or `None` when the checksum does not fit.
pub(super) fn dialect(block: &Block) -> Option<Dialect> {
    let stored = parse_octal(&block[CHECKSUM])?;
    let (unsigned, signed) = checksums(block);
    if stored != unsigned && stored != signed {
        return None;
    }
    Some(match (&block[MAGIC], &block[VERSION]) {
        (b"ustar\0", _) if &block[STAR_TRAILER] == b"tar\0" => Dialect::Star,
        (b"ustar\0", _) => Dialect::Ustar,
        (b"ustar ", b" \0") => Dialect::Gnu,
        _ => Dialect::V7,
    })
}

/// The checksum over unsigned bytes, which POSIX asks for, and over signed ones, which old tools wrote.
fn checksums(block: &Block) -> (i64, i64) {
    let mut unsigned = 0_i64;
    let mut signed = 0_i64;
    for (index, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&index) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    (unsigned, signed)
}

pub(super) fn set_checksum(block: &mut Block) {
    let (sum, _) = checksums(block);
    format_octal(&mut block[148..155], sum);
    block[155] = b' ';
}

/// Returns the bytes before the first NUL.
pub(super) fn parse_string(field: &[u8]) -> &[u8] {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    &field[..end]
}

/// Parses base-256 (GNU) or octal. `None` is an overflow or a stray character.
pub(super) fn parse_numeric(field: &[u8]) -> Option<i64> {
    let Some(first) = field.first().filter(|first| **first & 0x80 != 0) else {
        return parse_octal(field);
    };
    // Two's complement, big-endian: a negative number is read as the complement of its bits.
    let inverted: u8 = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = 0_u64;
    for (index, byte) in field.iter().enumerate() {
        let mut byte = byte ^ inverted;
        if index == 0 {
            byte &= 0x7f;
        }
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if inverted == 0 { value } else { !value })
}

pub(super) fn parse_octal(field: &[u8]) -> Option<i64> {
    let is_fill = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !is_fill(byte)) else {
        return Some(0);
    };
    let end = field
        .iter()
        .rposition(|byte| !is_fill(byte))
        .map_or(start, |last| last + 1);
    let mut value = 0_u64;
    for byte in parse_string(&field[start..end]) {
        if !(b'0'..=b'7').contains(byte) || value >> 61 != 0 {
            return None;
        }
        value = value << 3 | u64::from(byte - b'0');
    }
    Some(value.cast_signed())
}

pub(super) fn fits_octal(width: usize, value: i64) -> bool {
    let bits = (width - 1) * 3;
    value >= 0 && (bits >= 63 || value < 1_i64 << bits)
}

/// Writes zero-filled octal digits and a NUL; zero when the number does not fit.
pub(super) fn format_octal(field: &mut [u8], value: i64) {
    let mut value = if fits_octal(field.len(), value) {
        value
    } else {
        0
    };
    let last = field.len() - 1;
    field[last] = 0;
    for digit in field[..last].iter_mut().rev() {
        *digit = b'0' + (value & 7).to_le_bytes()[0];
        value >>= 3;
    }
}

/// Copies `text`, cut to the field.
///
/// Where the cut leaves a slash at the field's end, the slashes go: some readers take a trailing slash for a
/// directory although a pax record has the full name.
pub(super) fn format_string(field: &mut [u8], text: &[u8]) {
    let width = field.len();
    let len = text.len().min(width);
    field[..len].copy_from_slice(&text[..len]);
    if text.len() > width && field[width - 1] == b'/' {
        let kept = text[..width - 1]
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |last| last + 1);
        field[kept] = 0;
    }
}

/// Returns how many zero bytes follow `size` bytes of data.
pub(crate) fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

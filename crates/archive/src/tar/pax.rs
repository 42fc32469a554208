//! Records of extended headers (POSIX.1-2017, pax, "pax Extended Header").

use std::collections::BTreeMap;

use super::Time;

pub(super) const PATH: &str = "path";
pub(super) const LINKPATH: &str = "linkpath";
pub(super) const SIZE: &str = "size";
pub(super) const UID: &str = "uid";
pub(super) const GID: &str = "gid";
pub(super) const UNAME: &str = "uname";
pub(super) const GNAME: &str = "gname";
pub(super) const MTIME: &str = "mtime";
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
pub(super) const SPARSE_OFFSET: &[u8] = b"GNU.sparse.offset";
pub(super) const SPARSE_NUMBYTES: &[u8] = b"GNU.sparse.numbytes";
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Shortest record: a digit, a space, a key, `=`, a newline.
const MIN_RECORD: usize = 5;

/// Returns whether Go would take the record: a key without `=`, and no NUL where it would cut a name.
pub(super) fn is_valid(key: &[u8], value: &[u8]) -> bool {
    if key.is_empty() || key.contains(&b'=') {
        return false;
    }
    let names = [PATH, LINKPATH, UNAME, GNAME];
    if names.iter().any(|name| name.as_bytes() == key) {
        !value.contains(&0)
    } else {
        !key.contains(&0)
    }
}

/// Parses the records of one extended header. `None` is malformed.
///
/// The offset and length records of sparse format 0.0 repeat their keys; they become the map of format 0.1.
pub(super) fn parse(mut text: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    let mut map: Vec<u8> = Vec::new();
    let mut fragments = 0_usize;
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let len = usize::try_from(parse_integer(&text[..space])?).ok()?;
        if len < MIN_RECORD || len > text.len() || space + 1 >= len {
            return None;
        }
        let record = text[space + 1..len].strip_suffix(b"\n")?;
        text = &text[len..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if !is_valid(key, value) {
            return None;
        }
        if key == SPARSE_OFFSET || key == SPARSE_NUMBYTES {
            let expected = if fragments.is_multiple_of(2) {
                SPARSE_OFFSET
            } else {
                SPARSE_NUMBYTES
            };
            if key != expected || value.contains(&b',') {
                return None;
            }
            if fragments > 0 {
                map.push(b',');
            }
            map.extend_from_slice(value);
            fragments += 1;
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    if fragments > 0 {
        records.insert(SPARSE_MAP.to_vec(), map);
    }
    Some(records)
}

/// Parses a decimal number with an optional sign.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses `seconds[.fraction]`.
pub(super) fn parse_time(text: &[u8]) -> Option<Time> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &text[..0]),
    };
    let seconds = parse_integer(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds = 0_u32;
    for index in 0..9 {
        nanoseconds =
            nanoseconds * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0'));
    }
    if nanoseconds > 0 && whole.starts_with(b"-") {
        // The fraction counts away from zero, the nanoseconds towards later.
        return Some(Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(Time {
        seconds,
        nanoseconds,
    })
}

/// Appends `len key=value\n`, where the length counts itself.
pub(super) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut size = rest + rest.to_string().len();
    if rest + size.to_string().len() != size {
        size = rest + size.to_string().len();
    }
    out.extend_from_slice(size.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

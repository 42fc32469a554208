//! Paths inside trees, as bytes without a leading slash.

use std::ffi::OsStr;

/// Joins a path below a root and a name.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + name.len() + 1);
    path.extend_from_slice(dir);
    if !dir.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The directory part; empty for a name alone.
pub(super) fn dir_of(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|b| *b == b'/')
        .map_or(b"", |slash| &path[..slash])
}

/// The last part.
pub(super) fn base_of(path: &[u8]) -> &[u8] {
    let dir = dir_of(path).len();
    if dir == 0 && !path.starts_with(b"/") {
        path
    } else {
        &path[dir + 1..]
    }
}

/// Bytes of a path as they are shown in a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub(super) fn os(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

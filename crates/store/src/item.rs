//! Items ("big data") kept beside an image, a container or a layer: one file per key.
//!
//! The file name of a key follows `makeBigDataBaseName` of containers/storage, quirks
//! included, since both sides must find each other's files.

use std::path::{Path, PathBuf};

use base64::Engine as _;

use crate::error::{IoContext as _, Result, StoreError};
use crate::json;

/// Largest item read into memory, in bytes. Manifests and configs are far smaller.
pub const MAX_ITEM_SIZE: u64 = 256 << 20;

/// Returns the file name for a key.
///
/// A key made only of `[.0-9a-z]` is its own file name; any other becomes `=` and its
/// padded base64. A disallowed character in the last position alone does not trigger the
/// encoding, which is what containers/storage does.
pub(crate) fn file_name(key: &str) -> String {
    let plain = |c: char| c == '.' || c.is_ascii_digit() || c.is_ascii_lowercase();
    let last = key.char_indices().last().map_or(0, |(at, _)| at);
    if key[..last].chars().all(plain) {
        return key.to_owned();
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(key);
    format!("={encoded}")
}

/// Returns the path of an item, refusing keys whose file name would leave the directory.
pub(crate) fn path(dir: &Path, key: &str) -> Result<PathBuf> {
    let name = file_name(key).trim_end_matches('/').to_owned();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(StoreError::BadKey {
            key: key.to_owned(),
        });
    }
    Ok(dir.join(name))
}

/// Reads an item.
pub(crate) fn read(dir: &Path, key: &str) -> Result<Vec<u8>> {
    json::read_limited(&path(dir, key)?, MAX_ITEM_SIZE)
}

/// Writes an item so that it is either old or new, also after a power cut.
pub(crate) fn write(dir: &Path, key: &str, bytes: &[u8]) -> Result<()> {
    let path = path(dir, key)?;
    std::fs::create_dir_all(dir).at("create the directory", dir)?;
    json::replace(&path, bytes, json::Durability::Data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_follow_containers_storage() {
        for (key, expected) in [
            ("manifest", "manifest"),
            ("instances.json", "instances.json"),
            ("sha256:ab12", "=c2hhMjU2OmFiMTI="),
            ("abc-", "abc-"),
            ("abcD", "abcD"),
            ("é", "é"),
            ("abD1", "=YWJEMQ=="),
            ("manifest-sha256:00", "=bWFuaWZlc3Qtc2hhMjU2OjAw"),
        ] {
            assert_eq!(file_name(key), expected, "{key}");
        }
    }

    #[test]
    fn keys_cannot_leave_the_directory() {
        let dir = Path::new("/d");
        for key in ["", ".", "..", "/"] {
            assert!(path(dir, key).is_err(), "{key}");
        }
        assert_eq!(path(dir, "a/").unwrap(), Path::new("/d/a"));
    }
}

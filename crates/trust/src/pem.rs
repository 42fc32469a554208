//! Keys and certificates as text (RFC 7468): blocks between lines that name what is in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most bytes that a file with keys or certificates may have.
pub const PEM_MAX: usize = 1 << 20;
/// How many letters a line has.
const LINE: usize = 64;

/// Why a text has no such block.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The text is larger than [`PEM_MAX`].
    #[error("the PEM text has {size} bytes, more than {PEM_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// There is no block.
    #[error("the text is not in PEM format")]
    NoBlock,
    /// A block does not end.
    #[error("the PEM block {label:?} has no end")]
    NoEnd {
        /// What the block says that it holds.
        label: String,
    },
    /// A block's content is not encoded as it must be.
    #[error("the PEM block {label:?} is not valid base64")]
    Base64 {
        /// What the block says that it holds.
        label: String,
        /// The cause.
        source: base64::DecodeError,
    },
    /// There is more than was asked for.
    #[error("the PEM text has {count} blocks, not one")]
    Several {
        /// How many.
        count: usize,
    },
}

/// What stands between two lines.
pub(crate) struct Block {
    pub(crate) label: String,
    /// The older form has lines `Name: value` before the content.
    headers: Vec<(String, String)>,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name)?;
        Some(&found.1)
    }
}

/// Returns all blocks of a text; there is at least one.
pub(crate) fn blocks(text: &[u8]) -> Result<Vec<Block>, PemError> {
    if text.len() > PEM_MAX {
        return Err(PemError::TooLarge { size: text.len() });
    }
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim_end);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = marked(line, "-----BEGIN ") else {
            continue;
        };
        let mut headers = Vec::new();
        let mut body = String::new();
        loop {
            let unfinished = || PemError::NoEnd {
                label: label.to_owned(),
            };
            let line = lines.next().ok_or_else(unfinished)?;
            if marked(line, "-----END ") == Some(label) {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) => {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                None => body.push_str(line.trim()),
            }
        }
        let bytes = STANDARD.decode(body).map_err(|source| PemError::Base64 {
            label: label.to_owned(),
            source,
        })?;
        blocks.push(Block {
            label: label.to_owned(),
            headers,
            bytes,
        });
    }
    if blocks.is_empty() {
        return Err(PemError::NoBlock);
    }
    Ok(blocks)
}

/// Writes a block as OpenSSL and Go do: lines of 64 letters.
pub(crate) fn text(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(LINE) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Returns the only block of a text.
pub(crate) fn block(text: &[u8]) -> Result<Block, PemError> {
    let mut blocks = blocks(text)?;
    match blocks.len() {
        1 => Ok(blocks.remove(0)),
        count => Err(PemError::Several { count }),
    }
}

fn marked<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found() {
        let check = |text: &str, expected: Result<&[(&str, &[u8])], &str>| {
            let found = blocks(text.as_bytes());
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<(&str, &[u8])> =
                        found.iter().map(|b| (&*b.label, &*b.bytes)).collect();
                    assert_eq!(found, expected);
                }
                (Err(err), Err(expected)) => assert_eq!(err.to_string(), expected),
                (found, _) => panic!("{text}: {:?}", found.map(|found| found.len())),
            }
        };
        let one = "-----BEGIN KEY-----\nYWJj\n-----END KEY-----\n";
        check(one, Ok(&[("KEY", b"abc")]));
        check(
            &format!("before\r\n{}after", one.replace('\n', "\r\n")),
            Ok(&[("KEY", b"abc")]),
        );
        check(
            &format!("{one}{one}"),
            Ok(&[("KEY", b"abc"), ("KEY", b"abc")]),
        );
        check(
            "-----BEGIN KEY-----\nProc-Type: 4\n\nYW\nJj\n-----END KEY-----",
            Ok(&[("KEY", b"abc")]),
        );
        check("", Err("the text is not in PEM format"));
        check(
            "-----BEGIN KEY-----\nYWJj\n-----END OTHER-----",
            Err("the PEM block \"KEY\" has no end"),
        );
        check(
            "-----BEGIN KEY-----\n*\n-----END KEY-----",
            Err("the PEM block \"KEY\" is not valid base64"),
        );
    }
}

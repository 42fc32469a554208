//! What a file is, by its name and its first bytes: the tables of Go's `mime` and `net/http`, which decide the media
//! types of files in artifacts.
//!
//! The host's own tables of file types are deliberately not asked: the same file has the same type everywhere.

/// How many bytes at the beginning of a file are enough.
pub const SNIFF_LEN: usize = 512;

const BY_ENDING: [(&str, &str); 17] = [
    ("avif", "image/avif"),
    ("css", "text/css"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("mjs", "text/javascript"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
    ("xml", "text/xml"),
];

const HTML: [&str; 17] = [
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// Beginnings, in the order in which they are tried.
const BY_BEGINNING: [(&[u8], &str); 30] = [
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain"),
    (b"\xff\xfe", "text/plain"),
    (b"\xef\xbb\xbf", "text/plain"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\0\0\x02\0", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\x0d\x0a\x1a\x0a", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\0", "application/ogg"),
    (b"MThd\0\0\0\x06", "audio/midi"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\0\x01\0\0", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\0", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\0", "application/x-rar-compressed"),
    (b"\0asm", "application/wasm"),
    (b"FORM....AIFF", "audio/aiff"),
    (b"RIFF....WEBPVP", "image/webp"),
    (b"RIFF....AVI ", "video/avi"),
    (b"RIFF....WAVE", "audio/wave"),
];

/// Returns the media type of a file, without parameters.
pub fn of_file(name: &str, beginning: &[u8]) -> &'static str {
    let ending = name
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_ascii_lowercase());
    let known = ending.and_then(|ending| {
        BY_ENDING
            .iter()
            .find(|(known, _)| *known == ending)
            .map(|(_, media_type)| *media_type)
    });
    known.unwrap_or_else(|| of_content(beginning))
}

/// Returns the media type that the first bytes of a file suggest; no more than [`SNIFF_LEN`] are looked at.
pub fn of_content(beginning: &[u8]) -> &'static str {
    let bytes = &beginning[..beginning.len().min(SNIFF_LEN)];
    let text = bytes.trim_ascii_start();
    if HTML.iter().any(|tag| begins_with_tag(text, tag)) {
        return "text/html";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml";
    }
    for (pattern, media_type) in BY_BEGINNING {
        if begins_with(bytes, pattern) {
            return media_type;
        }
    }
    if is_mp4(bytes) {
        return "video/mp4";
    }
    let binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if text.iter().any(binary) {
        "application/octet-stream"
    } else {
        "text/plain"
    }
}

fn begins_with_tag(text: &[u8], tag: &str) -> bool {
    text.len() > tag.len()
        && text[..tag.len()].eq_ignore_ascii_case(tag.as_bytes())
        && matches!(text[tag.len()], b' ' | b'>')
}

/// Four dots stand for any four bytes; no other pattern has dots.
fn begins_with(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.len() >= pattern.len()
        && bytes
            .iter()
            .zip(pattern)
            .all(|(byte, wanted)| *wanted == b'.' || byte == wanted)
}

/// A box `ftyp` with a brand that begins with `mp4`, among the brands that it is compatible with, too.
fn is_mp4(bytes: &[u8]) -> bool {
    let Some(size) = bytes.first_chunk::<4>() else {
        return false;
    };
    let size = u32::from_be_bytes(*size) as usize;
    if bytes.len() < 12 || bytes.len() < size || !size.is_multiple_of(4) || &bytes[4..8] != b"ftyp"
    {
        return false;
    }
    (8..size)
        .step_by(4)
        // The four bytes behind the brand are its version.
        .filter(|at| *at != 12)
        .any(|at| bytes[at..].starts_with(b"mp4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_go_takes_them_for() {
        let check = |name: &str, beginning: &[u8], expected: &str| {
            assert_eq!(of_file(name, beginning), expected, "{name} {beginning:?}");
        };
        check("f", b"hello\n", "text/plain");
        check("f", b"", "text/plain");
        check("f.txt", b"\0\0", "text/plain");
        check("f.JSON", b"{}", "application/json");
        check("f.unknown", b"{}", "text/plain");
        check("f", b" \n<html>", "text/html");
        check("f", b"<a href>", "text/html");
        check("f", b"<abbr>", "text/plain");
        check("f", b"<?xml version", "text/xml");
        check("f", b"\x1f\x8b\x08\0", "application/x-gzip");
        check("f", b"\x89PNG\x0d\x0a\x1a\x0a..", "image/png");
        check("f", b"RIFF1234WAVEfmt", "audio/wave");
        check("f", b"RIFF1234", "text/plain");
        check("f", b"\x7fELF\x02\x01\x01\0", "application/octet-stream");
        check("f", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4");
        check("f", b"\0\0\0\x10ftyp", "application/octet-stream");
    }
}

//! How values are shown: Go templates, aligned tables, sizes and ages in Buildah's words.
//!
//! The commands hand over plain JSON values and text. What `inspect` prints has Go types besides.

pub mod human;
pub mod inspection;
pub mod shape;
pub mod table;
pub mod template;
pub mod value;

/// Prints JSON over several lines with four blanks a level, as Buildah does.
pub fn go_indented(value: &impl serde::Serialize) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .expect("these values can always be written");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Lays out JSON as it came over several lines with four blanks a level: order and spelling of everything stay.
pub fn reindented(json: &[u8]) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let (mut quoted, mut escaped, mut opened) = (false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 4, b' ');
    };
    for &byte in json {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closing = matches!(byte, b'}' | b']');
        if opened && !closing {
            line(&mut out, depth);
        }
        if closing {
            depth = depth.saturating_sub(1);
            if !opened {
                line(&mut out, depth);
            }
        }
        opened = matches!(byte, b'{' | b'[');
        out.push(byte);
        match byte {
            b'{' | b'[' => depth += 1,
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => quoted = true,
            _ => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_it_came() {
        let check = |json: &str, expected: &str| assert_eq!(reindented(json.as_bytes()), expected);
        check("{}", "{}");
        check(
            r#"{"z":[1, 2],"a":{ },"s":"{\\\":,[","e":[]}"#,
            "{\n    \"z\": [\n        1,\n        2\n    ],\n    \"a\": {},\n    \"s\": \"{\\\\\\\":,[\",\n    \"e\": []\n}",
        );
    }
}

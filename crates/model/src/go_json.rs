//! JSON as Go's `encoding/json` writes it, for bytes that are hashed or compared with another tool's.
//!
//! Compact, keys in the order in which they are given, and `<`, `>`, `&`, U+2028 and U+2029 escaped inside strings.
//! Floating-point numbers are not handled specially, since no image document of ours has them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Writes `value` as Go's `json.Marshal` does: one line, no newline at the end.
///
/// # Errors
/// When a map key is no string, or a `Serialize` implementation refuses.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write_with(value, Escaping(CompactFormatter))
}

/// Writes `value` as Go's `json.MarshalIndent` does with the given indentation.
///
/// # Errors
/// As [`to_vec`].
pub fn to_vec_indent<T: Serialize + ?Sized>(
    value: &T,
    indent: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    write_with(
        value,
        Escaping(PrettyFormatter::with_indent(indent.as_bytes())),
    )
}

fn write_with<T: Serialize + ?Sized, F: Formatter>(
    value: &T,
    formatter: F,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    Ok(bytes)
}

struct Escaping<F>(F);

macro_rules! forward {
    ($($name:ident ( $($arg:ident : $ty:ty),* )),* $(,)?) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    forward! {
        begin_array(), end_array(), begin_array_value(first: bool), end_array_value(),
        begin_object(), end_object(), begin_object_key(first: bool), end_object_key(),
        begin_object_value(), end_object_value(),
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (at, found) in fragment.match_indices(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            let code = u32::from(found.chars().next().unwrap_or_default());
            write!(writer, "\\u{code:04x}")?;
            written = at + found.len();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let check = |text: &str, expected: &str| {
            assert_eq!(String::from_utf8(to_vec(text).unwrap()).unwrap(), expected);
        };
        check("a<b>&c", r#""a\u003cb\u003e\u0026c""#);
        check("\u{2028}x\u{2029}", r#""\u2028x\u2029""#);
        check("\"\\\n\t\u{1}é", "\"\\\"\\\\\\n\\t\\u0001é\"");
        check("", "\"\"");
    }

    #[test]
    fn indentation_is_that_of_marshal_indent() {
        let value = serde_json::json!({"a": [1, 2], "b": {}, "c": []});
        assert_eq!(
            String::from_utf8(to_vec_indent(&value, "    ").unwrap()).unwrap(),
            "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {},\n    \"c\": []\n}"
        );
    }
}

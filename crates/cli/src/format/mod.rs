//! How values are shown: Go templates, aligned tables, sizes and ages in Buildah's words.
//!
//! Nothing here knows an image or a container; the commands hand over plain JSON values and text.

pub mod human;
pub mod table;
pub mod template;

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

//! Invariant: whatever the bytes are, a file of credentials is read or refused, and neither the refusal nor what was read
//! shows a secret when it is printed.

#![no_main]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::{AuthFile, AuthFormat};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const CANARY: &str = "kanarienvogel7313";

fuzz_target!(|data: &[u8]| {
    let encoded = STANDARD.encode(format!("user:{CANARY}"));
    // Wherever the bytes have a `@`, there is the secret.
    let text = String::from_utf8_lossy(data).replace('@', &encoded);
    let names = serde_json::from_str(&text).map_or_else(|_| String::new(), |value| names(&value));
    for format in [AuthFormat::Current, AuthFormat::Legacy] {
        let shown = match AuthFile::parse(text.as_bytes(), Path::new("fuzz"), format) {
            Ok(file) => {
                let entry = file.entry("example.com/a/b");
                format!("{file:?} {entry:?}")
            }
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(CANARY), "{shown}");
        assert!(
            names.contains(&encoded) || !shown.contains(&encoded),
            "{shown}"
        );
    }
});

/// All names of fields; that of an entry is a host, and may be shown.
fn names(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}\n{}", names(value)))
            .collect(),
        Value::Array(items) => items.iter().map(names).collect(),
        _ => String::new(),
    }
}

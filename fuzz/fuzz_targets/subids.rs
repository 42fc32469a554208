//! Invariant: whatever a file of subordinate ids holds, what a user gets of it are ranges of ids that exist, sorted; and
//! lines of others change nothing.

#![no_main]

use std::path::Path;

use config::parse_subids;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let parse = |text: &str| parse_subids(text, Path::new("fuzz"), "u", 7);
    let Ok(found) = parse(&text) else { return };
    assert!(found.is_sorted());
    for range in &found {
        assert!(range.count > 0 && range.start.checked_add(range.count).is_some());
    }
    assert_eq!(parse(&format!("{text}\nv:1:1\n")).ok(), Some(found));
});

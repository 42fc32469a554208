//! Invariant: whatever a registry sends as `WWW-Authenticate`, reading it returns; and a challenge that was read reads
//! back as itself from its own text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::challenge;

fuzz_target!(|values: Vec<&str>| {
    let found = challenge::parse(values.iter().copied());
    assert!(found.len() <= challenge::MAX_CHALLENGES);
    for challenge in found {
        let text = challenge.to_string();
        if text.len() <= challenge::MAX_HEADER {
            assert_eq!(challenge::parse([text.as_str()]), [challenge]);
        }
    }
});

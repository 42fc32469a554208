//! Invariant: whatever the bytes are, reading a policy returns; what an accepted policy asks of an image is never nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Reference;
use trust::{Policy, Subject};

fuzz_target!(|data: &[u8]| {
    let Ok(policy) = Policy::parse(data) else {
        return;
    };
    let name = Reference::parse_normalized("registry.example.com:5000/a/b:t").expect("is a name");
    for subject in [
        Subject::docker("x", &name),
        Subject::path("dir", "x", "/a/b"),
        Subject::unscoped("tarball", "x", None),
    ] {
        assert!(!policy.requirements(&subject).is_empty());
    }
});

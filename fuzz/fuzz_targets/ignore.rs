//! Invariant: whatever the bytes are, rules are read or refused; the verdict on a path is
//! that of the last rule which excludes or keeps it or one of its parents; and a kept path
//! below an excluded directory is never pruned.
//!
//! The first line of the input is the path, the rest the ignore file.

#![no_main]

use containerfile::{IgnoreRules, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let split = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let (path, rest) = data.split_at(split);
    let Ok(rules) = IgnoreRules::parse(rest.get(1..).unwrap_or_default()) else {
        return;
    };
    let plain = path
        .split(|byte| *byte == b'/')
        .all(|name| !name.is_empty());
    if !plain || path.is_empty() {
        return;
    }
    let verdict = rules.verdict(path);
    if let Verdict::Kept(rule) = verdict {
        assert!(rule.is_exception());
    }
    let parents = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    for end in parents {
        let parent = &path[..end];
        if !verdict.is_excluded() && rules.is_excluded(parent) {
            assert!(
                rules.may_keep_below(parent),
                "a kept path would not be walked"
            );
        }
    }
});

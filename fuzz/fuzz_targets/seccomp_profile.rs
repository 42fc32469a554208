//! Invariant: whatever the bytes are, a profile is read or refused; one that is read compiles or
//! is refused, and a program that comes out fits what the kernel takes and ends every path with a
//! return.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::CapabilitySet;
use runtime::seccomp::Profile;

/// `BPF_MAXINSNS`.
const LONGEST: usize = 4096;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;

fuzz_target!(|data: &[u8]| {
    let Ok(profile) = Profile::parse(data) else {
        return;
    };
    let Ok(program) = profile.compile(CapabilitySet::DEFAULT) else {
        return;
    };
    assert!(program.len() <= LONGEST);
    assert_eq!(program.last().map(|last| last.code), Some(RETURN));
    for (at, one) in program.iter().enumerate() {
        let far = if one.code == JUMP { one.k as usize } else { 0 };
        let furthest = at + 1 + far.max(usize::from(one.jt)).max(usize::from(one.jf));
        assert!(one.code == RETURN || furthest < program.len());
    }
});

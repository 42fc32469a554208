//! Invariant: whatever the text is, the parsers of names, digests, platforms and places return; a name that was accepted
//! reads back from its own full and familiar forms, and a place from its own text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Digest, Platform, Reference, Timestamp};
use transfer::{NameRules, TransportRef};

fuzz_target!(|text: &str| {
    if let Ok(name) = Reference::parse_normalized(text) {
        assert_eq!(
            Reference::parse_normalized(&name.to_string()).as_ref(),
            Ok(&name)
        );
        assert_eq!(
            Reference::parse_normalized(&name.familiar()).as_ref(),
            Ok(&name)
        );
        assert!(NameRules::default().for_store(text).is_ok());
    }
    if let Ok(name) = Reference::parse_local(text) {
        assert_eq!(
            Reference::parse_local(&name.to_string()).as_ref(),
            Ok(&name)
        );
    }
    if let Ok(place) = TransportRef::parse(text) {
        assert_eq!(TransportRef::parse(&place.to_string()).as_ref(), Ok(&place));
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.as_str(), text);
    }
    if let Ok(platform) = Platform::parse(text) {
        assert_eq!(
            Platform::parse(&platform.to_string()).as_ref(),
            Ok(&platform)
        );
    }
    if let Ok(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
    }
});

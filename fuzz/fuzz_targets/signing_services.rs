//! Invariant: whatever the services answer that signing as sigstore does may need, reading it returns; no token is taken
//! for one of an issuer that has signed nothing, no certificate for one of our key, and no record for one of our signature.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{Digest, Secret};
use trust::{Claim, Draft, Expected, IdToken, IssuedCertificate, Made, SigstoreKey};

/// The key of an example (RFC 7517, A.1).
const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

static KEY: LazyLock<SigstoreKey> = LazyLock::new(|| SigstoreKey::generate().expect("a key"));

fuzz_target!(|data: &[u8]| {
    let _ = IssuedCertificate::parse(data, &KEY).expect_err("nobody certified the key");
    let claim = Claim {
        manifest: Digest::sha256(b"a manifest"),
        reference: "ex.com/a:1".to_owned(),
    };
    let made = Made { by: "fuzz", at: 1 };
    let draft = Draft::sign(&KEY, None, &claim, &made).expect("signs");
    draft.recorded(data).expect_err("nobody recorded it");
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(token) = IdToken::parse(Secret::new(text)) else {
        return;
    };
    let _ = token.subject();
    let expected = Expected {
        issuer: "",
        client: "",
        nonce: None,
        access_token: None,
        now: 0,
    };
    token.verify(KEYS, &expected).expect_err("nobody signed it");
});

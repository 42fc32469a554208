//! Simple signing: what GnuPG signed, changed and unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_trust::{Claim, ClaimKind, Keyring, Made, Signature, SignatureError};
use model::Digest;
use proptest::prelude::*;

use crate::support::{Case, DAY, NOW, chain, fixture};

const BY_KEY: &str = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#;

fn simple(name: &str) -> Signature {
    Signature::parse(&fixture(name)).unwrap()
}

fn case(key: &str, signature: &str) -> Case {
    Case::new(BY_KEY)
        .file("/k", fixture(key))
        .with(simple(signature))
}

#[test]
fn signatures_by_known_keys_are_good() {
    for (key, signature) in [
        ("good.gpg", "good.sig"),
        ("good.asc", "good.sig"),
        ("good.gpg", "subkey.sig"),
        ("good.gpg", "plain.sig"),
        ("good.gpg", "bzip2.sig"),
        ("good.gpg", "expiring.sig"),
        ("short.gpg", "short.sig"),
        ("other.gpg", "other.sig"),
    ] {
        let verdict = case(key, signature).verdict();
        assert_eq!(verdict, Ok(()), "{key} {signature}");
    }
}

#[test]
fn signatures_that_are_not_good_say_why() {
    let check = |key: &str, signature: &str, now: i64, expected: &str| {
        case(key, signature).at(now).check(Err(expected));
    };
    check(
        "other.gpg",
        "good.sig",
        NOW,
        "Invalid GPG signature: Key not found for key ID d00b7a63c16d367f in signature",
    );
    check(
        "short.gpg",
        "short.sig",
        NOW + 11 * DAY,
        "the key 4230DC403F7180A76F352CFC64945CD163E2E32D has expired",
    );
    check(
        "good.gpg",
        "subkey.sig",
        NOW + 400 * DAY,
        "the key B0CED7E482BED852CD143A60B82D92918ABEBBD6 has expired",
    );
    check(
        "good.gpg",
        "expiring.sig",
        NOW + 6 * DAY,
        "Signature expired",
    );
    check("good.gpg", "good.sig", NOW - DAY, "from the future");
    check("revoked.gpg", "revoked.sig", NOW, "is revoked");
    check(
        "good.gpg",
        "sha1.sig",
        NOW,
        "hash algorithm is not acceptable",
    );
    check("good.gpg", "unsigned.sig", NOW, "not signed");
    check("good.gpg", "detached.sig", NOW, "Invalid GPG signature");
    check("good.sig", "good.sig", NOW, "No public keys imported");
    check(
        "cosign.pub",
        "good.sig",
        NOW,
        "cannot use the policy's keys",
    );
}

#[test]
fn signatures_count_for_what_they_are_for() {
    let good = || case("good.gpg", "good.sig");
    let digest = format!("sha256:{}", "1".repeat(64));
    good().named("ex.com/a:2").check(Err(
        r#"Signature for identity "ex.com/a:1" is not accepted"#,
    ));
    good().named("ex.com/b:1").check(Err(
        r#"Signature for identity "ex.com/a:1" is not accepted"#,
    ));
    good().named(&format!("ex.com/a@{digest}")).check(Ok(()));
    let mut other = good();
    other.manifest = b"{ }".to_vec();
    other.check(Err(
        r#"Signature for docker digest "sha256:44136fa355b3678a"#,
    ));
    // One good signature is enough; without one all reasons are told.
    case("good.gpg", "other.sig")
        .with(simple("good.sig"))
        .check(Ok(()));
    case("good.gpg", "other.sig")
        .with(simple("sha1.sig"))
        .check(Err(
            "None of the signatures were accepted, reasons: Invalid GPG signature: Key not found",
        ));
    // Every requirement counts by itself.
    let both = format!(r#"{BY_KEY},{{"type":"reject"}}"#);
    Case::new(&both)
        .file("/k", fixture("good.gpg"))
        .with(simple("good.sig"))
        .check(Err("is rejected by policy."));
}

#[test]
fn keys_come_from_files_or_from_the_policy() {
    let data = STANDARD.encode(fixture("good.gpg"));
    let inline = format!(r#"{{"type":"signedBy","keyType":"GPGKeys","keyData":"{data}"}}"#);
    Case::new(&inline).with(simple("good.sig")).check(Ok(()));
    let several = r#"{"type":"signedBy","keyType":"GPGKeys","keyPaths":["/a","/b"]}"#;
    let two = |name: &str| {
        Case::new(several)
            .file("/a", fixture("other.gpg"))
            .file("/b", fixture("good.gpg"))
            .with(simple(name))
    };
    two("good.sig").check(Ok(()));
    two("other.sig").check(Ok(()));
    two("short.sig").check(Err("Key not found"));
    Case::new(BY_KEY)
        .with(simple("good.sig"))
        .check(Err("cannot read the key file `/k`: entity not found"));
    Case::new(BY_KEY).check(Err("A signature was required, but no signature exists"));
}

#[test]
fn claims_are_read_strictly() {
    let digest = Digest::sha256(b"{}");
    let claim = Claim {
        manifest: digest.clone(),
        reference: "ex.com/a:1".to_owned(),
    };
    let text = claim.to_bytes(ClaimKind::Simple, &Made { by: "us", at: 5 });
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"ex.com/a:1"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"atomic container signature"}},"optional":{{"creator":"us","timestamp":5}}}}"#
        )
    );
    let check = |from: &str, to: &str, expected: Result<(), &str>| {
        let changed = text.replacen(from, to, 1);
        match (
            Claim::parse(ClaimKind::Simple, changed.as_bytes()),
            expected,
        ) {
            (Ok(found), Ok(())) => assert_eq!(found, claim),
            (Err(err), Err(part)) => {
                let found = chain(&err);
                assert!(found.contains(part), "{changed}: {found}");
            }
            (found, _) => panic!("{changed}: {found:?}"),
        }
    };
    check("", "", Ok(()));
    check("\"timestamp\":5", "\"timestamp\":5.0", Ok(()));
    check(
        "\"timestamp\":5",
        "\"timestamp\":5.5",
        Err("is not an integer"),
    );
    check("\"timestamp\":5", "\"anything\":[null]", Ok(()));
    check("\"timestamp\":5", "\"creator\":\"x\"", Err("Duplicate key"));
    check(
        "{\"creator\":\"us\",\"timestamp\":5}",
        "null",
        Err("object expected"),
    );
    check("atomic", "other", Err("Unrecognized signature type other"));
    check(
        "\"critical\"",
        "\"Critical\"",
        Err("Unknown key \"Critical\""),
    );
    check(
        "sha256:",
        "md5:",
        Err("invalid docker-manifest-digest value"),
    );
    check(
        "{\"docker-reference\":\"ex.com/a:1\"}",
        "{}",
        Err("Key \"docker-reference\" missing"),
    );
    check(
        "{\"critical\"",
        "{\"x\":1,\"critical\"",
        Err("Unknown key \"x\""),
    );
    let found = Claim::parse(ClaimKind::Sigstore, text.as_bytes());
    assert!(chain(&found.unwrap_err()).contains("Unrecognized signature type"));
}

#[test]
fn blobs_name_their_form() {
    let check = |bytes: &[u8], expected: &str| {
        let error = Signature::parse(bytes).unwrap_err();
        assert!(chain(&error).contains(expected), "{error}");
    };
    check(b"", "empty signature blob");
    check(b"\0sigstore-json", "missing newline");
    check(b"\0other\n{}", "unrecognized signature format \"other\"");
    check(b"\0\x07\n{}", "non-ASCII byte 0x7");
    check(b"-----BEGIN", "starting with binary 0x2d");
    check(b"\0sigstore-json\n[", "parsing sigstore signature");
    assert!(matches!(
        Signature::parse(&vec![0x90; (4 << 20) + 1]),
        Err(SignatureError::TooLarge { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_message_says_nothing_else(at in 0usize..399, bit in 0u8..8) {
        let mut bytes = fixture("plain.sig");
        let mut keyring = Keyring::default();
        keyring.add(&fixture("good.gpg")).unwrap();
        let original = keyring.verify(&bytes, NOW).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        // What is around the content may be said in more than one way; the content may not.
        if let Ok(content) = keyring.verify(&bytes, NOW) {
            prop_assert_eq!(content, original);
        }
    }

    #[test]
    fn what_is_no_message_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut keyring = Keyring::default();
        keyring.add(&fixture("good.gpg")).unwrap();
        prop_assert!(keyring.verify(&bytes, NOW).is_err());
        let _ = keyring.add(&bytes);
        let _ = Signature::parse(&bytes);
    }

    #[test]
    fn claims_are_read_as_they_are_written(reference in "[ -~]{0,30}", by in "\\PC{0,10}", at in any::<i64>()) {
        let claim = Claim { manifest: Digest::sha256(b"x"), reference };
        for kind in [ClaimKind::Simple, ClaimKind::Sigstore] {
            let text = claim.to_bytes(kind, &Made { by: &by, at });
            prop_assert_eq!(Claim::parse(kind, &text).unwrap(), claim.clone());
        }
    }
}

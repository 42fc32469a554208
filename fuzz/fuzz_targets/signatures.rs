//! Invariant: whatever lies beside an image, reading it as a signature returns, and checking it accepts nothing that the
//! keys of the policy have not signed. The key here has signed nothing.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::{Digest, Reference};
use trust::{Circumstances, Claim, ClaimKind, Image, Policy, Signature, Subject, verify};

const KEYRING: &[u8] = include_bytes!("../../crates/trust/tests/trust/fixtures/other.gpg");
const KEY: &[u8] = include_bytes!("../../crates/trust/tests/trust/fixtures/cosign.pub");

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let requirements = [
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/ring"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/key"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/key","rekorPublicKeyPath":"/key"}"#,
    ];
    let policy = |one: &&str| Policy::parse(format!(r#"{{"default":[{one}]}}"#).as_bytes());
    requirements
        .iter()
        .map(policy)
        .collect::<Result<_, _>>()
        .expect("are policies")
});

fuzz_target!(|data: &[u8]| {
    for kind in [ClaimKind::Simple, ClaimKind::Sigstore] {
        let _ = Claim::parse(kind, data);
    }
    let Ok(signature) = Signature::parse(data) else {
        return;
    };
    assert_eq!(
        Signature::parse(&signature.to_bytes()).expect("we wrote it"),
        signature
    );
    let name = Reference::parse_normalized("ex.com/a:1").expect("is a name");
    let subject = Subject::docker("x", &name);
    let image = Image {
        subject: &subject,
        digest: &Digest::sha256(b"another manifest"),
        manifest: b"another manifest",
        signatures: &[signature],
    };
    let circumstances = Circumstances {
        read: &|path| Ok(if path.ends_with("ring") { KEYRING } else { KEY }.to_vec()),
        now: 1_795_300_000,
    };
    for policy in &*POLICIES {
        verify(policy.requirements(&subject), &image, &circumstances)
            .expect_err("nobody signed it");
    }
});

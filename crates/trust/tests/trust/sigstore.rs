//! Signatures of sigstore: by keys, by certificates, with and without a log's record.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_trust::{
    Claim, ClaimKind, Draft, IssuedCertificate, Made, PrivateKeyError, SIGSTORE_BUNDLE,
    SIGSTORE_CERTIFICATE, SIGSTORE_CHAIN, SIGSTORE_SIGNATURE, Signature, Sigstore, SigstoreKey,
};
use model::{Digest, Secret};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::json;

use crate::support::{Case, DAY, MANIFEST, NOW, fixture};

const BY_KEY: &str = r#"{"type":"sigstoreSigned","keyPath":"/k"}"#;

fn claim() -> Claim {
    Claim {
        manifest: Digest::sha256(MANIFEST),
        reference: "ex.com/a:1".to_owned(),
    }
}

fn payload() -> Vec<u8> {
    claim().to_bytes(
        ClaimKind::Sigstore,
        &Made {
            by: "test",
            at: NOW,
        },
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// A key with which anything can be signed.
struct Key(KeyPair);

impl Key {
    fn new() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn public(&self) -> Vec<u8> {
        self.0.public_key_pem().into_bytes()
    }

    fn sign(&self, text: &[u8]) -> String {
        let der = self.0.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap();
        assert_eq!(pair.public_key().as_ref().len(), 65);
        let signature = pair.sign(&SystemRandom::new(), text).unwrap();
        STANDARD.encode(signature.as_ref())
    }
}

fn signed(payload: Vec<u8>, signature: String) -> Sigstore {
    Sigstore {
        media_type: cooper_trust::SIGSTORE_MEDIA_TYPE.to_owned(),
        payload,
        annotations: BTreeMap::from([(SIGSTORE_SIGNATURE.to_owned(), signature)]),
    }
}

/// A log's record of a signature by a key or certificate in PEM.
fn record(log: &Key, key: &str, sigstore: &Sigstore, at: i64) -> String {
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": Digest::sha256(&sigstore.payload).hex()}},
            "signature": {
                "content": sigstore.annotations[SIGSTORE_SIGNATURE],
                "publicKey": {"content": STANDARD.encode(key)},
            },
        },
    });
    let body = STANDARD.encode(body.to_string());
    let text =
        format!(r#"{{"body":"{body}","integratedTime":{at},"logID":"c0ffee","logIndex":7}}"#);
    let timestamp = log.sign(text.as_bytes());
    // The order in which it is told is not the one in which it is signed.
    format!(
        r#"{{"SignedEntryTimestamp":"{timestamp}","Payload":{{"logIndex":7,"body":"{body}","logID":"c0ffee","integratedTime":{at}}}}}"#
    )
}

#[test]
fn keys_of_all_kinds_sign() {
    let passphrase = Secret::new("a passphrase");
    let openssl = |kind: &str| {
        let key = match kind {
            "ed25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            _ => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        };
        (
            key.serialize_pem().into_bytes(),
            key.public_key_pem().into_bytes(),
        )
    };
    let encrypted = (fixture("cosign.key"), fixture("cosign.pub"));
    for (name, (private, public)) in [
        ("encrypted", encrypted),
        ("ecdsa", openssl("ecdsa")),
        ("ed25519", openssl("ed25519")),
    ] {
        let key = SigstoreKey::load(&private, Some(&passphrase)).unwrap();
        assert_eq!(format!("{key:?}"), "SigstoreKey(***)");
        let made = Made {
            by: "test",
            at: NOW,
        };
        let signature = Signature::Sigstore(key.sign(&claim(), &made).unwrap());
        let again = Signature::parse(&signature.to_bytes()).unwrap();
        assert_eq!(again, signature);
        let case = Case::new(BY_KEY).file("/k", public).with(again);
        assert_eq!(case.verdict(), Ok(()), "{name}");
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let check = |file: &[u8], passphrase: Option<&str>, expected: &str| {
        let passphrase = passphrase.map(Secret::new);
        let error = SigstoreKey::load(file, passphrase.as_ref()).unwrap_err();
        let found = crate::support::chain(&error);
        assert!(found.contains(expected), "{found}");
        assert!(!found.contains("wrong words"), "{found}");
    };
    let encrypted = fixture("cosign.key");
    check(&encrypted, None, "no passphrase is given");
    check(
        &encrypted,
        Some("wrong words"),
        "decrypt: encrypted: decryption failed",
    );
    check(b"", None, "not in PEM format");
    check(
        &fixture("cosign.pub"),
        None,
        "unsupported pem type: PUBLIC KEY",
    );
    check(
        pem("PRIVATE KEY", b"x").as_bytes(),
        None,
        "neither ECDSA on P-256, nor Ed25519, nor RSA",
    );
    let envelope = |n: u32, kdf: &str| {
        let text = json!({
            "kdf": {"name": kdf, "params": {"N": n, "r": 8, "p": 1}, "salt": ""},
            "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode([0; 24])},
            "ciphertext": "",
        });
        pem("ENCRYPTED COSIGN PRIVATE KEY", text.to_string().as_bytes())
    };
    check(
        envelope(1 << 30, "scrypt").as_bytes(),
        Some("x"),
        "the scrypt parameters N=1073741824, r=8, p=1 are not acceptable",
    );
    check(
        envelope(3, "scrypt").as_bytes(),
        Some("x"),
        "not acceptable",
    );
    check(
        envelope(16, "argon2").as_bytes(),
        Some("x"),
        "\"argon2\" is not supported",
    );
    check(
        envelope(16, "scrypt").as_bytes(),
        Some("x"),
        "decryption failed",
    );
    assert!(matches!(
        SigstoreKey::load(&encrypted, None),
        Err(PrivateKeyError::NoPassphrase)
    ));
}

#[test]
fn signatures_by_keys_are_judged() {
    let (key, other) = (Key::new(), Key::new());
    let good = signed(payload(), key.sign(&payload()));
    let case = |sigstore: Sigstore| {
        Case::new(BY_KEY)
            .file("/k", key.public())
            .with(Signature::Sigstore(sigstore))
    };
    case(good.clone()).check(Ok(()));
    case(good.clone()).named("ex.com/b:1").check(Err(
        r#"Signature for identity "ex.com/a:1" is not accepted"#,
    ));
    let mut elsewhere = case(good.clone());
    elsewhere.manifest = b"[]".to_vec();
    elsewhere.check(Err("Signature for digest sha256:44136fa355b3678a"));
    case(signed(payload(), other.sign(&payload())))
        .check(Err("cryptographic signature verification failed"));
    let mut tampered = good.clone();
    tampered.payload.push(b' ');
    case(tampered).check(Err("cryptographic signature verification failed"));
    case(signed(payload(), "*".into())).check(Err("base64 decoding"));
    let mut bare = good.clone();
    bare.annotations.clear();
    case(bare).check(Err("missing dev.cosignproject.cosign/signature annotation"));
    let text = b"{}".to_vec();
    case(signed(text.clone(), key.sign(&text))).check(Err("Key \"critical\" missing"));
    // An attestation is no signature, and a simple signature none of this kind.
    let mut attestation = good.clone();
    attestation.media_type = "application/vnd.dsse.envelope.v1+json".into();
    case(attestation)
        .with(Signature::Simple(vec![0x90]))
        .check(Err(
            "no signature exists (1 non-sigstore signatures, 1 sigstore non-signature attachments)",
        ));
    // Any of several keys will do.
    let several = r#"{"type":"sigstoreSigned","keyPaths":["/o","/k"]}"#;
    Case::new(several)
        .file("/o", other.public())
        .file("/k", key.public())
        .with(Signature::Sigstore(good.clone()))
        .check(Ok(()));
    Case::new(BY_KEY)
        .file("/k", b"no key".to_vec())
        .with(Signature::Sigstore(good))
        .check(Err("reading a public key: the text is not in PEM format"));
}

#[test]
fn a_log_must_have_recorded_what_the_policy_says() {
    let (key, log, other) = (Key::new(), Key::new(), Key::new());
    let requirement = r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r"}"#;
    let public = String::from_utf8(key.public()).unwrap();
    let good = signed(payload(), key.sign(&payload()));
    let case = |bundle: Option<String>| {
        let mut sigstore = good.clone();
        if let Some(bundle) = bundle {
            sigstore.annotations.insert(SIGSTORE_BUNDLE.into(), bundle);
        }
        Case::new(requirement)
            .file("/k", key.public())
            .file("/r", log.public())
            .with(Signature::Sigstore(sigstore))
    };
    let bundle = record(&log, &public, &good, NOW);
    case(Some(bundle.clone())).check(Ok(()));
    case(None).check(Err("missing dev.sigstore.cosign/bundle annotation"));
    case(Some(record(&other, &public, &good, NOW))).check(Err(
        "cryptographic signature verification of Rekor SET failed",
    ));
    case(Some(bundle.replace("\"logIndex\":7", "\"logIndex\":8"))).check(Err(
        "cryptographic signature verification of Rekor SET failed",
    ));
    case(Some(
        bundle.replace("\"logIndex\":7", "\"logIndex\":7,\"x\":1"),
    ))
    .check(Err("Unknown key \"x\""));
    case(Some("{}".into())).check(Err("Key \"SignedEntryTimestamp\" missing"));
    let wrong_key = String::from_utf8(other.public()).unwrap();
    case(Some(record(&log, &wrong_key, &good, NOW)))
        .check(Err("publicKey in Rekor SET does not match"));
    let mut another = good.clone();
    another.payload.push(b' ');
    case(Some(record(&log, &public, &another, NOW)))
        .check(Err("payload in Rekor SET does not match"));
    let resigned = signed(payload(), key.sign(&payload()));
    case(Some(record(&log, &public, &resigned, NOW)))
        .check(Err("signature in Rekor SET does not match"));
}

/// An authority with somebody it certified.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    middle: CertifiedIssuer<'static, KeyPair>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

impl Authority {
    fn new() -> Self {
        let root =
            CertifiedIssuer::self_signed(ca_params("root"), KeyPair::generate().unwrap()).unwrap();
        let middle =
            CertifiedIssuer::signed_by(ca_params("middle"), KeyPair::generate().unwrap(), &root)
                .unwrap();
        Self { root, middle }
    }

    /// Certifies a key for half an hour around now.
    fn certify(&self, key: &Key, email: &str, issuer: Option<&str>) -> String {
        let mut params = CertificateParams::new(vec!["build.ex.com".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::Rfc822Name(email.try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        // 2026-11-21, on which the fixtures' clock stands.
        params.not_before = date_time_ymd(2026, 11, 21);
        params.not_after = date_time_ymd(2026, 11, 22);
        if let Some(issuer) = issuer {
            let oid = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(
                    &oid,
                    issuer.as_bytes().to_vec(),
                ));
        }
        params.signed_by(&key.0, &self.middle).unwrap().pem()
    }

    fn chain(&self) -> String {
        format!("{}{}", self.middle.pem(), self.root.pem())
    }
}

fn certified(key: &Key, certificate: &str, chain: &str) -> Sigstore {
    let mut sigstore = signed(payload(), key.sign(&payload()));
    let annotations = [(SIGSTORE_CERTIFICATE, certificate), (SIGSTORE_CHAIN, chain)];
    for (name, text) in annotations {
        sigstore.annotations.insert(name.into(), text.into());
    }
    sigstore
}

#[test]
fn fulcio_certifies_for_a_moment() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (key, log) = (Key::new(), Key::new());
    let requirement = r#"{"type":"sigstoreSigned","rekorPublicKeyPath":"/r",
        "fulcio":{"caPath":"/ca","oidcIssuer":"https://issuer","subjectEmail":"me@ex.com"}}"#;
    let case = |by: &Authority, email: &str, issuer: Option<&str>, at: i64| {
        let certificate = by.certify(&key, email, issuer);
        let mut sigstore = certified(&key, &certificate, &by.chain());
        let bundle = record(&log, &certificate, &sigstore, at);
        sigstore.annotations.insert(SIGSTORE_BUNDLE.into(), bundle);
        Case::new(requirement)
            .file("/r", log.public())
            .file("/ca", authority.root.pem().into_bytes())
            // Long after; what counts is when it was recorded.
            .at(NOW + 300 * DAY)
            .with(Signature::Sigstore(sigstore))
    };
    let issuer = Some("https://issuer");
    case(&authority, "me@ex.com", issuer, NOW).check(Ok(()));
    case(&authority, "you@ex.com", issuer, NOW).check(Err(
        r#"Required email "me@ex.com" not found (got ["you@ex.com"])"#,
    ));
    case(&authority, "me@ex.com", Some("https://other"), NOW)
        .check(Err(r#"Unexpected Fulcio OIDC issuer "https://other""#));
    case(&authority, "me@ex.com", None, NOW)
        .check(Err("Fulcio certificate is missing the issuer extension"));
    case(&authority, "me@ex.com", issuer, NOW + 2 * DAY)
        .check(Err("verifying leaf certificate failed"));
    case(&stranger, "me@ex.com", issuer, NOW).check(Err("verifying leaf certificate failed"));
}

#[test]
fn authorities_certify_for_longer() {
    let authority = Authority::new();
    let key = Key::new();
    let case = |who: &str, chain: &str, now: i64| {
        let certificate = authority.certify(&key, "me@ex.com", None);
        let requirement = format!(
            r#"{{"type":"sigstoreSigned","pki":{{"caRootsPath":"/ca","caIntermediatesPath":"/mid",{who}}}}}"#
        );
        Case::new(&requirement)
            .file("/ca", authority.root.pem().into_bytes())
            .file("/mid", authority.middle.pem().into_bytes())
            .at(now)
            .with(Signature::Sigstore(certified(&key, &certificate, chain)))
    };
    let (email, host) = (
        r#""subjectEmail":"me@ex.com""#,
        r#""subjectHostname":"build.ex.com""#,
    );
    case(email, "", NOW).check(Ok(()));
    case(host, "", NOW).check(Ok(()));
    case(&format!("{email},{host}"), &authority.chain(), NOW).check(Ok(()));
    case(email, "", NOW + 2 * DAY).check(Err("verifying leaf certificate failed"));
    case(r#""subjectEmail":"you@ex.com""#, "", NOW).check(Err("Required email"));
    case(r#""subjectHostname":"other.ex.com""#, "", NOW).check(Err("Unexpected subject hostname"));
    // The certificate says whose key it is; a signature by another one is none.
    let certificate = authority.certify(&key, "me@ex.com", None);
    let mut foreign = certified(&key, &certificate, "");
    let signature = Key::new().sign(&payload());
    foreign
        .annotations
        .insert(SIGSTORE_SIGNATURE.into(), signature);
    let mut tampered = case(email, "", NOW);
    tampered.signatures = vec![Signature::Sigstore(foreign)];
    tampered.check(Err("cryptographic signature verification failed"));
}

/// What a log answers to who asks it to record `proposal`.
fn entry(proposal: &[u8], at: i64) -> serde_json::Value {
    json!({"24296fb2": {
        "body": STANDARD.encode(proposal), "integratedTime": at, "logID": "c0ffee", "logIndex": 7,
        "verification": {"signedEntryTimestamp": STANDARD.encode("promise")},
    }})
}

#[test]
fn drafts_take_the_record_that_is_theirs() {
    let made = Made {
        by: "test",
        at: NOW,
    };
    let key = SigstoreKey::generate().unwrap();
    let draft = || Draft::sign(&key, None, &claim(), &made).unwrap();
    let first = draft();
    let proposal = first.proposal().unwrap();
    let recorded = first.recorded(entry(&proposal, NOW).to_string().as_bytes());
    let bundle = &recorded.unwrap().annotations[SIGSTORE_BUNDLE];
    let body = STANDARD.encode(&proposal);
    // Byte for byte what Go writes.
    let expected = format!(
        r#"{{"Payload":{{"body":"{body}","integratedTime":{NOW},"logID":"c0ffee","logIndex":7}},"SignedEntryTimestamp":"cHJvbWlzZQ=="}}"#
    );
    assert_eq!(*bundle, expected);
    assert!(
        !draft()
            .unrecorded()
            .annotations
            .contains_key(SIGSTORE_BUNDLE)
    );

    let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
        let draft = draft();
        let mut answer = entry(&draft.proposal().unwrap(), NOW);
        change(&mut answer);
        let refused = draft.recorded(answer.to_string().as_bytes()).unwrap_err();
        let refused = crate::support::chain(&refused);
        assert!(refused.contains(expected), "{refused}");
    };
    check(
        &|answer| *answer = entry(&proposal, NOW),
        "signature in Rekor SET does not match",
    );
    check(&|answer| *answer = json!([]), "decoding a Rekor log entry");
    check(
        &|answer| *answer = json!({}),
        "expected 1 Rekor entry, got 0",
    );
    check(
        &|answer| answer["second"] = answer["24296fb2"].clone(),
        "expected 1 Rekor entry, got 2",
    );
    for (name, value) in [
        ("logIndex", json!(null)),
        ("verification", json!({})),
        ("verification", json!({"signedEntryTimestamp": ""})),
    ] {
        let missing = |answer: &mut serde_json::Value| answer["24296fb2"][name] = value.clone();
        check(&missing, "invalid Rekor entry (missing data)");
    }
    check(
        &|answer| answer["24296fb2"]["body"] = "e30=".into(),
        "decoding the body of a Rekor SET payload",
    );
}

/// The public half of a key of sigstore, as an authority sees it.
struct Public(Vec<u8>);

impl rcgen::PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[test]
fn certificates_are_looked_at_before_they_are_used() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let key = SigstoreKey::generate().unwrap();
    let spki = key.public_der();
    // The point is the end of its description.
    let point = Public(spki[spki.len() - 65..].to_vec());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(2026, 11, 21);
    params.not_after = date_time_ymd(2026, 11, 22);
    let leaf = params.signed_by(&point, &authority.middle).unwrap().pem();
    let parse = |text: &str| {
        let parsed = IssuedCertificate::parse(text.as_bytes(), &key);
        parsed.map_err(|err| crate::support::chain(&err))
    };
    let check = |text: &str, at: i64| {
        let issued = parse(text).unwrap();
        issued.check(at).map_err(|err| crate::support::chain(&err))
    };
    let whole = format!("{leaf}{}", authority.chain());
    assert_eq!(check(&whole, NOW), Ok(()));
    assert_eq!(check(&leaf, NOW), Ok(()), "no authority came with it");
    let over = check(&whole, NOW + 2 * DAY).unwrap_err();
    assert!(over.starts_with("the certificate holds from "), "{over}");
    assert!(parse(&leaf).unwrap().is_over(NOW + 2 * DAY));
    let foreign = format!("{leaf}{}", stranger.chain());
    let refused = check(&foreign, NOW).unwrap_err();
    assert!(
        refused.starts_with("verifying leaf certificate failed"),
        "{refused}"
    );

    let other = SigstoreKey::generate().unwrap();
    let refused = IssuedCertificate::parse(whole.as_bytes(), &other).unwrap_err();
    assert_eq!(refused.to_string(), "the certificate is for another key");
    for (text, expected) in [
        ("", "did not find a cert from Fulcio"),
        ("{\"message\":\"no\"}", "did not find a cert from Fulcio"),
        (&format!("{leaf}rest"), "reading a certificate"),
        (&pem("CERTIFICATE", b"0"), "not well formed"),
    ] {
        let refused = parse(text).unwrap_err();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    // What is signed tells who certified the key, and is checked with the time of the record.
    let made = Made {
        by: "test",
        at: NOW,
    };
    let issued = parse(&whole).unwrap();
    let draft = || Draft::sign(&key, Some(&issued), &claim(), &made).unwrap();
    let late = draft();
    let answer = entry(&late.proposal().unwrap(), NOW + 2 * DAY).to_string();
    assert!(late.recorded(answer.as_bytes()).is_err());
    let good = draft();
    let answer = entry(&good.proposal().unwrap(), NOW).to_string();
    let signature = good.recorded(answer.as_bytes()).unwrap();
    assert_eq!(signature.annotations[SIGSTORE_CERTIFICATE], leaf);
    assert_eq!(signature.annotations[SIGSTORE_CHAIN], authority.chain());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attachments_are_read_as_they_are_written(
        media_type in "[a-z/+]{0,20}",
        payload in proptest::collection::vec(any::<u8>(), 0..50),
        annotations in proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..4),
    ) {
        let signature = Signature::Sigstore(Sigstore { media_type, payload, annotations });
        prop_assert_eq!(Signature::parse(&signature.to_bytes()).unwrap(), signature);
    }

    #[test]
    fn certificates_of_strangers_never_panic(at in 0usize..600, byte in any::<u8>()) {
        let authority = Authority::new();
        let key = Key::new();
        let certificate = authority.certify(&key, "me@ex.com", Some("https://issuer"));
        let body: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = STANDARD.decode(body).unwrap();
        let at = at % der.len();
        der[at] = byte;
        let requirement = r#"{"type":"sigstoreSigned","pki":{"caRootsPath":"/ca","subjectEmail":"me@ex.com"}}"#;
        let case = Case::new(requirement)
            .file("/ca", authority.root.pem().into_bytes())
            .with(Signature::Sigstore(certified(&key, &pem("CERTIFICATE", &der), &authority.chain())));
        let _ = case.verdict();
    }
}

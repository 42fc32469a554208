//! Reading policies, and finding what they ask of an image.

use cooper_trust::{
    Circumstances, IdentityRule, Image, Policy, Requirement, SigstoreTrust, StoreScope, Subject,
    verify,
};
use model::{Digest, Reference};
use proptest::prelude::*;

use crate::support::chain;

const ACCEPT: &str = r#"[{"type":"insecureAcceptAnything"}]"#;
const REJECT: &str = r#"[{"type":"reject"}]"#;

/// Checks that a policy is refused, and that the reason has a part.
#[track_caller]
fn check(text: &str, expected: &str) {
    let error = chain(&Policy::parse(text.as_bytes()).expect_err(text));
    assert!(error.contains(expected), "{text}\n{error}\n{expected}");
}

/// A policy with one requirement.
fn with(requirement: &str) -> String {
    format!(r#"{{"default":[{requirement}]}}"#)
}

#[test]
fn bad_policies_are_refused_with_their_reason() {
    let scoped = |transport: &str, scope: &str| {
        format!(r#"{{"default":{ACCEPT},"transports":{{"{transport}":{{"{scope}":{ACCEPT}}}}}}}"#)
    };
    check("", "EOF while parsing");
    check("[]", "JSON object expected");
    check("{}", "Default policy is missing");
    check(
        &format!(r#"{{"default":{ACCEPT}}}x"#),
        "trailing characters",
    );
    check(
        &format!(r#"{{"default":{ACCEPT},"foo":1}}"#),
        r#"Unknown key "foo""#,
    );
    check(
        &format!(
            r#"{{"default":{ACCEPT},"transports":{{"docker":{{"docker.io":{ACCEPT},"docker.io":{REJECT}}}}}}}"#
        ),
        r#"Duplicate key "docker.io""#,
    );
    check(
        &format!(r#"{{"default":{ACCEPT},"default":{REJECT}}}"#),
        r#"Duplicate key "default""#,
    );
    check(
        r#"{"default":[]}"#,
        "List of verification policy requirements must not be empty",
    );
    check(
        &with(r#"{"type":"bogus"}"#),
        r#"Unknown policy requirement type "bogus""#,
    );
    check(&with("{}"), r#"Unknown policy requirement type """#);
    check(
        &with(r#"{"type":"reject","keyPath":"/a"}"#),
        r#"Unknown key "keyPath""#,
    );
    check(
        &with(r#"{"type":"reject","type":"reject"}"#),
        "Duplicate key",
    );
    check(&scoped("dir", "relative"), r#"Unknown key "relative""#);
    check(&scoped("docker-archive", "/a"), r#"Unknown key "/a""#);
}

#[test]
fn bad_requirements_for_simple_signatures_are_refused() {
    let signed = |rest: &str| with(&format!(r#"{{"type":"signedBy",{rest}}}"#));
    check(
        &signed(r#""keyType":"X","keyPath":"/a""#),
        r#"Unrecognized keyType value "X""#,
    );
    check(
        &signed(r#""keyType":"GPGKeys""#),
        "Exactly one of keyPath, keyPaths and keyData must be specified, none of them present",
    );
    check(
        &signed(r#""keyType":"GPGKeys","keyPath":"/a","keyData":"YQ==""#),
        "more than one present",
    );
    check(
        &signed(r#""keyType":"GPGKeys","keyPaths":[]"#),
        r#""keyPaths" contains no entries"#,
    );
    check(
        &signed(r#""keyType":"GPGKeys","keyData":"*""#),
        r#"the value of "keyData" is not valid base64"#,
    );
    let identity = |rule: &str| {
        signed(&format!(
            r#""keyType":"GPGKeys","keyPath":"/a","signedIdentity":{rule}"#
        ))
    };
    check(
        &identity(r#"{"type":"odd"}"#),
        r#"Unknown policy reference match type "odd""#,
    );
    check(
        &identity(r#"{"type":"exactReference"}"#),
        r#"Key "dockerReference" missing in a JSON object"#,
    );
    check(
        &identity(r#"{"type":"exactReference","dockerReference":"ex.com/a"}"#),
        "contains neither a tag nor digest",
    );
    check(
        &identity(r#"{"type":"exactRepository","dockerRepository":"EX A"}"#),
        r#"Invalid format of dockerRepository "EX A""#,
    );
    check(
        &identity(r#"{"type":"remapIdentity","prefix":"a:t/","signedPrefix":"b"}"#),
        r#"prefix "a:t/" is not valid"#,
    );
}

#[test]
fn bad_requirements_for_signatures_of_sigstore_are_refused() {
    let sigstore = |rest: &str| with(&format!(r#"{{"type":"sigstoreSigned",{rest}}}"#));
    let exactly = "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki";
    check(&sigstore(r#""keyPath":"""#), exactly);
    check(&sigstore(r#""keyPath":"/a","keyDatas":["YQ=="]"#), exactly);
    check(
        &sigstore(r#""keyPath":"/a","rekorPublicKeyPath":"/b","rekorPublicKeyData":"YQ==""#),
        "at most one of rekorPublicKeyPath",
    );
    check(
        &sigstore(r#""fulcio":{"caPath":"/a","oidcIssuer":"i","subjectEmail":"e"}"#),
        "must be specified if fulcio is used",
    );
    check(
        &sigstore(r#""fulcio":{"caPath":"/a","subjectEmail":"e"}"#),
        "oidcIssuer not specified",
    );
    check(
        &sigstore(r#""fulcio":{"oidcIssuer":"i","subjectEmail":"e"}"#),
        "At least one of caPath and caData must be specified",
    );
    check(
        &sigstore(r#""pki":{"caRootsPath":"/a"}"#),
        "At least one of subjectEmail, subjectHostname must be specified",
    );
}

#[test]
fn good_policies_are_read() {
    let text = format!(
        r#"{{"default":{REJECT},"transports":{{
            "docker":{{
                "ex.com":[{{"type":"signedBy","keyType":"GPGKeys","keyPaths":["/a","/b"],
                    "signedIdentity":{{"type":"remapIdentity","prefix":"m.com:5","signedPrefix":"ex.com/a"}}}}],
                "ex.com/fulcio":[{{"type":"sigstoreSigned","rekorPublicKeyData":"YQ==",
                    "fulcio":{{"caData":"YQ==","oidcIssuer":"i","subjectEmail":"e"}}}}],
                "ex.com/pki":[{{"type":"sigstoreSigned","pki":{{"caRootsPath":"/r","subjectHostname":"h"}}}}],
                "":{ACCEPT}}},
            "unheard-of":{{"any scope":{ACCEPT}}}}}}}"#
    );
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let of = |name: &str| {
        let name = Reference::parse_normalized(name).unwrap();
        policy.requirements(&Subject::docker("x", &name)).to_vec()
    };
    match &of("ex.com/other:1")[..] {
        [Requirement::SignedBy(signed)] => {
            assert_eq!(signed.keys.len(), 2);
            assert!(matches!(
                signed.identity,
                IdentityRule::RemapIdentity { .. }
            ));
        }
        other => panic!("{other:?}"),
    }
    let sigstore = |name: &str| match &of(name)[..] {
        [Requirement::SigstoreSigned(signed)] => signed.clone(),
        other => panic!("{other:?}"),
    };
    let fulcio = sigstore("ex.com/fulcio/a:1");
    assert!(matches!(fulcio.trust, SigstoreTrust::Fulcio(_)));
    assert_eq!(fulcio.rekor.len(), 1);
    assert!(matches!(
        sigstore("ex.com/pki:1").trust,
        SigstoreTrust::Pki(_)
    ));
    assert_eq!(of("other.com/a:1"), [Requirement::InsecureAcceptAnything]);
}

#[test]
fn the_most_specific_scope_counts_alone() {
    let policy = |transport: &str, scopes: &[&str]| {
        let scopes: Vec<String> = scopes
            .iter()
            .map(|scope| format!("{scope:?}:{REJECT}"))
            .collect();
        let scopes = scopes.join(",");
        let text = format!(r#"{{"default":{ACCEPT},"transports":{{"{transport}":{{{scopes}}}}}}}"#);
        Policy::parse(text.as_bytes()).unwrap()
    };
    let check = |transport: &str, scope: &str, subject: &Subject, expected: bool| {
        let rejects = policy(transport, &[scope]).requirements(subject) == [Requirement::Reject];
        assert_eq!(rejects, expected, "{transport} {scope:?} {subject:?}");
    };
    let named = |name: &str| Reference::parse_normalized(name).unwrap();
    let docker = |name: &str| Subject::docker("x", &named(name));
    check("docker", "ex.com/a:1", &docker("ex.com/a:1"), true);
    check("docker", "ex.com/a:1", &docker("ex.com/a:2"), false);
    check("docker", "ex.com", &docker("ex.com/a:1"), true);
    check("docker", "ex.com", &docker("ex.com:5/a:1"), false);
    check("docker", "*.ex.com", &docker("r.ex.com:5/a:1"), true);
    check("docker", "*.com", &docker("r.ex.com/a:1"), true);
    check("docker", "*.ex.com", &docker("ex.com/a:1"), false);
    check("docker", "", &docker("ex.com/a:1"), true);
    check("atomic", "", &docker("ex.com/a:1"), false);
    let dir = Subject::path("dir", "x", "/a/b");
    check("dir", "/a", &dir, true);
    check("dir", "/a/b", &dir, true);
    check("dir", "/b", &dir, false);
    check("oci", "/a", &dir, false);
    let archive = Subject::unscoped("docker-archive", "x", None);
    check("docker-archive", "", &archive, true);
    let store = StoreScope {
        driver: "vfs",
        graph_root: "/g",
    };
    let stored = Subject::storage("x", &store, Some(&named("a:1")), None);
    check("containers-storage", "[/g]", &stored, true);
    check("containers-storage", "[overlay@/g]", &stored, false);

    // A hit for the repository hides the host's.
    let both = format!(
        r#"{{"default":{ACCEPT},"transports":{{"docker":{{"ex.com":{REJECT},"ex.com/a":{ACCEPT}}}}}}}"#
    );
    let policy = Policy::parse(both.as_bytes()).unwrap();
    assert_eq!(
        policy.requirements(&docker("ex.com/a/b:1")),
        [Requirement::InsecureAcceptAnything]
    );
}

#[test]
fn verdicts_without_signatures_say_why() {
    let check = |requirements: &str, expected: Option<&str>| {
        let policy = Policy::parse(format!(r#"{{"default":{requirements}}}"#).as_bytes()).unwrap();
        let name = Reference::parse_normalized("ex.com/a:1").unwrap();
        let subject = Subject::docker("docker://ex.com/a:1", &name);
        let image = Image {
            subject: &subject,
            digest: &Digest::sha256(b"{}"),
            manifest: b"{}",
            signatures: &[],
        };
        let circumstances = Circumstances {
            read: &|_| Err(std::io::ErrorKind::NotFound.into()),
            now: 0,
        };
        let verdict = verify(policy.requirements(&subject), &image, &circumstances);
        assert_eq!(verdict.err().map(|e| chain(&e)).as_deref(), expected);
    };
    check(ACCEPT, None);
    check(
        REJECT,
        Some("Running image docker://ex.com/a:1 is rejected by policy."),
    );
    check(
        r#"[{"type":"insecureAcceptAnything"},{"type":"reject"}]"#,
        Some("Running image docker://ex.com/a:1 is rejected by policy."),
    );
    check(
        r#"[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}]"#,
        Some("signedBaseLayer not implemented yet!"),
    );
    for requirement in [
        r#"[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/none"}]"#,
        r#"[{"type":"sigstoreSigned","keyPath":"/none"}]"#,
    ] {
        check(
            requirement,
            Some("A signature was required, but no signature exists"),
        );
    }
    check(
        r#"[{"type":"signedBy","keyType":"X509Certificates","keyPath":"/none"}]"#,
        Some(r#"Unimplemented "keyType" value "X509Certificates""#),
    );
}

proptest! {
    #[test]
    fn reading_never_panics(text in r#"[\[\]{}":,a-zA-Z/* ]{0,80}"#) {
        let _ = Policy::parse(text.as_bytes());
    }

    #[test]
    fn a_requirement_for_everything_is_found_for_everything(name in "[a-z]{1,8}(\\.[a-z]{1,4}){0,3}/[a-z]{1,8}(/[a-z]{1,8}){0,2}:[a-z]{1,5}") {
        let name = Reference::parse_normalized(&name).unwrap();
        let subject = Subject::docker("x", &name);
        // Every scope of an image, alone in a policy, is the one that counts for it.
        for scope in subject.scopes() {
            let text = format!(r#"{{"default":{ACCEPT},"transports":{{"docker":{{{scope:?}:{REJECT}}}}}}}"#);
            let policy = Policy::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(policy.requirements(&subject), &[Requirement::Reject][..]);
        }
    }
}

//! Image references: the grammar, normalisation, and what is refused with which words.

use cooper_model::{Digest, Reference, ReferenceError};
use proptest::prelude::*;

fn shown(result: Result<Reference, ReferenceError>) -> String {
    match result {
        Ok(reference) => reference.to_string(),
        Err(err) => {
            let mut text = err.to_string();
            let mut cause = std::error::Error::source(&err);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            text
        }
    }
}

#[test]
fn names_are_normalised() {
    let hex = "a".repeat(64);
    let check = |text: &str, expected: &str| {
        assert_eq!(shown(Reference::parse_normalized(text)), expected, "{text}");
    };
    check("alpine", "docker.io/library/alpine");
    check("alpine:3.20", "docker.io/library/alpine:3.20");
    check("library/x", "docker.io/library/x");
    check("me/x", "docker.io/me/x");
    check("docker.io/x", "docker.io/library/x");
    check("index.docker.io/x/y", "docker.io/x/y");
    check("docker:alpine", "docker.io/library/docker:alpine");
    check("localhost/x", "localhost/x");
    check("localhost:5000/x:1", "localhost:5000/x:1");
    check(
        "quay.io/a/b/c__d--e.f:Tag_1.x-",
        "quay.io/a/b/c__d--e.f:Tag_1.x-",
    );
    check("Quay.IO/a", "Quay.IO/a");
    check(
        &format!("x@sha256:{hex}"),
        &format!("docker.io/library/x@sha256:{hex}"),
    );
    check(
        &format!("x:t@sha256:{hex}"),
        &format!("docker.io/library/x:t@sha256:{hex}"),
    );
    check(&format!("a/{hex}"), &format!("docker.io/a/{hex}"));

    check("", "repository name must have at least one component");
    check(
        &hex,
        &format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings"),
    );
    check(
        "Foo/bar",
        "invalid reference format: repository name must be lowercase",
    );
    check("foo:ba r", "invalid reference format");
    check("nosuch:/x", "invalid reference format");
    check("a//b", "invalid reference format");
    check("a/b/", "invalid reference format");
    check("/a", "invalid reference format");
    check("-a", "invalid reference format");
    check("a___b", "invalid reference format");
    check("a..b", "invalid reference format");
    check("[::1]:5000/a", "invalid reference format");
    check("x:", "invalid reference format");
    check("x:-t", "invalid reference format");
    check(
        &format!("x:{}", "t".repeat(129)),
        "invalid reference format",
    );
    check("x@sha256:abcd", "invalid reference format");
    check(
        &format!("x@sha256:{}", "a".repeat(32)),
        "invalid checksum digest length",
    );
    check(
        &format!("x@sha256:{}", "A".repeat(64)),
        "invalid checksum digest format",
    );
    check(
        &format!("x@md5:{}", "a".repeat(32)),
        "unsupported digest algorithm",
    );
    check(
        &"a".repeat(256),
        "repository name must not be more than 255 characters",
    );
}

#[test]
fn local_names_live_at_localhost() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let check = |text: &str, expected: &str| {
        assert_eq!(shown(Reference::parse_local(text)), expected, "{text}");
    };
    check("x", "localhost/x:latest");
    check("a/x:1", "localhost/a/x:1");
    check("docker.io/x", "docker.io/library/x:latest");
    check("localhost/x", "localhost/x:latest");
    check("quay.io/a/x", "quay.io/a/x:latest");
    check(&format!("x@{digest}"), &format!("localhost/x@{digest}"));
    check(
        "Foo",
        "normalizing name \"Foo\": repository name must be lowercase",
    );
    check(
        "",
        "normalizing name \"\": repository name must have at least one component",
    );
    check("a b", "normalizing name \"a b\": invalid reference format");
}

#[test]
fn short_names_have_no_registry() {
    for (text, expected) in [
        ("alpine", true),
        ("library/x", true),
        ("foo@sha256:1", true),
        ("docker:alpine", true),
        ("localhost/x", false),
        ("docker.io/x", false),
        ("host:5000/x", false),
    ] {
        assert_eq!(Reference::is_short(text), expected, "{text}");
    }
}

#[test]
fn familiar_names_are_short_again() {
    for (text, expected) in [
        ("alpine:1", "alpine:1"),
        ("me/x", "me/x"),
        ("quay.io/x", "quay.io/x"),
        ("docker.io/library/a/b", "library/a/b"),
        ("docker.io/a.b/c", "docker.io/a.b/c"),
        ("docker.io/library/a.b", "a.b"),
    ] {
        assert_eq!(
            Reference::parse_normalized(text).unwrap().familiar(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn tag_and_digest_are_handled_apart() {
    let digest = Digest::sha256(b"");
    let both = Reference::parse_normalized(&format!("x:1@{digest}")).unwrap();
    assert_eq!(
        both.clone().prefer_digest().to_string(),
        format!("docker.io/library/x@{digest}")
    );
    assert_eq!(both.clone().with_default_tag(), both);
    assert_eq!(
        both.repository().with_default_tag().to_string(),
        "docker.io/library/x:latest"
    );
    assert_eq!(
        both.with_tag("2").unwrap().to_string(),
        "docker.io/library/x:2"
    );
    assert!(both.with_tag("a/b").is_err());
    assert_eq!(both.with_digest(digest.clone()).digest(), Some(&digest));
}

proptest! {
    #[test]
    fn parsing_is_stable(text in "[a-zA-Z0-9./:@_ -]{0,80}") {
        if let Ok(reference) = Reference::parse_normalized(&text) {
            prop_assert_eq!(Reference::parse_normalized(&reference.to_string()).unwrap(), reference.clone());
            prop_assert_eq!(Reference::parse_normalized(&reference.familiar()).unwrap(), reference);
        }
        if let Ok(reference) = Reference::parse_local(&text) {
            prop_assert_eq!(Reference::parse_local(&reference.to_string()).unwrap(), reference);
        }
    }
}

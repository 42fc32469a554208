//! The first contact, what every request carries, replies that refuse, redirects, and waiting.

use std::time::{Duration, Instant};

use cooper_registry::{Access, ManifestRef, Security};
use model::media_type;

use crate::fixture::{AGENT, Setup, content, words};
use crate::server::{Exchange, Server};

fn tag() -> ManifestRef {
    ManifestRef::Tag("1".to_owned())
}

/// A registry that answers each ping with 200 and leaves the rest to the test.
fn after_ping(rest: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Server {
    Server::http(move |exchange| {
        if exchange.target == "/v2/" {
            exchange.reply("200 OK", &[], b"{}");
        } else {
            rest(exchange);
        }
    })
}

#[test]
fn every_request_says_who_asks_and_for_what() {
    let server = after_ping(|exchange| {
        exchange.reply(
            "200 OK",
            &[(
                "Content-Type",
                "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            )],
            b"{}",
        );
    });
    let setup = Setup::new(&server.host()).basic("u", "p");
    let fetched = setup.repository(Access::Pull).manifest(&tag()).unwrap();
    assert_eq!(
        (fetched.bytes.as_slice(), fetched.media_type.as_str()),
        (&b"{}"[..], media_type::OCI_MANIFEST)
    );
    let seen = server.seen();
    assert_eq!(
        seen.iter()
            .map(super::server::Seen::line)
            .collect::<Vec<_>>(),
        ["GET /v2/", "GET /v2/a/tiny/manifests/1"]
    );
    for request in &seen {
        assert_eq!(request.header("user-agent"), Some(AGENT));
        assert_eq!(
            request.header("docker-distribution-api-version"),
            Some("registry/2.0")
        );
        // Nobody asked for credentials.
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("accept-encoding"), None);
    }
    let accepted = &seen[1].headers["accept"];
    assert_eq!(accepted.len(), 6, "{accepted:?}");
    assert_eq!(
        (accepted[0].as_str(), accepted[5].as_str()),
        (media_type::OCI_MANIFEST, media_type::OCI_INDEX)
    );
    setup.endpoint();
    assert_eq!(
        server.seen().len(),
        2,
        "contact is made once, and only when something is asked for"
    );
}

#[test]
fn an_early_contact_is_the_only_one() {
    let server = after_ping(|exchange| exchange.reply("404 Not Found", &[], b""));
    let endpoint = Setup::new(&server.host()).endpoint();
    endpoint.contact_early();
    endpoint.supports_signature_extension().unwrap();
    endpoint.contact_early();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_contact_that_fails_fails_for_all_who_waited() {
    let server = Server::http(|exchange| {
        std::thread::sleep(Duration::from_millis(500));
        exchange.reply("500 Internal Server Error", &[], b"");
    });
    let endpoint = Setup::new(&server.host()).endpoint();
    endpoint.contact_early();
    let fails = || {
        let error = endpoint.supports_signature_extension().unwrap_err();
        assert!(words(&error).contains("500"), "{}", words(&error));
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(fails);
        }
    });
    assert_eq!(server.seen().len(), 1);
    // Whoever comes later has another attempt.
    fails();
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_registry_without_tls_is_refused_unless_allowed() {
    let server = after_ping(|exchange| exchange.reply("200 OK", &[], b"{}"));
    let host = server.host();
    let mut setup = Setup::new(&host);
    setup.options.security = Security::Verified;
    let error = setup.repository(Access::Pull).manifest(&tag()).unwrap_err();
    assert_eq!(
        words(&error),
        format!(
            "fetching manifest 1 in {host}/a/tiny: pinging container registry {host}: Get \"https://{host}/v2/\": http: server gave HTTP response to HTTPS client"
        )
    );
    assert!(!error.is_retryable());
    assert!(server.seen().is_empty());
}

#[test]
fn pings_fail_with_the_last_reason() {
    let check = |status: &'static str, expected: &str, retryable: bool| {
        let server = Server::http(move |exchange| exchange.reply(status, &[], b""));
        let host = server.host();
        let error = Setup::new(&host)
            .repository(Access::Pull)
            .manifest(&tag())
            .unwrap_err();
        let prefix =
            format!("fetching manifest 1 in {host}/a/tiny: pinging container registry {host}: ");
        assert_eq!(words(&error).strip_prefix(&prefix), Some(expected));
        assert_eq!(error.is_retryable(), retryable, "{status}");
    };
    check(
        "500 Internal Server Error",
        "received unexpected HTTP status: 500 Internal Server Error",
        false,
    );
    check(
        "503 Slow Down",
        "received unexpected HTTP status: 503 Slow Down",
        true,
    );
    check("404 Not Found", "StatusCode: 404, \"\"", false);
    let dead = "127.0.0.1:1";
    let error = Setup::new(dead)
        .repository(Access::Pull)
        .manifest(&tag())
        .unwrap_err();
    assert_eq!(
        words(&error),
        "fetching manifest 1 in 127.0.0.1:1/a/tiny: pinging container registry 127.0.0.1:1: Get \"http://127.0.0.1:1/v2/\": dial tcp: Connection refused (os error 111)"
    );
    assert!(error.is_retryable());
    let error = Setup::new("no-such-host.invalid")
        .endpoint()
        .check_credentials()
        .unwrap_err();
    assert!(
        words(&error).contains("lookup no-such-host.invalid"),
        "{}",
        words(&error)
    );
    assert!(!error.is_retryable());
}

#[test]
fn refusals_are_worded_by_what_was_attempted() {
    let server = after_ping(|exchange| {
        exchange.reply("404 Not Found", &[], b"{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"repository name not known to registry\"}]}");
    });
    let host = server.host();
    let setup = Setup::new(&host);
    let repository = setup.repository(Access::Push);
    let (blob, digest) = content(10);
    let check = |error: cooper_registry::RegistryError, expected: &str| {
        assert_eq!(
            words(&error),
            expected
                .replace("HOST", &host)
                .replace("DIGEST", digest.as_str())
        );
        assert!(error.is_not_found() && !error.is_retryable() && !error.is_unauthorized());
    };
    let because = |text: &str| format!("{text}: repository name not known to registry");
    check(
        repository.manifest(&tag()).unwrap_err(),
        &because("reading manifest 1 in HOST/a/tiny"),
    );
    check(
        repository.tags().unwrap_err(),
        &because("fetching tags list of HOST/a/tiny"),
    );
    check(
        repository.put_manifest(&tag(), "", b"{}").unwrap_err(),
        &because("uploading manifest 1 to HOST/a/tiny"),
    );
    check(
        repository.delete_manifest(&digest).unwrap_err(),
        &because("deleting HOST/a/tiny@DIGEST"),
    );
    check(
        repository.mount(&digest, "b").unwrap_err(),
        &because("mounting DIGEST from b to HOST/a/tiny"),
    );
    check(
        repository
            .upload(&cooper_registry::NewBlob::default(), &mut &blob[..])
            .unwrap_err(),
        &because("initiating layer upload to /v2/a/tiny/blobs/uploads/ in HOST"),
    );
    check(
        repository.download(&digest, None, None).err().unwrap(),
        &because("fetching blob DIGEST from HOST/a/tiny"),
    );
    assert_eq!(repository.blob(&digest).unwrap(), None);
    assert_eq!(repository.head_manifest(&tag()).unwrap(), None);
}

#[test]
fn manifests_are_what_was_asked_for() {
    let (other, _) = content(100);
    let answer = other.clone();
    let server = after_ping(move |exchange| match exchange.path() {
        "/v2/a/tiny/manifests/long" => {
            exchange.reply("200 OK", &[], &vec![b' '; 4 * 1024 * 1024 + 1]);
        }
        _ => exchange.reply("200 OK", &[], &answer),
    });
    let repository = Setup::new(&server.host()).repository(Access::Pull);
    let error = repository
        .manifest(&ManifestRef::Tag("long".to_owned()))
        .unwrap_err();
    assert!(
        words(&error).ends_with(
            "reading manifest long in {}/a/tiny: the manifest is longer than 4194304 bytes"
                .replace("{}", &server.host())
                .as_str()
        ),
        "{}",
        words(&error)
    );
    let right = ManifestRef::Digest(model::Digest::sha256(&other));
    assert_eq!(repository.manifest(&right).unwrap().bytes, other);
    let wrong = ManifestRef::Digest(model::Digest::sha256(b"x"));
    let error = repository.manifest(&wrong).unwrap_err();
    assert!(
        words(&error).contains("content does not match its digest"),
        "{}",
        words(&error)
    );
    assert!(!error.is_retryable());
}

#[test]
fn warnings_are_told_once() {
    let server = after_ping(|exchange| {
        let headers = [
            ("Warning", "299 - \"move \\\"away\\\"\""),
            ("Warning", "214 - \"other\""),
            ("Warning", "299 - \"second\""),
        ];
        exchange.reply("200 OK", &headers, b"{}");
    });
    let setup = Setup::new(&server.host());
    let repository = setup.repository(Access::Pull);
    for _ in 0..3 {
        repository.manifest(&tag()).unwrap();
    }
    let url = format!("http://{}/v2/a/tiny/manifests/1", server.host());
    let expected = [
        format!("Warning from registry (first encountered at \"{url}\"): \"move \\\"away\\\"\""),
        format!("Warning from registry (first encountered at \"{url}\"): \"second\""),
    ];
    assert_eq!(setup.told(), expected);
}

#[test]
fn the_registry_is_asked_again_after_429() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let check = |refusals: usize, expected_requests: usize, works: bool| {
        let count = AtomicUsize::new(0);
        let server = after_ping(move |exchange| {
            if count.fetch_add(1, Ordering::SeqCst) < refusals {
                exchange.reply(
                    "429 Too Many Requests",
                    &[("Retry-After", "0")],
                    b"{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow down\"}]}",
                );
            } else {
                exchange.reply("200 OK", &[], b"{}");
            }
        });
        let outcome = Setup::new(&server.host())
            .repository(Access::Pull)
            .manifest(&tag());
        assert_eq!(server.lines().len(), expected_requests);
        assert_eq!(outcome.is_ok(), works);
        if let Err(error) = outcome {
            assert!(
                words(&error).ends_with(": toomanyrequests: slow down") && error.is_retryable(),
                "{}",
                words(&error)
            );
        }
    };
    check(2, 3, true);
    check(4, 5, true);
    check(5, 5, false);

    let server = after_ping(|exchange| {
        exchange.reply("429 Too Many Requests", &[("Retry-After", "0")], b"");
    });
    let repository = Setup::new(&server.host()).repository(Access::Push);
    assert!(
        !repository
            .put_manifest(&tag(), "", b"{}")
            .unwrap_err()
            .is_retryable()
    );
    assert_eq!(
        server.lines().len(),
        1,
        "a request with content is not repeated"
    );
}

#[test]
fn the_wait_before_the_next_attempt_is_kept() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let count = AtomicUsize::new(0);
    let server = after_ping(move |exchange| match count.fetch_add(1, Ordering::SeqCst) {
        0 => exchange.reply("429 Too Many Requests", &[("Retry-After", "1")], b""),
        _ => exchange.reply("200 OK", &[], b"{}"),
    });
    let started = Instant::now();
    Setup::new(&server.host())
        .repository(Access::Pull)
        .manifest(&tag())
        .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn single_requests_are_repeated_after_a_cut() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    // (cuts, status of the refusals after them, attempts allowed after a status) -> requests, works
    let check = |cuts: usize,
                 status: Option<&'static str>,
                 after_status: u32,
                 expected: usize,
                 works: bool| {
        let count = AtomicUsize::new(0);
        let server =
            after_ping(
                move |exchange| match (count.fetch_add(1, Ordering::SeqCst), status) {
                    (number, _) if number < cuts => {
                        if number % 2 == 1 {
                            exchange.head("200 OK", &[("Content-Length", "50")]);
                            exchange.raw(b"only this");
                        }
                        exchange.close();
                    }
                    (number, Some(status)) if number == cuts => exchange.reply(status, &[], b""),
                    _ => exchange.reply("200 OK", &[], b"{}"),
                },
            );
        let mut setup = Setup::new(&server.host());
        setup.options.retry.after_status = after_status;
        let outcome = setup.repository(Access::Pull).manifest(&tag());
        assert_eq!(
            (server.lines().len(), outcome.is_ok()),
            (expected, works),
            "{cuts} {status:?} {after_status}"
        );
        if let Err(error) = outcome {
            assert_eq!(
                error.is_retryable(),
                status != Some("500 Broken"),
                "{}",
                words(&error)
            );
        }
    };
    check(1, None, 0, 2, true);
    check(2, None, 0, 3, true);
    check(5, None, 0, 3, false);
    check(0, Some("503 Busy"), 0, 1, false);
    check(0, Some("503 Busy"), 1, 2, true);
    check(0, Some("500 Broken"), 1, 1, false);
}

#[test]
fn redirects_are_followed_without_credentials_to_other_hosts() {
    let other = Server::http(|exchange| {
        let body = if exchange.header("authorization").is_some() {
            &b"leaked"[..]
        } else {
            b"hello"
        };
        exchange.reply("200 OK", &[], body);
    });
    let there = other.host();
    let server = Server::http(move |exchange| match exchange.path() {
        "/v2/" => exchange.reply(
            "401 Unauthorized",
            &[("WWW-Authenticate", "Basic realm=x")],
            b"",
        ),
        path if path.contains("/blobs/") => {
            assert!(exchange.header("authorization").is_some());
            exchange.reply("302 Found", &[("Location", "/moved?signature=s3cret")], b"");
        }
        "/moved" => {
            assert!(exchange.header("authorization").is_some());
            exchange.reply(
                "307 Temporary",
                &[("Location", &format!("http://{there}/away?signature=s3cret"))],
                b"",
            );
        }
        _ => exchange.reply(
            "301 Moved",
            &[("Location", "/v2/a/tiny/manifests/loop")],
            b"",
        ),
    });
    let setup = Setup::new(&server.host()).basic("user", "hunter2");
    let repository = setup.repository(Access::Pull);
    let digest = model::Digest::sha256(b"hello");
    let mut download = repository.download(&digest, Some(5), None).unwrap();
    assert_eq!(std::io::read_to_string(&mut download).unwrap(), "hello");
    assert_eq!(other.seen()[0].header("user-agent"), Some(AGENT));
    let error = repository
        .manifest(&ManifestRef::Tag("loop".to_owned()))
        .unwrap_err();
    assert!(
        words(&error).ends_with("more than 10 redirects"),
        "{}",
        words(&error)
    );
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_signed_address_never_reaches_an_error() {
    let server = after_ping(|exchange| {
        if exchange.path() == "/store" {
            exchange.head("200 OK", &[("Content-Length", "100")]);
            exchange.close();
        } else {
            exchange.reply("302 Found", &[("Location", "/store?signature=s3cret")], b"");
        }
    });
    let setup = Setup::new(&server.host());
    let mut download = setup
        .repository(Access::Pull)
        .download(&content(100).1, Some(100), None)
        .unwrap();
    let error = std::io::read_to_string(&mut download).unwrap_err();
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<cooper_registry::RegistryError>())
        .unwrap();
    assert!(inner.is_retryable());
    let all = format!("{} {inner:?} {error:?} {:?}", words(inner), setup.told());
    assert!(!all.contains("s3cret") && all.contains("/store"), "{all}");
}

#[test]
fn silence_is_noticed() {
    let server = after_ping(|exchange| match exchange.path() {
        "/v2/a/tiny/manifests/1" => {
            exchange.head("200 OK", &[("Content-Length", "10")]);
            std::thread::sleep(Duration::from_secs(3));
            exchange.close();
        }
        _ => {
            std::thread::sleep(Duration::from_secs(4));
            exchange.close();
        }
    });
    let repository = Setup::new(&server.host()).repository(Access::Pull);
    let started = Instant::now();
    let error = repository.manifest(&tag()).unwrap_err();
    assert!(
        words(&error).ends_with("no byte for 0.6 s") && error.is_retryable(),
        "{}",
        words(&error)
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    let error = repository.tags().unwrap_err();
    assert!(
        words(&error).ends_with("no byte for 2 s") && error.is_retryable(),
        "{}",
        words(&error)
    );
}

#[test]
fn signature_support_is_noted() {
    for (header, expected) in [
        (("X-Registry-Supports-Signatures", "1"), true),
        (("X-Other", "1"), false),
    ] {
        let server = Server::http(move |exchange| exchange.reply("200 OK", &[header], b""));
        assert_eq!(
            Setup::new(&server.host())
                .endpoint()
                .supports_signature_extension()
                .unwrap(),
            expected
        );
    }
}

#[test]
fn files_elsewhere_are_fetched_without_registry_manners() {
    let server = Server::http(|exchange| match exchange.path() {
        "/sig" => {
            assert!(exchange.header("docker-distribution-api-version").is_none());
            exchange.reply("200 OK", &[], b"signature");
        }
        "/refused" => exchange.reply("403 Forbidden", &[], b"no"),
        _ => exchange.reply("404 Not Found", &[], b""),
    });
    let host = server.host();
    let mut setup = Setup::new("registry.example.com").basic("u", "p");
    setup.options.security = Security::Verified;
    let endpoint = setup.endpoint();
    let fetch = |path: &str, limit| endpoint.fetch(&format!("http://{host}{path}"), limit);
    assert_eq!(
        fetch("/sig", 9).unwrap().as_deref(),
        Some(&b"signature"[..])
    );
    assert_eq!(fetch("/none", 9).unwrap(), None);
    assert_eq!(
        words(&fetch("/sig", 8).unwrap_err()),
        format!("fetching http://{host}/sig: the file is longer than 8 bytes")
    );
    assert_eq!(
        words(&fetch("/refused?key=s3cret", 8).unwrap_err()),
        format!("fetching http://{host}/refused: StatusCode: 403, \"no\"")
    );
    assert!(
        words(&endpoint.fetch("file:///etc/passwd", 9).unwrap_err())
            .contains("neither http nor https")
    );
    assert!(words(&endpoint.fetch("nonsense", 9).unwrap_err()).contains("is no usable address"));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

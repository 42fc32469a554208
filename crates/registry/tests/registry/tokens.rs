//! Basic and bearer authorisation against a token server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cooper_registry::{Access, Credential, ManifestRef};
use model::Secret;

use crate::fixture::{Setup, content, words};
use crate::server::{Exchange, Server};

fn tag() -> ManifestRef {
    ManifestRef::Tag("1".to_owned())
}

/// A registry whose token server answers as told, each token being `t1`, `t2`, …; both are one server.
struct Guarded {
    server: Server,
    forms: Arc<Mutex<Vec<String>>>,
}

impl Guarded {
    fn new(token: impl Fn(usize, &mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::with(token, |exchange| match exchange.header("authorization") {
            Some(value) if value.starts_with("Bearer t") => exchange.reply("200 OK", &[], b"{}"),
            _ => exchange.reply("401 Unauthorized", &[], b""),
        })
    }

    fn with(
        token: impl Fn(usize, &mut Exchange<'_>) + Send + Sync + 'static,
        api: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> Self {
        let count = AtomicUsize::new(0);
        let forms: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&forms);
        let server = Server::http(move |exchange| {
            let host = exchange.header("host").unwrap_or_default().to_owned();
            match exchange.path() {
                "/token" => {
                    if exchange.method == "POST" {
                        kept.lock()
                            .unwrap()
                            .push(String::from_utf8(exchange.body()).unwrap());
                    }
                    token(count.fetch_add(1, Ordering::SeqCst) + 1, exchange);
                }
                "/v2/" if exchange.header("authorization").is_none() => {
                    let challenge = format!(
                        "Bearer realm=\"http://{host}/token?own=1\",service=\"svc,1\",scope=\"ignored\""
                    );
                    exchange.reply("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"");
                }
                _ => api(exchange),
            }
        });
        Self { server, forms }
    }

    fn token_lines(&self) -> Vec<String> {
        let lines = self.server.lines();
        lines
            .into_iter()
            .filter(|line| line.contains("/token"))
            .collect()
    }
}

fn give(number: usize, exchange: &mut Exchange<'_>) {
    let body = format!("{{\"token\":\"t{number}\",\"access_token\":\"wrong\",\"expires_in\":300}}");
    exchange.reply("200 OK", &[], body.as_bytes());
}

#[test]
fn there_is_one_token_for_each_set_of_scopes() {
    let guarded = Guarded::new(give);
    let setup = Setup::new(&guarded.server.host()).basic("u ser", "p:w");
    let repository = setup.repository(Access::Pull);
    repository.manifest(&tag()).unwrap();
    repository.manifest(&tag()).unwrap();
    let endpoint = repository.endpoint();
    let pushing = endpoint.repository("a/tiny", Access::Push);
    let digest = content(1).1;
    pushing.blob(&digest).unwrap();
    for other in ["b/x", "c", "b/x"] {
        pushing.blob_in(other, &digest).unwrap();
    }
    endpoint
        .repository("a/tiny", Access::Delete)
        .blob(&digest)
        .unwrap();
    endpoint.check_credentials().unwrap();
    let scope = |scopes: &str| format!("GET /token?account=u+ser&own=1{scopes}&service=svc%2C1");
    let push = "&scope=repository%3Aa%2Ftiny%3Apull%2Cpush";
    assert_eq!(
        guarded.token_lines(),
        [
            scope("&scope=repository%3Aa%2Ftiny%3Apull"),
            scope(push),
            scope(&format!("{push}&scope=repository%3Ab%2Fx%3Apull")),
            scope(&format!("{push}&scope=repository%3Ac%3Apull")),
            scope("&scope=repository%3Aa%2Ftiny%3A%2A"),
            scope(""),
        ]
    );
    let asked = guarded
        .server
        .seen()
        .into_iter()
        .find(|seen| seen.target.starts_with("/token"))
        .unwrap();
    assert_eq!(asked.header("authorization"), Some("Basic dSBzZXI6cDp3"));
    assert_eq!(asked.header("docker-distribution-api-version"), None);
}

#[test]
fn many_threads_share_one_token_request() {
    let guarded = Guarded::new(|number, exchange| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        give(number, exchange);
    });
    let repository = Setup::new(&guarded.server.host()).repository(Access::Pull);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| repository.manifest(&tag()).unwrap());
        }
    });
    assert_eq!(guarded.token_lines().len(), 1);
    assert_eq!(
        guarded.token_lines()[0],
        "GET /token?own=1&scope=repository%3Aa%2Ftiny%3Apull&service=svc%2C1"
    );
    assert_eq!(
        guarded
            .server
            .seen()
            .iter()
            .filter(|seen| seen.target == "/v2/")
            .count(),
        1
    );
}

#[test]
fn an_identity_token_is_exchanged() {
    let guarded = Guarded::new(|number, exchange| {
        assert_eq!(
            exchange.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        assert_eq!(exchange.header("authorization"), None);
        exchange.reply(
            "200 OK",
            &[],
            format!("{{\"access_token\":\"t{number}\"}}").as_bytes(),
        );
    });
    let setup = Setup::new(&guarded.server.host())
        .credential(Credential::IdentityToken(Secret::new("refresh/me")));
    setup.repository(Access::Push).manifest(&tag()).unwrap();
    assert_eq!(
        *guarded.forms.lock().unwrap(),
        [
            "client_id=containers%2Fimage&grant_type=refresh_token&refresh_token=refresh%2Fme\
          &scope=repository%3Aa%2Ftiny%3Apull%2Cpush&service=svc%2C1"
        ]
    );
}

#[test]
fn a_ready_token_is_sent_as_it_is() {
    let guarded = Guarded::new(give);
    let setup =
        Setup::new(&guarded.server.host()).credential(Credential::Bearer(Secret::new("tok")));
    setup.repository(Access::Pull).manifest(&tag()).unwrap();
    assert_eq!(guarded.token_lines(), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_tokens_is_said() {
    let check = |status: &'static str, body: &'static str, expected: &str| {
        let guarded = Guarded::new(move |_, exchange| exchange.reply(status, &[], body.as_bytes()));
        let host = guarded.server.host();
        let setup = Setup::new(&host).basic("u", "hunter2");
        let error = setup.repository(Access::Pull).manifest(&tag()).unwrap_err();
        let text = words(&error);
        let text = text
            .strip_prefix(&format!("fetching manifest 1 in {host}/a/tiny: "))
            .unwrap();
        assert_eq!(text.replace(&host, "HOST"), expected);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(
            guarded.token_lines().len(),
            1,
            "token requests are not repeated"
        );
        error
    };
    let error = check(
        "401 Unauthorized",
        "{\"details\":\"bad pass\"}",
        "unable to retrieve auth token: invalid username/password: unauthorized: bad pass",
    );
    assert!(error.is_unauthorized() && !error.is_retryable());
    check(
        "403 Forbidden",
        "{\"errors\":[{\"code\":\"DENIED\"}]}",
        "Requesting bearer token: requested access to the resource is denied",
    );
    check(
        "500 Broken",
        "",
        "Requesting bearer token: received unexpected HTTP status: 500 Broken",
    );
    check("429 Slow", "", "too many requests to registry");
    check(
        "200 OK",
        "<html>",
        "decoding bearer token (last URL \"http://HOST/token\", body start \"<html>\"): expected value at line 1 column 1",
    );
    check(
        "200 OK",
        "{}",
        "the answer of \"http://HOST/token\" contains no bearer token",
    );
    let text = words(&check(
        "200 OK",
        "{\"token\":\"s3cret\",",
        "decoding bearer token (last URL \"http://HOST/token\", body start \"\"): EOF while parsing a value at line 1 column 18",
    ));
    assert!(!text.contains("s3cret"));
}

#[test]
fn challenges_are_answered_in_their_order() {
    // (challenges, credential) -> the Authorization header of the request
    let check =
        |challenges: &'static [&'static str], user: bool, expected: Option<&str>, told: usize| {
            let server = Server::http(move |exchange| {
                if exchange.target == "/v2/" {
                    let headers: Vec<_> = challenges
                        .iter()
                        .map(|value| ("WWW-Authenticate", *value))
                        .collect();
                    exchange.reply("401 Unauthorized", &headers, b"");
                } else {
                    exchange.reply("200 OK", &[], b"{}");
                }
            });
            let mut setup = Setup::new(&server.host());
            if user {
                setup = setup.basic("u", "p");
            }
            let repository = setup.repository(Access::Pull);
            for _ in 0..2 {
                repository.manifest(&tag()).unwrap();
            }
            assert_eq!(
                server.seen().last().unwrap().header("authorization"),
                expected,
                "{challenges:?}"
            );
            assert_eq!(setup.told().len(), told, "{:?}", setup.told());
        };
    check(&["Basic realm=x"], true, Some("Basic dTpw"), 0);
    check(&["Basic realm=x"], false, Some("Basic Og=="), 0);
    check(
        &[
            "Negotiate",
            "Basic realm=x, Bearer realm=\"http://127.0.0.1:1/\"",
        ],
        true,
        Some("Basic dTpw"),
        0,
    );
    check(&["Negotiate, Digest realm=\"x\""], true, None, 1);
    check(&[], true, None, 0);
}

#[test]
fn bad_realms_are_refused() {
    for (challenge, expected) in [
        ("Bearer service=x", "missing realm in bearer auth challenge"),
        (
            "Bearer realm=\"\"",
            "missing realm in bearer auth challenge",
        ),
        (
            "Bearer realm=\"file:///etc\"",
            "invalid realm \"file:///etc\" in bearer auth challenge",
        ),
    ] {
        let server = Server::http(move |exchange| {
            exchange.reply("401 Unauthorized", &[("WWW-Authenticate", challenge)], b"");
        });
        let error = Setup::new(&server.host())
            .repository(Access::Pull)
            .manifest(&tag())
            .unwrap_err();
        assert!(words(&error).ends_with(expected), "{}", words(&error));
    }
}

#[test]
fn a_missing_scope_is_asked_for_once() {
    let wider = "Bearer realm=x,error=\"insufficient_scope\",scope=\"repository:other:pull\"";
    let check = |lenient: bool, expected: &[&str]| {
        let guarded = Guarded::with(give, move |exchange| {
            let bearer = exchange
                .header("authorization")
                .unwrap_or_default()
                .to_owned();
            if lenient && bearer == "Bearer t2" {
                exchange.reply("200 OK", &[], b"{}");
            } else {
                exchange.reply("401 Unauthorized", &[("WWW-Authenticate", wider)], b"");
            }
        });
        let setup = Setup::new(&guarded.server.host());
        let outcome = setup.repository(Access::Pull).manifest(&tag());
        assert_eq!(
            guarded.token_lines(),
            expected
                .iter()
                .map(|scope| format!("GET /token?own=1{scope}&service=svc%2C1"))
                .collect::<Vec<_>>()
        );
        match outcome {
            Ok(_) => assert!(lenient),
            Err(error) => {
                assert!(
                    words(&error).ends_with(": requested access to the resource is denied"),
                    "{}",
                    words(&error)
                );
                assert!(error.is_unauthorized());
            }
        }
    };
    let base = "&scope=repository%3Aa%2Ftiny%3Apull";
    let both = "&scope=repository%3Aa%2Ftiny%3Apull&scope=repository%3Aother%3Apull";
    check(true, &[base, both]);
    check(false, &[base, both]);
}

#[test]
fn a_token_that_ran_out_early_is_renewed() {
    let uses = AtomicUsize::new(0);
    let guarded = Guarded::with(give, move |exchange| {
        let first = exchange.header("authorization") == Some("Bearer t1");
        if first && uses.fetch_add(1, Ordering::SeqCst) > 0 {
            exchange.reply(
                "401 Unauthorized",
                &[("WWW-Authenticate", "Bearer realm=x,error=\"invalid_token\"")],
                b"",
            );
        } else {
            exchange.reply("200 OK", &[], b"{}");
        }
    });
    let repository = Setup::new(&guarded.server.host()).repository(Access::Pull);
    for _ in 0..3 {
        repository.manifest(&tag()).unwrap();
    }
    assert_eq!(guarded.token_lines().len(), 2);
}

#[test]
fn an_old_token_is_not_kept() {
    // The server hands out a token that is good for a hundred seconds, ninety-nine of which are over.
    let guarded = Guarded::new(|number, exchange| {
        let body = format!(
            "{{\"token\":\"t{number}\",\"expires_in\":100,\"issued_at\":\"2026-10-21T07:26:20Z\"}}"
        );
        exchange.reply(
            "200 OK",
            &[("Date", "Wed, 21 Oct 2026 07:28:00 GMT")],
            body.as_bytes(),
        );
    });
    let repository = Setup::new(&guarded.server.host()).repository(Access::Pull);
    for _ in 0..3 {
        repository.manifest(&tag()).unwrap();
    }
    assert_eq!(guarded.token_lines().len(), 3);
}

#[test]
fn logins_are_checked() {
    let guarded = Guarded::with(
        |number, exchange| match exchange.header("authorization") {
            Some("Basic dTpw") => give(number, exchange),
            _ => exchange.reply("401 Unauthorized", &[], b"{\"details\":\"who?\"}"),
        },
        |exchange| exchange.reply("200 OK", &[], b"{}"),
    );
    check_logins(&guarded.server.host());
    let server = Server::http(|exchange| match exchange.header("authorization") {
        Some("Basic dTpw") => exchange.reply("200 OK", &[], b""),
        _ => exchange.reply(
            "401 Unauthorized",
            &[("WWW-Authenticate", "Basic realm=r")],
            b"",
        ),
    });
    check_logins(&server.host());
}

/// One password is right, another is not.
fn check_logins(host: &str) {
    let login = |password| {
        let setup = Setup::new(host).basic("u", password);
        setup.endpoint().check_credentials()
    };
    login("p").unwrap();
    let error = login("wrong").unwrap_err();
    assert_eq!(
        words(&error),
        format!("logging into {host:?}: invalid username/password")
    );
    assert!(error.is_unauthorized());
}

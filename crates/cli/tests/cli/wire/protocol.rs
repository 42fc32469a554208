//! The protocol: tokens, retries, mirrors, transport security, pagination, proxies.

use std::time::{Duration, Instant};

use testkit::authority::Authority;
use testkit::proxy::{Fault, FaultProxy, Rule, status};
use testkit::registry::{Access, Registry, Wire};
use testkit::token::{TokenRules, TokenServer};
use testkit::tunnel::TunnelProxy;
use testkit::web::free_port;

use super::setting::{PLAIN, at, big, id, raw, tiny};
use crate::stage::text;

#[test]
fn peer_22_tokens_are_asked_for_by_scope() {
    let stage = tiny("wire22");
    let tokens = TokenServer::start(TokenRules::default()).unwrap();
    let registry = Registry::start(&Wire::Http, &Access::Tokens(&tokens)).unwrap();
    let place = at(&registry.host(), "a/tiny:1");
    let creds = ["--creds", "u1:pw1"];
    let push = |rest: &str| {
        let place = at(&registry.host(), rest);
        stage
            .cooper(&[&["push", "-q", PLAIN], &creds[..], &["tiny", &place]].concat())
            .ok();
    };
    push("a/tiny:1");
    let seen = tokens.requests();
    assert_eq!(seen.len(), 1, "one token per set of scopes: {seen:#?}");
    assert_eq!(seen[0].scopes, ["repository:a/tiny:pull,push"]);
    assert_eq!(seen[0].user.as_deref(), Some("u1"));
    assert!(seen[0].sent.contains("account=u1") && seen[0].sent.contains("service=test-registry"));

    tokens.change(TokenRules::default());
    push("b/tiny:1");
    let seen = tokens.requests();
    let both = ["repository:b/tiny:pull,push", "repository:a/tiny:pull"];
    assert!(
        seen.iter().any(|request| request.scopes == both),
        "{seen:#?}"
    );

    tokens.change(TokenRules::default());
    stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    let seen = tokens.requests();
    assert_eq!(seen[0].scopes, ["repository:a/tiny:pull"]);
    assert_eq!(
        (seen.len(), seen[0].method.as_str(), seen[0].user.as_deref()),
        (1, "GET", None)
    );

    // An identity token in the auth file is traded by a POST.
    tokens.change(TokenRules::default());
    let auth = stage.write(
        "auth.json",
        &format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"dTE6cHcx\",\"identitytoken\":\"identity-1\"}}}}}}",
            registry.host()
        ),
    );
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    stage
        .cooper_elsewhere(&["pull", "-q", PLAIN, "--authfile", text(&auth), &place])
        .ok();
    let seen = tokens.requests();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].grant_type.as_deref(), Some("refresh_token"));
    assert_eq!(seen[0].refresh_token.as_deref(), Some("identity-1"));
}

#[test]
fn peer_22_a_token_that_allows_too_little_is_replaced() {
    let stage = tiny("wire22b");
    let tokens = TokenServer::start(TokenRules::default()).unwrap();
    let registry = Registry::start(&Wire::Http, &Access::Tokens(&tokens)).unwrap();
    let place = at(&registry.host(), "a/tiny:1");
    stage
        .cooper(&["push", "-q", PLAIN, "--creds", "u1:pw1", "tiny", &place])
        .ok();
    tokens.change(TokenRules {
        worthless: 1,
        ..TokenRules::default()
    });
    stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    let seen = tokens.requests();
    assert!(seen.len() >= 2, "{seen:#?}");
    let wanted = "repository:a/tiny:pull".to_owned();
    assert!(seen[1].scopes.contains(&wanted), "{seen:#?}");
}

#[test]
fn peer_23_what_passes_by_waiting() {
    let (stage, registry) = (tiny("wire23"), Registry::open().unwrap());
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let pull = |words: &[&str]| {
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
        stage.cooper_elsewhere(&[&["pull", PLAIN], words, &[&place]].concat())
    };

    let later = vec![("Retry-After".to_owned(), "1".to_owned())];
    let busy = Fault::Answer(429, later, Vec::new());
    proxy.rule(Rule::new("GET", "/manifests/", busy).times(2));
    let warning = Fault::Header("Warning".to_owned(), "299 - \"moves soon\"".to_owned());
    proxy.rule(Rule::new("", "/v2/", warning));
    let start = Instant::now();
    let said = pull(&[]);
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_secs(8),
        "{took:?}"
    );
    let expected = "Warning from registry (first encountered at ";
    assert_eq!(said.stderr.matches(expected).count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("moves soon"), "{}", said.stderr);
    said.ok();

    proxy.reset();
    proxy.rule(Rule::new("GET", "/manifests/", status(503)).times(1));
    let said = pull(&["--retry", "1", "--retry-delay", "100ms"]);
    assert_eq!(
        said.stderr.matches("Failed, retrying in ").count(),
        1,
        "{said:?}"
    );
    assert!(said.stderr.contains("... (1/1). Error: "), "{said:?}");
    said.ok();
    assert_eq!(proxy.count("GET", "/manifests/1"), 2);

    proxy.reset();
    proxy.rule(Rule::new("GET", "/manifests/", status(500)));
    let stderr = pull(&["--retry", "1", "--retry-delay", "100ms"]).fails(125);
    assert!(!stderr.contains("retrying"), "{stderr}");
    assert!(
        stderr.contains("received unexpected HTTP status: 500 Internal Server Error"),
        "{stderr}"
    );
    assert_eq!(proxy.count("GET", "/manifests/1"), 1);
}

#[test]
fn peer_24_a_cut_download_goes_on() {
    let (stage, registry) = (big("wire24", 8 << 20), Registry::open().unwrap());
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "big:1");
    stage.cooper(&["push", "-q", PLAIN, "big", &place]).ok();
    proxy.reset();
    let layer = raw(&stage, &place)["layers"][0]["digest"].clone();
    let layer = layer.as_str().unwrap();
    proxy.rule(Rule::new("GET", layer, Fault::CutDown(2 << 20)).times(1));
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    assert_eq!(pulled, id(&stage, "big"));
    let ranges: Vec<Option<String>> = proxy
        .requests()
        .into_iter()
        .filter(|seen| seen.target.contains(layer))
        .map(|seen| seen.range)
        .collect();
    assert_eq!(ranges, [None, Some("bytes=2097152-".to_owned())]);
}

#[test]
fn peer_25_mirrors_serve_under_the_original_name() {
    let (stage, registry) = (tiny("wire25"), Registry::open().unwrap());
    let dead = format!("127.0.0.1:{}", free_port().unwrap());
    stage
        .cooper(&[
            "push",
            "-q",
            PLAIN,
            "tiny",
            &at(&registry.host(), "m/lib/tiny:1"),
        ])
        .ok();
    let mirror =
        |host: &str| format!("[[registry.mirror]]\nlocation = \"{host}/m\"\ninsecure = true\n");
    let head = format!(
        "[[registry]]\nprefix = \"main.example\"\nlocation = \"{dead}/main\"\ninsecure = true\n"
    );
    stage.write(
        "registries.conf",
        &format!("{head}{}{}", mirror(&dead), mirror(&registry.host())),
    );
    let pull = [
        "pull",
        "-q",
        "--retry",
        "1",
        "--retry-delay",
        "10ms",
        "main.example/lib/tiny:1",
    ];
    stage.cooper_elsewhere(&pull).ok();
    let names = stage
        .cooper_elsewhere(&["images", "--format", "{{.Name}}:{{.Tag}}"])
        .ok();
    assert_eq!(names, "main.example/lib/tiny:1");

    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    stage.write("registries.conf", &format!("{head}{}", mirror(&dead)));
    let stderr = stage.cooper_elsewhere(&pull).fails(125);
    let expected = format!("(Mirrors also failed: [{dead}/m/lib/tiny:1: ");
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(
        stderr.contains(&format!("]): {dead}/main/lib/tiny:1: ")),
        "{stderr}"
    );

    let blocked = "[[registry]]\nprefix = \"*.wild.example\"\nblocked = true\n";
    stage.write("registries.conf", blocked);
    let expected = format!(
        "registry *.wild.example is blocked in one of [\"{}\"",
        stage.path("registries.conf").display()
    );
    for words in [
        ["pull", "-q", "a.wild.example/x", ""],
        ["push", "-q", "tiny", "docker://b.a.wild.example/x"],
    ] {
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let stderr = stage.cooper(&words).fails(125);
        assert!(stderr.contains(&expected), "{words:?}: {stderr}");
    }
}

#[test]
fn peer_26_plain_http_only_where_allowed() {
    let (stage, registry) = (tiny("wire26"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    let stderr = stage.cooper(&["push", "tiny", &place]).fails(125);
    let told = [
        "http: server gave HTTP response to HTTPS client",
        "tls: first record does not look like a TLS handshake",
    ];
    assert!(told.iter().any(|words| stderr.contains(words)), "{stderr}");
    assert!(!stderr.contains("retrying"), "{stderr}");
    let insecure = format!(
        "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
        registry.host()
    );
    stage.write("registries.conf", &insecure);
    stage.cooper(&["push", "tiny", &place]).ok();
    let stderr = stage
        .cooper(&["push", "--tls-verify=true", "tiny", &place])
        .fails(125);
    assert!(told.iter().any(|words| stderr.contains(words)), "{stderr}");
}

#[test]
fn peer_26_certificates_of_our_own_authority() {
    let stage = tiny("wire26b");
    let authority = Authority::new("an authority of the test").unwrap();
    let server = authority.server(&["127.0.0.1"]).unwrap();
    let registry = Registry::start(&Wire::Tls(&server), &Access::Open).unwrap();
    let place = at(&registry.host(), "a/tiny:1");
    let stderr = stage.cooper(&["push", "tiny", &place]).fails(125);
    assert!(
        stderr.contains("certs.d"),
        "what was read is told: {stderr}"
    );
    stage.write("certs/ca.crt", &authority.pem());
    let certs = stage.path("certs");
    let with_dir = ["push", "--cert-dir", text(&certs), "tiny", &place];
    stage.cooper(&with_dir).ok();

    // The folders of the machine: in a mount namespace where both are the test's own.
    for folder in ["/etc/containers/certs.d", "/etc/docker/certs.d"] {
        let command = stage.cooper_command(&["push", "-q", "tiny", &place]);
        let mut inside = std::process::Command::new("unshare");
        let script = "mkdir -p /etc/containers /etc/docker && mount -t tmpfs tmpfs /etc/containers \
                      && mount -t tmpfs tmpfs /etc/docker && mkdir -p \"$0/$1\" && cp \"$2\" \"$0/$1/ca.crt\" \
                      && shift 2 && exec \"$@\"";
        inside.args(["--mount", "sh", "-ec", script, folder, &registry.host()]);
        inside.arg(stage.path("certs/ca.crt"));
        inside.arg(command.get_program()).args(command.get_args());
        stage.surround(&mut inside);
        crate::stage::said(&mut inside).ok();
    }

    let mutual = Registry::start(&Wire::MutualTls(&server, &authority), &Access::Open).unwrap();
    let place = at(&mutual.host(), "a/tiny:1");
    let with_dir = ["push", "--cert-dir", text(&certs), "tiny", &place];
    assert_ne!(
        stage.cooper(&with_dir).status,
        0,
        "the client must show who it is"
    );
    let client = authority.client("the test").unwrap();
    client.write(&certs, "me").unwrap();
    stage.cooper(&with_dir).ok();
    std::fs::remove_file(certs.join("me.key")).unwrap();
    let stderr = stage.cooper(&with_dir).fails(125);
    let expected = "missing key me.key for client certificate me.cert. Note that CA certificates should use the extension .crt";
    assert!(stderr.contains(expected), "{stderr}");
}

/// Debian's registry has no pages: the proxy answers with them.
#[test]
fn peer_44_all_pages_of_tags_are_read() {
    let (stage, registry) = (tiny("wire44"), Registry::open().unwrap());
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    for tag in ["t1", "t2", "t3"] {
        let place = at(&proxy.host(), &format!("a/tiny:{tag}"));
        stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    }
    let page = |tag: &str, next: Option<&str>| {
        let body = format!("{{\"name\":\"a/tiny\",\"tags\":[\"{tag}\"]}}");
        let link = next.map(|last| {
            let target = format!("</v2/a/tiny/tags/list?n=1&last={last}>; rel=\"next\"");
            ("Link".to_owned(), target)
        });
        Fault::Answer(200, link.into_iter().collect(), body.into_bytes())
    };
    proxy.rule(Rule::new(
        "GET",
        "tags/list?n=1&last=t1",
        page("t2", Some("t2")),
    ));
    proxy.rule(Rule::new("GET", "tags/list?n=1&last=t2", page("t3", None)));
    proxy.rule(Rule::new("GET", "tags/list", page("t1", Some("t1"))));
    let name = format!("{}/a/tiny", proxy.host());
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, "--all-tags", &name]);
    assert_eq!(pulled.ok(), id(&stage, "tiny"), "one speaks for all");
    let again = stage.cooper_elsewhere(&["pull", PLAIN, "--all-tags", &name]);
    assert_eq!(again.stderr, "", "what is here is not fetched again");
    again.ok();
    let tags = stage
        .cooper_elsewhere(&["images", "--format", "{{.Tag}}"])
        .ok();
    let mut tags: Vec<&str> = tags.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["t1", "t2", "t3"]);
    let folder = format!("dir:{}", stage.path("x").display());
    let stderr = stage.cooper(&["pull", "--all-tags", &folder]).fails(125);
    let expected = "pulling all tags is not supported for dir transport";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_45_proxies_of_the_environment() {
    let stage = tiny("wire45");
    let authority = Authority::new("an authority of the test").unwrap();
    let server = authority.server(&["registry.example.com"]).unwrap();
    let registry = Registry::start(&Wire::Tls(&server), &Access::Open).unwrap();
    let proxy = TunnelProxy::start(&registry.host()).unwrap();
    stage.write("certs/ca.crt", &authority.pem());
    let certs = stage.path("certs");
    let push = [
        "push",
        "-q",
        "--cert-dir",
        text(&certs),
        "--retry",
        "0",
        "tiny",
        "docker://registry.example.com/a:1",
    ];
    stage.set("HTTPS_PROXY", proxy.url());
    stage.cooper(&push).ok();
    let targets = proxy.targets();
    assert!(!targets.is_empty());
    assert!(
        targets
            .iter()
            .all(|target| target == "registry.example.com:443"),
        "{targets:?}"
    );
    stage.set("NO_PROXY", "example.com");
    assert_ne!(
        stage.cooper(&push).status,
        0,
        "there is no such host without the proxy"
    );
    assert_eq!(proxy.targets(), targets);
}

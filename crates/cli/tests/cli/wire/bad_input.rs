//! What bad input gets: one clear error, status 125, and a store as it was.

use serde_json::{Value, json};
use testkit::authority::Authority;
use testkit::proxy::{Fault, FaultProxy, Rule};
use testkit::registry::{Access, Registry, Wire};

use super::setting::{OCI, PLAIN, at, raw, tiny};
use crate::stage::{Stage, text};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image at a registry, behind a proxy that changes it.
struct Spoiled {
    stage: Stage,
    _registry: Registry,
    proxy: FaultProxy,
    manifest: Value,
}

impl Spoiled {
    fn new(purpose: &str) -> Self {
        let (stage, registry) = (tiny(purpose), Registry::open().unwrap());
        let proxy = FaultProxy::start(&registry.host()).unwrap();
        let place = at(&proxy.host(), "a/tiny:1");
        stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
        let manifest = raw(&stage, &place);
        Self {
            stage,
            _registry: registry,
            proxy,
            manifest,
        }
    }

    /// Pulls with these rules, which must fail with all of `expected` in one line.
    #[track_caller]
    fn check(&self, rules: Vec<Rule>, expected: &[&str]) {
        self.proxy.reset();
        for rule in rules {
            self.proxy.rule(rule);
        }
        let place = at(&self.proxy.host(), "a/tiny:1");
        let words = [
            "pull",
            PLAIN,
            "--retry",
            "1",
            "--retry-delay",
            "1ms",
            &place,
        ];
        let stderr = self.stage.cooper_elsewhere(&words).fails(125);
        let last = stderr
            .lines()
            .rfind(|line| line.starts_with("Error: "))
            .unwrap_or_default();
        for words in expected {
            assert!(last.contains(words), "{words} in {stderr}");
        }
        assert_eq!(
            stderr.matches("Error: ").count() - stderr.matches(". Error: ").count(),
            1,
            "{stderr}"
        );
        assert_eq!(
            self.stage.cooper_elsewhere(&["images", "-a", "-q"]).ok(),
            ""
        );
        let layers = self.stage.path("root2/overlay-layers/layers.json");
        let layers = std::fs::read_to_string(layers).unwrap_or_default();
        assert!(matches!(layers.trim(), "" | "[]"), "{layers}");
    }

    /// The rules that put another manifest in place of the tag's.
    fn manifest(&self, manifest: &Value) -> Vec<Rule> {
        vec![Rule::new(
            "GET",
            "/manifests/1",
            Fault::Body(manifest.to_string().into_bytes()),
        )]
    }

    fn layer(&self) -> String {
        let digest = &self.manifest["layers"][0]["digest"];
        format!("/blobs/{}", digest.as_str().unwrap())
    }
}

#[test]
fn peer_bad_contents_are_found_out() {
    let spoiled = Spoiled::new("wirebad1");
    let layer = spoiled.layer();
    let digest = spoiled.manifest["layers"][0]["digest"].as_str().unwrap();
    spoiled.check(vec![Rule::new("GET", &layer, Fault::Flip(40))], &[digest]);
    spoiled.check(
        vec![Rule::new(
            "GET",
            &layer,
            Fault::Body(b"not a layer".to_vec()),
        )],
        &[digest],
    );
    spoiled.check(
        vec![Rule::new("GET", &layer, Fault::LieLength(-3))],
        &[digest],
    );
    let mut longer = spoiled.manifest.clone();
    longer["layers"][0]["size"] = (longer["layers"][0]["size"].as_u64().unwrap() + 1).into();
    spoiled.check(spoiled.manifest(&longer), &[digest]);
    let config = spoiled.manifest["config"]["digest"].as_str().unwrap();
    spoiled.check(
        vec![Rule::new("GET", config, Fault::Body(b"{}".to_vec()))],
        &[config],
    );
    spoiled.proxy.reset();
    let by_digest = super::setting::digest(&spoiled.stage, &at(&spoiled.proxy.host(), "a/tiny:1"));
    spoiled
        .proxy
        .rule(Rule::new("GET", "/manifests/sha256:", Fault::Flip(3)));
    let place = at(&spoiled.proxy.host(), &format!("a/tiny@{by_digest}"));
    let stderr = spoiled
        .stage
        .cooper_elsewhere(&["pull", PLAIN, "--retry", "0", &place])
        .fails(125);
    assert!(stderr.contains(&by_digest), "{stderr}");
}

#[test]
fn peer_bad_manifests_are_refused() {
    let spoiled = Spoiled::new("wirebad2");
    let mut both = spoiled.manifest.clone();
    both["manifests"] = json!([]);
    spoiled.check(spoiled.manifest(&both), &["rejecting ambiguous manifest"]);
    let mut odd = spoiled.manifest.clone();
    odd["layers"][0]["mediaType"] = "application/x-something".into();
    spoiled.check(spoiled.manifest(&odd), &["application/x-something"]);
    spoiled.check(
        vec![Rule::new(
            "GET",
            "/manifests/1",
            Fault::Body(b"{\"schemaVersion\":2".to_vec()),
        )],
        &["a/tiny"],
    );
    let mut more = spoiled.manifest.clone();
    let layer = more["layers"][0].clone();
    more["layers"].as_array_mut().unwrap().push(layer);
    spoiled.check(spoiled.manifest(&more), &["layer"]);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [
            {"mediaType": OCI, "size": 100, "digest": format!("sha256:{}", "1".repeat(64)),
             "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": OCI, "size": 100, "digest": format!("sha256:{}", "2".repeat(64)),
             "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
        ],
    });
    let mut rules = spoiled.manifest(&index);
    rules.insert(0, Rule::new("GET", "/nothing", Fault::Drip(1)));
    let typed = Fault::Answer(
        200,
        vec![("Content-Type".to_owned(), INDEX.to_owned())],
        index.to_string().into_bytes(),
    );
    rules[1] = Rule::new("GET", "/manifests/1", typed);
    spoiled.check(
        rules,
        &[
            "no image found in image index",
            "linux/s390x",
            "linux/arm/v7",
        ],
    );
}

#[test]
fn peer_bad_a_lying_diff_id_is_found_out() {
    let spoiled = Spoiled::new("wirebad3");
    let config_digest = spoiled.manifest["config"]["digest"].as_str().unwrap();
    let url = format!(
        "http://{}/v2/a/tiny/blobs/{config_digest}",
        spoiled.proxy.host()
    );
    let config = testkit::curl::body(&[&url]).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config["rootfs"]["diff_ids"][0] = format!("sha256:{}", "3".repeat(64)).into();
    let file = spoiled.stage.write("config", &config.to_string());
    let sum = crate::stage::said(std::process::Command::new("sha256sum").arg(&file)).ok();
    let lying = format!("sha256:{}", sum.split(' ').next().unwrap());
    let mut manifest = spoiled.manifest.clone();
    manifest["config"]["digest"] = lying.as_str().into();
    manifest["config"]["size"] = config.to_string().len().into();
    let mut rules = spoiled.manifest(&manifest);
    let body = config.to_string().into_bytes();
    rules.push(Rule::new(
        "GET",
        &lying,
        Fault::Answer(200, Vec::new(), body),
    ));
    spoiled.check(rules, &["does not match config's DiffID"]);
}

#[test]
fn peer_bad_credentials_say_where_they_came_from() {
    let stage = tiny("wirebad4");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let host = registry.host();
    let push = || stage.cooper(&["push", "-q", PLAIN, "tiny", &at(&host, "a/tiny:1")]);
    let stderr = push().fails(125);
    let file = stage.path("xdg/containers/auth.json");
    for words in ["authentication required", text(&file)] {
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
    // "u1:pw2": it was right once.
    stage.write(
        "xdg/containers/auth.json",
        &format!("{{\"auths\":{{\"{host}/a\":{{\"auth\":\"dTE6cHcy\"}}}}}}"),
    );
    let stderr = push().fails(125);
    for words in ["authentication required", text(&file), &format!("{host}/a")] {
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
}

#[test]
fn peer_bad_tls_says_what_was_read() {
    let stage = tiny("wirebad5");
    let authority = Authority::new("nobody knows it").unwrap();
    let server = authority.server(&["127.0.0.1"]).unwrap();
    let registry = Registry::start(&Wire::Tls(&server), &Access::Open).unwrap();
    let host = registry.host();
    let place = at(&host, "a/tiny:1");
    let stderr = stage.cooper(&["push", "-q", "tiny", &place]).fails(125);
    let user = stage.path(&format!("home/.config/containers/certs.d/{host}"));
    for words in [
        "certificate",
        text(&user),
        &format!("/etc/containers/certs.d/{host}"),
    ] {
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
    // A certificate for another name.
    let wrong = authority.server(&["elsewhere.example.com"]).unwrap();
    let registry = Registry::start(&Wire::Tls(&wrong), &Access::Open).unwrap();
    let host = registry.host();
    stage.write(
        &format!("home/.config/containers/certs.d/{host}/ca.crt"),
        &authority.pem(),
    );
    let stderr = stage
        .cooper(&["push", "-q", "tiny", &at(&host, "a/tiny:1")])
        .fails(125);
    assert!(
        stderr.contains("certificate") && stderr.contains("127.0.0.1"),
        "{stderr}"
    );
}

#[test]
fn peer_bad_configuration_names_its_line() {
    let (stage, registry) = (tiny("wirebad6"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    let check = |file: &str, content: &str, expected: &[&str]| {
        stage.write(file, content);
        let stderr = stage
            .cooper(&["push", "-q", PLAIN, "tiny", &place])
            .fails(125);
        for words in expected {
            assert!(stderr.contains(words), "{words} in {stderr}");
        }
    };
    check(
        "registries.conf",
        "short-name-mode = \"permissive\"\n[[registry]\n",
        &["registries.conf", "2"],
    );
    check(
        "registries.conf",
        "short-name-mode = \"bogus\"\n",
        &["registries.conf", "invalid short-name mode: \"bogus\""],
    );
    stage.write("registries.conf", "");
    check("xdg/containers/auth.json", "{\"auths\":", &["auth.json"]);
    stage.write("xdg/containers/auth.json", "{}");
    let stderr = stage.cooper(&["push", "-q", PLAIN, "tiny", &place]);
    stderr.ok();
    stage.write("registries.conf", "short-nme-mode = \"permissive\"\n");
    let said = stage.cooper(&["push", "-q", PLAIN, "tiny", &place]);
    for words in ["registries.conf:1", "short-nme-mode", "short-name-mode"] {
        assert!(said.stderr.contains(words), "{words} in {}", said.stderr);
    }
    said.ok();
}

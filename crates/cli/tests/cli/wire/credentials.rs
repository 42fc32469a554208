//! Credentials: where they are found, where they are put, and where they never are.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::proxy::{Fault, FaultProxy, Rule};
use testkit::registry::{Access, Registry, Wire};
use testkit::token::{TokenRules, TokenServer};

use super::setting::{PLAIN, at, big, content, empty, tiny};
use crate::stage::{Said, Stage, Store, said, said_to, text};

fn login(stage: &Stage, words: &[&str], password: &str) -> Said {
    let words = [&["login", PLAIN, "-u", "u1", "--password-stdin"], words].concat();
    said_to(&mut stage.cooper_command(&words), password)
}

#[test]
fn peer_27_a_login_is_everybodys() {
    let stage = tiny("wire27");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let host = registry.host();
    let stderr = login(&stage, &[&host], "wrong").fails(125);
    let expected = format!("logging into \"{host}\": invalid username/password");
    assert!(stderr.contains(&expected), "{stderr}");
    let file = stage.path("xdg/containers/auth.json");
    assert!(!file.exists(), "nothing is stored");

    assert_eq!(login(&stage, &[&host], "pw1\n").ok(), "Login Succeeded!");
    let expected = format!(
        "{{\n\t\"auths\": {{\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"dTE6cHcx\"\n\t\t}}\n\t}}\n}}"
    );
    assert_eq!(content(&stage, "xdg/containers/auth.json"), expected);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let place = at(&host, "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let listed = stage.skopeo(&[
        "list-tags",
        PLAIN,
        "--authfile",
        text(&file),
        &at(&host, "a/tiny"),
    ]);
    assert!(listed.ok().contains("\"1\""));
    assert_eq!(stage.podman(&["login", "--get-login", &host]).ok(), "u1");
    assert_eq!(stage.cooper(&["login", "--get-login", &host]).ok(), "u1");
    let again = stage.cooper(&["login", PLAIN, &host]).ok();
    assert!(
        again.contains(&format!(
            "Existing credentials are valid. Already logged in to {host}"
        )),
        "{again}"
    );

    let expected = format!("Removed login credentials for {host}");
    assert_eq!(stage.cooper(&["logout", &host]).ok(), expected);
    assert_eq!(
        content(&stage, "xdg/containers/auth.json"),
        "{\n\t\"auths\": {}\n}"
    );
    let stderr = stage.cooper(&["logout", &host]).fails(125);
    assert!(
        stderr.contains(&format!("not logged into {host}")),
        "{stderr}"
    );
    stage
        .podman(&["login", PLAIN, "-u", "u1", "-p", "pw1", &host])
        .ok();
    assert_eq!(stage.cooper(&["login", "--get-login", &host]).ok(), "u1");
}

#[test]
fn peer_28_keys_of_one_repository() {
    let stage = tiny("wire28");
    let registry = Registry::with_passwords(&[("u1", "pw1"), ("u2", "pw2")]).unwrap();
    let host = registry.host();
    let key = format!("{host}/ns/repo");
    assert_eq!(login(&stage, &[&key], "pw1").ok(), "Login Succeeded!");
    let push = |rest: &str| stage.cooper(&["push", "-q", PLAIN, "tiny", &at(&host, rest)]);
    push("ns/repo:1").ok();
    push("ns/repo/below:1").ok();
    let stderr = push("ns/other:1").fails(125);
    assert!(stderr.contains("authentication required"), "{stderr}");
    assert!(
        stderr.contains("auth.json"),
        "the files that were read are told: {stderr}"
    );
    assert_eq!(
        stage.cooper(&["logout", &key]).ok(),
        format!("Removed login credentials for {key}")
    );
    push("ns/repo:2").fails(125);
}

/// A helper that keeps one entry in a file and notes what it was asked.
const HELPER: &str = "#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")\"\necho \"$1\" >> asked\n\
    case $1 in\nstore) cat > kept ;;\nget) if [ -e kept ]; then cat kept; else echo 'credentials not found in native keychain'; exit 1; fi ;;\n\
    erase) rm -f kept ;;\nlist) echo '{}' ;;\nesac\n";

#[test]
fn peer_28_credential_helpers() {
    let stage = tiny("wire28b");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let host = registry.host();
    let helper = stage.write("bin/docker-credential-x", HELPER);
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    stage.set("PATH", format!("{}:{path}", stage.path("bin").display()));
    let helpers = format!("{{\"credHelpers\":{{\"{host}\":\"x\"}}}}");
    stage.write("xdg/containers/auth.json", &helpers);
    let asked = || content(&stage, "bin/asked");
    assert_eq!(login(&stage, &[&host], "pw1").ok(), "Login Succeeded!");
    assert!(asked().ends_with("store\n"), "{}", asked());
    let kept: serde_json::Value = serde_json::from_str(&content(&stage, "bin/kept")).unwrap();
    assert_eq!(
        (&kept["Username"], &kept["Secret"]),
        (&"u1".into(), &"pw1".into())
    );
    assert!(!content(&stage, "xdg/containers/auth.json").contains("dTE6cHcx"));
    let place = at(&host, "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    assert!(asked().ends_with("get\n"), "{}", asked());
    stage.cooper(&["logout", &host]).ok();
    assert!(asked().ends_with("erase\n"), "{}", asked());

    // Buildah ignores `credsStore`; ours asks it.
    stage.write(
        "xdg/containers/auth.json",
        "{\"auths\":{},\"credsStore\":\"x\"}",
    );
    stage.write(
        "bin/kept",
        &format!("{{\"ServerURL\":\"{host}\",\"Username\":\"u1\",\"Secret\":\"pw1\"}}"),
    );
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    std::fs::remove_file(helper).unwrap();
    stage.write("xdg/containers/auth.json", &helpers);
    let stderr = stage
        .cooper(&["push", "-q", PLAIN, "tiny", &place])
        .fails(125);
    let expected = "exec: \"docker-credential-x\": executable file not found in $PATH";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_28_dockers_own_file() {
    let stage = tiny("wire28c");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let host = registry.host();
    let entry = "{\"auth\":\"dTE6cHcx\"}";
    stage.write(
        "home/.docker/config.json",
        &format!("{{\"auths\":{{\"{host}\":{entry}}}}}"),
    );
    let push = || stage.cooper(&["push", "-q", PLAIN, "tiny", &at(&host, "a/tiny:1")]);
    push().ok();
    stage.write(
        "home/.docker/config.json",
        &format!("{{\"auths\":{{\"https://index.docker.io/v1/\":{entry}}}}}"),
    );
    assert_eq!(
        stage.cooper(&["login", "--get-login", "docker.io"]).ok(),
        "u1"
    );
    push().fails(125);
    // DOCKER_CONFIG hides the other files, REGISTRY_AUTH_FILE hides it in turn.
    stage.write(
        "docker/config.json",
        &format!("{{\"auths\":{{\"http://{host}/v1/\":{entry}}}}}"),
    );
    stage.set("DOCKER_CONFIG", text(&stage.path("docker")));
    push().ok();
    let none = stage.write("none.json", "{}");
    stage.set("REGISTRY_AUTH_FILE", text(&none));
    push().fails(125);
}

#[test]
fn peer_29_what_is_refused() {
    let stage = tiny("wire29");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let place = at(&registry.host(), "a/tiny:1");
    let stderr = stage
        .cooper(&["push", PLAIN, "--creds", "u1:bad", "tiny", &place])
        .fails(125);
    assert!(stderr.contains("authentication required"), "{stderr}");
    assert!(!stderr.contains("bad"), "{stderr}");
    let stderr = stage
        .cooper(&["push", PLAIN, "--authfile", "/nonexistent", "tiny", &place])
        .fails(125);
    let expected =
        "credential file is not accessible: faccessat /nonexistent: no such file or directory";
    assert!(stderr.contains(expected), "{stderr}");
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
    };
    check(&["login"], "please specify a registry to login to");
    check(
        &["login", "a", "b"],
        "too many arguments, login takes only 1 argument",
    );
    check(
        &["login", "--password-stdin", "a"],
        "Must provide --username with --password-stdin",
    );
    check(&["logout"], "registry must be given");
    check(&["logout", "--all", "a"], "--all takes no arguments");
}

/// Every command line that a process of ours ever had while the closure ran.
fn command_lines_during(canary: &str, work: impl FnOnce()) -> BTreeSet<String> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut found = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    for name in ["cmdline", "environ"] {
                        let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
                        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
                        if line.contains(canary) {
                            found.insert(line);
                        }
                    }
                }
            }
            found
        });
        work();
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    })
}

#[test]
fn peer_29_a_password_is_never_seen() {
    let canary = "kanarienvogel7313";
    let encoded = "dTE6a2FuYXJpZW52b2dlbDczMTM=";
    let stage = big("wire29b", 2 << 20);
    let tokens = TokenServer::start(TokenRules {
        users: vec![("u1".to_owned(), canary.to_owned())],
        identity_tokens: vec![format!("id-{canary}")],
        anonymous: false,
        ..TokenRules::default()
    })
    .unwrap();
    let bearer = Registry::start(&Wire::Http, &Access::Tokens(&tokens)).unwrap();
    let basic = Registry::with_passwords(&[("u1", canary)]).unwrap();
    let mut outputs = Vec::new();
    let lines = command_lines_during(canary, || {
        for registry in [&bearer, &basic] {
            let proxy = FaultProxy::start(&registry.host()).unwrap();
            let host = proxy.host();
            let mut run = |words: &[&str], input: &str| {
                let words = [&["--log-level", "trace"], words].concat();
                outputs.push(said_to(&mut stage.cooper_command(&words), input));
            };
            run(
                &["login", "-v", PLAIN, "-u", "u1", "--password-stdin", &host],
                canary,
            );
            let place = at(&host, "a/big:1");
            run(&["push", PLAIN, "big", &place], "");
            proxy.rule(Rule::new("GET", "/blobs/", Fault::CutDown(1 << 20)).times(1));
            run(&["pull", PLAIN, "--policy", "always", &place], "");
            run(&["info", "--config"], "");
            run(&["login", "--get-login", &host], "");
            run(&["login", PLAIN, &host], "");
            run(&["pull", PLAIN, &at(&host, "a/nosuch:1")], "");
            proxy.rule(Rule::new(
                "",
                "/v2/",
                Fault::Answer(401, Vec::new(), Vec::new()),
            ));
            run(
                &["push", PLAIN, "--retry", "0", "big", &at(&host, "b/big:1")],
                "",
            );
            run(&["pull", PLAIN, "--retry", "0", &place], "");
            run(&["logout", &host], "");
        }
    });
    assert_eq!(lines, BTreeSet::new());
    assert_eq!(outputs[1].status, 0, "{:?}", outputs[1]);
    for said in &outputs {
        for word in [canary, encoded] {
            let all = format!("{}{}", said.stdout, said.stderr);
            assert!(!all.contains(word), "{all}");
        }
    }
    // And in a file that is broken just there.
    let file = stage.write(
        "auth.json",
        &format!("{{\"auths\":{{\"x\":{{\"auth\":\"{encoded}"),
    );
    let place = at(&basic.host(), "a/big:1");
    let words = ["push", PLAIN, "--authfile", text(&file), "big", &place];
    let stderr = said(&mut stage.cooper_on(Store::Here, &words)).fails(125);
    assert!(
        stderr.contains("auth.json") && !stderr.contains(encoded),
        "{stderr}"
    );
}

/// Commands that need no rights open no store: its folder is not even made.
#[test]
fn peer_29_login_opens_no_store() {
    let stage = empty("wire29c");
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    login(&stage, &[&registry.host()], "pw1").ok();
    stage.cooper(&["logout", "--all"]).ok();
    assert!(!stage.path("root").exists());
}

//! Encryption, what is remembered of blobs, and containers.conf.

use std::process::Command;

use testkit::registry::Registry;

use super::setting::{PLAIN, at, big, tiny};
use crate::stage::said;

/// The layers of an image are not encrypted yet; whoever asks for it is not left without.
#[test]
fn peer_40_encryption_is_refused_by_name() {
    let (stage, registry) = (tiny("wire40"), Registry::open().unwrap());
    let place = at(&registry.host(), "e:1");
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
    };
    check(
        &[
            "push",
            PLAIN,
            "--encryption-key",
            "jwe:pub.pem",
            "tiny",
            &place,
        ],
        "--encryption-key is not supported yet",
    );
    check(
        &["pull", PLAIN, "--decryption-key", "priv.pem", &place],
        "--decryption-key is not supported yet",
    );
    assert!(
        !registry
            .requests()
            .iter()
            .any(|request| request.method == "PUT")
    );
}

/// Debian's tools keep this cache in another file; what can be tried is that it is never needed.
#[test]
fn peer_41_a_cache_that_cannot_be_used_stops_nothing() {
    let (stage, registry) = (big("wire41", 1 << 20), Registry::open().unwrap());
    let push = |rest: &str, spoil: &str| {
        let command =
            stage.cooper_command(&["push", "-q", PLAIN, "big", &at(&registry.host(), rest)]);
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-ec"]);
        inside.arg(format!(
            "mkdir -p /var/lib/containers/cache; {spoil}; exec \"$@\""
        ));
        inside
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args());
        stage.surround(&mut inside);
        said(&mut inside).ok();
    };
    let cache = "/var/lib/containers/cache";
    push("a:1", &format!("mount -t tmpfs tmpfs {cache}"));
    push("b:1", &format!("mount -t tmpfs -o ro tmpfs {cache}"));
    push(
        "c:1",
        &format!("mount -t tmpfs tmpfs {cache}; echo garbage > {cache}/blob-info-cache-v1.sqlite"),
    );
}

#[test]
fn peer_42_containers_conf_has_one_main_file() {
    let stage = tiny("wire42");
    let folder = stage.path("home/.config/containers");
    std::fs::create_dir_all(folder.join("containers.conf.d")).unwrap();
    let shown = |name: &str| {
        let mut command = stage.cooper_command(&["info", "--config"]);
        command.env_remove("CONTAINERS_CONF");
        let all = said(&mut command).ok();
        let line = all.lines().find(|line| line.contains(name));
        line.unwrap_or_else(|| panic!("{name} in {all}")).to_owned()
    };
    stage.write(
        "home/.config/containers/containers.conf",
        "[engine]\nretry = 7\n",
    );
    let line = shown("engine.retry");
    assert!(
        line.contains('7') && line.contains("containers.conf:2"),
        "{line}"
    );
    stage.write(
        "home/.config/containers/containers.conf.d/10-a.conf",
        "[engine]\nretry = 8\n",
    );
    let line = shown("engine.retry");
    assert!(line.contains('8') && line.contains("10-a.conf:2"), "{line}");
    // Of two drop-ins of one name that of the user counts, even when it is empty.
    stage.write("home/.config/containers/containers.conf.d/10-a.conf", "");
    assert!(shown("engine.retry").contains('7'));
    stage.write(
        "home/.config/containers/containers.conf",
        "[containers]\ndns_servers = [\"192.0.2.1\"]\n",
    );
    stage.write(
        "home/.config/containers/containers.conf.d/20-b.conf",
        "[containers]\ndns_servers = [\"192.0.2.2\", {append=true}]\n",
    );
    let line = shown("containers.dns_servers");
    assert!(
        line.contains("192.0.2.1") && line.contains("192.0.2.2"),
        "{line}"
    );

    let mut command = stage.cooper_command(&["version"]);
    let said = said(command.env("CONTAINERS_CONF", "/nonexistent.conf"));
    assert!(said.fails(1).contains("/nonexistent.conf"));
}

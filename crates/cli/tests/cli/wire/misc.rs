//! Encryption, what is remembered of blobs, and containers.conf.

use std::process::Command;

use testkit::registry::Registry;

use super::setting::{PLAIN, at, big, id, layer_types, raw, tiny};
use crate::stage::{said, text};

#[test]
fn peer_40_encrypted_layers_go_both_ways() {
    let (stage, registry) = (tiny("wire40"), Registry::open().unwrap());
    let key = stage.path("priv.pem");
    let public = stage.path("pub.pem");
    said(Command::new("openssl").args(["genrsa", "-out", text(&key), "2048"])).ok();
    said(Command::new("openssl").args([
        "rsa",
        "-in",
        text(&key),
        "-pubout",
        "-out",
        text(&public),
    ]))
    .ok();
    let encrypt = format!("jwe:{}", public.display());
    let ours = at(&registry.host(), "e:1");
    stage
        .cooper(&["push", PLAIN, "--encryption-key", &encrypt, "tiny", &ours])
        .ok();
    let manifest = raw(&stage, &ours);
    let types = layer_types(&manifest);
    assert!(types[0].ends_with("+encrypted"), "{types:?}");
    let layout = format!("oci:{}:1", stage.path("e").display());
    stage
        .skopeo(&[
            "copy",
            "-q",
            "--decryption-key",
            text(&key),
            "--src-tls-verify=false",
            &ours,
            &layout,
        ])
        .ok();
    let stderr = stage.cooper_elsewhere(&["pull", PLAIN, &ours]).fails(125);
    let told = ["does not match config's DiffID", "private key"];
    assert!(told.iter().any(|words| stderr.contains(words)), "{stderr}");
    let theirs = at(&registry.host(), "e:2");
    stage
        .skopeo(&[
            "copy",
            "-q",
            "--encryption-key",
            &encrypt,
            "--dest-tls-verify=false",
            &layout,
            &theirs,
        ])
        .ok();
    let pulled = stage
        .cooper_elsewhere(&["pull", "-q", PLAIN, "--decryption-key", text(&key), &theirs])
        .ok();
    assert_eq!(pulled, id(&stage, "tiny"));
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

//! What is remembered of blobs, and containers.conf.

use std::process::Command;

use testkit::registry::Registry;

use super::setting::{PLAIN, at, big, tiny};
use crate::stage::said;

/// Where root's Go tools keep what they know of blobs.
const CACHE: &str = "/var/lib/containers/cache";

/// What `sqlite3 FILE .schema` prints of the file that Skopeo 1.18 makes there.
const SCHEMA: &str = include_str!("blob-info-cache.schema");

/// Debian's tools keep this cache in another file; what can be tried is that ours is that of newer ones, and is never
/// needed.
#[test]
fn peer_41_the_blob_info_cache_is_that_of_the_go_tools() {
    let (stage, registry) = (big("wire41", 1 << 20), Registry::open().unwrap());
    let kept = stage.path("blob-info-cache-v1.sqlite");
    let file = format!("{CACHE}/blob-info-cache-v1.sqlite");
    // Each push has a file system of its own at the usual place.
    let push = |rest: &str, before: &str, after: &str| {
        let earlier = registry.requests().len();
        let command =
            stage.cooper_command(&["push", "-q", PLAIN, "big", &at(&registry.host(), rest)]);
        let mut words: Vec<_> = command.get_args().collect();
        let own = words.iter().position(|word| *word == "--blob-info-cache");
        let own = own.expect("the flag that keeps tests from the usual place");
        words.drain(own..own + 2);
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-ec"]);
        inside.arg(format!(
            "mount -t tmpfs tmpfs /var/lib; {before}; \"$@\" >/dev/null; {after}"
        ));
        inside.arg("sh").arg(command.get_program()).args(words);
        stage.surround(&mut inside);
        let printed = said(&mut inside).ok();
        let requests = registry.requests().split_off(earlier);
        let mounts = requests
            .iter()
            .filter(|request| request.target.contains("mount="));
        (printed, mounts.count())
    };
    let sqlite = |query: &str| said(Command::new("sqlite3").arg(&kept).arg(query)).ok();

    let keep = format!("stat -c %a {CACHE} {file}; cp {file} {}", kept.display());
    let (modes, _) = push("a:1", ":", &keep);
    assert_eq!(modes, "700\n644");
    assert_eq!(sqlite(".schema"), SCHEMA.trim_end());
    let host = registry.host();
    assert_eq!(
        sqlite("SELECT transport, scope, location FROM KnownLocations"),
        format!("docker|{host}|{host}/a")
    );
    assert_eq!(
        sqlite("SELECT compressor FROM DigestCompressors ORDER BY compressor"),
        "gzip\nuncompressed"
    );

    let warm = format!("mkdir -p {CACHE}; cp {} {file}", kept.display());
    let read_only = "mount -o remount,ro /var/lib";
    assert_eq!(push("b:1", &warm, ":").1, 1);
    assert_eq!(push("c:1", &format!("{warm}; {read_only}"), ":").1, 1);
    assert_eq!(push("d:1", read_only, ":").1, 0);
    let garbage = format!("mkdir -p {CACHE}; echo garbage > {file}");
    let (left, mounts) = push("e:1", &garbage, &format!("cat {file}"));
    assert_eq!((left.as_str(), mounts), ("garbage", 0));
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

    // The user's file hides those of the system, which are not even opened.
    let others = "/usr/share/containers/containers.conf";
    assert!(std::path::Path::new(others).exists(), "{others} is missing");
    let command = stage.cooper_command(&["info"]);
    let trace = stage.path("trace");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", "trace=open,openat,openat2", "-o"]);
    traced.arg(&trace).arg(command.get_program());
    stage.surround(traced.args(command.get_args()));
    said(traced.env_remove("CONTAINERS_CONF")).ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    let opened: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("/containers.conf\""))
        .collect();
    assert!(
        matches!(opened[..], [only] if only.contains("home/.config/containers/containers.conf")),
        "{opened:?}"
    );

    let mut command = stage.cooper_command(&["version"]);
    let said = said(command.env("CONTAINERS_CONF", "/nonexistent.conf"));
    assert!(said.fails(1).contains("/nonexistent.conf"));
}

//! The transports that are files, the Docker daemon, and the store that we share.

use std::process::Command;

use testkit::daemon::Daemon;
use testkit::registry::Registry;

use super::setting::{PLAIN, at, id, make, raw, tiny};
use crate::stage::{Said, Store, ended, said, text};

/// The names in a store, one per line.
fn names(said: Said) -> Vec<String> {
    said.ok().lines().map(str::to_owned).collect()
}

const NAMES: [&str; 3] = ["images", "--format", "{{.Name}}:{{.Tag}}"];
const PODMAN_NAMES: [&str; 3] = ["images", "--format", "{{.Repository}}:{{.Tag}}"];

fn tool(program: &str, words: &[&str]) -> Said {
    said(Command::new(program).args(words))
}

#[test]
fn peer_11_oci_layouts() {
    let stage = tiny("wire11");
    let layout = stage.path("l");
    let place = format!("oci:{}:v1", layout.display());
    stage.cooper(&["push", "tiny", &place]).ok();
    assert_eq!(tool("umoci", &["ls", "--layout", text(&layout)]).ok(), "v1");
    let copy = format!("dir:{}", stage.path("d").display());
    stage.skopeo(&["copy", "-q", &place, &copy]).ok();
    stage.cooper_elsewhere(&["pull", &place]).ok();
    assert_eq!(
        names(stage.cooper_elsewhere(&NAMES)),
        ["docker.io/library/v1:latest"]
    );
}

#[test]
fn peer_12_oci_archives() {
    let stage = tiny("wire12");
    let file = stage.path("o.tar");
    let place = format!("oci-archive:{}:v1", file.display());
    stage.cooper(&["push", "tiny", &place]).ok();
    let members = tool("tar", &["-tf", text(&file)]).ok();
    for member in ["blobs/", "blobs/sha256/", "index.json", "oci-layout"] {
        assert!(
            members.lines().any(|line| line == member),
            "{member} in {members}"
        );
    }
    let loaded = stage
        .podman_on(Store::Elsewhere, &["load", "-q", "-i", text(&file)])
        .ok();
    assert!(loaded.contains("localhost/v1:latest"), "{loaded}");
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    stage
        .cooper_elsewhere(&["pull", &format!("oci-archive:{}", file.display())])
        .ok();
    assert_eq!(
        names(stage.cooper_elsewhere(&NAMES)),
        ["localhost/v1:latest"]
    );
}

#[test]
fn peer_13_docker_archives() {
    let stage = tiny("wire13");
    let file = stage.path("d.tar");
    let place = format!("docker-archive:{}:foo/bar:v2", file.display());
    stage.cooper(&["push", "tiny", &place]).ok();
    stage
        .podman_on(Store::Elsewhere, &["load", "-q", "-i", text(&file)])
        .ok();
    let mut loaded = names(stage.podman_on(Store::Elsewhere, &PODMAN_NAMES));
    loaded.sort();
    assert_eq!(loaded, ["docker.io/foo/bar:v2", "localhost/tiny:latest"]);
    let tags = format!("docker-archive:{}", file.display());
    let listed = stage.skopeo(&["list-tags", &tags]).ok();
    assert!(listed.contains("docker.io/foo/bar:v2"), "{listed}");
    let daemon = Daemon::start().unwrap();
    let docker = ended(daemon.docker(&["load", "-i", text(&file)]).unwrap());
    assert!(docker.ok().contains("foo/bar:v2"));
    let stderr = stage.cooper(&["push", "tiny", &place]).fails(125);
    let expected = "docker-archive doesn't support modifying existing images";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_14_the_docker_daemon() {
    let (stage, daemon) = (tiny("wire14"), Daemon::start().unwrap());
    let command = stage.cooper_command(&["push", "tiny", "docker-daemon:foo/bar:v2"]);
    said(&mut daemon.at_the_usual_place(&command)).ok();
    let found = ended(daemon.docker(&["image", "inspect", "foo/bar:v2"]).unwrap()).ok();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found[0]["Id"], format!("sha256:{}", id(&stage, "tiny")));
    let command = stage.cooper_on(
        Store::Elsewhere,
        &["pull", "-q", "docker-daemon:foo/bar:v2"],
    );
    let pulled = said(&mut daemon.at_the_usual_place(&command)).ok();
    assert_eq!(
        names(stage.cooper_elsewhere(&NAMES)),
        ["docker.io/foo/bar:v2"]
    );
    let inspected = stage
        .cooper_elsewhere(&["inspect", "--type", "image", &pulled])
        .ok();
    let layer = found[0]["RootFS"]["Layers"][0].as_str().unwrap();
    assert!(inspected.contains(layer), "{layer} in {inspected}");
    let by_id = format!("docker-daemon:sha256:{}", id(&stage, "tiny"));
    let command = stage.cooper_command(&["push", "tiny", &by_id]);
    let stderr = said(&mut daemon.at_the_usual_place(&command)).fails(125);
    let expected = "a destination must be a name:tag";
    assert!(stderr.contains(expected), "{stderr}");
}

/// Docker 20.10 writes its own form alone; the hybrid of newer ones is read in `transfer`'s tests.
#[test]
fn peer_15_archives_that_others_saved() {
    let (stage, daemon) = (tiny("wire15"), Daemon::start().unwrap());
    let file = stage.path("d.tar");
    let place = format!("docker-archive:{}:foo/bar:v2", file.display());
    stage.cooper(&["push", "tiny", &place]).ok();
    ended(daemon.docker(&["load", "-i", text(&file)]).unwrap()).ok();
    let saved = stage.path("a.tar");
    ended(
        daemon
            .docker(&["save", "foo/bar:v2", "-o", text(&saved)])
            .unwrap(),
    )
    .ok();
    let saved = format!("docker-archive:{}", saved.display());
    let pulled = stage.cooper_elsewhere(&["pull", "-q", &saved]).ok();
    assert_eq!(pulled, id(&stage, "tiny"));
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();

    make(&stage, "other", "FROM scratch\nCOPY h.txt /other\n");
    let multi = stage.path("m.tar");
    stage
        .podman(&[
            "save",
            "-q",
            "-m",
            "-o",
            text(&multi),
            "localhost/tiny",
            "localhost/other",
        ])
        .ok();
    let multi = format!("docker-archive:{}", multi.display());
    stage.cooper_elsewhere(&["pull", "-q", &multi]).ok();
    let mut pulled = names(stage.cooper_elsewhere(&NAMES));
    pulled.sort();
    assert_eq!(pulled, ["localhost/other:latest", "localhost/tiny:latest"]);
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    stage
        .cooper_elsewhere(&["pull", "-q", &format!("{multi}:@1")])
        .ok();
    let pulled = names(stage.cooper_elsewhere(&NAMES));
    assert_eq!(pulled, ["localhost/other:latest"]);
}

#[test]
fn peer_16_plain_folders() {
    let (stage, registry) = (tiny("wire16"), Registry::open().unwrap());
    let folder = format!("dir:{}", stage.path("dd").display());
    stage.cooper(&["push", "tiny", &folder]).ok();
    let place = at(&registry.host(), "dd:1");
    stage
        .skopeo(&["copy", "-q", "--dest-tls-verify=false", &folder, &place])
        .ok();
    assert_eq!(raw(&stage, &place)["schemaVersion"], 2);
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    assert_eq!(pulled, id(&stage, "tiny"));
    stage.write("precious/data", "1\n");
    let precious = format!("dir:{}", stage.path("precious").display());
    let stderr = stage.cooper(&["push", "tiny", &precious]).fails(125);
    let expected = "not a containers image directory, don't want to overwrite important data";
    assert!(stderr.contains(expected), "{stderr}");
    assert_eq!(super::setting::content(&stage, "precious/data"), "1\n");
}

#[test]
fn peer_17_one_store_for_all() {
    let stage = tiny("wire17");
    let folder = format!("dir:{}", stage.path("dd").display());
    stage.cooper(&["push", "tiny", &folder]).ok();
    stage.skopeo(&["copy", "-q", &folder, "STORE:x:1"]).ok();
    let ours = names(stage.cooper(&NAMES));
    assert!(
        ours.contains(&"docker.io/library/x:1".to_owned()),
        "{ours:?}"
    );
    let theirs = names(stage.podman(&PODMAN_NAMES));
    assert!(
        theirs.contains(&"localhost/tiny:latest".to_owned()),
        "{theirs:?}"
    );
}

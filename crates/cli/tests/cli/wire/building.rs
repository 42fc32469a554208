//! What a Containerfile and a commit name may be anywhere, and what touches no store.

use std::process::Command;

use testkit::registry::Registry;

use super::setting::{OCI, PLAIN, at, content, digest, id, raw, tiny};
use crate::stage::{Store, said, text};

#[test]
fn peer_done_builds_fetch_what_they_name() {
    let (stage, registry) = (tiny("wirebuild"), Registry::open().unwrap());
    let host = registry.host();
    stage
        .cooper(&["push", "-q", PLAIN, "tiny", &at(&host, "a/tiny:1")])
        .ok();
    let layout = format!("oci:{}:1", stage.path("layout").display());
    stage.cooper(&["push", "-q", "tiny", &layout]).ok();
    let digest = digest(&stage, &at(&host, "a/tiny:1"));
    let file = stage.write(
        "Containerfile.far",
        &format!(
            "FROM {layout} AS near\nFROM {host}/a/tiny:1\nCOPY --from={host}/a/tiny@{digest} /h.txt /copied\n\
             COPY --from=near /h.txt /near\nCOPY --from=named /h.txt /named\n"
        ),
    );
    let context = stage.path("context");
    let named = format!("named=docker://{host}/a/tiny:1");
    let words = [
        "build",
        "-q",
        PLAIN,
        "--build-context",
        &named,
        "-t",
        "far",
        "-f",
        text(&file),
        text(&context),
    ];
    said(&mut stage.cooper_on(Store::Elsewhere, &words)).ok();
    let container = stage.cooper_elsewhere(&["from", "far"]).ok();
    let mount = stage.cooper_elsewhere(&["mount", &container]).ok();
    for name in ["h.txt", "copied", "near", "named"] {
        let path = std::path::Path::new(&mount).join(name);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hello\n", "{name}");
    }
    stage.cooper_elsewhere(&["umount", &container]).ok();
}

#[test]
fn peer_done_a_commit_goes_to_a_registry() {
    let (stage, registry) = (tiny("wirecommit"), Registry::open().unwrap());
    let container = stage.cooper(&["from", "tiny"]).ok();
    let file = stage.write("more", "more\n");
    stage
        .cooper(&["copy", &container, text(&file), "/more"])
        .ok();
    let place = at(&registry.host(), "committed:1");
    stage
        .cooper(&["commit", "-q", PLAIN, &container, &place])
        .ok();
    let manifest = raw(&stage, &place);
    assert_eq!(manifest["mediaType"], OCI);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn peer_done_buildahs_name_does_the_same() {
    let (stage, registry) = (tiny("wirename"), Registry::open().unwrap());
    let buildah = stage.path("buildah");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cooper"), &buildah).unwrap();
    let place = at(&registry.host(), "a/tiny:1");
    let run = |store: Store, words: &[&str]| {
        let ours = stage.cooper_on(store, words);
        let mut command = Command::new(&buildah);
        command.args(ours.get_args());
        stage.surround(&mut command);
        said(&mut command).ok()
    };
    run(
        Store::Here,
        &["push", PLAIN, "--digestfile", "d", "tiny", &place],
    );
    assert_eq!(content(&stage, "d"), digest(&stage, &place));
    let pulled = run(Store::Elsewhere, &["pull", PLAIN, &place]);
    assert_eq!(pulled, id(&stage, "tiny"));
}

#[test]
fn peer_done_what_is_far_needs_no_store() {
    let (stage, registry) = (tiny("wirenostore"), Registry::open().unwrap());
    let host = registry.host();
    stage.cooper(&["manifest", "create", "m", "tiny"]).ok();
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "m", &at(&host, "m:1")])
        .ok();
    let name = format!("{host}/m:1");
    let shown = stage
        .cooper_elsewhere(&["manifest", "inspect", PLAIN, &name])
        .ok();
    assert!(shown.contains("\"manifests\""), "{shown}");
    assert!(!stage.path("root2/overlay-images").exists());
}

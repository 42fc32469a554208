//! `source`: images of what an image was built from, ours and Buildah's.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::registry::Registry;
use testkit::scratch::Scratch;

use crate::stage::{Said, Stage, said, text};
use crate::wire::setting::{PLAIN, empty, tiny};

/// Our program in a folder, without a store.
fn source(at: &Scratch, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
    said(command.arg("source").args(words).current_dir(at.path()))
}

/// The manifest that the layout's only entry leads to, and that entry.
fn manifest(layout: &Path) -> (Value, Value) {
    let read = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let index: Value = read(&layout.join("index.json"));
    let [entry] = index["manifests"].as_array().unwrap().as_slice() else {
        panic!("{index}");
    };
    let hex = entry["digest"].as_str().unwrap().replace("sha256:", "");
    (read(&layout.join("blobs/sha256").join(hex)), entry.clone())
}

/// The members of the layers, from the first artifact on.
fn members(layout: &Path) -> Vec<String> {
    let (manifest, _) = manifest(layout);
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let list = |layer: Value| {
        let hex = layer["digest"].as_str().unwrap().replace("sha256:", "");
        let blob = layout.join("blobs/sha256").join(hex);
        let listed = said(Command::new("tar").args(["-tzf", text(&blob)])).ok();
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    layers.into_iter().flat_map(list).collect()
}

fn with_artifacts(purpose: &str) -> Scratch {
    let scratch = Scratch::new(purpose).unwrap();
    std::fs::create_dir_all(scratch.join("tree/sub")).unwrap();
    std::fs::write(scratch.join("tree/sub/f"), "f\n").unwrap();
    std::fs::write(scratch.join("a.txt"), "hello\n").unwrap();
    scratch
}

#[test]
fn source_images_are_made_and_grow() {
    let scratch = with_artifacts("sources");
    let same = ["create", "--author=me", "--time-stamp=false"];
    source(&scratch, &[&same[..], &["one:tag"]].concat()).ok();
    let (_, entry) = manifest(&scratch.join("one"));
    // Buildah 1.39 makes the same.
    assert_eq!(
        entry["digest"],
        "sha256:f3075ba3f9dfc78905f3876d98c770a4d86e41c71d4c4a33d758cfad4259581a"
    );
    source(&scratch, &["add", "--annotation", "k=v=w", "one", "a.txt"]).ok();
    source(&scratch, &["add", "one", "tree"]).ok();
    let layout = scratch.join("one");
    assert_eq!(members(&layout), ["a.txt", "sub/", "sub/f"]);
    let (manifest, entry) = manifest(&layout);
    assert_eq!(manifest["layers"][0]["annotations"]["k"], "v=w");
    assert_eq!(
        entry["annotations"]["org.opencontainers.image.ref.name"],
        "tag"
    );
    // Two layers, a config and one manifest: older ones are gone.
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 4);
}

#[test]
fn source_command_lines_that_are_wrong() {
    let scratch = with_artifacts("sourceerrors");
    source(&scratch, &["create", "one"]).ok();
    std::fs::create_dir(scratch.join("empty")).unwrap();
    let check = |words: &[&str], expected: &str| {
        let stderr = source(&scratch, words).fails(125);
        let first = stderr.lines().next().unwrap_or_default().to_owned();
        let at = scratch.path().display().to_string();
        assert_eq!(first.replace(&at, "AT"), format!("Error: {expected}"));
    };
    check(&["create"], "accepts 1 arg(s), received 0");
    check(&["add", "one"], "accepts 2 arg(s), received 1");
    check(&["push", "a", "b", "c"], "accepts 2 arg(s), received 3");
    check(
        &["create", "one"],
        "creating source image: \"one\" already exists",
    );
    check(
        &["create", "no/one"],
        "lstat AT/no: no such file or directory",
    );
    check(&["create", ""], "mkdir : no such file or directory");
    check(
        &["create", "--time-stamp=x", "two"],
        "invalid argument \"x\" for \"--time-stamp\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
    );
    check(
        &["add", "two", "a.txt"],
        "faccessat two: no such file or directory",
    );
    check(
        &["add", "empty", "a.txt"],
        "cannot open `AT/empty/oci-layout`: no such file or directory",
    );
    check(
        &["add", "one", "nosuch"],
        "cannot look at `AT/nosuch`: no such file or directory",
    );
    check(
        &["add", "--annotation", "a", "one", "a.txt"],
        "invalid annotation \"a\" (expected format is \"key=value\")",
    );
    check(
        &[
            "add",
            "--annotation=a=1",
            "--annotation=a=2",
            "one",
            "a.txt",
        ],
        "annotation \"a\" specified more than once",
    );
    check(
        &["pull", "h.example.com/x", "one"],
        "\"one\" already exists",
    );
    check(
        &["pull", "x", "two"],
        "pulling source images by short name (\"x\") is not supported, please use a fully-qualified name",
    );
    assert!(members(&scratch.join("one")).is_empty());
}

#[test]
fn peer_source_images_go_on_with_buildah() {
    let scratch = with_artifacts("sourcepeer");
    let layout = scratch.join("one");
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        said(
            command
                .arg("source")
                .args(words)
                .current_dir(scratch.path()),
        )
        .ok()
    };
    source(&scratch, &["create", "one"]).ok();
    buildah(&["add", "one", "a.txt"]);
    source(&scratch, &["add", "one", "tree"]).ok();
    buildah(&["add", "one", "tree/sub/f"]);
    assert_eq!(members(&layout), ["a.txt", "sub/", "sub/f", "f"]);
    buildah(&["create", "two"]);
    source(&scratch, &["add", "two", "a.txt"]).ok();
    assert_eq!(members(&scratch.join("two")), ["a.txt"]);
}

/// A stage with a source image in the folder `one`.
fn stage_with_source() -> Stage {
    let stage = empty("sourcewire");
    let one = stage.path("one");
    stage.cooper(&["source", "create", text(&one)]).ok();
    let file = stage.write("a.txt", "hello\n");
    stage
        .cooper(&["source", "add", text(&one), text(&file)])
        .ok();
    stage
}

#[test]
fn peer_source_images_travel() {
    let stage = stage_with_source();
    let registry = Registry::open().unwrap();
    let ours = format!("{}/team/ours", registry.host());
    let said = stage.cooper(&["source", "push", PLAIN, "--digestfile=digest", "one", &ours]);
    assert!(said.stderr.contains("Copying config sha256:"), "{said:?}");
    said.ok();
    let digest = std::fs::read_to_string(stage.path("digest")).unwrap();
    assert_eq!(manifest(&stage.path("one")).1["digest"], *digest);

    stage.buildah(&["source", "pull", PLAIN, &ours, "two"]).ok();
    let quiet = stage.cooper(&["source", "pull", "-q", PLAIN, &ours, "three:t"]);
    assert_eq!(quiet.stderr, "");
    quiet.ok();
    for folder in ["two", "three"] {
        assert_eq!(manifest(&stage.path(folder)).1["digest"], *digest);
        assert_eq!(members(&stage.path(folder)), ["a.txt"]);
    }
    let theirs = format!("{}/team/theirs:v1", registry.host());
    stage
        .buildah(&["source", "push", PLAIN, "two", &theirs])
        .ok();
    stage
        .cooper(&["source", "pull", PLAIN, &theirs, "four"])
        .ok();
    assert_eq!(manifest(&stage.path("four")).1["digest"], *digest);
}

#[test]
fn peer_source_pull_takes_nothing_else() {
    let stage = tiny("sourceother");
    let registry = Registry::open().unwrap();
    let check = |format: &str, expected: &str| {
        let name = format!("{}/tiny:{format}", registry.host());
        let place = format!("docker://{name}");
        stage
            .cooper(&["push", "-q", PLAIN, "--format", format, "tiny", &place])
            .ok();
        let stderr = stage
            .cooper(&["source", "pull", PLAIN, &name, "pulled"])
            .fails(125);
        let expected = expected.replace("NAME", &name);
        assert_eq!(stderr, format!("Error: {expected}\n"));
        assert!(!stage.path("pulled").exists());
    };
    check(
        "oci",
        "invalid media type of image config \"application/vnd.oci.image.config.v1+json\" (expected: \"application/vnd.oci.source.image.config.v1+json\")",
    );
    check(
        "v2s2",
        "image \"NAME\" is of type \"application/vnd.docker.distribution.manifest.v2+json\" (expected: \"application/vnd.oci.image.manifest.v1+json\")",
    );
}

//! Manifest lists: `manifest` and its commands, alone and beside Debian's Buildah and Podman.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stage::{Said, Stage, text};

/// A store with the image `localhost/one`, which has one small file.
fn with_image(purpose: &str) -> Stage {
    let stage = Stage::empty(purpose);
    stage.write("context/f", "f\n");
    stage
        .build("FROM scratch\nCOPY f /\n", &["-q", "-t", "one"])
        .ok();
    stage
}

fn digest_of(stage: &Stage, list: &str) -> String {
    let shown = stage.cooper(&["manifest", "inspect", list]).ok();
    let value: Value = serde_json::from_str(&shown).expect("JSON");
    value["manifests"][0]["digest"]
        .as_str()
        .expect("an entry")
        .to_owned()
}

/// Replaces what is different every time: identifiers of 64 digits that are no digests.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let run = rest[at..]
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(rest.len() - at);
        out.push_str(&rest[..at]);
        let word = &rest[at..at + run];
        let is_id = run == 64 && !out.ends_with("sha256:");
        out.push_str(if is_id { "ID" } else { word });
        rest = &rest[at + run..];
    }
    out + rest
}

/// Debian's tools show every list under Docker's type, newer ones under its own.
fn under_one_type(shown: &str) -> String {
    shown.replace(
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
}

#[test]
fn peer_commands_say_what_buildah_says() {
    let stage = with_image("lists-texts");
    stage.cooper(&["manifest", "create", "probe", "one"]).ok();
    let digest = digest_of(&stage, "probe");
    let none = format!("sha256:{}", "0".repeat(64));
    let steps: &[&[&str]] = &[
        &["create", "LIST"],
        &["create", "LIST"],
        &["create", "--amend", "LIST"],
        &["inspect", "LIST"],
        &["add", "LIST", "one"],
        &["add", "LIST", "localhost/one:latest"],
        &["add", "nolist", "one"],
        &["add", "one", "one"],
        &["add", "LIST"],
        &[
            "annotate",
            "--arch",
            "arm",
            "--variant",
            "v7",
            "LIST",
            &digest,
        ],
        &[
            "annotate",
            "--os-version",
            "7",
            "--os-features",
            "a,b",
            "LIST",
            &digest,
        ],
        &["annotate", "--annotation", "a=b", "LIST", &digest],
        &["inspect", "LIST"],
        &["exists", "LIST"],
        &["exists", "nolist"],
        &["remove", "LIST", &none],
        &["remove", "LIST"],
        &["remove", "LIST", &digest],
        &["inspect", "LIST"],
        &["rm", "nolist"],
        &["rm", "one"],
        &["rm", "LIST"],
        &["exists", "LIST"],
    ];
    for step in steps {
        let words = |name: &str| {
            let mut words = vec!["manifest".to_owned()];
            words.extend(step.iter().map(|word| word.replace("LIST", name)));
            words
        };
        let run = |name: &str, run: &dyn Fn(&[&str]) -> Said| {
            let words = words(name);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = run(&words);
            let shown = format!("{}\n{}{}", said.status, said.stdout, said.stderr);
            without_ids(&shown.replace(name, "LIST"))
        };
        let ours = run("ourlist", &|words| stage.cooper(words));
        let theirs = run("theirlist", &|words| stage.buildah(words));
        let [ours, theirs] = [ours, theirs].map(|said| under_one_type(&said));
        assert_eq!(ours, theirs, "{step:?}");
    }
}

#[test]
fn peer_podman_goes_on_with_our_lists() {
    let stage = with_image("lists-podman");
    stage.cooper(&["manifest", "create", "ours"]).ok();
    stage
        .podman(&[
            "manifest",
            "add",
            "localhost/ours",
            "containers-storage:localhost/one",
        ])
        .ok();
    let shown = stage.cooper(&["manifest", "inspect", "ours"]).ok();
    let theirs = stage
        .podman(&["manifest", "inspect", "localhost/ours"])
        .ok();
    assert_eq!(shown, under_one_type(&theirs));
    assert!(shown.contains("\"architecture\": \"amd64\""), "{shown}");
    stage
        .podman(&["manifest", "create", "localhost/theirs"])
        .ok();
    stage.cooper(&["manifest", "add", "theirs", "one"]).ok();
    let shown = stage
        .podman(&["manifest", "inspect", "localhost/theirs"])
        .ok();
    assert_eq!(
        under_one_type(&shown),
        stage.cooper(&["manifest", "inspect", "theirs"]).ok()
    );
    let target = format!("dir:{}", stage.path("pushed").display());
    stage
        .podman(&["manifest", "push", "--all", "localhost/theirs", &target])
        .ok();
    let ours = format!("dir:{}", stage.path("ours-pushed").display());
    stage.cooper(&["manifest", "push", "theirs", &ours]).ok();
    let read = |name: &str| std::fs::read(stage.path(name).join("manifest.json")).expect("a list");
    assert_eq!(read("pushed"), read("ours-pushed"));
}

#[test]
fn priv_twenty_at_once_lose_nothing() {
    let stage = with_image("lists-race");
    for number in 0..20 {
        let name = format!("m{number}");
        let label = format!("n={number}");
        stage
            .build("FROM one\n", &["-q", "-t", &name, "--label", &label])
            .ok();
    }
    stage.cooper(&["manifest", "create", "all"]).ok();
    let children: Vec<_> = (0..20)
        .map(|number| {
            let name = format!("m{number}");
            let mut command = stage.cooper_command(&["manifest", "add", "all", &name]);
            command.stdout(std::process::Stdio::null());
            command.spawn().expect("our program")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("its end").success());
    }
    let shown = stage.cooper(&["manifest", "inspect", "all"]).ok();
    let value: Value = serde_json::from_str(&shown).expect("JSON");
    let digests: BTreeSet<_> = value["manifests"]
        .as_array()
        .expect("members")
        .iter()
        .map(|entry| entry["digest"].to_string())
        .collect();
    assert_eq!(digests.len(), 20, "{shown}");
}

#[test]
fn priv_artifacts_are_described_and_pushed() {
    let stage = with_image("lists-artifacts");
    let file = stage.write("page.html", "<html></html>\n");
    let config = stage.write("config.json", "{\"a\":1}\n");
    stage.cooper(&["manifest", "create", "l"]).ok();
    let added = stage
        .cooper(&[
            "manifest",
            "add",
            "--artifact",
            "--artifact-type",
            "a/b",
            "--artifact-annotation",
            "k=v",
            "--artifact-config",
            text(&config),
            "--annotation",
            "entry=yes",
            "l",
            text(&file),
        ])
        .ok();
    let digest = added
        .split_once(": ")
        .expect("an ID and a digest")
        .1
        .to_owned();
    let shown = stage.cooper(&["manifest", "inspect", "l"]).ok();
    let value: Value = serde_json::from_str(&shown).expect("JSON");
    let entry = &value["manifests"][0];
    assert_eq!(entry["artifactType"], "a/b");
    assert_eq!(entry["annotations"]["entry"], "yes");
    assert_eq!(entry["files"][0], text(&config));
    assert_eq!(entry["files"][1], text(&file));
    let layout = stage.path("layout");
    stage
        .cooper(&[
            "manifest",
            "push",
            "-q",
            "l",
            &format!("oci:{}:x", layout.display()),
        ])
        .ok();
    let blob = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        std::fs::read(layout.join("blobs/sha256").join(hex)).expect("a blob")
    };
    let manifest: Value = serde_json::from_slice(&blob(&digest)).expect("JSON");
    assert_eq!(manifest["artifactType"], "a/b");
    assert_eq!(manifest["annotations"]["k"], "v");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "text/html");
    assert_eq!(
        layer["annotations"]["org.opencontainers.image.title"],
        "page.html"
    );
    assert_eq!(
        blob(layer["digest"].as_str().expect("a digest")),
        b"<html></html>\n"
    );
    assert_eq!(
        blob(manifest["config"]["digest"].as_str().expect("a digest")),
        b"{\"a\":1}\n"
    );
    // The content is where it was; without it the list cannot be pushed.
    std::fs::remove_file(&file).expect("our file");
    let place = format!("oci:{}:y", stage.path("other").display());
    let stderr = stage.cooper(&["manifest", "push", "l", &place]).fails(125);
    assert!(stderr.contains("page.html"), "{stderr}");
    stage.cooper(&["manifest", "remove", "l", text(&file)]).ok();
    let shown = stage.cooper(&["manifest", "inspect", "l"]).ok();
    assert!(shown.contains("\"manifests\": null"), "{shown}");
}

/// Runs a command of `manifest` that must fail with exactly this message.
#[track_caller]
fn check_refused(stage: &Stage, words: &[&str], expected: &str) {
    let stderr = stage.cooper(&[&["manifest"], words].concat()).fails(125);
    assert_eq!(stderr, format!("Error: {expected}\n"), "{words:?}");
}

#[test]
fn priv_wrong_words_are_refused() {
    let stage = with_image("lists-wrong");
    stage.cooper(&["manifest", "create", "l"]).ok();
    let check = |words: &[&str], expected: &str| check_refused(&stage, words, expected);
    check(&["create"], "requires at least 1 arg(s), only received 0");
    check(
        &["create", "--amend", "--replace", "l"],
        "amend and replace are mutually exclusive",
    );
    check(
        &[
            "create",
            "l@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
        "encountered while expanding image name \"l@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": l@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: tag by digest not supported",
    );
    check(
        &["create", "BAD"],
        "encountered while expanding image name \"BAD\": normalizing name \"BAD\": normalizing name \"BAD\": repository name must be lowercase",
    );
    check(
        &["create", "--annotation", "a", "l"],
        "no \"=\" found in annotation \"a\"",
    );
    check(
        &["add", "l", "a", "b"],
        "Too many arguments: expected list and image add to list",
    );
    check(&["annotate"], "accepts between 1 and 2 arg(s), received 0");
    check(
        &["annotate", "l"],
        "Expected an instance digest, image name, or artifact name",
    );
    check(
        &["annotate", "--index", "l", "a"],
        "Did not expect image or artifact name \"a\" when modifying the entire index",
    );
    check(
        &["inspect", "a", "b"],
        "Only one argument is necessary for inspect: an image name",
    );
    check(
        &["add", "--artifact-type", "a", "l", "f"],
        "--artifact-type requires --artifact",
    );
    check(
        &[
            "add",
            "--artifact-type",
            "a",
            "--artifact-config",
            "c",
            "l",
            "f",
        ],
        "--artifact-type/--artifact-config require --artifact",
    );
    check(
        &["add", "--artifact", "l"],
        "requires at least 2 arg(s), only received 1",
    );
    check(
        &["add", "--artifact", "l", "/x"],
        "reading \"/x\" to determine its digest: open /x: no such file or directory",
    );
    check(
        &["annotate", "--index", "--arch", "arm", "l"],
        "--index is not compatible with --arch",
    );
}

#[test]
fn priv_wrong_pushes_are_refused() {
    let stage = with_image("lists-wrong-pushes");
    stage.cooper(&["manifest", "create", "l"]).ok();
    let check = |words: &[&str], expected: &str| check_refused(&stage, words, expected);
    check(
        &["push", "a", "b", "c"],
        "Only two arguments are necessary to push: source and destination",
    );
    check(&["push"], "requires at least 1 arg(s), only received 0");
    check(
        &["push", "--format", "bogus", "l", "dir:/x"],
        "unknown format \"bogus\". Choose on of the supported formats: 'oci' or 'v2s2'",
    );
    check(
        &["push", "--force-compression", "l", "dir:/x"],
        "preparing instances for copy: cannot use ForceCompressionFormat with undefined default compression format",
    );
    check(
        &["push", "l", "127.0.0.1:5001/x:1"],
        "Invalid image name \"127.0.0.1:5001/x:1\", unknown transport \"127.0.0.1\"",
    );
    check(
        &["push", "--add-compression", "nope", "l", "dir:/x"],
        "requested algorithm nope is not supported for replication: cannot find compressor for \"nope\"",
    );
    let place = format!("docker-archive:{}:x", stage.path("a.tar").display());
    check(
        &["push", "l", &place],
        "copying multiple images: destination transport \"docker-archive\" does not support copying multiple images as a group",
    );
    check(
        &["exists", "one"],
        "localhost/one:latest: image is not a manifest list",
    );
}

#[test]
fn priv_other_commands_know_lists() {
    let stage = with_image("lists-others");
    let list = stage.cooper(&["manifest", "create", "l", "one"]).ok();
    let row = stage
        .cooper(&[
            "images",
            "-n",
            "--no-trunc",
            "--format",
            "{{.ID}}/{{.Name}}",
        ])
        .ok();
    assert!(row.contains(&format!("sha256:{list}/localhost/l")), "{row}");
    assert_eq!(
        stage.cooper(&["inspect", "--type", "manifest", "l"]).ok(),
        stage.cooper(&["manifest", "inspect", "l"]).ok()
    );
    // What wants an image gets the one for this machine.
    let image = stage.cooper(&["images", "-q", "--no-trunc", "one"]).ok();
    assert_eq!(
        stage.cooper(&["images", "-q", "--no-trunc", "l"]).ok(),
        image
    );
    let container = stage.cooper(&["from", "l"]).ok();
    stage.cooper(&["rm", &container]).ok();
    let one = format!("dir:{}", stage.path("single").display());
    stage.cooper(&["push", "-q", "l", &one]).ok();
    let single = std::fs::read_to_string(stage.path("single/manifest.json")).expect("a manifest");
    assert!(single.contains("\"layers\""), "{single}");
    let all = format!("dir:{}", stage.path("all").display());
    stage.cooper(&["push", "-q", "--all", "l", &all]).ok();
    let all = std::fs::read_to_string(stage.path("all/manifest.json")).expect("a list");
    assert!(all.contains("\"manifests\""), "{all}");
    stage.cooper(&["manifest", "create", "empty"]).ok();
    assert_eq!(
        stage.cooper(&["inspect", "empty"]).ok(),
        stage.cooper(&["manifest", "inspect", "empty"]).ok()
    );
    let words = ["inspect", "-t", "manifest", "-f", "{{.x}}", "empty"];
    assert!(stage.cooper(&words).ok().contains("schemaVersion"));
    stage.cooper(&["manifest", "rm", "empty"]).ok();
    // Names go to the list itself.
    stage.cooper(&["tag", "l", "second"]).ok();
    assert_eq!(stage.cooper(&["manifest", "exists", "second"]).status, 0);
    assert_eq!(
        stage.cooper(&["rmi", "second"]).ok(),
        "untagged: localhost/second:latest"
    );
    stage.cooper(&["manifest", "create", "--replace", "l"]).ok();
    let shown = stage.cooper(&["manifest", "inspect", "l"]).ok();
    assert!(shown.contains("\"manifests\": null"), "{shown}");
    stage.cooper(&["manifest", "inspect", &list]).ok();
    stage.cooper(&["rmi", &list]).ok();
    // An image in the place of a list becomes its first member.
    let amended = stage.cooper(&["manifest", "create", "--amend", "one"]).ok();
    assert_ne!(amended, image);
    let digest = digest_of(&stage, "one");
    assert!(digest.starts_with("sha256:"), "{digest}");
    stage.cooper(&["rmi", &image]).ok();
}

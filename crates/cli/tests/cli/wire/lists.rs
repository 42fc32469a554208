//! Manifest lists: made, filled, pushed, and shared with Podman.

use serde_json::Value;
use testkit::curl;
use testkit::registry::Registry;

use super::setting::{OCI, PLAIN, at, digest, id, layer_types, make, raw, tiny};
use crate::stage::{Stage, Store, text};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn entries(list: &Value) -> &Vec<Value> {
    list["manifests"].as_array().expect("a list has entries")
}

/// A list `m` with the registry's `a/tiny:1` and, of another architecture, `a/arm:1`.
fn with_list(stage: &Stage, registry: &Registry) {
    let tiny_place = at(&registry.host(), "a/tiny:1");
    stage
        .cooper(&["push", "-q", PLAIN, "tiny", &tiny_place])
        .ok();
    stage
        .build(
            "FROM scratch\nCOPY h.txt /arm\n",
            &["-q", "--platform", "linux/arm64", "-t", "arm"],
        )
        .ok();
    let arm_place = at(&registry.host(), "a/arm:1");
    stage.cooper(&["push", "-q", PLAIN, "arm", &arm_place]).ok();
    stage.cooper(&["manifest", "create", "m"]).ok();
    stage
        .cooper(&["manifest", "add", PLAIN, "m", &tiny_place])
        .ok();
    stage
        .cooper(&["manifest", "add", PLAIN, "--arch", "arm64", "m", &arm_place])
        .ok();
}

#[test]
fn peer_10_and_34_a_list_with_an_artifact() {
    let (stage, registry) = (tiny("wire34"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let list = stage.cooper(&["manifest", "create", "m"]).ok();
    assert_eq!(list.len(), 64, "{list}");
    let added = stage.cooper(&["manifest", "add", PLAIN, "m", &place]).ok();
    assert_eq!(added, format!("{list}: {}", digest(&stage, &place)));
    let file = stage.write("f.txt", "an artifact\n");
    let added = stage
        .cooper(&[
            "manifest",
            "add",
            "--artifact",
            "--artifact-type",
            "text/x-test",
            "m",
            text(&file),
        ])
        .ok();
    let artifact = added.rsplit(' ').next().unwrap().to_owned();
    let target = at(&registry.host(), "m:1");
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "m", &target])
        .ok();
    let pushed = raw(&stage, &target);
    assert_eq!(pushed["mediaType"], INDEX);
    assert_eq!(entries(&pushed).len(), 2, "{pushed}");
    let entry = &entries(&pushed)[1];
    assert_eq!(entry["digest"], artifact);
    assert!(entry.get("platform").is_none(), "{entry}");
    assert_eq!(entry["artifactType"], "text/x-test");
    let name = format!("{}/m:1", registry.host());
    // Podman 4.3 has no flag for plain HTTP here.
    stage.write(
        "registries.conf",
        &format!(
            "[[registry]]
location = \"{}\"
insecure = true
",
            registry.host()
        ),
    );
    let shown = stage.podman(&["manifest", "inspect", &name]).ok();
    assert!(shown.contains(&artifact), "{shown}");
    // oras is not in Debian; the manifest is read as it fetches it.
    let url = format!("http://{}/v2/m/manifests/{artifact}", registry.host());
    let text = curl::body(&["-H", &format!("Accept: {OCI}"), &url]).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest["artifactType"], "text/x-test");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    assert_eq!(manifest["config"]["data"], "e30=");
    let title = &manifest["layers"][0]["annotations"]["org.opencontainers.image.title"];
    assert_eq!(title, "f.txt");
}

#[test]
fn peer_10_a_copy_of_all_is_the_same() {
    let (stage, registry) = (tiny("wire10"), Registry::open().unwrap());
    with_list(&stage, &registry);
    let (one, copy) = (
        at(&registry.host(), "ml:1"),
        at(&registry.host(), "ml:copy"),
    );
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "m", &one])
        .ok();
    stage
        .skopeo(&[
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &one,
            &copy,
        ])
        .ok();
    assert_eq!(digest(&stage, &one), digest(&stage, &copy));
    // A pull picks by platform; one that is not there is told with those that are.
    stage.cooper_elsewhere(&["pull", "-q", PLAIN, &one]).ok();
    let pulled = stage.cooper_elsewhere(&["images", "-q", "--no-trunc"]).ok();
    assert_eq!(pulled.trim_start_matches("sha256:"), id(&stage, "tiny"));
    let stderr = stage
        .cooper_elsewhere(&["pull", PLAIN, "--platform", "linux/s390x", &one])
        .fails(125);
    let expected =
        "no image found in image index for architecture \"s390x\", variant \"\", OS \"linux\"";
    assert!(stderr.contains(expected), "{stderr}");
    assert!(
        stderr.contains("linux/amd64") && stderr.contains("linux/arm64"),
        "{stderr}"
    );
}

#[test]
fn peer_35_podman_and_we_share_lists() {
    let (stage, registry) = (tiny("wire35"), Registry::open().unwrap());
    with_list(&stage, &registry);
    let ours = stage.podman(&["manifest", "inspect", "localhost/m"]).ok();
    let ours: Value = serde_json::from_str(&ours).unwrap();
    assert_eq!(entries(&ours).len(), 2, "{ours}");
    stage.podman(&["manifest", "create", "theirs"]).ok();
    let source = "containers-storage:localhost/tiny:latest";
    stage.podman(&["manifest", "add", "theirs", source]).ok();
    let theirs = stage.cooper(&["manifest", "inspect", "theirs"]).ok();
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    assert_eq!(entries(&theirs).len(), 1, "{theirs}");
    stage.cooper(&["manifest", "add", "theirs", "arm"]).ok();
    stage.podman(&["manifest", "add", "m", source]).ok();
    let theirs = stage.podman(&["manifest", "inspect", "theirs"]).ok();
    assert_eq!(entries(&serde_json::from_str(&theirs).unwrap()).len(), 2);
    // And each pushes what the other made, the local members included.
    let place = at(&registry.host(), "theirs:1");
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "theirs", &place])
        .ok();
    assert_eq!(entries(&raw(&stage, &place)).len(), 2);
    let place = at(&registry.host(), "ours:1");
    stage
        .podman(&["manifest", "push", "-q", "--all", PLAIN, "m", &place])
        .ok();
    assert!(entries(&raw(&stage, &place)).len() >= 2);
}

#[test]
fn peer_36_added_compressions() {
    let (stage, registry) = (tiny("wire36"), Registry::open().unwrap());
    stage
        .cooper(&["manifest", "create", "m", "localhost/tiny"])
        .ok();
    let place = at(&registry.host(), "m:1");
    stage
        .cooper(&[
            "manifest",
            "push",
            "-q",
            PLAIN,
            "--add-compression",
            "zstd",
            "m",
            &place,
        ])
        .ok();
    let list = raw(&stage, &place);
    let annotation = "io.github.containers.compression.zstd";
    let marks: Vec<bool> = entries(&list)
        .iter()
        .map(|entry| entry["annotations"][annotation] == "true")
        .collect();
    assert_eq!(marks, [false, true], "{list}");
    for (entry, expected) in entries(&list).iter().zip(["+gzip", "+zstd"]) {
        let member = at(
            &registry.host(),
            &format!("m@{}", entry["digest"].as_str().unwrap()),
        );
        let manifest = raw(&stage, &member);
        assert!(layer_types(&manifest)[0].ends_with(expected), "{manifest}");
    }
    let seen = |fetch: &dyn Fn()| {
        let before = registry.requests().len();
        fetch();
        let asked = registry.requests();
        let asked: Vec<String> = asked[before..]
            .iter()
            .map(|request| request.target.clone())
            .collect();
        asked.join("\n")
    };
    let [gzip, zstd] = [0, 1].map(|at| entries(&list)[at]["digest"].as_str().unwrap());
    let old = seen(&|| {
        stage
            .podman_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
            .ok();
    });
    assert!(old.contains(gzip) && !old.contains(zstd), "{old}");
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    let ours = seen(&|| {
        stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    });
    assert!(ours.contains(zstd) && !ours.contains(gzip), "{ours}");
}

#[test]
fn peer_37_a_push_of_a_list_is_one_image() {
    let (stage, registry) = (tiny("wire37"), Registry::open().unwrap());
    stage
        .cooper(&["manifest", "create", "m", "localhost/tiny"])
        .ok();
    let place = at(&registry.host(), "one:1");
    stage.cooper(&["push", "-q", PLAIN, "m", &place]).ok();
    assert_eq!(raw(&stage, &place)["mediaType"], OCI);
    let exists = |name: &str| stage.cooper(&["manifest", "exists", name]).status;
    assert_eq!([exists("m"), exists("nope"), exists("tiny")], [0, 1, 125]);
    let stderr = stage.cooper(&["manifest", "rm", "nope"]).fails(125);
    assert!(
        stderr.contains("1 error occurred:\n\t* nope: image not known\n\n"),
        "{stderr}"
    );
    let stderr = stage.cooper(&["manifest", "rm", "tiny"]).fails(125);
    assert!(stderr.contains("image is not a manifest list"), "{stderr}");
    let said = stage.cooper(&["manifest", "rm", "m"]).ok();
    assert!(said.starts_with("untagged: localhost/m:latest"), "{said}");
    assert_eq!(exists("m"), 1);
}

#[test]
fn peer_38_no_addition_is_lost() {
    let stage = tiny("wire38");
    stage.cooper(&["manifest", "create", "m"]).ok();
    let names: Vec<String> = (0..20).map(|number| format!("member{number}")).collect();
    for name in &names {
        make(&stage, name, &format!("FROM scratch\nLABEL name={name}\n"));
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = names
            .iter()
            .map(|name| {
                let mut command = stage.cooper_command(&["manifest", "add", "m", name]);
                scope.spawn(move || crate::stage::said(&mut command))
            })
            .collect();
        for one in running {
            one.join().unwrap().ok();
        }
    });
    let list = stage.cooper(&["manifest", "inspect", "m"]).ok();
    assert_eq!(entries(&serde_json::from_str(&list).unwrap()).len(), 20);
}

#[test]
fn peer_39_lists_in_files() {
    let (stage, registry) = (tiny("wire39"), Registry::open().unwrap());
    with_list(&stage, &registry);
    let folder = format!("dir:{}", stage.path("md").display());
    let layout = format!("oci:{}:t", stage.path("mo").display());
    for place in [&folder, &layout] {
        stage
            .cooper(&["manifest", "push", "-q", PLAIN, "--all", "m", place])
            .ok();
    }
    for (number, from) in [&folder, &layout].into_iter().enumerate() {
        let place = at(&registry.host(), &format!("mo:{number}"));
        stage
            .skopeo(&[
                "copy",
                "-q",
                "--all",
                "--dest-tls-verify=false",
                from,
                &place,
            ])
            .ok();
        assert_eq!(entries(&raw(&stage, &place)).len(), 2);
    }
    let archive = format!("docker-archive:{}", stage.path("d.tar").display());
    let stderr = stage
        .cooper(&["manifest", "push", PLAIN, "m", &archive])
        .fails(125);
    let expected = "copying multiple images: destination transport \"docker-archive\" does not support copying multiple images as a group";
    assert!(stderr.contains(expected), "{stderr}");
}

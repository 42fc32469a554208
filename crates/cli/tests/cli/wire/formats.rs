//! Registry and formats: what a push leaves at the registry, and what others make of it.

use testkit::proxy::FaultProxy;
use testkit::registry::Registry;

use super::setting::{DOCKER, OCI, PLAIN, at, content, digest, id, layer_types, raw, tiny};
use crate::stage::{Store, text};

#[test]
fn peer_01_an_oci_image_arrives_whole() {
    let (stage, registry) = (tiny("wire01"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    let said = stage.cooper(&["push", PLAIN, "tiny", &place]);
    assert_eq!(said.stdout, "");
    said.ok();
    assert_eq!(raw(&stage, &place)["mediaType"], OCI);
    let copy = format!("dir:{}", stage.path("x").display());
    stage
        .skopeo(&["copy", "-q", "--src-tls-verify=false", &place, &copy])
        .ok();
}

#[test]
fn peer_02_the_digest_file_says_what_the_registry_says() {
    let (stage, registry) = (tiny("wire02"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    let words = ["push", "-q", PLAIN, "--digestfile", "d", "tiny", &place];
    assert_eq!(stage.cooper(&words).ok(), "");
    assert_eq!(content(&stage, "d"), digest(&stage, &place));
    assert_eq!(content(&stage, "d").len(), 71);
}

#[test]
fn peer_03_what_is_there_is_not_sent_again() {
    let (stage, registry) = (tiny("wire03"), Registry::open().unwrap());
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let push = |rest: &str| {
        proxy.reset();
        stage
            .cooper(&["push", "-q", PLAIN, "tiny", &at(&proxy.host(), rest)])
            .ok();
        let mut lines = Vec::new();
        for seen in proxy.requests() {
            if !seen.target.ends_with("/v2/") {
                lines.push(format!("{} {} {}", seen.method, seen.target, seen.status));
            }
        }
        lines
    };
    push("a/tiny:1");
    let lines = push("a/tiny:1");
    let (heads, others): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.starts_with("HEAD "));
    assert!(heads.len() >= 2, "{lines:?}");
    assert_eq!(others, ["PUT /v2/a/tiny/manifests/1 201"]);
    let lines = push("b/tiny:1");
    let mounted = |line: &&String| {
        line.starts_with("POST /v2/b/tiny/blobs/uploads/?")
            && line.contains("from=a%2Ftiny")
            && line.contains("mount=sha256%3A")
            && line.ends_with(" 201")
    };
    assert_eq!(lines.iter().filter(mounted).count(), 1, "{lines:#?}");
    let uploads = |line: &&String| line.starts_with("PUT /v2/b/tiny/blobs/uploads/");
    assert_eq!(
        lines.iter().filter(uploads).count(),
        1,
        "only the configuration is sent: {lines:#?}"
    );
}

#[test]
fn peer_04_formats_are_converted() {
    let (stage, registry) = (tiny("wire04"), Registry::open().unwrap());
    let place = |rest: &str| at(&registry.host(), rest);
    let config = |image: &str| raw(&stage, image)["config"]["digest"].clone();
    stage.cooper(&["push", PLAIN, "tiny", &place("f:1")]).ok();
    stage
        .cooper(&["push", PLAIN, "--format", "v2s2", "tiny", &place("f:2")])
        .ok();
    assert_eq!(raw(&stage, &place("f:2"))["mediaType"], DOCKER);
    assert_eq!(config(&place("f:1")), config(&place("f:2")));
    // An empty word is none.
    stage
        .cooper(&["push", PLAIN, "-f", "", "tiny", &place("f:3")])
        .ok();
    assert_eq!(raw(&stage, &place("f:3"))["mediaType"], OCI);
    stage
        .build(
            "FROM scratch\nCOPY h.txt /\nHEALTHCHECK CMD true\n",
            &["-q", "--format", "docker", "-t", "dock"],
        )
        .ok();
    stage.cooper(&["push", PLAIN, "dock", &place("g:1")]).ok();
    assert_eq!(raw(&stage, &place("g:1"))["mediaType"], DOCKER);
    stage
        .cooper(&["push", PLAIN, "--format", "oci", "dock", &place("g:2")])
        .ok();
    assert_eq!(raw(&stage, &place("g:2"))["mediaType"], OCI);
    assert_ne!(config(&place("g:1")), config(&place("g:2")));
    let copy = format!("dir:{}", stage.path("x").display());
    stage
        .skopeo(&["copy", "-q", "--src-tls-verify=false", &place("g:2"), &copy])
        .ok();
}

#[test]
fn peer_05_schema_1_goes_both_ways() {
    let stage = tiny("wire05");
    let registry = Registry::open().unwrap();
    let place = at(&registry.host(), "s:1");
    stage
        .skopeo(&[
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--format",
            "v2s1",
            "STORE:localhost/tiny",
            &place,
        ])
        .ok();
    let manifest = raw(&stage, &place);
    assert_eq!(manifest["schemaVersion"], 1);
    assert!(manifest["signatures"].is_array(), "{manifest}");
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    let inspected = stage
        .cooper_elsewhere(&["inspect", "--type", "image", &pulled])
        .ok();
    assert!(inspected.contains("/f1"), "{inspected}");
    let locked = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let (place, digest) = (at(&locked.host(), "s:1"), stage.path("digest"));
    let format = ["push", PLAIN, "--format", "v2s1"];
    let creds = ["--creds", "u1:pw1"];
    let file = ["--digestfile", text(&digest)];
    stage
        .cooper(&[&format[..], &file, &["tiny", &place], &creds].concat())
        .ok();
    let inspect = ["inspect", PLAIN, "--creds", "u1:pw1"];
    let shown = stage
        .skopeo(&[&inspect[..], &["--raw", &place]].concat())
        .ok();
    let manifest: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(manifest["schemaVersion"], 1);
    assert!(manifest["signatures"].is_array(), "{manifest}");
    let told = std::fs::read_to_string(&digest).unwrap();
    let seen = stage
        .skopeo(&[&inspect[..], &["--format", "{{.Digest}}", &place]].concat())
        .ok();
    assert_eq!(seen.trim(), told);
    stage
        .podman_on(
            Store::Elsewhere,
            &["pull", "-q", PLAIN, "--creds", "u1:pw1", &place],
        )
        .ok();
    let place = format!("oci:{}", stage.path("old").display());
    let said = stage.cooper(&[&format[..], &["tiny", &place]].concat());
    assert!(said.fails(125).contains("v2s1"), "registries only");
}

#[test]
fn peer_06_zstd_goes_both_ways() {
    let (stage, registry) = (tiny("wire06"), Registry::open().unwrap());
    let place = at(&registry.host(), "z:1");
    let zstd = ["push", PLAIN, "--compression-format", "zstd"];
    stage.cooper(&[&zstd[..], &["tiny", &place]].concat()).ok();
    let manifest = raw(&stage, &place);
    let expected = "application/vnd.oci.image.layer.v1.tar+zstd";
    assert_eq!(layer_types(&manifest), [expected]);
    stage
        .podman_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
        .ok();
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    assert_eq!(pulled, id(&stage, "tiny"));
    // Who names a compression means it.
    let plain = at(&registry.host(), "z:2");
    stage
        .cooper(&[&zstd[..], &["-D", "tiny", &plain]].concat())
        .ok();
    assert_eq!(layer_types(&raw(&stage, &plain)), [expected]);
    let stderr = stage
        .cooper(&[&zstd[..], &["--format", "v2s2", "tiny", &place]].concat())
        .fails(125);
    let expected = "cannot use ForceCompressionFormat with undefined default compression format";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_07_zstd_chunked_is_announced() {
    let (stage, registry) = (tiny("wire07"), Registry::open().unwrap());
    let place = at(&registry.host(), "z:1");
    stage
        .cooper(&[
            "push",
            PLAIN,
            "--compression-format",
            "zstd:chunked",
            "tiny",
            &place,
        ])
        .ok();
    let manifest = raw(&stage, &place);
    let annotations = &manifest["layers"][0]["annotations"];
    for name in [
        "manifest-checksum",
        "manifest-position",
        "tarsplit-position",
    ] {
        let name = format!("io.github.containers.zstd-chunked.{name}");
        assert!(annotations[&name].is_string(), "{name} in {manifest}");
    }
    stage
        .podman_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
        .ok();
    // Ours, unlike the peer, publishes gzip when nothing else was asked for.
    let plain = at(&registry.host(), "z:2");
    stage.cooper(&["push", PLAIN, "tiny", &plain]).ok();
    let types = raw(&stage, &plain);
    let types = layer_types(&types);
    assert_eq!(types, ["application/vnd.oci.image.layer.v1.tar+gzip"]);
}

#[test]
fn peer_08_what_cannot_be_written_is_refused() {
    let (stage, registry) = (tiny("wire08"), Registry::open().unwrap());
    let place = at(&registry.host(), "q:1");
    let stderr = stage
        .cooper(&[
            "push",
            PLAIN,
            "--compression-format",
            "bzip2",
            "tiny",
            &place,
        ])
        .fails(125);
    assert!(stderr.contains("none of which support it"), "{stderr}");
    assert!(
        !registry
            .requests()
            .iter()
            .any(|request| request.method == "PUT"),
        "nothing is published"
    );
}

#[test]
fn peer_09_buildah_and_we_pull_each_others_pushes() {
    let (stage, registry) = (tiny("wire09"), Registry::open().unwrap());
    let ours = id(&stage, "tiny");
    for [flag, format] in [
        ["--format", "oci"],
        ["--format", "v2s2"],
        ["--compression-format", "zstd"],
    ] {
        let place = at(&registry.host(), &format!("ours-{format}:1"));
        let digestfile = ["--digestfile", "d"];
        let push = ["push", "-q", PLAIN, flag, format];
        stage
            .cooper(&[&push[..], &digestfile, &["tiny", &place]].concat())
            .ok();
        let pulled = stage
            .buildah_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
            .ok();
        assert_eq!(pulled, ours, "{format}");
        let listed = stage
            .buildah_on(
                Store::Elsewhere,
                &["images", "--digests", "--format", "{{.Digest}}"],
            )
            .ok();
        assert!(listed.contains(&content(&stage, "d")), "{format}: {listed}");
        let theirs = at(&registry.host(), &format!("theirs-{format}:1"));
        stage
            .buildah_on(Store::Elsewhere, &[&push[..], &[&pulled, &theirs]].concat())
            .ok();
        stage
            .buildah_on(Store::Elsewhere, &["rmi", "-a", "-f"])
            .ok();
        let back = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &theirs]).ok();
        assert_eq!(back, ours, "{format}");
        let listed = stage.cooper_elsewhere(&["images", "--digests"]).ok();
        let expected = digest(&stage, &theirs);
        assert!(
            listed.contains(&expected),
            "{format}: {expected} in {listed}"
        );
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    }
}

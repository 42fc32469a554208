//! Configurations and manifests against the bytes that Buildah writes.

use cooper_model::{
    Descriptor, Digest, Document, ImageConfig, Index, ManifestError, ManifestFormat, Platform,
    media_type,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Docker's config as Debian's Buildah 1.28 wrote it.
const DOCKER: &str = r#"{"created":"2026-11-21T11:35:41.661849872Z","container":"0379881407c298795e9eced12ef7cf02a185e1123911f0b52d79fc0904698d51","container_config":{"Hostname":"h","Domainname":"","User":"u","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["A=1","B=\u003c\u0026\u003e"],"Cmd":["echo","hi"],"Healthcheck":{"Test":["CMD","x"],"Interval":3000000000,"Timeout":30000000000,"Retries":3},"Image":"","Volumes":{"/v":{}},"WorkingDir":"/w","Entrypoint":["/e"],"OnBuild":["RUN x"],"Labels":{"io.buildah.version":"1.28.2","x":"y"},"StopSignal":"9","Shell":["/bin/sh","-c"]},"author":"me","config":{"Hostname":"h","Domainname":"","User":"u","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["A=1","B=\u003c\u0026\u003e"],"Cmd":["echo","hi"],"Healthcheck":{"Test":["CMD","x"],"Interval":3000000000,"Timeout":30000000000,"Retries":3},"Image":"","Volumes":{"/v":{}},"WorkingDir":"/w","Entrypoint":["/e"],"OnBuild":["RUN x"],"Labels":{"io.buildah.version":"1.28.2","x":"y"},"StopSignal":"9","Shell":["/bin/sh","-c"]},"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]},"history":[{"created":"2026-11-21T11:35:41.662510948Z","author":"me","created_by":"/bin/sh -c"}]}"#;

/// The same as OCI has it.
const OCI: &str = r#"{"created":"2026-11-21T11:35:41.574320399Z","author":"me","architecture":"amd64","os":"linux","config":{"User":"u","ExposedPorts":{"80":{}},"Env":["A=1","B=\u003c\u0026\u003e"],"Entrypoint":["/e"],"Cmd":["echo","hi"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"io.buildah.version":"1.28.2","x":"y"},"StopSignal":"9"},"rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]},"history":[{"created":"2026-11-21T11:35:41.574992214Z","created_by":"/bin/sh -c","author":"me"}]}"#;

#[test]
fn bytes_are_written_as_buildah_writes_them() {
    for (text, format) in [(DOCKER, ManifestFormat::Docker), (OCI, ManifestFormat::Oci)] {
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(config.to_bytes(format)).unwrap(), text);
    }
}

#[test]
fn unset_members_are_written_as_buildah_writes_them() {
    let config = ImageConfig::for_platform(&Platform::new("linux", "amd64"));
    let text = |format| String::from_utf8(config.to_bytes(format)).unwrap();
    assert_eq!(
        text(ManifestFormat::Oci),
        r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#
    );
    let inner = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":[],"Labels":null}"#;
    assert_eq!(
        text(ManifestFormat::Docker),
        format!(
            r#"{{"created":"0001-01-01T00:00:00Z","container_config":{inner},"config":{inner},"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        )
    );
}

#[test]
fn nulls_and_strangers_are_accepted() {
    let config = ImageConfig::parse(
        br#"{"config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null},"created":null,"x":{"y":[1]},"os":null}"#,
    )
    .unwrap();
    assert_eq!(config.extra.get("x"), Some(&json!({"y": [1]})));
    assert!(ImageConfig::parse(b"[]").is_err());
    assert!(ImageConfig::parse(&vec![b' '; (4 << 20) + 1]).is_err());
}

fn text() -> impl Strategy<Value = String> {
    "[a-z<>&\"\\\\é\u{2028} ]{1,8}"
}

fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    let member = (any::<i64>(), proptest::num::f64::NORMAL, text());
    proptest::collection::btree_map("x-[a-z]{1,5}", member, 0..3).prop_map(|map| {
        map.into_iter()
            .map(|(key, (whole, broken, text))| {
                (key, json!({"n": [whole, broken], "t": [text, null]}))
            })
            .collect()
    })
}

prop_compose! {
    fn document()(
        author in text(), env in proptest::collection::vec(text(), 1..4), labels in proptest::collection::btree_map(text(), text(), 1..4),
        tops in unknown(), inners in unknown(), entries in unknown(), retries in 1i64.., shell in proptest::collection::vec(text(), 1..3),
    ) -> Value {
        let mut entry = Map::from_iter([("created_by".to_owned(), json!(author)), ("empty_layer".to_owned(), json!(true))]);
        entry.extend(entries);
        let mut config = Map::from_iter([
            ("Env".to_owned(), json!(env)), ("Labels".to_owned(), json!(labels)), ("Shell".to_owned(), json!(shell)),
            ("Healthcheck".to_owned(), json!({"Test": ["NONE"], "Retries": retries, "New": 1})),
        ]);
        config.extend(inners);
        let mut top = Map::from_iter([
            ("author".to_owned(), json!(author)), ("architecture".to_owned(), json!("amd64")), ("os".to_owned(), json!("linux")),
            ("config".to_owned(), Value::Object(config)), ("docker_version".to_owned(), json!("1")),
            ("rootfs".to_owned(), json!({"type": "layers", "diff_ids": [Digest::sha256(author.as_bytes())]})),
            ("history".to_owned(), json!([entry])),
        ]);
        top.extend(tops);
        Value::Object(top)
    }
}

#[test]
fn large_numbers_of_unknown_members_are_read_as_what_they_are() {
    let text = r#"{"x":88888888888888888888888888888888888888888888888888888855}"#;
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    let again = ImageConfig::parse(&cooper_model::go_json::to_vec(&config).unwrap()).unwrap();
    assert_eq!(again.extra, config.extra);
}

proptest! {
    #[test]
    fn configs_lose_nothing(document in document()) {
        let config = ImageConfig::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
        let again: Value = serde_json::from_slice(&cooper_model::go_json::to_vec(&config).unwrap()).unwrap();
        prop_assert_eq!(&again, &document);
        let docker = config.to_bytes(ManifestFormat::Docker);
        let reread = ImageConfig::parse(&docker).unwrap();
        prop_assert_eq!(reread.to_bytes(ManifestFormat::Docker), docker);
        prop_assert_eq!(&reread.extra, &config.extra);
        prop_assert_eq!(&reread.config, &config.config);
    }

    #[test]
    fn manifests_lose_nothing(extra in unknown(), in_layer in unknown(), size in any::<u64>()) {
        let digest = Digest::sha256(b"x");
        let mut layer = Map::from_iter([("mediaType".to_owned(), json!(media_type::OCI_LAYER)),
            ("digest".to_owned(), json!(digest)), ("size".to_owned(), json!(size))]);
        layer.extend(in_layer);
        let mut top = Map::from_iter([("schemaVersion".to_owned(), json!(2)), ("mediaType".to_owned(), json!(media_type::OCI_MANIFEST)),
            ("config".to_owned(), json!({"mediaType": media_type::OCI_CONFIG, "digest": digest, "size": 1})),
            ("layers".to_owned(), json!([layer])), ("annotations".to_owned(), json!({"a": "<"}))]);
        top.extend(extra);
        let value = Value::Object(top);
        let Document::Manifest(raw) = Document::parse(serde_json::to_vec(&value).unwrap()).unwrap() else { panic!("a list") };
        let again: Value = serde_json::from_slice(&raw.manifest().to_bytes()).unwrap();
        prop_assert_eq!(again, value);
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(bytes.clone());
        let _ = ImageConfig::parse(&bytes);
    }
}

#[test]
fn documents_are_told_apart() {
    let check = |text: &str, expected: &str| {
        let shown = match Document::parse(text.as_bytes().to_vec()) {
            Ok(Document::Manifest(manifest)) => manifest.format().manifest_type().to_owned(),
            Ok(Document::Index(index)) => index.index().format().index_type().to_owned(),
            Err(err) => err.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    };
    let digest = Digest::sha256(b"");
    let config =
        |kind: &str| format!(r#""config":{{"mediaType":"{kind}","digest":"{digest}","size":0}}"#);
    let oci = config(media_type::OCI_CONFIG);
    check(
        &format!(r#"{{"schemaVersion":2,{oci},"layers":[]}}"#),
        media_type::OCI_MANIFEST,
    );
    check(
        &format!(
            r#"{{"schemaVersion":2,{},"layers":[]}}"#,
            config(media_type::DOCKER_CONFIG)
        ),
        media_type::DOCKER_MANIFEST,
    );
    check(
        &format!(r#"{{"schemaVersion":2,{}}}"#, config("application/x")),
        media_type::OCI_MANIFEST,
    );
    check(
        &format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":0}}]}}"#
        ),
        media_type::OCI_INDEX,
    );
    check(
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            media_type::DOCKER_LIST
        ),
        media_type::DOCKER_LIST,
    );
    check(
        r#"{"schemaVersion":1,"fsLayers":[]}"#,
        "manifest type application/vnd.docker.distribution.manifest.v1+json is not supported",
    );
    check(
        r#"{"schemaVersion":1,"signatures":[]}"#,
        "manifest type application/vnd.docker.distribution.manifest.v1+prettyjws is not supported",
    );
    check("{}", "cannot determine the type of the manifest");
    check("x", "cannot parse manifest");
    check(
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"{}",{oci},"manifests":[],"layers":[]}}"#,
            media_type::OCI_MANIFEST
        ),
        "rejecting ambiguous manifest, unexpected fields [\"manifests\"] in supposedly application/vnd.oci.image.manifest.v1+json",
    );
    check(
        &format!(
            r#"{{"schemaVersion":3,"mediaType":"{}",{oci}}}"#,
            media_type::OCI_MANIFEST
        ),
        "manifest has schema version 3, expected 2",
    );
    let many = vec![serde_json::to_string(&Descriptor::new("x", digest.clone(), 0)).unwrap(); 4097]
        .join(",");
    check(
        &format!(r#"{{"schemaVersion":2,{oci},"layers":[{many}]}}"#),
        "manifest has 4097 layers, more than 4096",
    );
    assert!(matches!(
        Document::parse(vec![b' '; (4 << 20) + 1]),
        Err(ManifestError::TooLarge { .. })
    ));
}

#[test]
fn machines_choose_from_lists() {
    let entry = |name: &str, platform: Option<&str>| {
        let mut entry =
            Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(name.as_bytes()), 1);
        entry.platform = platform.map(|text| {
            let parts: Vec<&str> = text.split('/').collect();
            Platform {
                variant: parts.get(2).map(|&v| v.to_owned()),
                ..Platform::new(parts[0], parts[1])
            }
        });
        entry
    };
    let check =
        |format, entries: &[(&str, Option<&str>)], machine: &str, expected: Option<&str>| {
            let index = Index::new(
                format,
                entries
                    .iter()
                    .map(|(name, platform)| entry(name, *platform))
                    .collect(),
            );
            let chosen = index
                .choose(&Platform::parse(machine).unwrap())
                .map(|entry| entry.digest.clone());
            assert_eq!(
                chosen,
                expected.map(|name| Digest::sha256(name.as_bytes())),
                "{machine} of {entries:?}"
            );
        };
    use ManifestFormat::{Docker, Oci};
    let both = [("a", Some("linux/arm64")), ("b", Some("linux/amd64"))];
    check(Oci, &both, "linux/amd64", Some("b"));
    check(Oci, &both, "linux/arm64/v8", Some("a"));
    check(Oci, &both, "linux/s390x", None);
    check(
        Oci,
        &[("any", None), ("b", Some("linux/amd64"))],
        "linux/amd64",
        Some("b"),
    );
    check(Oci, &[("any", None)], "linux/amd64", Some("any"));
    check(Docker, &[("any", None)], "linux/amd64", None);
    let arms = [
        ("v5", Some("linux/arm/v5")),
        ("v6", Some("linux/arm/v6")),
        ("v8", Some("linux/arm/v8")),
    ];
    check(Oci, &arms, "linux/arm", Some("v6"));
    check(Docker, &arms, "linux/arm/v8", Some("v8"));
}

//! Look-up of names in a store of images without layers, which needs no rights.

use std::collections::BTreeMap;

use cooper_transfer::{Alias, LookupError, NameRules, instance_of, lookup_image};
use model::{
    Descriptor, Digest, ImageConfig, Index, ManifestFormat, Platform, Reference, media_type,
};
use store::{DriverName, NewImage, Store};

use crate::support::{Scratch, chain, failure};

fn add(store: &Store, names: &[&str]) -> (String, Digest) {
    let config = ImageConfig {
        author: names.join(" "),
        ..ImageConfig::for_platform(&Platform::new("linux", "amd64"))
    };
    let config = config.to_bytes(ManifestFormat::Oci);
    let manifest = model::edit::store_manifest(ManifestFormat::Oci, &config, &[], &BTreeMap::new());
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let image = NewImage::new(None, manifest.bytes(), &config).with_names(names);
    (
        store.put_image(image).unwrap().id.to_string(),
        manifest.digest(),
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn priv_texts_lead_to_images_in_the_documented_order() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    let (local, _) = add(&store, &["localhost/tiny:latest"]);
    let (hub, _) = add(
        &store,
        &[
            "docker.io/library/tiny:latest",
            "docker.io/library/only:latest",
        ],
    );
    let (aliased, _) = add(&store, &["reg.io/a/other:latest"]);
    let (deep, digest) = add(&store, &["reg.io/a/deep:1"]);
    let images = store.images().unwrap();
    let target = Reference::parse_normalized("reg.io/a/other").unwrap();
    let rules = NameRules {
        aliases: BTreeMap::from([(
            "short".to_owned(),
            Alias {
                target,
                origin: "/c".into(),
            },
        )]),
        search: vec!["reg.io".to_owned()],
        config_file: Some("/c".into()),
        ..NameRules::default()
    };
    let check = |text: &str, expected: Result<(&str, Option<&str>), &str>| {
        let found = lookup_image(&images, text, &rules);
        let found = found
            .as_ref()
            .map(|found| {
                (
                    found.image.id.as_str(),
                    found.name.as_ref().map(ToString::to_string),
                )
            })
            .map_err(|err| chain(err));
        let found = found
            .as_ref()
            .map(|(id, name)| (*id, name.as_deref()))
            .map_err(String::as_str);
        assert_eq!(found, expected, "{text}");
    };
    check("tiny", Ok((&local, Some("localhost/tiny:latest"))));
    check(
        "docker.io/tiny",
        Ok((&hub, Some("docker.io/library/tiny:latest"))),
    );
    check("only", Ok((&hub, Some("docker.io/library/only:latest"))));
    check("short", Ok((&aliased, Some("reg.io/a/other:latest"))));
    check("a/deep:1", Ok((&deep, Some("reg.io/a/deep:1"))));
    check("deep:1", Ok((&deep, Some("reg.io/a/deep:1"))));
    check(
        &format!("deep@{digest}"),
        Ok((&deep, Some("reg.io/a/deep:1"))),
    );
    check(
        &format!("reg.io/a/deep:9@{digest}"),
        Ok((&deep, Some(&format!("reg.io/a/deep@{digest}")))),
    );
    check(&local, Ok((&local, None)));
    check(&format!("sha256:{local}"), Ok((&local, None)));
    check(&local[..12], Ok((&local, None)));
    check(
        "containers-storage:docker.io/library/only",
        Ok((&hub, Some("docker.io/library/only:latest"))),
    );
    check(
        "sha256:abcd",
        Err("sha256:abcd: invalid format: no 64-byte hexadecimal value"),
    );
    check(
        "docker://tiny",
        Err("unsupported transport \"docker\" for looking up local images"),
    );
    check(
        "eep:1",
        Err("eep:1: image not known: tried localhost/eep:1, reg.io/eep:1, docker.io/library/eep:1"),
    );
    check(
        "reg.io/none",
        Err("reg.io/none: image not known: tried reg.io/none:latest"),
    );
    check(
        "a b",
        Err("parsing reference \"a b\": invalid reference format"),
    );
    let zeros = "0".repeat(64);
    check(
        &zeros,
        Err(&format!("{zeros}: image not known: tried {zeros}")),
    );
    check(
        &format!("sha256:{}", digest.hex()),
        Err(&format!(
            "sha256:{0}: image not known: tried {0}",
            digest.hex()
        )),
    );
}

#[test]
fn priv_lists_lead_to_their_instances() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    let entry = |digest: Digest, architecture: &str| Descriptor {
        platform: Some(Platform::new("linux", architecture)),
        ..Descriptor::new(media_type::OCI_MANIFEST, digest, 1)
    };
    let gone = Digest::sha256(b"gone");
    let list = Index::new(ManifestFormat::Oci, vec![entry(gone.clone(), "arm64")]).to_bytes();
    let image = NewImage {
        id: None,
        ..NewImage::new(None, &list, b"{}")
    };
    let record = store
        .put_image(image.with_names(vec!["localhost/list:latest".to_owned()]))
        .unwrap();
    let images = store.images().unwrap();
    let found = lookup_image(&images, "list", &NameRules::default()).unwrap();
    assert_eq!(found.image.id, record.id);
    let instance = |architecture: &str| {
        instance_of(&store, &record, Some(&Platform::new("linux", architecture)))
    };
    assert_eq!(
        instance("s390x").unwrap_err().to_string(),
        "no image found in image index for architecture \"s390x\", variant \"\", OS \"linux\": image not known"
    );
    let missing = instance("arm64").unwrap_err();
    assert!(matches!(&missing, LookupError::NoInstance { .. }) && missing.is_not_found());
    assert_eq!(
        missing.to_string(),
        format!(
            "could not find image instance {gone} of manifest list {} in local containers storage: image not known",
            record.id
        )
    );
}

#[test]
fn places_that_cannot_be_used_say_so() {
    let scratch = Scratch::new();
    for (from, to, expected) in [
        (
            "docker://alpine",
            "dir:@/x",
            "`docker://alpine:latest` needs a registry, and none can be reached from here",
        ),
        (
            "dir:@/x",
            "docker://alpine",
            "`docker://alpine:latest` needs a registry, and none can be reached from here",
        ),
        (
            "atomic:a:b",
            "dir:@/x",
            "the transport `atomic:` is not supported yet",
        ),
        (
            "dir:@/x",
            "sif:x",
            "the transport `sif:` is not supported yet",
        ),
        (
            "containers-storage:x",
            "dir:@/x",
            "`x` needs a store, and none is open",
        ),
    ] {
        assert_eq!(failure(scratch.copy(from, to, None)), expected);
    }
}

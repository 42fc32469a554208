//! Into stores and out of them.

use cooper_transfer::{TransportRef, pull};
use model::event::BlobOutcome;
use model::{Event, ManifestFormat, Platform, media_type};
use store::DriverName;

use crate::support::{Heard, Image, Scratch, blob, failure, named, write_index};

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn priv_what_goes_in_comes_out() {
    for driver in [DriverName::Overlay, DriverName::Vfs] {
        let scratch = Scratch::new();
        let store = scratch.store("s", driver);
        let image = Image::new(
            ManifestFormat::Oci,
            "linux/amd64",
            &[b"one", b"two", b"three"],
        );
        image.write_layout(&scratch.path("a"), Some("me/it:1"));
        let pulled = pull(
            &scratch.place("oci:@/a:me/it:1"),
            &store,
            &scratch.options(),
            &model::event::Silent,
        )
        .unwrap();
        assert_eq!(pulled[0].names, ["docker.io/me/it:1"]);
        let id = pulled[0].image.clone().unwrap();
        assert_eq!(id.as_str(), image.manifest().config.digest.hex());
        assert_eq!(
            store.image_manifest(&id).unwrap(),
            image.manifest().to_bytes()
        );

        // Layers are there now, and are not read again.
        let heard = Heard::default();
        pull(
            &scratch.place("oci:@/a"),
            &store,
            &scratch.options(),
            &heard,
        )
        .unwrap();
        let events = heard.0.into_inner().unwrap();
        let again = |event: &&Event| {
            matches!(
                event,
                Event::BlobDone {
                    outcome: BlobOutcome::AlreadyThere,
                    ..
                }
            )
        };
        assert_eq!(events.iter().filter(again).count(), 3);

        // The archives that come out are those that went in.
        let out = scratch
            .copy(
                &format!("containers-storage:{id}"),
                "dir:@/out",
                Some(&store),
            )
            .unwrap();
        let digests: Vec<_> = out
            .manifest
            .manifest()
            .layers
            .iter()
            .map(|layer| layer.digest.clone())
            .collect();
        let expected: Vec<_> = image
            .config
            .rootfs
            .diff_ids
            .iter()
            .map(|diff_id| diff_id.0.clone())
            .collect();
        assert_eq!(digests, expected);
        assert!(
            out.manifest
                .manifest()
                .layers
                .iter()
                .all(|layer| layer.media_type == media_type::OCI_LAYER)
        );

        // From store to store.
        let other = scratch.store("t", DriverName::Vfs);
        let to = format!(
            "containers-storage:[vfs@{}+{}]x:1",
            other.graph_root().display(),
            other.run_root().display()
        );
        let (from, to) = (
            scratch.place("containers-storage:me/it:1"),
            TransportRef::parse(&to).unwrap(),
        );
        let silent = model::event::Silent;
        cooper_transfer::copy(&from, &to, Some(&store), &scratch.options(), &silent).unwrap();
        assert_eq!(
            other
                .images()
                .unwrap()
                .by_name("docker.io/library/x:1")
                .unwrap()
                .id,
            id
        );
    }
}

#[test]
fn priv_a_layer_on_another_parent_is_copied_inside_the_store() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Overlay);
    let one = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"]);
    one.write_layout(&scratch.path("a"), None);
    let mut other = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"zero", b"two"]);
    other.layers[1] = one.layers[1].clone();
    other.config.rootfs.diff_ids[1] = one.config.rootfs.diff_ids[1].clone();
    other.write_layout(&scratch.path("b"), None);
    pull(
        &scratch.place("oci:@/a"),
        &store,
        &scratch.options(),
        &model::event::Silent,
    )
    .unwrap();
    let pulled = pull(
        &scratch.place("oci:@/b"),
        &store,
        &scratch.options(),
        &model::event::Silent,
    )
    .unwrap();
    assert_eq!(store.layers().unwrap().iter().count(), 4);
    let id = pulled[0].image.clone().unwrap();
    let out = scratch
        .copy(
            &format!("containers-storage:@{id}"),
            "dir:@/out",
            Some(&store),
        )
        .unwrap();
    assert_eq!(
        out.manifest.manifest().layers[1].digest,
        one.config.rootfs.diff_ids[1].0
    );
}

#[test]
fn priv_an_image_of_a_list_is_found_by_the_list_s_digest() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    let layout = scratch.path("a");
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"amd"]);
    let bytes = model::Index::new(ManifestFormat::Oci, vec![image.write_blobs(&layout)]).to_bytes();
    let digest = blob(&layout, &bytes);
    let entry = model::Descriptor::new(media_type::OCI_INDEX, digest.clone(), bytes.len() as u64);
    write_index(&layout, vec![named(entry, Some("l"))]);
    scratch
        .copy("oci:@/a:l", "containers-storage:q.io/l:1", Some(&store))
        .unwrap();
    for name in [
        format!("q.io/l@{digest}"),
        format!(
            "q.io/l@{}",
            model::Digest::sha256(&image.manifest().to_bytes())
        ),
    ] {
        let found =
            cooper_transfer::lookup(&store, &name, &cooper_transfer::NameRules::default(), None)
                .unwrap();
        assert_eq!(found.image.digest, Some(digest.clone()));
        scratch
            .copy(
                &format!("containers-storage:{name}"),
                "dir:@/out",
                Some(&store),
            )
            .unwrap();
    }
    let wrong =
        TransportRef::parse(&format!("containers-storage:x@sha256:{}", "0".repeat(64))).unwrap();
    let result = cooper_transfer::copy(
        &scratch.place("oci:@/a:l"),
        &wrong,
        Some(&store),
        &scratch.options(),
        &model::event::Silent,
    );
    assert!(failure(result).contains("is by another digest"));
    assert_eq!(
        failure(scratch.copy(
            "oci:@/a:l",
            &format!("containers-storage:x@{}", "0".repeat(64)),
            Some(&store)
        ))
        .split(" asks for ")
        .count(),
        2
    );
}

#[test]
fn priv_a_requested_platform_must_fit() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    Image::new(ManifestFormat::Oci, "linux/arm64", &[b"arm"])
        .write_layout(&scratch.path("a"), None);
    scratch
        .copy("oci:@/a", "containers-storage:localhost/arm", Some(&store))
        .unwrap();
    let look = |platform: Option<&str>| {
        let platform = platform.map(|text| Platform::parse(text).unwrap());
        cooper_transfer::lookup(
            &store,
            "arm",
            &cooper_transfer::NameRules::default(),
            platform.as_ref(),
        )
        .map(|found| found.name.unwrap().to_string())
        .map_err(|err| err.to_string())
    };
    assert_eq!(look(None), Ok("localhost/arm:latest".to_owned()));
    assert_eq!(
        look(Some("linux/arm64/v8")),
        Ok("localhost/arm:latest".to_owned())
    );
    assert_eq!(
        look(Some("linux/amd64")),
        Err(
            "image platform (linux/arm64) does not match the expected platform (linux/amd64)"
                .to_owned()
        )
    );
}

//! Between directories, layouts and archives, without a store.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use archive::Compression;
use cooper_transfer::{Compress, CompressionFormat, CopyOptions, copy};
use model::event::BlobOutcome;
use model::{Digest, Event, ManifestFormat, Platform, Reporter, media_type};

use crate::support::{Heard, Image, Scratch, blob, failure, named, pack, write_index};

#[test]
fn a_manifest_that_need_not_change_keeps_its_bytes() {
    let scratch = Scratch::new();
    let image = Image::new(
        ManifestFormat::Oci,
        "linux/amd64",
        &[b"one", b"two", b"one"],
    );
    image.write_layout(&scratch.path("a"), Some("t"));
    let expected = image.manifest().to_bytes();
    for (from, to) in [
        ("oci:@/a:t", "dir:@/b"),
        ("dir:@/b", "oci:@/c:x/y:1"),
        ("oci:@/c", "oci-archive:@/d.tar:v1"),
        ("oci-archive:@/d.tar:v1", "dir:@/e"),
        ("oci-archive:@/d.tar", "dir:@/e"),
        ("dir:@/e", "oci-archive:@/f.tar"),
        ("oci-archive:@/f.tar:@0", "oci:@/c:z"),
    ] {
        let copied = scratch
            .copy(from, to, None)
            .unwrap_or_else(|err| panic!("{from} {to}: {err}"));
        assert_eq!(copied.manifest.bytes(), expected, "{from} {to}");
        assert_eq!(copied.digest, Digest::sha256(&expected));
    }
    assert_eq!(
        scratch.list("e").len(),
        3 + 3,
        "version, manifest, config, layers"
    );
}

#[test]
fn the_same_layers_give_the_same_archive() {
    let scratch = Scratch::new();
    let image = Image::new(ManifestFormat::Docker, "linux/amd64", &[b"one", b"two"]);
    image.write_layout(&scratch.path("a"), None);
    for to in [
        "oci-archive:@/1.tar:t",
        "oci-archive:@/2.tar:t",
        "docker-archive:@/3.tar:t",
        "docker-archive:@/4.tar:t",
    ] {
        scratch.copy("oci:@/a", to, None).unwrap();
    }
    for (one, other) in [("1.tar", "2.tar"), ("3.tar", "4.tar")] {
        assert!(fs::read(scratch.path(one)).unwrap() == fs::read(scratch.path(other)).unwrap());
    }
}

#[test]
fn formats_are_converted_where_the_destination_needs_it() {
    let scratch = Scratch::new();
    let mut image = Image::new(ManifestFormat::Docker, "linux/amd64", &[b"one"]);
    image.config.config.shell = vec!["/bin/bash".to_owned()];
    image.write_layout(&scratch.path("a"), None);
    let oci = scratch.copy("oci:@/a", "oci:@/b", None).unwrap();
    assert_eq!(
        oci.manifest.manifest().layers[0].media_type,
        media_type::OCI_LAYER_GZIP
    );
    assert_eq!(
        oci.manifest.manifest().layers[0].digest,
        image.manifest().layers[0].digest
    );
    let config = oci.manifest.manifest().config.clone();
    assert_eq!(config.media_type, media_type::OCI_CONFIG);
    let bytes = fs::read(scratch.path("b/blobs/sha256").join(config.digest.hex())).unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains("Shell"));

    // The other way the config stays as it is.
    let docker = scratch
        .copy("oci:@/b", "docker-archive:@/c.tar", None)
        .unwrap();
    assert_eq!(docker.manifest.manifest().config.digest, config.digest);
    assert_eq!(
        docker.manifest.manifest().layers[0].media_type,
        media_type::DOCKER_LAYER
    );
    assert_eq!(
        docker.manifest.manifest().layers[0].digest,
        image.config.rootfs.diff_ids[0].0
    );

    let asked = CopyOptions {
        format: Some(ManifestFormat::Docker),
        ..scratch.options()
    };
    let dir = scratch
        .copy_with("oci:@/b", "dir:@/d", None, &asked)
        .unwrap();
    assert_eq!(
        dir.manifest.manifest().media_type,
        media_type::DOCKER_MANIFEST
    );
    // A layout gets Docker's manifests when they are asked for, and only then.
    for place in ["oci:@/e", "oci-archive:@/e.tar"] {
        let layout = scratch.copy_with("oci:@/b", place, None, &asked).unwrap();
        assert_eq!(layout.digest, dir.digest, "{place}");
        let back = scratch.copy(place, "dir:@/back", None).unwrap();
        assert_eq!(back.digest, dir.digest, "{place}");
    }
    let plain = scratch.copy("dir:@/d", "oci:@/g", None).unwrap();
    assert_eq!(
        plain.manifest.manifest().media_type,
        media_type::OCI_MANIFEST
    );
    let asked = CopyOptions {
        format: Some(ManifestFormat::Oci),
        ..scratch.options()
    };
    let place = scratch.path("h").display().to_string();
    assert_eq!(
        failure(scratch.copy_with("oci:@/b", "docker-archive:@/h:x", None, &asked)),
        format!(
            "`docker-archive:{place}:docker.io/library/x:latest` does not take manifests of type `{}`",
            media_type::OCI_MANIFEST
        )
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn layers_are_compressed_as_the_table_says() {
    use Compression::{Bzip2, Gzip, None as Plain, Xz, Zstd};
    let scratch = Scratch::new();
    let tar = crate::support::layer("file0", b"one");
    let make = |name: &str, compression, kind| {
        let mut image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"]);
        image.layers[0] = (pack(&tar, compression), kind);
        image.write_layout(&scratch.path(name), None);
    };
    make("plain", Plain, media_type::OCI_LAYER);
    make("gzip", Gzip, media_type::OCI_LAYER_GZIP);
    make("zstd", Zstd, media_type::OCI_LAYER_ZSTD);
    let number = std::cell::Cell::new(0);
    let check = |from: &str, to: &str, change: fn(&mut CopyOptions), expected: Compression| {
        number.set(number.get() + 1);
        let mut options = scratch.options();
        change(&mut options);
        let to = format!("{to}:@/out{}", number.get());
        let copied = scratch
            .copy_with(&format!("oci:@/{from}"), &to, None, &options)
            .unwrap();
        let layer = &copied.manifest.manifest().layers[0];
        let kind = media_type::LayerType::parse(&layer.media_type).unwrap();
        let directory = scratch.path(&format!("out{}", number.get()));
        if to.starts_with("docker-archive") {
            assert_eq!(
                (expected, kind.compression),
                (Plain, media_type::LayerCompression::None)
            );
            return;
        }
        let path = if to.starts_with("dir") {
            directory
        } else {
            directory.join("blobs/sha256")
        };
        let bytes = fs::read(path.join(layer.digest.hex())).unwrap();
        assert_eq!(archive::detect(&bytes), expected, "{from} {to}");
        let named = match kind.compression {
            media_type::LayerCompression::None => Plain,
            media_type::LayerCompression::Gzip => Gzip,
            media_type::LayerCompression::Zstd => Zstd,
        };
        assert_eq!(named, expected, "{from} {to}");
    };
    for (from, same) in [("plain", Plain), ("gzip", Gzip), ("zstd", Zstd)] {
        check(from, "dir", |_| {}, same);
        check(
            from,
            "dir",
            |options| options.compress = Compress::Always,
            if same == Plain { Gzip } else { same },
        );
        check(from, "oci", |_| {}, if same == Plain { Gzip } else { same });
        check(
            from,
            "oci",
            |options| options.compress = Compress::Never,
            same,
        );
        check(
            from,
            "oci",
            |options| options.compression = Some(CompressionFormat::Zstd),
            Zstd,
        );
        check(
            from,
            "oci",
            |options| options.compression = Some(CompressionFormat::Gzip),
            Gzip,
        );
        check(from, "docker-archive", |_| {}, Plain);
        check(
            from,
            "dir",
            |options| options.format = Some(ManifestFormat::Docker),
            if same == Zstd { Gzip } else { same },
        );
    }
    // These two are only ever read.
    for (name, compression) in [("bzip2", Bzip2), ("xz", Xz)] {
        assert!(
            archive::Encoder::new(Vec::new(), compression, None).is_err(),
            "{name}"
        );
    }
    let check = |to: &str, change: &dyn Fn(&mut CopyOptions), expected: &str| {
        let mut options = scratch.options();
        change(&mut options);
        let found = failure(scratch.copy_with("oci:@/plain", to, None, &options));
        assert_eq!(found, expected);
    };
    check(
        "dir:@/x",
        &|options| {
            options.compression = Some(CompressionFormat::Zstd);
            options.format = Some(ManifestFormat::Docker);
        },
        "compression using zstd required together with format application/vnd.docker.distribution.manifest.v2+json, which does not support it",
    );
    check(
        "oci:@/x",
        &|options| options.compression = Some(CompressionFormat::Bzip2),
        "compression using bzip2 required but the destination only supports MIME types [application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json], none of which support it",
    );
    // What an archive of Docker's cannot have is dropped, but not that it was insisted on.
    for to in ["docker-archive:@/x", "dir:@/x"] {
        check(
            to,
            &|options| {
                options.compression = Some(CompressionFormat::Zstd);
                options.format = Some(ManifestFormat::Docker);
                options.force_compression = true;
            },
            "cannot use ForceCompressionFormat with undefined default compression format",
        );
    }
}

#[test]
fn lists_lead_to_the_image_for_the_machine() {
    let scratch = Scratch::new();
    let layout = scratch.path("a");
    let amd = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"amd"]);
    let arm = Image::new(ManifestFormat::Oci, "linux/arm64/v8", &[b"arm"]);
    let index = model::Index::new(
        ManifestFormat::Oci,
        vec![amd.write_blobs(&layout), arm.write_blobs(&layout)],
    );
    let bytes = index.to_bytes();
    let entry = model::Descriptor::new(
        media_type::OCI_INDEX,
        blob(&layout, &bytes),
        bytes.len() as u64,
    );
    write_index(&layout, vec![named(entry, Some("list"))]);
    for (platform, expected) in [
        ("linux/amd64", &amd),
        ("linux/arm64", &arm),
        ("linux/arm64/v8", &arm),
    ] {
        let options = CopyOptions {
            platform: Platform::parse(platform).unwrap(),
            ..scratch.options()
        };
        let copied = scratch
            .copy_with("oci:@/a:list", "dir:@/b", None, &options)
            .unwrap();
        assert_eq!(
            copied.manifest.bytes(),
            expected.manifest().to_bytes(),
            "{platform}"
        );
    }
    let options = CopyOptions {
        platform: Platform::new("linux", "s390x"),
        ..scratch.options()
    };
    assert_eq!(
        failure(scratch.copy_with("oci:@/a:list", "dir:@/c", None, &options)),
        format!(
            "choosing an image from manifest list oci:{}:list: no image found in image index for architecture \"s390x\", \
             variant \"\", OS \"linux\": it has images for linux/amd64, linux/arm64/v8",
            layout.display()
        )
    );
    assert!(!scratch.path("c").exists());
}

#[test]
fn progress_is_told() {
    let scratch = Scratch::new();
    Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"])
        .write_layout(&scratch.path("a"), None);
    let tell = |expected| {
        let heard = Heard::default();
        let (from, to) = (scratch.place("oci:@/a"), scratch.place("oci:@/b:t"));
        cooper_transfer::copy(&from, &to, None, &scratch.options(), &heard).unwrap();
        let events = heard.0.into_inner().unwrap();
        let outcomes: Vec<BlobOutcome> = events
            .iter()
            .filter_map(|event| match event {
                Event::BlobDone { outcome, .. } => Some(*outcome),
                _ => None,
            })
            .collect();
        assert_eq!(outcomes, [expected, expected]);
        assert_eq!(events.first(), Some(&Event::GettingSignatures));
        assert_eq!(events.last(), Some(&Event::WritingManifest));
    };
    tell(BlobOutcome::Copied);
    tell(BlobOutcome::AlreadyThere);
}

#[test]
fn artifacts_are_handed_on_but_never_become_images() {
    let scratch = Scratch::new();
    let layout = scratch.path("a");
    let part = |kind: &str, bytes: &[u8]| {
        model::Descriptor::new(kind, blob(&layout, bytes), bytes.len() as u64)
    };
    let config = part(media_type::OCI_EMPTY, b"{}");
    let mut manifest = model::Manifest::new(
        ManifestFormat::Oci,
        config,
        vec![part("application/x-thing", b"thing")],
    );
    manifest.artifact_type = Some("application/x-kind".to_owned());
    let bytes = manifest.to_bytes();
    write_index(&layout, vec![part(media_type::OCI_MANIFEST, &bytes)]);
    let copied = scratch.copy("oci:@/a", "dir:@/b", None).unwrap();
    assert_eq!(copied.manifest.bytes(), bytes);
    assert_eq!(
        failure(scratch.copy("oci:@/a", "docker-archive:@/c.tar", None)),
        "unsupported image-specific operation on artifact with type \"application/x-kind\""
    );
}

/// Turns a switch when the first layer begins to move.
struct Turns(Arc<AtomicBool>);

impl Reporter for Turns {
    fn event(&self, event: Event) {
        if matches!(event, Event::BlobStarted { .. }) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_copy_that_nobody_wants_any_more_ends_and_publishes_nothing() {
    let scratch = Scratch::new();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"]);
    image.write_layout(&scratch.path("a"), None);
    for begun in [false, true] {
        let stop = Arc::new(AtomicBool::new(!begun));
        let options = CopyOptions {
            stop: Some(Arc::clone(&stop)),
            ..scratch.options()
        };
        let (from, to) = (scratch.place("oci:@/a"), scratch.place("oci:@/b:t"));
        let ended = copy(&from, &to, None, &options, &Turns(stop));
        let why = failure(ended);
        assert!(why.ends_with("the copy was given up"), "{why}");
        assert!(!scratch.path("b/index.json").exists());
    }
}

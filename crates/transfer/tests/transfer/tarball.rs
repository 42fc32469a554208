//! `tarball:`: plain archives that become images.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use archive::Compression;
use model::{Digest, ImageConfig, media_type};
use store::DriverName;

use crate::support::{Scratch, failure, layer, pack};

fn write(scratch: &Scratch, name: &str, bytes: &[u8], seconds: u64) {
    let path = scratch.path(name);
    fs::write(&path, bytes).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

#[test]
fn every_archive_becomes_a_layer() {
    let scratch = Scratch::new();
    let (one, two) = (layer("one", b"1"), layer("two", b"2"));
    write(&scratch, "one.tar", &one, 1_000_000_000);
    write(
        &scratch,
        "two.tgz",
        &pack(&two, Compression::Gzip),
        1_000_000_060,
    );
    write(
        &scratch,
        "two.zst",
        &pack(&two, Compression::Zstd),
        1_000_000_030,
    );
    let from = "tarball:@/one.tar:@/two.tgz:@/two.zst".replace("@/", &scratch.text("@/"));
    let copied = scratch.copy(&from, "dir:@/out", None).unwrap();
    let manifest = copied.manifest.manifest();
    let kinds: Vec<&str> = manifest.layers.iter().map(|one| &*one.media_type).collect();
    assert_eq!(
        kinds,
        [
            media_type::OCI_LAYER,
            media_type::OCI_LAYER_GZIP,
            media_type::OCI_LAYER_ZSTD
        ]
    );
    let config = fs::read(scratch.path("out").join(manifest.config.digest.hex())).unwrap();
    let config = ImageConfig::parse(&config).unwrap();
    let diff_ids: Vec<&Digest> = config.rootfs.diff_ids.iter().map(|id| &id.0).collect();
    let (one, two) = (Digest::sha256(&one), Digest::sha256(&two));
    assert_eq!(diff_ids, [&one, &two, &two]);
    assert_eq!(config.created.unwrap().unix_seconds(), 1_000_000_060);
    assert_eq!(
        config.history[0].created.unwrap().unix_seconds(),
        1_000_000_000
    );
    assert_eq!(
        config.history[2].created_by,
        format!("/bin/sh -c #(nop) ADD file:{} in /", two.hex())
    );
    let again = scratch.copy(&from, "dir:@/again", None).unwrap();
    assert_eq!(again.digest, copied.digest, "equal files make equal images");

    let store = scratch.store("s", DriverName::Vfs);
    let options = scratch.options();
    let pulled = cooper_transfer::pull(
        &scratch.place(&from),
        &store,
        &options,
        &model::event::Silent,
    )
    .unwrap();
    assert!(pulled[0].image.is_some() && pulled[0].names.is_empty());
}

#[test]
fn a_pipe_is_read_once() {
    let scratch = Scratch::new();
    let tar = layer("f", &[7; 100_000]);
    let pipe = scratch.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let bytes = pack(&tar, Compression::Gzip);
    let writer = std::thread::spawn(move || fs::write(pipe, bytes).unwrap());
    let copied = scratch.copy("tarball:@/pipe", "oci:@/out", None).unwrap();
    writer.join().unwrap();
    let layers = &copied.manifest.manifest().layers;
    assert_eq!(layers[0].media_type, media_type::OCI_LAYER_GZIP);
}

#[test]
fn what_is_no_archive_is_refused() {
    let scratch = Scratch::new();
    write(&scratch, "empty", b"", 1);
    write(&scratch, "text", b"no archive", 1);
    write(&scratch, "good.tar", &layer("f", b"x"), 1);
    let torn = pack(&layer("f", &[7; 5000]), Compression::Gzip);
    write(&scratch, "torn", &torn[..torn.len() - 9], 1);
    let store = scratch.store("s", DriverName::Vfs);
    for (from, to, expected) in [
        ("tarball:@/empty", "dir:@/out", "empty` is empty"),
        ("tarball:@/torn", "dir:@/out", "cannot read"),
        ("tarball:@/none", "dir:@/out", "No such file"),
        ("tarball:@/", "dir:@/out", "is not a regular file"),
        (
            "tarball:@/text",
            "containers-storage:x",
            "cannot copy layer 0",
        ),
        ("dir:@/out", "tarball:@/x", "No such file"),
    ] {
        let error = failure(scratch.copy(from, to, Some(&store)));
        assert!(error.contains(expected), "{from}: {error}");
    }
    scratch
        .copy("tarball:@/good.tar", "dir:@/out", None)
        .unwrap();
    let error = failure(scratch.copy("dir:@/out", "tarball:@/x", None));
    assert!(error.contains("can only be read from"), "{error}");
}

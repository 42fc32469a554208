//! Images of Docker's first format in directories.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use archive::Compression;
use cooper_transfer::{CopyOptions, PolicySource, SignatureOptions};
use model::{Digest, Document, ManifestFormat};
use serde_json::json;
use trust::{Policy, Requirement};

use crate::support::{Image, Scratch, failure, layer, pack, tool};

/// Writes an image of one layer, without signatures, and returns the file of the layer.
fn write(scratch: &Scratch) -> PathBuf {
    let blob = pack(&layer("file", b"content"), Compression::Gzip);
    let digest = Digest::sha256(&blob);
    let described = json!({
        "id": "a".repeat(64), "created": "2020-01-02T03:04:05Z",
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
    });
    let manifest = json!({
        "schemaVersion": 1, "name": "a/b", "tag": "1", "architecture": "amd64",
        "fsLayers": [{"blobSum": digest}], "history": [{"v1Compatibility": described.to_string()}],
    });
    let folder = scratch.path("old");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    let path = folder.join(digest.hex());
    fs::write(&path, blob).unwrap();
    path
}

#[test]
fn an_old_image_in_a_directory_is_converted() {
    let scratch = Scratch::new();
    let blob = write(&scratch);
    let copied = scratch.copy("dir:@/old", "oci:@/new", None).unwrap();
    let layers = &copied.manifest.manifest().layers;
    assert_eq!(layers.len(), 1);
    assert_eq!(
        Some(layers[0].digest.hex()),
        blob.file_name().unwrap().to_str()
    );

    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = failure(scratch.copy("dir:@/old", "oci:@/other", None));
    assert!(error.contains("digest"), "{error}");
}

#[test]
fn a_policy_speaks_before_old_layers_are_read() {
    let scratch = Scratch::new();
    fs::remove_file(write(&scratch)).unwrap();
    let policy = PolicySource::given(Policy::uniform(Requirement::Reject));
    let options = CopyOptions {
        signatures: SignatureOptions {
            policy: Arc::new(policy),
            ..SignatureOptions::unchecked()
        },
        ..scratch.options()
    };
    let error = failure(scratch.copy_with("dir:@/old", "oci:@/new", None, &options));
    assert!(error.contains("is rejected by policy"), "{error}");
}

#[test]
fn peer_an_old_image_of_skopeo_becomes_what_skopeo_makes_of_it() {
    let scratch = Scratch::new();
    Image::new(ManifestFormat::Docker, "linux/amd64", &[b"one", b"two"])
        .write_layout(&scratch.path("image"), None);
    let skopeo = |format: &str, from: &str, to: &str| {
        let (from, to) = (scratch.text(from), scratch.text(to));
        tool(&["skopeo", "copy", "-q", "--format", format, &from, &to]);
    };
    skopeo("v2s1", "oci:@/image", "dir:@/old");
    skopeo("v2s2", "dir:@/old", "dir:@/theirs");
    let ours = scratch.copy("dir:@/old", "dir:@/ours", None).unwrap();
    let theirs = fs::read(scratch.path("theirs/manifest.json")).unwrap();
    let Document::Manifest(theirs) = Document::parse(theirs).unwrap() else {
        panic!("an image is no list");
    };
    assert_eq!(ours.manifest.manifest().config, theirs.manifest().config);
    assert_eq!(ours.manifest.manifest().layers, theirs.manifest().layers);
}

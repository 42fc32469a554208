//! Layers that are encrypted and decrypted between directories and layouts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_transfer::{CompressionFormat, CopyOptions, LayerEncryption};
use model::{Digest, Manifest, ManifestFormat, RawManifest, media_type};
use store::DriverName;
use trust::encryption::{DecryptionKeys, Recipients};

use crate::support::{Image, Scratch, failure};

const ENCRYPTED: &str = media_type::OCI_LAYER_GZIP_ENCRYPTED;
const PUBLIC_OPTIONS: &str = "org.opencontainers.image.enc.pubopts";

fn key(name: &str) -> Vec<u8> {
    let keys =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../trust/tests/trust/fixtures/encryption");
    fs::read(keys.join(name)).unwrap()
}

fn encrypting(scratch: &Scratch, layers: &[i64]) -> CopyOptions {
    let mut recipients = Recipients::default();
    recipients.add_jwe(&key("ec.pub")).unwrap();
    CopyOptions {
        encryption: Some(LayerEncryption {
            recipients: Arc::new(recipients),
            layers: layers.to_vec(),
        }),
        ..scratch.options()
    }
}

fn decrypting(scratch: &Scratch) -> CopyOptions {
    let mut keys = DecryptionKeys::default();
    keys.add(&key("ec.pem"), None).unwrap();
    CopyOptions {
        decryption: Some(Arc::new(keys)),
        ..scratch.options()
    }
}

fn types(manifest: &RawManifest) -> Vec<&str> {
    let layers = &manifest.manifest().layers;
    layers
        .iter()
        .map(|layer| layer.media_type.as_str())
        .collect()
}

/// An image of two layers in the layout `plain`, and the same with both encrypted in `secret`.
fn images(scratch: &Scratch) -> Image {
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"]);
    image.write_layout(&scratch.path("plain"), None);
    let options = encrypting(scratch, &[]);
    let copied = scratch.copy_with("oci:@/plain", "oci:@/secret", None, &options);
    assert_eq!(types(&copied.unwrap().manifest), [ENCRYPTED; 2]);
    image
}

#[test]
fn what_was_encrypted_is_decrypted() {
    let scratch = Scratch::new();
    let image = images(&scratch);
    let store = scratch.store("s", DriverName::Vfs);
    for (number, (layers, compression)) in [
        (&[][..], None),
        (&[-1], None),
        (&[0], Some(CompressionFormat::ZstdChunked)),
    ]
    .into_iter()
    .enumerate()
    {
        let options = CopyOptions {
            compression,
            ..encrypting(&scratch, layers)
        };
        let encrypted = format!("dir:@/encrypted{number}");
        scratch
            .copy_with("oci:@/plain", &encrypted, None, &options)
            .unwrap();
        for to in [
            format!("oci:@/back{number}"),
            format!("containers-storage:n{number}"),
        ] {
            let copied = scratch.copy_with(&encrypted, &to, Some(&store), &decrypting(&scratch));
            let manifest = copied.unwrap().manifest;
            let layers = &manifest.manifest().layers;
            assert!(layers.iter().all(|layer| layer.annotations.is_empty()));
            assert!(
                !types(&manifest)
                    .iter()
                    .any(|kind| kind.contains("encrypted"))
            );
            assert_eq!(manifest.manifest().config, image.manifest().config);
        }
    }
}

#[test]
fn what_is_encrypted_already_stays_as_it_is() {
    let scratch = Scratch::new();
    images(&scratch);
    let before = scratch
        .copy("oci:@/secret", "dir:@/a", None)
        .unwrap()
        .manifest;
    let options = encrypting(&scratch, &[]);
    for (from, to) in [("dir:@/a", "oci:@/b"), ("oci:@/b", "oci-archive:@/c.tar")] {
        let copied = scratch.copy_with(from, to, None, &options).unwrap();
        assert_eq!(copied.manifest.bytes(), before.bytes(), "{from} {to}");
    }
}

#[test]
fn copies_that_cannot_be_are_refused() {
    let scratch = Scratch::new();
    images(&scratch);
    let store = scratch.store("s", DriverName::Vfs);
    let check = |from: &str, to: &str, options: &CopyOptions, expected: &str| {
        let error = failure(scratch.copy_with(from, to, Some(&store), options));
        assert!(error.contains(expected), "{from} {to}: {error}");
    };
    let docker = |options: CopyOptions| CopyOptions {
        format: Some(ManifestFormat::Docker),
        ..options
    };
    let fixed = |options: CopyOptions| CopyOptions {
        preserve_digests: true,
        ..options
    };
    let unable = "encryption required together with format application/vnd.docker.distribution.manifest.v2+json, which does not support encryption";
    let options = docker(encrypting(&scratch, &[]));
    check("oci:@/plain", "dir:@/x", &options, unable);
    let options = docker(scratch.options());
    check("oci:@/secret", "dir:@/x", &options, unable);
    let unable = "encryption required but the destination only supports MIME types [application/vnd.docker.distribution.manifest.v2+json], none of which support encryption";
    let options = scratch.options();
    check("oci:@/secret", "docker-archive:@/x", &options, unable);
    let stays = "does not match config's DiffID";
    check("oci:@/secret", "containers-storage:x", &options, stays);
    let options = encrypting(&scratch, &[]);
    let stored = "layers in containers-storage cannot be encrypted";
    check("oci:@/plain", "containers-storage:x", &options, stored);
    let outside = "when choosing layers to encrypt, layer index 2 out of range (2 layers exist)";
    let options = encrypting(&scratch, &[0, 2]);
    check("oci:@/plain", "oci:@/x", &options, outside);
    let change = "Copying this image would require changing layer representation, which we cannot do: \"Instructed to preserve digests\"";
    let options = fixed(encrypting(&scratch, &[]));
    check("oci:@/plain", "oci:@/x", &options, change);
    let options = fixed(decrypting(&scratch));
    check("oci:@/secret", "oci:@/x", &options, change);
    let both = CopyOptions {
        encryption: encrypting(&scratch, &[]).encryption,
        ..decrypting(&scratch)
    };
    let both_ways = "Unable to support both decryption and encryption in the same copy";
    check("oci:@/plain", "oci:@/x", &both, both_ways);
    assert!(store.images().unwrap().iter().next().is_none());
}

/// Writes a manifest that says something else of its first layer.
fn changed(scratch: &Scratch, change: impl Fn(&mut Manifest)) {
    let bytes = fs::read(scratch.path("a/manifest.json")).unwrap();
    let mut manifest = RawManifest::parse(bytes).unwrap().manifest().clone();
    change(&mut manifest);
    fs::write(scratch.path("a/manifest.json"), manifest.to_bytes()).unwrap();
}

#[test]
fn nothing_arrives_of_what_was_tampered_with() {
    let scratch = Scratch::new();
    images(&scratch);
    let store = scratch.store("s", DriverName::Vfs);
    let check = |change: &dyn Fn(&mut Manifest), expected: &str| {
        let _ = fs::remove_dir_all(scratch.path("a"));
        scratch.copy("oci:@/secret", "dir:@/a", None).unwrap();
        changed(&scratch, change);
        for to in ["oci:@/b", "containers-storage:b"] {
            let options = decrypting(&scratch);
            let error = failure(scratch.copy_with("dir:@/a", to, Some(&store), &options));
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(scratch.list("b").iter().all(|name| name == "blobs"));
        assert!(store.layers().unwrap().iter().next().is_none());
    };
    // The ciphertext of one layer with the annotations of another one.
    let other_key = |manifest: &mut Manifest| {
        let (first, second) = (manifest.layers[0].clone(), &mut manifest.layers[1]);
        second.annotations = first.annotations;
    };
    check(&other_key, "its HMAC is not the expected one");
    let other_code = |manifest: &mut Manifest| {
        let text = manifest.layers[0]
            .annotations
            .get_mut(PUBLIC_OPTIONS)
            .unwrap();
        let options = String::from_utf8(STANDARD.decode(&text).unwrap()).unwrap();
        let (front, back) = options.split_once("\"hmac\":\"").unwrap();
        let swapped = if back.starts_with('A') { "B" } else { "A" };
        *text = STANDARD.encode(format!("{front}\"hmac\":\"{swapped}{}", &back[1..]));
    };
    check(&other_code, "its HMAC is not the expected one");
    let bare = |manifest: &mut Manifest| manifest.layers[1].annotations.clear();
    check(&bare, "missing private key needed for decryption");
}

#[test]
fn what_is_encrypted_was_compared_before() {
    let scratch = Scratch::new();
    let image = images(&scratch);
    let layer = Digest::sha256(&image.layers[0].0);
    let file = scratch.path("plain/blobs/sha256").join(layer.hex());
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let options = encrypting(&scratch, &[]);
    let error = failure(scratch.copy_with("oci:@/plain", "oci:@/x", None, &options));
    assert!(error.contains(layer.as_str()), "{error}");
    assert!(!scratch.path("x/index.json").exists());
}

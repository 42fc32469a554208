//! Encrypted layers: ours for the others, theirs for us, and what is refused.

use std::path::Path;

use serde_json::Value;
use testkit::registry::Registry;

use super::setting::{PLAIN, at, id, layer_types, make, raw, tiny};
use crate::stage::{Stage, Store, text};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";

/// The keys that lie beside the tests of `trust`, in the stage's folder.
fn with_keys(purpose: &str) -> Stage {
    let stage = tiny(purpose);
    let keys =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../trust/tests/trust/fixtures/encryption");
    for name in [
        "rsa.pem",
        "rsa.pub",
        "rsa-locked.pem",
        "ec.pem",
        "ec.pub",
        "cert.pem",
        "short.pem",
        "people.gpg",
        "secret.gpg",
    ] {
        std::fs::copy(keys.join(name), stage.path(name)).expect("a key");
    }
    std::fs::write(stage.path("password"), "sesam\n").expect("a password");
    let home = stage.path("gnupg");
    std::fs::create_dir_all(&home).expect("a folder for keys");
    // The program has its public keys in this file, if it is there.
    std::fs::copy(stage.path("people.gpg"), home.join("pubring.gpg")).expect("a keyring");
    stage.set("GNUPGHOME", text(&home));
    stage
}

fn layout(stage: &Stage, name: &str) -> String {
    format!("oci:{}", stage.path(name).display())
}

/// The types of the layers of a layout's image.
fn types(stage: &Stage, place: &str) -> Vec<String> {
    let manifest: Value =
        serde_json::from_str(&stage.skopeo(&["inspect", "--raw", place]).ok()).expect("is JSON");
    layer_types(&manifest)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn peer_40_what_is_encrypted_here_is_read_by_skopeo() {
    let (stage, registry) = (with_keys("wire40a"), Registry::open().unwrap());
    for (number, (recipients, key)) in [
        (&["jwe:rsa.pub"][..], "rsa.pem"),
        (&["jwe:ec.pub"], "ec.pem"),
        (&["pgp:t@example.com"], "secret.gpg"),
        (
            &["jwe:rsa.pub", "pgp:Tester", "pkcs7:cert.pem"],
            "secret.gpg",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let place = at(&registry.host(), &format!("e:{number}"));
        let mut words = vec!["push", "-q", PLAIN];
        for recipient in recipients {
            words.extend(["--encryption-key", recipient]);
        }
        words.extend(["tiny", &place]);
        stage.cooper(&words).ok();
        let manifest = raw(&stage, &place);
        assert_eq!(layer_types(&manifest), [ENCRYPTED]);
        let annotations = manifest["layers"][0]["annotations"].as_object().unwrap();
        assert_eq!(annotations.len(), recipients.len() + 1, "{annotations:?}");
        let (key, copy) = (stage.path(key), layout(&stage, &format!("copy{number}")));
        let plain = ["copy", "-q", "--src-tls-verify=false", "--decryption-key"];
        let words = [&plain[..], &[text(&key), &place, &copy]].concat();
        stage.skopeo(&words).ok();
        assert_eq!(types(&stage, &copy), [LAYER]);
    }
}

#[test]
fn peer_40_what_is_encrypted_elsewhere_is_read_here() {
    let (stage, registry) = (with_keys("wire40b"), Registry::open().unwrap());
    let (plain, here) = (layout(&stage, "plain"), id(&stage, "tiny"));
    stage.cooper(&["push", "-q", "tiny", &plain]).ok();
    for (number, (recipient, key)) in [
        ("jwe:rsa.pub", "rsa.pem"),
        ("jwe:rsa.pub", "rsa-locked.pem:pass=sesam"),
        ("jwe:rsa.pub", "rsa-locked.pem:file=password"),
        ("jwe:ec.pub", "short.pem,ec.pem"),
        ("pkcs7:cert.pem", "rsa.pem"),
        ("pgp:t@example.com", "secret.gpg"),
    ]
    .into_iter()
    .enumerate()
    {
        let place = at(&registry.host(), &format!("s:{number}"));
        let (protocol, name) = recipient.split_once(':').unwrap();
        let recipient = match protocol {
            "pgp" => recipient.to_owned(),
            _ => format!("{protocol}:{}", stage.path(name).display()),
        };
        let words = ["copy", "-q", "--dest-tls-verify=false", "--encryption-key"];
        let words = [&words[..], &[&recipient, &plain, &place]].concat();
        stage.skopeo(&words).ok();
        let pulled =
            stage.cooper_elsewhere(&["pull", "-q", PLAIN, "--decryption-key", key, &place]);
        assert_eq!(pulled.ok(), here, "{key}");
        // A second time the layer is there already.
        let pulled =
            stage.cooper_elsewhere(&["pull", "-q", PLAIN, "--decryption-key", key, &place]);
        assert_eq!(pulled.ok(), here, "{key}");
        stage.cooper_elsewhere(&["rmi", "-f", &here]).ok();
    }
}

#[test]
fn peer_40_buildah_and_we_read_each_other() {
    let (stage, registry) = (with_keys("wire40c"), Registry::open().unwrap());
    let (ours, theirs) = (at(&registry.host(), "o:1"), at(&registry.host(), "t:1"));
    let push = |recipient: &str, place: &str| {
        let recipient = format!("jwe:{}", stage.path(recipient).display());
        [
            "push",
            "-q",
            PLAIN,
            "--encryption-key",
            &recipient,
            "tiny",
            place,
        ]
        .map(str::to_owned)
    };
    let words = push("rsa.pub", &ours);
    stage.cooper(&words.each_ref().map(String::as_str)).ok();
    let words = push("ec.pub", &theirs);
    stage.buildah(&words.each_ref().map(String::as_str)).ok();
    let (rsa, ec) = (stage.path("rsa.pem"), stage.path("ec.pem"));
    let pull = |key: &Path, place: &str| {
        ["pull", "-q", PLAIN, "--decryption-key", text(key), place].map(str::to_owned)
    };
    let words = pull(&rsa, &ours);
    let pulled = stage.buildah_on(Store::Elsewhere, &words.each_ref().map(String::as_str));
    assert_eq!(pulled.ok(), id(&stage, "tiny"));
    let words = pull(&ec, &theirs);
    let pulled = stage.cooper_elsewhere(&words.each_ref().map(String::as_str));
    assert_eq!(pulled.ok(), id(&stage, "tiny"));
}

#[test]
fn peer_40_without_the_key_nothing_arrives() {
    let (stage, registry) = (with_keys("wire40d"), Registry::open().unwrap());
    let place = at(&registry.host(), "e:1");
    let words = [
        "push",
        "-q",
        PLAIN,
        "--encryption-key",
        "jwe:rsa.pub",
        "tiny",
        &place,
    ];
    stage.cooper(&words).ok();
    let blob = raw(&stage, &place)["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let check = |keys: &[&str], expected: &str| {
        let mut words = vec!["pull", PLAIN];
        for key in keys {
            words.extend(["--decryption-key", key]);
        }
        words.push(&place);
        let stderr = stage.cooper_elsewhere(&words).fails(125);
        assert!(stderr.contains(expected), "{keys:?}: {stderr}");
        assert_eq!(stage.cooper_elsewhere(&["images", "-q"]).ok(), "");
    };
    check(
        &[],
        &format!("layer 0 (blob \"{blob}\"/\"\"/\"{blob}\") does not match config's DiffID"),
    );
    let unfit =
        "no suitable key unwrapper found or none of the private keys could be used for decryption";
    check(&["short.pem"], &format!("decrypting layer {blob}: {unfit}"));
    check(
        &["secret.gpg"],
        &format!("decrypting layer {blob}: missing private key needed for decryption"),
    );
    let invalid = "unable to obtain decryption config: invalid decryption keys: ";
    check(
        &["nofile"],
        &format!("{invalid}open nofile: no such file or directory"),
    );
    check(
        &["password"],
        &format!("{invalid}password: it holds no private key"),
    );
    check(
        &["rsa-locked.pem"],
        "Missing password for encrypted private key",
    );
    check(
        &["rsa-locked.pem:no"],
        "Wrong password: could not decrypt private key",
    );
    check(&["provider:x"], "keys of provider: are not supported yet");
}

#[test]
fn peer_40_layers_can_be_chosen() {
    let stage = with_keys("wire40e");
    stage.write("context/second.txt", "two\n");
    let two = "FROM tiny\nCOPY second.txt /\n";
    make(&stage, "two", two);
    let push = |layers: &str, name: &str| {
        let place = layout(&stage, name);
        let mut words = vec!["push", "-q", "--encryption-key", "jwe:ec.pub"];
        words.extend(["--encrypt-layer", layers, "two", &place]);
        (stage.cooper(&words), place)
    };
    for (layers, expected) in [
        ("0", [ENCRYPTED, LAYER]),
        ("-1", [LAYER, ENCRYPTED]),
        ("-2,1", [ENCRYPTED, ENCRYPTED]),
    ] {
        let (said, place) = push(layers, &format!("layout{layers}"));
        said.ok();
        assert_eq!(types(&stage, &place), expected, "{layers}");
        for _ in 0..2 {
            let pulled =
                stage.cooper_elsewhere(&["pull", "-q", "--decryption-key", "ec.pem", &place]);
            assert_eq!(pulled.ok(), id(&stage, "two"));
        }
        let id = id(&stage, "two");
        stage.cooper_elsewhere(&["rmi", "-f", &id]).ok();
    }
    let stderr = push("2", "none").0.fails(125);
    let expected = "when choosing layers to encrypt, layer index 2 out of range (2 layers exist)";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_40_bases_are_decrypted_and_commits_encrypted() {
    let stage = with_keys("wire40f");
    let base = layout(&stage, "base");
    let words = [
        "push",
        "-q",
        "--encryption-key",
        "jwe:rsa.pub",
        "tiny",
        &base,
    ];
    stage.cooper(&words).ok();
    let key = ["--decryption-key", "rsa.pem"];
    let from = [&["from", "-q", "--name", "c"], &key[..], &[&base]].concat();
    stage.cooper_elsewhere(&from).ok();
    let result = layout(&stage, "result");
    let commit = [
        "commit",
        "-q",
        "--encryption-key",
        "jwe:ec.pub",
        "c",
        &result,
    ];
    stage.cooper_elsewhere(&commit).ok();
    for kind in types(&stage, &result) {
        assert_eq!(kind, ENCRYPTED);
    }
    let stderr = stage
        .cooper_elsewhere(&[
            "commit",
            "-q",
            "--encryption-key",
            "jwe:ec.pub",
            "c",
            "name",
        ])
        .fails(125);
    assert!(
        stderr.contains("containers-storage cannot be encrypted"),
        "{stderr}"
    );
    let file = stage.write("Again", &format!("FROM {base}\nCOPY h.txt /again\n"));
    let context = stage.path("context");
    let build = ["build", "-q", "-t", "again", "-f", text(&file)];
    let build = [&build[..], &key[..], &[text(&context)]].concat();
    stage.cooper_elsewhere(&build).ok();
    let shown = stage.cooper_elsewhere(&["images", "-q", "again"]).ok();
    assert!(!shown.is_empty());
}

#[test]
fn peer_40_what_cannot_be_encrypted_is_refused() {
    let stage = with_keys("wire40g");
    let place = layout(&stage, "never");
    let archive = format!("docker-archive:{}", stage.path("never.tar").display());
    let check = |flags: &[&str], place: &str, expected: &str| {
        let words = [&["push", "-q"], flags, &["tiny", place]].concat();
        let stderr = stage.cooper(&words).fails(125);
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    };
    for (key, expected) in [
        ("bogus", "Invalid recipient format"),
        ("x:y", "Provided protocol not recognized"),
        (
            "jwe:nofile",
            "Unable to read file: open nofile: no such file or directory",
        ),
        ("jwe:rsa.pem", "File provided is not a public key"),
        ("pkcs7:rsa.pub", "File provided is not an x509 cert"),
        (
            "pgp:nobody",
            "PGP: No key found for the following recipients: nobody",
        ),
        ("provider:x", "keys of provider: are not supported yet"),
        ("pkcs11:x", "keys of pkcs11: are not supported yet"),
    ] {
        let expected =
            format!("unable to obtain encryption config: invalid encryption keys: {expected}");
        check(&["--encryption-key", key], &place, &expected);
    }
    let key = ["--encryption-key", "jwe:rsa.pub"];
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    check(
        &[&key[..], &["-f", "v2s2"]].concat(),
        &format!("dir:{}", stage.path("never").display()),
        &format!(
            "encryption required together with format {docker}, which does not support encryption"
        ),
    );
    check(
        &key,
        &archive,
        &format!(
            "encryption required but the destination only supports MIME types [{docker}], none of which support encryption"
        ),
    );
    check(
        &key,
        "containers-storage:other",
        "containers-storage cannot be encrypted",
    );
    check(
        &["--encrypt-layer", "0"],
        &place,
        "--encrypt-layer requires --encryption-key",
    );
    let chunked = [
        &["push", "-q"],
        &key[..],
        &["--compression-format", "zstd:chunked", "tiny", &place],
    ]
    .concat();
    let said = stage.cooper(&chunked);
    assert!(
        said.stderr.contains("using plain zstd instead"),
        "{}",
        said.stderr
    );
    said.ok();
    assert_eq!(
        types(&stage, &place),
        ["application/vnd.oci.image.layer.v1.tar+zstd+encrypted"]
    );
}

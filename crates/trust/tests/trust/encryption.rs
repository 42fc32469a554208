//! Layers that are encrypted here and by Skopeo, read with all kinds of keys.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_trust::encryption::{
    DecryptError, DecryptionKeys, EncryptError, EncryptingWriter, LayerKey, Recipients,
};
use model::{Digest, Secret};
use proptest::prelude::*;
use serde::Deserialize;

use crate::support::{DAY, chain, fixture};

/// What was encrypted by Skopeo.
const PLAIN: &str = "sha256:d9c847462662361be4461dac69d2f0656d0eda6d484e05bfcbb532fca8630cb6";
const PASSWORD: &str = "sesam";
/// A moment after the keys were made, in seconds since the beginning of 1970.
const NOW: i64 = 1_795_300_000;

/// A layer at its destination.
#[derive(Deserialize)]
struct Layer {
    annotations: BTreeMap<String, String>,
    layer: String,
}

impl Layer {
    fn read(&self, keys: &DecryptionKeys) -> Result<Vec<u8>, DecryptError> {
        let bytes = STANDARD.decode(&self.layer).unwrap();
        let mut plain = Vec::new();
        let mut reader = keys.open(&self.annotations)?.reader(&bytes[..])?;
        reader.read_to_end(&mut plain).unwrap();
        Ok(plain)
    }
}

fn file(name: &str) -> Vec<u8> {
    fixture(&format!("encryption/{name}"))
}

fn skopeo() -> BTreeMap<String, Layer> {
    serde_json::from_slice(&file("skopeo.json")).unwrap()
}

/// The keys of a file; `name:` says that it is locked.
fn keys(name: &str) -> DecryptionKeys {
    let mut keys = DecryptionKeys::default();
    let password = name.ends_with(':').then(|| Secret::new(PASSWORD));
    let bytes = file(name.trim_end_matches(':'));
    keys.add(&bytes, password.as_ref()).unwrap();
    keys
}

fn recipient(word: &str) -> Recipients {
    let mut recipients = Recipients::default();
    let (protocol, value) = word.split_once(':').unwrap();
    match protocol {
        "jwe" => recipients.add_jwe(&file(value)),
        "pkcs7" => recipients.add_pkcs7(&file(value)),
        _ => {
            let ring = [file("people.gpg"), file("locked-public.gpg")].concat();
            recipients.add_pgp(&[value.to_owned()], &ring, NOW)
        }
    }
    .unwrap();
    recipients
}

fn encrypt(recipients: &Recipients, plain: &[u8]) -> Result<Layer, EncryptError> {
    let key = LayerKey::generate()?;
    let mut writer = EncryptingWriter::new(Vec::new(), &key)?;
    writer.write_all(plain).unwrap();
    let (bytes, encrypted) = writer.finish();
    Ok(Layer {
        annotations: recipients.annotations(&key, &encrypted)?,
        layer: STANDARD.encode(bytes),
    })
}

#[test]
fn what_skopeo_encrypted_is_read() {
    let layers = skopeo();
    for (layer, key) in [
        ("jwe-rsa", "rsa.pem"),
        ("jwe-ec", "ec.pem"),
        ("two", "rsa.pem"),
        ("two", "ec.pem"),
        ("pkcs7-cert", "rsa.pem"),
        ("pgp-t", "secret.gpg"),
    ] {
        let plain = layers[layer].read(&keys(key));
        let plain = plain.unwrap_or_else(|err| panic!("{layer}: {}", chain(&err)));
        assert_eq!(Digest::sha256(&plain).as_str(), PLAIN, "{layer} {key}");
    }
}

#[test]
fn every_kind_of_key_reads_what_is_encrypted_for_it() {
    let plain: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let check = |recipients: &[&str], files: &[&str]| {
        for recipient_word in recipients {
            let layer = encrypt(&recipient(recipient_word), &plain).unwrap();
            for name in files {
                let read = layer.read(&keys(name));
                let read = read.unwrap_or_else(|err| panic!("{name}: {}", chain(&err)));
                assert!(read == plain, "{recipient_word} {name}");
            }
        }
    };
    check(
        &[
            "jwe:rsa.pub",
            "jwe:rsa-public.der",
            "jwe:cert.pem",
            "pkcs7:cert.pem",
        ],
        &[
            "rsa.pem",
            "rsa.der",
            "rsa-locked.pem:",
            "rsa-des3.pem:",
            "rsa-pkcs8.pem:",
            "rsa-scrypt.pem:",
        ],
    );
    check(&["jwe:rsa-public.jwk"], &["rsa.jwk", "rsa.pem"]);
    check(
        &["jwe:ec.pub", "jwe:ec-public.jwk"],
        &["ec.pem", "ec-des3.pem:", "ec.jwk"],
    );
    check(&["jwe:p384.pub"], &["p384.pem"]);
    check(&["jwe:short.pub"], &["short.pem"]);
    check(&["pgp:Tester", "pgp:t@example.com"], &["secret.gpg"]);
    check(&["pgp:Locked One", "pgp:l@example.com"], &["locked.gpg:"]);
}

#[test]
fn several_recipients_can_each_read_a_layer() {
    let mut recipients = recipient("jwe:rsa.pub");
    recipients.add_jwe(&file("ec.pub")).unwrap();
    recipients.add_jwe(&file("p384.pub")).unwrap();
    recipients.add_pkcs7(&file("cert.pem")).unwrap();
    let people = ["Tester".to_owned()];
    recipients
        .add_pgp(&people, &file("people.gpg"), NOW)
        .unwrap();
    let layer = encrypt(&recipients, b"plain").unwrap();
    let names: Vec<&str> = layer
        .annotations
        .keys()
        .filter_map(|name| name.strip_prefix("org.opencontainers.image.enc."))
        .collect();
    assert_eq!(names, ["keys.jwe", "keys.pgp", "keys.pkcs7", "pubopts"]);
    for name in ["rsa.pem", "ec.pem", "p384.pem", "secret.gpg"] {
        assert_eq!(layer.read(&keys(name)).unwrap(), b"plain", "{name}");
    }
}

#[test]
fn others_are_told_that_they_cannot_read_a_layer() {
    let layers = skopeo();
    let check = |layer: &Layer, keys: &DecryptionKeys, expected: &str| {
        assert_eq!(chain(&layer.read(keys).unwrap_err()), expected);
    };
    let nobody = DecryptionKeys::default();
    let missing = "missing private key needed for decryption";
    check(&layers["jwe-rsa"], &nobody, missing);
    check(&layers["jwe-rsa"], &keys("secret.gpg"), missing);
    check(&layers["pgp-t"], &keys("rsa.pem"), missing);
    // A certificate alone opens nothing.
    check(&layers["pkcs7-cert"], &keys("cert.pem"), missing);
    let unfit =
        "no suitable key unwrapper found or none of the private keys could be used for decryption";
    check(
        &layers["jwe-rsa"],
        &keys("short.pem"),
        &format!("{unfit}: JWE: No suitable private key found for decryption"),
    );
    check(
        &layers["pkcs7-cert"],
        &keys("short.pem"),
        &format!("{unfit}: PKCS7: No suitable private key found for decryption"),
    );
    check(
        &layers["pgp-t"],
        &keys("locked.gpg:"),
        &format!("{unfit}: PGP: No suitable key found to unwrap key"),
    );
    let device = Layer {
        annotations: BTreeMap::from([(
            "org.opencontainers.image.enc.keys.pkcs11".to_owned(),
            "AAAA".to_owned(),
        )]),
        layer: String::new(),
    };
    let unsupported = "keys wrapped by pkcs11 are not supported yet";
    check(&device, &keys("rsa.pem"), unsupported);
}

#[test]
fn files_that_hold_no_key_are_refused() {
    let check = |name: &str, password: Option<&str>, expected: &str| {
        let password = password.map(Secret::new);
        let added = DecryptionKeys::default().add(&file(name), password.as_ref());
        assert_eq!(chain(&added.unwrap_err()), expected, "{name}");
    };
    let missing = "Missing password for encrypted private key";
    let wrong = "Wrong password: could not decrypt private key";
    for name in [
        "rsa-locked.pem",
        "rsa-des3.pem",
        "rsa-pkcs8.pem",
        "rsa-scrypt.pem",
    ] {
        check(name, None, missing);
    }
    for name in [
        "rsa-locked.pem",
        "rsa-des3.pem",
        "rsa-pkcs8.pem",
        "rsa-scrypt.pem",
    ] {
        check(name, Some("wrong"), wrong);
    }
    check(
        "skopeo.json",
        None,
        "it holds no private key that is known here",
    );
    check(
        "rsa.pub",
        None,
        "it holds no private key that is known here",
    );
    let public = |name: &str| {
        let added = Recipients::default().add_jwe(&file(name));
        added.unwrap_err().to_string()
    };
    assert_eq!(public("rsa.pem"), "File provided is not a public key");
    assert_eq!(public("rsa.jwk"), "File provided is not a public key");
    let certificate = Recipients::default().add_pkcs7(&file("rsa.pub"));
    assert_eq!(
        certificate.unwrap_err().to_string(),
        "File provided is not an x509 cert"
    );
    let people = ["Nobody".to_owned(), "Tester".to_owned()];
    let unknown = Recipients::default().add_pgp(&people, &file("people.gpg"), NOW);
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "PGP: No key found for the following recipients: Nobody"
    );
    // The key is good for ten days.
    for (days, expected) in [
        (1, None),
        (
            20,
            Some("PGP: no key of b@example.com can be encrypted to now"),
        ),
        (
            -20,
            Some("PGP: no key of b@example.com can be encrypted to now"),
        ),
    ] {
        let (people, now) = (["b@example.com".to_owned()], NOW + days * DAY);
        let added = Recipients::default().add_pgp(&people, &file("brief.gpg"), now);
        let said = added.err().map(|err| err.to_string());
        assert_eq!(said.as_deref(), expected, "{days}");
    }
    let nobody = encrypt(&Recipients::default(), b"").err().unwrap();
    assert_eq!(nobody.to_string(), "no wrapped keys produced by encryption");
}

#[test]
fn keys_do_not_show_in_messages() {
    assert_eq!(
        format!("{:?}", LayerKey::generate().unwrap()),
        "LayerKey(***)"
    );
    assert_eq!(format!("{:?}", keys("rsa.pem")), "DecryptionKeys(***)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Foreign annotations end in an error or in the very key, never in a panic.
    #[test]
    fn changed_annotations_open_nothing_else(
        which in 0..4_usize,
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let layers = skopeo();
        let name = ["jwe-ec", "two", "pkcs7-cert", "pgp-t"][which];
        let mut annotations = layers[name].annotations.clone();
        let (_, text) = annotations
            .iter_mut()
            .find(|(name, _)| name.contains(".keys."))
            .unwrap();
        let mut bytes = STANDARD.decode(&text).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        *text = STANDARD.encode(bytes);
        let mut all = keys("ec.pem");
        all.add(&file("rsa.pem"), None).unwrap();
        all.add(&file("secret.gpg"), None).unwrap();
        let changed = Layer { annotations, layer: layers[name].layer.clone() };
        if let Ok(plain) = changed.read(&all) {
            let digest = Digest::sha256(&plain);
            prop_assert_eq!(digest.as_str(), PLAIN);
        }
    }
}

//! Keys and signatures of OpenSSL, which is the other side of sigstore's keys.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_trust::{
    Claim, ClaimKind, Made, SIGSTORE_MEDIA_TYPE, SIGSTORE_SIGNATURE, Signature, Sigstore,
    SigstoreKey,
};
use model::Digest;
use tempfile::TempDir;

use crate::support::{Case, MANIFEST, NOW};

const BY_KEY: &str = r#"{"type":"sigstoreSigned","keyPath":"/k"}"#;

/// A key, in the forms that OpenSSL writes.
struct Key(TempDir);

impl Key {
    fn new(arguments: &str) -> Self {
        let key = Self(tempfile::tempdir().unwrap());
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.extend(["-out", "@/key"]);
        key.openssl(&arguments);
        key.openssl(&["pkey", "-in", "@/key", "-pubout", "-out", "@/pub"]);
        key
    }

    fn openssl(&self, arguments: &[&str]) {
        let here = self.0.path().display().to_string();
        let output = Command::new("openssl")
            .args(arguments.iter().map(|one| one.replace('@', &here)))
            .output()
            .unwrap_or_else(|err| panic!("this test needs `openssl`: {err}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }
}

fn claim() -> Claim {
    Claim {
        manifest: Digest::sha256(MANIFEST),
        reference: "ex.com/a:1".to_owned(),
    }
}

fn made() -> Made<'static> {
    Made {
        by: "test",
        at: NOW,
    }
}

#[test]
fn peer_keys_of_openssl_sign_for_us() {
    for arguments in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "ecparam -name prime256v1 -genkey -noout",
        "genpkey -algorithm ED25519",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "genrsa -traditional",
    ] {
        let key = Key::new(arguments);
        let private = SigstoreKey::load(&key.read("key"), None)
            .unwrap_or_else(|err| panic!("{arguments}: {err}"));
        let signature = private.sign(&claim(), &made()).unwrap();
        let case = Case::new(BY_KEY)
            .file("/k", key.read("pub"))
            .with(Signature::Sigstore(signature.clone()));
        assert_eq!(case.verdict(), Ok(()), "{arguments}");
        if arguments.contains("ED25519") {
            // `dgst` signs only what it has hashed.
            continue;
        }
        fs::write(key.0.path().join("payload"), &signature.payload).unwrap();
        let bytes = STANDARD.decode(&signature.annotations[SIGSTORE_SIGNATURE]);
        fs::write(key.0.path().join("signature"), bytes.unwrap()).unwrap();
        let verify = [
            "dgst",
            "-sha256",
            "-verify",
            "@/pub",
            "-signature",
            "@/signature",
        ];
        key.openssl(&[&verify[..], &["@/payload"]].concat());
    }
}

#[test]
fn peer_what_openssl_signed_is_judged() {
    for arguments in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
    ] {
        let key = Key::new(arguments);
        let payload = claim().to_bytes(ClaimKind::Sigstore, &made());
        fs::write(key.0.path().join("payload"), &payload).unwrap();
        key.openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            "@/key",
            "-out",
            "@/signature",
            "@/payload",
        ]);
        let signature = |bytes: &[u8]| {
            Signature::Sigstore(Sigstore {
                media_type: SIGSTORE_MEDIA_TYPE.to_owned(),
                payload: payload.clone(),
                annotations: BTreeMap::from([(
                    SIGSTORE_SIGNATURE.to_owned(),
                    STANDARD.encode(bytes),
                )]),
            })
        };
        let case = |bytes: &[u8]| {
            Case::new(BY_KEY)
                .file("/k", key.read("pub"))
                .with(signature(bytes))
        };
        let mut bytes = key.read("signature");
        assert_eq!(case(&bytes).verdict(), Ok(()), "{arguments}");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        case(&bytes).check(Err("cryptographic signature verification failed"));
    }
}

#[test]
fn peer_keys_that_nobody_signs_with_are_refused() {
    for arguments in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "genpkey -algorithm X25519",
    ] {
        let key = Key::new(arguments);
        let refused = SigstoreKey::load(&key.read("key"), None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the private key is neither ECDSA on P-256, nor Ed25519, nor RSA"
        );
    }
    let key = Key::new("genpkey -algorithm X25519");
    let private = Key::new("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256");
    let signature = SigstoreKey::load(&private.read("key"), None)
        .unwrap()
        .sign(&claim(), &made())
        .unwrap();
    Case::new(BY_KEY)
        .file("/k", key.read("pub"))
        .with(Signature::Sigstore(signature))
        .check(Err("a public key is neither ECDSA"));
}

//! Invariant: whatever a manifest says of a layer's encryption, looking for the layer's key in it returns, and finds one
//! only if the wrapped bytes were made with the key's public half, which nobody has done here.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use trust::encryption::DecryptionKeys;

const EC: &[u8] = include_bytes!("../../crates/trust/tests/trust/fixtures/encryption/p384.pem");
const RSA: &[u8] = include_bytes!("../../crates/trust/tests/trust/fixtures/encryption/short.pem");
const RING: &[u8] = include_bytes!("../../crates/trust/tests/trust/fixtures/encryption/secret.gpg");
const PUBLIC: &str = r#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"AAAA","cipheroptions":{}}"#;

static KEYS: LazyLock<DecryptionKeys> = LazyLock::new(|| {
    let mut keys = DecryptionKeys::default();
    for file in [EC, RSA, RING] {
        keys.add(file, None).expect("is a key");
    }
    keys
});

fuzz_target!(|data: &[u8]| {
    for scheme in ["jwe", "pkcs7", "pgp"] {
        let mut annotations = BTreeMap::from([(
            "org.opencontainers.image.enc.pubopts".to_owned(),
            STANDARD.encode(PUBLIC),
        )]);
        let name = format!("org.opencontainers.image.enc.keys.{scheme}");
        annotations.insert(name.clone(), STANDARD.encode(data));
        assert!(KEYS.open(&annotations).is_err());
        annotations.insert(name, String::from_utf8_lossy(data).into_owned());
        assert!(KEYS.open(&annotations).is_err());
    }
});

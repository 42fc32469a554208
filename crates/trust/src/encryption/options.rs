//! The two sets of a cipher's options: those that everybody may see, and those that are wrapped for the recipients.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::cipher::{Encrypted, KEY_SIZE, LayerKey, NONCE_SIZE};
use super::error::DecryptError;

/// The only cipher that there is.
const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";
/// Where older writers put the HMAC.
const MAC: &str = "hmac";
const NONCE: &str = "nonce";

/// Bytes as Go's JSON has them; `null` are none.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

type CipherOptions = BTreeMap<String, Bytes>;

#[derive(Serialize, Deserialize)]
struct Public {
    cipher: String,
    #[serde(default)]
    hmac: Bytes,
    #[serde(default)]
    cipheroptions: Option<CipherOptions>,
}

#[derive(Serialize, Deserialize)]
struct Private {
    symkey: Bytes,
    // Some writers give the digest of other bytes than those that they encrypt; the HMAC says more.
    #[serde(default)]
    digest: String,
    #[serde(default)]
    cipheroptions: Option<CipherOptions>,
    #[serde(default)]
    previouslayersdigest: String,
}

/// The options that everybody may see.
pub(super) fn public(encrypted: &Encrypted) -> Vec<u8> {
    json(&Public {
        cipher: CIPHER.to_owned(),
        hmac: Bytes(encrypted.mac.clone()),
        cipheroptions: Some(CipherOptions::new()),
    })
}

/// The options that are wrapped.
pub(super) fn private(key: &LayerKey, plain: &Digest) -> Vec<u8> {
    let nonce = (NONCE.to_owned(), Bytes(key.nonce.to_vec()));
    json(&Private {
        symkey: Bytes(key.key.to_vec()),
        digest: plain.to_string(),
        cipheroptions: Some(CipherOptions::from([nonce])),
        previouslayersdigest: String::new(),
    })
}

fn json<T: Serialize>(options: &T) -> Vec<u8> {
    serde_json::to_vec(options).expect("all keys are strings and all values plain")
}

/// Reads both, and returns the layer's key and the HMAC that its ciphertext must have.
pub(super) fn read(public: &[u8], private: &[u8]) -> Result<(LayerKey, Vec<u8>), DecryptError> {
    let unread = |which| move |source| DecryptError::Options { which, source };
    let public: Public = serde_json::from_slice(public).map_err(unread("public"))?;
    let private: Private = serde_json::from_slice(private).map_err(unread("private"))?;
    if public.cipher != CIPHER {
        return Err(DecryptError::Cipher {
            cipher: public.cipher,
        });
    }
    let shown = public.cipheroptions.unwrap_or_default();
    let hidden = private.cipheroptions.unwrap_or_default();
    let nonce = shown.get(NONCE).or_else(|| hidden.get(NONCE)).cloned();
    let mac = if public.hmac.0.is_empty() {
        shown.get(MAC).cloned().unwrap_or_default()
    } else {
        public.hmac
    };
    if mac.0.is_empty() {
        return Err(DecryptError::NoMac);
    }
    let key = LayerKey {
        key: sized::<KEY_SIZE>("key", &private.symkey.0)?,
        nonce: sized::<NONCE_SIZE>("nonce", &nonce.unwrap_or_default().0)?,
    };
    Ok((key, mac.0))
}

fn sized<const SIZE: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; SIZE], DecryptError> {
    bytes.try_into().map_err(|_| DecryptError::Length {
        what,
        size: bytes.len(),
        expected: SIZE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        let key = LayerKey {
            key: [1; KEY_SIZE],
            nonce: [2; NONCE_SIZE],
        };
        let encrypted = Encrypted {
            plain: Digest::sha256(b"plain"),
            mac: vec![3; 32],
        };
        let (shown, hidden) = (public(&encrypted), private(&key, &encrypted.plain));
        assert_eq!(read(&shown, &hidden).unwrap(), (key, encrypted.mac));
    }

    #[test]
    fn odd_options_are_refused_by_name() {
        let good = (
            r#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"AAAA","cipheroptions":{}}"#,
            r#"{"symkey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","digest":"","cipheroptions":{"nonce":"AgICAgICAgICAgICAgICAg=="}}"#,
        );
        let check = |public: &str, private: &str, expected: Option<&str>| {
            let found = read(public.as_bytes(), private.as_bytes());
            assert_eq!(found.err().map(|err| err.to_string()).as_deref(), expected);
        };
        check(good.0, good.1, None);
        let older =
            r#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":null,"cipheroptions":{"hmac":"AAAA"}}"#;
        check(older, good.1, None);
        check(
            "",
            good.1,
            Some("cannot read the public options of the layer's cipher"),
        );
        check(
            good.0,
            "[]",
            Some("cannot read the private options of the layer's cipher"),
        );
        let other = r#"{"cipher":"ROT13"}"#;
        check(other, good.1, Some("unsupported cipher type: ROT13"));
        let bare = r#"{"cipher":"AES_256_CTR_HMAC_SHA256"}"#;
        check(bare, good.1, Some("the layer's annotations have no HMAC"));
        let short = r#"{"symkey":"AQEB"}"#;
        check(
            good.0,
            short,
            Some("the layer's key has 3 bytes instead of 32"),
        );
        let nonceless = r#"{"symkey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}"#;
        check(
            good.0,
            nonceless,
            Some("the layer's nonce has 0 bytes instead of 16"),
        );
    }
}

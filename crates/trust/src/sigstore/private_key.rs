//! Private keys of sigstore: as `cosign` keeps them, encrypted by a passphrase (scrypt and NaCl's secretbox), or as
//! OpenSSL writes them, plain. A key leaves this module only as a signature.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;

use crate::claim::{Claim, ClaimKind, Made};
use crate::pem::{self, PemError};
use crate::signature::{SIGSTORE_MEDIA_TYPE, SIGSTORE_SIGNATURE, Sigstore};

/// The most that deriving a key may cost: `N` of scrypt. The usual value is 65536.
const COST_MAX: u32 = 1 << 18;
/// The largest block size and parallelism of scrypt. The usual values are 8 and 1.
const FACTOR_MAX: u32 = 16;
const TAG_SIZE: usize = 16;
const NONCE_SIZE: usize = 24;

/// Why a private key cannot be used. No error tells anything of the key itself.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// The file is no text with a key.
    #[error("reading the private key")]
    Pem(#[source] PemError),
    /// The file holds something else.
    #[error("unsupported pem type: {label}")]
    Label {
        /// What it says that it holds.
        label: String,
    },
    /// The key is encrypted.
    #[error("the private key is encrypted, and no passphrase is given")]
    NoPassphrase,
    /// The encrypted key is not in the expected form.
    #[error("decrypt: the encrypted private key is not well formed")]
    Envelope(#[source] serde_json::Error),
    /// A part of the encrypted key is not encoded as it must be.
    #[error("decrypt: {what} is not valid base64")]
    Base64 {
        /// Which.
        what: &'static str,
        /// The cause.
        source: base64::DecodeError,
    },
    /// The key is encrypted in another way.
    #[error("decrypt: {what} {name:?} is not supported")]
    Method {
        /// Which part of the way.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Finding the key out of the passphrase would take too long.
    #[error("decrypt: the scrypt parameters N={n}, r={r}, p={p} are not acceptable")]
    Cost {
        /// The cost.
        n: u32,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// The passphrase is another, or the file was changed.
    #[error("decrypt: encrypted: decryption failed")]
    Passphrase,
    /// The key is of no kind that signs here.
    #[error("the private key is neither ECDSA on P-256, nor Ed25519, nor RSA")]
    Kind,
    /// The signature could not be made.
    #[error("cannot sign with the private key")]
    Sign,
    /// No key could be made.
    #[error("generating short-term private key")]
    Generate,
}

type Result<T> = std::result::Result<T, PrivateKeyError>;

/// A private key that makes signatures of sigstore.
pub struct SigstoreKey(Pair);

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for SigstoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigstoreKey(***)")
    }
}

impl SigstoreKey {
    /// Reads a key file; the passphrase is for one that is encrypted.
    ///
    /// # Errors
    /// See [`PrivateKeyError`].
    pub fn load(file: &[u8], passphrase: Option<&Secret>) -> Result<Self> {
        let block = pem::blocks(file)
            .map_err(PrivateKeyError::Pem)?
            .swap_remove(0);
        let der = match &*block.label {
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                let passphrase = passphrase.ok_or(PrivateKeyError::NoPassphrase)?;
                decrypt(&block.bytes, passphrase)?
            }
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => block.bytes,
            _ => return Err(PrivateKeyError::Label { label: block.label }),
        };
        pair(&der).map(Self).ok_or(PrivateKeyError::Kind)
    }

    /// Makes a key for a moment: ECDSA on P-256, which everybody who verifies knows.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(|pair| Self(Pair::Ecdsa(pair)))
            .map_err(|_| PrivateKeyError::Generate)
    }

    /// Returns the public half as a `SubjectPublicKeyInfo` of X.509.
    pub fn public_der(&self) -> Vec<u8> {
        let der: std::result::Result<PublicKeyX509Der<'_>, _> = match &self.0 {
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        };
        der.expect("a key that was read can be written")
            .as_ref()
            .to_vec()
    }

    /// Signs a claim.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, claim: &Claim, made: &Made<'_>) -> Result<Sigstore> {
        let payload = claim.to_bytes(ClaimKind::Sigstore, made);
        let signature = self.sign_bytes(&payload)?;
        let annotations =
            BTreeMap::from([(SIGSTORE_SIGNATURE.to_owned(), STANDARD.encode(signature))]);
        Ok(Sigstore {
            media_type: SIGSTORE_MEDIA_TYPE.to_owned(),
            payload,
            annotations,
        })
    }

    /// Signs any text, such as one that proves to a server that we have the key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign_bytes(&self, text: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = |_| PrivateKeyError::Sign;
        Ok(match &self.0 {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, text).map_err(failed)?;
                signature.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .map_err(failed)?;
                signature
            }
        })
    }
}

fn pair(der: &[u8]) -> Option<Pair> {
    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
        .map(Pair::Ecdsa)
        .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519))
        .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Pair::Rsa))
        .or_else(|_| RsaKeyPair::from_der(der).map(Pair::Rsa))
        .ok()
}

#[derive(Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn decrypt(envelope: &[u8], passphrase: &Secret) -> Result<Vec<u8>> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(PrivateKeyError::Envelope)?;
    let base64 = |what, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|source| PrivateKeyError::Base64 { what, source })
    };
    for (what, name, known) in [
        ("the key derivation", envelope.kdf.name, "scrypt"),
        ("the cipher", envelope.cipher.name, "nacl/secretbox"),
    ] {
        if name != known {
            return Err(PrivateKeyError::Method { what, name });
        }
    }
    let salt = base64("the salt", &envelope.kdf.salt)?;
    let nonce = base64("the nonce", &envelope.cipher.nonce)?;
    let sealed = base64("the ciphertext", &envelope.ciphertext)?;
    let nonce: [u8; NONCE_SIZE] = nonce.try_into().map_err(|_| PrivateKeyError::Passphrase)?;
    let Cost { n, r, p } = envelope.kdf.params;
    let unfit = PrivateKeyError::Cost { n, r, p };
    if !n.is_power_of_two() || !(2..=COST_MAX).contains(&n) || r > FACTOR_MAX || p > FACTOR_MAX {
        return Err(unfit);
    }
    let log_n = n.trailing_zeros().try_into().expect("is below 32");
    let Ok(cost) = scrypt::Params::new(log_n, r, p) else {
        return Err(unfit);
    };
    let mut key = [0; 32];
    if scrypt::scrypt(passphrase.expose().as_bytes(), &salt, &cost, &mut key).is_err() {
        return Err(unfit);
    }
    open_box(&key, &nonce, &sealed).ok_or(PrivateKeyError::Passphrase)
}

/// Opens a `crypto_secretbox_xsalsa20poly1305` of NaCl: a tag, then the ciphertext. The first 32 bytes of the key stream
/// are the tag's key.
fn open_box(key: &[u8; 32], nonce: &[u8; NONCE_SIZE], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, text) = sealed.split_at_checked(TAG_SIZE)?;
    let mut cipher = XSalsa20::new(key.into(), nonce.into());
    let mut tag_key = [0; 32];
    cipher.apply_keystream(&mut tag_key);
    let expected = Poly1305::new((&tag_key).into()).compute_unpadded(text);
    aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_slice(), tag).ok()?;
    let mut text = text.to_vec();
    cipher.apply_keystream(&mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_of_nacl_opens() {
        // The example of NaCl's own tests (secretbox.c).
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let sealed = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d9",
            "8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
            "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738",
            "b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da",
            "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
            "e355a5"
        ));
        let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
        let text = open_box(&key, &nonce, &sealed).unwrap();
        assert_eq!(text[..8], hex("be075fc53c81f2d5"));
        assert_eq!(text.len(), 131);
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert_eq!(open_box(&key, &nonce, &changed), None);
        assert_eq!(open_box(&key, &nonce, &sealed[..10]), None);
    }
}

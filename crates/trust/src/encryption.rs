//! Layers that only some can read, as ocicrypt defines them.
//!
//! A layer is encrypted with a key of its own ([`LayerKey`]); that key is wrapped for every one of its [`Recipients`] by
//! JWE, PKCS #7 or OpenPGP, and the wrapped keys stand in the annotations of the layer's descriptor. Who has one of the
//! [`DecryptionKeys`] reads them there. Keys that only another program or a device can use are not supported yet.

mod cipher;
mod curve;
mod error;
mod jwe;
mod jwk;
mod keys;
mod locked;
mod openpgp;
mod options;
mod packets;
mod pkcs7;
mod tlv;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;

pub use cipher::{CipherError, DecryptingReader, Encrypted, EncryptingWriter, LayerKey};
pub use error::{DecryptError, EncryptError, KeyError, UnwrapError};
pub use jwe::JweError;
pub use openpgp::{NoRingFits, RecipientError};
pub use pkcs7::Pkcs7Error;

use keys::{PrivateKey, PublicKey};
use openpgp::SecretRing;

/// How the names of all annotations about encryption begin.
pub const ENCRYPTION_PREFIX: &str = "org.opencontainers.image.enc.";
const PUBLIC_OPTIONS: &str = "org.opencontainers.image.enc.pubopts";
/// How the names of those with wrapped keys begin; the scheme follows.
const KEYS_PREFIX: &str = "org.opencontainers.image.enc.keys.";
const JWE: &str = "jwe";
const PKCS7: &str = "pkcs7";
const PGP: &str = "pgp";

/// The most bytes that a file with a key may have.
const KEY_MAX: usize = 16 << 20;
/// The most keys of a kind.
const KEYS_MAX: usize = 256;
/// The most wrapped keys of one scheme that a layer may have.
const WRAPPED_MAX: usize = 256;

/// Who can read a layer.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    jwe: Vec<PublicKey>,
    pkcs7: Vec<pkcs7::Recipient>,
    pgp: Vec<openpgp::Recipient>,
}

impl Recipients {
    /// Adds whoever has the private key to a public one: PEM, DER, or a JSON Web Key.
    ///
    /// # Errors
    /// When the file is no such key.
    pub fn add_jwe(&mut self, file: &[u8]) -> Result<(), KeyError> {
        check_size(file)?;
        push(&mut self.jwe, PublicKey::parse(file)?)
    }

    /// Adds whoever has the private key to a certificate's.
    ///
    /// # Errors
    /// When the file is no certificate, or its key is not RSA.
    pub fn add_pkcs7(&mut self, file: &[u8]) -> Result<(), KeyError> {
        check_size(file)?;
        push(&mut self.pkcs7, pkcs7::Recipient::parse(file)?)
    }

    /// Adds people of a keyring of OpenPGP by their names or addresses. `now` is in seconds since the beginning of 1970.
    ///
    /// # Errors
    /// When the keyring cannot be read, or lacks one of them, or the key of one may not be used now.
    pub fn add_pgp(&mut self, people: &[String], keyring: &[u8], now: i64) -> Result<(), KeyError> {
        for recipient in openpgp::recipients(people, keyring, now)? {
            push(&mut self.pgp, recipient)?;
        }
        Ok(())
    }

    /// Returns the annotations with which the recipients can read what was encrypted with a key.
    ///
    /// # Errors
    /// When there are no recipients, or one's key does not work.
    pub fn annotations(
        &self,
        key: &LayerKey,
        encrypted: &Encrypted,
    ) -> Result<BTreeMap<String, String>, EncryptError> {
        let private = options::private(key, &encrypted.plain);
        let mut annotations = BTreeMap::new();
        let mut add = |scheme: &str, wrapped: Vec<u8>| {
            annotations.insert(format!("{KEYS_PREFIX}{scheme}"), STANDARD.encode(wrapped));
        };
        if !self.jwe.is_empty() {
            add(
                JWE,
                jwe::wrap(&private, &self.jwe).map_err(EncryptError::Jwe)?,
            );
        }
        if !self.pkcs7.is_empty() {
            let wrapped = pkcs7::wrap(&private, &self.pkcs7);
            add(PKCS7, wrapped.map_err(EncryptError::Pkcs7)?);
        }
        if !self.pgp.is_empty() {
            let wrapped = openpgp::wrap(&private, &self.pgp);
            let wrapped = wrapped.map_err(|source| EncryptError::OpenPgp(Box::new(source)))?;
            add(PGP, wrapped);
        }
        if annotations.is_empty() {
            return Err(EncryptError::NoRecipient);
        }
        let public = STANDARD.encode(options::public(encrypted));
        annotations.insert(PUBLIC_OPTIONS.to_owned(), public);
        Ok(annotations)
    }
}

fn check_size(file: &[u8]) -> Result<(), KeyError> {
    match file.len() {
        size if size > KEY_MAX => Err(KeyError::TooLarge { size, max: KEY_MAX }),
        _ => Ok(()),
    }
}

fn push<T>(keys: &mut Vec<T>, key: T) -> Result<(), KeyError> {
    if keys.len() == KEYS_MAX {
        return Err(KeyError::TooMany { max: KEYS_MAX });
    }
    keys.push(key);
    Ok(())
}

/// The keys of somebody who reads layers.
#[derive(Default)]
pub struct DecryptionKeys {
    private: Vec<PrivateKey>,
    rings: Vec<SecretRing>,
}

impl fmt::Debug for DecryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKeys(***)")
    }
}

impl DecryptionKeys {
    /// Adds what a file holds: a private key, or a keyring of OpenPGP with secret keys. A certificate is welcome beside
    /// its key, but not needed.
    ///
    /// # Errors
    /// When the file holds none of these, or the password does not open it.
    pub fn add(&mut self, file: &[u8], password: Option<&Secret>) -> Result<(), KeyError> {
        check_size(file)?;
        if let Some(key) = PrivateKey::parse(file, password)? {
            return push(&mut self.private, key);
        }
        if keys::certificate(file).is_some() {
            return Ok(());
        }
        match SecretRing::parse(file, password)? {
            Some(ring) => push(&mut self.rings, ring),
            None => Err(KeyError::Unidentified),
        }
    }

    /// Unwraps a layer's key out of its descriptor's annotations; its bytes are then read through
    /// [`OpenedLayer::reader`].
    ///
    /// # Errors
    /// When none of the keys fits, or the annotations are not well formed.
    pub fn open(
        &self,
        annotations: &BTreeMap<String, String>,
    ) -> Result<OpenedLayer, DecryptError> {
        let private = self.unwrap(annotations)?;
        let public = match annotations.get(PUBLIC_OPTIONS) {
            Some(text) => decode(PUBLIC_OPTIONS, text)?,
            None => return Err(DecryptError::NoMac),
        };
        let (key, mac) = options::read(&public, &private)?;
        Ok(OpenedLayer { key, mac })
    }

    fn unwrap(&self, annotations: &BTreeMap<String, String>) -> Result<Vec<u8>, DecryptError> {
        let mut failure: Option<UnwrapError> = None;
        let mut unsupported = None;
        for (name, text) in annotations {
            let Some(scheme) = name.strip_prefix(KEYS_PREFIX).filter(|_| !text.is_empty()) else {
                continue;
            };
            let fits = match scheme {
                JWE | PKCS7 => !self.private.is_empty(),
                PGP => !self.rings.is_empty(),
                _ => {
                    unsupported.get_or_insert(scheme);
                    false
                }
            };
            if !fits {
                continue;
            }
            let wrapped: Vec<&str> = text.split(',').take(WRAPPED_MAX + 1).collect();
            if wrapped.len() > WRAPPED_MAX {
                return Err(DecryptError::TooMany {
                    name: name.clone(),
                    max: WRAPPED_MAX,
                });
            }
            for one in wrapped {
                let one = decode(name, one)?;
                let opened = match scheme {
                    JWE => jwe::unwrap(&one, &self.private).map_err(UnwrapError::from),
                    PKCS7 => pkcs7::unwrap(&one, &self.private).map_err(UnwrapError::from),
                    _ => openpgp::unwrap(&one, &self.rings).map_err(UnwrapError::from),
                };
                match opened {
                    Ok(private) => return Ok(private),
                    Err(error) => _ = failure.get_or_insert(error),
                }
            }
        }
        Err(match (failure, unsupported) {
            (Some(failure), _) => DecryptError::NoKeyFits(failure),
            (None, Some(scheme)) => DecryptError::Scheme {
                scheme: scheme.to_owned(),
            },
            (None, None) => DecryptError::MissingKey,
        })
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, DecryptError> {
    STANDARD
        .decode(text)
        .map_err(|source| DecryptError::Base64 {
            name: name.to_owned(),
            source,
        })
}

/// What reading one layer takes.
#[derive(Clone, Debug)]
pub struct OpenedLayer {
    key: LayerKey,
    mac: Vec<u8>,
}

impl OpenedLayer {
    /// Decrypts a layer's bytes. The reader fails instead of ending if they are not those that were encrypted.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn reader<R: Read>(&self, inner: R) -> Result<DecryptingReader<R>, DecryptError> {
        DecryptingReader::new(inner, &self.key, &self.mac).ok_or(DecryptError::Library)
    }
}

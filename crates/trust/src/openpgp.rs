//! Messages of OpenPGP (RFC 9580) that carry their content, checked with the keys of a given keyring and no others.
//!
//! A key counts when its own signatures bind it and it is neither revoked nor expired. Nobody's opinion of a key is
//! asked: being in the keyring is the trust. Making such messages is left to the program `gpg`, which has the keys.

use std::io::{self, Read as _};

use pgp::composed::{Deserializable as _, Message, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

/// The most bytes that a keyring may have.
pub const KEYRING_MAX: usize = 16 << 20;
/// The most keys that a keyring may have.
pub const KEYS_MAX: usize = 4096;
/// The most bytes of content that a message may have.
pub const CONTENT_MAX: u64 = 1 << 20;
/// How deep compressed messages may lie within each other.
const COMPRESSED_MAX: usize = 2;

/// Why a message or keyring is refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenPgpError {
    /// A keyring is larger than [`KEYRING_MAX`].
    #[error("a keyring has {size} bytes, more than {KEYRING_MAX}")]
    KeyringSize {
        /// Its size in bytes.
        size: usize,
    },
    /// A keyring has more keys than [`KEYS_MAX`].
    #[error("a keyring has more than {KEYS_MAX} keys")]
    TooManyKeys,
    /// A keyring cannot be read.
    #[error("cannot read a keyring")]
    Keyring(#[source] Box<pgp::errors::Error>),
    /// A message cannot be read.
    #[error("cannot read the OpenPGP message")]
    Message(#[source] Box<pgp::errors::Error>),
    /// The content of a message cannot be read.
    #[error("cannot read the content of the OpenPGP message")]
    Content(#[source] io::Error),
    /// A message within compressed messages.
    #[error("the OpenPGP message is compressed more than {COMPRESSED_MAX} times")]
    TooDeep,
    /// The content is larger than [`CONTENT_MAX`].
    #[error("the OpenPGP message has more than {CONTENT_MAX} bytes of content")]
    ContentSize,
    /// The message is only content.
    #[error("not signed")]
    NotSigned,
    /// A signature of a kind that signs no content, or by a hash that no longer proves anything.
    #[error("the signature's type or hash algorithm is not acceptable")]
    Unacceptable,
    /// None of the keys has made the signature.
    #[error("Key not found for key ID {id} in signature")]
    KeyNotFound {
        /// The key's identifier as the signature has it.
        id: String,
    },
    /// The key is in the ring, but the signature is not its own.
    #[error("signature error")]
    Invalid(#[source] Box<pgp::errors::Error>),
    /// The key may not be used any more.
    #[error("the key {fingerprint} has expired")]
    KeyExpired {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The key was taken back by its owner.
    #[error("the key {fingerprint} is revoked")]
    KeyRevoked {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The key's owner has not said that it signs.
    #[error("the key {fingerprint} is not for signing")]
    NotForSigning {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The signature says that it is no longer good.
    #[error("Signature expired")]
    SignatureExpired,
    /// The signature says that it was made later than now.
    #[error("the signature is from the future")]
    Future,
}

type Result<T> = std::result::Result<T, OpenPgpError>;

fn boxed<T>(
    wrap: fn(Box<pgp::errors::Error>) -> OpenPgpError,
) -> impl Fn(pgp::errors::Error) -> Result<T> {
    move |source| Err(wrap(Box::new(source)))
}

/// How far apart two clocks may be, in seconds.
const SKEW: i64 = 300;

/// The keys that a policy names.
#[derive(Debug, Default)]
pub struct Keyring(Vec<SignedPublicKey>);

impl Keyring {
    /// Adds the public keys of a file, armoured or not.
    ///
    /// # Errors
    /// When it is no keyring, or too large.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > KEYRING_MAX {
            return Err(OpenPgpError::KeyringSize { size: bytes.len() });
        }
        let (keys, _) =
            SignedPublicKey::from_reader_many(bytes).or_else(boxed(OpenPgpError::Keyring))?;
        for key in keys {
            if self.0.len() == KEYS_MAX {
                return Err(OpenPgpError::TooManyKeys);
            }
            self.0.push(key.or_else(boxed(OpenPgpError::Keyring))?);
        }
        Ok(())
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the content of a message that one of the keys has signed. `now` is in seconds since the beginning of 1970.
    ///
    /// # Errors
    /// See [`OpenPgpError`].
    pub fn verify(&self, message: &[u8], now: i64) -> Result<Vec<u8>> {
        let mut message = Message::from_bytes(message).or_else(boxed(OpenPgpError::Message))?;
        let mut depth = 0;
        while message.is_compressed() {
            if depth == COMPRESSED_MAX {
                return Err(OpenPgpError::TooDeep);
            }
            depth += 1;
            message = message.decompress().or_else(boxed(OpenPgpError::Message))?;
        }
        if !message.is_signed() {
            return Err(OpenPgpError::NotSigned);
        }
        let mut content = Vec::new();
        (&mut message)
            .take(CONTENT_MAX + 1)
            .read_to_end(&mut content)
            .map_err(OpenPgpError::Content)?;
        if content.len() as u64 > CONTENT_MAX {
            return Err(OpenPgpError::ContentSize);
        }
        let Message::Signed { reader, .. } = &message else {
            return Err(OpenPgpError::NotSigned);
        };
        let mut reason = OpenPgpError::NotSigned;
        for index in 0..reader.num_signatures() {
            let Some(signature) = reader.signature(index) else {
                continue;
            };
            let check = |key: &dyn VerifyingKey| {
                message
                    .verify_nested_explicit(index, key)
                    .map(|_| ())
                    .or_else(boxed(OpenPgpError::Invalid))
            };
            match self.check(signature, &check, now) {
                Ok(()) => return Ok(content),
                Err(err) => reason = err,
            }
        }
        Err(reason)
    }

    fn check(
        &self,
        signature: &Signature,
        check: &dyn Fn(&dyn VerifyingKey) -> Result<()>,
        now: i64,
    ) -> Result<()> {
        acceptable(signature, now)?;
        let mut reason = OpenPgpError::KeyNotFound {
            id: issuer(signature),
        };
        for key in &self.0 {
            let tried = if is_by(signature, &key.primary_key) {
                check(&key.primary_key).and_then(|()| own_word(key, now).map(|_| ()))
            } else if let Some(subkey) = key
                .public_subkeys
                .iter()
                .find(|subkey| is_by(signature, &subkey.key))
            {
                check(&subkey.key).and_then(|()| subkey_signs(key, subkey, now))
            } else {
                continue;
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(err) => reason = err,
            }
        }
        Err(reason)
    }
}

fn acceptable(signature: &Signature, now: i64) -> Result<()> {
    let kind = matches!(
        signature.typ(),
        Some(SignatureType::Binary | SignatureType::Text)
    );
    let weak = matches!(
        signature.hash_alg(),
        None | Some(HashAlgorithm::None | HashAlgorithm::Md5 | HashAlgorithm::Sha1)
            | Some(HashAlgorithm::Ripemd160 | HashAlgorithm::Other(_) | HashAlgorithm::Private10)
    );
    if !kind || weak {
        return Err(OpenPgpError::Unacceptable);
    }
    let created = signature.created().map_or(0, |at| i64::from(at.as_secs()));
    if created > now + SKEW {
        return Err(OpenPgpError::Future);
    }
    match signature.signature_expiration_time() {
        Some(lifetime) if has_ended(created, lifetime.as_secs(), now) => {
            Err(OpenPgpError::SignatureExpired)
        }
        _ => Ok(()),
    }
}

/// Whether a lifetime in seconds has ended; none at all is for ever.
fn has_ended(created: i64, lifetime: u32, now: i64) -> bool {
    lifetime != 0 && created + i64::from(lifetime) <= now
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        let id = key.legacy_key_id();
        signature.issuer_key_id().into_iter().any(|by| *by == id)
    } else {
        let fingerprint = key.fingerprint();
        fingerprints.into_iter().any(|by| *by == fingerprint)
    }
}

fn issuer(signature: &Signature) -> String {
    match signature.issuer_key_id().first() {
        Some(id) => format!("{id}"),
        None => signature
            .issuer_fingerprint()
            .first()
            .map_or_else(|| "unknown".to_owned(), |by| format!("{by:x}")),
    }
}

fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

/// Returns the newest word of its owner on a key; there is none on one that is revoked or has expired.
pub(crate) fn own_word(key: &SignedPublicKey, now: i64) -> Result<&Signature> {
    let details = &key.details;
    let primary = &key.primary_key;
    let name = || fingerprint(primary);
    let revoked = |signature: &Signature| {
        signature.typ() == Some(SignatureType::KeyRevocation)
            && signature.verify_key(primary).is_ok()
    };
    if details.revocation_signatures.iter().any(revoked) {
        return Err(OpenPgpError::KeyRevoked {
            fingerprint: name(),
        });
    }
    let users = details.users.iter().flat_map(|user| {
        let own: Vec<&Signature> = user
            .signatures
            .iter()
            .filter(|signature| {
                is_by(signature, primary)
                    && signature
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            })
            .collect();
        let withdrawn = own
            .iter()
            .any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        if withdrawn { Vec::new() } else { own }
    });
    let direct = details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(primary).is_ok());
    let newest = users
        .chain(direct)
        .filter(|signature| has_begun(signature, now))
        .max_by_key(|signature| signature.created());
    // Without a word of its owner a key means nothing.
    let Some(newest) = newest else {
        return Err(OpenPgpError::NotForSigning {
            fingerprint: name(),
        });
    };
    if is_over(primary, newest, now) {
        return Err(OpenPgpError::KeyExpired {
            fingerprint: name(),
        });
    }
    Ok(newest)
}

/// Returns the newest signature that binds a subkey to a key; there is none on one that is revoked or has expired.
pub(crate) fn binding<'a>(
    key: &SignedPublicKey,
    subkey: &'a SignedPublicSubKey,
    now: i64,
) -> Result<&'a Signature> {
    own_word(key, now)?;
    let primary = &key.primary_key;
    let name = || fingerprint(&subkey.key);
    let own: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|signature| {
            signature
                .verify_subkey_binding(primary, &subkey.key)
                .is_ok()
        })
        .collect();
    if own
        .iter()
        .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation))
    {
        return Err(OpenPgpError::KeyRevoked {
            fingerprint: name(),
        });
    }
    let newest = own
        .into_iter()
        .filter(|signature| has_begun(signature, now))
        .max_by_key(|signature| signature.created());
    let Some(newest) = newest else {
        return Err(OpenPgpError::NotForSigning {
            fingerprint: name(),
        });
    };
    if is_over(&subkey.key, newest, now) {
        return Err(OpenPgpError::KeyExpired {
            fingerprint: name(),
        });
    }
    Ok(newest)
}

fn subkey_signs(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Result<()> {
    let binding = binding(key, subkey, now)?;
    let signs = binding.key_flags().sign()
        && binding.embedded_signature().is_some_and(|back| {
            back.verify_primary_key_binding(&subkey.key, &key.primary_key)
                .is_ok()
        });
    if signs {
        return Ok(());
    }
    Err(OpenPgpError::NotForSigning {
        fingerprint: fingerprint(&subkey.key),
    })
}

fn has_begun(signature: &Signature, now: i64) -> bool {
    signature
        .created()
        .is_some_and(|at| i64::from(at.as_secs()) <= now + SKEW)
}

fn is_over(key: &impl KeyDetails, binding: &Signature, now: i64) -> bool {
    let created = i64::from(key.created_at().as_secs());
    binding
        .key_expiration_time()
        .is_some_and(|lifetime| has_ended(created, lifetime.as_secs(), now))
}

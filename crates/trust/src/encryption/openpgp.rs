//! Messages of OpenPGP (RFC 9580) that are encrypted to keys of a keyring and opened with secret keys from files.

use std::io::Read;

use model::Secret;
use pgp::composed::{
    Deserializable as _, Esk, Message, MessageBuilder, PlainSessionKey, SignedPublicKey,
    SignedPublicSubKey, SignedSecretKey,
};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PublicKeyEncryptedSessionKey, Signature};
use pgp::types::{DecryptionKey, EskType, KeyDetails as _, Password, PkeskVersion};
use rsa::rand_core::OsRng;

use super::error::KeyError;
use super::packets;

/// The most bytes that a keyring may have.
const KEYRING_MAX: usize = 16 << 20;
/// The most keys that a keyring may have.
const KEYS_MAX: usize = 4096;
/// The most bytes that wrapped options may have.
const TEXT_MAX: u64 = 64 << 10;

/// Why a message cannot be encrypted to somebody.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// A keyring is larger than any.
    #[error("a keyring has {size} bytes, more than {KEYRING_MAX}")]
    KeyringSize {
        /// Its size in bytes.
        size: usize,
    },
    /// A keyring has more keys than any.
    #[error("a keyring has more than {KEYS_MAX} keys")]
    TooManyKeys,
    /// The keyring cannot be read.
    #[error("cannot read the keyring")]
    Keyring(#[source] Box<pgp::errors::Error>),
    /// Nobody in the keyring has the name.
    #[error("PGP: No key found for the following recipients: {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// Somebody's keys are revoked, have expired, or are not for encrypting.
    #[error("PGP: no key of {recipient} can be encrypted to now")]
    CannotEncrypt {
        /// The recipient.
        recipient: String,
    },
}

/// A key that encrypts.
#[derive(Clone, Debug)]
pub(super) enum Recipient {
    Primary(Box<SignedPublicKey>),
    Subkey(Box<SignedPublicSubKey>),
}

/// Finds the keys of people by their names or addresses. `now` is in seconds since the beginning of 1970.
pub(super) fn recipients(
    wanted: &[String],
    keyring: &[u8],
    now: i64,
) -> Result<Vec<Recipient>, RecipientError> {
    let keys = public_keys(keyring)?;
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for name in wanted {
        let own: Vec<&SignedPublicKey> = keys.iter().filter(|key| belongs(key, name)).collect();
        if own.is_empty() {
            unknown.push(name.clone());
            continue;
        }
        let before = found.len();
        found.extend(own.into_iter().filter_map(|key| encrypting(key, now)));
        if found.len() == before {
            return Err(RecipientError::CannotEncrypt {
                recipient: name.clone(),
            });
        }
    }
    match unknown.is_empty() {
        true => Ok(found),
        false => Err(RecipientError::Unknown(unknown)),
    }
}

fn public_keys(keyring: &[u8]) -> Result<Vec<SignedPublicKey>, RecipientError> {
    if keyring.len() > KEYRING_MAX {
        return Err(RecipientError::KeyringSize {
            size: keyring.len(),
        });
    }
    if keyring.is_empty() {
        return Ok(Vec::new());
    }
    let refused = |source| RecipientError::Keyring(Box::new(source));
    let (keys, _) = SignedPublicKey::from_reader_many(keyring).map_err(refused)?;
    let mut read = Vec::new();
    for key in keys {
        if read.len() == KEYS_MAX {
            return Err(RecipientError::TooManyKeys);
        }
        // A key of a kind that is not known here is nobody's who was asked for.
        read.extend(key.ok());
    }
    Ok(read)
}

/// Whether a key is that of somebody with a name or an address.
fn belongs(key: &SignedPublicKey, wanted: &str) -> bool {
    key.details.users.iter().any(|user| {
        let id = user.id.as_str().unwrap_or_default();
        let (name, address) = match id.split_once('<') {
            Some((name, rest)) => (name.trim(), rest.split('>').next().unwrap_or_default()),
            None => ("", id.trim()),
        };
        address == wanted || (!name.is_empty() && without_comment(name) == wanted)
    })
}

fn without_comment(name: &str) -> &str {
    match name.split_once('(') {
        Some((name, _)) => name.trim(),
        None => name,
    }
}

/// The key to encrypt to now: the newest subkey that is for it, or the key itself.
fn encrypting(key: &SignedPublicKey, now: i64) -> Option<Recipient> {
    let is_for_it = |word: &Signature| {
        let flags = word.key_flags();
        flags.encrypt_comms() || flags.encrypt_storage()
    };
    let subkeys = key.public_subkeys.iter().filter(|subkey| {
        let binding = crate::openpgp::binding(key, subkey, now);
        binding.is_ok_and(is_for_it)
    });
    if let Some(subkey) = subkeys.max_by_key(|subkey| subkey.key.created_at()) {
        return Some(Recipient::Subkey(Box::new(subkey.clone())));
    }
    let word = crate::openpgp::own_word(key, now).ok()?;
    is_for_it(word).then(|| Recipient::Primary(Box::new(key.clone())))
}

/// Makes a message that each of the recipients can open.
pub(super) fn wrap(text: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, pgp::errors::Error> {
    let mut message = MessageBuilder::from_bytes("", text.to_vec())
        .seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
    for recipient in recipients {
        match recipient {
            Recipient::Primary(key) => message.encrypt_to_key(OsRng, &key.primary_key)?,
            Recipient::Subkey(key) => message.encrypt_to_key(OsRng, &key.key)?,
        };
    }
    message.to_vec(OsRng)
}

/// A keyring of secret keys, with the password that opens them.
pub(super) struct SecretRing {
    keys: Vec<SignedSecretKey>,
    password: Password,
}

impl SecretRing {
    /// Reads a keyring, armoured or not; `None` if the file is none.
    pub(super) fn parse(file: &[u8], password: Option<&Secret>) -> Result<Option<Self>, KeyError> {
        let Ok((keys, _)) = SignedSecretKey::from_reader_many(file) else {
            return Ok(None);
        };
        let keys: Vec<SignedSecretKey> = keys.take(KEYS_MAX).filter_map(Result::ok).collect();
        let password = match password {
            Some(password) => Password::from(password.expose()),
            None => Password::empty(),
        };
        Ok((!keys.is_empty()).then_some(Self { keys, password }))
    }
}

/// None of the keyrings opens a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PGP: No suitable key found to unwrap key")]
pub struct NoRingFits;

/// Opens a message with the first keyring that has a key for it.
pub(super) fn unwrap(message: &[u8], rings: &[SecretRing]) -> Result<Vec<u8>, NoRingFits> {
    let opened = rings.iter().find_map(|ring| open(message, ring));
    opened.ok_or(NoRingFits)
}

fn open(message: &[u8], ring: &SecretRing) -> Option<Vec<u8>> {
    let message = packets::definite(message)?;
    let Message::Encrypted { esk, .. } = Message::from_bytes(&message[..]).ok()? else {
        return None;
    };
    let session = esk.iter().find_map(|esk| match esk {
        Esk::PublicKeyEncryptedSessionKey(wrapped) => session_key(wrapped, ring),
        Esk::SymKeyEncryptedSessionKey(_) => None,
    })?;
    let Message::Encrypted { mut edata, .. } = Message::from_bytes(&message[..]).ok()? else {
        return None;
    };
    edata.decrypt(&session).ok()?;
    let inner = packets::definite(&read(&mut edata)?)?;
    let mut inner = Message::from_bytes(&inner[..]).ok()?;
    if inner.is_compressed() {
        inner = inner.decompress().ok()?;
    }
    read(&mut inner)
}

fn read(source: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn session_key(
    wrapped: &PublicKeyEncryptedSessionKey,
    ring: &SecretRing,
) -> Option<PlainSessionKey> {
    let values = wrapped.values().ok()?;
    let kind = match wrapped.version() {
        PkeskVersion::V6 => EskType::V6,
        _ => EskType::V3_4,
    };
    ring.keys.iter().find_map(|key| {
        let primary: &dyn DecryptionKey = &key.primary_key;
        let subkeys = key.secret_subkeys.iter().map(|subkey| {
            let subkey: &dyn DecryptionKey = &subkey.key;
            subkey
        });
        subkeys.chain([primary]).find_map(|key| {
            // Keys without a password take any.
            let opened = key.decrypt(&ring.password, values, kind);
            opened.ok()?.ok()
        })
    })
}

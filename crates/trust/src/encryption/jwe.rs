//! JSON Web Encryption (RFC 7516) in its JSON form: one ciphertext, whose key is wrapped for each recipient.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::{Oaep, RsaPrivateKey};
use serde::{Deserialize, Serialize};
use sha1::Sha1;

use super::curve::Curve;
use super::jwk::Jwk;
use super::keys::{EcPrivate, PrivateKey, PublicKey, Wrapping};

/// How the content is encrypted.
const ENCRYPTION: &str = "A256GCM";
const CONTENT_KEY_SIZE: usize = 32;
const VECTOR_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// How much longer a wrapped key is.
const WRAP_SIZE: usize = 8;
/// The longest key that wraps another one.
const KEK_MAX: usize = 32;
/// The most recipients that a message may have.
const RECIPIENTS_MAX: usize = 256;

/// Why a message cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum JweError {
    /// The message is not in the expected form.
    #[error("the JWE message is not well formed")]
    Json(#[source] serde_json::Error),
    /// A part of the message is not encoded as it must be.
    #[error("the {part} of the JWE message is not valid base64")]
    Base64 {
        /// Which.
        part: &'static str,
        /// The cause.
        source: base64::DecodeError,
    },
    /// The message has more recipients than anybody needs.
    #[error("the JWE message has more than {RECIPIENTS_MAX} recipients")]
    TooMany,
    /// The message is made in a way that is not known here.
    #[error("the JWE message uses {what} {name:?}, which is not supported")]
    Unsupported {
        /// Which part of the way.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// None of the keys opens it.
    #[error("JWE: No suitable private key found for decryption")]
    NoKeyFits,
    /// A recipient's key refuses to work.
    #[error("the recipient's key cannot be used")]
    Key,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
}

type Result<T> = std::result::Result<T, JweError>;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epk: Option<Jwk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apv: Option<String>,
    #[serde(default, skip_serializing)]
    zip: Option<String>,
    #[serde(default, skip_serializing)]
    crit: Option<Vec<String>>,
}

impl Header {
    /// The header that is meant where several say something.
    fn over(&self, below: &Self) -> Self {
        let text = |own: &Option<String>, other: &Option<String>| own.clone().or(other.clone());
        Self {
            alg: text(&self.alg, &below.alg),
            enc: text(&self.enc, &below.enc),
            epk: self.epk.clone().or(below.epk.clone()),
            apu: text(&self.apu, &below.apu),
            apv: text(&self.apv, &below.apv),
            zip: text(&self.zip, &below.zip),
            crit: self.crit.clone().or(below.crit.clone()),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Recipient {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    encrypted_key: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Message {
    #[serde(default)]
    protected: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unprotected: Option<Header>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<Recipient>,
    /// Of the only recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<Header>,
    /// For the only recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aad: Option<String>,
    iv: String,
    ciphertext: String,
    tag: String,
}

/// Makes a message that each of the keys opens; there is at least one.
pub(super) fn wrap(text: &[u8], keys: &[PublicKey]) -> Result<Vec<u8>> {
    let mut content_key = [0; CONTENT_KEY_SIZE];
    let mut vector = [0; VECTOR_SIZE];
    rand::fill(&mut content_key).map_err(|_| JweError::Library)?;
    rand::fill(&mut vector).map_err(|_| JweError::Library)?;
    let recipients = keys
        .iter()
        .map(|key| wrap_key(&content_key, key))
        .collect::<Result<Vec<_>>>()?;
    let mut message = Message::default();
    let mut protected = Header {
        enc: Some(ENCRYPTION.to_owned()),
        ..Header::default()
    };
    if let [only] = &recipients[..] {
        protected = protected.over(&only.header);
        message.encrypted_key = Some(only.encrypted_key.clone());
    } else {
        message.recipients = recipients;
    }
    message.protected = URL_SAFE_NO_PAD.encode(json(&protected));
    let mut sealed = text.to_vec();
    let tag = content_cipher(ENCRYPTION, &content_key)
        .ok_or(JweError::Library)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(vector),
            Aad::from(message.protected.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| JweError::Library)?;
    message.iv = URL_SAFE_NO_PAD.encode(vector);
    message.ciphertext = URL_SAFE_NO_PAD.encode(sealed);
    message.tag = URL_SAFE_NO_PAD.encode(tag.as_ref());
    Ok(json(&message))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("all keys are strings and all values plain")
}

fn wrap_key(content_key: &[u8], key: &PublicKey) -> Result<Recipient> {
    let (wrapping, epk, wrapped) = match key {
        PublicKey::Rsa { key, wrapping } => {
            let wrapped = key.encrypt(&mut OsRng, oaep(*wrapping), content_key);
            (*wrapping, None, wrapped.map_err(|_| JweError::Key)?)
        }
        PublicKey::Ec {
            curve,
            point,
            wrapping,
        } => {
            let ephemeral = agreement::PrivateKey::generate(curve.agreement());
            let ephemeral = ephemeral.map_err(|_| JweError::Library)?;
            let own = ephemeral.compute_public_key();
            let own = own.map_err(|_| JweError::Library)?;
            let epk = Jwk::of_point(*curve, own.as_ref()).ok_or(JweError::Library)?;
            let kek = agree(&ephemeral, *curve, point, *wrapping, &Header::default())?;
            let mut wrapped = vec![0; content_key.len() + WRAP_SIZE];
            let kek = kek.ok_or(JweError::Key)?;
            kek.wrap(content_key, &mut wrapped)
                .map_err(|_| JweError::Library)?;
            (*wrapping, Some(epk), wrapped)
        }
    };
    Ok(Recipient {
        header: Header {
            alg: Some(wrapping.name().to_owned()),
            epk,
            ..Header::default()
        },
        encrypted_key: URL_SAFE_NO_PAD.encode(wrapped),
    })
}

fn oaep(wrapping: Wrapping) -> Oaep {
    match wrapping {
        Wrapping::RsaOaep256 => Oaep::new::<Sha256>(),
        _ => Oaep::new::<Sha1>(),
    }
}

/// Opens a message with the first key that fits one of its recipients.
pub(super) fn unwrap(message: &[u8], keys: &[PrivateKey]) -> Result<Vec<u8>> {
    let message: Message = serde_json::from_slice(message).map_err(JweError::Json)?;
    if message.recipients.len() > RECIPIENTS_MAX {
        return Err(JweError::TooMany);
    }
    let protected: Header = if message.protected.is_empty() {
        Header::default()
    } else {
        let bytes = decode("protected header", &message.protected)?;
        serde_json::from_slice(&bytes).map_err(JweError::Json)?
    };
    let shared = match &message.unprotected {
        Some(unprotected) => protected.over(unprotected),
        None => protected,
    };
    let only = Recipient {
        header: message.header.clone().unwrap_or_default(),
        encrypted_key: message.encrypted_key.clone().unwrap_or_default(),
    };
    let recipients = match &message.recipients[..] {
        [] => std::slice::from_ref(&only),
        several => several,
    };
    for recipient in recipients {
        let header = shared.over(&recipient.header);
        refuse_extensions(&header)?;
        let wrapped = decode("wrapped key", &recipient.encrypted_key)?;
        for key in keys {
            if let Some(content_key) = unwrap_key(&header, &wrapped, key)?
                && let Some(text) = open(&message, &header, &content_key)?
            {
                return Ok(text);
            }
        }
    }
    Err(JweError::NoKeyFits)
}

fn refuse_extensions(header: &Header) -> Result<()> {
    let extension = header.crit.iter().flatten().next();
    let what = [
        ("the compression", &header.zip.as_ref()),
        ("the extension", &extension),
    ];
    match what
        .into_iter()
        .find_map(|(what, name)| Some((what, (*name)?)))
    {
        None => Ok(()),
        Some((what, name)) => Err(JweError::Unsupported {
            what,
            name: name.clone(),
        }),
    }
}

fn unwrap_key(header: &Header, wrapped: &[u8], key: &PrivateKey) -> Result<Option<Vec<u8>>> {
    let name = header.alg.as_deref().unwrap_or_default();
    let wrapping = Wrapping::by_name(name).ok_or_else(|| JweError::Unsupported {
        what: "the key algorithm",
        name: name.to_owned(),
    })?;
    Ok(match (wrapping, key) {
        (Wrapping::RsaOaep | Wrapping::RsaOaep256, PrivateKey::Rsa(key)) => {
            unwrap_rsa(wrapping, wrapped, key)
        }
        (Wrapping::EcdhEsA128Kw | Wrapping::EcdhEsA256Kw, PrivateKey::Ec(key)) => {
            unwrap_ec(wrapping, header, wrapped, key)?
        }
        _ => None,
    })
}

fn unwrap_rsa(wrapping: Wrapping, wrapped: &[u8], key: &RsaPrivateKey) -> Option<Vec<u8>> {
    key.decrypt_blinded(&mut OsRng, oaep(wrapping), wrapped)
        .ok()
}

fn unwrap_ec(
    wrapping: Wrapping,
    header: &Header,
    wrapped: &[u8],
    key: &EcPrivate,
) -> Result<Option<Vec<u8>>> {
    let Some((curve, point)) = header.epk.as_ref().and_then(Jwk::point) else {
        return Ok(None);
    };
    if curve != key.curve {
        return Ok(None);
    }
    let Some(kek) = agree(&key.key, curve, &point, wrapping, header)? else {
        return Ok(None);
    };
    let mut content_key = vec![0; wrapped.len()];
    Ok(kek
        .unwrap(wrapped, &mut content_key)
        .ok()
        .map(|key| key.to_vec()))
}

/// Agrees on the key that wraps the content's (RFC 7518, section 4.6); `None` if the point is no key.
fn agree(
    own: &agreement::PrivateKey,
    curve: Curve,
    point: &[u8],
    wrapping: Wrapping,
    header: &Header,
) -> Result<Option<AesKek>> {
    let (cipher, size) = match wrapping {
        Wrapping::EcdhEsA128Kw => (&AES_128, 16_usize),
        _ => (&AES_256, KEK_MAX),
    };
    let party = |text: &Option<String>| match text {
        Some(text) => decode("party information", text),
        None => Ok(Vec::new()),
    };
    let (first, second) = (party(&header.apu)?, party(&header.apv)?);
    let other = UnparsedPublicKey::new(curve.agreement(), point);
    let derived = agreement::agree(own, other, (), |secret| {
        let mut hash = digest::Context::new(&SHA256);
        hash.update(&1_u32.to_be_bytes());
        hash.update(secret);
        for part in [wrapping.name().as_bytes(), &first, &second] {
            hash.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.update(&u32::try_from(8 * size).unwrap_or(u32::MAX).to_be_bytes());
        Ok(hash.finish())
    });
    Ok(derived
        .ok()
        .and_then(|key| AesKek::new(cipher, &key.as_ref()[..size]).ok()))
}

/// Decrypts the content; `None` if the key is not its own.
fn open(message: &Message, header: &Header, content_key: &[u8]) -> Result<Option<Vec<u8>>> {
    let name = header.enc.as_deref().unwrap_or_default();
    if !["A256GCM", "A128GCM"].contains(&name) {
        return Err(JweError::Unsupported {
            what: "the encryption",
            name: name.to_owned(),
        });
    }
    let vector = decode("initialization vector", &message.iv)?;
    let mut sealed = decode("ciphertext", &message.ciphertext)?;
    let tag = decode("tag", &message.tag)?;
    let mut additional = message.protected.clone();
    if let Some(aad) = &message.aad {
        additional.push('.');
        additional.push_str(aad);
    }
    let (Ok(vector), Some(cipher)) = (
        <[u8; VECTOR_SIZE]>::try_from(vector),
        content_cipher(name, content_key),
    ) else {
        return Ok(None);
    };
    if tag.len() != TAG_SIZE {
        return Ok(None);
    }
    sealed.extend(tag);
    let nonce = Nonce::assume_unique_for_key(vector);
    let opened = cipher.open_in_place(nonce, Aad::from(additional.as_bytes()), &mut sealed);
    Ok(opened.ok().map(|text| text.to_vec()))
}

fn content_cipher(name: &str, key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match name {
        "A128GCM" => &AES_128_GCM,
        _ => &AES_256_GCM,
    };
    UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|source| JweError::Base64 { part, source })
}

//! Enveloped data of PKCS #7 (RFC 5652, section 6): one ciphertext, whose key is encrypted to the RSA key of each
//! recipient's certificate.
//!
//! What is written is what the peers' reader understands, AES-128-GCM with its parameters one level deeper than RFC 5084
//! has them; both are read.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rsa::rand_core::OsRng;
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey, RsaPublicKey};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

use super::error::KeyError;
use super::keys::{PrivateKey, certificate, rsa_of_spki};
use super::tlv::{
    CONTEXT_0, CONTEXT_0_PRIMITIVE, Elements, INTEGER, OCTETS, OID, SEQUENCE, SET, element,
};

/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 2.16.840.1.101.3.4.1.6
const AES_128_GCM_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x06];
/// 2.16.840.1.101.3.4.1.46
const AES_256_GCM_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2e];
/// The nonce among the parameters as the peers tag it.
const NONCE_TAG: u8 = 0x84;

const CONTENT_KEY_SIZE: usize = 16;
const NONCE_SIZE: usize = 12;
/// The most recipients that a message may have.
const RECIPIENTS_MAX: usize = 256;

/// Why a message cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs7Error {
    /// The message is not in the expected form.
    #[error("the PKCS #7 message is not well formed")]
    Form,
    /// The message has more recipients than anybody needs.
    #[error("the PKCS #7 message has more than {RECIPIENTS_MAX} recipients")]
    TooMany,
    /// The content is encrypted otherwise.
    #[error("the PKCS #7 message is encrypted in a way that is not supported")]
    Method,
    /// None of the keys opens it.
    #[error("PKCS7: No suitable private key found for decryption")]
    NoKeyFits,
    /// A certificate's key refuses to work.
    #[error("the recipient's key cannot be used")]
    Key,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
}

type Result<T> = std::result::Result<T, Pkcs7Error>;

/// Somebody who has the private key to a certificate.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    /// The issuer and the serial number, encoded.
    identifier: Vec<u8>,
    key: RsaPublicKey,
}

impl Recipient {
    /// Reads a certificate.
    pub(super) fn parse(file: &[u8]) -> std::result::Result<Self, KeyError> {
        let certificate = certificate(file).ok_or(KeyError::NotCertificate)?;
        Self::of(&certificate).ok_or(KeyError::CertificateKey)
    }

    fn of(certificate: &Certificate) -> Option<Self> {
        let inner = &certificate.tbs_certificate;
        let issuer = inner.issuer.to_der().ok()?;
        let serial = inner.serial_number.to_der().ok()?;
        let key = inner.subject_public_key_info.to_der().ok()?;
        Some(Self {
            identifier: element(SEQUENCE, &[&issuer, &serial]),
            key: rsa_of_spki(&key)?,
        })
    }
}

/// Makes a message that each of the recipients can open; there is at least one.
pub(super) fn wrap(text: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>> {
    let mut content_key = [0; CONTENT_KEY_SIZE];
    let mut nonce = [0; NONCE_SIZE];
    rand::fill(&mut content_key).map_err(|_| Pkcs7Error::Library)?;
    rand::fill(&mut nonce).map_err(|_| Pkcs7Error::Library)?;
    let mut sealed = text.to_vec();
    let cipher = UnboundKey::new(&AES_128_GCM, &content_key).map_err(|_| Pkcs7Error::Library)?;
    LessSafeKey::new(cipher)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut sealed,
        )
        .map_err(|_| Pkcs7Error::Library)?;
    let version = element(INTEGER, &[&[0]]);
    let algorithm = element(SEQUENCE, &[&element(OID, &[RSA_ENCRYPTION])]);
    let mut infos = Vec::new();
    for recipient in recipients {
        let wrapped = recipient
            .key
            .encrypt(&mut OsRng, Pkcs1v15Encrypt, &content_key)
            .map_err(|_| Pkcs7Error::Key)?;
        let wrapped = element(OCTETS, &[&wrapped]);
        infos.push(element(
            SEQUENCE,
            &[&version, &recipient.identifier, &algorithm, &wrapped],
        ));
    }
    // A set is sorted by its elements' bytes.
    infos.sort();
    let infos: Vec<&[u8]> = infos.iter().map(Vec::as_slice).collect();
    let parameters = element(
        SEQUENCE,
        &[&element(NONCE_TAG, &[&nonce]), &element(INTEGER, &[&[16]])],
    );
    let method = element(
        SEQUENCE,
        &[
            &element(OID, &[AES_128_GCM_ID]),
            &element(SEQUENCE, &[&parameters]),
        ],
    );
    let content = element(
        SEQUENCE,
        &[
            &element(OID, &[DATA]),
            &method,
            &element(CONTEXT_0, &[&element(OCTETS, &[&sealed])]),
        ],
    );
    let enveloped = element(SEQUENCE, &[&version, &element(SET, &infos), &content]);
    Ok(element(
        SEQUENCE,
        &[
            &element(OID, &[ENVELOPED_DATA]),
            &element(CONTEXT_0, &[&enveloped]),
        ],
    ))
}

/// What a message consists of.
struct Message<'a> {
    wrapped: Vec<&'a [u8]>,
    method: &'a [u8],
    parameters: &'a [u8],
    sealed: Vec<u8>,
}

/// Opens a message with the first key that fits one of its recipients. Certificates are not asked for: which of the
/// wrapped keys is whose shows when it is tried.
pub(super) fn unwrap(message: &[u8], keys: &[PrivateKey]) -> Result<Vec<u8>> {
    let message = parse(message).ok_or(Pkcs7Error::Form)?;
    if message.wrapped.len() > RECIPIENTS_MAX {
        return Err(Pkcs7Error::TooMany);
    }
    let (algorithm, size) = match message.method {
        AES_128_GCM_ID => (&AES_128_GCM, 16),
        AES_256_GCM_ID => (&AES_256_GCM, 32),
        _ => return Err(Pkcs7Error::Method),
    };
    let nonce = nonce(message.parameters).ok_or(Pkcs7Error::Form)?;
    for key in keys {
        let PrivateKey::Rsa(key) = key else {
            continue;
        };
        for wrapped in &message.wrapped {
            let Some(content_key) = unwrap_key(wrapped, key).filter(|key| key.len() == size) else {
                continue;
            };
            let cipher =
                UnboundKey::new(algorithm, &content_key).map_err(|_| Pkcs7Error::Library)?;
            let mut sealed = message.sealed.clone();
            let opened = LessSafeKey::new(cipher).open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            );
            if let Ok(text) = opened {
                return Ok(text.to_vec());
            }
        }
    }
    Err(Pkcs7Error::NoKeyFits)
}

fn unwrap_key(wrapped: &[u8], key: &RsaPrivateKey) -> Option<Vec<u8>> {
    key.decrypt_blinded(&mut OsRng, Pkcs1v15Encrypt, wrapped)
        .ok()
}

fn parse(message: &[u8]) -> Option<Message<'_>> {
    let mut outer = Elements(Elements(message).expect(SEQUENCE)?);
    if outer.expect(OID)? != ENVELOPED_DATA {
        return None;
    }
    let mut enveloped = Elements(Elements(outer.expect(CONTEXT_0)?).expect(SEQUENCE)?);
    enveloped.expect(INTEGER)?;
    let infos = Elements(enveloped.expect(SET)?);
    // Other kinds of recipients than those with certificates are skipped.
    let wrapped = infos.filter_map(|info| {
        let mut parts = Elements(info.value);
        parts.expect(INTEGER)?;
        parts.next()?;
        let mut algorithm = Elements(parts.expect(SEQUENCE)?);
        (algorithm.expect(OID)? == RSA_ENCRYPTION).then(|| parts.expect(OCTETS))?
    });
    let wrapped = wrapped.collect();
    let mut content = Elements(enveloped.expect(SEQUENCE)?);
    content.expect(OID)?;
    let mut method = Elements(content.expect(SEQUENCE)?);
    let text = content.next()?;
    let sealed = match text.tag {
        CONTEXT_0_PRIMITIVE => text.value.to_vec(),
        // An octet string may be given in pieces.
        CONTEXT_0 => {
            let pieces = Elements(text.value).filter(|piece| piece.tag == OCTETS);
            pieces.flat_map(|piece| piece.value).copied().collect()
        }
        _ => return None,
    };
    Some(Message {
        wrapped,
        method: method.expect(OID)?,
        parameters: method.next()?.value,
        sealed,
    })
}

fn nonce(parameters: &[u8]) -> Option<[u8; NONCE_SIZE]> {
    let first = Elements(parameters).next()?;
    let nonce = match first.tag {
        SEQUENCE => Elements(first.value).next()?,
        _ => first,
    };
    let known = [NONCE_TAG, OCTETS].contains(&nonce.tag);
    known.then(|| nonce.value.try_into().ok())?
}

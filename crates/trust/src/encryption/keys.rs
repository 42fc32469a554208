//! Keys as users have them in files: PEM, DER, or JSON Web Keys.

use std::fmt;

use aws_lc_rs::agreement;
use model::Secret;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, der::Decode as _};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey, pkcs1};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::curve::Curve;
use super::error::KeyError;
use super::jwk::Jwk;
use super::locked;
use crate::pem;

/// The largest modulus of a public key, in bits.
const RSA_MAX: usize = 16_384;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// How JWE wraps a key (RFC 7518, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    RsaOaep,
    RsaOaep256,
    EcdhEsA128Kw,
    EcdhEsA256Kw,
}

impl Wrapping {
    const ALL: [Self; 4] = [
        Self::RsaOaep,
        Self::RsaOaep256,
        Self::EcdhEsA128Kw,
        Self::EcdhEsA256Kw,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }

    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn is_rsa(self) -> bool {
        matches!(self, Self::RsaOaep | Self::RsaOaep256)
    }
}

/// A key that layers' keys are wrapped with.
#[derive(Clone, Debug)]
pub(super) enum PublicKey {
    Rsa {
        key: RsaPublicKey,
        wrapping: Wrapping,
    },
    Ec {
        curve: Curve,
        /// Uncompressed.
        point: Vec<u8>,
        wrapping: Wrapping,
    },
}

impl PublicKey {
    /// Reads a public key, or the one of a certificate.
    pub(super) fn parse(file: &[u8]) -> Result<Self, KeyError> {
        if let Some(jwk) = Jwk::parse(file) {
            return of_jwk(&jwk);
        }
        let der = match pem::blocks(file) {
            Ok(mut blocks) => blocks.swap_remove(0).bytes,
            Err(_) => file.to_vec(),
        };
        let spki = match Certificate::from_der(&der) {
            Ok(certificate) => certificate
                .tbs_certificate
                .subject_public_key_info
                .to_der()
                .map_err(|_| KeyError::NotPublic)?,
            Err(_) => der,
        };
        of_spki(&spki).ok_or(KeyError::NotPublic)
    }
}

fn of_jwk(jwk: &Jwk) -> Result<PublicKey, KeyError> {
    let wrapping = match jwk.algorithm() {
        None => None,
        Some(name) => Some(
            Wrapping::by_name(name)
                .filter(|wrapping| wrapping.is_rsa() == (jwk.kty == "RSA"))
                .ok_or_else(|| KeyError::KeyAlgorithm {
                    algorithm: name.to_owned(),
                })?,
        ),
    };
    jwk.public(wrapping).ok_or(KeyError::NotPublic)
}

fn of_spki(der: &[u8]) -> Option<PublicKey> {
    let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let bits = spki.subject_public_key.as_bytes()?;
    match spki.algorithm.oid {
        RSA => Some(PublicKey::Rsa {
            key: rsa_of_pkcs1(bits)?,
            wrapping: Wrapping::RsaOaep,
        }),
        EC => {
            let curve = Curve::by_oid(spki.algorithm.parameters_oid().ok()?)?;
            curve.coordinates(bits)?;
            Some(PublicKey::Ec {
                curve,
                point: bits.to_vec(),
                wrapping: Wrapping::EcdhEsA256Kw,
            })
        }
        _ => None,
    }
}

/// Reads the RSA key of a certificate.
pub(super) fn rsa_of_spki(der: &[u8]) -> Option<RsaPublicKey> {
    match of_spki(der)? {
        PublicKey::Rsa { key, .. } => Some(key),
        PublicKey::Ec { .. } => None,
    }
}

fn rsa_of_pkcs1(der: &[u8]) -> Option<RsaPublicKey> {
    let key = pkcs1::RsaPublicKey::from_der(der).ok()?;
    rsa_public(
        BigUint::from_bytes_be(key.modulus.as_bytes()),
        BigUint::from_bytes_be(key.public_exponent.as_bytes()),
    )
}

pub(super) fn rsa_public(n: BigUint, e: BigUint) -> Option<RsaPublicKey> {
    RsaPublicKey::new_with_max_size(n, e, RSA_MAX).ok()
}

/// Reads a certificate, in DER or in PEM.
pub(super) fn certificate(file: &[u8]) -> Option<Certificate> {
    if let Ok(certificate) = Certificate::from_der(file) {
        return Some(certificate);
    }
    let blocks = pem::blocks(file).ok()?;
    Certificate::from_der(&blocks.first()?.bytes).ok()
}

/// A private key on a curve.
pub(super) struct EcPrivate {
    pub(super) curve: Curve,
    pub(super) key: agreement::PrivateKey,
}

/// A key that unwraps layers' keys.
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    Ec(EcPrivate),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(***)")
    }
}

impl PrivateKey {
    /// Reads a private key; `None` if the file holds something else.
    pub(super) fn parse(file: &[u8], password: Option<&Secret>) -> Result<Option<Self>, KeyError> {
        if let Some(jwk) = Jwk::parse(file) {
            return Ok(jwk.private());
        }
        let Ok(blocks) = pem::blocks(file) else {
            return match locked::open_pkcs8(file, password)? {
                Some(der) => opened(&der).map(Some),
                None => Ok(of_der(file)),
            };
        };
        // The parameters of a curve may stand before the key.
        let Some(block) = blocks
            .into_iter()
            .find(|block| block.label.ends_with("PRIVATE KEY"))
        else {
            return Ok(None);
        };
        match locked::open(&block, password)? {
            Some(der) => opened(&der).map(Some),
            None => Ok(of_der(&block.bytes)),
        }
    }
}

/// Reads what a password has opened; a wrong one may by chance have made something else out of the file.
fn opened(der: &[u8]) -> Result<PrivateKey, KeyError> {
    of_der(der).ok_or(KeyError::WrongPassword)
}

fn of_der(der: &[u8]) -> Option<PrivateKey> {
    if let Ok(key) = RsaPrivateKey::from_pkcs8_der(der).or_else(|_| {
        RsaPrivateKey::from_pkcs1_der(der).map_err(|_| rsa::pkcs8::Error::KeyMalformed)
    }) {
        return Some(PrivateKey::Rsa(Box::new(key)));
    }
    Curve::ALL.into_iter().find_map(|curve| {
        let key = agreement::PrivateKey::from_private_key_der(curve.agreement(), der).ok()?;
        Some(PrivateKey::Ec(EcPrivate { curve, key }))
    })
}

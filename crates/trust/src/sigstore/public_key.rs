//! Public keys of sigstore: what is signed is always hashed by SHA-256, except by Ed25519, which hashes itself.

use aws_lc_rs::signature::{
    self as algorithms, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::pem;
use crate::sigstore::SigstoreError;

/// What is tried on a key, of which one fits.
const ALGORITHMS: [&dyn VerificationAlgorithm; 5] = [
    &algorithms::ECDSA_P256_SHA256_ASN1,
    &algorithms::ED25519,
    &algorithms::RSA_PKCS1_2048_8192_SHA256,
    &algorithms::ECDSA_P384_SHA256_ASN1,
    &algorithms::ECDSA_P521_SHA256_ASN1,
];

/// A public key.
#[derive(Clone)]
pub(crate) struct PublicKey {
    der: Vec<u8>,
    algorithm: &'static dyn VerificationAlgorithm,
}

impl PublicKey {
    /// Reads a key from a `SubjectPublicKeyInfo` of X.509.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, SigstoreError> {
        // A bare point or number would do for the algorithms, too, but is no key by itself.
        let whole = der.first() == Some(&0x30);
        let algorithm = ALGORITHMS
            .into_iter()
            .find(|algorithm| whole && ParsedPublicKey::new(*algorithm, der).is_ok())
            .ok_or(SigstoreError::KeyKind)?;
        Ok(Self {
            der: der.to_vec(),
            algorithm,
        })
    }

    /// Reads the first key of a text.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, SigstoreError> {
        let block = pem::blocks(text)
            .map_err(SigstoreError::PublicKey)?
            .swap_remove(0);
        match &*block.label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::from_der(&block.bytes),
            _ => Err(SigstoreError::PemLabel { label: block.label }),
        }
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.der)
            .verify(text, signature)
            .is_ok()
    }
}

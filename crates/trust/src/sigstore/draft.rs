//! A signature on its way from the key to the image: it still waits for the record of a log.

use crate::claim::{Claim, Made};
use crate::pem;
use crate::signature::{SIGSTORE_BUNDLE, SIGSTORE_CERTIFICATE, SIGSTORE_CHAIN, Sigstore};
use crate::sigstore::issued::IssuedCertificate;
use crate::sigstore::private_key::{PrivateKeyError, SigstoreKey};
use crate::sigstore::rekor::{self, Recorded};
use crate::sigstore::{Found, SigstoreError};

/// A signature that no log has recorded yet.
#[derive(Debug)]
pub struct Draft<'a> {
    sigstore: Sigstore,
    key: &'a SigstoreKey,
    certificate: Option<&'a IssuedCertificate>,
}

impl<'a> Draft<'a> {
    /// Signs a claim; who certified the key is told with the signature.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(
        key: &'a SigstoreKey,
        certificate: Option<&'a IssuedCertificate>,
        claim: &Claim,
        made: &Made<'_>,
    ) -> Result<Self, PrivateKeyError> {
        let mut sigstore = key.sign(claim, made)?;
        if let Some(certificate) = certificate {
            let texts = [
                (SIGSTORE_CERTIFICATE, certificate.pem()),
                (SIGSTORE_CHAIN, certificate.chain()),
            ];
            for (name, text) in texts {
                sigstore
                    .annotations
                    .insert(name.to_owned(), text.to_owned());
            }
        }
        Ok(Self {
            sigstore,
            key,
            certificate,
        })
    }

    /// Writes what a log of Rekor is asked to record (`hashedrekord` 0.0.1).
    ///
    /// # Errors
    /// Never for a draft that was signed here.
    pub fn proposal(&self) -> Result<Vec<u8>, SigstoreError> {
        let found = Found::new(&self.sigstore)?;
        let key = match self.certificate {
            Some(certificate) => certificate.pem().to_owned(),
            None => pem::text("PUBLIC KEY", &self.key.public_der()),
        };
        let payload = &self.sigstore.payload;
        Ok(rekor::proposal(&key, &found.signature, payload))
    }

    /// Takes the log's answer: its promise goes with the signature. Whether the log has signed the promise is for those
    /// who know its key; what it promises must be this signature, at a time at which the certificate holds.
    ///
    /// # Errors
    /// When it is not.
    pub fn recorded(mut self, answer: &[u8]) -> Result<Sigstore, SigstoreError> {
        let found = Found::new(&self.sigstore)?;
        let public = self.key.public_der();
        let key = self.certificate.map_or(&public[..], IssuedCertificate::der);
        let record = Recorded {
            key,
            signature: &found.signature,
            payload: &self.sigstore.payload,
        };
        let (promise, at) = rekor::promise(answer, &record)?;
        if let Some(certificate) = self.certificate {
            certificate.check(at)?;
        }
        let annotations = &mut self.sigstore.annotations;
        annotations.insert(SIGSTORE_BUNDLE.to_owned(), promise);
        Ok(self.sigstore)
    }

    /// Returns the signature without a record.
    pub fn unrecorded(self) -> Sigstore {
        self.sigstore
    }
}

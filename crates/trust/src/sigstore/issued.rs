//! A certificate that Fulcio has issued for a key of a moment: looked at before anything is signed with it, so that
//! nothing is published that nobody would accept.

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::pem;
use crate::sigstore::SigstoreError;
use crate::sigstore::certificate::{self, Leaf};
use crate::sigstore::private_key::SigstoreKey;

const LABEL: &str = "CERTIFICATE";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// A certificate for a key, with those that stand behind it.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    pem: String,
    der: Vec<u8>,
    /// The authorities' certificates as they came, the root last; may be empty.
    chain: String,
    from: i64,
    until: i64,
}

impl IssuedCertificate {
    /// Reads Fulcio's answer: a certificate for `key` and those behind it, all in PEM.
    ///
    /// # Errors
    /// When it is something else, or for another key.
    pub fn parse(answer: &[u8], key: &SigstoreKey) -> Result<Self, SigstoreError> {
        let split = answer.windows(END.len()).position(|found| found == END);
        let split = split.ok_or(SigstoreError::NoCertificate)? + END.len();
        let (first, rest) = answer.split_at(split);
        let block = pem::block(first).map_err(SigstoreError::Certificate)?;
        if block.label != LABEL {
            return Err(SigstoreError::PemLabel { label: block.label });
        }
        let chain = String::from_utf8(rest.to_vec()).map_err(|_| SigstoreError::NoCertificate)?;
        let chain = chain.trim_start().to_owned();
        if !chain.is_empty() {
            certificate::certificates(chain.as_bytes())?;
        }
        let read = Certificate::from_der(&block.bytes).map_err(|_| SigstoreError::Asn1)?;
        let validity = read.tbs_certificate.validity;
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        let leaf = Leaf::from_pem(first)?;
        if leaf.public_key()? != key.public_der() {
            return Err(SigstoreError::ForeignKey);
        }
        Ok(Self {
            pem: pem::text(LABEL, &block.bytes),
            der: block.bytes,
            chain,
            from: seconds(validity.not_before),
            until: seconds(validity.not_after),
        })
    }

    /// Checks that the certificate holds at a time in seconds since the beginning of 1970, and that the authorities that
    /// came with it stand behind it then.
    ///
    /// # Errors
    /// When it does not, or they do not.
    pub fn check(&self, at: i64) -> Result<(), SigstoreError> {
        if !(self.from..=self.until).contains(&at) {
            return Err(SigstoreError::NotValid {
                from: self.from,
                until: self.until,
                at,
            });
        }
        if self.chain.is_empty() {
            return Ok(());
        }
        let mut between: Vec<CertificateDer<'static>> =
            certificate::certificates(self.chain.as_bytes())?;
        let root: Vec<_> = between.pop().into_iter().collect();
        let leaf = Leaf::from_pem(self.pem.as_bytes())?;
        leaf.verify(&root, &between, at).map(|_| ())
    }

    /// Returns whether the certificate's time is over at another one, in seconds since the beginning of 1970.
    pub fn is_over(&self, at: i64) -> bool {
        at > self.until
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }
}

//! Certificates of signers: a chain to a trusted authority, and whom the certificate is for.
//!
//! The chain is checked by `webpki`; only the two extensions that it does not tell of are read here.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::pem;
use crate::sigstore::SigstoreError;
use crate::sigstore::der::{Der, TAG_OCTETS, TAG_OID, TAG_SEQUENCE};
use crate::sigstore::public_key::PublicKey;

/// id-kp-codeSigning (RFC 5280, 4.2.1.12).
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// id-ce-subjectAltName (RFC 5280, 4.2.1.6).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// The issuer of the identity as Fulcio first wrote it, a bare text: 1.3.6.1.4.1.57264.1.1.
const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];
/// The same as it is written now, a string of ASN.1: 1.3.6.1.4.1.57264.1.8.
const ISSUER_V2: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
const TAG_UTF8: u8 = 0x0c;
const TAG_EMAIL: u8 = 0x81;
const TAG_BOOLEAN: u8 = 0x01;
const TAG_EXTENSIONS: u8 = 0xa3;
/// The most certificates in one text.
const CERTIFICATES_MAX: usize = 100;

/// Reads all certificates of a text.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, SigstoreError> {
    let blocks = pem::blocks(text).map_err(SigstoreError::Certificate)?;
    if blocks.len() > CERTIFICATES_MAX {
        return Err(SigstoreError::TooManyCertificates {
            count: blocks.len(),
            limit: CERTIFICATES_MAX,
        });
    }
    let one = |block: pem::Block| match &*block.label {
        "CERTIFICATE" => Ok(CertificateDer::from(block.bytes)),
        _ => Err(SigstoreError::PemLabel { label: block.label }),
    };
    blocks.into_iter().map(one).collect()
}

/// Reads what stands between a signer's certificate and its root, which comes last in the text.
pub(crate) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, SigstoreError> {
    let mut all = certificates(text)?;
    all.pop();
    Ok(all)
}

/// A signer's certificate.
pub(crate) struct Leaf(CertificateDer<'static>);

impl Leaf {
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, SigstoreError> {
        let mut all = certificates(text)?;
        match all.len() {
            1 => Ok(Self(all.remove(0))),
            count => Err(SigstoreError::Certificate(pem::PemError::Several { count })),
        }
    }

    /// Checks that one of `roots` stands behind the certificate at a time in seconds since the beginning of 1970, and
    /// returns its key.
    pub(crate) fn verify(
        &self,
        roots: &[CertificateDer<'static>],
        between: &[CertificateDer<'static>],
        at: i64,
    ) -> Result<PublicKey, SigstoreError> {
        let refused = SigstoreError::Chain;
        let anchors: Vec<TrustAnchor<'_>> = roots
            .iter()
            .map(anchor_from_trusted_cert)
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        let leaf = EndEntityCert::try_from(&self.0).map_err(refused)?;
        let at = Duration::from_secs(u64::try_from(at).unwrap_or_default());
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            between,
            UnixTime::since_unix_epoch(at),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(refused)?;
        PublicKey::from_der(&leaf.subject_public_key_info())
    }

    /// Returns the key that the certificate is for, as a `SubjectPublicKeyInfo`.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, SigstoreError> {
        let leaf = EndEntityCert::try_from(&self.0).map_err(SigstoreError::Chain)?;
        Ok(leaf.subject_public_key_info().to_vec())
    }

    /// Checks that the certificate is for an address.
    pub(crate) fn check_email(&self, wanted: &str) -> Result<(), SigstoreError> {
        let found = self.emails()?;
        if found.iter().any(|email| email == wanted) {
            return Ok(());
        }
        Err(SigstoreError::Email {
            wanted: wanted.to_owned(),
            found,
        })
    }

    /// Checks that the certificate is for a host.
    pub(crate) fn check_hostname(&self, wanted: &str) -> Result<(), SigstoreError> {
        let leaf = EndEntityCert::try_from(&self.0).map_err(SigstoreError::Chain)?;
        let name = ServerName::try_from(wanted).map_err(|_| SigstoreError::HostnameForm {
            wanted: wanted.to_owned(),
        })?;
        leaf.verify_is_valid_for_subject_name(&name)
            .map_err(|source| SigstoreError::Hostname {
                wanted: wanted.to_owned(),
                source,
            })
    }

    /// Checks who has identified the signer.
    pub(crate) fn check_issuer(&self, wanted: &str) -> Result<(), SigstoreError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let old = self.extension(ISSUER)?.map(|value| text(&value));
        let new = match self.extension(ISSUER_V2)? {
            None => None,
            Some(value) => {
                let mut der = Der::new(&value);
                let inner = der.expect(TAG_UTF8).filter(|_| der.is_empty());
                Some(text(inner.ok_or(SigstoreError::Asn1)?))
            }
        };
        let found = match (old, new) {
            (Some(old), Some(new)) if old != new => {
                return Err(SigstoreError::TwoIssuers { old, new });
            }
            (old, new) => old.or(new).ok_or(SigstoreError::NoIssuer)?,
        };
        if found == wanted {
            Ok(())
        } else {
            Err(SigstoreError::Issuer { found })
        }
    }

    fn emails(&self) -> Result<Vec<String>, SigstoreError> {
        let Some(value) = self.extension(SUBJECT_ALT_NAME)? else {
            return Ok(Vec::new());
        };
        let mut names = Der::new(
            Der::new(&value)
                .expect(TAG_SEQUENCE)
                .ok_or(SigstoreError::Asn1)?,
        );
        let mut emails = Vec::new();
        while !names.is_empty() {
            let (tag, name) = names.next().ok_or(SigstoreError::Asn1)?;
            if tag == TAG_EMAIL {
                emails.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(emails)
    }

    /// Returns the content of an extension, which must not be there twice.
    fn extension(&self, oid: &[u8]) -> Result<Option<Vec<u8>>, SigstoreError> {
        self.find_extension(oid).ok_or(SigstoreError::Asn1)
    }

    /// `None` when the certificate is not well formed, or repeats the extension.
    fn find_extension(&self, oid: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut body = Der::new(Der::new(&self.0).expect(TAG_SEQUENCE)?);
        let mut body = Der::new(body.expect(TAG_SEQUENCE)?);
        let mut found = None;
        while !body.is_empty() {
            let (tag, value) = body.next()?;
            if tag != TAG_EXTENSIONS {
                continue;
            }
            let mut all = Der::new(Der::new(value).expect(TAG_SEQUENCE)?);
            while !all.is_empty() {
                let mut extension = Der::new(all.expect(TAG_SEQUENCE)?);
                let name = extension.expect(TAG_OID)?;
                let (mut tag, mut content) = extension.next()?;
                if tag == TAG_BOOLEAN {
                    (tag, content) = extension.next()?;
                }
                if tag != TAG_OCTETS || (name == oid && found.is_some()) {
                    return None;
                }
                if name == oid {
                    found = Some(content.to_vec());
                }
            }
        }
        Some(found)
    }
}

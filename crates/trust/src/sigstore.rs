//! Signatures of sigstore: by a known key, by a key that Fulcio certified for a moment, or by one that an authority
//! certified for longer. No server is asked; what a log has recorded comes with the signature.

mod certificate;
mod der;
mod draft;
mod issued;
mod private_key;
mod public_key;
mod rekor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Digest;

use crate::claim::{Claim, ClaimKind};
use crate::pem::{self, PemError};
use crate::policy::{Fulcio, Pki, SigstoreSigned, SigstoreTrust};
use crate::signature::{
    SIGSTORE_BUNDLE, SIGSTORE_CERTIFICATE, SIGSTORE_CHAIN, SIGSTORE_MEDIA_TYPE, SIGSTORE_SIGNATURE,
    Signature, Sigstore,
};
use crate::verify::{Circumstances, Image, Rejection, any_accepted, check_claim};
use certificate::Leaf;
pub use draft::Draft;
pub use issued::IssuedCertificate;
pub use private_key::{PrivateKeyError, SigstoreKey};
use public_key::PublicKey;
use rekor::Recorded;
pub use rekor::RekorError;

/// Why a signature of sigstore is not good.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreError {
    /// Something that belongs to the signature is not there.
    #[error("missing {annotation} annotation")]
    Missing {
        /// Its name.
        annotation: &'static str,
    },
    /// The signature is not encoded as it must be.
    #[error("base64 decoding")]
    Base64(#[source] base64::DecodeError),
    /// None of the keys has made the signature.
    #[error(
        "cryptographic signature verification failed: invalid signature when validating with the required keys"
    )]
    Signature,
    /// A signature for another manifest.
    #[error("Signature for digest {digest} does not match")]
    Digest {
        /// The digest on the signature.
        digest: Digest,
    },
    /// A text with a public key is not well formed.
    #[error("reading a public key")]
    PublicKey(#[source] PemError),
    /// A public key of another kind.
    #[error("a public key is neither ECDSA on P-256, P-384 or P-521, nor Ed25519, nor RSA")]
    KeyKind,
    /// Something else stands in the place of a key or certificate.
    #[error("unexpected PEM block {label:?}")]
    PemLabel {
        /// What it says that it holds.
        label: String,
    },
    /// A text with certificates is not well formed.
    #[error("reading a certificate")]
    Certificate(#[source] PemError),
    /// More certificates than anybody needs.
    #[error("there are {count} certificates, more than {limit}")]
    TooManyCertificates {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Nobody trusted stands behind a certificate, or not at that time.
    #[error("verifying leaf certificate failed")]
    Chain(#[source] webpki::Error),
    /// There is no certificate where one should be.
    #[error("did not find a cert from Fulcio")]
    NoCertificate,
    /// A certificate that was asked for is for another key.
    #[error("the certificate is for another key")]
    ForeignKey,
    /// A certificate does not hold at a time. All times are in seconds since the beginning of 1970.
    #[error("the certificate holds from {from} until {until}, not at {at}")]
    NotValid {
        /// When it begins.
        from: i64,
        /// When it ends.
        until: i64,
        /// When it should hold.
        at: i64,
    },
    /// A certificate's extensions are not well formed.
    #[error("the extensions of the certificate are not well formed")]
    Asn1,
    /// A certificate for somebody else.
    #[error("Required email {wanted:?} not found (got {found:?})")]
    Email {
        /// Whom the policy wants.
        wanted: String,
        /// Whom the certificate is for.
        found: Vec<String>,
    },
    /// The policy's host is none.
    #[error("{wanted:?} is not a host's name")]
    HostnameForm {
        /// What the policy wants.
        wanted: String,
    },
    /// A certificate for another host.
    #[error("Unexpected subject hostname, required is {wanted:?}")]
    Hostname {
        /// Which the policy wants.
        wanted: String,
        /// The cause.
        source: webpki::Error,
    },
    /// A certificate that does not tell who identified the signer.
    #[error("Fulcio certificate is missing the issuer extension")]
    NoIssuer,
    /// A certificate that contradicts itself.
    #[error("inconsistent OIDC issuer extension values: {old:?} and {new:?}")]
    TwoIssuers {
        /// By the older extension.
        old: String,
        /// By the newer one.
        new: String,
    },
    /// Somebody else has identified the signer.
    #[error("Unexpected Fulcio OIDC issuer {found:?}")]
    Issuer {
        /// Who.
        found: String,
    },
    /// A log's promise is not good.
    #[error("the Rekor SET is not acceptable")]
    Rekor(#[source] RekorError),
}

type Result<T> = std::result::Result<T, Rejection>;

/// What a policy trusts, read.
struct Roots<'a> {
    kind: Kind<'a>,
    logs: Vec<PublicKey>,
}

enum Kind<'a> {
    Keys(Vec<PublicKey>),
    Fulcio(&'a Fulcio, Certificates),
    Pki(&'a Pki, Certificates, Certificates),
}

type Certificates = Vec<rustls_pki_types::CertificateDer<'static>>;

impl<'a> Roots<'a> {
    fn load(requirement: &'a SigstoreSigned, circumstances: &Circumstances<'_>) -> Result<Self> {
        let keys = |materials| -> Result<Vec<PublicKey>> {
            let texts = circumstances.load(materials)?;
            let keys = texts.iter().map(|text| PublicKey::from_pem(text));
            Ok(keys.collect::<std::result::Result<_, _>>()?)
        };
        let certificates = |material| -> Result<Certificates> {
            let texts = circumstances.load(std::slice::from_ref(material))?;
            Ok(certificate::certificates(&texts.concat())?)
        };
        let kind = match &requirement.trust {
            SigstoreTrust::Keys(materials) => Kind::Keys(keys(materials)?),
            SigstoreTrust::Fulcio(fulcio) => Kind::Fulcio(fulcio, certificates(&fulcio.ca)?),
            SigstoreTrust::Pki(pki) => {
                let between = pki.intermediates.as_ref().map(certificates).transpose()?;
                Kind::Pki(pki, certificates(&pki.roots)?, between.unwrap_or_default())
            }
        };
        Ok(Self {
            kind,
            logs: keys(&requirement.rekor)?,
        })
    }

    /// Returns the keys that may have made a signature, as far as it comes with what proves that.
    fn keys(
        &self,
        found: &Found<'_>,
        now: i64,
    ) -> std::result::Result<Vec<PublicKey>, SigstoreError> {
        match &self.kind {
            Kind::Keys(keys) if self.logs.is_empty() => Ok(keys.clone()),
            Kind::Keys(keys) => {
                let promise = found.annotation(SIGSTORE_BUNDLE)?;
                let mut reason = SigstoreError::Signature;
                for key in keys {
                    match rekor::verify(&self.logs, promise, &found.recorded(key.der())) {
                        Ok(_) => return Ok(vec![key.clone()]),
                        Err(err) => reason = err,
                    }
                }
                Err(reason)
            }
            Kind::Fulcio(fulcio, roots) => {
                let promise = found.annotation(SIGSTORE_BUNDLE)?;
                let text = found.annotation(SIGSTORE_CERTIFICATE)?;
                let block = pem::block(text).map_err(SigstoreError::Certificate)?;
                let at = rekor::verify(&self.logs, promise, &found.recorded(&block.bytes))?;
                let leaf = Leaf::from_pem(text)?;
                let key = leaf.verify(roots, &found.chain()?, at)?;
                leaf.check_issuer(&fulcio.oidc_issuer)?;
                leaf.check_email(&fulcio.subject_email)?;
                Ok(vec![key])
            }
            Kind::Pki(pki, roots, between) => {
                let leaf = Leaf::from_pem(found.annotation(SIGSTORE_CERTIFICATE)?)?;
                if let Some(email) = &pki.subject_email {
                    leaf.check_email(email)?;
                }
                if let Some(hostname) = &pki.subject_hostname {
                    leaf.check_hostname(hostname)?;
                }
                let between = [&between[..], &found.chain()?].concat();
                Ok(vec![leaf.verify(roots, &between, now)?])
            }
        }
    }
}

/// A signature as it was found, its encoding undone.
struct Found<'a> {
    sigstore: &'a Sigstore,
    signature: Vec<u8>,
}

impl<'a> Found<'a> {
    fn new(sigstore: &'a Sigstore) -> std::result::Result<Self, SigstoreError> {
        let annotation = SIGSTORE_SIGNATURE;
        let text = sigstore
            .annotations
            .get(annotation)
            .ok_or(SigstoreError::Missing { annotation })?;
        let signature = STANDARD.decode(text).map_err(SigstoreError::Base64)?;
        Ok(Self {
            sigstore,
            signature,
        })
    }

    fn annotation(&self, annotation: &'static str) -> std::result::Result<&'a [u8], SigstoreError> {
        match self.sigstore.annotations.get(annotation) {
            Some(text) => Ok(text.as_bytes()),
            None => Err(SigstoreError::Missing { annotation }),
        }
    }

    fn chain(&self) -> std::result::Result<Certificates, SigstoreError> {
        match self.sigstore.annotations.get(SIGSTORE_CHAIN) {
            Some(text) if !text.is_empty() => certificate::chain(text.as_bytes()),
            _ => Ok(Vec::new()),
        }
    }

    fn recorded<'b>(&'b self, key: &'b [u8]) -> Recorded<'b> {
        Recorded {
            key,
            signature: &self.signature,
            payload: &self.sigstore.payload,
        }
    }
}

/// Says whether one of an image's signatures of sigstore is good.
pub(crate) fn signed(
    requirement: &SigstoreSigned,
    image: &Image<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<()> {
    let mut signatures = Vec::new();
    let (mut simple, mut others) = (0, 0);
    for signature in image.signatures {
        match signature {
            Signature::Simple(_) => simple += 1,
            Signature::Sigstore(one) if one.media_type != SIGSTORE_MEDIA_TYPE => others += 1,
            Signature::Sigstore(one) => signatures.push(one),
        }
    }
    if signatures.is_empty() {
        return Err(match (simple, others) {
            (0, 0) => Rejection::NoSignature,
            _ => Rejection::NoSigstoreSignature { simple, others },
        });
    }
    let roots = Roots::load(requirement, circumstances)?;
    any_accepted(signatures.into_iter().map(|sigstore| {
        let found = Found::new(sigstore)?;
        let keys = roots.keys(&found, circumstances.now)?;
        let payload = &sigstore.payload;
        if !keys
            .iter()
            .any(|key| key.verifies(payload, &found.signature))
        {
            return Err(SigstoreError::Signature.into());
        }
        let claim = Claim::parse(ClaimKind::Sigstore, payload)?;
        check_claim(&claim, &requirement.identity, image)
    }))
}

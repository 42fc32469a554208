//! The decision: whether an image meets the requirements of a policy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use model::Digest;

use crate::claim::{Claim, ClaimError, ClaimKind};
use crate::openpgp::{Keyring, OpenPgpError};
use crate::policy::{KeyType, Material, Requirement, SignedBy};
use crate::signature::Signature;
use crate::sigstore::{self, SigstoreError};
use crate::subject::Subject;

/// Reads a key file whole; it is for the reader to limit its size.
pub type ReadKey<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

/// An image that shall be used.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Where it comes from.
    pub subject: &'a Subject,
    /// Its manifest's digest as the source has it.
    pub digest: &'a Digest,
    /// Its manifest, as it came.
    pub manifest: &'a [u8],
    /// What was found beside it.
    pub signatures: &'a [Signature],
}

impl Image<'_> {
    fn is(&self, signed: &Digest) -> bool {
        signed == self.digest || signed.verify(self.manifest)
    }
}

/// What a decision needs besides.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// Reads the key files that the policy names.
    pub read: &'a ReadKey<'a>,
    /// The time, in seconds since the beginning of 1970.
    pub now: i64,
}

impl fmt::Debug for Circumstances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circumstances")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Circumstances<'_> {
    /// Returns the bytes of all of `materials`.
    pub(crate) fn load(&self, materials: &[Material]) -> Result<Vec<Vec<u8>>, Rejection> {
        let one = |material: &Material| match material {
            Material::Data(bytes) => Ok(bytes.clone()),
            Material::Path(path) => (self.read)(path).map_err(|source| Rejection::KeyFile {
                path: path.clone(),
                source,
            }),
        };
        materials.iter().map(one).collect()
    }
}

/// Why an image may not be used. The texts are those of Buildah.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The policy lets no such image through.
    #[error("Running image {image} is rejected by policy.")]
    Rejected {
        /// The image's place.
        image: String,
    },
    /// A requirement that no tool implements.
    #[error("signedBaseLayer not implemented yet!")]
    BaseLayer,
    /// Keys of a kind that no tool implements.
    #[error("Unimplemented \"keyType\" value {value:?}")]
    KeyType {
        /// The kind.
        value: &'static str,
    },
    /// A key file cannot be read.
    #[error("cannot read the key file `{path}`", path = path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The key files hold no keys.
    #[error("No public keys imported")]
    NoKeys,
    /// There is no signature.
    #[error("A signature was required, but no signature exists")]
    NoSignature,
    /// There are attachments, but no signature of sigstore among them.
    #[error(
        "A signature was required, but no signature exists ({simple} non-sigstore signatures, {others} sigstore non-signature attachments)"
    )]
    NoSigstoreSignature {
        /// Signatures of the other kind.
        simple: usize,
        /// Attachments of sigstore that sign no image.
        others: usize,
    },
    /// There are signatures, and none is good.
    #[error("None of the signatures were accepted, reasons: {0}")]
    None(Reasons),
    /// A signature for another name.
    #[error("Signature for identity {reference:?} is not accepted")]
    Identity {
        /// The name on the signature.
        reference: String,
    },
    /// A signature for another manifest.
    #[error("Signature for docker digest {digest:?} does not match", digest = digest.to_string())]
    Digest {
        /// The digest on the signature.
        digest: Digest,
    },
    /// A message that is not properly signed.
    #[error("Invalid GPG signature")]
    OpenPgp(#[source] OpenPgpError),
    /// A keyring that cannot be used.
    #[error("cannot use the policy's keys")]
    Keyring(#[source] OpenPgpError),
    /// A signed text that is no claim.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A signature of sigstore that is not good.
    #[error(transparent)]
    Sigstore(#[from] SigstoreError),
}

/// Why each of several signatures is not good.
#[derive(Debug)]
pub struct Reasons(pub Vec<Rejection>);

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{reason}")?;
            let mut cause = std::error::Error::source(reason);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// Says whether an image meets all of `requirements`.
///
/// # Errors
/// The first requirement that it does not meet: see [`Rejection`].
pub fn verify(
    requirements: &[Requirement],
    image: &Image<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<(), Rejection> {
    for requirement in requirements {
        match requirement {
            Requirement::InsecureAcceptAnything => {}
            Requirement::Reject => {
                return Err(Rejection::Rejected {
                    image: image.subject.label().to_owned(),
                });
            }
            Requirement::SignedBaseLayer => return Err(Rejection::BaseLayer),
            Requirement::SignedBy(signed) => signed_by(signed, image, circumstances)?,
            Requirement::SigstoreSigned(signed) => sigstore::signed(signed, image, circumstances)?,
        }
    }
    Ok(())
}

/// Says that one good signature is enough, or why none is good.
pub(crate) fn any_accepted(
    verdicts: impl Iterator<Item = Result<(), Rejection>>,
) -> Result<(), Rejection> {
    let mut reasons = Vec::new();
    for verdict in verdicts {
        match verdict {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(match reasons.len() {
        0 => Rejection::NoSignature,
        1 => reasons.remove(0),
        _ => Rejection::None(Reasons(reasons)),
    })
}

fn signed_by(
    requirement: &SignedBy,
    image: &Image<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<(), Rejection> {
    let simple = image
        .signatures
        .iter()
        .filter_map(|signature| match signature {
            Signature::Simple(bytes) => Some(bytes),
            Signature::Sigstore(_) => None,
        });
    if let KeyType::Unimplemented(value) = requirement.key_type {
        return Err(Rejection::KeyType { value });
    }
    if simple.clone().next().is_none() {
        return Err(Rejection::NoSignature);
    }
    let mut keyring = Keyring::default();
    for bytes in circumstances.load(&requirement.keys)? {
        keyring.add(&bytes).map_err(Rejection::Keyring)?;
    }
    if keyring.is_empty() {
        return Err(Rejection::NoKeys);
    }
    any_accepted(simple.map(|bytes| {
        let text = keyring
            .verify(bytes, circumstances.now)
            .map_err(Rejection::OpenPgp)?;
        let claim = Claim::parse(ClaimKind::Simple, &text)?;
        if !image.is(&claim.manifest) {
            return Err(Rejection::Digest {
                digest: claim.manifest,
            });
        }
        if !requirement
            .identity
            .accepts(image.subject, &claim.reference)
        {
            return Err(Rejection::Identity {
                reference: claim.reference,
            });
        }
        Ok(())
    }))
}

/// Compares what a signature of sigstore says with the image.
pub(crate) fn check_claim(
    claim: &Claim,
    identity: &crate::identity::IdentityRule,
    image: &Image<'_>,
) -> Result<(), Rejection> {
    if !image.is(&claim.manifest) {
        return Err(SigstoreError::Digest {
            digest: claim.manifest.clone(),
        }
        .into());
    }
    if !identity.accepts(image.subject, &claim.reference) {
        return Err(Rejection::Identity {
            reference: claim.reference.clone(),
        });
    }
    Ok(())
}

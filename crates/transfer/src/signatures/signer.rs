//! Who signs an image that arrives.

use std::sync::Arc;

use model::{Event, Reporter};
use trust::{Claim, ClaimKind, Made, Signature};

use super::clock::now;
use super::sigstore::SigstoreSigner;
use super::{Gpg, SignaturesError};

/// One who signs.
#[derive(Debug)]
pub enum Signer {
    /// By simple signing.
    Simple(Gpg),
    /// As sigstore does.
    Sigstore(SigstoreSigner),
}

impl Signer {
    /// The kind of the signatures.
    pub(super) fn kind(&self) -> ClaimKind {
        match self {
            Signer::Simple(_) => ClaimKind::Simple,
            Signer::Sigstore(_) => ClaimKind::Sigstore,
        }
    }

    /// What is about to be done, as Buildah tells it.
    pub(super) fn announcement(&self) -> &'static str {
        match self {
            Signer::Simple(_) => "Signing image using simple signing",
            Signer::Sigstore(_) => "Signing image using a sigstore signature",
        }
    }

    pub(super) fn sign(&self, claim: &Claim, creator: &str) -> Result<Signature, SignaturesError> {
        let made = Made {
            by: creator,
            at: now()?,
        };
        match self {
            Signer::Simple(gpg) => gpg
                .sign(&claim.to_bytes(ClaimKind::Simple, &made))
                .map(Signature::Simple),
            Signer::Sigstore(signer) => signer
                .sign(claim, &made)
                .map(Signature::Sigstore)
                .map_err(|source| SignaturesError::Sigstore(Box::new(source))),
        }
    }
}

/// Has everybody sign who is asked to, and tells it. The signatures say who made them: the program and its version.
pub(super) fn sign_all(
    signers: &[Arc<Signer>],
    claim: &Claim,
    creator: &str,
    reporter: &dyn Reporter,
) -> Result<Vec<Signature>, SignaturesError> {
    let one = |signer: &Arc<Signer>| {
        reporter.event(Event::CreatingSignature {
            text: signer.announcement().to_owned(),
        });
        signer.sign(claim, creator)
    };
    signers.iter().map(one).collect()
}

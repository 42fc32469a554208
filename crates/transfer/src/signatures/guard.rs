//! The policy, asked before anything of an image but its manifest is read.

use std::sync::Arc;

use model::Digest;
use trust::{Circumstances, Image, Requirement, Signature};

use super::clock::now;
use super::policy::{PolicySource, read_at_most};
use super::{Origin, SignaturesError};
use crate::error::{Result, TransferError};

/// The most bytes of a key file that are read.
const KEY_FILE_MAX: u64 = 16 << 20;

/// What stands before the images of a place.
#[derive(Clone, Debug, Default)]
pub(crate) enum Guard {
    /// Nobody asks: they can be looked at, and not copied.
    #[default]
    Unasked,
    /// The policy for images from there.
    Policy {
        origin: Origin,
        policy: Arc<PolicySource>,
    },
    /// They may be used.
    Passed(Permit),
}

/// That an image may be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permit {
    /// Its signatures, if they had to be read for that.
    pub(crate) signatures: Option<Vec<Signature>>,
}

/// A manifest as the policy sees it.
pub(crate) struct Candidate<'a> {
    pub(crate) digest: Digest,
    pub(crate) manifest: &'a [u8],
    /// Reads the signatures of the manifest.
    pub(crate) signatures:
        &'a dyn Fn(&Digest) -> std::result::Result<Vec<Signature>, SignaturesError>,
}

impl Candidate<'_> {
    /// Reads its signatures.
    pub(crate) fn read(&self) -> Result<Vec<Signature>> {
        let read = (self.signatures)(&self.digest);
        Ok(read.map_err(|source| SignaturesError::Read {
            manifest: self.digest.clone(),
            source: Box::new(source),
        })?)
    }
}

impl Guard {
    /// Asks about an image; what is returned holds for this image only.
    pub(crate) fn ask(&self, candidate: &Candidate<'_>) -> Result<Self> {
        let (subject, policy) = match self {
            Self::Unasked | Self::Passed(_) => return Ok(self.clone()),
            Self::Policy { origin, policy } => match origin {
                Origin::Ours => return Ok(Self::Passed(Permit::default())),
                Origin::Foreign(subject) => (subject, policy.policy()?),
            },
        };
        let requirements = policy.requirements(subject);
        let signatures = if requirements.iter().any(Requirement::needs_signatures) {
            Some(candidate.read()?)
        } else {
            None
        };
        let image = Image {
            subject,
            digest: &candidate.digest,
            manifest: candidate.manifest,
            signatures: signatures.as_deref().unwrap_or_default(),
        };
        let circumstances = Circumstances {
            read: &|path| read_at_most(path, KEY_FILE_MAX + 1),
            now: now().map_err(SignaturesError::from)?,
        };
        trust::verify(requirements, &image, &circumstances)
            .map_err(|source| TransferError::Rejected(Box::new(source)))?;
        Ok(Self::Passed(Permit { signatures }))
    }

    /// The same for what was made of an image that has passed, which its signatures do not cover.
    pub(crate) fn without_signatures(self) -> Self {
        match self {
            Self::Passed(_) => Self::Passed(Permit {
                signatures: Some(Vec::new()),
            }),
            other => other,
        }
    }
}

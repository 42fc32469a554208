//! The signatures of one image on its way: the old ones taken along, new ones made.

use model::{Digest, Event, Reference, Reporter};
use trust::{Claim, ClaimKind, Signature};

use super::{Candidate, Existing, Guard, SignatureOptions, SignaturesError, signer};
use crate::error::Result;
use crate::sink::Sink;
use crate::source::Opened;
use crate::transport::{ArchivePick, DaemonImage, TransportRef};

/// Where an image goes, as far as its signatures are concerned.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    place: String,
    /// What new signatures are for.
    name: Option<Reference>,
}

impl Target {
    pub(crate) fn of(destination: &TransportRef) -> Self {
        let name = match destination {
            TransportRef::Docker(name) | TransportRef::Daemon(DaemonImage::Named(name)) => {
                Some(name.clone())
            }
            TransportRef::Storage(place) => place.name.clone(),
            TransportRef::DockerArchive {
                pick: ArchivePick::Named(name),
                ..
            } => Some(name.clone()),
            _ => None,
        };
        Self {
            place: destination.to_string(),
            name,
        }
    }

    fn identity(&self) -> std::result::Result<String, SignaturesError> {
        let name = self
            .name
            .as_ref()
            .ok_or_else(|| SignaturesError::NoIdentity {
                place: self.place.clone(),
            })?;
        if name.tag().is_none() && name.digest().is_none() {
            return Err(SignaturesError::NameOnly {
                name: name.to_string(),
            });
        }
        Ok(name.to_string())
    }
}

/// Signatures that go along with an image or a list.
#[derive(Debug)]
pub(crate) struct Carried<'a> {
    old: Vec<Signature>,
    options: &'a SignatureOptions,
    target: Target,
}

/// Asks the policy about an image if nobody has yet, and finds the signatures that go along with it.
pub(crate) fn admit<'a>(
    opened: &Opened<'_>,
    target: Target,
    sink: &dyn Sink,
    options: &'a SignatureOptions,
    reporter: &dyn Reporter,
) -> Result<Carried<'a>> {
    let candidate = Candidate {
        digest: opened.manifest.digest(),
        manifest: opened.manifest.bytes(),
        signatures: &|digest| opened.layers.signatures(digest),
    };
    let Guard::Passed(permit) = opened.guard.ask(&candidate)? else {
        let place = opened.place.clone();
        return Err(SignaturesError::Unasked { place }.into());
    };
    let old = if options.existing == Existing::Carry {
        reporter.event(Event::GettingSignatures);
        permit.signatures.map_or_else(|| candidate.read(), Ok)?
    } else {
        Vec::new()
    };
    Carried::new(old, target, sink, options, reporter)
}

impl<'a> Carried<'a> {
    fn new(
        old: Vec<Signature>,
        target: Target,
        sink: &dyn Sink,
        options: &'a SignatureOptions,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let mut kinds: Vec<ClaimKind> = old.iter().map(Signature::kind).collect();
        if !old.is_empty() {
            reporter.event(Event::CheckingSignatureSupport);
        }
        kinds.extend(options.signers.iter().map(|signer| signer.kind()));
        if !kinds.is_empty() {
            sink.check_signatures(&kinds).map_err(|source| {
                let place = target.place.clone();
                SignaturesError::Refused {
                    place,
                    source: Box::new(source),
                }
            })?;
        }
        if !options.signers.is_empty() {
            target.identity()?;
        }
        Ok(Self {
            old,
            options,
            target,
        })
    }

    /// Finds the signatures that go along with a list. A list is not asked about, only its images are.
    pub(crate) fn of_list(
        read: impl FnOnce() -> std::result::Result<Vec<Signature>, SignaturesError>,
        target: Target,
        sink: &dyn Sink,
        options: &'a SignatureOptions,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let old = if options.existing == Existing::Carry {
            reporter.event(Event::GettingListSignatures);
            read()?
        } else {
            Vec::new()
        };
        Self::new(old, target, sink, options, reporter)
    }

    /// Whether what is signed must stay as it is.
    pub(crate) fn binds(&self) -> bool {
        !self.old.is_empty()
    }

    /// Signs what has become of the image; returns all signatures that it has at the destination.
    pub(crate) fn complete(
        &self,
        manifest: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<Vec<Signature>> {
        let mut signatures = self.old.clone();
        if !self.options.signers.is_empty() {
            let claim = Claim {
                manifest: manifest.clone(),
                reference: self.target.identity()?,
            };
            let SignatureOptions {
                signers, creator, ..
            } = self.options;
            signatures.extend(signer::sign_all(signers, &claim, creator, reporter)?);
        }
        Ok(signatures)
    }
}

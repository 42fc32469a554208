//! Signatures of images in a registry: which of the three places they are in.

use model::{Digest, Reference};
use registry::Repository;
use trust::{ClaimKind, SIGNATURE_MAX, Signature, Sigstore};

use super::lookaside::{Lookaside, SignaturePlace, SignaturePlaces};
use super::{SignaturesError, attachments, extension};

type Result<T> = std::result::Result<T, SignaturesError>;

/// A repository, with what is beside it.
pub(crate) struct Remote<'a> {
    repository: &'a Repository,
    name: &'a Reference,
    place: SignaturePlace,
}

impl<'a> Remote<'a> {
    /// Finds what is beside a repository; `name` is the image's as the endpoint knows it.
    pub(crate) fn find(
        repository: &'a Repository,
        name: &'a Reference,
        places: &dyn SignaturePlaces,
    ) -> Result<Self> {
        let place = places
            .place(name)
            .map_err(|source| SignaturesError::Place {
                name: name.to_string(),
                source,
            })?;
        Ok(Self {
            repository,
            name,
            place,
        })
    }

    fn extended(&self, attempt: &'static str, manifest: &Digest) -> Result<bool> {
        self.repository
            .endpoint()
            .supports_signature_extension()
            .map_err(|source| SignaturesError::Registry {
                attempt,
                manifest: manifest.clone(),
                source: Box::new(source),
            })
    }

    /// Reads all signatures of a manifest.
    pub(crate) fn read(&self, manifest: &Digest) -> Result<Vec<Signature>> {
        let mut signatures = if self.extended("reading", manifest)? {
            extension::read(self.repository, manifest)?
        } else if let Some(url) = &self.place.lookaside {
            let endpoint = self.repository.endpoint();
            let fetch = |url: &str| endpoint.fetch(url, SIGNATURE_MAX);
            Lookaside::parse(url)?.read(self.name.path(), manifest, &fetch)?
        } else {
            Vec::new()
        };
        if self.place.attachments {
            signatures.extend(attachments::read(self.repository, manifest)?);
        }
        Ok(signatures)
    }

    /// Checks that signatures of these kinds can be written.
    pub(crate) fn check(&self, kinds: &[ClaimKind]) -> Result<()> {
        if kinds.contains(&ClaimKind::Sigstore) && !self.place.attachments {
            return Err(SignaturesError::AttachmentsDisabled);
        }
        Ok(())
    }

    /// Writes signatures of a manifest that is there.
    pub(crate) fn write(&self, manifest: &Digest, signatures: &[Signature]) -> Result<()> {
        let sigstore: Vec<&Sigstore> = signatures
            .iter()
            .filter_map(|signature| match signature {
                Signature::Sigstore(sigstore) => Some(sigstore),
                Signature::Simple(_) => None,
            })
            .collect();
        if !sigstore.is_empty() {
            attachments::write(self.repository, manifest, &sigstore)?;
        }
        let simple: Vec<&Signature> = signatures
            .iter()
            .filter(|signature| matches!(signature, Signature::Simple(_)))
            .collect();
        if simple.is_empty() {
            return Ok(());
        }
        if self.extended("writing", manifest)? {
            return extension::write(self.repository, manifest, &simple);
        }
        let url = self
            .place
            .staging
            .as_ref()
            .or(self.place.lookaside.as_ref());
        let url = url.ok_or_else(|| SignaturesError::NoLookaside {
            name: self.name.to_string(),
        })?;
        Lookaside::parse(url)?.write(self.name.path(), manifest, &simple)
    }
}

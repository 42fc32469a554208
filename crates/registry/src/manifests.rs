//! Manifests: reading, probing, writing, deleting.

use model::{Digest, Hasher, media_type};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};

use crate::call::{Answer, Call, Payload};
use crate::endpoint::{ManifestRef, Repository};
use crate::error::{Failure, RegistryError};

/// The longest manifest that is read, in bytes.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// The kinds of manifests that we ask for, each in a header of its own, in the order of preference.
const ACCEPTED: [&str; 6] = [
    media_type::OCI_MANIFEST,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_SCHEMA1_SIGNED,
    media_type::DOCKER_SCHEMA1,
    media_type::DOCKER_LIST,
    media_type::OCI_INDEX,
];

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest as the registry sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The media type of the reply, without parameters; empty when it has none.
    pub media_type: String,
    /// The digest of the bytes; of a signed manifest of schema 1, that of its payload.
    pub digest: Digest,
}

/// What is known of a manifest without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// The media type of the reply, without parameters; empty when it has none.
    pub media_type: String,
    /// The digest that the registry claims.
    pub digest: Option<Digest>,
    /// The length in bytes.
    pub size: Option<u64>,
}

impl Repository {
    /// Reads a manifest. One asked for by digest has that digest.
    ///
    /// # Errors
    /// When it does not exist, is too long, or is not what was asked for.
    pub fn manifest(&self, reference: &ManifestRef) -> Result<Fetched, RegistryError> {
        let call = self.manifest_call(Method::GET, reference);
        let client = std::sync::Arc::clone(&self.endpoint.client);
        let run = async move {
            client
                .answer_within(call, MAX_MANIFEST, "the manifest")
                .await
        };
        let answer = self.endpoint.http.run(run).map_err(|source| match source {
            Failure::TooLong { .. } => self.reading(reference, source),
            _ => RegistryError::FetchManifest {
                reference: reference.to_string(),
                repository: self.name(),
                source,
            },
        })?;
        let read = |answer: Answer| {
            let answer = answer.expect(&[200])?;
            let media_type = media_type_of(&answer);
            let bytes = answer.body.to_vec();
            let digest = digest_of(&bytes, &media_type, reference)?;
            Ok(Fetched {
                bytes,
                media_type,
                digest,
            })
        };
        read(answer).map_err(|source| self.reading(reference, source))
    }

    /// Asks what a tag or digest names, without reading it. Returns nothing when there is no such manifest.
    ///
    /// # Errors
    /// When the registry refuses for another reason.
    pub fn head_manifest(
        &self,
        reference: &ManifestRef,
    ) -> Result<Option<ManifestHead>, RegistryError> {
        let answer = self.request(self.manifest_call(Method::HEAD, reference));
        let answer = match answer.and_then(|answer| answer.expect(&[200, 404])) {
            Ok(answer) if answer.status == 404 => return Ok(None),
            Ok(answer) => answer,
            Err(source) => return Err(self.reading(reference, source)),
        };
        Ok(Some(ManifestHead {
            media_type: media_type_of(&answer),
            digest: answer
                .header(&CONTENT_DIGEST)
                .and_then(|text| text.parse().ok()),
            size: answer
                .header(&CONTENT_LENGTH)
                .and_then(|text| text.parse().ok()),
        }))
    }

    /// Writes a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub fn put_manifest(
        &self,
        reference: &ManifestRef,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let mut call = Call::new(Method::PUT, self.api(&format!("manifests/{reference}")))
            .body(Payload::Bytes(bytes.to_vec().into()));
        if !media_type.is_empty() {
            call = call.header(CONTENT_TYPE, media_type);
        }
        let outcome = self.request(call).and_then(|answer| {
            if (200..300).contains(&answer.status) {
                Ok(())
            } else {
                Err(answer.refusal())
            }
        });
        outcome.map_err(|source| RegistryError::PutManifest {
            reference: reference.to_string(),
            repository: self.name(),
            source,
        })
    }

    /// Deletes a manifest with all its tags.
    ///
    /// # Errors
    /// When the registry does not have it or does not delete.
    pub fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let call = Call::new(Method::DELETE, self.api(&format!("manifests/{digest}")));
        let outcome = self
            .request(call)
            .and_then(|answer| answer.expect(&[200, 202, 204]));
        outcome
            .map(|_| ())
            .map_err(|source| RegistryError::DeleteManifest {
                digest: digest.clone(),
                repository: self.name(),
                source,
            })
    }

    fn manifest_call(&self, method: Method, reference: &ManifestRef) -> Call {
        let call =
            Call::new(method, self.api(&format!("manifests/{reference}"))).scoped(self.scopes());
        ACCEPTED
            .iter()
            .fold(call, |call, kind| call.header(ACCEPT, kind))
    }

    fn reading(&self, reference: &ManifestRef, source: Failure) -> RegistryError {
        RegistryError::ReadManifest {
            reference: reference.to_string(),
            repository: self.name(),
            source,
        }
    }
}

pub(crate) fn media_type_of(answer: &Answer) -> String {
    let text = answer.header(&CONTENT_TYPE).unwrap_or_default();
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn digest_of(bytes: &[u8], media_type: &str, reference: &ManifestRef) -> Result<Digest, Failure> {
    let algorithm = match reference {
        ManifestRef::Digest(digest) => digest.algorithm(),
        ManifestRef::Tag(_) => model::Algorithm::Sha256,
    };
    let of = |bytes: &[u8]| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    };
    let payload = (media_type == media_type::DOCKER_SCHEMA1_SIGNED)
        .then(|| crate::jws::payload(bytes))
        .flatten();
    let actual = of(payload.as_deref().unwrap_or(bytes));
    match reference {
        ManifestRef::Digest(expected) if *expected != actual => Err(Failure::Digest {
            expected: expected.clone(),
            actual,
        }),
        _ => Ok(actual),
    }
}

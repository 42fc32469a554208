//! The signatures that some registries keep beside manifests (`/extensions/v2/`). What they are is for others to read.

use std::sync::Arc;

use model::Digest;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use crate::call::{Call, Payload};
use crate::endpoint::Repository;
use crate::error::RegistryError;

/// The longest list of signatures that is read, in bytes.
const MAX_SIGNATURES: usize = 4 * 1024 * 1024;

impl Repository {
    fn signatures_path(&self, manifest: &Digest) -> String {
        format!("/extensions/v2/{}/signatures/{manifest}", self.path())
    }

    fn signatures_failed(
        &self,
        manifest: &Digest,
    ) -> impl Fn(crate::error::Failure) -> RegistryError {
        let (repository, manifest) = (self.name(), manifest.clone());
        move |source| RegistryError::Signatures {
            manifest: manifest.clone(),
            repository: repository.clone(),
            source,
        }
    }

    /// Reads the list of a manifest's signatures, as the registry has it.
    ///
    /// # Errors
    /// When the registry does not give it, or it is too long.
    pub fn extension_signatures(&self, manifest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let call = Call::get(self.signatures_path(manifest)).scoped(self.scopes());
        let client = Arc::clone(&self.endpoint.client);
        let run = async move {
            client
                .answer_within(call, MAX_SIGNATURES, "the signatures")
                .await
        };
        let answer = self.endpoint.http.run(run);
        answer
            .and_then(|answer| answer.expect(&[200]))
            .map(|answer| answer.body.to_vec())
            .map_err(self.signatures_failed(manifest))
    }

    /// Adds a signature to a manifest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub fn put_extension_signature(
        &self,
        manifest: &Digest,
        signature: &[u8],
    ) -> Result<(), RegistryError> {
        let call = Call::new(Method::PUT, self.signatures_path(manifest))
            .header(CONTENT_TYPE, "application/json")
            .body(Payload::Bytes(signature.to_vec().into()));
        self.request(call)
            .and_then(|answer| answer.expect(&[200, 201, 204]))
            .map(|_| ())
            .map_err(self.signatures_failed(manifest))
    }
}

//! Blobs that need no transfer: asking for one, and mounting one of another repository.

use model::Digest;
use reqwest::Method;
use reqwest::header::CONTENT_LENGTH;

use crate::auth::query_escape;
use crate::call::Call;
use crate::endpoint::Repository;
use crate::error::{Failure, RegistryError};

/// What a registry tells of a blob that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStat {
    /// The length in bytes, if the registry says it.
    pub size: Option<u64>,
}

impl Repository {
    /// Asks whether the repository has a blob.
    ///
    /// # Errors
    /// When the registry answers neither yes nor no.
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobStat>, RegistryError> {
        self.blob_at(&self.path, digest, self.scopes())
    }

    /// Asks whether another repository of the same registry has a blob.
    ///
    /// # Errors
    /// When the registry answers neither yes nor no.
    pub fn blob_in(&self, other: &str, digest: &Digest) -> Result<Option<BlobStat>, RegistryError> {
        self.blob_at(other, digest, self.scopes_with(other))
    }

    fn blob_at(
        &self,
        path: &str,
        digest: &Digest,
        scopes: Vec<String>,
    ) -> Result<Option<BlobStat>, RegistryError> {
        let call = Call::new(Method::HEAD, format!("/v2/{path}/blobs/{digest}")).scoped(scopes);
        match self
            .endpoint
            .request(call)
            .and_then(|answer| answer.expect(&[200, 404]))
        {
            Ok(answer) if answer.status == 404 => Ok(None),
            Ok(answer) => Ok(Some(BlobStat {
                size: answer
                    .header(&CONTENT_LENGTH)
                    .and_then(|text| text.parse().ok()),
            })),
            Err(source) => Err(RegistryError::CheckBlob {
                digest: digest.clone(),
                repository: format!("{}/{path}", self.endpoint.host()),
                source,
            }),
        }
    }

    /// Makes a blob of another repository of the same registry one of this repository. Returns whether that worked;
    /// where it did not, the blob is to be uploaded.
    ///
    /// # Errors
    /// When the registry refuses the request as such.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let query = format!(
            "from={}&mount={}",
            query_escape(from),
            query_escape(digest.as_str())
        );
        let call = Call::new(Method::POST, self.api(&format!("blobs/uploads/?{query}")))
            .scoped(self.scopes_with(from));
        let mounted = || -> Result<bool, Failure> {
            let answer = self.endpoint.request(call)?.expect(&[201, 202])?;
            if answer.status == 201 {
                return Ok(true);
            }
            // The registry began an upload in place of mounting. It would run out by itself, so a failure to cancel it
            // is none of the user's.
            if let Ok(location) = answer.location() {
                let _ = self.request(Call::at(Method::DELETE, location));
            }
            Ok(false)
        };
        mounted().map_err(|source| RegistryError::Mount {
            digest: digest.clone(),
            from: from.into(),
            repository: self.name(),
            source,
        })
    }
}

//! Rekor, a log of signatures that everybody can read: what is signed is recorded there, and its promise to do so goes
//! with the signature.

use registry::{Question, Reply, Services};
use trust::{Draft, Sigstore};

use super::error::{ServiceError, SigningServiceError};

/// Where records are, below the log's address.
const ENTRIES: &str = "/api/v1/log/entries";

/// A log.
#[derive(Clone, Debug)]
pub struct Rekor {
    services: Services,
    url: String,
}

impl Rekor {
    /// The log at an address.
    pub fn new(services: Services, url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { services, url }
    }

    /// Has a signature recorded.
    pub(super) fn record(&self, draft: Draft<'_>) -> Result<Sigstore, SigningServiceError> {
        let body = draft.proposal().map_err(SigningServiceError::Record)?;
        let answer = self.upload(body).map_err(SigningServiceError::Rekor)?;
        let recorded = draft.recorded(&answer);
        recorded.map_err(SigningServiceError::Record)
    }

    fn upload(&self, body: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
        let url = format!("{}{ENTRIES}", self.url);
        let bearer = None;
        let reply = self.services.ask(&url, &Question::Json { body, bearer })?;
        match reply.status {
            201 => Ok(reply.body),
            // The same was uploaded before: perhaps by ourselves, and the answer did not arrive.
            409 => match uuid(&reply) {
                Some(uuid) => self.entry(uuid),
                None => Err(ServiceError::refused(&format!("POST {url}"), &reply)),
            },
            _ => Err(ServiceError::refused(&format!("POST {url}"), &reply)),
        }
    }

    fn entry(&self, uuid: &str) -> Result<Vec<u8>, ServiceError> {
        let url = format!("{}{ENTRIES}/{uuid}", self.url);
        let reply = self.services.ask(&url, &Question::Get)?;
        match reply.status {
            200 => Ok(reply.body),
            _ => Err(ServiceError::refused(&format!("GET {url}"), &reply)),
        }
    }
}

/// The name of the record that is there already: the last part of the address that the log points to.
fn uuid(reply: &Reply) -> Option<&str> {
    let (_, uuid) = reply.location.as_deref()?.rsplit_once('/')?;
    let is_plain = !uuid.is_empty() && uuid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then_some(uuid)
}

//! Signing as sigstore does: by a key that is there, or by one of a moment that Fulcio certifies; with or without the
//! record of a Rekor log.

mod browser;
mod conversation;
mod device;
mod error;
mod fulcio;
mod oidc;
mod parameters;
mod rekor;

use trust::{Claim, Draft, Made, Sigstore, SigstoreKey};

use super::clock::now;
pub use conversation::Conversation;
pub use error::{OidcError, ServiceError, SigningServiceError};
pub use fulcio::Fulcio;
pub use parameters::{
    FulcioParameters, IdentitySource, OidcClient, ParameterError, SigningKey, SigningParameters,
};
pub use rekor::Rekor;

type Result<T> = std::result::Result<T, SigningServiceError>;

/// One who signs as sigstore does.
#[derive(Debug)]
pub struct SigstoreSigner {
    by: By,
    log: Option<Rekor>,
}

#[derive(Debug)]
enum By {
    Key(SigstoreKey),
    Fulcio(Fulcio),
}

impl SigstoreSigner {
    /// Signs by a key.
    pub fn by_key(key: SigstoreKey) -> Self {
        let by = By::Key(key);
        Self { by, log: None }
    }

    /// Signs by keys that Fulcio certifies.
    pub fn by_fulcio(fulcio: Fulcio) -> Self {
        let by = By::Fulcio(fulcio);
        Self { by, log: None }
    }

    /// Has every signature recorded.
    #[must_use]
    pub fn recorded_by(self, log: Rekor) -> Self {
        let log = Some(log);
        Self { log, ..self }
    }

    /// Gets ready to sign: what can be refused is refused now, and not after an image was copied.
    ///
    /// # Errors
    /// When there is no certificate.
    pub fn prepare(&self) -> Result<()> {
        match &self.by {
            By::Key(_) => Ok(()),
            By::Fulcio(fulcio) => fulcio.certified(now()?).map(|_| ()),
        }
    }

    pub(super) fn sign(&self, claim: &Claim, made: &Made<'_>) -> Result<Sigstore> {
        match &self.by {
            By::Key(key) => self.record(Draft::sign(key, None, claim, made)?),
            By::Fulcio(fulcio) => {
                let certified = fulcio.certified(made.at)?;
                let certificate = Some(&certified.certificate);
                self.record(Draft::sign(&certified.key, certificate, claim, made)?)
            }
        }
    }

    fn record(&self, draft: Draft<'_>) -> Result<Sigstore> {
        match &self.log {
            Some(log) => log.record(draft),
            None => Ok(draft.unrecorded()),
        }
    }
}

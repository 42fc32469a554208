//! Fulcio, an authority that certifies for some minutes that a key is somebody's whom an issuer of identities knows.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry::{Question, Services};
use trust::{IdToken, IssuedCertificate, SigstoreKey};

use super::conversation::Conversation;
use super::error::{ServiceError, SigningServiceError};
use super::parameters::{FulcioParameters, IdentitySource};
use super::{browser, device};

type Result<T, E = SigningServiceError> = std::result::Result<T, E>;

/// Where certificates are asked for, below Fulcio's address.
const SIGNING_CERT: &str = "/api/v1/signingCert";

/// The authority, and what says to it who the signer is.
pub struct Fulcio {
    services: Services,
    parameters: FulcioParameters,
    conversation: Arc<dyn Conversation>,
    certified: Mutex<Option<Arc<Certified>>>,
}

/// A key of a moment.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) key: SigstoreKey,
    pub(super) certificate: IssuedCertificate,
}

impl fmt::Debug for Fulcio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fulcio")
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

impl Fulcio {
    /// The authority that parameters name. Nothing is asked yet.
    pub fn new(
        services: Services,
        parameters: FulcioParameters,
        conversation: Arc<dyn Conversation>,
    ) -> Self {
        Self {
            services,
            parameters,
            conversation,
            certified: Mutex::default(),
        }
    }

    /// Returns a key that is certified at a time, in seconds since the beginning of 1970: the one that was used before,
    /// or a new one after its time, since a copy may take longer than a certificate holds.
    pub(super) fn certified(&self, now: i64) -> Result<Arc<Certified>> {
        let mut certified = self
            .certified
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*certified
            && !known.certificate.is_over(now)
        {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(self.certify(&self.identify()?)?);
        *certified = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    fn identify(&self) -> Result<IdToken> {
        let (services, conversation) = (&self.services, &*self.conversation);
        match &self.parameters.identity {
            IdentitySource::Token(token) => {
                IdToken::parse(token.clone()).map_err(SigningServiceError::Token)
            }
            IdentitySource::Device(client) => {
                device::id_token(services, client, conversation).map_err(SigningServiceError::Oidc)
            }
            IdentitySource::Browser(client) => {
                browser::id_token(services, client, conversation).map_err(SigningServiceError::Oidc)
            }
        }
    }

    fn certify(&self, token: &IdToken) -> Result<Certified> {
        let subject = token.subject().map_err(SigningServiceError::Token)?;
        let key = SigstoreKey::generate()?;
        // That we have the key is proved by a signature of who we are.
        let proof = key.sign_bytes(subject.as_bytes())?;
        let body = serde_json::json!({
            "publicKey": {"content": STANDARD.encode(key.public_der()), "algorithm": "ecdsa"},
            "signedEmailAddress": STANDARD.encode(proof),
        });
        let body = serde_json::to_vec(&body).expect("all keys are texts");
        let answer = self.ask(body, token).map_err(SigningServiceError::Fulcio)?;
        let certificate = IssuedCertificate::parse(&answer, &key);
        Ok(Certified {
            certificate: certificate.map_err(SigningServiceError::Certificate)?,
            key,
        })
    }

    fn ask(&self, body: Vec<u8>, token: &IdToken) -> Result<Vec<u8>, ServiceError> {
        let url = format!(
            "{}{SIGNING_CERT}",
            self.parameters.url.trim_end_matches('/')
        );
        let bearer = Some(token.raw().clone());
        let reply = self.services.ask(&url, &Question::Json { body, bearer })?;
        match reply.status {
            201 => Ok(reply.body),
            _ => Err(ServiceError::refused(&format!("POST {url}"), &reply)),
        }
    }
}

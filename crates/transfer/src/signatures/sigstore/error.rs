//! What can go wrong with the services that signing as sigstore does may need.

use std::io;

use registry::{RegistryError, Reply};
use trust::{IdTokenError, PrivateKeyError, SigstoreError};

use super::super::clock::ClockError;

/// The most characters of an answer that an error quotes.
const QUOTED: usize = 512;

/// Why a signature of sigstore was not made.
#[derive(Debug, thiserror::Error)]
pub enum SigningServiceError {
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// The clock cannot be used.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// An issuer of identities does not say who the signer is.
    #[error("Error authenticating with OIDC")]
    Oidc(#[source] OidcError),
    /// What says who the signer is cannot be used.
    #[error("parsing OIDC token")]
    Token(#[source] IdTokenError),
    /// Fulcio gives no certificate.
    #[error("obtaining certificate from Fulcio")]
    Fulcio(#[source] ServiceError),
    /// Nobody would accept what Fulcio has given.
    #[error("checking the certificate from Fulcio")]
    Certificate(#[source] SigstoreError),
    /// The log takes no record.
    #[error("Error uploading a log entry")]
    Rekor(#[source] ServiceError),
    /// The log has recorded something else.
    #[error("checking the log entry from Rekor")]
    Record(#[source] SigstoreError),
}

/// A service does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It does not answer.
    #[error(transparent)]
    Unanswered(Box<RegistryError>),
    /// It refuses.
    #[error("{request} returned {status}: {text:?}")]
    Refused {
        /// What it was asked: the method and the address.
        request: String,
        /// The status of its answer, with the reason.
        status: String,
        /// The beginning of its answer.
        text: String,
    },
}

impl ServiceError {
    pub(super) fn refused(request: &str, reply: &Reply) -> Self {
        let text = String::from_utf8_lossy(&reply.body);
        Self::Refused {
            request: request.to_owned(),
            status: reply.status_line.clone(),
            text: text.trim().chars().take(QUOTED).collect(),
        }
    }
}

impl From<RegistryError> for ServiceError {
    fn from(source: RegistryError) -> Self {
        Self::Unanswered(Box::new(source))
    }
}

/// Why an issuer of identities does not say who somebody is.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// A server does not do what it is asked for.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A server's answer is not well formed. It is not quoted, since it may hold secrets.
    #[error("oidc: failed to decode {what}")]
    Answer {
        /// What it should be.
        what: &'static str,
    },
    /// The server speaks for somebody else.
    #[error(
        "oidc: issuer did not match the issuer returned by provider, expected {expected:?} got {found:?}"
    )]
    Issuer {
        /// Who was asked.
        expected: String,
        /// Who answers.
        found: String,
    },
    /// The issuer does not offer what is needed.
    #[error("oidc: {what} not returned by provider")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// The issuer cannot tell us from others who see the answer on its way.
    #[error("PKCE is not supported by OIDC provider '{url}'")]
    Pkce {
        /// Where it authorises.
        url: String,
    },
    /// Somebody said no, or nothing for too long.
    #[error("error obtaining token: {reason}")]
    Denied {
        /// The issuer's word.
        reason: String,
    },
    /// The issuer gives no token.
    #[error("id_token not present")]
    NoToken,
    /// The token is not the one that was asked for.
    #[error(transparent)]
    Token(#[from] IdTokenError),
    /// The clock cannot be used.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    Random,
    /// The browser has no place to bring its answer to.
    #[error("starting redirect listener")]
    Listen(#[source] io::Error),
    /// The browser's answer is one to another question.
    #[error("invalid state token")]
    State,
    /// The browser brought no answer in time.
    #[error("timeout")]
    Timeout,
    /// The person does not answer.
    #[error("reading the verification code")]
    Ask(#[source] io::Error),
}

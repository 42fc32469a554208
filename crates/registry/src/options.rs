//! What is to know of a registry before it is talked to.

use std::sync::Arc;
use std::time::Duration;

use model::Secret;

use crate::notice::Notice;
use crate::tls::TlsFiles;

/// Whether the registry's identity is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS with a certificate that chains up to a trusted authority, nothing else.
    Verified,
    /// TLS with any certificate; when that fails, plain HTTP.
    Unverified,
}

/// How to say who we are. Sent only when the registry asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nobody.
    #[default]
    Anonymous,
    /// A user with a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, exchanged for a bearer token at the token server.
    IdentityToken(Secret),
    /// A ready bearer token.
    Bearer(Secret),
}

/// How often a single request without content is tried again, with growing pauses between the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRetry {
    /// Further attempts after the connection was cut.
    pub after_cut: u32,
    /// Further attempts after a reply 502, 503 or 504.
    pub after_status: u32,
    /// The pause before the first further attempt; doubles with each.
    pub first_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for RequestRetry {
    fn default() -> Self {
        Self {
            after_cut: 3,
            after_status: 0,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(10),
        }
    }
}

/// Tells of what the user should know although nothing failed.
pub type Notices = Arc<dyn Fn(&Notice) + Send + Sync>;

/// What is to know of one registry.
#[derive(Clone)]
pub struct EndpointOptions {
    /// The host with its port, as in references: `docker.io`, `registry.example.com:5000`.
    pub host: String,
    /// Whether its identity is checked.
    pub security: Security,
    /// What certs.d has for it.
    pub tls: TlsFiles,
    /// Who we are there.
    pub credential: Credential,
    /// How often requests are tried again.
    pub retry: RequestRetry,
    /// Where notices go; called on any thread.
    pub notices: Notices,
}

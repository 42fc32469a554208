//! What copies need to reach registries: where the host's configuration says they are, and how they are spoken to.
//!
//! Nothing here reads a file: the configuration comes behind [`Hosts`]. Connections are made when they are needed, and one
//! per registry serves all copies.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use model::Reference;
use registry::{
    Access, Credential, Endpoint, EndpointOptions, Http, Partials, Repository, RequestRetry,
    Security, TlsFiles,
};

use crate::error::{Result, TransferError};
use crate::facts::Facts;

/// Why the configuration gives no way to a registry.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// What an endpoint is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading: mirrors may serve.
    Pull,
    /// Writing: only the registry itself.
    Push,
    /// Listing tags: only the registry itself.
    Tags,
}

/// One endpoint that may serve a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The name as this endpoint knows it.
    pub name: Reference,
    /// The endpoint's host, with its port if any.
    pub host: String,
    /// Whether certificates are checked, and plain HTTP is out of the question.
    pub security: Security,
    /// Whether it is a mirror of the registry that was named.
    pub mirror: bool,
}

/// What is needed besides a host's name to speak to it.
#[derive(Clone, Debug, Default)]
pub struct HostAccess {
    /// Certificates.
    pub tls: TlsFiles,
    /// Who asks.
    pub credential: Credential,
    /// Where the certificates come from or were looked for, for the message that one is not trusted.
    pub certificates: String,
    /// Where the credential comes from or was looked for, for the message that it is not accepted.
    pub credentials: String,
    /// What was passed over on the way.
    pub warnings: Vec<String>,
}

/// The host's configuration as far as registries go.
pub trait Hosts: Send + Sync {
    /// Returns the endpoints for a name in the order in which they are to be tried; the registry itself is the last.
    ///
    /// # Errors
    /// When the registry is blocked or the configuration cannot be used.
    fn locate(
        &self,
        name: &Reference,
        purpose: Purpose,
    ) -> std::result::Result<Vec<Located>, HostError>;

    /// Returns certificates and credentials for an endpoint; `name` is what the user asked for.
    ///
    /// # Errors
    /// When they cannot be read.
    fn access(
        &self,
        name: &Reference,
        located: &Located,
    ) -> std::result::Result<HostAccess, HostError>;
}

/// Takes what a registry wants to be known.
pub type Notices = Arc<dyn Fn(&registry::Notice) + Send + Sync>;

/// Connections to registries, and what is remembered about them.
pub struct Registries {
    http: Http,
    hosts: Box<dyn Hosts>,
    notices: Notices,
    retry: RequestRetry,
    partials: Option<Partials>,
    facts: Facts,
    // By host, security and credential's scope: one repository may have its own credential.
    endpoints: Mutex<HashMap<(String, bool, String), Known>>,
}

/// A connection with where its certificates and credentials come from.
struct Known {
    endpoint: Endpoint,
    certificates: String,
    credentials: String,
    warnings: Vec<String>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

/// A repository behind one endpoint, with what a user calls it.
pub(crate) struct Route {
    pub(crate) located: Located,
    pub(crate) repository: Repository,
}

impl Registries {
    /// Makes the value for a configuration. Nothing is remembered between runs unless [`Registries::resuming`] and
    /// [`Registries::remembering`] say where.
    pub fn new(http: Http, hosts: impl Hosts + 'static) -> Self {
        Self {
            http,
            hosts: Box::new(hosts),
            notices: Arc::new(|_| {}),
            retry: RequestRetry::default(),
            partials: None,
            facts: Facts::forgetful(),
            endpoints: Mutex::default(),
        }
    }

    /// Keeps parts of blobs whose download was interrupted below a directory, which is made when something is kept.
    #[must_use]
    pub fn resuming(mut self, directory: &Path) -> Self {
        self.partials = Some(Partials::new(&directory.join("partial")));
        self
    }

    /// Keeps what is known of blobs in the blob-info cache of the Go tools in a directory, which is made when something is
    /// kept; `now` is when it was learnt. One that cannot be used costs nothing but the memory.
    #[must_use]
    pub fn remembering(mut self, directory: &Path, now: SystemTime) -> Self {
        self.facts = Facts::in_directory(directory, now);
        self
    }

    /// Tells what registries warn of.
    #[must_use]
    pub fn telling(mut self, notices: Notices) -> Self {
        self.notices = notices;
        self
    }

    /// Sets how often single requests are tried again.
    #[must_use]
    pub fn retrying(mut self, retry: RequestRetry) -> Self {
        self.retry = retry;
        self
    }

    /// Where parts of blobs are kept.
    pub fn partials(&self) -> Option<&Partials> {
        self.partials.as_ref()
    }

    /// Returns the connection to what serves a host name outside any repository, as `login` needs it.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn endpoint(&self, name: &Reference, located: &Located) -> Result<Endpoint> {
        let key = (
            located.host.clone(),
            located.security == Security::Verified,
            name.name(),
        );
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(&key) {
            return Ok(known.endpoint.clone());
        }
        let access = self
            .hosts
            .access(name, located)
            .map_err(TransferError::Host)?;
        let endpoint = self.http.endpoint(EndpointOptions {
            host: located.host.clone(),
            security: located.security,
            tls: access.tls,
            credential: access.credential,
            retry: self.retry,
            notices: Arc::clone(&self.notices),
        });
        let known = Known {
            endpoint: endpoint.clone(),
            certificates: access.certificates,
            credentials: access.credentials,
            warnings: access.warnings,
        };
        endpoints.insert(key, known);
        Ok(endpoint)
    }

    /// Returns the ways to a name, in order.
    pub(crate) fn routes(&self, name: &Reference, purpose: Purpose) -> Result<Vec<Route>> {
        let access = match purpose {
            Purpose::Pull | Purpose::Tags => Access::Pull,
            Purpose::Push => Access::Push,
        };
        let mut routes = Vec::new();
        for located in self
            .hosts
            .locate(name, purpose)
            .map_err(TransferError::Host)?
        {
            let endpoint = self.endpoint(name, &located)?;
            routes.push(Route {
                repository: endpoint.repository(located.name.path(), access),
                located,
            });
        }
        Ok(routes)
    }

    /// Returns the way to the registry itself, for writing.
    pub(crate) fn route_to(&self, name: &Reference) -> Result<Route> {
        let mut routes = self.routes(name, Purpose::Push)?;
        routes.pop().ok_or_else(|| TransferError::NoEndpoint {
            name: name.to_string(),
        })
    }

    /// Says what the configuration has to do with an error: where credentials or certificates come from.
    pub(crate) fn explain(&self, error: &TransferError) -> Vec<String> {
        let Some(cause) = error.registry_error() else {
            return Vec::new();
        };
        let (unauthorized, untrusted) = (cause.is_unauthorized(), is_tls(cause));
        let endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for known in endpoints.values() {
            if unauthorized {
                lines.extend(known.warnings.iter().cloned());
                lines.push(known.credentials.clone());
            }
            if untrusted {
                lines.push(known.certificates.clone());
            }
        }
        lines.retain(|line| !line.is_empty());
        lines.sort();
        lines.dedup();
        lines
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(registry::Cause::Tls(_) | registry::Cause::Certificate(_)) =
            error.downcast_ref()
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The directory in which parts of downloads may be kept, below a directory of state of a store.
pub fn memory_in(state: &Path) -> PathBuf {
    state.join("registries")
}

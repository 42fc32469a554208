//! One registry, and one repository in it: the handles through which everything is asked for.

use std::sync::Arc;

use model::Digest;

use crate::call::{Answer, Call};
use crate::client::Client;
use crate::error::{Failure, RegistryError};
use crate::http::Http;
use crate::options::EndpointOptions;

/// One registry. Clones share connections, tokens and the memory of warnings.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) http: Http,
    pub(crate) client: Arc<Client>,
}

/// What is to be done in a repository; tokens are asked for accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
    /// Everything, deletion included.
    Delete,
}

/// One repository of one registry, with one kind of access.
#[derive(Clone)]
pub struct Repository {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    access: Access,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestRef {
    /// The one that a tag names at the moment.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

impl std::fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ManifestRef::Tag(tag) => f.write_str(tag),
            ManifestRef::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

impl Http {
    /// Describes a registry; the first request makes contact.
    pub fn endpoint(&self, options: EndpointOptions) -> Endpoint {
        Endpoint {
            http: self.clone(),
            client: Arc::new(Client::new(self, options)),
        }
    }
}

impl Endpoint {
    /// Returns the host as it was given.
    pub fn host(&self) -> &str {
        self.client.host()
    }

    /// Makes contact and asks for the root of the API with our credentials, as a login does.
    ///
    /// # Errors
    /// [`Failure::Credentials`] when they are refused, otherwise what went wrong.
    pub fn check_credentials(&self) -> Result<(), RegistryError> {
        let answer = self.request(Call::get("/v2/"));
        let outcome = answer.and_then(|reply| match reply.status {
            200 => Ok(()),
            401 => Err(Failure::Credentials),
            _ => Err(reply.refusal()),
        });
        outcome.map_err(|source| {
            let source = match source {
                Failure::TokenCredentials(_) => Failure::Credentials,
                other => other,
            };
            RegistryError::Login {
                host: self.host().to_owned(),
                source,
            }
        })
    }

    /// Begins to make contact and does not wait for it. What goes wrong is told to the first request that needs it.
    pub fn contact_early(&self) {
        let client = Arc::clone(&self.client);
        // Without a network thread the first request fails, too, and says why.
        let _ = self.http.spawn(async move { client.contact_early().await });
    }

    /// Makes contact and returns whether the registry keeps signatures by itself (`X-Registry-Supports-Signatures`).
    ///
    /// # Errors
    /// When there is no contact.
    pub fn supports_signature_extension(&self) -> Result<bool, RegistryError> {
        let client = Arc::clone(&self.client);
        self.http
            .run(async move { Ok(client.contact().await?.signatures) })
            .map_err(RegistryError::Contact)
    }

    /// Names a repository, without its host: `library/debian`.
    pub fn repository(&self, path: &str, access: Access) -> Repository {
        Repository {
            endpoint: self.clone(),
            path: path.to_owned(),
            access,
        }
    }

    /// Does one request whose answer is small.
    pub(crate) fn request(&self, call: Call) -> Result<Answer, Failure> {
        let client = Arc::clone(&self.client);
        self.http.run(async move { client.answer(call).await })
    }
}

impl Repository {
    /// Returns the repository's path, without the host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the registry.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The name with its host, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.endpoint.host(), self.path)
    }

    /// The path of a request in this repository.
    pub(crate) fn api(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.path)
    }

    pub(crate) fn scopes(&self) -> Vec<String> {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "*",
        };
        vec![format!("repository:{}:{actions}", self.path)]
    }

    pub(crate) fn scopes_with(&self, other: &str) -> Vec<String> {
        let mut scopes = self.scopes();
        scopes.push(format!("repository:{other}:pull"));
        scopes
    }

    pub(crate) fn request(&self, call: Call) -> Result<Answer, Failure> {
        self.endpoint.request(call.scoped(self.scopes()))
    }
}

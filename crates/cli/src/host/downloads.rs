//! Files of the web that a build names: sources of ADD, Containerfiles and contexts.

use std::fs::File;
use std::time::SystemTime;

use registry::{
    Credential, Endpoint, EndpointOptions, FetchError, Notice, RequestRetry, Security, TlsFiles,
};

use super::registries;
use crate::world::World;

/// The most bytes that a file may have.
const MAX_FILE: u64 = 64 << 30;

/// Fetches files, with the proxies and authorities of the host. No credentials are sent.
pub struct Downloads(Endpoint);

impl Downloads {
    /// Prepares the network; nothing is opened yet.
    pub fn new(world: &World) -> Self {
        Self(registries::http(world).endpoint(EndpointOptions {
            host: "localhost".to_owned(),
            security: Security::Verified,
            tls: TlsFiles::default(),
            credential: Credential::Anonymous,
            retry: RequestRetry::default(),
            notices: std::sync::Arc::new(|_: &Notice| {}),
        }))
    }

    /// Writes a file to `out`, and returns when it was changed.
    pub fn fetch(&self, url: &str, out: &mut File) -> Result<Option<SystemTime>, FetchError> {
        Ok(self.0.fetch_file(url, out, MAX_FILE)?.modified)
    }
}

impl solve::Downloads for Downloads {
    fn fetch(&self, url: &str, out: &mut File) -> Result<Option<SystemTime>, solve::DownloadError> {
        self.fetch(url, out).map_err(Into::into)
    }
}

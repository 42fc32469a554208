//! Files of the web that a build names: sources of ADD, Containerfiles and contexts.

use std::fs::File;
use std::time::SystemTime;

use registry::{
    Credential, Endpoint, EndpointOptions, FetchError, Notice, RequestRetry, Security, TlsFiles,
};

use super::registries;
use crate::args::access::AccessArgs;
use crate::world::World;

/// The most bytes that a file may have.
const MAX_FILE: u64 = 64 << 30;

/// Fetches files, with the proxies and authorities of the host. No credentials are sent.
pub struct Downloads(Endpoint);

impl Downloads {
    /// Prepares the network; nothing is opened yet.
    pub fn new(world: &World) -> Self {
        Self::with(Security::Verified, TlsFiles::default(), world)
    }

    /// Prepares the network as flags about registries say.
    pub fn with_access(access: &AccessArgs, world: &World) -> anyhow::Result<Self> {
        let security = match access.tls_verify {
            Some(false) => Security::Unverified,
            _ => Security::Verified,
        };
        let tls = match &access.cert_dir {
            // The directory holds what there is for all hosts.
            Some(dir) => {
                let found = registries::certificates(Some(dir), world).for_host("")?;
                registries::tls_files(found)
            }
            None => TlsFiles::default(),
        };
        Ok(Self::with(security, tls, world))
    }

    fn with(security: Security, tls: TlsFiles, world: &World) -> Self {
        Self(registries::http(world).endpoint(EndpointOptions {
            host: "localhost".to_owned(),
            security,
            tls,
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

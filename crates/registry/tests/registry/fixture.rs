//! Endpoints with short limits whose notices are kept, and content to move.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cooper_registry::{
    Access, Credential, Endpoint, EndpointOptions, Http, HttpOptions, Notice, ProxySettings,
    Repository, RequestRetry, Security, TimeLimits, TlsFiles,
};
use model::{Digest, Secret};

pub const AGENT: &str = "Cooper/test";

/// Limits that a test can wait for.
pub const LIMITS: TimeLimits = TimeLimits {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(600),
    reply: Duration::from_secs(2),
    commit: Duration::from_secs(2),
};

pub const RETRY: RequestRetry = RequestRetry {
    after_cut: 2,
    after_status: 0,
    first_delay: Duration::from_millis(5),
    max_delay: Duration::from_millis(20),
};

pub fn http() -> Http {
    http_through(ProxySettings::default())
}

pub fn http_through(proxies: ProxySettings) -> Http {
    Http::new(HttpOptions {
        user_agent: AGENT.to_owned(),
        proxies,
        trust_file: None,
        trust_dir: None,
        limits: LIMITS,
    })
}

/// An endpoint in the making.
pub struct Setup {
    pub http: Http,
    pub options: EndpointOptions,
    pub notices: Arc<Mutex<Vec<Notice>>>,
}

impl Setup {
    /// Of a server without verification, asked by nobody.
    pub fn new(host: &str) -> Self {
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let told = Arc::clone(&notices);
        Self {
            http: http(),
            options: EndpointOptions {
                host: host.to_owned(),
                security: Security::Unverified,
                tls: TlsFiles::default(),
                credential: Credential::Anonymous,
                retry: RETRY,
                notices: Arc::new(move |notice: &Notice| told.lock().unwrap().push(notice.clone())),
            },
            notices,
        }
    }

    pub fn credential(mut self, credential: Credential) -> Self {
        self.options.credential = credential;
        self
    }

    pub fn basic(self, user: &str, password: &str) -> Self {
        self.credential(Credential::Basic {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    pub fn verified(mut self, tls: TlsFiles) -> Self {
        self.options.security = Security::Verified;
        self.options.tls = tls;
        self
    }

    pub fn endpoint(&self) -> Endpoint {
        self.http.endpoint(self.options.clone())
    }

    pub fn repository(&self, access: Access) -> Repository {
        self.endpoint().repository("a/tiny", access)
    }

    /// What was told, as text.
    pub fn told(&self) -> Vec<String> {
        self.notices
            .lock()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// Bytes that do not repeat within a megabyte or so, and their digest.
pub fn content(length: usize) -> (Vec<u8>, Digest) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(length)
        .collect();
    let digest = Digest::sha256(&bytes);
    (bytes, digest)
}

/// An error with its causes as the command line prints it.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

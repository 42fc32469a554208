//! The one thread that talks to the network, and what all endpoints share.
//!
//! The thread runs a single-threaded asynchronous runtime, is started by the first request and ends with the last
//! [`Http`]. Everything outside this crate blocks: [`Http::run`] is the bridge.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::cancel::Cancel;
use crate::error::Failure;
use crate::proxy::{Proxies, ProxySettings};
use crate::tls::HostRoots;

/// What all connections have in common.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The proxies of the environment.
    pub proxies: ProxySettings,
    /// The file of trusted authorities in place of the host's (`SSL_CERT_FILE`).
    pub trust_file: Option<PathBuf>,
    /// The directory of trusted authorities in place of the host's (`SSL_CERT_DIR`).
    pub trust_dir: Option<PathBuf>,
    /// How long to wait for what.
    pub limits: TimeLimits,
}

/// How long to wait before a connection counts as broken. None of them limits a whole transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// For a connection to be made.
    pub connect: Duration,
    /// For the next byte, in either direction.
    pub stall: Duration,
    /// For a reply to begin after the request was sent.
    pub reply: Duration,
    /// For a reply to begin after content was uploaded, which the registry may first have to store.
    pub commit: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            reply: Duration::from_secs(60),
            commit: Duration::from_secs(300),
        }
    }
}

/// The network. Clones share one thread, one set of roots and one set of proxies.
#[derive(Clone)]
pub struct Http(Arc<Shared>);

struct Shared {
    user_agent: String,
    limits: TimeLimits,
    proxies: Arc<Proxies>,
    roots: Arc<HostRoots>,
    thread: Mutex<Option<NetThread>>,
}

struct NetThread {
    handle: Handle,
    // Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Http {
    /// Keeps the options; nothing is opened or started yet.
    pub fn new(options: HttpOptions) -> Self {
        Self(Arc::new(Shared {
            user_agent: options.user_agent,
            limits: options.limits,
            proxies: Arc::new(Proxies::new(&options.proxies)),
            roots: Arc::new(HostRoots::new(options.trust_file, options.trust_dir)),
            thread: Mutex::new(None),
        }))
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.0.user_agent
    }

    pub(crate) fn limits(&self) -> TimeLimits {
        self.0.limits
    }

    pub(crate) fn proxies(&self) -> Arc<Proxies> {
        Arc::clone(&self.0.proxies)
    }

    pub(crate) fn roots(&self) -> Arc<HostRoots> {
        Arc::clone(&self.0.roots)
    }

    /// Starts work on the network thread without waiting for it.
    pub(crate) fn spawn<F>(&self, work: F) -> Result<AbortHandle, Failure>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Ok(self.handle()?.spawn(work).abort_handle())
    }

    /// Does work on the network thread and waits for its result. Must not be called from that thread.
    pub(crate) fn run<F, T>(&self, work: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        self.run_under(&Cancel::default(), work)
    }

    /// The same for work that may be cancelled meanwhile, which ends it with [`Failure::Ended`].
    pub(crate) fn run_under<F, T>(&self, cancel: &Cancel, work: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let (give, take) = oneshot::channel();
        let task = self.spawn(async move {
            let _ = give.send(work.await);
        })?;
        cancel.waits_for(task);
        take.blocking_recv().unwrap_or(Err(Failure::Ended))
    }

    fn handle(&self) -> Result<Handle, Failure> {
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*thread {
            return Ok(running.handle.clone());
        }
        let started = start().map_err(Failure::Start)?;
        let handle = started.handle.clone();
        *thread = Some(started);
        Ok(handle)
    }
}

fn start() -> io::Result<NetThread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("network".to_owned())
        .spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
    Ok(NetThread {
        handle,
        _stop: stop,
    })
}

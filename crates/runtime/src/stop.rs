//! Lets another thread signal or end whatever is running.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

/// A handle that any thread can use to signal or end the runs that were given it.
#[derive(Debug, Clone)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Readable from the first request on; never read, because every run must see it.
    event: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    /// Every signal asked for, oldest first.
    signals: Vec<i32>,
    /// When everything is killed; set by the first request to end, brought forward by later ones.
    kill_at: Option<Instant>,
}

impl Stop {
    /// Makes a handle with no request.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn new() -> io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                event,
                state: Mutex::default(),
            }),
        })
    }

    /// Sends `signal` to the first process of every run, and lets it go on. It is received only if
    /// that process handles it.
    pub fn forward(&self, signal: i32) {
        self.change(|state| state.signals.push(signal));
    }

    /// Sends `signal`, and kills everything that is left when `grace` has passed. Runs that have not
    /// started yet do not start.
    pub fn end(&self, signal: i32, grace: Duration) {
        let at = Instant::now() + grace;
        self.change(|state| {
            state.signals.push(signal);
            state.kill_at = Some(state.kill_at.map_or(at, |earlier| earlier.min(at)));
        });
    }

    /// Says whether [`Stop::end`] was called.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.kill_at().is_some()
    }

    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kill_at
    }

    /// Returns the signals from the `seen`-th on.
    pub(crate) fn signals_from(&self, seen: usize) -> Vec<i32> {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.signals.get(seen..).unwrap_or_default().to_vec()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(
            &mut self
                .shared
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        // Cannot fail but for a counter of 2^64 requests.
        let _ = rustix::io::write(&self.shared.event, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

//! Ending a thread that sleeps or waits for the network.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

/// Says to a thread that its work is not wanted any more. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    // What the thread waits for on the network.
    waits_for: Option<AbortHandle>,
}

impl Cancel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread's sleep and what it waits for.
    pub fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        if let Some(task) = state.waits_for.take() {
            task.abort();
        }
        drop(state);
        self.0.called.notify_all();
    }

    /// Returns whether the work is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Notes what is waited for from now on; ends it at once where the work is not wanted any more.
    pub fn waits_for(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.cancelled {
            task.abort();
        } else {
            state.waits_for = Some(task);
        }
    }

    /// Sleeps, but not on when the work is not wanted any more.
    pub fn sleep(&self, time: Duration) {
        let waiting = |state: &mut State| !state.cancelled;
        let slept = self
            .0
            .called
            .wait_timeout_while(self.state(), time, waiting);
        drop(slept.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sleep_ends_early_when_cancelled() {
        let cancel = Cancel::default();
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| cancel.sleep(Duration::from_secs(60)));
            cancel.cancel();
        });
        cancel.sleep(Duration::from_secs(60));
        assert!(cancel.is_cancelled() && started.elapsed() < Duration::from_secs(30));
    }
}

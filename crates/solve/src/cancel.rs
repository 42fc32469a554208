//! One switch that ends a build from outside: Ctrl-C, a failed sibling, a caller's deadline.
//!
//! The switch only says "stop" and calls those who asked to be called; it knows no signal and
//! no process. Whoever runs something long registers a hook for as long as it runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Hook = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    next: AtomicU64,
    hooks: Mutex<Vec<(u64, Hook)>>,
}

/// A switch that can be turned once, shared by all who must stop then.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

impl Cancel {
    /// Returns a switch that is not turned.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns the switch and calls every registered hook, once each. Later calls do nothing.
    pub fn cancel(&self) {
        let hooks = {
            let mut hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
            if self.0.cancelled.swap(true, Ordering::SeqCst) {
                return;
            }
            std::mem::take(&mut *hooks)
        };
        for (_, hook) in hooks {
            hook();
        }
    }

    /// Says whether the switch was turned.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Registers `hook` for as long as the returned guard lives. It is called at once when the
    /// switch is already turned.
    pub fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) -> CancelHook {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let hook: Hook = Arc::new(hook);
        {
            // The flag is read under the lock that `cancel` holds while it sets it: a hook is
            // either in the list that is called, or sees the flag here.
            let mut hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_cancelled() {
                hooks.push((id, hook));
                return CancelHook {
                    of: self.clone(),
                    id,
                };
            }
        }
        hook();
        CancelHook {
            of: self.clone(),
            id,
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// Keeps a hook of a [`Cancel`] registered; dropping it takes the hook away.
#[derive(Debug)]
#[must_use = "the hook is taken away when this is dropped"]
pub struct CancelHook {
    of: Cancel,
    id: u64,
}

impl Drop for CancelHook {
    fn drop(&mut self) {
        self.of
            .0
            .hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn hooks_are_called_once_and_only_while_registered() {
        let calls = Arc::new(AtomicU32::new(0));
        let cancel = Cancel::new();
        let count = |n: u32| {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(n, Ordering::SeqCst);
            }
        };
        drop(cancel.on_cancel(count(1)));
        let kept = cancel.on_cancel(count(10));
        cancel.cancel();
        cancel.cancel();
        let late = cancel.on_cancel(count(100));
        assert_eq!(calls.load(Ordering::SeqCst), 110);
        assert!(cancel.is_cancelled());
        drop((kept, late));
    }
}

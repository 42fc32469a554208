//! A few threads that take work from one stack, where work may bring more work.
//!
//! Last in, first out: a walk then goes deep before it goes wide, and holds few directories open.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Most threads that one copy uses.
const MAX_THREADS: usize = 4;

struct State<T, E> {
    stack: Vec<T>,
    busy: usize,
    failed: Option<E>,
    /// A thread panicked: its task will never be done.
    broken: bool,
}

struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next piece of work, or `None` when there is none and none can come.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() || state.broken {
                return None;
            }
            if let Some(task) = state.stack.pop() {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, outcome: Result<Vec<T>, E>) {
        let mut state = self.lock();
        state.busy -= 1;
        match outcome {
            Ok(more) => state.stack.extend(more),
            Err(err) => {
                state.failed.get_or_insert(err);
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Wakes the other threads when this one panics, so that the scope can end and pass it on.
struct Alarm<'a, T, E>(&'a Shared<T, E>);

impl<T, E> Drop for Alarm<'_, T, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().broken = true;
            self.0.changed.notify_all();
        }
    }
}

/// Does `work` on each task and on those that it returns; the last one returned is taken first.
///
/// `worker` makes the state that one thread keeps between tasks; all of them are returned.
///
/// # Errors
/// The first error; the other threads stop after what they are at.
pub(super) fn run<T: Send, W: Send, E: Send>(
    tasks: Vec<T>,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, T) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<W>, E> {
    let shared = Shared {
        state: Mutex::new(State {
            stack: tasks,
            busy: 0,
            failed: None,
            broken: false,
        }),
        changed: Condvar::new(),
    };
    let body = || {
        let _alarm = Alarm(&shared);
        let mut own = worker();
        while let Some(task) = shared.next() {
            let outcome = work(&mut own, task);
            shared.done(outcome);
        }
        own
    };
    // The first task is done here: most copies are one file, and need no thread.
    let mut first = worker();
    if let Some(task) = shared.next() {
        let outcome = work(&mut first, task);
        shared.done(outcome);
    }
    let wanted = shared.lock().stack.len().min(threads());
    let mut workers = vec![first];
    std::thread::scope(|scope| {
        let handles: Vec<_> = (1..wanted).map(|_| scope.spawn(body)).collect();
        if wanted > 0 {
            workers.push(body());
        }
        for handle in handles {
            match handle.join() {
                Ok(own) => workers.push(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    match shared
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .failed
    {
        Some(err) => Err(err),
        None => Ok(workers),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, MAX_THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_is_done_once() {
        let workers = run(vec![6_u32], Vec::new, |seen: &mut Vec<u32>, n| {
            seen.push(n);
            Ok::<_, ()>((0..n).collect())
        })
        .unwrap();
        // Each n gives 2^n calls in all.
        assert_eq!(workers.iter().map(Vec::len).sum::<usize>(), 64);
    }

    #[test]
    fn the_first_error_ends_it() {
        let result = run(
            (0..1000).collect(),
            || (),
            |(), n| if n == 500 { Err(n) } else { Ok(Vec::new()) },
        );
        assert_eq!(result.unwrap_err(), 500);
    }
}

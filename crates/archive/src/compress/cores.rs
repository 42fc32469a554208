//! The processors' time for compression: a few threads that every encoder of the process shares.
//!
//! However many layers are compressed at once, no more threads run than the handle was made for. A thread that finds
//! nothing to do for a while ends, so that none is left behind where a caller needs a process with one thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::codec::Tools;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_millis(500);
/// How many bytes of input all encoders together keep in memory while they are being compressed.
const MEMORY_MAX: usize = 48 << 20;
/// The fewest pieces an encoder may have under way: one is filled while another is compressed.
const PIECES_MIN: usize = 2;

/// Work for one of the threads. The tools keep what is costly to make for each piece.
pub(super) type Job = Box<dyn FnOnce(&mut Tools) + Send>;

/// A number of threads for compression, shared by everything that has a clone of the handle.
#[derive(Clone)]
pub struct Cores(Arc<Shared>);

struct Shared {
    limit: usize,
    encoders: AtomicUsize,
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Cores {
    /// Makes a handle for at most `threads` threads, at least one. None is started before there is work.
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Shared {
            limit: threads.max(1),
            encoders: AtomicUsize::new(0),
            queue: Mutex::default(),
            more: Condvar::new(),
        }))
    }

    /// The process's own handle: as many threads as the process may use processors.
    pub fn all() -> Self {
        static ALL: OnceLock<Cores> = OnceLock::new();
        ALL.get_or_init(|| {
            Cores::new(thread::available_parallelism().map_or(1, std::num::NonZero::get))
        })
        .clone()
    }

    /// Counts an encoder among those that share the memory.
    pub(super) fn enter(&self) -> Share {
        self.0.encoders.fetch_add(1, Ordering::Relaxed);
        Share(self.clone())
    }

    /// Gives work to the next free thread.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.0.lock();
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() {
            drop(queue);
            self.0.more.notify_one();
            return;
        }
        if queue.threads < self.0.limit {
            let shared = Arc::clone(&self.0);
            let started = thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || shared.work());
            if started.is_ok() {
                queue.threads += 1;
                return;
            }
            if queue.threads == 0 {
                // Not a single thread is to be had: the caller's own has to do.
                let jobs = std::mem::take(&mut queue.jobs);
                drop(queue);
                let mut tools = Tools::default();
                jobs.into_iter().for_each(|job| job(&mut tools));
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut tools = Tools::default();
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // A job that panics drops its end of the channel, which its encoder reports.
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    job(&mut tools);
                }));
                if done.is_err() {
                    tools = Tools::default();
                }
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let (after, timeout) = self
                .more
                .wait_timeout(queue, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            queue = after;
            queue.idle -= 1;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

/// An encoder's part of the threads and of the memory.
pub(super) struct Share(Cores);

impl Share {
    /// How many pieces of a size in bytes may be under way just now.
    pub(super) fn pieces(&self, size: usize) -> usize {
        let shared = &self.0.0;
        let encoders = shared.encoders.load(Ordering::Relaxed).max(1);
        let affordable = MEMORY_MAX / size.max(1) / encoders;
        affordable.min(shared.limit + 2).max(PIECES_MIN)
    }

    pub(super) fn submit(&self, job: Job) {
        self.0.submit(job);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.encoders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn no_more_threads_than_allowed_run_at_once() {
        for limit in [0, 1, 3] {
            let cores = Cores::new(limit);
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (done, all) = mpsc::channel();
            for _ in 0..20 {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                let done = done.clone();
                cores.submit(Box::new(move |_| {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                    running.fetch_sub(1, Ordering::SeqCst);
                    let _ = done.send(());
                }));
            }
            drop(done);
            assert_eq!(all.iter().count(), 20, "{limit}");
            assert!(most.load(Ordering::SeqCst) <= limit.max(1), "{limit}");
        }
    }

    #[test]
    fn threads_end_when_there_is_nothing_to_do_and_come_back() {
        let cores = Cores::new(2);
        for _ in 0..2 {
            let (done, all) = mpsc::channel::<()>();
            cores.submit(Box::new(move |_| drop(done)));
            assert!(all.recv().is_err());
            let until = std::time::Instant::now() + 20 * IDLE;
            while cores.0.lock().threads > 0 {
                assert!(std::time::Instant::now() < until, "a thread stays");
                thread::sleep(IDLE / 10);
            }
        }
    }

    #[test]
    fn a_panic_takes_no_thread_with_it() {
        let cores = Cores::new(1);
        cores.submit(Box::new(|_| panic!("expected by the test")));
        let (done, all) = mpsc::channel();
        cores.submit(Box::new(move |_| done.send(7).unwrap()));
        assert_eq!(all.recv(), Ok(7));
    }

    #[test]
    fn memory_is_divided_among_the_encoders() {
        let cores = Cores::new(64);
        let first = cores.enter();
        assert_eq!(first.pieces(1 << 20), 48);
        let second = cores.enter();
        assert_eq!(first.pieces(1 << 20), 24);
        assert_eq!(first.pieces(1 << 30), PIECES_MIN);
        drop(second);
        assert_eq!(first.pieces(1 << 10), 66);
    }
}

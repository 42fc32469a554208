//! Brings the nodes of a graph to their results: those that do not need each other at once.
//!
//! One thread owns all state (what is ready, what runs, who holds which key); workers send it
//! messages and are told what they may do. The first failure turns the build's [`Cancel`]
//! switch: running nodes are told to stop, waiting ones never start.
//!
//! It knows nothing of stages or images: a node is a number with the numbers that it needs.
//!
//! ```text
//!            needs done            job free              message `Done`
//!  waiting ────────────▶ ready ────────────▶ running ────────────────────▶ done
//!                          │                    │ error: Cancel turned
//!                          └── Cancel turned ───┴──────────▶ never started / ended early
//! ```

use crate::cancel::Cancel;
use crate::key::StepKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// Results of the nodes that a node needs, by their number.
pub type Needs<T> = BTreeMap<usize, Arc<T>>;

/// What the scheduler starts on a thread of its own for each node.
pub trait NodeWork: Sync {
    /// What a node comes to.
    type Output: Send + Sync;
    /// Why it did not.
    type Error: Send;

    /// Brings node `index` to its result. Called at most once for each node, after all that it
    /// needs.
    ///
    /// # Errors
    /// Whatever ends the build.
    fn node(
        &self,
        index: usize,
        needs: &Needs<Self::Output>,
        claims: &Claims,
    ) -> Result<Self::Output, Self::Error>;
}

/// How a run of the scheduler ended.
#[derive(Debug)]
pub enum Ended<T, E> {
    /// Every node is done; the results of those that were to be kept, by number.
    Done(Needs<T>),
    /// The first node that failed, and why.
    Failed {
        /// The node's number.
        index: usize,
        /// Its error.
        error: E,
    },
    /// The switch was turned from outside before all nodes were done.
    Cancelled,
}

/// The answer to a claim of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else performs this step: the asker does.
    Yours,
    /// Somebody else performed it while the asker waited: look it up again.
    LookAgain,
    /// The build has been cancelled.
    Cancelled,
}

/// A worker's way to say which step it is about to perform, so that an equal step of another
/// node is performed once.
///
/// A key covers its parent's key, so two nodes meet the keys that they share in the same order;
/// waiting for each other in a circle is impossible. Steps whose key has no parent (`--link`)
/// must not be claimed.
#[derive(Debug)]
pub struct Claims {
    node: usize,
    owner: Option<Sender<Ask>>,
}

impl Claims {
    /// Claims for a caller without a scheduler: everything is its own.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            node: 0,
            owner: None,
        }
    }

    /// Asks to perform the step of `key`, waiting for the end of another node that does so.
    #[must_use]
    pub fn claim(&self, key: StepKey) -> Claim {
        let Some(owner) = &self.owner else {
            return Claim::Yours;
        };
        let (reply, answer) = mpsc::channel();
        let ask = Ask::Claim {
            key,
            node: self.node,
            reply,
        };
        if owner.send(ask).is_err() {
            return Claim::Cancelled;
        }
        answer.recv().unwrap_or(Claim::Cancelled)
    }
}

#[derive(Debug)]
enum Ask {
    Claim {
        key: StepKey,
        node: usize,
        reply: Sender<Claim>,
    },
    Done {
        node: usize,
    },
}

/// Runs all nodes; `needs[i]` are the numbers that node `i` needs, each smaller or larger but
/// without circles. `keep` names the nodes whose results are returned; any other result is
/// dropped as soon as its last reader is done.
///
/// # Panics
/// When a worker panicked; its message is passed on.
pub fn run<W: NodeWork>(
    work: &W,
    needs: &[Vec<usize>],
    keep: &[usize],
    jobs: NonZeroUsize,
    cancel: &Cancel,
) -> Ended<W::Output, W::Error> {
    std::thread::scope(|scope| {
        let (to_owner, asks) = mpsc::channel();
        let (to_results, results) = mpsc::channel();
        let start = |node: usize, inputs: Needs<W::Output>| {
            let claims = Claims {
                node,
                owner: Some(to_owner.clone()),
            };
            let (to_owner, to_results) = (to_owner.clone(), to_results.clone());
            scope.spawn(move || {
                // A panic must not leave the owner waiting for ever.
                let _told = TellDone {
                    owner: to_owner,
                    node,
                };
                let result = work.node(node, &inputs, &claims);
                let _ = to_results.send((node, result));
            });
        };
        Owner::new(needs, keep, cancel).run(jobs, &asks, &results, start)
    })
}

struct TellDone {
    owner: Sender<Ask>,
    node: usize,
}

impl Drop for TellDone {
    fn drop(&mut self) {
        let _ = self.owner.send(Ask::Done { node: self.node });
    }
}

struct Owner<'a, T, E> {
    needs: &'a [Vec<usize>],
    cancel: &'a Cancel,
    ready: BTreeSet<usize>,
    missing: Vec<usize>,
    readers: Vec<usize>,
    results: Vec<Option<Arc<T>>>,
    running: BTreeSet<usize>,
    done: usize,
    held: HashMap<StepKey, Held>,
    failed: Option<(usize, E)>,
}

struct Held {
    by: usize,
    waiters: Vec<Sender<Claim>>,
}

impl<'a, T: Send + Sync, E: Send> Owner<'a, T, E> {
    fn new(needs: &'a [Vec<usize>], keep: &[usize], cancel: &'a Cancel) -> Self {
        let mut readers = vec![0; needs.len()];
        for needed in needs.iter().flatten().chain(keep) {
            readers[*needed] += 1;
        }
        let missing: Vec<usize> = needs.iter().map(Vec::len).collect();
        Self {
            needs,
            cancel,
            ready: (0..needs.len()).filter(|&i| missing[i] == 0).collect(),
            missing,
            readers,
            results: std::iter::repeat_with(|| None).take(needs.len()).collect(),
            running: BTreeSet::new(),
            done: 0,
            held: HashMap::new(),
            failed: None,
        }
    }

    fn run(
        mut self,
        jobs: NonZeroUsize,
        asks: &Receiver<Ask>,
        results: &Receiver<(usize, Result<T, E>)>,
        start: impl Fn(usize, Needs<T>),
    ) -> Ended<T, E> {
        loop {
            while self.running.len() < jobs.get() && !self.cancel.is_cancelled() {
                let Some(node) = self.ready.pop_first() else {
                    break;
                };
                self.running.insert(node);
                start(node, self.inputs(node));
            }
            if self.running.is_empty() {
                return self.end();
            }
            match asks.recv() {
                Ok(Ask::Claim { key, node, reply }) => self.claim(key, node, reply),
                Ok(Ask::Done { node }) => self.ended(node, results),
                // The owner's caller holds a sender for as long as this loop runs.
                Err(_) => return self.end(),
            }
        }
    }

    fn inputs(&self, node: usize) -> Needs<T> {
        self.needs[node]
            .iter()
            .filter_map(|&needed| Some((needed, Arc::clone(self.results[needed].as_ref()?))))
            .collect()
    }

    fn claim(&mut self, key: StepKey, node: usize, reply: Sender<Claim>) {
        if self.cancel.is_cancelled() {
            let _ = reply.send(Claim::Cancelled);
            return;
        }
        match self.held.get_mut(&key) {
            Some(held) if held.by != node => held.waiters.push(reply),
            Some(_) => {
                let _ = reply.send(Claim::Yours);
            }
            None => {
                self.held.insert(
                    key,
                    Held {
                        by: node,
                        waiters: Vec::new(),
                    },
                );
                let _ = reply.send(Claim::Yours);
            }
        }
    }

    fn ended(&mut self, node: usize, results: &Receiver<(usize, Result<T, E>)>) {
        self.running.remove(&node);
        self.release(node);
        // A worker sends its result before it says that it ended, so what is missing here is
        // the result of a worker that panicked; the scope passes the panic on.
        let Some((node, result)) = results.try_iter().next() else {
            self.cancel.cancel();
            return;
        };
        match result {
            Ok(output) => {
                self.done += 1;
                self.results[node] = (self.readers[node] > 0).then(|| Arc::new(output));
                for (other, needs) in self.needs.iter().enumerate() {
                    let met = needs.iter().filter(|&&needed| needed == node).count();
                    if met > 0 {
                        self.missing[other] -= met;
                        if self.missing[other] == 0 {
                            self.ready.insert(other);
                        }
                    }
                }
            }
            Err(error) => {
                self.failed.get_or_insert((node, error));
                self.cancel.cancel();
            }
        }
        for &needed in &self.needs[node] {
            self.readers[needed] -= 1;
            if self.readers[needed] == 0 {
                self.results[needed] = None;
            }
        }
    }

    fn release(&mut self, node: usize) {
        let answer = if self.cancel.is_cancelled() {
            Claim::Cancelled
        } else {
            Claim::LookAgain
        };
        self.held.retain(|_, held| {
            if held.by == node {
                for waiter in held.waiters.drain(..) {
                    let _ = waiter.send(answer);
                }
            }
            held.by != node
        });
    }

    fn end(self) -> Ended<T, E> {
        if let Some((index, error)) = self.failed {
            return Ended::Failed { index, error };
        }
        if self.done < self.needs.len() {
            return Ended::Cancelled;
        }
        let kept = self.results.into_iter().enumerate();
        Ended::Done(kept.filter_map(|(i, r)| Some((i, r?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    struct Fake<F>(F);
    impl<F> NodeWork for Fake<F>
    where
        F: Fn(usize, &Needs<String>, &Claims) -> Result<String, String> + Sync,
    {
        type Output = String;
        type Error = String;
        fn node(&self, i: usize, n: &Needs<String>, c: &Claims) -> Result<String, String> {
            (self.0)(i, n, c)
        }
    }

    fn jobs(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn a_node_sees_what_it_needs_and_only_kept_results_come_back() {
        let needs = [vec![], vec![], vec![0, 1], vec![2]];
        for n in [1, 4] {
            let work = Fake(|i: usize, needs: &Needs<String>, _: &Claims| {
                let below: Vec<&str> = needs.values().map(|s| s.as_str()).collect();
                Ok(format!("{i}({})", below.join(",")))
            });
            let Ended::Done(kept) = run(&work, &needs, &[3], jobs(n), &Cancel::new()) else {
                panic!("not done");
            };
            assert_eq!(kept.len(), 1);
            assert_eq!(*kept[&3], "3(2(0(),1()))");
        }
    }

    #[test]
    fn one_job_keeps_the_order_and_more_run_at_once() {
        let order = Mutex::new(Vec::new());
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = Fake(|i: usize, _: &Needs<String>, _: &Claims| {
            let n = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(n, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            now.fetch_sub(1, Ordering::SeqCst);
            order.lock().unwrap().push(i);
            Ok(String::new())
        });
        let needs = [vec![], vec![], vec![], vec![]];
        run(&work, &needs, &[], jobs(1), &Cancel::new());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        run(&work, &needs, &[], jobs(3), &Cancel::new());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn the_first_failure_stops_the_rest() {
        let cancel = Cancel::new();
        let started = AtomicUsize::new(0);
        let work = Fake(|i: usize, _: &Needs<String>, _: &Claims| {
            started.fetch_add(1, Ordering::SeqCst);
            if i == 1 {
                std::thread::sleep(Duration::from_millis(20));
                return Err("broken".to_owned());
            }
            let end = Instant::now() + Duration::from_secs(10);
            while !cancel.is_cancelled() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err("stopped".to_owned())
        });
        let needs = [vec![], vec![], vec![], vec![1]];
        let begun = Instant::now();
        let ended = run(&work, &needs, &[3], jobs(2), &cancel);
        assert!(matches!(ended, Ended::Failed { index: 1, error } if error == "broken"));
        assert_eq!(started.load(Ordering::SeqCst), 2);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_turned_switch_starts_nothing() {
        let cancel = Cancel::new();
        cancel.cancel();
        let work = Fake(|_: usize, _: &Needs<String>, _: &Claims| Ok(String::new()));
        let ended = run(&work, &[vec![]], &[0], jobs(1), &cancel);
        assert!(matches!(ended, Ended::Cancelled));
    }

    #[test]
    fn an_equal_step_is_performed_once() {
        let performed = AtomicUsize::new(0);
        let index = Mutex::new(BTreeSet::new());
        let key = StepKey::from_bytes([7; 32]);
        let work = Fake(|_: usize, _: &Needs<String>, claims: &Claims| {
            loop {
                if index.lock().unwrap().contains(&key) {
                    return Ok("hit".to_owned());
                }
                match claims.claim(key) {
                    Claim::Yours => {
                        std::thread::sleep(Duration::from_millis(30));
                        performed.fetch_add(1, Ordering::SeqCst);
                        index.lock().unwrap().insert(key);
                        return Ok("performed".to_owned());
                    }
                    Claim::LookAgain => {}
                    Claim::Cancelled => return Err("cancelled".to_owned()),
                }
            }
        });
        let needs = [vec![], vec![], vec![]];
        let ended = run(&work, &needs, &[0, 1, 2], jobs(3), &Cancel::new());
        let Ended::Done(kept) = ended else {
            panic!("not done");
        };
        assert_eq!(kept.len(), 3);
        assert_eq!(performed.load(Ordering::SeqCst), 1);
    }
}

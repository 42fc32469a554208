//! Brings the nodes of a graph to their results: those that do not need each other at once.
//!
//! One thread owns all state (what is ready, what runs, who holds which key); workers send it
//! messages and are told what they may do. The first failure turns the build's [`Cancel`]
//! switch: running nodes are told to stop, waiting ones never start.
//!
//! It knows nothing of stages or images: a node is a number with the numbers that it needs, the
//! lane that it runs in, and whether it starts by itself or once a running node asks for it.
//!
//! ```text
//!          needs done, or asked for       lane free            message `Done`
//!  waiting ────────────────────────▶ ready ─────────▶ running ────────────────▶ done
//!                                      │                 │ error: Cancel turned
//!                                      └─ Cancel turned ─┴─────▶ never started / ended early
//! ```
//! A node that waits for one that it has asked for keeps its place in its lane. Nodes that are
//! asked for need nothing, so nobody waits in a circle.

use crate::cancel::Cancel;
use crate::key::StepKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// Results of the nodes that a node needs, by their number.
pub type Needs<T> = BTreeMap<usize, Arc<T>>;

/// What a node mostly uses. Each lane has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// This machine.
    Local,
    /// Other machines.
    Network,
}

/// How many nodes of each lane run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Of [`Lane::Local`].
    pub local: NonZeroUsize,
    /// Of [`Lane::Network`].
    pub network: NonZeroUsize,
}

/// When a node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As soon as all that it needs is done.
    AtOnce,
    /// When a running node asks for it; it needs nothing, and no other node needs it.
    WhenAsked,
}

/// A node as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The numbers of the nodes that come before it.
    pub needs: Vec<usize>,
    /// Where it runs.
    pub lane: Lane,
    /// When.
    pub start: Start,
}

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
    /// Every node that was started or had to be is done; the results of those that were to be kept, by number.
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

/// How waiting for another node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It is done.
    Done,
    /// The build has been cancelled.
    Cancelled,
}

/// A worker's way to ask for nodes that start when they are asked for, and to say which step it
/// is about to perform, so that an equal step of another node is performed once.
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

    /// Has a node start soon that only starts when it is asked for.
    pub fn begin(&self, node: usize) {
        if let Some(owner) = &self.owner {
            // Without an owner nothing more starts anyway.
            let _ = owner.send(Ask::Begin { node, waiter: None });
        }
    }

    /// Waits until a node is done, which starts now at the latest.
    #[must_use]
    pub fn wait_for(&self, node: usize) -> Waited {
        let Some(owner) = &self.owner else {
            return Waited::Cancelled;
        };
        let (waiter, answer) = mpsc::channel();
        let waiter = Some(waiter);
        if owner.send(Ask::Begin { node, waiter }).is_err() {
            return Waited::Cancelled;
        }
        answer.recv().unwrap_or(Waited::Cancelled)
    }
}

#[derive(Debug)]
enum Ask {
    Claim {
        key: StepKey,
        node: usize,
        reply: Sender<Claim>,
    },
    Begin {
        node: usize,
        waiter: Option<Sender<Waited>>,
    },
    Done {
        node: usize,
    },
}

/// Runs all nodes but those that nobody asks for. What a node needs may have a smaller or a larger
/// number, without circles. `keep` names the nodes whose results are returned; any other result is
/// dropped as soon as its last reader is done.
///
/// # Panics
/// When a worker panicked; its message is passed on.
pub fn run<W: NodeWork>(
    work: &W,
    tasks: &[Task],
    keep: &[usize],
    lanes: Lanes,
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
        Owner::new(tasks, keep, cancel).run(lanes, &asks, &results, start)
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
    tasks: &'a [Task],
    cancel: &'a Cancel,
    states: Vec<State>,
    ready: BTreeSet<usize>,
    missing: Vec<usize>,
    readers: Vec<usize>,
    results: Vec<Option<Arc<T>>>,
    running: BTreeSet<usize>,
    waiters: HashMap<usize, Vec<Sender<Waited>>>,
    held: HashMap<StepKey, Held>,
    failed: Option<(usize, E)>,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it.
    Unasked,
    /// It will start, or runs, or has failed.
    Expected,
    Done,
}

struct Held {
    by: usize,
    waiters: Vec<Sender<Claim>>,
}

impl<'a, T: Send + Sync, E: Send> Owner<'a, T, E> {
    fn new(tasks: &'a [Task], keep: &[usize], cancel: &'a Cancel) -> Self {
        let mut readers = vec![0; tasks.len()];
        for needed in tasks.iter().flat_map(|task| &task.needs).chain(keep) {
            readers[*needed] += 1;
        }
        let missing: Vec<usize> = tasks.iter().map(|task| task.needs.len()).collect();
        let states: Vec<State> = tasks
            .iter()
            .map(|task| match task.start {
                Start::AtOnce => State::Expected,
                Start::WhenAsked => State::Unasked,
            })
            .collect();
        let is_ready = |&i: &usize| states[i] == State::Expected && missing[i] == 0;
        Self {
            tasks,
            cancel,
            ready: (0..tasks.len()).filter(is_ready).collect(),
            states,
            missing,
            readers,
            results: std::iter::repeat_with(|| None).take(tasks.len()).collect(),
            running: BTreeSet::new(),
            waiters: HashMap::new(),
            held: HashMap::new(),
            failed: None,
        }
    }

    fn run(
        mut self,
        lanes: Lanes,
        asks: &Receiver<Ask>,
        results: &Receiver<(usize, Result<T, E>)>,
        start: impl Fn(usize, Needs<T>),
    ) -> Ended<T, E> {
        loop {
            while let Some(node) = self.next(lanes) {
                self.ready.remove(&node);
                self.running.insert(node);
                start(node, self.inputs(node));
            }
            if self.cancel.is_cancelled() {
                self.turn_away();
            }
            if self.running.is_empty() {
                return self.end();
            }
            match asks.recv() {
                Ok(Ask::Claim { key, node, reply }) => self.claim(key, node, reply),
                Ok(Ask::Begin { node, waiter }) => self.begin(node, waiter),
                Ok(Ask::Done { node }) => self.ended(node, results),
                // The owner's caller holds a sender for as long as this loop runs.
                Err(_) => return self.end(),
            }
        }
    }

    /// Returns the first node that may start now.
    fn next(&self, lanes: Lanes) -> Option<usize> {
        if self.cancel.is_cancelled() {
            return None;
        }
        let is_free = |lane: Lane| {
            let limit = match lane {
                Lane::Local => lanes.local,
                Lane::Network => lanes.network,
            };
            let running = self.running.iter();
            running.filter(|&&i| self.tasks[i].lane == lane).count() < limit.get()
        };
        let mut ready = self.ready.iter().copied();
        ready.find(|&node| is_free(self.tasks[node].lane))
    }

    fn begin(&mut self, node: usize, waiter: Option<Sender<Waited>>) {
        if self.states[node] == State::Done {
            if let Some(waiter) = waiter {
                let _ = waiter.send(Waited::Done);
            }
            return;
        }
        if self.states[node] == State::Unasked {
            self.states[node] = State::Expected;
            self.ready.insert(node);
        }
        self.waiters.entry(node).or_default().extend(waiter);
    }

    /// Tells those who wait for nodes that will never start.
    fn turn_away(&mut self) {
        let running = &self.running;
        self.waiters.retain(|node, waiters| {
            let runs = running.contains(node);
            if !runs {
                answer_all(waiters, Waited::Cancelled);
            }
            runs
        });
    }

    fn inputs(&self, node: usize) -> Needs<T> {
        self.tasks[node]
            .needs
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
        let waited = match result {
            Ok(_) => Waited::Done,
            Err(_) => Waited::Cancelled,
        };
        let mut waiters = self.waiters.remove(&node).unwrap_or_default();
        answer_all(&mut waiters, waited);
        match result {
            Ok(output) => {
                self.states[node] = State::Done;
                self.results[node] = (self.readers[node] > 0).then(|| Arc::new(output));
                for (other, task) in self.tasks.iter().enumerate() {
                    let met = task.needs.iter().filter(|&&n| n == node).count();
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
        for &needed in &self.tasks[node].needs {
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
        if self.states.contains(&State::Expected) {
            return Ended::Cancelled;
        }
        let kept = self.results.into_iter().enumerate();
        Ended::Done(kept.filter_map(|(i, r)| Some((i, r?))).collect())
    }
}

fn answer_all(waiters: &mut Vec<Sender<Waited>>, waited: Waited) {
    for waiter in waiters.drain(..) {
        let _ = waiter.send(waited);
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

    fn limit(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn lanes(local: usize, network: usize) -> Lanes {
        Lanes {
            local: limit(local),
            network: limit(network),
        }
    }

    fn local(needs: &[usize]) -> Task {
        Task {
            needs: needs.to_vec(),
            lane: Lane::Local,
            start: Start::AtOnce,
        }
    }

    fn far(start: Start) -> Task {
        Task {
            needs: Vec::new(),
            lane: Lane::Network,
            start,
        }
    }

    /// Runs nodes that use this machine only and start by themselves.
    fn run_local<W: NodeWork>(
        work: &W,
        needs: &[&[usize]],
        keep: &[usize],
        jobs: usize,
        cancel: &Cancel,
    ) -> Ended<W::Output, W::Error> {
        let tasks: Vec<Task> = needs.iter().map(|needs| local(needs)).collect();
        run(work, &tasks, keep, lanes(jobs, 1), cancel)
    }

    #[test]
    fn a_node_sees_what_it_needs_and_only_kept_results_come_back() {
        let needs: [&[usize]; 4] = [&[], &[], &[0, 1], &[2]];
        for n in [1, 4] {
            let work = Fake(|i: usize, needs: &Needs<String>, _: &Claims| {
                let below: Vec<&str> = needs.values().map(|s| s.as_str()).collect();
                Ok(format!("{i}({})", below.join(",")))
            });
            let Ended::Done(kept) = run_local(&work, &needs, &[3], n, &Cancel::new()) else {
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
        let needs: [&[usize]; 4] = [&[], &[], &[], &[]];
        run_local(&work, &needs, &[], 1, &Cancel::new());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        run_local(&work, &needs, &[], 3, &Cancel::new());
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
        let needs: [&[usize]; 4] = [&[], &[], &[], &[1]];
        let begun = Instant::now();
        let ended = run_local(&work, &needs, &[3], 2, &cancel);
        assert!(matches!(ended, Ended::Failed { index: 1, error } if error == "broken"));
        assert_eq!(started.load(Ordering::SeqCst), 2);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_turned_switch_starts_nothing() {
        let cancel = Cancel::new();
        cancel.cancel();
        let work = Fake(|_: usize, _: &Needs<String>, _: &Claims| Ok(String::new()));
        let ended = run_local(&work, &[&[]], &[0], 1, &cancel);
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
        let needs: [&[usize]; 3] = [&[], &[], &[]];
        let ended = run_local(&work, &needs, &[0, 1, 2], 3, &Cancel::new());
        let Ended::Done(kept) = ended else {
            panic!("not done");
        };
        assert_eq!(kept.len(), 3);
        assert_eq!(performed.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_nobody_asks_for_never_runs() {
        let work = Fake(|i: usize, _: &Needs<String>, _: &Claims| match i {
            0 => Ok(String::new()),
            _ => Err("it ran".to_owned()),
        });
        let tasks = [local(&[]), far(Start::WhenAsked)];
        let ended = run(&work, &tasks, &[0], lanes(1, 1), &Cancel::new());
        assert!(matches!(ended, Ended::Done(kept) if kept.len() == 1));
    }

    #[test]
    fn what_is_asked_for_runs_once_beside_those_who_ask() {
        let runs = AtomicUsize::new(0);
        let work = Fake(|i: usize, _: &Needs<String>, claims: &Claims| {
            if i == 3 {
                runs.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(30));
                return Ok(String::new());
            }
            claims.begin(3);
            assert_eq!(claims.wait_for(3), Waited::Done);
            assert_eq!(claims.wait_for(3), Waited::Done);
            assert_eq!(runs.load(Ordering::SeqCst), 1);
            Ok(String::new())
        });
        let tasks = [local(&[]), local(&[]), local(&[]), far(Start::WhenAsked)];
        for jobs in [1, 3] {
            runs.store(0, Ordering::SeqCst);
            let ended = run(&work, &tasks, &[], lanes(jobs, 1), &Cancel::new());
            assert!(matches!(ended, Ended::Done(_)));
        }
    }

    #[test]
    fn lanes_do_not_wait_for_each_other() {
        // The second local node ends while the network is busy for the first.
        let near_done = AtomicUsize::new(0);
        let work = Fake(|i: usize, needs: &Needs<String>, _: &Claims| {
            let end = Instant::now() + Duration::from_secs(10);
            match i {
                1 => near_done.store(1, Ordering::SeqCst),
                2 => {
                    while near_done.load(Ordering::SeqCst) == 0 && Instant::now() < end {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                _ => assert_eq!((needs.len(), near_done.load(Ordering::SeqCst)), (1, 1)),
            }
            Ok(String::new())
        });
        let tasks = [local(&[2]), local(&[]), far(Start::AtOnce)];
        let begun = Instant::now();
        let ended = run(&work, &tasks, &[], lanes(1, 1), &Cancel::new());
        assert!(matches!(ended, Ended::Done(_)));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn those_who_wait_are_told_of_a_failure() {
        let work = Fake(|i: usize, _: &Needs<String>, claims: &Claims| {
            if i == 1 {
                return Err("broken".to_owned());
            }
            assert_eq!(claims.wait_for(1), Waited::Cancelled);
            Err("told".to_owned())
        });
        let tasks = [local(&[]), far(Start::WhenAsked)];
        let ended = run(&work, &tasks, &[0], lanes(1, 1), &Cancel::new());
        assert!(matches!(ended, Ended::Failed { index: 1, error } if error == "broken"));
    }

    #[test]
    fn those_who_wait_for_a_place_in_a_lane_are_told_of_the_end() {
        let cancel = Cancel::new();
        let work = Fake(|i: usize, _: &Needs<String>, claims: &Claims| {
            if i == 0 {
                claims.begin(1);
                assert_eq!(claims.wait_for(2), Waited::Cancelled);
                return Err("told".to_owned());
            }
            assert_eq!(i, 1, "there is one place");
            std::thread::sleep(Duration::from_millis(20));
            cancel.cancel();
            Err("stopped".to_owned())
        });
        let tasks = [local(&[]), far(Start::WhenAsked), far(Start::WhenAsked)];
        let ended = run(&work, &tasks, &[0], lanes(1, 1), &cancel);
        assert!(matches!(ended, Ended::Failed { index: 1, .. }));
    }
}

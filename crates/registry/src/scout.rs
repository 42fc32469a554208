//! The first large upload to a registry goes ahead of the others and finds out how much a connection bears.
//!
//! A registry that forgets an upload whose request was cut gets all of it again: with several uploads under way that is
//! lost as many times. So as long as too little has come through to tell, and nothing was cut, large uploads go one after
//! the other. Afterwards nothing waits: either nobody cuts, or everything goes in pieces that nobody cuts.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The largest upload that waits for nobody, in bytes.
pub(crate) const SMALL: u64 = 2 * 1024 * 1024;
/// How many bytes have to be sent before the others follow: more than proxies that cut usually let pass, with what the
/// buffers on both sides of such a one hold.
const ENOUGH: u64 = 128 * 1024 * 1024;

/// What is known of the way to a registry.
#[derive(Default)]
pub(crate) struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    known: bool,
    /// How many bytes scouts have sent so far.
    carried: u64,
    scouted: bool,
}

/// Whether an upload may begin.
pub(crate) enum Turn<'a> {
    /// The way is known.
    Free,
    /// It is the first, and finds out.
    Scout(Scout<'a>),
    /// Another one is finding out.
    Later,
}

/// The upload that goes ahead. The next one follows when it is dropped.
pub(crate) struct Scout<'a>(&'a Way);

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a turn without waiting for it.
    pub fn turn(&self) -> Turn<'_> {
        self.turn_in(&mut self.state())
    }

    fn turn_in(&self, state: &mut State) -> Turn<'_> {
        match (state.known, state.scouted) {
            (true, _) => Turn::Free,
            (false, true) => Turn::Later,
            (false, false) => {
                state.scouted = true;
                Turn::Scout(Scout(self))
            }
        }
    }

    /// Waits until the way is known, or this upload is to find out.
    pub fn wait(&self) -> Option<Scout<'_>> {
        let mut state = self.state();
        loop {
            match self.turn_in(&mut state) {
                Turn::Free => return None,
                Turn::Scout(scout) => return Some(scout),
                Turn::Later => {}
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that a connection was cut and that it is settled what follows: there is nothing more to find out.
    pub fn note_cut(&self) {
        self.state().known = true;
        self.changed.notify_all();
    }
}

impl Scout<'_> {
    /// Notes that it has sent so many bytes more.
    pub fn carried(&self, bytes: u64) {
        let mut state = self.0.state();
        state.carried += bytes;
        if !state.known && state.carried >= ENOUGH {
            state.known = true;
            drop(state);
            self.0.changed.notify_all();
        }
    }
}

impl Drop for Scout<'_> {
    fn drop(&mut self) {
        self.0.state().scouted = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_ahead_until_enough_has_come_through() {
        let way = Way::default();
        let Turn::Scout(first) = way.turn() else {
            panic!("nobody is under way");
        };
        assert!(matches!(way.turn(), Turn::Later));
        first.carried(ENOUGH / 2);
        drop(first);
        let second = way.wait().unwrap();
        second.carried(ENOUGH / 2 - 1);
        assert!(matches!(way.turn(), Turn::Later));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| way.wait().is_none());
            second.carried(1);
            assert!(waiting.join().unwrap());
        });
        assert!(matches!(way.turn(), Turn::Free));
    }

    #[test]
    fn a_cut_tells_all_there_is_to_know() {
        let way = Way::default();
        let scout = way.wait().unwrap();
        way.note_cut();
        drop(scout);
        assert!(matches!(way.turn(), Turn::Free));
    }
}

//! The way of content from a blocking reader to the network thread: a short queue of pieces with a lock, so that memory
//! stays bounded, a stall is seen, and a reply that comes early ends the reading.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// How many pieces wait at the most.
const DEPTH: usize = 8;

/// Both ends of the queue.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Inner>);

struct Inner {
    size: Option<u64>,
    room: Condvar,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<Bytes>,
    end: End,
    // Nobody takes pieces any more.
    closed: bool,
    moved: Instant,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Complete,
    Aborted,
}

/// The reply is there before all content was taken.
#[derive(Debug)]
pub(crate) struct Closed;

impl Feed {
    /// Makes an empty queue for content of that size.
    pub fn new(size: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            size,
            room: Condvar::new(),
            state: Mutex::new(State {
                queue: VecDeque::with_capacity(DEPTH),
                end: End::Open,
                closed: false,
                moved: Instant::now(),
                waker: None,
            }),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece, waiting for room.
    pub fn push(&self, piece: Bytes) -> Result<(), Closed> {
        let full = |state: &mut State| state.queue.len() >= DEPTH && !state.closed;
        let mut state = self
            .0
            .room
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Closed);
        }
        if state.queue.is_empty() {
            // Until now it was the reader that was waited for.
            state.moved = Instant::now();
        }
        state.queue.push_back(piece);
        wake(state);
        Ok(())
    }

    /// Says that all content was pushed.
    pub fn finish(&self) {
        self.end(End::Complete);
    }

    /// Says that there is no more content although it is not complete; the request fails.
    pub fn abort(&self) {
        self.end(End::Aborted);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end = end;
        if state.queue.is_empty() {
            state.moved = Instant::now();
        }
        wake(state);
    }

    /// Lets the pushing side go: nothing will be taken any more.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.queue.clear();
        // The connection may still wait for content; it is to end.
        wake(state);
        self.0.room.notify_all();
    }

    /// Returns the limit that was overstepped: nobody took waiting content for `stall`, or no reply came for `commit`
    /// after all content was taken.
    pub fn overdue(&self, stall: Duration, commit: Duration) -> Option<Duration> {
        let state = self.state();
        let limit = match (state.queue.is_empty(), state.end) {
            (false, _) => stall,
            (true, End::Open) => return None,
            (true, _) => commit,
        };
        (state.moved.elapsed() > limit).then_some(limit)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The taking end, as the body of a request.
pub(crate) struct FeedBody {
    feed: Feed,
    taken: u64,
}

impl FeedBody {
    pub fn new(feed: Feed) -> Self {
        Self { feed, taken: 0 }
    }
}

impl Drop for FeedBody {
    fn drop(&mut self) {
        self.feed.close();
    }
}

impl http_body::Body for FeedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut state = self.feed.state();
        if let Some(piece) = state.queue.pop_front() {
            state.moved = Instant::now();
            drop(state);
            self.feed.0.room.notify_one();
            self.taken += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if state.closed {
            let early = io::Error::other("the reply came before the content");
            return Poll::Ready(Some(Err(early)));
        }
        match state.end {
            End::Complete => Poll::Ready(None),
            End::Aborted => {
                Poll::Ready(Some(Err(io::Error::other("the content could not be read"))))
            }
            End::Open => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.feed.state();
        state.queue.is_empty() && state.end == End::Complete
    }

    fn size_hint(&self) -> SizeHint {
        match self.feed.0.size {
            Some(size) => SizeHint::with_exact(size.saturating_sub(self.taken)),
            None => SizeHint::default(),
        }
    }
}

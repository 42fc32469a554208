//! What is known of the blobs of a copy: those that move, one by one, and the finished, in sum.
//!
//! Only counts: nothing is drawn here and no clock is looked at.

use model::event::BlobOutcome;
use model::{Digest, Event};

/// A blob on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its digest at the source.
    pub digest: Digest,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// Bytes that have come.
    pub done: u64,
    /// Where an earlier attempt had ended, if there was one.
    pub resumed_at: Option<u64>,
}

/// Finished blobs, folded into sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Blobs whose bytes were moved.
    pub copied: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that were at the destination, or came to it without being moved.
    pub reused: usize,
    /// Blobs that stay at their publisher's.
    pub left_out: usize,
}

impl Folded {
    fn blobs(self) -> usize {
        self.copied + self.reused + self.left_out
    }
}

/// The state of the copies of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    rows: Vec<Row>,
    folded: Folded,
    /// Bytes of finished blobs, moved or not.
    finished_bytes: u64,
    planned_blobs: usize,
    planned_bytes: u64,
}

impl Board {
    /// Takes an event on; returns whether it was about blobs.
    pub fn take(&mut self, event: &Event) -> bool {
        match event {
            Event::BlobsPlanned { count, bytes } => {
                self.planned_blobs = self.folded.blobs() + count;
                self.planned_bytes = self.finished_bytes.saturating_add(*bytes);
            }
            Event::BlobStarted { digest, size } => {
                // A second attempt begins from what the first has left.
                self.rows.retain(|row| row.digest != *digest);
                self.rows.push(Row {
                    digest: digest.clone(),
                    size: *size,
                    done: 0,
                    resumed_at: None,
                });
            }
            Event::BlobResumed { digest, at } => {
                if let Some(row) = self.row(digest) {
                    row.resumed_at = Some(*at);
                    row.done = row.done.max(*at);
                }
            }
            Event::BlobProgress { digest, done } => {
                if let Some(row) = self.row(digest) {
                    row.done = row.done.max(*done);
                }
            }
            Event::BlobDone { digest, outcome } => self.finish(digest, *outcome),
            _ => return false,
        }
        true
    }

    fn row(&mut self, digest: &Digest) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.digest == *digest)
    }

    fn finish(&mut self, digest: &Digest, outcome: BlobOutcome) {
        let at = self.rows.iter().position(|row| row.digest == *digest);
        let size = at.map_or(0, |at| {
            let row = self.rows.remove(at);
            row.size.unwrap_or(row.done)
        });
        self.finished_bytes = self.finished_bytes.saturating_add(size);
        match outcome {
            BlobOutcome::Copied => {
                self.folded.copied += 1;
                self.folded.bytes = self.folded.bytes.saturating_add(size);
            }
            BlobOutcome::AlreadyThere | BlobOutcome::Mounted => self.folded.reused += 1,
            BlobOutcome::Foreign => self.folded.left_out += 1,
        }
    }

    /// Returns the blobs that move, in the order in which they began.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns the finished blobs and how many there are in all.
    pub fn blobs(&self) -> (usize, usize) {
        let done = self.folded.blobs();
        (done, self.planned_blobs.max(done + self.rows.len()))
    }

    /// Returns the bytes that have come and those that are to come in all.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |part: fn(&Row) -> u64| {
            let parts = self.rows.iter().map(part);
            parts.fold(self.finished_bytes, u64::saturating_add)
        };
        let all = sum(|row| row.size.unwrap_or(0).max(row.done));
        (sum(|row| row.done), self.planned_bytes.max(all))
    }

    /// Returns the sums of the finished blobs.
    pub fn folded(&self) -> Folded {
        self.folded
    }

    /// Begins anew when no blob moves; returns the sums until now, if there are any.
    pub fn settle(&mut self) -> Option<Folded> {
        if !self.rows.is_empty() {
            return None;
        }
        let folded = std::mem::take(self).folded;
        (folded.blobs() > 0).then_some(folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::sha256(&[byte])
    }

    fn started(byte: u8, size: Option<u64>) -> Event {
        let digest = digest(byte);
        Event::BlobStarted { digest, size }
    }

    fn progress(byte: u8, done: u64) -> Event {
        let digest = digest(byte);
        Event::BlobProgress { digest, done }
    }

    fn done(byte: u8, outcome: BlobOutcome) -> Event {
        let digest = digest(byte);
        Event::BlobDone { digest, outcome }
    }

    fn check(events: &[Event], blobs: (usize, usize), bytes: (u64, u64), folded: (usize, u64)) {
        let mut board = Board::default();
        for event in events {
            assert!(board.take(event), "{event:?}");
        }
        assert_eq!(board.blobs(), blobs, "{events:?}");
        assert_eq!(board.bytes(), bytes, "{events:?}");
        assert_eq!((board.folded().reused, board.folded().bytes), folded);
    }

    #[test]
    fn events_add_up() {
        let planned = Event::BlobsPlanned {
            count: 2,
            bytes: 300,
        };
        let resumed = Event::BlobResumed {
            digest: digest(1),
            at: 40,
        };
        check(std::slice::from_ref(&planned), (0, 2), (0, 300), (0, 0));
        check(
            &[planned.clone(), started(1, Some(100)), progress(1, 30)],
            (0, 2),
            (30, 300),
            (0, 0),
        );
        check(
            &[
                planned.clone(),
                started(1, Some(100)),
                resumed,
                progress(1, 20),
            ],
            (0, 2),
            (40, 300),
            (0, 0),
        );
        check(
            &[
                planned.clone(),
                started(1, Some(100)),
                done(1, BlobOutcome::Copied),
                started(2, Some(200)),
                done(2, BlobOutcome::AlreadyThere),
            ],
            (2, 2),
            (300, 300),
            (1, 100),
        );
        // Nothing was planned, and the size is only known at the end.
        check(
            &[
                started(1, None),
                progress(1, 7),
                done(1, BlobOutcome::Copied),
            ],
            (1, 1),
            (7, 7),
            (0, 7),
        );
        // A second attempt, and a second image.
        check(
            &[
                planned.clone(),
                started(1, Some(100)),
                progress(1, 90),
                planned.clone(),
                started(1, Some(100)),
                done(1, BlobOutcome::Copied),
                planned,
            ],
            (1, 3),
            (100, 400),
            (0, 100),
        );
    }

    #[test]
    fn sums_are_told_once_and_not_too_early() {
        let mut board = Board::default();
        assert_eq!(board.settle(), None);
        board.take(&started(1, Some(5)));
        assert_eq!(board.settle(), None);
        board.take(&done(1, BlobOutcome::Mounted));
        let folded = board.settle().map(|folded| folded.reused);
        assert_eq!(folded, Some(1));
        assert_eq!(board, Board::default());
    }
}

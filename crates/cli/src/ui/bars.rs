//! Bars on a terminal: one line for each blob that moves, one for the sum of all if there are several.
//!
//! ```text
//!  3f4ca61aafcd [=========>          ] 31.0 MiB/64.0 MiB  52.1 MiB/s  0s left
//!  Copying 2/5 blobs, 95.0 MiB/310.0 MiB  61.0 MiB/s  3s left, 1 already there
//! ```
//! Whoever copies only counts on the [`Board`]; one thread looks at it some times a second and
//! draws. Lines of text go above the bars.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Digest, Event};

use super::board::{Board, Folded, Row};

/// Time between two looks at the counts.
const PACE: Duration = Duration::from_millis(100);
/// How often the terminal is written to in a second, at the most.
const HERTZ: u8 = 10;
/// Digits of a digest that are shown.
const SHORT: usize = 12;

const SIZED: &str = " {prefix} [{bar:24}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left{msg}";
const UNSIZED: &str = " {prefix} {bytes}  {bytes_per_sec}{msg}";
const SUM: &str = " Copying {prefix}, {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left{msg}";

/// The bars of this process, and the thread that draws them.
#[derive(Debug)]
pub struct Bars {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    multi: MultiProgress,
}

#[derive(Debug, Default)]
struct State {
    board: Board,
    painter: Painter,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bars {
    /// Draws on standard error.
    pub fn on_stderr() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(HERTZ))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                wake: Condvar::new(),
                multi: MultiProgress::with_draw_target(target),
            }),
            thread: Mutex::default(),
        }
    }

    /// Counts an event; returns whether bars show it, so that no line has to.
    pub fn take(&self, event: &Event) -> bool {
        let taken = self.shared.lock().board.take(event);
        if taken {
            self.start();
        }
        taken
    }

    /// Whether there is something to draw, so that lines must be whole.
    pub fn are_shown(&self) -> bool {
        !self.shared.lock().board.rows().is_empty()
    }

    /// Takes the bars away when no blob moves any more, and leaves one line in their place.
    pub fn settle(&self) {
        let mut state = self.shared.lock();
        let folded = state.board.settle();
        if let Some(folded) = folded {
            state.painter.clear();
            drop(state);
            let text = summary(folded);
            self.above(|| {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            });
        }
    }

    /// Takes the bars away, whatever still moves.
    pub fn give_up(&self) {
        let mut state = self.shared.lock();
        state.board = Board::default();
        state.painter.clear();
    }

    /// Has something printed above the bars.
    pub fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        self.shared.multi.suspend(print)
    }

    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            *thread = Some(std::thread::spawn(move || draw(&shared)));
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.painter.clear();
        drop(state);
        self.shared.wake.notify_all();
        let thread = self.thread.get_mut().map_or(None, Option::take);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn draw(shared: &Shared) {
    let mut state = shared.lock();
    while !state.ended {
        let State { board, painter, .. } = &mut *state;
        painter.paint(board, &shared.multi);
        let waited = shared.wake.wait_timeout(state, PACE);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Painter {
    blobs: HashMap<Digest, ProgressBar>,
    sum: Option<ProgressBar>,
}

impl Painter {
    /// Brings the screen to what the board says.
    fn paint(&mut self, board: &Board, multi: &MultiProgress) {
        let rows = board.rows();
        self.blobs.retain(|digest, bar| {
            let moves = rows.iter().any(|row| row.digest == *digest);
            if !moves {
                bar.finish_and_clear();
                multi.remove(bar);
            }
            moves
        });
        if rows.is_empty() {
            return;
        }
        let ((blobs, all_blobs), (bytes, all_bytes)) = (board.blobs(), board.bytes());
        if all_blobs > 1 && self.sum.is_none() {
            let bar = ProgressBar::hidden().with_style(style(SUM));
            self.sum = Some(multi.add(bar));
        }
        for row in rows {
            let bar = self.blobs.entry(row.digest.clone()).or_insert_with(|| {
                let bar = match &self.sum {
                    Some(sum) => multi.insert_before(sum, of_row(row)),
                    None => multi.add(of_row(row)),
                };
                // What an earlier attempt brought says nothing about the rate of this one.
                bar.set_position(row.resumed_at.unwrap_or(0));
                bar.reset_eta();
                bar
            });
            if let Some(at) = row.resumed_at {
                bar.set_message(format!(" (resumed at {})", BinaryBytes(at)));
            }
            bar.set_position(row.done);
        }
        let Some(sum) = &self.sum else {
            return;
        };
        sum.set_prefix(format!("{blobs}/{all_blobs} blobs"));
        sum.set_message(match board.folded().reused {
            0 => String::new(),
            reused => format!(", {reused} already there"),
        });
        sum.set_length(all_bytes);
        sum.set_position(bytes);
    }

    fn clear(&mut self) {
        for bar in self
            .blobs
            .drain()
            .map(|(_, bar)| bar)
            .chain(self.sum.take())
        {
            bar.finish_and_clear();
        }
    }
}

fn of_row(row: &Row) -> ProgressBar {
    let bar = match row.size {
        Some(size) => ProgressBar::new(size).with_style(style(SIZED).progress_chars("=> ")),
        None => ProgressBar::no_length().with_style(style(UNSIZED)),
    };
    let hex: String = row.digest.hex().chars().take(SHORT).collect();
    bar.with_prefix(hex)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What remains of the bars when all is done.
fn summary(folded: Folded) -> String {
    let mut text = format!("Copied {} ", folded.copied);
    text.push_str(if folded.copied == 1 { "blob" } else { "blobs" });
    if folded.copied > 0 {
        text.push_str(&format!(" ({})", BinaryBytes(folded.bytes)));
    }
    if folded.reused > 0 {
        text.push_str(&format!(", {} already there", folded.reused));
    }
    if folded.left_out > 0 {
        text.push_str(&format!(", {} left with their publisher", folded.left_out));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use model::event::BlobOutcome;
    use std::io;

    /// A terminal that remembers its screen.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<(Vec<String>, usize)>>);

    impl Screen {
        fn lines(&self) -> Vec<String> {
            let screen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = screen.0.iter().map(|line| line.trim_end().to_owned());
            shown.filter(|line| !line.is_empty()).collect()
        }

        fn change(&self, change: impl FnOnce(&mut Vec<String>, &mut usize)) -> io::Result<()> {
            let mut screen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (lines, row) = &mut *screen;
            change(lines, row);
            let rows = lines.len().max(*row + 1);
            lines.resize(rows, String::new());
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.change(|_, row| *row = row.saturating_sub(n))
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.change(|_, row| *row += n)
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.change(|_, row| *row += 1)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.change(|lines, row| {
                for c in text.chars().filter(|c| *c != '\r') {
                    let is_full = lines
                        .get(*row)
                        .is_some_and(|line| line.chars().count() == usize::from(self.width()));
                    // A full line is only left when something more comes.
                    *row += usize::from(c == '\n' || is_full);
                    let rows = lines.len().max(*row + 1);
                    lines.resize(rows, String::new());
                    if c != '\n' {
                        lines[*row].push(c);
                    }
                }
            })
        }
        fn clear_line(&self) -> io::Result<()> {
            self.change(|lines, row| {
                if let Some(line) = lines.get_mut(*row) {
                    line.clear();
                }
            })
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn digest(byte: u8) -> Digest {
        Digest::sha256(&[byte])
    }

    fn short(byte: u8) -> String {
        digest(byte).hex()[..SHORT].to_owned()
    }

    /// Takes events, and returns the screen after one look at the counts.
    fn screen(board: &mut Board, painter: &mut Painter, events: &[Event]) -> Vec<String> {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let multi = MultiProgress::with_draw_target(target);
        for event in events {
            board.take(event);
        }
        painter.paint(board, &multi);
        // The last look is drawn whatever the pace.
        for bar in painter.blobs.values().chain(&painter.sum) {
            std::thread::sleep(Duration::from_millis(8));
            bar.tick();
        }
        let lines = screen.lines();
        painter.clear();
        lines
    }

    #[test]
    fn one_line_for_each_blob_and_one_for_all() {
        let events = [
            Event::BlobsPlanned {
                count: 4,
                bytes: 40 << 20,
            },
            Event::BlobStarted {
                digest: digest(1),
                size: Some(10 << 20),
            },
            Event::BlobProgress {
                digest: digest(1),
                done: 5 << 20,
            },
            Event::BlobStarted {
                digest: digest(2),
                size: None,
            },
            Event::BlobProgress {
                digest: digest(2),
                done: 1 << 20,
            },
            Event::BlobStarted {
                digest: digest(3),
                size: Some(8 << 20),
            },
            Event::BlobDone {
                digest: digest(3),
                outcome: BlobOutcome::AlreadyThere,
            },
        ];
        let lines = screen(&mut Board::default(), &mut Painter::default(), &events);
        assert_eq!(lines.len(), 3, "{lines:?}");
        let half = format!(
            " {} [============>           ] 5.00 MiB/10.00 MiB",
            short(1)
        );
        assert!(lines[0].starts_with(&half), "{lines:?}");
        assert!(lines[0].contains("/s") && lines[0].ends_with("left"));
        let open = format!(" {} 1.00 MiB", short(2));
        assert!(lines[1].starts_with(&open), "{lines:?}");
        let sum = " Copying 1/4 blobs, 14.00 MiB/40.00 MiB";
        assert!(lines[2].starts_with(sum), "{lines:?}");
        assert!(lines[2].ends_with(", 1 already there"), "{lines:?}");
    }

    #[test]
    fn a_blob_that_goes_on_says_so() {
        let events = [
            Event::BlobStarted {
                digest: digest(1),
                size: Some(10 << 20),
            },
            Event::BlobResumed {
                digest: digest(1),
                at: 2 << 20,
            },
        ];
        let lines = screen(&mut Board::default(), &mut Painter::default(), &events);
        assert!(lines[0].contains("2.00 MiB/10.00 MiB"), "{lines:?}");
        assert!(lines[0].ends_with("(resumed at 2.00 MiB)"), "{lines:?}");
    }

    #[test]
    fn nothing_stays_but_a_line() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let bars = Bars::on(target);
        let begun = Event::BlobStarted {
            digest: digest(1),
            size: Some(3 << 20),
        };
        assert!(bars.take(&begun) && bars.are_shown());
        let limit = std::time::Instant::now() + Duration::from_secs(20);
        while screen.lines().is_empty() && std::time::Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!screen.lines().is_empty(), "nothing was drawn");
        assert!(!bars.take(&Event::WritingManifest));
        bars.take(&Event::BlobDone {
            digest: digest(1),
            outcome: BlobOutcome::Copied,
        });
        assert!(!bars.are_shown());
        bars.settle();
        assert_eq!(screen.lines(), Vec::<String>::new());
        drop(bars);
    }

    #[test]
    fn sums_in_words() {
        let check = |copied, bytes, reused, left_out, expected: &str| {
            let folded = Folded {
                copied,
                bytes,
                reused,
                left_out,
            };
            assert_eq!(summary(folded), expected);
        };
        check(1, 3 << 20, 0, 0, "Copied 1 blob (3.00 MiB)");
        check(2, 0, 3, 0, "Copied 2 blobs (0 B), 3 already there");
        check(0, 0, 0, 1, "Copied 0 blobs, 1 left with their publisher");
    }
}

//! Downloading blobs: in one pass, continued where it was cut, verified at the end.
//!
//! Each download has a thread of its own. It takes pieces from the network thread, hashes them, writes them to the kept
//! part and hands them on:
//!
//! ```text
//! network thread ──pieces──► download thread ──pieces──► reader
//!                              │ hash, kept part
//! ```
//! Both queues are short, so that memory stays bounded and a slow reader slows down the sender. A server that does not
//! continue but begins anew is put up with: what is there already is skipped.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use model::{Digest, Hasher};
use reqwest::header::RANGE;
use reqwest::{Response, Url};
use tokio::sync::mpsc;

use crate::buffers::Buffers;
use crate::call::Call;
use crate::cancel::Cancel;
use crate::client::Excess;
use crate::endpoint::Repository;
use crate::error::{Failure, RegistryError};
use crate::notice::Notice;
use crate::partial::{Kept, MIN_KEPT, Partials};
use crate::pause::with_jitter;
use crate::range::Start;
use crate::reply::MAX_ERROR_BODY;
use crate::upload::chain;
use crate::wire::{WireError, shown};

/// How many pieces wait between the network thread and the download's thread.
const NETWORK_DEPTH: usize = 4;
/// How many pieces wait for the reader.
const READER_DEPTH: usize = 4;
/// How often in a row a download may be cut without having moved on.
const MAX_FRUITLESS: u32 = 5;
/// How many bytes count as having moved on.
const MIN_PROGRESS: u64 = 4096;

/// The content of a blob. Reading returns the end only after size and digest were found right; before that, what is
/// read is unverified. Errors of reading contain a [`RegistryError`].
///
/// Dropping it ends the download; what is there is kept for the next one.
pub struct Download {
    pieces: Option<Receiver<Message>>,
    current: Bytes,
    ended: bool,
    size: Option<u64>,
    resumed: u64,
    digest: Digest,
    partials: Option<Partials>,
    thread: Option<JoinHandle<()>>,
    cancel: Cancel,
}

enum Message {
    Piece(Bytes),
    End(Result<(), RegistryError>),
}

impl Repository {
    /// Begins to download a blob. What an earlier download into `partials` left is used, and what this one gets is kept
    /// there until [`Download::settle`] or [`Partials::forget`].
    ///
    /// # Errors
    /// When the registry does not have the blob, or has one of another size. Where bytes were kept the registry is asked
    /// only when they have been read, and such errors come from reading.
    pub fn download(
        &self,
        digest: &Digest,
        size: Option<u64>,
        partials: Option<&Partials>,
    ) -> Result<Download, RegistryError> {
        self.begin(Origin::Registry, digest, size, partials)
    }

    /// The same for a blob that is not in the registry but at one of these addresses, tried in turn. Credentials are not
    /// sent there.
    ///
    /// # Errors
    /// When none of the addresses has the blob, or one has a blob of another size.
    pub fn download_from(
        &self,
        urls: &[String],
        digest: &Digest,
        size: Option<u64>,
        partials: Option<&Partials>,
    ) -> Result<Download, RegistryError> {
        self.begin(Origin::Urls(urls.to_vec()), digest, size, partials)
    }

    fn begin(
        &self,
        origin: Origin,
        digest: &Digest,
        size: Option<u64>,
        partials: Option<&Partials>,
    ) -> Result<Download, RegistryError> {
        let wrap = |source| self.fetching(digest, source);
        let worthwhile = size.is_none_or(|size| size >= MIN_KEPT);
        let mut hasher = Hasher::new(digest.algorithm());
        // A folder that cannot be written to must not keep anyone from downloading.
        let mut kept = partials
            .filter(|_| worthwhile)
            .and_then(|partials| partials.open(digest).ok().flatten());
        if let Some(open) = &mut kept {
            match open.check(digest.algorithm()) {
                Ok(state) => hasher = state,
                Err(_) => kept = None,
            }
        }
        if kept
            .as_ref()
            .is_some_and(|kept| size.is_some_and(|size| kept.length() > size))
        {
            kept.take().into_iter().for_each(Kept::discard);
            hasher = Hasher::new(digest.algorithm());
        }
        let (give, pieces) = sync_channel(READER_DEPTH);
        let cancel = Cancel::default();
        let mut fetch = Fetch {
            repository: self.clone(),
            origin,
            digest: digest.clone(),
            size,
            hasher,
            done: 0,
            kept,
            out: give,
            cancel: cancel.clone(),
        };
        let first = if fetch.kept.as_ref().is_some_and(|kept| kept.length() > 0) {
            None
        } else {
            Some(fetch.open(0).map_err(wrap)?)
        };
        let size = fetch.size;
        let resumed = fetch.kept.as_ref().map_or(0, Kept::length);
        let thread = std::thread::Builder::new()
            .name("download".to_owned())
            .spawn(move || fetch.run(first))
            .map_err(|error| wrap(Failure::Start(error)))?;
        Ok(Download {
            pieces: Some(pieces),
            current: Bytes::new(),
            ended: false,
            size,
            resumed,
            digest: digest.clone(),
            partials: partials.cloned(),
            thread: Some(thread),
            cancel,
        })
    }

    fn fetching(&self, digest: &Digest, source: Failure) -> RegistryError {
        RegistryError::FetchBlob {
            digest: digest.clone(),
            repository: self.name(),
            source,
        }
    }
}

impl Download {
    /// Returns the length of the blob, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns how many bytes an earlier download has left, which are not fetched again.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Says that the content is safe elsewhere: nothing is kept for another download.
    pub fn settle(mut self) {
        self.stop();
        if let Some(partials) = &self.partials {
            partials.forget(&self.digest);
        }
    }

    /// Ends the download's thread and waits for it, so that what it kept is complete and unlocked.
    fn stop(&mut self) {
        self.cancel.cancel();
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stop();
    }
}

impl BufRead for Download {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            let message = self.pieces.as_ref().map(Receiver::recv);
            match message {
                Some(Ok(Message::Piece(piece))) => self.current = piece,
                Some(Ok(Message::End(outcome))) => {
                    outcome.map_err(into_io)?;
                    self.ended = true;
                }
                // After an error, or when the thread died.
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        let _ = self.current.split_to(amount);
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

fn into_io(error: RegistryError) -> io::Error {
    io::Error::other(error)
}

/// Where a blob is.
enum Origin {
    Registry,
    Urls(Vec<String>),
}

/// The work of the download's thread.
struct Fetch {
    repository: Repository,
    origin: Origin,
    digest: Digest,
    size: Option<u64>,
    // Has seen `done` bytes, or those of the kept part while they are read.
    hasher: Hasher,
    done: u64,
    kept: Option<Kept>,
    out: SyncSender<Message>,
    cancel: Cancel,
}

/// A reply under way.
struct Body {
    pieces: mpsc::Receiver<Result<Bytes, Failure>>,
    /// How many bytes at its start are there already.
    skip: u64,
    url: String,
}

enum Stop {
    /// The reader went away.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl Fetch {
    fn run(mut self, first: Option<Body>) {
        let outcome = self.fetch(first);
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(Stop::Gone) => {
                self.leave();
                return;
            }
            Err(Stop::Failed(failure)) => Err(failure),
        };
        match &outcome {
            Err(Failure::Digest { .. } | Failure::Size { .. }) => {
                self.kept.take().into_iter().for_each(Kept::discard);
            }
            _ => self.leave(),
        }
        let outcome = outcome.map_err(|source| self.repository.fetching(&self.digest, source));
        let _ = self.out.send(Message::End(outcome));
    }

    /// Leaves the kept part as it should be found, and unlocks it.
    fn leave(&mut self) {
        if let Some(mut kept) = self.kept.take()
            && kept.write_mark(&self.hasher).is_err()
        {
            kept.discard();
        }
    }

    fn fetch(&mut self, first: Option<Body>) -> Result<(), Stop> {
        self.replay()?;
        let mut body = first;
        let mut fruitless = 0;
        while self.size != Some(self.done) || (self.done == 0 && body.is_some()) {
            let before = self.done;
            let failure = match self.transfer(body.take()) {
                Ok(()) => break,
                Err(Stop::Failed(failure)) if failure.is_retryable() => failure,
                Err(other) => return Err(other),
            };
            fruitless = if self.done - before >= MIN_PROGRESS {
                1
            } else {
                fruitless + 1
            };
            if fruitless > MAX_FRUITLESS {
                return Err(Stop::Failed(Failure::NoProgress {
                    times: fruitless - 1,
                    offset: self.done,
                    source: Box::new(failure),
                }));
            }
            self.pause(fruitless, &failure);
        }
        Ok(self.verify()?)
    }

    /// Hands on what was kept.
    fn replay(&mut self) -> Result<(), Stop> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let buffers = Buffers::default();
        while self.done < kept.length() {
            let mut buffer = buffers.take();
            let want = usize::try_from(kept.length() - self.done)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = kept
                .read_at(&mut buffer[..want], self.done)
                .map_err(Failure::Partial)?;
            if got == 0 {
                return Err(Stop::Failed(Failure::Partial(
                    io::ErrorKind::UnexpectedEof.into(),
                )));
            }
            self.out
                .send(Message::Piece(buffer.freeze(got)))
                .map_err(|_| Stop::Gone)?;
            self.done += got as u64;
        }
        Ok(())
    }

    /// Takes one reply up to its end or its cut.
    fn transfer(&mut self, body: Option<Body>) -> Result<(), Stop> {
        let mut body = match body {
            Some(body) => body,
            None => self.open(self.done)?,
        };
        while let Some(piece) = body.pieces.blocking_recv() {
            let mut piece = piece?;
            let skipped = body.skip.min(piece.len() as u64);
            body.skip -= skipped;
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(piece.len()));
            if !piece.is_empty() {
                self.take(piece)?;
            }
        }
        if self.cancel.is_cancelled() {
            return Err(Stop::Gone);
        }
        if body.skip > 0 || self.size.is_some_and(|size| self.done < size) {
            return Err(Stop::Failed(Failure::wire(WireError::eof(
                "GET", &body.url,
            ))));
        }
        Ok(())
    }

    fn take(&mut self, piece: Bytes) -> Result<(), Stop> {
        let after = self.done + piece.len() as u64;
        if let Some(expected) = self.size.filter(|size| after > *size) {
            return Err(Stop::Failed(Failure::Size {
                expected,
                actual: after,
            }));
        }
        self.hasher.update(&piece);
        if let Some(kept) = &mut self.kept
            && kept.append(&piece, &self.hasher).is_err()
        {
            // A full disk is no reason to stop; the next download begins anew.
            self.kept.take().into_iter().for_each(Kept::discard);
        }
        self.done = after;
        self.out.send(Message::Piece(piece)).map_err(|_| Stop::Gone)
    }

    fn verify(&mut self) -> Result<(), Failure> {
        if let Some(expected) = self.size.filter(|size| *size != self.done) {
            return Err(Failure::Size {
                expected,
                actual: self.done,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            return Err(Failure::Digest {
                expected: self.digest.clone(),
                actual,
            });
        }
        Ok(())
    }

    fn pause(&self, fruitless: u32, failure: &Failure) {
        let client = &self.repository.endpoint.client;
        client.notify(&Notice::Reconnecting {
            url: self.repository.api(&format!("blobs/{}", self.digest)),
            error: chain(failure),
            after: self.done,
        });
        let policy = client.retry();
        let pause = policy.first_delay.saturating_mul(1 << (fruitless - 1));
        self.cancel.sleep(with_jitter(pause.min(policy.max_delay)));
    }

    /// Asks for the blob from a byte on and lets the network thread fill a queue.
    fn open(&mut self, offset: u64) -> Result<Body, Failure> {
        let response = match &self.origin {
            Origin::Registry => {
                let path = self.repository.api(&format!("blobs/{}", self.digest));
                self.ask(Call::get(path).scoped(self.repository.scopes()), offset)?
            }
            Origin::Urls(urls) => self.ask_any(urls, offset)?,
        };
        let start = Start::of(&response, offset)?;
        if let (Some(total), Some(expected)) = (start.total, self.size)
            && total != expected
        {
            return Err(Failure::Size {
                expected,
                actual: total,
            });
        }
        self.size = self.size.or(start.total);
        let (give, pieces) = mpsc::channel(NETWORK_DEPTH);
        let url = shown(response.url());
        if start.has_content {
            let client = Arc::clone(&self.repository.endpoint.client);
            let http = &self.repository.endpoint.http;
            let pump = http.spawn(async move { client.pump(response, give).await })?;
            self.cancel.waits_for(pump);
        }
        Ok(Body {
            pieces,
            skip: start.skip,
            url,
        })
    }
}

impl Fetch {
    /// Asks the addresses in turn. Why the last one failed stands for all.
    fn ask_any(&self, urls: &[String], offset: u64) -> Result<Response, Failure> {
        let mut last = Failure::NoUrl;
        for text in urls {
            let asked = Url::parse(text)
                .map_err(|_| Failure::Url { url: text.clone() })
                .and_then(|url| self.ask(Call::elsewhere(url), offset));
            match asked {
                Ok(response) => return Ok(response),
                Err(failure) => last = failure,
            }
        }
        Err(Failure::External(Box::new(last)))
    }

    fn ask(&self, call: Call, offset: u64) -> Result<Response, Failure> {
        let call = match offset {
            0 => call,
            // No `If-Range`: the digest says what the content is, and a redirect may lead to another server each time.
            _ => call.header(RANGE, &format!("bytes={offset}-")),
        };
        let client = Arc::clone(&self.repository.endpoint.client);
        let http = &self.repository.endpoint.http;
        http.run_under(&self.cancel, async move {
            let response = client.execute(call).await?;
            match response.status().as_u16() {
                200 | 206 | 416 => Ok(response),
                _ => {
                    let answer = client
                        .read(response, MAX_ERROR_BODY, "the reply", Excess::Cut)
                        .await?;
                    Err(answer.refusal())
                }
            }
        })
    }
}

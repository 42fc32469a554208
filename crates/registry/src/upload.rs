//! Uploading blobs: in one piece as Buildah does; after a cut from where the registry has it.
//!
//! ```text
//! start ── POST ──► sending ── PATCH … ──► sent ── PUT ?digest ──► done
//!   ▲                 │  ▲
//!   │            cut  ▼  │ GET: the registry's own offset
//!   └── no such ──  asking
//!       upload
//! ```
//! Docker's registry before 3.0 forgets an upload whose request was cut (distribution/distribution#3755), and some
//! proxies end every connection or refuse every request above a certain size. Such a registry gets the content again, in
//! pieces that are well below the size that failed, each on a connection of its own. That is remembered for the other
//! uploads to the same registry. Until it is known, large uploads go one after the other (see [`crate::scout`]).

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use model::{Algorithm, Digest, Hasher};
use reqwest::header::{CONNECTION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Url};
use tokio::sync::oneshot;

use crate::auth::query_escape;
use crate::buffers::Buffers;
use crate::call::{Answer, Call, Payload};
use crate::endpoint::Repository;
use crate::error::{Failure, RegistryError};
use crate::feed::Feed;
use crate::notice::Notice;
use crate::options::RequestRetry;
use crate::pause::with_jitter;
use crate::scout::{SMALL, Scout, Turn};
use crate::wire::shown;

/// The most that is sent in one request once a registry has lost an upload that was cut.
const LARGEST_PIECE: u64 = 16 * 1024 * 1024;
/// The least that is sent in one request.
const SMALLEST_PIECE: u64 = 1024 * 1024;
/// How often in a row an upload may be cut without having moved on.
const MAX_FRUITLESS: u32 = 5;

/// Content that can be read from any place on.
pub trait BodySource {
    /// Opens the content at byte `offset`: first at 0, and where it becomes necessary again at a later or earlier place:
    /// near the start when the upload had to wait, anywhere after a cut. The bytes must be the same each time.
    ///
    /// # Errors
    /// When the content cannot be read, or not from there; the upload then fails.
    fn open(&mut self, offset: u64) -> io::Result<Box<dyn Read + '_>>;
}

/// Content in memory.
impl BodySource for &[u8] {
    fn open(&mut self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = self.get(start..).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Box::new(rest))
    }
}

/// Content of a file, from its start.
impl BodySource for std::fs::File {
    fn open(&mut self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        io::Seek::seek(self, io::SeekFrom::Start(offset))?;
        Ok(Box::new(self))
    }
}

/// What is known of a blob before it is uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBlob {
    /// Its digest, which the registry will check. When it is not known it is computed on the way.
    pub digest: Option<Digest>,
    /// Its length in bytes.
    pub size: Option<u64>,
}

/// A blob that the registry has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// An upload that the registry knows of.
struct Session {
    location: Url,
    /// How much the registry has.
    has: u64,
}

/// Where the sending side is.
struct Progress<'a> {
    size: Option<u64>,
    /// Set while this upload finds out how much a connection bears.
    scout: Option<Scout<'a>>,
    /// `None`: the digest was given.
    hasher: Option<Hasher>,
    hashed: u64,
    /// The most that was ever sent.
    sent: u64,
    /// How much of the current request was sent.
    request: u64,
    /// How far the registry was when it moved on last.
    reached: u64,
    fruitless: u32,
}

enum Sent {
    All,
    /// Cut, or refused in a way that asking for the offset may help.
    Cut(Failure),
}

impl Repository {
    /// Uploads a blob. When the connection is cut the upload goes on from where the registry has it, as often as it
    /// moves on in between.
    ///
    /// # Errors
    /// When the registry refuses, when the connection is cut without progress, or when the content cannot be read or is
    /// not as long as announced.
    pub fn upload(
        &self,
        blob: &NewBlob,
        body: &mut dyn BodySource,
    ) -> Result<Uploaded, RegistryError> {
        let sending = |source| RegistryError::SendBlob { source };
        let mut progress = Progress {
            size: blob.size,
            scout: self.take_turn(blob, body).map_err(sending)?,
            hasher: blob
                .digest
                .is_none()
                .then(|| Hasher::new(Algorithm::Sha256)),
            hashed: 0,
            sent: 0,
            request: 0,
            reached: 0,
            fruitless: 0,
        };
        let mut session = self.start_upload()?;
        loop {
            let offset = session.has;
            let failed = |source| sending(Failure::Body { offset, source });
            let mut reader = body.open(offset).map_err(failed)?;
            match self
                .send(&mut session, &mut *reader, &mut progress)
                .map_err(sending)?
            {
                Sent::All => break,
                Sent::Cut(failure) => {
                    drop(reader);
                    session = self.recover(&session, failure, &mut progress)?;
                    self.endpoint.client.way().note_cut();
                }
            }
        }
        // The registry may take its time for what comes now.
        progress.scout = None;
        let digest = match (&blob.digest, progress.hasher) {
            (Some(digest), _) => digest.clone(),
            (None, Some(hasher)) => hasher.finish(),
            (None, None) => unreachable!("a hasher is made where no digest is given"),
        };
        self.finish_upload(&session, &digest)?;
        Ok(Uploaded {
            digest,
            size: session.has,
        })
    }

    /// Waits with a large upload while another one finds out how much a connection bears.
    fn take_turn(
        &self,
        blob: &NewBlob,
        body: &mut dyn BodySource,
    ) -> Result<Option<Scout<'_>>, Failure> {
        let small = |size: u64| size <= SMALL;
        if blob.size.is_some_and(small) {
            return Ok(None);
        }
        let way = self.endpoint.client.way();
        match way.turn() {
            Turn::Free => return Ok(None),
            Turn::Scout(scout) => return Ok(Some(scout)),
            Turn::Later => {}
        }
        if blob.size.is_none() {
            let size = size_up_to(SMALL + 1, body);
            if small(size.map_err(|source| Failure::Body { offset: 0, source })?) {
                return Ok(None);
            }
        }
        Ok(way.wait())
    }

    fn start_upload(&self) -> Result<Session, RegistryError> {
        let path = self.api("blobs/uploads/");
        let call = Call::new(Method::POST, path.clone());
        let started = self
            .request(call)
            .and_then(|answer| answer.expect(&[202])?.location());
        match started {
            Ok(location) => Ok(Session { location, has: 0 }),
            Err(source) => Err(RegistryError::StartUpload {
                path,
                host: self.endpoint.client.api_host().to_owned(),
                source,
            }),
        }
    }

    /// Sends what the reader has, in one request or in several.
    fn send(
        &self,
        session: &mut Session,
        reader: &mut dyn Read,
        progress: &mut Progress<'_>,
    ) -> Result<Sent, Failure> {
        let buffers = Buffers::default();
        loop {
            let left = progress.size.map(|size| size.saturating_sub(session.has));
            let piece = self.endpoint.client.piece();
            let limit = left.map_or(piece, |left| {
                Some(piece.map_or(left, |piece| left.min(piece)))
            });
            let exact = limit.filter(|_| progress.size.is_some());
            progress.request = 0;
            let feed = Feed::new(exact);
            let reply = self.patch(session, exact, &feed)?;
            let mut from = Content {
                reader: &mut *reader,
                at: session.has,
                limit,
            };
            let pushed = from.push(&feed, &buffers, progress);
            let outcome = reply.blocking_recv().unwrap_or(Err(Failure::Ended));
            let ended = pushed?;
            match outcome {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    session.location = answer.location()?;
                    session.has = from.at;
                    progress.moved(session.has);
                }
                Ok(answer) if matches!(answer.status, 404 | 413 | 416 | 502..=504) => {
                    return Ok(Sent::Cut(answer.refusal()));
                }
                Ok(answer) => return Err(answer.refusal()),
                Err(failure) if failure.is_retryable() => return Ok(Sent::Cut(failure)),
                Err(failure) => return Err(failure),
            }
            if ended || progress.size == Some(session.has) {
                progress.check_end(session.has, reader)?;
                return Ok(Sent::All);
            }
        }
    }

    /// Begins a request whose content is pushed into `feed`.
    fn patch(
        &self,
        session: &Session,
        exact: Option<u64>,
        feed: &Feed,
    ) -> Result<oneshot::Receiver<Result<Answer, Failure>>, Failure> {
        let mut call = Call::at(Method::PATCH, session.location.clone())
            .scoped(self.scopes())
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Payload::Feed(feed.clone()));
        let in_pieces = self.endpoint.client.piece().is_some();
        if in_pieces {
            call = call.header(CONNECTION, "close");
        }
        let in_parts = session.has > 0 || in_pieces;
        if let (true, Some(length @ 1..)) = (in_parts, exact) {
            call = call.header(
                CONTENT_RANGE,
                &format!("{}-{}", session.has, session.has + length - 1),
            );
        }
        let client = Arc::clone(&self.endpoint.client);
        let (give, take) = oneshot::channel();
        let feed = feed.clone();
        self.endpoint.http.spawn(async move {
            let answer = client.answer(call).await;
            feed.close();
            let _ = give.send(answer);
        })?;
        Ok(take)
    }

    /// After a cut: asks the registry how far it is, or starts anew where it does not know.
    fn recover(
        &self,
        session: &Session,
        cut: Failure,
        progress: &mut Progress<'_>,
    ) -> Result<Session, RegistryError> {
        let client = &self.endpoint.client;
        let failed = |source| RegistryError::SendBlob { source };
        let mut failure = cut;
        if failure.is_status(413) {
            client.use_pieces(
                client
                    .piece()
                    .map_or(LARGEST_PIECE, |piece| piece / 2)
                    .max(SMALLEST_PIECE),
            );
        }
        loop {
            let Some(wait) = progress.pause(client.retry()) else {
                return Err(failed(Failure::NoProgress {
                    times: progress.fruitless,
                    offset: progress.reached,
                    source: Box::new(failure),
                }));
            };
            std::thread::sleep(wait);
            let going_on = |offset| {
                let error = chain(&failure);
                client.notify(&Notice::ResumingUpload { error, offset });
            };
            match self.offset_of(session) {
                Ok((_, has)) if has > progress.sent => {
                    return Err(failed(Failure::Offset {
                        has,
                        sent: progress.sent,
                    }));
                }
                Ok((location, has)) => {
                    progress.moved(has);
                    going_on(has);
                    return Ok(Session { location, has });
                }
                Err(Failure::Reply(reply)) if matches!(reply.status, 400 | 404..=499) => {
                    client.use_pieces((progress.request / 3).clamp(SMALLEST_PIECE, LARGEST_PIECE));
                    going_on(0);
                    return self.start_upload();
                }
                Err(next) if next.is_retryable() => failure = next,
                Err(source) => return Err(failed(source)),
            }
        }
    }

    fn offset_of(&self, session: &Session) -> Result<(Url, u64), Failure> {
        let answer = self
            .request(Call::at(Method::GET, session.location.clone()))?
            .expect(&[202, 204])?;
        let has = parse_offset(answer.header(&RANGE).unwrap_or_default())
            .ok_or(Failure::Header { name: "Range" })?;
        let location = answer
            .location()
            .unwrap_or_else(|_| session.location.clone());
        Ok((location, has))
    }

    fn finish_upload(&self, session: &Session, digest: &Digest) -> Result<(), RegistryError> {
        let mut url = session.location.clone();
        let digest_pair = format!("digest={}", query_escape(digest.as_str()));
        let query = match url.query() {
            Some(query) if !query.is_empty() => format!("{query}&{digest_pair}"),
            _ => digest_pair,
        };
        url.set_query(Some(&query));
        let call = Call::at(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream");
        let outcome = self
            .request(call)
            .and_then(|answer| answer.expect(&[201, 204]));
        let Err(source) = outcome else { return Ok(()) };
        // The reply, not the request, may be what got lost.
        let doubtful = source.is_retryable() || source.is_status(404);
        if doubtful
            && matches!(self.blob(digest), Ok(Some(stat)) if stat.size.is_none_or(|size| size == session.has))
        {
            return Ok(());
        }
        Err(RegistryError::FinishUpload {
            url: shown(&session.location),
            source,
        })
    }
}

/// Content from a certain place on.
struct Content<'a> {
    reader: &'a mut dyn Read,
    at: u64,
    limit: Option<u64>,
}

impl Content<'_> {
    /// Pushes content until the limit, the end, or an early reply. Returns whether the end was reached.
    fn push(
        &mut self,
        feed: &Feed,
        buffers: &Buffers,
        progress: &mut Progress<'_>,
    ) -> Result<bool, Failure> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let mut buffer = buffers.take();
            let want = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = match read_full(self.reader, &mut buffer[..want]) {
                Ok(got) => got,
                Err(source) => {
                    feed.abort();
                    return Err(Failure::Body {
                        offset: self.at,
                        source,
                    });
                }
            };
            progress.sending(self.at, &buffer[..got]);
            self.at += got as u64;
            left -= got as u64;
            if got > 0 && feed.push(buffer.freeze(got)).is_err() {
                // The reply is there already and says why.
                return Ok(false);
            }
            if got < want {
                return self.end(feed, progress.size).map(|()| true);
            }
        }
        feed.finish();
        Ok(false)
    }

    fn end(&self, feed: &Feed, size: Option<u64>) -> Result<(), Failure> {
        match size {
            Some(expected) if expected != self.at => {
                feed.abort();
                Err(Failure::Size {
                    expected,
                    actual: self.at,
                })
            }
            _ => {
                feed.finish();
                Ok(())
            }
        }
    }
}

impl Progress<'_> {
    /// Notes bytes that start at `offset`, and hashes those that were not seen before.
    fn sending(&mut self, offset: u64, bytes: &[u8]) {
        self.sent = self.sent.max(offset + bytes.len() as u64);
        self.request += bytes.len() as u64;
        if let Some(scout) = &self.scout {
            scout.carried(bytes.len() as u64);
        }
        let seen = usize::try_from(self.hashed.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let (Some(hasher), Some(new)) = (&mut self.hasher, bytes.get(seen..)) {
            hasher.update(new);
            self.hashed += new.len() as u64;
        }
    }

    fn moved(&mut self, has: u64) {
        if has > self.reached {
            self.reached = has;
            self.fruitless = 0;
        }
    }

    /// Returns how long to wait before going on, or nothing when there was no progress for too often.
    fn pause(&mut self, policy: RequestRetry) -> Option<Duration> {
        self.fruitless += 1;
        if self.fruitless > MAX_FRUITLESS {
            return None;
        }
        let pause = policy.first_delay.saturating_mul(1 << (self.fruitless - 1));
        Some(with_jitter(pause.min(policy.max_delay)))
    }

    /// Content that is longer than announced is as wrong as content that is shorter.
    fn check_end(&self, has: u64, reader: &mut dyn Read) -> Result<(), Failure> {
        let Some(expected) = self.size else {
            return Ok(());
        };
        let mut more = [0];
        match read_full(reader, &mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Failure::Size {
                expected,
                actual: has + 1,
            }),
            Err(source) => Err(Failure::Body {
                offset: has,
                source,
            }),
        }
    }
}

/// Reads content from its start, no more than `limit` bytes of it, and says how many there were.
fn size_up_to(limit: u64, body: &mut dyn BodySource) -> io::Result<u64> {
    io::copy(&mut body.open(0)?.take(limit), &mut io::sink())
}

/// Reads until the buffer is full or the content ends.
fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads the `Range` of an upload's status: `0-` and the last byte that the registry has. Docker's registry writes `0-0`
/// when it has nothing, so one byte counts as none.
fn parse_offset(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (start, end) = text.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    match (start, end) {
        (0, 0) => Some(0),
        (0, end) => end.checked_add(1),
        _ => None,
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_an_upload_is_read() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(parse_offset(text), expected, "{text}");
        check("0-0", Some(0));
        check("0-99", Some(100));
        check("bytes=0-99", Some(100));
        check("5-99", None);
        check("0-", None);
        check("", None);
        check("0-18446744073709551615", None);
    }
}

//! A layer's bytes between source and destination: counted, verified, decompressed where that is wanted.
//!
//! Whatever is put together here fails at its end unless all of it was what was promised, so that a destination that
//! has read to the end without an error has the right bytes.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use archive::{Compression, VerifiedReader};
use model::digest::Algorithm;
use model::{Digest, Event, Reporter};

use crate::error::{Result, TransferError};
use crate::files::CHUNK;
use crate::plan::Action;
use crate::source::{Offered, Promised};

/// How many bytes of a layer pass between two events.
const PROGRESS_STEP: u64 = 4 << 20;

/// A layer's bytes on their way: counted, stopped when they exceed their size or the copy is given up.
pub(crate) struct Watched<'a> {
    inner: Box<dyn Read + Send + 'a>,
    limit: Option<u64>,
    done: u64,
    told: u64,
    digest: Digest,
    reporter: &'a dyn Reporter,
    given_up: &'a AtomicBool,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(
        inner: Box<dyn Read + Send + 'a>,
        offered: &Offered,
        reporter: &'a dyn Reporter,
        given_up: &'a AtomicBool,
    ) -> Self {
        Self {
            inner,
            limit: (offered.promised == Promised::Blob).then_some(offered.descriptor.size),
            done: 0,
            told: 0,
            digest: offered.descriptor.digest.clone(),
            reporter,
            given_up,
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other(TransferError::GivenUp));
        }
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if let Some(expected) = self.limit.filter(|limit| self.done > *limit) {
            let source = archive::VerifyError::TooLong { expected };
            return Err(io::Error::new(io::ErrorKind::InvalidData, source));
        }
        if self.done >= self.told + PROGRESS_STEP {
            self.told = self.done;
            self.reporter.event(Event::BlobProgress {
                digest: self.digest.clone(),
                done: self.done,
            });
        }
        Ok(count)
    }
}

/// A layer's bytes with what is known of them after the first.
pub(crate) struct Begun<'a> {
    pub(crate) bytes: BufReader<Box<dyn Read + Send + 'a>>,
    /// How they are compressed.
    pub(crate) found: Compression,
    /// The digest that the source compares them with itself.
    vouched: Option<Digest>,
}

impl<'a> Begun<'a> {
    pub(crate) fn new(source: Box<dyn Read + Send + 'a>, vouched: Option<Digest>) -> Result<Self> {
        let mut bytes = BufReader::with_capacity(CHUNK, source);
        let found = archive::detect(bytes.fill_buf().map_err(TransferError::Stream)?);
        Ok(Self {
            bytes,
            found,
            vouched,
        })
    }

    /// Makes the bytes that a destination gets.
    pub(crate) fn into_reader(
        self,
        action: Action,
        offered: &Offered,
        content: ContentCheck,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        match action {
            Action::Pass => Ok(self.passed(offered, content)),
            Action::Encode(_) => Ok(self.checked(offered).0),
            Action::Decode | Action::Recode(_) => self.decoded(offered),
        }
    }

    /// Bytes that go as they come. The destination computes their SHA-256 anyway.
    fn passed(self, offered: &Offered, content: ContentCheck) -> Box<dyn Read + Send + 'a> {
        if content == ContentCheck::BeforeEncryption {
            return self.checked(offered).0;
        }
        let digest = &offered.descriptor.digest;
        match (offered.promised, &offered.diff_id) {
            (Promised::Blob, _) if digest.algorithm() != Algorithm::Sha256 => {
                self.verified(digest, Some(offered.descriptor.size))
            }
            (Promised::Content, Some(diff_id)) if content == ContentCheck::Here => {
                self.verified(&diff_id.0, None)
            }
            _ => Box::new(self.bytes),
        }
    }
    /// Compares the bytes with what the source promises of them.
    fn checked(self, offered: &Offered) -> (Box<dyn Read + Send + 'a>, Arc<AtomicBool>) {
        let ended = Arc::new(AtomicBool::new(false));
        let inner = match (offered.promised, &offered.diff_id) {
            (Promised::Blob, _) => {
                let described = &offered.descriptor;
                self.verified(&described.digest, Some(described.size))
            }
            (Promised::Content, Some(diff_id)) if self.found == Compression::None => {
                self.verified(&diff_id.0, None)
            }
            // Only the content behind the compression has a known digest.
            (Promised::Content, _) => Box::new(self.bytes),
        };
        let reader = Ending {
            inner,
            ended: Arc::clone(&ended),
        };
        (Box::new(reader), ended)
    }

    /// Compares the bytes with a digest, unless the source does.
    fn verified(self, expected: &Digest, size: Option<u64>) -> Box<dyn Read + Send + 'a> {
        if self.vouched.as_ref() == Some(expected) {
            return Box::new(self.bytes);
        }
        Box::new(VerifiedReader::new(self.bytes, expected.clone(), size))
    }
    fn decoded(self, offered: &Offered) -> Result<Box<dyn Read + Send + 'a>> {
        let (source, ended) = self.checked(offered);
        let (_, plain) = archive::decode(BufReader::with_capacity(CHUNK, source))
            .map_err(TransferError::Stream)?;
        let inner: Box<dyn Read + Send + 'a> = match &offered.diff_id {
            None => plain,
            Some(diff_id) => Box::new(VerifiedReader::new(plain, diff_id.0.clone(), None)),
        };
        Ok(Box::new(Both {
            inner,
            other: ended,
        }))
    }
}

/// Who compares a layer's content with what the config promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCheck {
    /// The destination, which decompresses it anyway.
    Destination,
    /// We, and the bytes themselves, too: nobody can once they are encrypted.
    BeforeEncryption,
    /// We, if it is not compressed; nobody otherwise.
    Here,
}

/// A reader that tells whether it was read to its end.
struct Ending<R> {
    inner: R,
    ended: Arc<AtomicBool>,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.ended.store(true, Ordering::Release);
        }
        Ok(count)
    }
}

/// A reader whose end is one only if another one has ended, too.
struct Both<R> {
    inner: R,
    other: Arc<AtomicBool>,
}

impl<R: Read> Read for Both<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.other.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                TransferError::Trailing,
            ));
        }
        Ok(count)
    }
}

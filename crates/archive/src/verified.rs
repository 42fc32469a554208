//! A stream that is only as good as its end: digest and size are checked when it is exhausted.
//!
//! The idea is umoci's `hardening.VerifiedReader`: nothing read through it may be trusted before the end was reached
//! without an error. One byte more than announced is an error at once, so that a server cannot feed without end.

use std::io::{self, Read};

use model::{Digest, Hasher};

/// Why a stream is not the announced one. Travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// More bytes than announced.
    #[error("the content is longer than the expected {expected} bytes")]
    TooLong {
        /// Announced size in bytes.
        expected: u64,
    },
    /// Fewer bytes than announced.
    #[error("the content has {actual} bytes instead of {expected}")]
    TooShort {
        /// Announced size in bytes.
        expected: u64,
        /// Size in bytes.
        actual: u64,
    },
    /// Other bytes than announced.
    #[error("the content has the digest {actual} instead of {expected}")]
    Digest {
        /// Announced digest.
        expected: Digest,
        /// Computed digest.
        actual: Digest,
    },
}

/// Checks what is read through it against a digest and, if known, a size.
pub struct VerifiedReader<R> {
    source: R,
    expected: Digest,
    size: Option<u64>,
    read: u64,
    // `None` once the end was checked.
    hasher: Option<Hasher>,
}

impl<R: Read> VerifiedReader<R> {
    /// Wraps `source`; `size` is in bytes, `None` when it is not known.
    pub fn new(source: R, expected: Digest, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self {
            source,
            expected,
            size,
            read: 0,
            hasher,
        }
    }

    /// Returns how many bytes were read.
    pub fn count(&self) -> u64 {
        self.read
    }

    /// Returns whether the end was reached and everything agreed.
    pub fn is_verified(&self) -> bool {
        self.hasher.is_none()
    }

    fn check_end(&mut self) -> Result<(), VerifyError> {
        let actual = self.read;
        if let Some(expected) = self.size.filter(|expected| *expected != actual) {
            return Err(VerifyError::TooShort { expected, actual });
        }
        let Some(hasher) = &self.hasher else {
            return Ok(());
        };
        let actual = hasher.clone().finish();
        if actual != self.expected {
            return Err(VerifyError::Digest {
                expected: self.expected.clone(),
                actual,
            });
        }
        self.hasher = None;
        Ok(())
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let len = self.source.read(buffer)?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if len == 0 {
            self.check_end().map_err(invalid)?;
            return Ok(0);
        }
        self.read += len as u64;
        if let Some(expected) = self.size.filter(|expected| self.read > *expected) {
            return Err(invalid(VerifyError::TooLong { expected }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..len]);
        }
        Ok(len)
    }
}

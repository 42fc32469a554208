//! A blob on its way through hashing and decompression into a tar reader, in two threads.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use model::Digest;
use sha2::{Digest as _, Sha256};

use crate::chunk::{self, ChunkBytes, Sums};
use crate::compression::{Compression, decode};

const READ_PIECE: usize = 256 << 10;

/// What is known of a blob once it was read to its end.
pub(crate) struct Ends {
    pub(crate) blob_digest: Digest,
    pub(crate) blob_size: u64,
    pub(crate) compression: Compression,
}

#[derive(Default)]
struct Tally {
    hash: Sha256,
    count: u64,
}

/// Counts and hashes what is read through it. The tally is shared because the decoder keeps the reader.
struct Tallied<R> {
    source: R,
    tally: Arc<Mutex<Tally>>,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.hash.update(&buffer[..len]);
        tally.count += len as u64;
        Ok(len)
    }
}

/// The decompressed bytes, as they come from the other thread.
pub(crate) struct Source {
    bytes: ChunkBytes,
    hash: Option<Sha256>,
    count: u64,
}

impl Source {
    /// Returns the digest of the bytes so far, unless they are those of the blob itself.
    pub(crate) fn digest(self) -> (Option<Digest>, u64) {
        (
            self.hash
                .map(|hash| Digest::from_sha256_bytes(hash.finalize().into())),
            self.count,
        )
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(chunk) = self.bytes.advance() {
            self.count += chunk.bytes().len() as u64;
            if let Some(hash) = &mut self.hash {
                hash.update(chunk.bytes());
            }
        }
        Ok(self.bytes.rest())
    }

    fn consume(&mut self, len: usize) {
        self.bytes.consume(len);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill_buf()?;
        Ok(self.bytes.take(buffer))
    }
}

/// Runs `work` on the decompressed bytes of `blob` while another thread reads and decompresses.
///
/// An error of the blob comes before one of `work`, because a stream that breaks off looks malformed or, worse,
/// complete.
pub(crate) fn with_decompressed<T, E: From<io::Error>>(
    blob: impl Read + Send,
    work: impl FnOnce(Source) -> Result<T, E>,
) -> Result<(T, Ends), E> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let tallied = Tallied {
        source: blob,
        tally: Arc::clone(&tally),
    };
    let (compression, mut decoder) = decode(BufReader::with_capacity(READ_PIECE, tallied))?;
    let (mut writer, chunks) = chunk::pipe(Sums::Unwanted);
    let hash = (compression != Compression::None).then(Sha256::new);
    let result = std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            loop {
                let Ok(space) = writer.space() else {
                    return Ok(());
                };
                match decoder.read(space) {
                    Ok(0) => break,
                    Ok(len) => writer.filled(len),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            // The consumer may have stopped on an error of its own.
            let _ = writer.finish();
            Ok(())
        });
        let result = work(Source {
            bytes: ChunkBytes::new(chunks),
            hash,
            count: 0,
        });
        match producer.join() {
            Ok(Ok(())) => result,
            Ok(Err(error)) => Err(E::from(error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    let blob_digest = Digest::from_sha256_bytes(tally.hash.finalize().into());
    Ok((
        result,
        Ends {
            blob_digest,
            blob_size: tally.count,
            compression,
        },
    ))
}

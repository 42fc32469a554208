//! What one thread writes, for another one to read: large buffers that go round, without the kernel's copies of a pipe.

use std::error::Error;
use std::io::{self, Read, Write};
use std::thread::{Builder, JoinHandle};

use crate::chunk::{self, ChunkBytes, ChunkWriter, Sums};

/// Reads what another thread writes. Its end is an error if the writing has failed, so what was read to the end without
/// one is whole.
pub struct Piped<E> {
    // Both are `None` once the end was reached.
    bytes: Option<ChunkBytes>,
    writing: Option<JoinHandle<Result<(), E>>>,
}

/// The writing end of a [`Piped`]. Writing fails with [`io::ErrorKind::BrokenPipe`] once the reader is gone.
pub struct PipedWriter(ChunkWriter);

impl<E: Error + Send + Sync + 'static> Piped<E> {
    /// Lets `write` run in a thread of its own; it waits when it is a few megabytes ahead. Its error travels inside
    /// the [`io::Error`] at the end.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        write: impl FnOnce(&mut PipedWriter) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let (writer, reader) = chunk::pipe(Sums::Unwanted);
        let writing = Builder::new().spawn(move || {
            let mut writer = PipedWriter(writer);
            write(&mut writer)?;
            // The reader may have had enough.
            let _ = writer.0.finish();
            Ok(())
        })?;
        Ok(Self {
            bytes: Some(ChunkBytes::new(reader)),
            writing: Some(writing),
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.bytes = None;
        match self.writing.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl<E: Error + Send + Sync + 'static> Read for Piped<E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(bytes) = &mut self.bytes else {
            return Ok(0);
        };
        bytes.advance();
        let count = bytes.take(buffer);
        if count == 0 && !buffer.is_empty() {
            self.end()?;
        }
        Ok(count)
    }
}

impl<E> Drop for Piped<E> {
    fn drop(&mut self) {
        // Without a reader the thread ends at its next write.
        self.bytes = None;
        if let Some(writing) = self.writing.take() {
            let _ = writing.join();
        }
    }
}

impl Write for PipedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.raw(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(chunk::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Does nothing: a buffer is handed over when it is full, and the last one at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{CHUNK_SIZE, CHUNKS};

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 251 + at) as u8).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [
            0,
            1,
            CHUNK_SIZE - 1,
            CHUNK_SIZE,
            CHUNK_SIZE * (CHUNKS + 3) + 7,
        ] {
            let content = pattern(len);
            let sent = content.clone();
            let mut piped = Piped::start(move |out: &mut PipedWriter| {
                sent.chunks(1000).try_for_each(|part| out.write_all(part))
            })
            .unwrap();
            let mut read = Vec::new();
            piped.read_to_end(&mut read).unwrap();
            assert!(read == content, "{len}");
            assert_eq!(piped.read(&mut [0; 8]).unwrap(), 0, "the end stays");
        }
    }

    #[test]
    fn what_fails_on_one_side_ends_the_other() {
        let mut piped = Piped::start(|out: &mut PipedWriter| {
            out.write_all(b"half")?;
            Err(io::Error::other("the file is gone"))
        })
        .unwrap();
        let mut read = Vec::new();
        let error = piped.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.to_string(), "the file is gone");

        let piped = Piped::start(|out: &mut PipedWriter| {
            let endless = std::iter::repeat_with(|| out.write_all(&[0; 4096]));
            let broken = endless.filter_map(Result::err).next();
            assert_eq!(broken.unwrap().kind(), io::ErrorKind::BrokenPipe);
            Ok::<_, io::Error>(())
        });
        // Returns only because the thread ends.
        drop(piped);
    }
}

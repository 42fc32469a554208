//! A bounded pipe of large buffers between the thread that makes a tar stream and the one that consumes it.
//!
//! Each buffer carries marks that tell data from the rest, so that the consumer hashes the buffer as one piece and
//! still knows where members begin. Buffers go back to the maker; memory stays at [`CHUNKS`] times [`CHUNK_SIZE`].

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Size of a buffer in bytes: large enough for hashing and reading at full speed, small enough for the caches.
pub(crate) const CHUNK_SIZE: usize = 512 << 10;
/// Number of buffers.
pub(crate) const CHUNKS: usize = 8;

/// What the next bytes of a chunk are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// That many bytes that are no data.
    Raw(usize),
    /// A member's data begins; its name is the next so many bytes of [`Chunk::names`].
    File { name: usize, size: u64 },
    /// That many bytes of data.
    Data(usize),
}

/// A piece of a tar stream.
pub(crate) struct Chunk {
    data: Box<[u8]>,
    len: usize,
    pub(crate) marks: Vec<Mark>,
    pub(crate) names: Vec<u8>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            data: vec![0; CHUNK_SIZE].into(),
            len: 0,
            marks: Vec::new(),
            names: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[..self.len]
    }

    fn clear(&mut self) {
        self.len = 0;
        self.marks.clear();
        self.names.clear();
    }
}

/// The consumer went away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed;

/// The maker's end.
pub(crate) struct ChunkWriter {
    full: SyncSender<Chunk>,
    empty: Receiver<Chunk>,
    made: usize,
    current: Chunk,
}

/// The consumer's end.
pub(crate) struct ChunkReader {
    full: Receiver<Chunk>,
    empty: SyncSender<Chunk>,
}

pub(crate) fn pipe() -> (ChunkWriter, ChunkReader) {
    let (full_in, full_out) = sync_channel(CHUNKS);
    let (empty_in, empty_out) = sync_channel(CHUNKS);
    let writer = ChunkWriter {
        full: full_in,
        empty: empty_out,
        made: 1,
        current: Chunk::new(),
    };
    (
        writer,
        ChunkReader {
            full: full_out,
            empty: empty_in,
        },
    )
}

impl ChunkReader {
    /// Returns the next chunk; `None` when the maker is done.
    pub(crate) fn next(&self) -> Option<Chunk> {
        self.full.recv().ok()
    }

    /// Gives a chunk back for reuse.
    pub(crate) fn recycle(&self, mut chunk: Chunk) {
        chunk.clear();
        // The maker may be done already and then needs no buffer.
        let _ = self.empty.send(chunk);
    }
}

impl ChunkWriter {
    /// Appends bytes that are no data.
    pub(crate) fn raw(&mut self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let len = self.space()?.len().min(bytes.len());
            self.space()?[..len].copy_from_slice(&bytes[..len]);
            self.current.len += len;
            match self.current.marks.last_mut() {
                Some(Mark::Raw(before)) => *before += len,
                _ => self.current.marks.push(Mark::Raw(len)),
            }
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Notes that a member's data begins.
    pub(crate) fn begin_file(&mut self, name: &[u8], size: u64) {
        self.current.names.extend_from_slice(name);
        self.current.marks.push(Mark::File {
            name: name.len(),
            size,
        });
    }

    /// Returns free space, at least one byte, to put data into.
    pub(crate) fn space(&mut self) -> Result<&mut [u8], Closed> {
        if self.current.len == CHUNK_SIZE {
            let next = match self.empty.try_recv() {
                Ok(chunk) => chunk,
                Err(_) if self.made < CHUNKS => {
                    self.made += 1;
                    Chunk::new()
                }
                Err(_) => self.empty.recv().map_err(|_| Closed)?,
            };
            let full = std::mem::replace(&mut self.current, next);
            self.full.send(full).map_err(|_| Closed)?;
        }
        Ok(&mut self.current.data[self.current.len..])
    }

    /// Notes that so many bytes of the space now hold data.
    pub(crate) fn filled(&mut self, len: usize) {
        self.current.len += len;
        match self.current.marks.last_mut() {
            Some(Mark::Data(before)) => *before += len,
            _ => self.current.marks.push(Mark::Data(len)),
        }
    }

    /// Sends what is left.
    pub(crate) fn finish(self) -> Result<(), Closed> {
        self.full.send(self.current).map_err(|_| Closed)
    }
}

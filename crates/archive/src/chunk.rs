//! A bounded pipe of large buffers between the thread that makes a tar stream and the one that consumes it.
//!
//! Each buffer carries marks that tell data from the rest, so that the consumer hashes the buffer as one piece and
//! still knows what members it holds. The maker computes their checksums, since the consumer's SHA-256 is what takes
//! longest. Buffers go back to the maker; memory stays at [`CHUNKS`] times [`CHUNK_SIZE`].

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crc_fast::Digest as Crc;

use crate::split::new_crc;

/// Size of a buffer in bytes: large enough for hashing and reading at full speed, small enough for the caches.
pub(crate) const CHUNK_SIZE: usize = 512 << 10;
/// Number of buffers.
pub(crate) const CHUNKS: usize = 8;

/// What the next bytes of a chunk are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// That many bytes that are no data.
    Raw(usize),
    /// That many bytes of data.
    Data(usize),
    /// A member's data ended; its name is the next so many bytes of [`Chunk::names`].
    File { name: usize, size: u64, crc: u64 },
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

/// Whether members are marked with checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    Wanted,
    Unwanted,
}

/// A member whose data is on its way.
struct Member {
    name: Vec<u8>,
    size: u64,
    left: u64,
    crc: Crc,
}

/// The maker's end.
pub(crate) struct ChunkWriter {
    sums: Sums,
    member: Option<Member>,
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

pub(crate) fn pipe(sums: Sums) -> (ChunkWriter, ChunkReader) {
    let (full_in, full_out) = sync_channel(CHUNKS);
    let (empty_in, empty_out) = sync_channel(CHUNKS);
    let writer = ChunkWriter {
        sums,
        member: None,
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

/// The bytes of the chunks, one after the other.
pub(crate) struct ChunkBytes {
    chunks: ChunkReader,
    current: Option<Chunk>,
    position: usize,
}

impl ChunkBytes {
    pub(crate) fn new(chunks: ChunkReader) -> Self {
        Self {
            chunks,
            current: None,
            position: 0,
        }
    }

    /// Where all bytes of a chunk were consumed, goes on to the next one and returns it.
    pub(crate) fn advance(&mut self) -> Option<&Chunk> {
        if !self.rest().is_empty() {
            return None;
        }
        if let Some(done) = self.current.take() {
            self.chunks.recycle(done);
        }
        self.position = 0;
        self.current = self.chunks.next();
        self.current.as_ref()
    }

    /// The bytes at hand; none at the end.
    pub(crate) fn rest(&self) -> &[u8] {
        self.current
            .as_ref()
            .map_or(&[], |chunk| &chunk.bytes()[self.position..])
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.position += len;
    }

    /// Copies of what is at hand as much as there is room for, and returns how much that was.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.rest();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.consume(len);
        len
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

    /// Notes that a member's data begins; `size` bytes of it follow.
    pub(crate) fn begin_file(&mut self, name: &[u8], size: u64) {
        if self.sums == Sums::Unwanted {
            return;
        }
        if size == 0 {
            return self.mark_file(name, 0, 0);
        }
        self.member = Some(Member {
            name: name.to_vec(),
            size,
            left: size,
            crc: new_crc(),
        });
    }

    fn mark_file(&mut self, name: &[u8], size: u64, crc: u64) {
        self.current.names.extend_from_slice(name);
        self.current.marks.push(Mark::File {
            name: name.len(),
            size,
            crc,
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
        let from = self.current.len;
        self.current.len += len;
        match self.current.marks.last_mut() {
            Some(Mark::Data(before)) => *before += len,
            _ => self.current.marks.push(Mark::Data(len)),
        }
        let Some(member) = &mut self.member else {
            return;
        };
        member.crc.update(&self.current.data[from..from + len]);
        member.left = member.left.saturating_sub(len as u64);
        if member.left == 0
            && let Some(member) = self.member.take()
        {
            self.mark_file(&member.name, member.size, member.crc.finalize());
        }
    }

    /// Sends what is left.
    pub(crate) fn finish(self) -> Result<(), Closed> {
        self.full.send(self.current).map_err(|_| Closed)
    }
}

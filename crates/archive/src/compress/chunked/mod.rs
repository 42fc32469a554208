//! zstd:chunked: zstd whose frames are the chunks of a layer's files, with a table of contents behind them.
//!
//! To everybody else it is ordinary zstd. Who knows the table can fetch single chunks and leave out those that it has;
//! the tar-split beside the table makes the layer's tar again. Reading the table is missing here: layers are always
//! fetched whole.

mod roll;
mod scan;
mod toc;

use std::collections::BTreeMap;
use std::io::{self, Write};

use model::Digest;
use sha2::{Digest as _, Sha256};

use super::codec::{Codec, Tools};
use super::cores::Cores;
use super::pieces::{Pieces, Size, Watch};
use crate::split::TarSplitWriter;
use crate::tar::Entry;
use roll::{Chunker, Content, Cuts};
use scan::{Parts, Scanner};
pub use toc::ChunkedError;
use toc::{Chunk, Line, Packed};

/// How much is compressed at once. The most leaves room for a whole chunk behind what is enough.
const SIZE: Size = Size {
    enough: 1 << 20,
    most: (1 << 20) + 2 * roll::CHUNK_MAX as usize,
};

/// Where each frame begins, and where the last one ends.
struct Places(Vec<u64>);

impl Watch for Places {
    fn frame(&mut self, size: usize) {
        let end = self.0.last().copied().unwrap_or_default();
        self.0.push(end + size as u64);
    }
}

/// The writing end of such a stream.
pub(super) struct Chunked<W: Write> {
    scanner: Scanner,
    writer: Writer<W>,
}

struct Writer<W: Write> {
    pieces: Pieces<W, Places>,
    codec: Codec,
    split: TarSplitWriter<Counted>,
    lines: Vec<Line>,
    member: Option<Member>,
}

/// A member whose data is coming.
struct Member {
    entry: Entry,
    whole: Sha256,
    chunker: Option<Chunker>,
    chunk: Sha256,
    chunks: Vec<Chunk>,
    /// The first frame of the chunk that is coming.
    begin: usize,
}

/// The tar-split as it grows.
struct Counted {
    out: zstd::stream::write::Encoder<'static, Vec<u8>>,
    plain: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.plain += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Chunked<W> {
    pub(super) fn new(out: W, level: i32, cores: &Cores) -> io::Result<Self> {
        let codec = Codec::Zstd(level);
        let split = Counted {
            out: zstd::stream::write::Encoder::new(Vec::new(), level)?,
            plain: 0,
        };
        Ok(Self {
            scanner: Scanner::new(),
            writer: Writer {
                pieces: Pieces::sized(out, Places(vec![0]), codec, SIZE, cores),
                codec,
                split: TarSplitWriter::plain(split),
                lines: Vec::new(),
                member: None,
            },
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.scanner.feed(bytes, &mut self.writer)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.pieces.flush()
    }

    /// Ends the stream and returns what its descriptor has to say.
    pub(super) fn finish(self) -> io::Result<(W, BTreeMap<String, String>)> {
        let Self {
            scanner,
            mut writer,
        } = self;
        scanner.finish(&mut writer)?;
        let Writer {
            pieces,
            codec,
            split,
            mut lines,
            ..
        } = writer;
        let (mut out, Places(frames)) = pieces.finish()?;
        let split = split.finish()?;
        let split = Packed {
            plain: split.plain,
            bytes: split.out.finish()?,
        };
        let plain = toc::table(&mut lines, &frames, &split)?;
        let mut bytes = Vec::new();
        Tools::default().compress(codec, &plain, &mut bytes)?;
        let table = Packed {
            bytes,
            plain: plain.len() as u64,
        };
        let offset = frames.last().copied().unwrap_or_default();
        let annotations = toc::write_end(&mut out, offset, &table, &split)?;
        Ok((out, annotations))
    }
}

impl<W: Write> Parts for Writer<W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.split.raw(bytes)?;
        self.pieces.write(bytes)
    }

    fn member(&mut self, entry: Entry) -> io::Result<()> {
        self.split.begin_file(&entry.header.name, entry.stored)?;
        let begin = match entry.stored {
            0 => 0,
            // Headers and data have frames of their own.
            _ => self.pieces.cut()?,
        };
        self.member = Some(Member {
            entry,
            whole: Sha256::new(),
            chunker: Some(Chunker::new()),
            chunk: Sha256::new(),
            chunks: Vec::new(),
            begin,
        });
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.split.data(bytes)?;
        self.chunked(|mut chunker, data| {
            chunker.feed(bytes, data)?;
            Ok(Some(chunker))
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.chunked(|chunker, data| {
            chunker.finish(data)?;
            Ok(None)
        })?;
        if let Some(member) = self.member.take() {
            let digest = Digest::from_sha256_bytes(member.whole.finalize().into());
            let lines = toc::describe(&member.entry, &member.chunks, Some(digest))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.lines.extend(lines);
        }
        Ok(())
    }
}

impl<W: Write> Writer<W> {
    /// Lets the member's chunker work.
    fn chunked(
        &mut self,
        work: impl FnOnce(Chunker, &mut Data<'_, W>) -> io::Result<Option<Chunker>>,
    ) -> io::Result<()> {
        if let Some(member) = &mut self.member
            && let Some(chunker) = member.chunker.take()
        {
            let mut data = Data {
                pieces: &mut self.pieces,
                member,
            };
            let after = work(chunker, &mut data)?;
            data.member.chunker = after;
        }
        Ok(())
    }
}

/// Where a member's data goes.
struct Data<'a, W: Write> {
    pieces: &'a mut Pieces<W, Places>,
    member: &'a mut Member,
}

impl<W: Write> Cuts for Data<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.member.whole.update(bytes);
        self.member.chunk.update(bytes);
        self.pieces.write(bytes)
    }

    fn chunk(&mut self, size: u64, content: Content) -> io::Result<()> {
        let end = self.pieces.cut()?;
        let digest = std::mem::take(&mut self.member.chunk).finalize();
        self.member.chunks.push(Chunk {
            frames: (self.member.begin, end),
            size,
            digest: Digest::from_sha256_bytes(digest.into()),
            is_zeros: content == Content::Zeros,
        });
        self.member.begin = end;
        Ok(())
    }
}

//! A layer as the body of an upload: packed while it is sent, and begun again where an interrupted upload stands.
//!
//! The last megabytes that were sent are kept, since an interruption loses no more than what was on the way. If that is
//! not enough, the layer is read and packed once more up to the place where the registry stands: the same bytes make
//! the same blob.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry::BodySource;

use crate::error::TransferError;
use crate::files::CHUNK;
use crate::packing::{Packing, PackingWriter};
use crate::sink::Again;

/// How many of the bytes that were handed out are kept for going back.
const KEPT_MAX: usize = 4 << 20;

/// A layer as a body.
pub(crate) struct LayerBody<'a> {
    again: &'a Again<'a>,
    packing: Packing<'a>,
    stream: PackedReader<'a>,
    /// How many bytes the stream has given.
    given: u64,
    /// The last of them.
    kept: VecDeque<u8>,
    failure: Option<TransferError>,
}

impl<'a> LayerBody<'a> {
    /// Makes a body of a layer's bytes, which `again` opens once more.
    pub(crate) fn new(
        first: &'a mut (dyn Read + Send),
        again: &'a Again<'a>,
        packing: Packing<'a>,
    ) -> io::Result<Self> {
        Ok(Self {
            again,
            packing,
            stream: PackedReader::new(Box::new(first), packing)?,
            given: 0,
            kept: VecDeque::new(),
            failure: None,
        })
    }

    /// Returns why the layer's bytes could not be had, if that is why an upload failed.
    pub(crate) fn into_failure(self) -> Option<TransferError> {
        self.failure
    }

    /// Returns what the layer's descriptor is to say, once the end was reached.
    pub(crate) fn into_annotations(self) -> BTreeMap<String, String> {
        self.stream.annotations
    }

    /// Begins anew and makes everything up to `offset` once more.
    fn restart(&mut self, offset: u64) -> io::Result<()> {
        let reader = (self.again)().map_err(|error| {
            let text = error.to_string();
            self.failure = Some(error);
            io::Error::other(text)
        })?;
        self.stream = PackedReader::new(reader, self.packing)?;
        self.given = 0;
        self.kept.clear();
        let mut chunk = vec![0; CHUNK];
        while self.given < offset {
            let left = usize::try_from(offset - self.given).unwrap_or(usize::MAX);
            let most = left.min(CHUNK);
            if self.next(&mut chunk[..most])? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let text = error.to_string();
                self.failure = Some(crate::docker::from_stream(error));
                return Err(io::Error::other(text));
            }
        };
        self.given += count as u64;
        let spare = (self.kept.len() + count).saturating_sub(KEPT_MAX);
        self.kept.drain(..spare.min(self.kept.len()));
        self.kept.extend(&buffer[..count]);
        Ok(count)
    }
}

impl BodySource for LayerBody<'_> {
    fn open(&mut self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        if offset > self.given || offset < self.given - self.kept.len() as u64 {
            self.restart(offset)?;
        }
        Ok(Box::new(From { body: self, offset }))
    }
}

/// A body from some offset on, not before what is kept.
struct From<'b, 'a> {
    body: &'b mut LayerBody<'a>,
    offset: u64,
}

impl Read for From<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let behind = self.body.given - self.offset;
        let count = if behind == 0 {
            self.body.next(buffer)?
        } else {
            let kept = &self.body.kept;
            let start = kept.len() - usize::try_from(behind).map_err(io::Error::other)?;
            let (front, back) = kept.as_slices();
            let part = match front.get(start..) {
                Some(part) if !part.is_empty() => part,
                _ => &back[start - front.len()..],
            };
            let count = part.len().min(buffer.len());
            buffer[..count].copy_from_slice(&part[..count]);
            count
        };
        self.offset += count as u64;
        Ok(count)
    }
}

/// Where a writer leaves its bytes.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that are packed while they are read.
struct PackedReader<'a> {
    source: Box<dyn Read + Send + 'a>,
    // `None` once the end was reached.
    writer: Option<PackingWriter<'a, Output>>,
    output: Output,
    ready: Vec<u8>,
    position: usize,
    chunk: Vec<u8>,
    annotations: BTreeMap<String, String>,
}

impl<'a> PackedReader<'a> {
    fn new(source: Box<dyn Read + Send + 'a>, packing: Packing<'a>) -> io::Result<Self> {
        let output = Output::default();
        Ok(Self {
            source,
            writer: Some(packing.writer(output.clone())?),
            output,
            ready: Vec::new(),
            position: 0,
            chunk: vec![0; CHUNK],
            annotations: BTreeMap::new(),
        })
    }

    /// Reads and packs until there is something to give.
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.position = 0;
        while let Some(writer) = &mut self.writer {
            match self.source.read(&mut self.chunk) {
                Ok(0) => {
                    if let Some(writer) = self.writer.take() {
                        self.annotations = writer.finish()?.1;
                    }
                }
                Ok(count) => writer.write_all(&self.chunk[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let mut output = self.output.bytes();
            if !output.is_empty() {
                std::mem::swap(&mut *output, &mut self.ready);
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Read for PackedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.ready.len() {
            self.fill()?;
        }
        let count = (&self.ready[self.position..]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Encoding;
    use crate::packing::Seal;
    use archive::Compression;
    use trust::encryption::LayerKey;

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..size).map(|_| byte()).collect()
    }

    #[test]
    fn interrupted_bodies_go_on_with_the_same_bytes() {
        let content = noise(9 << 20);
        let gzip = Encoding {
            compression: Compression::Gzip,
            ..Encoding::PLAIN
        };
        let seal = Seal::new(LayerKey::generate().unwrap());
        let sealed = Packing {
            encoding: gzip,
            seal: Some(&seal),
        };
        for packing in [Encoding::PLAIN.into(), gzip.into(), sealed] {
            let mut whole = Vec::new();
            PackedReader::new(Box::new(&content[..]), packing)
                .unwrap()
                .read_to_end(&mut whole)
                .unwrap();
            let again = || -> crate::error::Result<Box<dyn Read + Send + '_>> {
                Ok(Box::new(&content[..]))
            };
            let mut first = &content[..];
            let mut body = LayerBody::new(&mut first, &again, packing).unwrap();
            // Sent until here, taken up from there: once within what is kept, and once before it.
            for (sent, resumed) in [(0, 5 << 20), (4 << 20, 7 << 20), (1 << 20, 2 << 20)] {
                let mut reader = body.open(sent).unwrap();
                let mut part = vec![0; resumed - usize::try_from(sent).unwrap()];
                reader.read_exact(&mut part).unwrap();
                assert!(whole[usize::try_from(sent).unwrap()..resumed] == part);
            }
            let mut rest = Vec::new();
            body.open(3).unwrap().read_to_end(&mut rest).unwrap();
            assert!(whole[3..] == rest);
            assert!(body.into_failure().is_none());
        }
    }
}

//! What is done to a layer's bytes on their way out: they are compressed, and after that perhaps encrypted.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use archive::Encoder;
use trust::encryption::{Encrypted, EncryptingWriter, LayerKey};

use crate::files::Encoding;

/// How a layer is packed. The same packing makes the same bytes of the same layer, however often.
#[derive(Clone, Copy)]
pub(crate) struct Packing<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) seal: Option<&'a Seal>,
}

/// The key of a layer that is encrypted, with what became known of the layer at its end.
pub(crate) struct Seal {
    pub(crate) key: LayerKey,
    done: Mutex<Option<Encrypted>>,
}

impl Seal {
    pub(crate) fn new(key: LayerKey) -> Self {
        Self {
            key,
            done: Mutex::default(),
        }
    }

    /// What is known of the layer, once all of it has gone through.
    pub(crate) fn done(&self) -> Option<Encrypted> {
        let done = self.done.lock();
        done.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<Encoding> for Packing<'_> {
    fn from(encoding: Encoding) -> Self {
        Self {
            encoding,
            seal: None,
        }
    }
}

impl<'a> Packing<'a> {
    /// Starts a stream.
    pub(crate) fn writer<W: Write>(self, out: W) -> io::Result<PackingWriter<'a, W>> {
        let out = match self.seal {
            None => Sealed::Open(out),
            Some(seal) => {
                let writer = EncryptingWriter::new(out, &seal.key).map_err(io::Error::other)?;
                Sealed::Encrypted(Box::new(writer), seal)
            }
        };
        Ok(PackingWriter(self.encoding.encoder(out)?))
    }
}

/// A stream that is being packed.
pub(crate) struct PackingWriter<'a, W: Write>(Encoder<Sealed<'a, W>>);

impl<W: Write> PackingWriter<'_, W> {
    /// Ends the stream; returns the output, and what a layer's descriptor has to say about the compression.
    pub(crate) fn finish(self) -> io::Result<(W, BTreeMap<String, String>)> {
        let encoded = self.0.finish()?;
        let out = match encoded.out {
            Sealed::Open(out) => out,
            Sealed::Encrypted(writer, seal) => {
                let (out, encrypted) = writer.finish();
                let mut done = seal.done.lock().unwrap_or_else(PoisonError::into_inner);
                *done = Some(encrypted);
                out
            }
        };
        Ok((out, encoded.annotations))
    }
}

impl<W: Write> Write for PackingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

enum Sealed<'a, W> {
    Open(W),
    Encrypted(Box<EncryptingWriter<W>>, &'a Seal),
}

impl<W: Write> Write for Sealed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(out) => out.write(bytes),
            Self::Encrypted(out, _) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(out) => out.flush(),
            Self::Encrypted(out, _) => out.flush(),
        }
    }
}

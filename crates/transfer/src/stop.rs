//! Copies that end before they are done, because nobody wants them any more.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Digest;
use trust::Signature;

use crate::error::{Result, TransferError};
use crate::facts::Form;
use crate::signatures::SignaturesError;
use crate::source::Layers;

/// Returns layers whose bytes end once `stop` is true.
pub(crate) fn stoppable<'a>(
    layers: Box<dyn Layers + 'a>,
    stop: &Arc<AtomicBool>,
) -> Box<dyn Layers + 'a> {
    Box::new(Stoppable {
        layers,
        stop: Arc::clone(stop),
    })
}

struct Stoppable<'a> {
    layers: Box<dyn Layers + 'a>,
    stop: Arc<AtomicBool>,
}

struct StoppableBytes<'a> {
    bytes: Box<dyn Read + Send + 'a>,
    stop: &'a AtomicBool,
}

impl Read for StoppableBytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(TransferError::GivenUp));
        }
        self.bytes.read(buffer)
    }
}

impl Layers for Stoppable<'_> {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(StoppableBytes {
            bytes: self.layers.open(index)?,
            stop: &self.stop,
        }))
    }

    fn vouched(&self, index: usize) -> Option<Digest> {
        self.layers.vouched(index)
    }

    fn repository(&self) -> Option<(&str, &str)> {
        self.layers.repository()
    }

    fn resumed(&self, layer: &Digest) -> u64 {
        self.layers.resumed(layer)
    }

    fn settle(&self) {
        self.layers.settle();
    }

    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        self.layers.signatures(manifest)
    }

    fn recorded(&self, index: usize) -> Option<Form> {
        self.layers.recorded(index)
    }
}

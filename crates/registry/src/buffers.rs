//! Buffers that come back: pieces of content on their way to the network are large, and fresh memory for each of them
//! would cost more than filling it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How long a buffer is.
const LENGTH: usize = 256 * 1024;
/// How many buffers wait for their next use.
const KEPT: usize = 12;

/// A supply of buffers.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer; goes back to its supply when it is dropped, also as [`Bytes`].
pub(crate) struct Buffer {
    memory: Vec<u8>,
    filled: usize,
    home: Buffers,
}

impl Buffers {
    /// Returns a buffer of unspecified content.
    pub fn take(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            memory: kept.unwrap_or_else(|| vec![0; LENGTH]),
            filled: LENGTH,
            home: self.clone(),
        }
    }
}

impl Buffer {
    /// Makes the first `filled` bytes something that can be handed around without copying.
    pub fn freeze(mut self, filled: usize) -> Bytes {
        self.filled = filled;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.memory));
        }
    }
}

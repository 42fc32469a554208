//! The cipher of layers: AES-256 in counter mode, and HMAC-SHA256 with the same key over the ciphertext.

use std::fmt;
use std::io::{self, Read, Write};

use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac, rand};
use model::Digest;
use model::digest::{Algorithm, Hasher};

use super::error::EncryptError;

pub(super) const KEY_SIZE: usize = 32;
pub(super) const NONCE_SIZE: usize = 16;
/// What counter mode may want of a buffer beyond the input.
const BLOCK: usize = 16;

/// The secret of one layer.
#[derive(Clone, PartialEq, Eq)]
pub struct LayerKey {
    pub(super) key: [u8; KEY_SIZE],
    pub(super) nonce: [u8; NONCE_SIZE],
}

impl fmt::Debug for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerKey(***)")
    }
}

impl LayerKey {
    /// Draws a new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, EncryptError> {
        let mut drawn = Self {
            key: [0; KEY_SIZE],
            nonce: [0; NONCE_SIZE],
        };
        rand::fill(&mut drawn.key).map_err(|_| EncryptError::Library)?;
        rand::fill(&mut drawn.nonce).map_err(|_| EncryptError::Library)?;
        Ok(drawn)
    }

    /// Starts the key stream; in counter mode both directions are the same.
    fn stream(&self) -> Option<StreamingEncryptingKey> {
        let key = UnboundCipherKey::new(&AES_256, &self.key).ok()?;
        let nonce = EncryptionContext::Iv128(FixedLength::from(self.nonce));
        StreamingEncryptingKey::less_safe_ctr(key, nonce).ok()
    }

    fn mac(&self) -> hmac::Context {
        hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.key))
    }
}

/// What is known of a layer once all of it was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The digest of what was encrypted.
    pub plain: Digest,
    /// The authentication code of the ciphertext.
    pub(super) mac: Vec<u8>,
}

/// Encrypts what is written through it. The same key makes the same bytes.
pub struct EncryptingWriter<W> {
    out: W,
    stream: StreamingEncryptingKey,
    mac: hmac::Context,
    plain: Hasher,
    buffer: Vec<u8>,
}

impl<W: Write> EncryptingWriter<W> {
    /// Starts a layer.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn new(out: W, key: &LayerKey) -> Result<Self, EncryptError> {
        Ok(Self {
            out,
            stream: key.stream().ok_or(EncryptError::Library)?,
            mac: key.mac(),
            plain: Hasher::new(Algorithm::Sha256),
            buffer: Vec::new(),
        })
    }

    /// Ends the layer.
    pub fn finish(self) -> (W, Encrypted) {
        let encrypted = Encrypted {
            plain: self.plain.finish(),
            mac: self.mac.sign().as_ref().to_vec(),
        };
        (self.out, encrypted)
    }
}

impl<W: Write> Write for EncryptingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.update(bytes);
        let text = apply(&mut self.stream, bytes, &mut self.buffer)?;
        self.mac.update(text);
        // Part of a key stream cannot be taken back, so all of the bytes go.
        self.out.write_all(text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Why a layer's bytes cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// The ciphertext is not the one that was made with the layer's key.
    #[error("could not properly decrypt byte stream: its HMAC is not the expected one")]
    Mac,
    /// The system's cryptography refuses to work.
    #[error("the cryptographic library failed")]
    Library,
}

/// Decrypts what is read through it, and fails at the end instead of ending if the ciphertext was not authentic.
pub struct DecryptingReader<R> {
    inner: R,
    stream: StreamingEncryptingKey,
    // `None` once it was compared.
    mac: Option<hmac::Context>,
    expected: Vec<u8>,
    buffer: Vec<u8>,
}

impl<R: Read> DecryptingReader<R> {
    pub(super) fn new(inner: R, key: &LayerKey, expected: &[u8]) -> Option<Self> {
        Some(Self {
            inner,
            stream: key.stream()?,
            mac: Some(key.mac()),
            expected: expected.to_vec(),
            buffer: Vec::new(),
        })
    }
}

impl<R: Read> Read for DecryptingReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        if count == 0 && !bytes.is_empty() {
            if let Some(mac) = self.mac.take() {
                let found = mac.sign();
                constant_time::verify_slices_are_equal(found.as_ref(), &self.expected)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, CipherError::Mac))?;
            }
            return Ok(0);
        }
        let text = &mut bytes[..count];
        if let Some(mac) = &mut self.mac {
            mac.update(text);
        }
        let plain = apply(&mut self.stream, text, &mut self.buffer)?;
        text.copy_from_slice(plain);
        Ok(count)
    }
}

fn apply<'b>(
    stream: &mut StreamingEncryptingKey,
    bytes: &[u8],
    buffer: &'b mut Vec<u8>,
) -> io::Result<&'b [u8]> {
    let failed = || io::Error::other(CipherError::Library);
    buffer.resize(bytes.len() + BLOCK, 0);
    let written = {
        let update = stream.update(bytes, buffer).map_err(|_| failed())?;
        update.written().len()
    };
    if written != bytes.len() {
        return Err(failed());
    }
    Ok(&buffer[..written])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LayerKey {
        LayerKey {
            key: [7; KEY_SIZE],
            nonce: [9; NONCE_SIZE],
        }
    }

    fn encrypt(plain: &[u8], step: usize) -> (Vec<u8>, Encrypted) {
        let mut writer = EncryptingWriter::new(Vec::new(), &key()).unwrap();
        for part in plain.chunks(step) {
            writer.write_all(part).unwrap();
        }
        writer.finish()
    }

    fn decrypt(text: &[u8], mac: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let mut reader = DecryptingReader::new(text, &key(), mac).unwrap();
        reader.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_is_encrypted_in_any_pieces_is_decrypted() {
        let plain: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (whole, end) = encrypt(&plain, plain.len());
        assert_eq!(whole.len(), plain.len());
        assert_ne!(whole, plain);
        assert_eq!(end.plain, Digest::sha256(&plain));
        for step in [1, 15, 16, 17, 4096] {
            assert!(
                encrypt(&plain, step) == (whole.clone(), end.clone()),
                "{step}"
            );
        }
        assert!(decrypt(&whole, &end.mac).unwrap() == plain);
        let (nothing, end) = encrypt(b"", 1);
        assert_eq!(decrypt(&nothing, &end.mac).unwrap(), b"");
    }

    #[test]
    fn what_was_changed_does_not_end() {
        let (text, end) = encrypt(b"some bytes of a layer", 5);
        let mut changed = text.clone();
        changed[3] ^= 1;
        for (text, mac) in [
            (&changed[..], &end.mac[..]),
            (&text[1..], &end.mac),
            (&text, &end.mac[1..]),
            (&text, b""),
        ] {
            let err = decrypt(text, mac).unwrap_err();
            assert_eq!(
                err.get_ref().unwrap().downcast_ref(),
                Some(&CipherError::Mac)
            );
        }
    }
}

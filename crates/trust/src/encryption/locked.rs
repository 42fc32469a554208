//! Private keys that a password locks: PKCS #8 with PBES2 (RFC 8018), and the older form that OpenSSL wrote in PEM, with
//! its own way from a password to a key.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockCipher, BlockDecryptMut, KeyInit, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use des::{Des, TdesEde3};
use md5::{Digest as _, Md5};
use model::Secret;
use pkcs5::EncryptionScheme;
use pkcs5::pbes2::Kdf;
use rsa::pkcs8::EncryptedPrivateKeyInfo;

use super::error::KeyError;
use crate::pem::Block;

/// The most rounds of PBKDF2; the usual numbers are 2048 to 600000.
const ROUNDS_MAX: u32 = 10_000_000;
/// The most memory for scrypt in bytes: 128 times its cost times its block size. The usual one is 16 MiB.
const SCRYPT_MEMORY_MAX: u64 = 256 << 20;
/// The most that scrypt may be repeated. The usual number is 1.
const SCRYPT_PARALLEL_MAX: u16 = 16;
/// How many bytes of the first block the older form takes for a salt.
const SALT_SIZE: usize = 8;

/// Opens a block of PEM; `None` if it is not locked.
pub(super) fn open(block: &Block, password: Option<&Secret>) -> Result<Option<Vec<u8>>, KeyError> {
    if block.label == "ENCRYPTED PRIVATE KEY" {
        return open_pkcs8(&block.bytes, password);
    }
    let Some(lock) = block.header("DEK-Info") else {
        return Ok(None);
    };
    let password = password.ok_or(KeyError::MissingPassword)?;
    let (method, salt) = lock.split_once(',').unwrap_or((lock, ""));
    let salt = hex(salt.trim()).ok_or(KeyError::WrongPassword)?;
    let text = &block.bytes;
    let plain = match method {
        "DES-CBC" => legacy::<Des>(password, &salt, text),
        "DES-EDE3-CBC" => legacy::<TdesEde3>(password, &salt, text),
        "AES-128-CBC" => legacy::<Aes128>(password, &salt, text),
        "AES-192-CBC" => legacy::<Aes192>(password, &salt, text),
        "AES-256-CBC" => legacy::<Aes256>(password, &salt, text),
        _ => {
            return Err(KeyError::LockMethod {
                method: method.to_owned(),
            });
        }
    };
    plain.map(Some).ok_or(KeyError::WrongPassword)
}

/// Opens a locked key of PKCS #8; `None` if the bytes are something else.
pub(super) fn open_pkcs8(
    der: &[u8],
    password: Option<&Secret>,
) -> Result<Option<Vec<u8>>, KeyError> {
    let Ok(locked) = EncryptedPrivateKeyInfo::try_from(der) else {
        return Ok(None);
    };
    let password = password.ok_or(KeyError::MissingPassword)?;
    if !is_affordable(&locked.encryption_algorithm) {
        return Err(KeyError::LockCost);
    }
    let opened = locked.decrypt(password.expose().as_bytes());
    let opened = opened.map_err(|_| KeyError::WrongPassword)?;
    Ok(Some(opened.as_bytes().to_vec()))
}

fn is_affordable(scheme: &EncryptionScheme<'_>) -> bool {
    match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Pbkdf2(kdf)) => kdf.iteration_count <= ROUNDS_MAX,
        Some(Kdf::Scrypt(kdf)) => {
            let memory = kdf
                .cost_parameter
                .checked_mul(u64::from(kdf.block_size))
                .and_then(|blocks| blocks.checked_mul(128));
            memory.is_some_and(|memory| memory <= SCRYPT_MEMORY_MAX)
                && kdf.parallelization <= SCRYPT_PARALLEL_MAX
        }
        // The crate has nothing else, and says so itself.
        _ => true,
    }
}

/// Opens the older form: MD5 over the password and a salt, again and again until there are bytes enough for the key.
fn legacy<C>(password: &Secret, vector: &[u8], text: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipher + BlockDecryptMut + KeyInit,
{
    let salt = vector.get(..SALT_SIZE)?;
    let mut key = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < C::key_size() {
        let mut hash = Md5::new();
        hash.update(&last);
        hash.update(password.expose());
        hash.update(salt);
        last = hash.finalize().to_vec();
        key.extend(&last);
    }
    let cipher = Decryptor::<C>::new_from_slices(&key[..C::key_size()], vector).ok()?;
    cipher.decrypt_padded_vec_mut::<Pkcs7>(text).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

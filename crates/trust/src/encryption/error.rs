//! Why layers cannot be encrypted or decrypted. No error tells anything of a key.

use super::jwe::JweError;
use super::openpgp::{NoRingFits, RecipientError};
use super::pkcs7::Pkcs7Error;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file is larger than any key.
    #[error("the key has {size} bytes, more than {max}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that it may have.
        max: usize,
    },
    /// Something else than a public key.
    #[error("File provided is not a public key")]
    NotPublic,
    /// Something else than a certificate.
    #[error("File provided is not an x509 cert")]
    NotCertificate,
    /// A certificate of another kind of key.
    #[error("the certificate's key is not RSA")]
    CertificateKey,
    /// A JSON Web Key that asks for a way of wrapping that is not here.
    #[error("{algorithm} is an unsupported JWE key algorithm")]
    KeyAlgorithm {
        /// Its name.
        algorithm: String,
    },
    /// A locked private key without a password.
    #[error("Missing password for encrypted private key")]
    MissingPassword,
    /// A locked private key that the password does not open.
    #[error("Wrong password: could not decrypt private key")]
    WrongPassword,
    /// A private key that is locked in another way.
    #[error("private keys encrypted by {method} are not supported")]
    LockMethod {
        /// How the file names it.
        method: String,
    },
    /// Opening a private key would take too long.
    #[error("the private key asks for more work to open it than is acceptable")]
    LockCost,
    /// Neither a private key nor a keyring of secret keys.
    #[error("it holds no private key that is known here")]
    Unidentified,
    /// More keys than can be useful.
    #[error("there are more than {max} keys")]
    TooMany {
        /// The most that there may be.
        max: usize,
    },
    /// The keyring cannot be read, or lacks a recipient.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
}

/// Why a layer cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// The system has no randomness, or its cryptography refuses to work.
    #[error("the cryptographic library failed")]
    Library,
    /// Nobody is to be able to read the layer.
    #[error("no wrapped keys produced by encryption")]
    NoRecipient,
    /// The layer's key could not be wrapped by JWE.
    #[error("cannot wrap the layer's key")]
    Jwe(#[source] JweError),
    /// The layer's key could not be wrapped by PKCS #7.
    #[error("cannot wrap the layer's key")]
    Pkcs7(#[source] Pkcs7Error),
    /// The layer's key could not be wrapped by OpenPGP.
    #[error("cannot wrap the layer's key")]
    OpenPgp(#[source] Box<pgp::errors::Error>),
}

/// Why a layer's key cannot be unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// Out of a message of JWE.
    #[error(transparent)]
    Jwe(#[from] JweError),
    /// Out of a message of PKCS #7.
    #[error(transparent)]
    Pkcs7(#[from] Pkcs7Error),
    /// Out of a message of OpenPGP.
    #[error(transparent)]
    OpenPgp(#[from] NoRingFits),
}

/// Why a layer cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// None of the keys is of a kind that the layer was encrypted for.
    #[error("missing private key needed for decryption")]
    MissingKey,
    /// The layer was encrypted for others.
    #[error(
        "no suitable key unwrapper found or none of the private keys could be used for decryption"
    )]
    NoKeyFits(#[source] UnwrapError),
    /// Only a program or a device that is not used here can unwrap the layer's key.
    #[error("keys wrapped by {scheme} are not supported yet")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// An annotation is not encoded as it must be.
    #[error("the annotation {name:?} is not valid base64")]
    Base64 {
        /// The annotation.
        name: String,
        /// The cause.
        source: base64::DecodeError,
    },
    /// An annotation names more recipients than anybody has.
    #[error("the annotation {name:?} has more than {max} wrapped keys")]
    TooMany {
        /// The annotation.
        name: String,
        /// The most that it may have.
        max: usize,
    },
    /// The options that were wrapped or stand beside are not well formed.
    #[error("cannot read the {which} options of the layer's cipher")]
    Options {
        /// Which of the two.
        which: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// The layer is encrypted otherwise.
    #[error("unsupported cipher type: {cipher}")]
    Cipher {
        /// The cipher's name.
        cipher: String,
    },
    /// The key or the nonce has another length than the cipher's.
    #[error("the layer's {what} has {size} bytes instead of {expected}")]
    Length {
        /// Which.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The cipher's.
        expected: usize,
    },
    /// Nothing says what the ciphertext has to be.
    #[error("the layer's annotations have no HMAC")]
    NoMac,
    /// The system's cryptography refuses to work.
    #[error("the cryptographic library failed")]
    Library,
}

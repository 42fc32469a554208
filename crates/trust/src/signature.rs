//! Signatures as files and stores keep them: the bytes of an OpenPGP message as they are, everything else behind a line
//! that names its form.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::claim::ClaimKind;

/// The most bytes that one signature may have.
pub const SIGNATURE_MAX: usize = 4 << 20;
/// The most signatures that an image may have in one place.
pub const SIGNATURES_MAX: usize = 128;
/// The media type of what a sigstore signature signs.
pub const SIGSTORE_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature, in base64.
pub const SIGSTORE_SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The annotation with the record of a log.
pub const SIGSTORE_BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// The annotation with the signer's certificate, in PEM.
pub const SIGSTORE_CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The annotation with the certificates between the signer's and its root, in PEM.
pub const SIGSTORE_CHAIN: &str = "dev.sigstore.cosign/chain";

const SIGSTORE_FORM: &[u8] = b"sigstore-json";

/// Why bytes are no signature. The texts are those of Buildah.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There are no bytes.
    #[error("empty signature blob")]
    Empty,
    /// There are more bytes than [`SIGNATURE_MAX`].
    #[error("the signature has {size} bytes, more than {SIGNATURE_MAX}")]
    TooLarge {
        /// How many.
        size: usize,
    },
    /// The line that names the form does not end.
    #[error("invalid signature format, missing newline")]
    NoNewline,
    /// The line that names the form is no text.
    #[error("invalid signature format, non-ASCII byte {byte:#x}")]
    NotAscii {
        /// The first byte that is none.
        byte: u8,
    },
    /// A form of the future.
    #[error("unrecognized signature format {form:?}")]
    Form {
        /// Its name.
        form: String,
    },
    /// Something else.
    #[error("unrecognized signature format, starting with binary {byte:#x}")]
    Start {
        /// The first byte.
        byte: u8,
    },
    /// What follows the name of the form is not that form.
    #[error("parsing sigstore signature")]
    Sigstore(#[source] serde_json::Error),
    /// The payload is no base64.
    #[error("decoding the payload of a sigstore signature")]
    Payload(#[source] base64::DecodeError),
}

/// A signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// A message of OpenPGP with its content.
    Simple(Vec<u8>),
    /// What sigstore attaches to an image: signatures, and other statements.
    Sigstore(Sigstore),
}

/// An attachment of sigstore that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigstore {
    /// The payload's type; [`SIGSTORE_MEDIA_TYPE`] for a signature.
    pub media_type: String,
    /// What is signed.
    pub payload: Vec<u8>,
    /// The signature and what belongs to it.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct SigstoreJson {
    #[serde(rename = "mimeType")]
    media_type: String,
    payload: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Signature {
    /// Parses the bytes of one signature.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() > SIGNATURE_MAX {
            return Err(SignatureError::TooLarge { size: bytes.len() });
        }
        match bytes {
            [] => Err(SignatureError::Empty),
            [0, named @ ..] => parse_named(named),
            // The first byte of a packet of OpenPGP has its highest bit set.
            [first, ..] if *first >= 0x80 => Ok(Self::Simple(bytes.to_vec())),
            [byte, ..] => Err(SignatureError::Start { byte: *byte }),
        }
    }

    /// Returns the kind; that of sigstore also for what is attached to an image besides signatures.
    pub fn kind(&self) -> ClaimKind {
        match self {
            Self::Simple(_) => ClaimKind::Simple,
            Self::Sigstore(_) => ClaimKind::Sigstore,
        }
    }

    /// Writes the bytes as [`Signature::parse`] reads them.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Simple(bytes) => bytes.clone(),
            Self::Sigstore(sigstore) => {
                let json = SigstoreJson {
                    media_type: sigstore.media_type.clone(),
                    payload: Some(STANDARD.encode(&sigstore.payload)),
                    annotations: Some(sigstore.annotations.clone()),
                };
                let mut bytes = vec![0];
                bytes.extend_from_slice(SIGSTORE_FORM);
                bytes.push(b'\n');
                bytes.extend(model::go_json::to_vec(&json).expect("all keys are texts"));
                bytes
            }
        }
    }
}

fn parse_named(named: &[u8]) -> Result<Signature, SignatureError> {
    let end = named
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(SignatureError::NoNewline)?;
    let (form, json) = (&named[..end], &named[end + 1..]);
    if let Some(byte) = form.iter().find(|byte| !(32..0x7f).contains(*byte)) {
        return Err(SignatureError::NotAscii { byte: *byte });
    }
    if form != SIGSTORE_FORM {
        return Err(SignatureError::Form {
            form: String::from_utf8_lossy(form).into_owned(),
        });
    }
    let json: SigstoreJson = serde_json::from_slice(json).map_err(SignatureError::Sigstore)?;
    let payload = STANDARD
        .decode(json.payload.unwrap_or_default())
        .map_err(SignatureError::Payload)?;
    Ok(Signature::Sigstore(Sigstore {
        media_type: json.media_type,
        payload,
        annotations: json.annotations.unwrap_or_default(),
    }))
}

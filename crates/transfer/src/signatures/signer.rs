//! Who signs an image that arrives, and the file of parameters for signing as sigstore does.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use trust::{Claim, ClaimKind, Made, Signature, SigstoreKey};

use super::{Gpg, SignaturesError};

/// The most bytes that a file of parameters may have.
pub const PARAMETERS_MAX: usize = 1 << 20;

/// One who signs.
#[derive(Debug)]
pub enum Signer {
    /// By simple signing.
    Simple(Gpg),
    /// As sigstore does, by a key.
    Sigstore(SigstoreKey),
}

impl Signer {
    /// The kind of the signatures.
    pub(super) fn kind(&self) -> ClaimKind {
        match self {
            Signer::Simple(_) => ClaimKind::Simple,
            Signer::Sigstore(_) => ClaimKind::Sigstore,
        }
    }

    /// What is about to be done, as Buildah tells it.
    pub(super) fn announcement(&self) -> &'static str {
        match self {
            Signer::Simple(_) => "Signing image using simple signing",
            Signer::Sigstore(_) => "Signing image using a sigstore signature",
        }
    }

    pub(super) fn sign(&self, claim: &Claim, creator: &str) -> Result<Signature, SignaturesError> {
        let made = Made {
            by: creator,
            at: now()?,
        };
        match self {
            Signer::Simple(gpg) => gpg
                .sign(&claim.to_bytes(ClaimKind::Simple, &made))
                .map(Signature::Simple),
            Signer::Sigstore(key) => key
                .sign(claim, &made)
                .map(Signature::Sigstore)
                .map_err(SignaturesError::PrivateKey),
        }
    }
}

/// The time, in seconds since the beginning of 1970.
pub(super) fn now() -> Result<i64, SignaturesError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| SignaturesError::Clock)?;
    i64::try_from(since.as_secs()).map_err(|_| SignaturesError::Clock)
}

/// Why a file of parameters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// It is larger than [`PARAMETERS_MAX`].
    #[error("the file has {size} bytes, more than {PARAMETERS_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It is not well formed.
    #[error("the file is not well formed")]
    Yaml(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It asks for a server.
    #[error("signing with `{key}` is not supported yet")]
    Unsupported {
        /// What it asks for.
        key: &'static str,
    },
    /// It asks for nothing.
    #[error("the file names no privateKeyFile")]
    NoKey,
}

/// What `--sign-by-sigstore` reads (containers-sigstore-signing-params.yaml(5)), as far as it asks no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningParameters {
    /// The file with the private key.
    pub private_key: PathBuf,
    /// A file whose first line is the key's passphrase.
    pub passphrase: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parameters {
    private_key_file: Option<PathBuf>,
    private_key_passphrase_file: Option<PathBuf>,
    fulcio: Option<Fulcio>,
    #[serde(rename = "rekorURL")]
    rekor_url: Option<String>,
}

/// Only that it is well formed is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names what may stand there")]
struct Fulcio {
    #[serde(rename = "fulcioURL")]
    url: Option<String>,
    #[serde(rename = "oidcMode")]
    mode: Option<String>,
    #[serde(rename = "oidcIDToken")]
    token: Option<String>,
    #[serde(rename = "oidcIssuerURL")]
    issuer: Option<String>,
    #[serde(rename = "oidcClientID")]
    client: Option<String>,
    #[serde(rename = "oidcClientSecret")]
    secret: Option<String>,
}

impl SigningParameters {
    /// Parses the file's content.
    ///
    /// # Errors
    /// See [`ParameterError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParameterError> {
        if bytes.len() > PARAMETERS_MAX {
            return Err(ParameterError::TooLarge { size: bytes.len() });
        }
        let read: Parameters = serde_saphyr::from_slice(bytes)
            .map_err(|source| ParameterError::Yaml(Box::new(source)))?;
        if read.fulcio.is_some() {
            return Err(ParameterError::Unsupported { key: "fulcio" });
        }
        if read.rekor_url.is_some() {
            return Err(ParameterError::Unsupported { key: "rekorURL" });
        }
        Ok(Self {
            private_key: read.private_key_file.ok_or(ParameterError::NoKey)?,
            passphrase: read.private_key_passphrase_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let check = |text: &str, expected: Result<(&str, Option<&str>), &str>| {
            let found = SigningParameters::parse(text.as_bytes());
            let found = found.map_err(|err| err.to_string());
            let expected = expected
                .map(|(key, passphrase)| SigningParameters {
                    private_key: key.into(),
                    passphrase: passphrase.map(PathBuf::from),
                })
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        };
        check("privateKeyFile: /k\n", Ok(("/k", None)));
        check(
            "privateKeyFile: \"/k\"\nprivateKeyPassphraseFile: /p\n",
            Ok(("/k", Some("/p"))),
        );
        check(
            "fulcio:\n  fulcioURL: https://f\n  oidcMode: staticToken\n",
            Err("signing with `fulcio` is not supported yet"),
        );
        check(
            "privateKeyFile: /k\nrekorURL: https://r\n",
            Err("signing with `rekorURL` is not supported yet"),
        );
        check("{}", Err("the file names no privateKeyFile"));
        check("privateKey: /k\n", Err("the file is not well formed"));
        check("- a\n", Err("the file is not well formed"));
    }
}

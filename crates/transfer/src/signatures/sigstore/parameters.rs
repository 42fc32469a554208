//! The file of parameters for signing as sigstore does (containers-sigstore-signing-params.yaml(5)).

use std::path::PathBuf;

use model::Secret;
use serde::Deserialize;

/// The most bytes that a file of parameters may have.
pub const PARAMETERS_MAX: usize = 1 << 20;

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
    /// Something that is needed is not there.
    #[error("missing {key}")]
    Missing {
        /// What.
        key: &'static str,
    },
    /// A word that nobody knows.
    #[error("unknown oidcMode value {mode:?}")]
    Mode {
        /// The word.
        mode: String,
    },
    /// It asks for nothing.
    #[error("preparing to create a sigstore signature: nothing to sign with provided")]
    Nothing,
    /// It asks for a key and for Fulcio.
    #[error("multiple private key sources specified when preparing to create sigstore signatures")]
    Several,
}

/// What such a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningParameters {
    /// What signs.
    pub key: SigningKey,
    /// The address of the Rekor log that records signatures, if one does.
    pub rekor: Option<String>,
}

/// What signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// A key in a file.
    File {
        /// The file.
        path: PathBuf,
        /// A file whose first line is the key's passphrase.
        passphrase: Option<PathBuf>,
    },
    /// Keys of a moment.
    Fulcio(FulcioParameters),
}

/// Who certifies keys, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FulcioParameters {
    /// The address of Fulcio.
    pub url: String,
    /// What says who the signer is.
    pub identity: IdentitySource,
}

/// What says who the signer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// A token that is there.
    Token(Secret),
    /// A device that the signer has in the hand (RFC 8628).
    Device(OidcClient),
    /// A browser on this machine, or elsewhere.
    Browser(OidcClient),
}

/// What an issuer of identities knows this program by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcClient {
    /// The issuer's address, which is also its name.
    pub issuer: String,
    /// The program's name there; empty when it has none.
    pub id: String,
    /// The program's password there; empty when it has none.
    pub secret: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parameters {
    private_key_file: Option<PathBuf>,
    private_key_passphrase_file: Option<PathBuf>,
    fulcio: Option<FulcioText>,
    #[serde(rename = "rekorURL")]
    rekor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FulcioText {
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
        let read: Parameters = serde_saphyr::from_slice(bytes).map_err(|source| {
            // The text around the place may hold secrets.
            ParameterError::Yaml(source.without_snippet().to_string().into())
        })?;
        let path = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let rekor = read.rekor.filter(|url| !url.is_empty());
        let key = match (path(read.private_key_file), read.fulcio) {
            (None, None) => return Err(ParameterError::Nothing),
            (Some(_), Some(_)) => return Err(ParameterError::Several),
            (Some(file), None) => SigningKey::File {
                path: file,
                passphrase: path(read.private_key_passphrase_file),
            },
            // A certificate of a moment is worth nothing to those who do not know when it was used.
            (None, Some(_)) if rekor.is_none() => {
                return Err(ParameterError::Missing { key: "rekorURL" });
            }
            (None, Some(fulcio)) => SigningKey::Fulcio(fulcio.read()?),
        };
        Ok(Self { key, rekor })
    }
}

impl FulcioText {
    fn read(self) -> Result<FulcioParameters, ParameterError> {
        let required = |text: Option<String>, key| {
            let text = text.filter(|text| !text.is_empty());
            text.ok_or(ParameterError::Missing { key })
        };
        let url = required(self.url, "fulcioURL")?;
        let mode = required(self.mode, "oidcMode")?;
        let browser = mode == "interactive";
        let identity = match &*mode {
            "staticToken" => {
                IdentitySource::Token(Secret::new(required(self.token, "oidcIDToken")?))
            }
            "deviceGrant" | "interactive" => {
                let client = OidcClient {
                    issuer: required(self.issuer, "oidcIssuerURL")?,
                    id: self.client.unwrap_or_default(),
                    secret: Secret::new(self.secret.unwrap_or_default()),
                };
                if browser {
                    IdentitySource::Browser(client)
                } else {
                    IdentitySource::Device(client)
                }
            }
            _ => return Err(ParameterError::Mode { mode }),
        };
        Ok(FulcioParameters { url, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, passphrase: Option<&str>) -> SigningKey {
        SigningKey::File {
            path: path.into(),
            passphrase: passphrase.map(PathBuf::from),
        }
    }

    fn fulcio(identity: IdentitySource) -> SigningKey {
        SigningKey::Fulcio(FulcioParameters {
            url: "https://f".to_owned(),
            identity,
        })
    }

    fn client(id: &str, secret: &str) -> OidcClient {
        OidcClient {
            issuer: "https://i".to_owned(),
            id: id.to_owned(),
            secret: Secret::new(secret),
        }
    }

    #[test]
    fn parameters_are_read() {
        let check = |text: &str, expected: Result<(SigningKey, Option<&str>), &str>| {
            let found = SigningParameters::parse(text.as_bytes());
            let found = found.map_err(|err| err.to_string());
            let expected = expected
                .map(|(key, rekor)| SigningParameters {
                    key,
                    rekor: rekor.map(str::to_owned),
                })
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        };
        let keyless =
            |lines: &str| format!("rekorURL: https://r\nfulcio:\n  fulcioURL: https://f\n{lines}");
        check("privateKeyFile: /k\n", Ok((key("/k", None), None)));
        check(
            "privateKeyFile: \"/k\"\nprivateKeyPassphraseFile: /p\n",
            Ok((key("/k", Some("/p")), None)),
        );
        check(
            "privateKeyFile: /k\nrekorURL: https://r\n",
            Ok((key("/k", None), Some("https://r"))),
        );
        check(
            &keyless("  oidcMode: staticToken\n  oidcIDToken: t\n"),
            Ok((
                fulcio(IdentitySource::Token(Secret::new("t"))),
                Some("https://r"),
            )),
        );
        check(
            &keyless(
                "  oidcMode: deviceGrant\n  oidcIssuerURL: https://i\n  oidcClientID: c\n  oidcClientSecret: s\n",
            ),
            Ok((
                fulcio(IdentitySource::Device(client("c", "s"))),
                Some("https://r"),
            )),
        );
        check(
            &keyless("  oidcMode: interactive\n  oidcIssuerURL: https://i\n"),
            Ok((
                fulcio(IdentitySource::Browser(client("", ""))),
                Some("https://r"),
            )),
        );
        check(
            &keyless("  oidcMode: staticToken\n"),
            Err("missing oidcIDToken"),
        );
        check(
            &keyless("  oidcMode: interactive\n"),
            Err("missing oidcIssuerURL"),
        );
        check(
            &keyless("  oidcMode: magic\n"),
            Err("unknown oidcMode value \"magic\""),
        );
        check(&keyless(""), Err("missing oidcMode"));
        check(
            "rekorURL: r\nfulcio: {oidcMode: interactive}\n",
            Err("missing fulcioURL"),
        );
        check("fulcio: {fulcioURL: f}\n", Err("missing rekorURL"));
        check(
            "privateKeyFile: /k\nfulcio: {}\n",
            Err(
                "multiple private key sources specified when preparing to create sigstore signatures",
            ),
        );
        let nothing = "preparing to create a sigstore signature: nothing to sign with provided";
        check("{}", Err(nothing));
        check("privateKeyFile: \"\"\nrekorURL: r\n", Err(nothing));
        check("privateKey: /k\n", Err("the file is not well formed"));
        check("- a\n", Err("the file is not well formed"));
    }

    #[test]
    fn no_error_tells_a_secret() {
        for text in [
            "fulcio:\n  oidcIDToken: canary\n  oidcMod: x\n",
            "fulcio:\n  oidcIDToken: [canary]\n",
            "fulcio:\n  oidcClientSecret: canary\n : - :\n",
        ] {
            let err = SigningParameters::parse(text.as_bytes()).unwrap_err();
            let ParameterError::Yaml(source) = &err else {
                panic!("{text} is well formed");
            };
            let told = format!("{err} {err:?} {source}");
            assert!(!told.contains("canary"), "{told}");
        }
    }
}

//! Identity tokens of OpenID Connect: who an issuer says that somebody is (OpenID Connect Core 1.0, 2 and 3.1.3.7), signed
//! as a JWT (RFC 7519). No server is asked: the issuer's keys come from the caller.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Secret;
use serde::Deserialize;

/// The most bytes that a token may have.
const TOKEN_MAX: usize = 64 << 10;
/// The most keys of an issuer that are tried.
const KEYS_MAX: usize = 100;
/// How much the clocks of two machines may differ, in seconds, when a token begins to hold.
const LEEWAY: i64 = 5 * 60;

/// Why a token is not good. No error tells anything of the token but what it says of its issuer and reader.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    /// It is larger than anybody needs.
    #[error("the token has {size} bytes, more than {TOKEN_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It has not three parts in base64.
    #[error("oidc: malformed jwt")]
    Form,
    /// A part is not well formed.
    #[error("oidc: the {part} of the token is not well formed")]
    Part {
        /// Which.
        part: &'static str,
    },
    /// Nobody has checked whether the address is the user's.
    #[error("not verified by identity provider")]
    Unverified,
    /// It says of nobody who he is.
    #[error("no subject found in claims")]
    NoSubject,
    /// Somebody else has issued it.
    #[error("oidc: id token issued by a different provider, expected {expected:?} got {found:?}")]
    Issuer {
        /// Who should have.
        expected: String,
        /// Who has.
        found: String,
    },
    /// It is for somebody else.
    #[error("oidc: expected audience {expected:?} got {found:?}")]
    Audience {
        /// For whom it should be.
        expected: String,
        /// For whom it is.
        found: Vec<String>,
    },
    /// Its time is over, or has not come.
    #[error("oidc: the token holds from {from} until {until}, not at {now} (seconds since 1970)")]
    Time {
        /// When it begins to hold.
        from: i64,
        /// When it ends.
        until: i64,
        /// The time.
        now: i64,
    },
    /// It is the answer to another request.
    #[error("nonce does not match value sent")]
    Nonce,
    /// It belongs to another access token.
    #[error("access token hash does not match value in ID token")]
    AccessToken,
    /// It is signed in another way.
    #[error("oidc: id token signed with unsupported algorithm {algorithm:?}")]
    Algorithm {
        /// Its name.
        algorithm: String,
    },
    /// The issuer's keys are not well formed.
    #[error("oidc: failed to decode keys")]
    Keys(#[source] serde_json::Error),
    /// None of the issuer's keys has signed it.
    #[error("failed to verify signature: failed to verify id token signature")]
    Signature,
}

type Result<T> = std::result::Result<T, IdTokenError>;

/// A token that nobody has checked yet.
#[derive(Debug)]
pub struct IdToken {
    raw: Secret,
    claims: Claims,
}

/// What a token has to say to be the one that was asked for.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The issuer, as it names itself.
    pub issuer: &'a str,
    /// Who asked.
    pub client: &'a str,
    /// What was sent along with the question, if anything.
    pub nonce: Option<&'a Secret>,
    /// The access token that came with it, if one did.
    pub access_token: Option<&'a Secret>,
    /// The time, in seconds since the beginning of 1970.
    pub now: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: Verified,
    exp: Option<f64>,
    nbf: Option<f64>,
    nonce: Option<String>,
    at_hash: Option<String>,
}

/// One reader or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

/// Some issuers write it as a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Verified {
    Bool(bool),
    Text(String),
}

impl Default for Verified {
    fn default() -> Self {
        Self::Bool(false)
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// A key of an issuer (RFC 7517).
#[derive(Deserialize)]
struct Key {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl IdToken {
    /// Reads a token and does not check it: whether it is good is for the server that it is shown to.
    ///
    /// # Errors
    /// When it is no token.
    pub fn parse(raw: Secret) -> Result<Self> {
        let text = raw.expose();
        if text.len() > TOKEN_MAX {
            return Err(IdTokenError::TooLarge { size: text.len() });
        }
        let [_, claims, _] = parts(text)?;
        let claims = serde_json::from_slice(&decoded(claims)?)
            .map_err(|_| IdTokenError::Part { part: "content" })?;
        Ok(Self { raw, claims })
    }

    /// Returns the token itself.
    pub fn raw(&self) -> &Secret {
        &self.raw
    }

    /// Returns who it is about: a mail address that the issuer has checked, otherwise the issuer's own name for somebody.
    ///
    /// # Errors
    /// When the address was not checked, or there is no name.
    pub fn subject(&self) -> Result<&str> {
        let Claims { email, sub, .. } = &self.claims;
        let verified = match &self.claims.email_verified {
            Verified::Bool(verified) => *verified,
            Verified::Text(text) => text == "true",
        };
        match (email.as_str(), sub.as_str()) {
            ("", "") => Err(IdTokenError::NoSubject),
            ("", sub) => Ok(sub),
            (_, _) if !verified => Err(IdTokenError::Unverified),
            (email, _) => Ok(email),
        }
    }

    /// Checks that the token is the one that was asked for, and that one of the issuer's keys (`jwks`, JSON) signed it.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, jwks: &[u8], expected: &Expected<'_>) -> Result<()> {
        let claims = &self.claims;
        if claims.iss != expected.issuer {
            return Err(IdTokenError::Issuer {
                expected: expected.issuer.to_owned(),
                found: claims.iss.clone(),
            });
        }
        let audience = match &claims.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Several(several) => several,
        };
        if !audience.iter().any(|one| one == expected.client) {
            return Err(IdTokenError::Audience {
                expected: expected.client.to_owned(),
                found: audience.to_vec(),
            });
        }
        let (from, until) = (seconds(claims.nbf), seconds(claims.exp));
        let now = expected.now;
        if until < now || from > now.saturating_add(LEEWAY) {
            return Err(IdTokenError::Time { from, until, now });
        }
        let algorithm = self.check_signature(jwks)?;
        if expected.nonce.map(Secret::expose) != expected.nonce.and(claims.nonce.as_deref()) {
            return Err(IdTokenError::Nonce);
        }
        if let (Some(hash), Some(token)) = (&claims.at_hash, expected.access_token)
            && *hash != access_token_hash(&algorithm, token)
        {
            return Err(IdTokenError::AccessToken);
        }
        Ok(())
    }

    /// Returns the name of the algorithm.
    fn check_signature(&self, jwks: &[u8]) -> Result<String> {
        let text = self.raw.expose();
        let [header, _, signature] = parts(text)?;
        let signed = &text.as_bytes()[..text.len() - signature.len() - 1];
        let signature = decoded(signature)?;
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| IdTokenError::Part { part: "header" })?;
        let method = Method::by_name(&header.alg).ok_or_else(|| IdTokenError::Algorithm {
            algorithm: header.alg.clone(),
        })?;
        let set: KeySet = serde_json::from_slice(jwks).map_err(IdTokenError::Keys)?;
        let good = set
            .keys
            .into_iter()
            .take(KEYS_MAX)
            // A key of a kind that nobody here knows is for other tokens.
            .filter_map(|key| serde_json::from_value::<Key>(key).ok())
            .filter(|key| header.kid.is_none() || key.kid.is_none() || key.kid == header.kid)
            .any(|key| method.verifies(&key, signed, &signature).is_some());
        if good {
            Ok(header.alg)
        } else {
            Err(IdTokenError::Signature)
        }
    }
}

/// A way of signing tokens (RFC 7518, 3.1, and RFC 8037).
enum Method {
    Rsa(&'static RsaParameters),
    Curve(&'static str, usize, &'static dyn VerificationAlgorithm),
    Edwards,
}

impl Method {
    fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::Curve("P-256", 32, &ECDSA_P256_SHA256_FIXED),
            "ES384" => Self::Curve("P-384", 48, &ECDSA_P384_SHA384_FIXED),
            "ES512" => Self::Curve("P-521", 66, &ECDSA_P521_SHA512_FIXED),
            "EdDSA" => Self::Edwards,
            _ => return None,
        })
    }

    /// `None` when the key has not signed, or is of another kind.
    fn verifies(&self, key: &Key, signed: &[u8], signature: &[u8]) -> Option<()> {
        let bytes = |text: &Option<String>| decoded(text.as_deref()?).ok();
        let outcome = match self {
            Self::Rsa(parameters) if key.kty == "RSA" => {
                let (n, e) = (bytes(&key.n)?, bytes(&key.e)?);
                RsaPublicKeyComponents { n: &n, e: &e }.verify(parameters, signed, signature)
            }
            Self::Curve(name, size, algorithm)
                if key.kty == "EC" && key.crv.as_deref() == Some(name) =>
            {
                let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
                if x.len() != *size || y.len() != *size {
                    return None;
                }
                let point = [&[4][..], &x, &y].concat();
                UnparsedPublicKey::new(*algorithm, point).verify(signed, signature)
            }
            Self::Edwards if key.kty == "OKP" && key.crv.as_deref() == Some("Ed25519") => {
                UnparsedPublicKey::new(&ED25519, bytes(&key.x)?).verify(signed, signature)
            }
            _ => return None,
        };
        outcome.ok()
    }
}

fn parts(token: &str) -> Result<[&str; 3]> {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().map_err(|_| IdTokenError::Form)
}

fn decoded(part: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| IdTokenError::Form)
}

/// Times may have fractions, which nobody here needs; without one, there is none that holds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast saturates, and no time is so far away"
)]
fn seconds(time: Option<f64>) -> i64 {
    time.unwrap_or_default() as i64
}

/// The left half of the access token's hash (OpenID Connect Core 1.0, 3.1.3.6).
fn access_token_hash(algorithm: &str, token: &Secret) -> String {
    let hash = match algorithm {
        name if name.ends_with("384") => &SHA384,
        name if name.ends_with("256") => &SHA256,
        _ => &SHA512,
    };
    let hash = digest::digest(hash, token.expose().as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

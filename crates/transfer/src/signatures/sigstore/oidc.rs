//! OpenID Connect: what an issuer of identities offers (OpenID Connect Discovery 1.0), and the tokens that it gives. The
//! ways in which a person says to it who it is have modules of their own.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Secret;
use registry::{Question, Services};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use trust::{Expected, IdToken};

use super::super::clock::now;
use super::error::{OidcError, ServiceError};
use super::parameters::OidcClient;

type Result<T> = std::result::Result<T, OidcError>;

/// What tokens are to tell: who somebody is, and the mail address.
pub(super) const SCOPE: &str = "openid email";
/// How a challenge is made of what only we know (RFC 7636, 4.2).
pub(super) const CHALLENGE_METHOD: &str = "S256";
/// An issuer that does not say that it knows that, and does.
const AZURE: [&str; 2] = [
    "https://login.microsoftonline.com/",
    "https://login.microsoftonline.us/",
];
/// How many random bytes make something that nobody guesses.
const RANDOM_SIZE: usize = 32;

/// What an issuer says of itself.
#[derive(Deserialize)]
struct Offer {
    issuer: String,
    #[serde(default)]
    authorization_endpoint: String,
    #[serde(default)]
    token_endpoint: String,
    #[serde(default)]
    jwks_uri: String,
    #[serde(default)]
    device_authorization_endpoint: String,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
}

/// What the issuer answers to who asks for tokens.
#[derive(Deserialize)]
struct TokenReply {
    id_token: Option<String>,
    access_token: Option<String>,
    #[serde(default)]
    error: String,
}

/// The tokens that an issuer gives.
pub(super) struct Tokens {
    id: Secret,
    access: Option<Secret>,
}

/// What an issuer answers to who asks for tokens.
pub(super) enum Given {
    /// Tokens.
    Tokens(Tokens),
    /// The reason why not.
    Refused(String),
}

/// An issuer, as one of its clients sees it.
pub(super) struct Issuer<'a> {
    pub(super) services: &'a Services,
    pub(super) client: &'a OidcClient,
    offer: Offer,
}

/// What only we know, and what proves to the issuer later that we do (RFC 7636).
pub(super) struct Proof {
    pub(super) verifier: Secret,
    pub(super) challenge: String,
}

/// Returns a text that nobody guesses.
pub(super) fn random() -> Result<Secret> {
    let mut bytes = [0; RANDOM_SIZE];
    rand::fill(&mut bytes).map_err(|_| OidcError::Random)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Reads what a server answers.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| OidcError::Answer { what })
}

impl<'a> Issuer<'a> {
    /// Asks an issuer what it offers.
    pub(super) fn discover(services: &'a Services, client: &'a OidcClient) -> Result<Self> {
        let base = client.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let offer: Offer = decode("provider discovery object", &get(services, &url)?)?;
        if offer.issuer != client.issuer {
            return Err(OidcError::Issuer {
                expected: client.issuer.clone(),
                found: offer.issuer,
            });
        }
        let methods = &offer.code_challenge_methods_supported;
        let knows = methods.iter().any(|method| method == CHALLENGE_METHOD);
        let at = &offer.authorization_endpoint;
        if !knows && !AZURE.iter().any(|azure| at.starts_with(azure)) {
            return Err(OidcError::Pkce {
                url: offer.authorization_endpoint,
            });
        }
        Ok(Self {
            services,
            client,
            offer,
        })
    }

    /// Returns where a browser is sent to.
    pub(super) fn authorization_endpoint(&self) -> Result<&str> {
        present(&self.offer.authorization_endpoint, "authorization endpoint")
    }

    /// Returns where a device is announced.
    pub(super) fn device_endpoint(&self) -> Result<&str> {
        let at = &self.offer.device_authorization_endpoint;
        present(at, "device authorization endpoint")
    }

    /// Asks for tokens. Who asks is told as the issuer wants it.
    pub(super) fn tokens(&self, fields: &[(&'static str, Secret)]) -> Result<Given> {
        let url = present(&self.offer.token_endpoint, "token endpoint")?;
        let (id, secret) = (&self.client.id, &self.client.secret);
        let mut inside = fields.to_vec();
        inside.push(("client_id", Secret::new(id.as_str())));
        if secret.is_empty() {
            return self.ask_tokens(url, inside, None);
        }
        let pair = Some((id.clone(), secret.clone()));
        match self.ask_tokens(url, fields.to_vec(), pair)? {
            // Some issuers know passwords only as fields (RFC 6749, 2.3.1).
            Given::Refused(reason) if reason == "invalid_client" => {
                inside.push(("client_secret", secret.clone()));
                self.ask_tokens(url, inside, None)
            }
            given => Ok(given),
        }
    }

    fn ask_tokens(
        &self,
        url: &str,
        fields: Vec<(&'static str, Secret)>,
        client: Option<(String, Secret)>,
    ) -> Result<Given> {
        let asked = self.services.ask(url, &Question::Form { fields, client });
        let reply = asked.map_err(ServiceError::from)?;
        let read: TokenReply = match decode("token", &reply.body) {
            Ok(read) => read,
            Err(_) if reply.status != 200 => {
                return Err(ServiceError::refused(&format!("POST {url}"), &reply).into());
            }
            Err(err) => return Err(err),
        };
        Ok(match read.id_token {
            Some(id) => Given::Tokens(Tokens {
                id: Secret::new(id),
                access: read.access_token.map(Secret::new),
            }),
            None if read.error.is_empty() => return Err(OidcError::NoToken),
            None => Given::Refused(read.error),
        })
    }

    /// Checks that a token is the one that was asked for, and the issuer's own.
    pub(super) fn accept(&self, tokens: Tokens, nonce: Option<&Secret>) -> Result<IdToken> {
        let url = present(&self.offer.jwks_uri, "jwks_uri")?;
        let token = IdToken::parse(tokens.id)?;
        let expected = Expected {
            issuer: &self.client.issuer,
            client: &self.client.id,
            nonce,
            access_token: tokens.access.as_ref(),
            now: now()?,
        };
        token.verify(&get(self.services, url)?, &expected)?;
        Ok(token)
    }
}

impl Proof {
    pub(super) fn new() -> Result<Self> {
        let verifier = random()?;
        let hash = digest::digest(&digest::SHA256, verifier.expose().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(hash);
        Ok(Self {
            verifier,
            challenge,
        })
    }
}

fn get(services: &Services, url: &str) -> Result<Vec<u8>> {
    let asked = services.ask(url, &Question::Get);
    let reply = asked.map_err(ServiceError::from)?;
    match reply.status {
        200 => Ok(reply.body),
        _ => Err(ServiceError::refused(&format!("GET {url}"), &reply).into()),
    }
}

fn present<'a>(text: &'a str, what: &'static str) -> Result<&'a str> {
    if text.is_empty() {
        return Err(OidcError::Missing { what });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_prove() {
        let (one, other) = (Proof::new().unwrap(), Proof::new().unwrap());
        assert_ne!(one.verifier, other.verifier);
        // RFC 7636, 4.1: at least 43 letters.
        assert_eq!(one.verifier.expose().len(), 43);
        assert_eq!(one.challenge.len(), 43);
    }
}

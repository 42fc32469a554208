//! Authorisation: which of the offered ways is used, and bearer tokens, one per set of scopes, kept until they run out.
//!
//! Where credentials come from is not known here; they were given with the endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::call::Answer;
use crate::challenge::Challenge;
use crate::error::Failure;
use crate::notice::Notice;
use crate::options::Credential;
use crate::pause::http_date;
use crate::wire::shown;

/// How long a token is good at least, whatever its server says.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// How we call ourselves at a token server; its list of known clients is Docker's.
const CLIENT_ID: &str = "containers/image";
/// How much of an answer that is no token is quoted.
const QUOTED_BODY: usize = 100;

/// The way to the servers that give tokens out.
pub(crate) trait TokenServers: Sync {
    /// Asks the server at `url`, with a form or without, and returns its answer whatever the status.
    fn ask(
        &self,
        url: Url,
        headers: HeaderMap,
        form: Option<String>,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Tells the user.
    fn notify(&self, notice: &Notice);
}

type Slot = Arc<tokio::sync::Mutex<Option<Held>>>;

/// The tokens of one registry.
pub(crate) struct Tokens {
    credential: Credential,
    // One lock for each set of scopes, so that requests that want the same token wait for one request for it.
    held: Mutex<HashMap<Vec<String>, Slot>>,
    told_unknown: Mutex<bool>,
}

struct Held {
    token: Secret,
    until: Instant,
}

/// A value for the `Authorization` header.
pub(crate) struct Authorization {
    pub value: HeaderValue,
    /// Whether it was made for this very request.
    pub fresh: bool,
}

#[derive(Deserialize)]
struct TokenReply {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: f64,
    #[serde(default)]
    issued_at: Option<String>,
}

impl Tokens {
    pub fn new(credential: Credential) -> Self {
        Self {
            credential,
            held: Mutex::new(HashMap::new()),
            told_unknown: Mutex::new(false),
        }
    }

    /// Returns what to send with a request of these scopes; nothing when the registry did not ask.
    pub async fn authorization(
        &self,
        servers: &impl TokenServers,
        challenges: &[Challenge],
        scopes: &[String],
    ) -> Result<Option<Authorization>, Failure> {
        for challenge in challenges {
            match challenge.scheme.as_str() {
                "basic" => {
                    let (user, password) = self.user();
                    return Ok(sensitive(&basic(user, password), Fresh::Made));
                }
                "bearer" => return self.bearer(servers, challenge, scopes).await,
                _ => {}
            }
        }
        let mut told = self
            .told_unknown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !challenges.is_empty() && !std::mem::replace(&mut told, true) {
            let schemes: Vec<&str> = challenges
                .iter()
                .map(|challenge| challenge.scheme.as_str())
                .collect();
            servers.notify(&Notice::UnknownSchemes {
                schemes: schemes.join(", "),
            });
        }
        Ok(None)
    }

    /// Throws a token away.
    pub async fn forget(&self, scopes: &[String]) {
        *self.slot(scopes).lock().await = None;
    }

    fn user(&self) -> (&str, &str) {
        match &self.credential {
            Credential::Basic { user, password } => (user, password.expose()),
            _ => ("", ""),
        }
    }

    fn slot(&self, scopes: &[String]) -> Slot {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(scopes.to_vec()).or_default())
    }

    async fn bearer(
        &self,
        servers: &impl TokenServers,
        challenge: &Challenge,
        scopes: &[String],
    ) -> Result<Option<Authorization>, Failure> {
        if let Credential::Bearer(token) = &self.credential {
            return Ok(sensitive(
                &format!("Bearer {}", token.expose()),
                Fresh::Made,
            ));
        }
        let slot = self.slot(scopes);
        let mut held = slot.lock().await;
        if let Some(kept) = held.as_ref().filter(|kept| kept.until > Instant::now()) {
            return Ok(sensitive(
                &format!("Bearer {}", kept.token.expose()),
                Fresh::Kept,
            ));
        }
        let new = self.fetch(servers, challenge, scopes).await?;
        let new = held.insert(new);
        Ok(sensitive(
            &format!("Bearer {}", new.token.expose()),
            Fresh::Made,
        ))
    }

    async fn fetch(
        &self,
        servers: &impl TokenServers,
        challenge: &Challenge,
        scopes: &[String],
    ) -> Result<Held, Failure> {
        let realm = challenge
            .parameter("realm")
            .filter(|realm| !realm.is_empty())
            .ok_or(Failure::NoRealm)?;
        let url = Url::parse(realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Failure::BadRealm {
                realm: realm.to_owned(),
            })?;
        let service = challenge.parameter("service").unwrap_or_default();
        let asked = Instant::now();
        let mut headers = HeaderMap::new();
        let answer = match &self.credential {
            Credential::IdentityToken(token) => {
                let form = refresh_form(token, service, scopes);
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                );
                servers.ask(url, headers, Some(form)).await
            }
            _ => {
                let (user, password) = self.user();
                if !user.is_empty()
                    && !password.is_empty()
                    && let Some(made) = sensitive(&basic(user, password), Fresh::Made)
                {
                    headers.insert(AUTHORIZATION, made.value);
                }
                let url = password_url(url, user, service, scopes);
                servers.ask(url, headers, None).await
            }
        };
        let answer = answer.map_err(|failure| Failure::Token(Box::new(failure)))?;
        read_token(&answer, asked)
    }
}

fn read_token(answer: &Answer, asked: Instant) -> Result<Held, Failure> {
    match answer.status {
        200 => {}
        401 => {
            return Err(match answer.refusal() {
                Failure::Reply(reply) => Failure::TokenCredentials(reply),
                other => other,
            });
        }
        429 => return Err(Failure::TokenRate),
        _ => return Err(Failure::Token(Box::new(answer.refusal()))),
    }
    let url = shown(&answer.url);
    let reply: TokenReply =
        serde_json::from_slice(&answer.body).map_err(|source| Failure::TokenBody {
            url: url.clone(),
            start: harmless_start(&answer.body),
            source,
        })?;
    let token = if reply.token.is_empty() {
        reply.access_token
    } else {
        reply.token
    };
    if token.is_empty() {
        return Err(Failure::NoToken { url });
    }
    let life = Duration::try_from_secs_f64(reply.expires_in)
        .unwrap_or_default()
        .max(SHORTEST_LIFE);
    // A server may hand out the same token again. Its age is counted by its own clock, so that ours need not be right.
    let sent = answer
        .headers
        .get(DATE)
        .and_then(|value| http_date(value.to_str().ok()?));
    let issued = reply
        .issued_at
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let age = match (sent, issued) {
        (Some(sent), Some(issued)) => {
            Duration::try_from(sent.duration_since(issued)).unwrap_or_default()
        }
        _ => Duration::ZERO,
    };
    Ok(Held {
        token: Secret::new(token),
        until: asked + life.saturating_sub(age).min(Duration::from_secs(24 * 3600)),
    })
}

/// The beginning of a body for a message, unless it might contain a token.
fn harmless_start(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(QUOTED_BODY)]).into_owned();
    if start.to_ascii_lowercase().contains("token") {
        String::new()
    } else {
        start
    }
}

#[derive(Clone, Copy)]
enum Fresh {
    Made,
    Kept,
}

fn sensitive(text: &str, fresh: Fresh) -> Option<Authorization> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(Authorization {
        value,
        fresh: matches!(fresh, Fresh::Made),
    })
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The address for a token by password: keys in alphabetical order, those of the realm itself among them.
fn password_url(mut realm: Url, user: &str, service: &str, scopes: &[String]) -> Url {
    let mut pairs: Vec<(String, String)> = realm.query_pairs().into_owned().collect();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    };
    add("account", user);
    add("service", service);
    for scope in scopes {
        add("scope", scope);
    }
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let query = encode(&pairs);
    realm.set_query((!query.is_empty()).then_some(query.as_str()));
    realm
}

fn refresh_form(token: &Secret, service: &str, scopes: &[String]) -> String {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut pairs = vec![
        pair("client_id", CLIENT_ID),
        pair("grant_type", "refresh_token"),
        pair("refresh_token", token.expose()),
    ];
    pairs.extend(scopes.iter().map(|scope| pair("scope", scope)));
    if !service.is_empty() {
        pairs.push(pair("service", service));
    }
    encode(&pairs)
}

fn encode(pairs: &[(String, String)]) -> String {
    let encoded = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", query_escape(name), query_escape(value)));
    encoded.collect::<Vec<_>>().join("&")
}

/// Escapes as Go's `url.QueryEscape`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_requests_are_written_as_go_does() {
        let realm = || Url::parse("https://auth.example.com/token?z=1&b=x%20y").unwrap();
        let scopes = [
            "repository:a/b:pull,push".to_owned(),
            "repository:c:pull".to_owned(),
        ];
        let check = |url: Url, expected: &str| assert_eq!(url.as_str(), expected);
        check(
            password_url(realm(), "us er", "svc,1", &scopes),
            "https://auth.example.com/token?account=us+er&b=x+y&scope=repository%3Aa%2Fb%3Apull%2Cpush\
             &scope=repository%3Ac%3Apull&service=svc%2C1&z=1",
        );
        let plain = Url::parse("https://auth.example.com/token").unwrap();
        check(
            password_url(plain, "", "", &[]),
            "https://auth.example.com/token",
        );
        assert_eq!(
            refresh_form(&Secret::new("t/o+k"), "svc", &scopes[..1]),
            "client_id=containers%2Fimage&grant_type=refresh_token&refresh_token=t%2Fo%2Bk\
             &scope=repository%3Aa%2Fb%3Apull%2Cpush&service=svc"
        );
    }

    #[test]
    fn nobody_has_an_empty_password() {
        assert_eq!(basic("", ""), "Basic Og==");
    }
}

//! A token server as registries with `auth: token` send their clients to.
//!
//! Its tokens are JWTs (ES256, certificate chain in the header) that Debian's `docker-registry`
//! verifies. It records every request, and can be told to give less than was asked for.

use std::io::{self, BufReader};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::authority::{Authority, Identity};
use crate::http::{Head, Listener, answer, read_body};

const SERVICE: &str = "test-registry";
const ISSUER: &str = "test-issuer";

/// Who may have a token, and of what kind.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// Users and their passwords.
    pub users: Vec<(String, String)>,
    /// Identity tokens that a POST may trade for an access token.
    pub identity_tokens: Vec<String>,
    /// Whether a request without a user gets tokens too.
    pub anonymous: bool,
    /// How many of the first tokens allow nothing, whatever was asked for.
    pub worthless: usize,
    /// Lifetime that the answer claims, in seconds; none leaves it out.
    pub expires_in: Option<u64>,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            users: vec![("u1".to_owned(), "pw1".to_owned())],
            identity_tokens: vec!["identity-1".to_owned()],
            anonymous: true,
            worthless: 0,
            expires_in: Some(300),
        }
    }
}

/// One request for a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// GET or POST.
    pub method: String,
    /// The path and the query, or the form of a POST, as sent.
    pub sent: String,
    /// Every `scope`, in order.
    pub scopes: Vec<String>,
    /// The user of HTTP Basic.
    pub user: Option<String>,
    /// `refresh_token` of a POST.
    pub refresh_token: Option<String>,
    /// `grant_type` of a POST.
    pub grant_type: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A running token server, closed when dropped.
pub struct TokenServer {
    listener: Listener,
    root: String,
    state: Arc<State>,
}

struct State {
    signer: Identity,
    inner: Mutex<Inner>,
}

struct Inner {
    rules: TokenRules,
    requests: Vec<TokenRequest>,
    issued: usize,
}

impl TokenServer {
    /// Starts a server with these rules.
    pub fn start(rules: TokenRules) -> Result<Self> {
        let authority = Authority::new("token authority")?;
        let state = Arc::new(State {
            signer: authority.server(&["token-signer"])?,
            inner: Mutex::new(Inner {
                rules,
                requests: Vec::new(),
                issued: 0,
            }),
        });
        let listener = Listener::start({
            let state = Arc::clone(&state);
            move |stream| drop(state.serve(&stream))
        })?;
        Ok(Self {
            listener,
            root: authority.pem(),
            state,
        })
    }

    /// The address that a registry names in its challenge.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.listener.host())
    }

    /// The service of the challenge.
    pub fn service(&self) -> &'static str {
        SERVICE
    }

    /// The issuer of the tokens.
    pub fn issuer(&self) -> &'static str {
        ISSUER
    }

    /// The certificate that the tokens' signer descends from, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.state.inner().requests.clone()
    }

    /// Forgets the requests so far, and sets other rules.
    pub fn change(&self, rules: TokenRules) {
        let mut inner = self.state.inner();
        inner.rules = rules;
        inner.requests.clear();
        inner.issued = 0;
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(stream);
        while let Some(head) = Head::read(&mut from)? {
            let body = read_body(&mut from, head.request_body())?;
            let (status, text) = self.reply(&head, &body);
            let headers = [("Content-Type", "application/json")];
            answer(&mut &*stream, status, &headers, text.as_bytes())?;
        }
        Ok(())
    }

    fn reply(&self, head: &Head, body: &[u8]) -> (u16, String) {
        let mut request = read_request(head, body);
        let mut inner = self.inner();
        let (who, allowed) = identify(&inner.rules, head, &request);
        request.status = if allowed { 200 } else { 401 };
        inner.requests.push(request.clone());
        if !allowed {
            let text = json!({"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]});
            return (401, text.to_string());
        }
        inner.issued += 1;
        let worthless = inner.issued <= inner.rules.worthless;
        let expires_in = inner.rules.expires_in;
        drop(inner);
        let granted = if worthless { &[][..] } else { &request.scopes };
        match self.token(&who, granted) {
            Ok(token) => {
                let mut text = json!({"token": token});
                if let Some(seconds) = expires_in {
                    text["expires_in"] = seconds.into();
                }
                (200, text.to_string())
            }
            Err(error) => (500, format!("{error:#}")),
        }
    }

    /// A signed token for `scopes`, each `type:name:action,action`.
    fn token(&self, who: &str, scopes: &[String]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let access: Vec<serde_json::Value> = scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<&str> = actions.split(',').collect();
                Some(json!({"type": kind, "name": name, "actions": actions}))
            })
            .collect();
        let header = json!({
            "typ": "JWT", "alg": "ES256",
            "x5c": [STANDARD.encode(&self.signer.certificate_der)],
        });
        let claims = json!({
            "iss": ISSUER, "sub": who, "aud": SERVICE, "jti": format!("{now}"),
            "iat": now, "nbf": now - 10, "exp": now + 3600, "access": access,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.signer.key_der)
            .ok()
            .context("the signer's key is not P-256")?;
        let signature = key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .ok()
            .context("cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn read_request(head: &Head, body: &[u8]) -> TokenRequest {
    let sent = if head.method() == "POST" {
        String::from_utf8_lossy(body).into_owned()
    } else {
        head.target().to_owned()
    };
    let query = sent
        .split_once('?')
        .map_or(sent.as_str(), |(_, query)| query);
    let fields: Vec<(String, String)> = form_fields(query).collect();
    let one = |name: &str| {
        let found = fields.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.clone())
    };
    TokenRequest {
        method: head.method().to_owned(),
        scopes: fields
            .iter()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
            .collect(),
        user: basic(head).map(|(user, _)| user),
        refresh_token: one("refresh_token"),
        grant_type: one("grant_type"),
        status: 0,
        sent,
    }
}

/// The fields of a form or a query, their encoding undone.
pub(crate) fn form_fields(text: &str) -> impl Iterator<Item = (String, String)> {
    let fields = text.split('&').filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (decode(name), decode(value)))
}

/// Who asks, and whether the rules know them.
fn identify(rules: &TokenRules, head: &Head, request: &TokenRequest) -> (String, bool) {
    if let Some(token) = &request.refresh_token {
        return ("identity".to_owned(), rules.identity_tokens.contains(token));
    }
    match basic(head) {
        Some(pair) => (pair.0.clone(), rules.users.contains(&pair)),
        None => (String::new(), rules.anonymous),
    }
}

fn basic(head: &Head) -> Option<(String, String)> {
    let word = head.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(word).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Undoes the encoding of a form's words.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'%'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curl;
    use crate::registry::{Access, Registry, Wire};

    #[test]
    fn words_of_forms_are_decoded() {
        assert_eq!(
            decode("repository%3Aa%2Fb%3Apull+x"),
            "repository:a/b:pull x"
        );
        assert_eq!(decode("plain"), "plain");
    }

    #[test]
    fn peer_the_registry_takes_our_tokens() {
        let tokens = TokenServer::start(TokenRules::default()).unwrap();
        let registry = Registry::start(&Wire::Http, &Access::Tokens(&tokens)).unwrap();
        let list = format!("http://{}/v2/a/b/tags/list", registry.host());
        assert_eq!(curl::status(&[&list]).unwrap(), "401");
        let ask = format!("{}?service=x&scope=repository:a/b:pull", tokens.realm());
        let fetch = |words: &[&str]| {
            let text = curl::body(words).unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
            answer["token"].as_str().unwrap_or_default().to_owned()
        };
        let token = fetch(&["-u", "u1:pw1", &ask]);
        let bearer = format!("Authorization: Bearer {token}");
        let said = curl::status(&["-H", &bearer, &list]).unwrap();
        assert_eq!(said, "404", "the repository is not there, the right is");
        assert_eq!(fetch(&["-u", "u1:wrong", &ask]), "");
        let realm = tokens.realm();
        let form =
            "grant_type=refresh_token&refresh_token=identity-1&scope=repository%3Aa%2Fb%3Apull";
        assert_ne!(fetch(&["-d", form, &realm]), "");
        let seen = tokens.requests();
        assert_eq!(seen[0].user.as_deref(), Some("u1"));
        assert_eq!(seen[0].scopes, ["repository:a/b:pull"]);
        assert_eq!(seen[1].status, 401);
        assert_eq!(seen[2].refresh_token.as_deref(), Some("identity-1"));
        assert_eq!(seen[2].scopes, ["repository:a/b:pull"]);
    }
}

//! A request and a short reply, as values.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};

use crate::challenge::{self, Challenge};
use crate::error::Failure;
use crate::feed::Feed;
use crate::reply::ErrorReply;

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: Payload,
    pub scopes: Vec<String>,
}

#[derive(Clone)]
pub(crate) enum Target {
    /// Path and query below the registry's address.
    Api(String),
    /// An address that the registry gave.
    At(Url),
    /// An address that has nothing to do with the registry: no registry headers, no credentials.
    Elsewhere(Url),
}

#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    Feed(Feed),
}

/// A reply with its whole (short) body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub reason: String,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub challenges: Vec<Challenge>,
}

impl Call {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            target: Target::Api(path.into()),
            headers: HeaderMap::new(),
            body: Payload::Empty,
            scopes: Vec::new(),
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn at(method: Method, url: Url) -> Self {
        Self {
            target: Target::At(url),
            ..Self::new(method, "")
        }
    }

    pub fn elsewhere(url: Url) -> Self {
        Self {
            target: Target::Elsewhere(url),
            ..Self::new(Method::GET, "")
        }
    }

    pub fn scoped(mut self, scopes: Vec<String>) -> Self {
        if self.scopes.is_empty() {
            self.scopes = scopes;
        }
        self
    }

    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub fn body(mut self, body: Payload) -> Self {
        self.body = body;
        self
    }

    /// Whether the registry may be asked again because of what it answered.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.body, Payload::Empty)
    }

    /// Whether the request may be sent again when no answer came.
    pub fn is_resendable(&self) -> bool {
        !matches!(self.body, Payload::Feed(_))
    }
}

impl Answer {
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The reply as the error that it is.
    pub fn refusal(&self) -> Failure {
        Failure::Reply(ErrorReply::new(
            self.status,
            &self.reason,
            &self.challenges,
            &self.body,
        ))
    }

    /// The reply, if its status is one of those.
    pub fn expect(self, statuses: &[u16]) -> Result<Self, Failure> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        Err(self.refusal())
    }

    /// Where the reply sends us.
    pub fn location(&self) -> Result<Url, Failure> {
        let text = self
            .header(&LOCATION)
            .ok_or(Failure::Header { name: "Location" })?;
        self.url
            .join(text)
            .map_err(|_| Failure::Header { name: "Location" })
    }
}

pub(crate) fn challenges_of(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    challenge::parse(values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()))
}

/// The reason as sent, which need not be the usual one.
pub(crate) fn reason_of(response: &Response) -> String {
    if let Some(sent) = response.extensions().get::<hyper::ext::ReasonPhrase>() {
        return String::from_utf8_lossy(sent.as_bytes()).into_owned();
    }
    response
        .status()
        .canonical_reason()
        .unwrap_or_default()
        .to_owned()
}

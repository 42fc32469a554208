//! Services of the web that are no registries, such as those that certify keys: short questions and short answers, with
//! the proxies and the trust of the host.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Url};

use crate::call::{Answer, Call, Payload};
use crate::endpoint::Endpoint;
use crate::error::{Failure, RegistryError};
use crate::http::Http;
use crate::notice::Notice;
use crate::options::{Credential, EndpointOptions, RequestRetry, Security};
use crate::pause::{Pauses, retry_after};
use crate::tls::TlsFiles;
use crate::wire::shown;

/// The most bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;
/// How often a question is asked again when the service is overloaded, or cannot be reached.
const FURTHER: u32 = 3;

/// The way to services of the web. Clones share connections.
#[derive(Clone)]
pub struct Services(Endpoint);

/// What is asked. Secrets in it appear in no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Gives what is there.
    Get,
    /// Takes a document.
    Json {
        /// The document.
        body: Vec<u8>,
        /// The token of who asks.
        bearer: Option<Secret>,
    },
    /// Takes the fields of a form.
    Form {
        /// Names and values.
        fields: Vec<(&'static str, Secret)>,
        /// The user who asks, with a password (RFC 6749, 2.3.1).
        client: Option<(String, Secret)>,
    },
}

/// What a service answers, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The status with its reason, as messages have it: `401 Unauthorized`.
    pub status_line: String,
    /// Where the answer points to, as written.
    pub location: Option<String>,
    /// The content.
    pub body: Vec<u8>,
}

impl Http {
    /// Prepares questions to services; nothing is opened yet.
    pub fn services(&self) -> Services {
        Services(self.endpoint(EndpointOptions {
            host: "localhost".to_owned(),
            security: Security::Verified,
            tls: TlsFiles::default(),
            credential: Credential::Anonymous,
            retry: RequestRetry {
                after_cut: FURTHER,
                after_status: FURTHER,
                ..RequestRetry::default()
            },
            notices: Arc::new(|_: &Notice| {}),
        }))
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Services")
    }
}

impl Services {
    /// Asks one question at an `http` or `https` address. It is asked again when no answer came, or the service is
    /// overloaded, so it must be one that may arrive twice. Only [`Question::Get`] follows redirects: it has no secrets.
    ///
    /// # Errors
    /// When there is no answer, or it is too long; a refusing answer is one.
    pub fn ask(&self, url: &str, question: &Question) -> Result<Reply, RegistryError> {
        let wrong = |url: String, source| RegistryError::FetchUrl { url, source };
        let Ok(parsed) = Url::parse(url) else {
            let source = Failure::Url {
                url: url.to_owned(),
            };
            return Err(wrong(url.to_owned(), source));
        };
        let call = call(parsed.clone(), question);
        let client = Arc::clone(&self.0.client);
        let retry = client.retry();
        let work = async move {
            let mut pauses = Pauses::new(retry);
            let mut limited = 0;
            loop {
                let asked = client.answer_within(call.clone(), MAX_ANSWER, "the answer");
                let answer = asked.await?;
                let pause = match answer.status {
                    429 if limited < FURTHER => {
                        limited += 1;
                        Some(retry_after(&answer.headers, limited - 1))
                    }
                    status => pauses.after_status(status),
                };
                let Some(pause) = pause.filter(|_| !call.is_repeatable()) else {
                    return Ok(reply(&answer));
                };
                tokio::time::sleep(pause).await;
            }
        };
        let answered = self.0.http.run(work);
        answered.map_err(|source| wrong(shown(&parsed), source))
    }
}

fn call(url: Url, question: &Question) -> Call {
    let call = Call::elsewhere(url).header(ACCEPT, "application/json");
    let (kind, body, who) = match question {
        Question::Get => return call,
        Question::Json { body, bearer } => {
            let who = bearer
                .as_ref()
                .map(|token| format!("Bearer {}", token.expose()));
            ("application/json", body.clone(), who)
        }
        Question::Form { fields, client } => {
            let fields = fields.iter().map(|(name, value)| (*name, value.expose()));
            let who = client.as_ref().map(|(user, password)| {
                let pair = format!("{}:{}", word(user), word(password.expose()));
                format!("Basic {}", STANDARD.encode(pair))
            });
            let body = encoded(fields).into_bytes();
            ("application/x-www-form-urlencoded", body, who)
        }
    };
    let mut call = call.header(CONTENT_TYPE, kind);
    call.method = Method::POST;
    call.body = Payload::Bytes(body.into());
    if let Some(mut value) = who.and_then(|who| HeaderValue::try_from(who).ok()) {
        value.set_sensitive(true);
        call.headers.insert(AUTHORIZATION, value);
    }
    call
}

fn reply(answer: &Answer) -> Reply {
    Reply {
        status: answer.status,
        status_line: format!("{} {}", answer.status, answer.reason),
        location: answer.header(&LOCATION).map(str::to_owned),
        body: answer.body.to_vec(),
    }
}

/// Adds fields to an address; `None` when it is none.
pub fn url_with_query(url: &str, fields: &[(&str, &str)]) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.query_pairs_mut().extend_pairs(fields);
    Some(url.into())
}

/// Reads the fields of the query in a request's target (`/path?name=value`).
pub fn query_fields(target: &str) -> Vec<(String, String)> {
    let Ok(url) = Url::parse(&format!("http://localhost{target}")) else {
        return Vec::new();
    };
    let fields = url.query_pairs();
    fields
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn encoded<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = Url::parse("http://localhost").expect("is an address");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// One word of a form.
fn word(text: &str) -> String {
    encoded(std::iter::once(("", text)))[1..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_queries() {
        let check = |text: &str, expected: &str| {
            assert_eq!(word(text), expected);
            let target = format!("/p?a={expected}&b=");
            let fields = query_fields(&target);
            assert_eq!(fields[0], ("a".to_owned(), text.to_owned()));
            assert_eq!(fields[1], ("b".to_owned(), String::new()));
        };
        check("plain", "plain");
        check("a b&c=d/é", "a+b%26c%3Dd%2F%C3%A9");
        check("", "");
        assert_eq!(
            url_with_query("https://i.example/auth?x=1", &[("scope", "openid email")]),
            Some("https://i.example/auth?x=1&scope=openid+email".to_owned())
        );
        assert_eq!(url_with_query("nothing", &[]), None);
    }

    #[test]
    fn secrets_are_sent_and_not_shown() {
        let form = Question::Form {
            fields: vec![("code", Secret::new("canary"))],
            client: Some(("me".to_owned(), Secret::new("p:w"))),
        };
        assert!(!format!("{form:?}").contains("canary"));
        let call = call(Url::parse("http://x/").unwrap(), &form);
        assert_eq!(call.method, Method::POST);
        assert_eq!(
            call.headers[AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("me:p%3Aw"))
        );
        assert!(!format!("{:?}", call.headers).contains("Basic"));
        let Payload::Bytes(body) = call.body else {
            panic!("a form has a body");
        };
        assert_eq!(body, "code=canary");
    }
}

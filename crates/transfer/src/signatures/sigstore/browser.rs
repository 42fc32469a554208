//! Who somebody is, said in a browser: on this machine, where it brings the answer to us, or elsewhere, from where a
//! person copies it (RFC 6749, 4.1, and RFC 8252, 7.3).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use model::Secret;
use registry::{Services, query_fields, url_with_query};
use trust::IdToken;

use super::conversation::Conversation;
use super::error::OidcError;
use super::oidc::{CHALLENGE_METHOD, Given, Issuer, Proof, SCOPE, random};
use super::parameters::OidcClient;

type Result<T> = std::result::Result<T, OidcError>;

/// How long the browser is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two looks whether it came.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a browser that came may take to say something.
const STALL: Duration = Duration::from_secs(5);
/// The most bytes that it may say.
const REQUEST_MAX: u64 = 16 << 10;
/// Where it is to bring the answer.
const CALLBACK: &str = "/auth/callback";
const DONE: &str = "<!DOCTYPE html><title>Sigstore Auth</title>\
    <h1>Sigstore Auth Successful</h1><p>You may now close this page.</p>\n";

/// Gets a token from an issuer after the person has said in a browser who it is.
pub(super) fn id_token(
    services: &Services,
    client: &OidcClient,
    conversation: &dyn Conversation,
) -> Result<IdToken> {
    let issuer = Issuer::discover(services, client)?;
    let proof = Proof::new()?;
    let (state, nonce) = (random()?, random()?);
    let callback = Callback::listen().map_err(OidcError::Listen)?;
    let endpoint = issuer.authorization_endpoint()?;
    let fields = [
        ("client_id", client.id.as_str()),
        ("response_type", "code"),
        ("scope", SCOPE),
        ("redirect_uri", &callback.url),
        ("state", state.expose()),
        ("nonce", nonce.expose()),
        ("code_challenge", &proof.challenge),
        ("code_challenge_method", CHALLENGE_METHOD),
        ("access_type", "online"),
    ];
    let url = url_with_query(endpoint, &fields).ok_or(OidcError::Missing {
        what: "authorization endpoint",
    })?;
    let code = match conversation.browse(&url) {
        Ok(()) => {
            conversation.tell(&format!("Your browser will now be opened to:\n{url}"));
            match callback.code(&state) {
                Ok(code) => code,
                Err(denied @ OidcError::Denied { .. }) => return Err(denied),
                Err(err) => {
                    conversation.tell(&format!("error getting code from local server: {err}"));
                    ask(conversation, &url)?
                }
            }
        }
        Err(err) => {
            conversation.tell(&format!("error opening browser: {err}"));
            ask(conversation, &url)?
        }
    };
    let fields = [
        ("grant_type", Secret::new("authorization_code")),
        ("code", code),
        ("redirect_uri", Secret::new(callback.url.as_str())),
        ("code_verifier", proof.verifier),
    ];
    match issuer.tokens(&fields)? {
        Given::Tokens(tokens) => issuer.accept(tokens, Some(&nonce)),
        Given::Refused(reason) => Err(OidcError::Denied { reason }),
    }
}

/// Has the person open the address, and type what it gives.
fn ask(conversation: &dyn Conversation, url: &str) -> Result<Secret> {
    conversation.tell(&format!(
        "Go to the following link in a browser:\n\n\t {url}"
    ));
    let answer = conversation.ask("Enter verification code: ");
    answer.map(Secret::new).map_err(OidcError::Ask)
}

/// The place on this machine to which a browser brings the answer.
struct Callback {
    listener: TcpListener,
    url: String,
}

impl Callback {
    fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let url = format!("http://localhost:{port}{CALLBACK}");
        Ok(Self { listener, url })
    }

    /// Waits for the answer, and returns what tokens are given for.
    fn code(&self, state: &Secret) -> Result<Secret> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let Ok((stream, _)) = self.listener.accept() else {
                sleep(PAUSE);
                continue;
            };
            // Others may come by: what is no answer is not waited for.
            if let Ok(Some(fields)) = serve(&stream, state) {
                return code_of(&fields, state);
            }
        }
        Err(OidcError::Timeout)
    }
}

/// Answers one request; returns its fields when it is the one that is waited for.
fn serve(stream: &TcpStream, state: &Secret) -> io::Result<Option<Vec<(String, String)>>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let mut head = BufReader::new(stream.take(REQUEST_MAX));
    let mut first = String::new();
    head.read_line(&mut first)?;
    // The rest is read so that the answer is not lost with the connection.
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let is_ours = target.split('?').next() == Some(CALLBACK);
    let fields = is_ours.then(|| query_fields(target));
    let good = fields.as_ref().is_some_and(|fields| {
        let has = |name: &str, value: Option<&str>| {
            let mut named = fields.iter().filter(|(have, _)| have == name);
            named.any(|(_, have)| value.is_none_or(|value| value == have))
        };
        has("state", Some(state.expose())) && has("code", None)
    });
    let (status, text) = match (is_ours, good) {
        (_, true) => ("200 OK", DONE),
        (true, false) => ("400 Bad Request", "The authentication failed.\n"),
        (false, false) => ("404 Not Found", "Nothing is here.\n"),
    };
    let length = text.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    )?;
    Ok(fields)
}

fn code_of(fields: &[(String, String)], state: &Secret) -> Result<Secret> {
    let take = |name: &str| {
        let found = fields.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.clone())
    };
    if take("state").as_deref() != Some(state.expose()) {
        return Err(OidcError::State);
    }
    match (take("code"), take("error")) {
        (Some(code), _) => Ok(Secret::new(code)),
        (None, reason) => Err(OidcError::Denied {
            reason: reason.unwrap_or_default(),
        }),
    }
}

//! Requests to one registry: contact, authorisation, redirects, waiting and trying again.
//!
//! Everything here is asynchronous and runs on the network thread. What the requests mean is for the modules that make
//! them.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, WARNING,
};
use reqwest::{Method, Response, Url};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;

use crate::auth::{TokenServers, Tokens};
use crate::call::{Answer, Call, Payload, Target, challenges_of, reason_of};
use crate::challenge::Challenge;
use crate::error::Failure;
use crate::feed::FeedBody;
use crate::http::{Http, TimeLimits};
use crate::notice::{self, Notice};
use crate::options::{EndpointOptions, RequestRetry, Security};
use crate::pause::{Pauses, retry_after};
use crate::proxy::Proxies;
use crate::reply::MAX_ERROR_BODY;
use crate::scout::Way;
use crate::tls::{self, HostRoots};
use crate::wire::{WireError, shown};

/// How many redirects one request follows.
const MAX_REDIRECTS: usize = 10;
/// How many header lines a reply may have.
const MAX_HEADERS: usize = 128;
/// How often a request is made in all when the registry answers 429.
const RATE_LIMITED_ATTEMPTS: u32 = 5;
/// The longest answer of a token server, in bytes.
const MAX_TOKEN_BODY: usize = 1024 * 1024;
/// How often a cut upload is looked after.
const WATCH: Duration = Duration::from_millis(500);

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const SIGNATURES: HeaderName = HeaderName::from_static("x-registry-supports-signatures");

/// The state of the conversation with one registry.
pub(crate) struct Client {
    options: EndpointOptions,
    user_agent: String,
    limits: TimeLimits,
    proxies: Arc<Proxies>,
    roots: Arc<HostRoots>,
    http: OnceLock<reqwest::Client>,
    contact: OnceCell<Contact>,
    pings: Mutex<Pings>,
    tokens: Tokens,
    warned: Mutex<HashSet<String>>,
    // The most that is uploaded in one request; `u64::MAX`: everything.
    piece: AtomicU64,
    way: Way,
}

/// The attempts to make contact that failed.
#[derive(Default)]
struct Pings {
    failed: Vec<Arc<Failure>>,
    /// How many of them somebody was told of.
    heard: usize,
}

/// What the first contact told.
pub(crate) struct Contact {
    /// The address of the registry, without a path.
    pub base: Url,
    /// The ways of authentication that it accepts.
    pub challenges: Vec<Challenge>,
    /// Whether it keeps signatures.
    pub signatures: bool,
}

impl Client {
    pub fn new(http: &Http, options: EndpointOptions) -> Self {
        Self {
            tokens: Tokens::new(options.credential.clone()),
            options,
            user_agent: http.user_agent().to_owned(),
            limits: http.limits(),
            proxies: http.proxies(),
            roots: http.roots(),
            http: OnceLock::new(),
            contact: OnceCell::new(),
            pings: Mutex::default(),
            warned: Mutex::new(HashSet::new()),
            piece: AtomicU64::new(u64::MAX),
            way: Way::default(),
        }
    }

    pub fn host(&self) -> &str {
        &self.options.host
    }

    /// The host that is really talked to.
    pub fn api_host(&self) -> &str {
        match self.host() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        }
    }

    pub fn retry(&self) -> RequestRetry {
        self.options.retry
    }

    /// Returns how much may be uploaded in one request, if that is known to be limited.
    pub fn piece(&self) -> Option<u64> {
        Some(self.piece.load(Ordering::Relaxed)).filter(|piece| *piece < u64::MAX)
    }

    /// Limits how much is uploaded in one request, or limits it further.
    pub fn use_pieces(&self, piece: u64) {
        self.piece.fetch_min(piece, Ordering::Relaxed);
    }

    /// Returns what is known of how much a connection bears.
    pub fn way(&self) -> &Way {
        &self.way
    }

    pub fn notify(&self, notice: &Notice) {
        (self.options.notices)(notice);
    }

    /// Makes the first contact, once. A failure is that of everybody who waited for it.
    pub async fn contact(&self) -> Result<&Contact, Failure> {
        let heard = self.pings().heard;
        let first = || async {
            let unheard = self.pings().failed.get(heard).cloned();
            let source = match unheard {
                Some(source) => source,
                None => match self.noted_ping().await {
                    Ok(contact) => return Ok(contact),
                    Err(source) => source,
                },
            };
            let mut pings = self.pings();
            pings.heard = pings.failed.len();
            Err(Failure::Ping {
                host: self.api_host().to_owned(),
                source,
            })
        };
        self.contact.get_or_try_init(first).await
    }

    /// Makes the first contact before somebody needs it, who is then told of a failure.
    pub async fn contact_early(&self) {
        let _ = self.contact.get_or_try_init(|| self.noted_ping()).await;
    }

    async fn noted_ping(&self) -> Result<Contact, Arc<Failure>> {
        let made = self.ping().await;
        made.map_err(|failure| {
            let failure = Arc::new(failure);
            self.pings().failed.push(Arc::clone(&failure));
            failure
        })
    }

    fn pings(&self) -> MutexGuard<'_, Pings> {
        self.pings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ping(&self) -> Result<Contact, Failure> {
        let schemes: &[&str] = match self.options.security {
            Security::Verified => &["https"],
            Security::Unverified => &["https", "http"],
        };
        let mut outcome = Err(Failure::NoRealm);
        for (number, scheme) in schemes.iter().enumerate() {
            // The attempt with TLS before plain HTTP is a question that "no" answers: it is asked once.
            let cuts = if number + 1 == schemes.len() {
                self.options.retry.after_cut
            } else {
                0
            };
            outcome = self.ping_with(scheme, cuts).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn ping_with(&self, scheme: &str, cuts: u32) -> Result<Contact, Failure> {
        let text = format!("{scheme}://{}", self.api_host());
        let base = Url::parse(&text).map_err(|_| Failure::Url { url: text })?;
        let url = base.join("/v2/").map_err(|_| Failure::Url {
            url: base.to_string(),
        })?;
        let call = Call::at(Method::GET, url);
        let mut pauses = Pauses::new(RequestRetry {
            after_cut: cuts,
            ..self.options.retry
        });
        loop {
            let response = match self.send(&call, None).await {
                Ok(response) => response,
                Err(failure) => match pauses.after(&failure) {
                    Some(pause) => {
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    None => return Err(failure),
                },
            };
            let signatures = response
                .headers()
                .get(SIGNATURES)
                .is_some_and(|value| value == "1");
            let answer = self
                .read(response, MAX_ERROR_BODY, "the reply to a ping", Excess::Cut)
                .await?;
            let answer = answer.expect(&[200, 401])?;
            return Ok(Contact {
                base,
                challenges: answer.challenges,
                signatures,
            });
        }
    }

    /// Does a request whose answer is short.
    pub async fn answer(&self, call: Call) -> Result<Answer, Failure> {
        self.answer_within(call, MAX_ERROR_BODY, "the reply").await
    }

    /// Does a request whose answer may be as long as `limit`. A refusing answer may be longer, and is cut.
    pub async fn answer_within(
        &self,
        call: Call,
        limit: usize,
        what: &'static str,
    ) -> Result<Answer, Failure> {
        let mut pauses = Pauses::new(self.options.retry);
        let resendable = call.is_resendable();
        loop {
            let response = self.attempt(call.clone(), &mut pauses).await?;
            let (limit, excess) = if response.status().is_success() {
                (limit, Excess::Refuse)
            } else {
                (MAX_ERROR_BODY, Excess::Cut)
            };
            match self.read(response, limit, what, excess).await {
                Err(failure) if resendable => match pauses.after(&failure) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failure),
                },
                outcome => return outcome,
            }
        }
    }

    /// Does a request as often as the rules want, and returns the reply whatever its status.
    pub async fn execute(&self, call: Call) -> Result<Response, Failure> {
        self.attempt(call, &mut Pauses::new(self.options.retry))
            .await
    }

    async fn attempt(&self, mut call: Call, pauses: &mut Pauses) -> Result<Response, Failure> {
        let (repeatable, resendable) = (call.is_repeatable(), call.is_resendable());
        let mut limited = 0;
        let (mut widened, mut renewed) = (false, false);
        loop {
            let token = self.authorization(&call).await?;
            let fresh = token.as_ref().is_none_or(|token| token.fresh);
            let response = match self.send(&call, token.map(|token| token.value)).await {
                Ok(response) => response,
                Err(failure) => match pauses.after(&failure).filter(|_| resendable) {
                    Some(pause) => {
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    None => return Err(failure),
                },
            };
            if !repeatable {
                return Ok(response);
            }
            let status = response.status().as_u16();
            if status == 401
                && !widened
                && let Some(scope) = missing_scope(&challenges_of(response.headers()))
            {
                widened = true;
                if call.scopes.contains(&scope) {
                    // The token was worth less than what it was asked for; another may be worth more.
                    self.tokens.forget(&call.scopes).await;
                } else {
                    call.scopes.push(scope);
                }
            } else if status == 401 && !fresh && !renewed {
                // The token was kept from an earlier request and may have run out before its time.
                renewed = true;
                self.tokens.forget(&call.scopes).await;
            } else if status == 429 && limited + 1 < RATE_LIMITED_ATTEMPTS {
                let wait = retry_after(response.headers(), limited);
                limited += 1;
                self.notify(&Notice::RateLimited { wait });
                tokio::time::sleep(wait).await;
            } else if let Some(pause) = pauses.after_status(status) {
                tokio::time::sleep(pause).await;
            } else {
                return Ok(response);
            }
        }
    }

    async fn authorization(
        &self,
        call: &Call,
    ) -> Result<Option<crate::auth::Authorization>, Failure> {
        if matches!(call.target, Target::Elsewhere(_)) {
            return Ok(None);
        }
        let contact = self.contact().await?;
        if let Target::At(url) = &call.target
            && !same_host(url, &contact.base)
        {
            return Ok(None);
        }
        self.tokens
            .authorization(self, &contact.challenges, &call.scopes)
            .await
    }

    /// Sends a request once, redirects followed.
    async fn send(
        &self,
        call: &Call,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let first = match &call.target {
            Target::At(url) | Target::Elsewhere(url) => url.clone(),
            // Whoever sends such a request has made contact before, to know how to authorise it.
            Target::Api(path) => {
                let url = self
                    .contact
                    .get()
                    .and_then(|contact| contact.base.join(path).ok());
                url.ok_or_else(|| Failure::Url { url: path.clone() })?
            }
        };
        let mut authorization = authorization;
        let free = matches!(call.target, Target::Elsewhere(_));
        let allowed = |url| {
            if free {
                web_only(url)
            } else {
                self.secured(url)
            }
        };
        let mut url = allowed(first)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_to(call, &url, authorization.as_ref()).await?;
            let Some(next) = redirect_of(&call.method, &response, call.is_repeatable())? else {
                return Ok(response);
            };
            let next = allowed(next)?;
            if !same_host(&next, &url) {
                authorization = None;
            }
            url = next;
        }
        Err(Failure::TooMany {
            what: "redirects",
            limit: MAX_REDIRECTS,
        })
    }

    /// Refuses addresses without TLS where only TLS is allowed.
    fn secured(&self, mut url: Url) -> Result<Url, Failure> {
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.options.security == Security::Unverified => Ok(url),
            "http" => {
                // A registry behind a proxy that ends TLS names itself by its inner scheme.
                let ours = self
                    .contact
                    .get()
                    .is_some_and(|contact| contact.base.host_str() == url.host_str());
                let default_port = url.port().is_none();
                if ours && default_port && url.set_scheme("https").is_ok() {
                    let port = self.contact.get().and_then(|contact| contact.base.port());
                    let _ = url.set_port(port);
                    return Ok(url);
                }
                Err(Failure::Redirect {
                    target: shown(&url),
                    reason: "it leaves TLS",
                })
            }
            _ => web_only(url),
        }
    }

    async fn send_to(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut request = reqwest::Request::new(call.method.clone(), url.clone());
        *request.headers_mut() = call.headers.clone();
        if !matches!(call.target, Target::Elsewhere(_)) {
            request
                .headers_mut()
                .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        }
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let http = self.http()?;
        let wire = |error| Failure::wire(WireError::new(call.method.as_str(), url, &error));
        let feed = match &call.body {
            Payload::Empty => {
                if call.method == Method::POST || call.method == Method::PUT {
                    request
                        .headers_mut()
                        .insert(CONTENT_LENGTH, HeaderValue::from(0));
                }
                None
            }
            Payload::Bytes(bytes) => {
                *request.body_mut() = Some(bytes.clone().into());
                None
            }
            Payload::Feed(feed) => {
                *request.body_mut() = Some(reqwest::Body::wrap(FeedBody::new(feed.clone())));
                Some(feed)
            }
        };
        let limit = if matches!(call.body, Payload::Empty) && call.method != Method::PUT {
            self.limits.reply
        } else {
            self.limits.commit
        };
        let stalled = |limit| Failure::stalled(call.method.as_str(), &shown(url), limit);
        let Some(feed) = feed else {
            let reply = timeout(limit, http.execute(request)).await;
            let response = reply.map_err(|_| stalled(limit))?.map_err(wire)?;
            self.note_warnings(&response);
            return Ok(response);
        };
        let mut reply = pin!(http.execute(request));
        loop {
            if let Ok(response) = timeout(WATCH, reply.as_mut()).await {
                let response = response.map_err(wire)?;
                self.note_warnings(&response);
                return Ok(response);
            }
            if let Some(limit) = feed.overdue(self.limits.stall, self.limits.commit) {
                return Err(stalled(limit));
            }
        }
    }

    /// Reads a reply's body as far as the limit.
    pub async fn read(
        &self,
        mut response: Response,
        limit: usize,
        what: &'static str,
        excess: Excess,
    ) -> Result<Answer, Failure> {
        let mut answer = Answer {
            status: response.status().as_u16(),
            reason: reason_of(&response),
            url: response.url().clone(),
            challenges: challenges_of(response.headers()),
            headers: response.headers().clone(),
            body: Bytes::new(),
        };
        let mut body = Vec::new();
        while let Some(chunk) = self.next_chunk(&mut response).await? {
            if body.len() + chunk.len() > limit {
                if excess == Excess::Refuse {
                    return Err(Failure::TooLong {
                        what,
                        limit: limit as u64,
                    });
                }
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        answer.body = body.into();
        Ok(answer)
    }

    /// Reads the next piece of a body within the stall limit.
    pub async fn next_chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let limit = self.limits.stall;
        match timeout(limit, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Failure::wire(WireError::new("GET", response.url(), &error))),
            Err(_) => Err(Failure::stalled("GET", &shown(response.url()), limit)),
        }
    }

    /// Hands a body on, piece by piece, up to its end or its cut.
    pub async fn pump(&self, mut response: Response, pieces: mpsc::Sender<Result<Bytes, Failure>>) {
        loop {
            let (piece, last) = match self.next_chunk(&mut response).await {
                Ok(Some(piece)) => (Ok(piece), false),
                Ok(None) => return,
                Err(failure) => (Err(failure), true),
            };
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    }

    fn http(&self) -> Result<&reqwest::Client, Failure> {
        if let Some(built) = self.http.get() {
            return Ok(built);
        }
        let tls = tls::client_config(self.options.security, &self.options.tls, &self.roots)
            .map_err(Box::new)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.limits.connect)
            .pool_idle_timeout(Duration::from_secs(90))
            // A dynamically linked build asks the host's resolver, which knows what its nsswitch.conf says.
            .hickory_dns(cfg!(target_feature = "crt-static"))
            .no_proxy();
        if !self.proxies.is_empty() {
            let proxies = Arc::clone(&self.proxies);
            builder = builder.proxy(reqwest::Proxy::custom(move |url| proxies.of(url).cloned()));
        }
        let built = builder
            .build()
            .map_err(|error| Failure::Tls(Box::new(tls::TlsError::Client(error))))?;
        Ok(self.http.get_or_init(|| built))
    }

    fn note_warnings(&self, response: &Response) {
        let texts = response.headers().get_all(WARNING).iter();
        for text in texts.filter_map(|value| notice::parse_warning(value.to_str().ok()?)) {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.len() < notice::MAX_WARNINGS && warned.insert(text.clone()) {
                drop(warned);
                self.notify(&Notice::Warning {
                    url: shown(response.url()),
                    text,
                });
            }
        }
    }
}

/// No registry headers, no redirect of credentials, no waiting.
impl TokenServers for Client {
    async fn ask(
        &self,
        url: Url,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<Answer, Failure> {
        if self.options.security == Security::Verified
            && url.scheme() == "http"
            && headers.contains_key(AUTHORIZATION)
        {
            return Err(Failure::Redirect {
                target: shown(&url),
                reason: "it would send credentials without TLS",
            });
        }
        let authorization = headers.get(AUTHORIZATION).cloned();
        let method = if form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut call = Call {
            target: Target::Elsewhere(url),
            headers,
            ..Call::new(method, "")
        };
        call.headers.remove(AUTHORIZATION);
        if let Some(form) = form {
            call.body = Payload::Bytes(form.into());
        }
        let mut pauses = Pauses::new(self.options.retry);
        let response = loop {
            match self.send(&call, authorization.clone()).await {
                Err(failure) => match pauses.after(&failure) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failure),
                },
                Ok(response) => break response,
            }
        };
        let (limit, excess) = if response.status().is_success() {
            (MAX_TOKEN_BODY, Excess::Refuse)
        } else {
            (MAX_ERROR_BODY, Excess::Cut)
        };
        let what = "the answer of the token server";
        self.read(response, limit, what, excess).await
    }

    fn notify(&self, notice: &Notice) {
        Client::notify(self, notice);
    }
}

/// What becomes of a body that is longer than its limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It is an error.
    Refuse,
    /// The beginning is enough.
    Cut,
}

fn missing_scope(challenges: &[Challenge]) -> Option<String> {
    let bearer = challenges
        .iter()
        .find(|challenge| challenge.scheme == "bearer")?;
    if bearer.parameter("error") != Some("insufficient_scope") {
        return None;
    }
    let scope = bearer.parameter("scope")?;
    // `type:name:actions`; a name may itself contain colons (a host's port).
    let parts: Vec<&str> = scope.split(':').collect();
    (parts.len() >= 3 && parts.iter().all(|part| !part.is_empty())).then(|| scope.to_owned())
}

fn redirect_of(
    method: &Method,
    response: &Response,
    repeatable: bool,
) -> Result<Option<Url>, Failure> {
    let reading = method == Method::GET || method == Method::HEAD;
    let followed = match response.status().as_u16() {
        301..=303 => reading,
        307 | 308 => repeatable,
        _ => false,
    };
    if !followed {
        return Ok(None);
    }
    let Some(target) = response.headers().get(LOCATION) else {
        return Err(Failure::Header { name: "Location" });
    };
    let target = std::str::from_utf8(target.as_bytes()).ok();
    let url = target.and_then(|target| response.url().join(target).ok());
    url.map(Some).ok_or(Failure::Header { name: "Location" })
}

fn web_only(url: Url) -> Result<Url, Failure> {
    if matches!(url.scheme(), "http" | "https") {
        return Ok(url);
    }
    Err(Failure::Redirect {
        target: shown(&url),
        reason: "its scheme is neither http nor https",
    })
}

fn same_host(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

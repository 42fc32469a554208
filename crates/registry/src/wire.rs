//! Failures below HTTP, put into values: which request, and what the network, TLS or the HTTP parser said.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::Url;
use rustls::CertificateError;

/// A request that got no (complete) reply.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url:?}")]
pub struct WireError {
    // The method as Go writes it: `Get`, `Put`.
    method: String,
    // Without user information, and without the query when it may hold a signature.
    url: String,
    source: Cause,
}

/// What broke.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The server does not speak TLS.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    /// The server's certificate is not good; in Go's words.
    #[error("tls: failed to verify certificate: x509: {0}")]
    Certificate(String),
    /// TLS could not be agreed upon.
    #[error("tls")]
    Tls(#[source] rustls::Error),
    /// The network failed in a way that the system has a number for.
    #[error("{doing}")]
    Network {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The name of the host could not be resolved.
    #[error("lookup {host}: {text}")]
    Lookup {
        /// The host.
        host: String,
        /// The resolver's words.
        text: String,
    },
    /// The connection ended before the reply was complete.
    #[error("unexpected EOF")]
    Eof,
    /// Nothing moved for too long.
    #[error("no byte for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The connection was not made in time.
    #[error("the connection was not made in time")]
    ConnectTimeout,
    /// The reply is no HTTP, or the proxy refuses.
    #[error("{0}")]
    Protocol(String),
}

impl WireError {
    pub(crate) fn new(method: &str, url: &Url, error: &reqwest::Error) -> Self {
        Self {
            method: title_case(method),
            url: shown(url),
            source: Cause::from_reqwest(error, url),
        }
    }

    pub(crate) fn stalled(method: &str, url: &str, limit: Duration) -> Self {
        Self {
            method: title_case(method),
            url: url.to_owned(),
            source: Cause::Stalled(limit),
        }
    }

    pub(crate) fn eof(method: &str, url: &str) -> Self {
        Self {
            method: title_case(method),
            url: url.to_owned(),
            source: Cause::Eof,
        }
    }

    /// Returns what broke.
    pub fn cause(&self) -> &Cause {
        &self.source
    }

    /// Returns whether a connection that existed broke: the same request may work at once.
    pub(crate) fn is_cut(&self) -> bool {
        match &self.source {
            Cause::Network { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
            Cause::Eof => true,
            _ => false,
        }
    }

    /// Returns whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match &self.source {
            Cause::Network { source, .. } => is_transient(source),
            Cause::Eof | Cause::Stalled(_) | Cause::ConnectTimeout => true,
            Cause::PlainHttp
            | Cause::Certificate(_)
            | Cause::Tls(_)
            | Cause::Lookup { .. }
            | Cause::Protocol(_) => false,
        }
    }
}

/// Writes an address for a message: without user information and query.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

fn title_case(method: &str) -> String {
    let mut text = method.to_ascii_lowercase();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl Cause {
    fn from_reqwest(error: &reqwest::Error, url: &Url) -> Self {
        let mut innermost: &(dyn Error + 'static) = error;
        let mut next = Some(innermost);
        while let Some(current) = next {
            innermost = current;
            if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                return Self::from_tls(tls, url);
            }
            if let Some(found) = current.downcast_ref::<io::Error>().and_then(Self::from_io) {
                return found;
            }
            if let Some(http) = current.downcast_ref::<hyper::Error>()
                && (http.is_incomplete_message()
                    || http.is_closed()
                    || http.is_canceled()
                    || http.is_body_write_aborted())
            {
                return Cause::Eof;
            }
            next = inner_of_io(current).or_else(|| current.source());
        }
        if error.is_timeout() {
            return Cause::ConnectTimeout;
        }
        let text = chain_text(error);
        if error.is_connect() && text.contains("dns error") {
            return Cause::Lookup {
                host: url.host_str().unwrap_or_default().to_owned(),
                text: Words(innermost).to_string(),
            };
        }
        Cause::Protocol(text)
    }

    fn from_tls(error: &rustls::Error, url: &Url) -> Self {
        match error {
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Cause::PlainHttp
            }
            rustls::Error::InvalidCertificate(reason) => {
                Cause::Certificate(certificate_words(reason, url))
            }
            other => Cause::Tls(other.clone()),
        }
    }

    fn from_io(error: &io::Error) -> Option<Self> {
        if error.raw_os_error().is_some() {
            return Some(Cause::Network {
                doing: if is_of_connecting(error) {
                    "dial tcp"
                } else {
                    "read or write"
                },
                source: io::Error::from_raw_os_error(error.raw_os_error()?),
            });
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Some(Cause::Eof),
            io::ErrorKind::TimedOut => Some(Cause::ConnectTimeout),
            _ => None,
        }
    }
}

fn certificate_words(reason: &CertificateError, url: &Url) -> String {
    use CertificateError as Reason;
    match reason {
        Reason::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        // Go goes on looking for another authority of that name, and says this when there is none.
        Reason::BadSignature => {
            "certificate signed by unknown authority (possibly because of a bad signature)"
                .to_owned()
        }
        Reason::Expired
        | Reason::ExpiredContext { .. }
        | Reason::NotValidYet
        | Reason::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {reason}")
        }
        Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
            format!(
                "certificate is not valid for {}: {reason}",
                url.host_str().unwrap_or_default()
            )
        }
        other => other.to_string(),
    }
}

/// An `io::Error` hides what it wraps from `source()`.
fn inner_of_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner)
}

fn is_of_connecting(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// The errors of the system after which another attempt is worth it.
fn is_transient(error: &io::Error) -> bool {
    use rustix::io::Errno;
    /// The kernel's number for "restart the call", which never reaches well-behaved programs but is on Buildah's list.
    const ERESTART: i32 = 85;
    let Some(number) = error.raw_os_error() else {
        return false;
    };
    let transient = [
        Errno::CONNREFUSED,
        Errno::INTR,
        Errno::AGAIN,
        Errno::BUSY,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NETRESET,
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::PIPE,
    ];
    number == ERESTART || transient.iter().any(|known| known.raw_os_error() == number)
}

fn chain_text(error: &reqwest::Error) -> String {
    // reqwest's own words contain the whole address, which may hold a signature.
    let inner = Error::source(error);
    inner.map_or_else(
        || "request failed".to_owned(),
        |inner| Words(inner).to_string(),
    )
}

/// An error with all its causes, `a: b: c`.
struct Words<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

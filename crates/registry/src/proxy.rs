//! Which proxy a request goes through, by the rules of Go's `httpproxy`: one for http, one for https, and a list of hosts
//! that are reached without.
//!
//! The values come from the environment of the caller; nothing is read here.

use std::net::IpAddr;

use reqwest::Url;

/// The values of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// The proxy for `http` addresses.
    pub http: Option<String>,
    /// The proxy for `https` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, separated by commas.
    pub no_proxy: Option<String>,
}

/// A proxy's address may hold a password.
impl std::fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxySettings")
            .field("http", &self.http.as_ref().map(|_| "***"))
            .field("https", &self.https.as_ref().map(|_| "***"))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// The settings, read.
#[derive(Default)]
pub(crate) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

/// Hosts that are reached without a proxy.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// A host's name and, behind a dot, everything below it; or only what is below.
    Domain {
        name: String,
        port: Option<u16>,
        itself: bool,
    },
}

impl Proxies {
    pub fn new(settings: &ProxySettings) -> Self {
        Self {
            http: settings.http.as_deref().and_then(proxy_url),
            https: settings.https.as_deref().and_then(proxy_url),
            direct: settings
                .no_proxy
                .as_deref()
                .unwrap_or_default()
                .split(',')
                .filter_map(Direct::parse)
                .collect(),
        }
    }

    /// Returns whether no request can have a proxy.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Returns the proxy for an address.
    pub fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        let port = url.port_or_known_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let direct = loopback
            || self
                .direct
                .iter()
                .any(|rule| rule.covers(&host, address, port));
        (!direct).then_some(proxy)
    }
}

/// Reads a proxy's address; without a scheme it is `http`.
fn proxy_url(text: &str) -> Option<Url> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let known = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.has_host()
    };
    Url::parse(text)
        .ok()
        .filter(known)
        .or_else(|| Url::parse(&format!("http://{text}")).ok().filter(known))
}

impl Direct {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Direct::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            return Some(Direct::Network(address.parse().ok()?, bits.parse().ok()?));
        }
        let (host, port) = split_port(&text);
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Some(Direct::Address(address, port));
        }
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        let (name, itself) = match host.strip_prefix('.') {
            Some(name) => (name, false),
            None => (host, true),
        };
        (!name.is_empty()).then(|| Direct::Domain {
            name: name.to_owned(),
            port,
            itself,
        })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let same_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Direct::All => true,
            Direct::Network(network, bits) => {
                address.is_some_and(|address| in_network(address, *network, *bits))
            }
            Direct::Address(wanted, on) => address == Some(*wanted) && same_port(on),
            Direct::Domain {
                name,
                port: on,
                itself,
            } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                (below || (*itself && host == name)) && same_port(on)
            }
        }
    }
}

fn split_port(text: &str) -> (&str, Option<u16>) {
    let bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    match text.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.contains(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let wide = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte))
    };
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (wide(&a.octets()), wide(&n.octets()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (wide(&a.octets()), wide(&n.octets()), 128),
        _ => return false,
    };
    match width - u32::from(bits).min(width) {
        128 => true,
        free => address >> free == network >> free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(no_proxy: &str, url: &str, expected: bool) {
        let settings = ProxySettings {
            http: Some("proxy.example.com:3128".to_owned()),
            https: Some("http://user:pw@secure.example.com:3129".to_owned()),
            no_proxy: Some(no_proxy.to_owned()),
        };
        let url = Url::parse(url).unwrap();
        let proxies = Proxies::new(&settings);
        let host = proxies.of(&url).and_then(Url::host_str);
        let wanted = if url.scheme() == "https" {
            "secure.example.com"
        } else {
            "proxy.example.com"
        };
        assert_eq!(host, expected.then_some(wanted), "{no_proxy:?} {url}");
        assert!(!format!("{settings:?}").contains("pw"));
    }

    #[test]
    fn proxies_are_chosen_as_go_does() {
        check("", "https://registry.example.com/v2/", true);
        check("", "http://registry.example.com/v2/", true);
        for loopback in [
            "http://localhost:5000/",
            "http://127.0.0.1/",
            "http://127.8.8.8/",
            "https://[::1]:5000/",
        ] {
            check("", loopback, false);
        }
        check("*", "https://registry.example.com/", false);
        check("example.com", "https://example.com/", false);
        check("example.com", "https://registry.example.com/", false);
        check("example.com", "https://notexample.com/", true);
        check(".example.com", "https://example.com/", true);
        check(".example.com", "https://registry.example.com/", false);
        check("*.example.com", "https://a.b.example.com/", false);
        check("*.example.com", "https://example.com/", true);
        check(
            "EXAMPLE.com , other.org",
            "https://Registry.Example.COM/",
            false,
        );
        check("example.com:5000", "https://example.com:5000/", false);
        check("example.com:5000", "https://example.com/", true);
        check("example.com:443", "https://example.com/", false);
        check("10.0.0.0/8", "http://10.20.30.40/", false);
        check("10.0.0.0/8", "http://11.20.30.40/", true);
        check("0.0.0.0/0", "http://11.20.30.40/", false);
        check("::/0", "http://[2001:db8::1]/", false);
        check("2001:db8::/32", "http://[2001:db8::1]/", false);
        check("10.1.1.1", "http://10.1.1.1:5000/", false);
        check("10.1.1.1:80", "http://10.1.1.1:5000/", true);
        check("[2001:db8::1]:5000", "http://[2001:db8::1]:5000/", false);
        check("nonsense/xx,,.", "https://registry.example.com/", true);
    }

    #[test]
    fn addresses_of_proxies_are_read_leniently() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                proxy_url(text).map(String::from).as_deref(),
                expected,
                "{text}"
            );
        };
        check("", None);
        check("proxy:3128", Some("http://proxy:3128/"));
        check(
            "https://proxy.example.com",
            Some("https://proxy.example.com/"),
        );
        check(
            "socks5://proxy.example.com:1080",
            Some("socks5://proxy.example.com:1080"),
        );
        check("user:pw@proxy:3128", Some("http://user:pw@proxy:3128/"));
        check("://", None);
    }
}

//! The small files that a process finds in its container and that are never in the image:
//! `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`, `/run/.containerenv`, and secrets.
//!
//! The texts are made here from values; the host's own files are given by the caller. They exist
//! only in memory and in the process's own mount namespace, which [`runtime`] sees to.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use runtime::network::{self, View};
use store::Privilege;

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One `--add-host` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// An entry of `--add-host` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostEntryError {
    /// No colon, or no name.
    #[error("bad format for add-host: {text:?}")]
    Format {
        /// The entry.
        text: String,
    },
    /// The address is none.
    #[error("invalid IP address in add-host: {address:?}")]
    Address {
        /// The address as written.
        address: String,
    },
}

impl HostEntry {
    /// Parses `NAME:ADDRESS`.
    ///
    /// # Errors
    /// When there is no name or the address is none.
    pub fn parse(text: &str) -> Result<Self, HostEntryError> {
        let (name, address) = text
            .split_once(':')
            .filter(|(name, address)| !name.is_empty() && !address.is_empty())
            .ok_or_else(|| HostEntryError::Format {
                text: text.to_owned(),
            })?;
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse().map_err(|_| HostEntryError::Address {
            address: address.to_owned(),
        })?;
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// Which of the files a process gets; `None` leaves what the image has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcFiles {
    /// `/etc/hosts`.
    pub hosts: Option<HostsFile>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<ResolvConf>,
    /// Text of `/etc/hostname`.
    pub hostname: Option<String>,
    /// Text of `/run/.containerenv`.
    pub container_env: Option<String>,
}

impl EtcFiles {
    /// Returns every file as target and text, for a process that is called `hostname` and sees this
    /// of the world.
    pub(crate) fn list(&self, view: View<'_>, hostname: &str) -> Vec<(&'static str, String)> {
        let hosts = self
            .hosts
            .as_ref()
            .and_then(|file| file.text(view, hostname));
        let resolv_conf = self.resolv_conf.as_ref().and_then(|file| file.text(view));
        let files = [
            ("/etc/hosts", hosts),
            ("/etc/resolv.conf", resolv_conf),
            ("/etc/hostname", self.hostname.clone()),
            ("/run/.containerenv", self.container_env.clone()),
        ];
        let given = files.into_iter();
        given
            .filter_map(|(path, text)| Some((path, text?)))
            .collect()
    }
}

/// The address that a container finds its host at, under the names [`HOST_NAMES`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostAddress {
    /// One that leads there.
    #[default]
    Found,
    /// None.
    None,
    /// This one.
    Given(IpAddr),
}

/// Names of the host in a container.
pub const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// What `/etc/hosts` is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsFile {
    /// Entries that come first.
    pub added: Vec<HostEntry>,
    /// Text of a hosts file, of which comments are left out.
    pub base: String,
    /// The host.
    pub host: HostAddress,
    /// Names of the container besides its host name.
    pub names: Vec<String>,
}

impl HostsFile {
    /// Makes the text; there is none without a network.
    fn text(&self, view: View<'_>, hostname: &str) -> Option<String> {
        let local = |hidden| network::local_address(hidden);
        let (found, own) = match view {
            View::Nothing => return None,
            View::Unknown => (local(&[]), Vec::new()),
            View::Host => {
                let address = local(&[]);
                let own = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
                (address, vec![(own, vec![hostname])])
            }
            View::Connected(facts) => {
                let names: Vec<&str> = [hostname]
                    .into_iter()
                    .chain(self.names.iter().map(String::as_str))
                    .collect();
                let own = facts.addresses.iter();
                (
                    facts.host.or_else(|| local(&facts.hidden)),
                    own.map(|address| (*address, names.clone())).collect(),
                )
            }
        };
        let host = match self.host {
            HostAddress::Found => found,
            HostAddress::None => None,
            HostAddress::Given(address) => Some(address),
        };
        Some(hosts_text(&self.added, &self.base, host, &own))
    }
}

/// Makes the text of `/etc/hosts`: the added entries, then lines of another file without comments,
/// then names of the loopback addresses, of the host and of the container that those do not have.
fn hosts_text(
    added: &[HostEntry],
    base: &str,
    host: Option<IpAddr>,
    own: &[(IpAddr, Vec<&str>)],
) -> String {
    let mut text = String::new();
    for HostEntry { name, address } in added {
        let _ = writeln!(text, "{address}\t{name}");
    }
    let mut known: Vec<&str> = added.iter().map(|entry| entry.name.as_str()).collect();
    for line in base.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let names: Vec<&str> = words.collect();
        if names.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
        known.extend(names);
    }
    let localhost = vec!["localhost"];
    let mut generated: Vec<(IpAddr, Vec<&str>)> = vec![
        (Ipv4Addr::LOCALHOST.into(), localhost.clone()),
        (Ipv6Addr::LOCALHOST.into(), localhost),
    ];
    generated.extend(host.map(|address| (address, HOST_NAMES.to_vec())));
    generated.extend(own.iter().cloned());
    for (address, mut names) in generated {
        names.retain(|name| !name.is_empty() && !known.contains(name));
        if !names.is_empty() {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
    }
    text
}

/// Where containers ask for names when nobody says anything better.
const PUBLIC_RESOLVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What `/etc/resolv.conf` is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The host's own file.
    pub host: String,
    /// The file in which a local resolver of the host has the name servers that it asks.
    pub behind_local: Option<String>,
    /// Name servers in place of those found.
    pub servers: Vec<String>,
    /// Domains in place of the host's; `.` alone for none.
    pub search: Vec<String>,
    /// Options in place of the host's.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Makes the text; there is none without a network.
    fn text(&self, view: View<'_>) -> Option<String> {
        let facts = match view {
            View::Nothing => return None,
            View::Host => return Some(self.with_servers(&self.host, &self.servers)),
            View::Unknown => None,
            View::Connected(facts) => Some(facts),
        };
        let local = servers_of(&self.host).eq([LOCAL_RESOLVER]);
        let host = match &self.behind_local {
            Some(behind) if local => behind,
            _ => &self.host,
        };
        if !self.servers.is_empty() {
            return Some(self.with_servers(host, &self.servers));
        }
        let mut servers: Vec<String> = facts
            .iter()
            .flat_map(|facts| facts.resolvers.iter().map(ToString::to_string))
            .collect();
        if servers.is_empty() || facts.is_some_and(|facts| facts.keeps_host_resolvers) {
            let ipv6 = facts.is_none_or(|facts| facts.ipv6);
            let is_reachable = |server: &&str| match server.parse::<IpAddr>() {
                Ok(address) => !address.is_loopback() && (address.is_ipv4() || ipv6),
                // With a zone, or no address at all.
                Err(_) => ipv6 && !server.contains("::1%"),
            };
            let reachable = servers_of(host).filter(is_reachable);
            servers.extend(reachable.map(str::to_owned));
        }
        if servers.is_empty() {
            servers.extend(PUBLIC_RESOLVERS.map(str::to_owned));
        }
        Some(self.with_servers(host, &servers))
    }

    fn with_servers(&self, host: &str, servers: &[String]) -> String {
        let Self {
            search, options, ..
        } = self;
        if servers.is_empty() && search.is_empty() && options.is_empty() {
            return host.to_owned();
        }
        resolv_conf_text(host, servers, search, options)
    }
}

/// The address of systemd's own resolver.
const LOCAL_RESOLVER: &str = "127.0.0.53";

fn servers_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        words.next().filter(|_| first == "nameserver")
    })
}

/// Makes the text of `/etc/resolv.conf`: the host's, with what is given put in its place.
fn resolv_conf_text(
    host_file: &str,
    servers: &[String],
    search: &[String],
    options: &[String],
) -> String {
    let replaced = |line: &&str| match line.split_whitespace().next() {
        Some("nameserver") => !servers.is_empty(),
        Some("search" | "domain") => !search.is_empty(),
        Some("options") => !options.is_empty(),
        _ => false,
    };
    let mut text = String::new();
    // `--dns-search .` means: no search list at all.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for line in host_file.lines().filter(|line| !replaced(line)) {
        let _ = writeln!(text, "{line}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// Makes the text of `/run/.containerenv`. Empty values are those of a container from scratch.
#[must_use]
pub fn container_env_text(
    engine: &str,
    name: &str,
    id: &str,
    image: &str,
    image_id: &str,
    privilege: Privilege,
) -> String {
    let rootless = u8::from(privilege == Privilege::Rootless);
    format!(
        "\nengine=\"{engine}\"\nname=\"{name}\"\nid=\"{id}\"\nimage=\"{image}\"\nimageid=\"{image_id}\"\nrootless={rootless}\n"
    )
}

#[cfg(test)]
mod tests {
    use runtime::network::Facts;

    use super::*;

    #[test]
    fn host_entries_are_read() {
        let check = |text: &str, expected: &str| {
            let found = match HostEntry::parse(text) {
                Ok(entry) => format!("{} {}", entry.name, entry.address),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        };
        check("foo:1.2.3.4", "foo 1.2.3.4");
        check("foo:::1", "foo ::1");
        check("foo:[::1]", "foo ::1");
        check("foo", "bad format for add-host: \"foo\"");
        check("foo:x", "invalid IP address in add-host: \"x\"");
    }

    #[test]
    fn hosts_hold_the_added_the_hosts_own_and_the_containers_names() {
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let added = [HostEntry::parse("foo:1.2.3.4").expect("entry")];
        assert_eq!(
            hosts_text(
                &added,
                "# c\n127.0.0.1 localhost  vm # x\n\nbad\n",
                Some(address("192.0.2.2")),
                &[(address("10.88.0.2"), vec!["abc", "vm", ""])],
            ),
            "1.2.3.4\tfoo\n127.0.0.1\tlocalhost vm\n192.0.2.2\thost.containers.internal host.docker.internal\n\
             10.88.0.2\tabc\n"
        );
        assert_eq!(
            hosts_text(&[], "", None, &[]),
            "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
        );
    }

    #[test]
    fn hosts_follow_the_network() {
        let facts = Facts {
            addresses: vec!["10.88.0.2".parse().expect("an address")],
            host: Some("169.254.1.2".parse().expect("an address")),
            ..Facts::default()
        };
        let file = HostsFile {
            names: vec!["box".to_owned()],
            ..HostsFile::default()
        };
        let localhost = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
        assert_eq!(
            file.text(View::Connected(&facts), "abc").expect("a text"),
            format!(
                "{localhost}169.254.1.2\thost.containers.internal host.docker.internal\n10.88.0.2\tabc box\n"
            )
        );
        assert_eq!(file.text(View::Nothing, "abc"), None);
        let file = HostsFile {
            host: HostAddress::None,
            ..file
        };
        assert_eq!(file.text(View::Unknown, "abc").as_deref(), Some(localhost));
        let text = file.text(View::Host, "abc").expect("a text");
        assert!(text.ends_with("\tabc\n"), "{text}");
    }

    #[test]
    fn resolvers_follow_the_network() {
        let check = |facts: Option<&Facts>, host: &str, servers: &str, expected: &str| {
            let file = ResolvConf {
                host: host.to_owned(),
                behind_local: Some("nameserver 9.9.9.9\n".to_owned()),
                servers: servers.split_whitespace().map(str::to_owned).collect(),
                ..ResolvConf::default()
            };
            let view = facts.map_or(View::Unknown, View::Connected);
            assert_eq!(file.text(view).as_deref(), Some(expected), "{host}");
        };
        let own = |keeps_host_resolvers| Facts {
            resolvers: vec!["10.0.2.3".parse().expect("an address")],
            keeps_host_resolvers,
            ..Facts::default()
        };
        let plain = Facts::default();
        let host = "nameserver 1.1.1.1\nnameserver 127.0.0.1\nnameserver fd00::1\nsearch a\n";
        check(
            None,
            host,
            "",
            "nameserver 1.1.1.1\nnameserver fd00::1\nsearch a\n",
        );
        check(Some(&plain), host, "", "nameserver 1.1.1.1\nsearch a\n");
        check(
            Some(&own(true)),
            host,
            "",
            "nameserver 10.0.2.3\nnameserver 1.1.1.1\nsearch a\n",
        );
        check(
            Some(&own(false)),
            host,
            "",
            "nameserver 10.0.2.3\nsearch a\n",
        );
        check(
            Some(&own(true)),
            host,
            "8.8.8.8",
            "nameserver 8.8.8.8\nsearch a\n",
        );
        check(
            Some(&plain),
            "nameserver 127.0.0.53\n",
            "",
            "nameserver 9.9.9.9\n",
        );
        check(
            Some(&plain),
            "nameserver 127.0.0.1\n",
            "",
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
        );
    }

    #[test]
    fn resolver_settings_replace_the_hosts() {
        let host = "nameserver 1.1.1.1\nsearch a b\noptions x\n";
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let check = |servers: &str, search: &str, options: &str, expected: &str| {
            let text = resolv_conf_text(host, &words(servers), &words(search), &words(options));
            assert_eq!(text, expected);
        };
        check("", "", "", host);
        check(
            "8.8.8.8",
            "",
            "",
            "nameserver 8.8.8.8\nsearch a b\noptions x\n",
        );
        check(
            "",
            "c",
            "y z",
            "search c\nnameserver 1.1.1.1\noptions y z\n",
        );
        check("", ".", "", "nameserver 1.1.1.1\noptions x\n");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", SecretBytes(b"x".to_vec())), "***");
    }
}

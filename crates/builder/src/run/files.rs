//! The small files that a process finds in its container and that are never in the image:
//! `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`, `/run/.containerenv`, and secrets.
//!
//! The texts are made here from values; the host's own files are given by the caller. They exist
//! only in memory and in the process's own mount namespace, which [`runtime`] sees to.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

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
    /// Text of `/etc/hosts`.
    pub hosts: Option<String>,
    /// Text of `/etc/resolv.conf`.
    pub resolv_conf: Option<String>,
    /// Text of `/etc/hostname`.
    pub hostname: Option<String>,
    /// Text of `/run/.containerenv`.
    pub container_env: Option<String>,
}

impl EtcFiles {
    /// Returns every file as target and text.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("/etc/hosts", &self.hosts),
            ("/etc/resolv.conf", &self.resolv_conf),
            ("/etc/hostname", &self.hostname),
            ("/run/.containerenv", &self.container_env),
        ]
        .into_iter()
        .filter_map(|(path, text)| Some((path, text.as_deref()?)))
    }
}

/// Makes the text of `/etc/hosts`: the added entries, then the host's own lines without comments,
/// then loopback names for `own`, those that the host's lines do not have.
#[must_use]
pub fn hosts_text(added: &[HostEntry], host_file: &str, own: &[&str]) -> String {
    let mut text = String::new();
    for HostEntry { name, address } in added {
        let _ = writeln!(text, "{address}\t{name}");
    }
    let mut known: Vec<&str> = added.iter().map(|entry| entry.name.as_str()).collect();
    for line in host_file.lines() {
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
    for name in ["localhost"].iter().chain(own) {
        if !name.is_empty() && !known.contains(name) {
            let _ = writeln!(text, "127.0.0.1\t{name}");
            known.push(name);
        }
    }
    text
}

/// Makes the text of `/etc/resolv.conf`: the host's, with what is given put in its place.
#[must_use]
pub fn resolv_conf_text(
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
        let added = [HostEntry::parse("foo:1.2.3.4").expect("entry")];
        assert_eq!(
            hosts_text(
                &added,
                "# c\n127.0.0.1 localhost  vm # x\n\nbad\n",
                &["abc", "vm", ""]
            ),
            "1.2.3.4\tfoo\n127.0.0.1\tlocalhost vm\n127.0.0.1\tabc\n"
        );
        assert_eq!(hosts_text(&[], "", &[]), "127.0.0.1\tlocalhost\n");
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

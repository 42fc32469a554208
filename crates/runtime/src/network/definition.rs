//! The networks of this host: one JSON file each, as `podman network create` writes them, and the
//! default one, which needs no file.
//!
//! A definition is handed on to netavark as it was read; what is looked at here is what giving out
//! addresses needs.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::counting::{like, number};

/// The name that the default network has unless the configuration says another one.
pub const DEFAULT_NAME: &str = "podman";
/// Its identifier, the same on every host.
const DEFAULT_ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
/// Largest file of one network, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most files that are looked at.
const MAX_FILES: usize = 10_000;
const ID_LENGTH: usize = 64;

/// Why a network cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// There is none of that name.
    #[error("unable to find network with name or ID {name}: network not found")]
    NotFound {
        /// The name or identifier that was asked for.
        name: String,
    },
    /// The beginning of an identifier fits several.
    #[error("more than one result for network ID {name}")]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
    /// The folder of the networks cannot be read.
    #[error("cannot read the networks in {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The file is no network.
    #[error("cannot understand the network {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DefinitionFault,
    },
    /// The subnet of the default network is none.
    #[error("failed to parse default subnet")]
    DefaultSubnet(#[source] InvalidRange),
}

/// What is wrong with the text of a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionFault {
    /// No JSON, or not of this form.
    #[error("it is not a network in JSON")]
    Json(#[from] serde_json::Error),
    /// The identifier is not one.
    #[error("invalid network ID {0:?}")]
    Id(String),
    /// The name cannot be one.
    #[error("network names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: {0:?}")]
    Name(String),
    /// A gateway or lease range lies outside of its subnet.
    #[error("{address} not in subnet {subnet}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: Range,
    },
    /// The file cannot be read, or is too large.
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    /// It is larger than the limit.
    #[error("it is larger than {MAX_FILE} bytes")]
    TooLarge,
}

/// Addresses with a common beginning, such as `10.88.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    prefix: u32,
}

/// A text that is no such range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct InvalidRange(pub String);

impl FromStr for Range {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let bad = || InvalidRange(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        let mut range = Self {
            first: address,
            prefix,
        };
        if prefix > range.bits() {
            return Err(bad());
        }
        range.first = like(address, number(address) & !range.host_mask());
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Range {
    fn bits(self) -> u32 {
        if self.first.is_ipv4() { 32 } else { 128 }
    }

    fn host_mask(self) -> u128 {
        let bits = self.bits() - self.prefix;
        1_u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1)
    }

    /// Returns the address at a distance from the first.
    #[must_use]
    pub fn nth(self, distance: u128) -> IpAddr {
        let distance = distance.min(self.host_mask());
        like(self.first, number(self.first) + distance)
    }

    /// Returns the last address; that of IPv4 is for broadcasts.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.nth(self.host_mask())
    }

    /// Says whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && number(address) & !self.host_mask() == number(self.first)
    }
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subnet {
    /// Its addresses.
    #[serde(rename = "subnet")]
    pub range: Range,
    /// The address of the host in it.
    pub gateway: Option<IpAddr>,
    /// Those that are given out; all by default.
    lease_range: Option<LeaseRange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct LeaseRange {
    start_ip: Option<IpAddr>,
    end_ip: Option<IpAddr>,
}

impl Subnet {
    /// Returns the first and the last address that can be given out.
    #[must_use]
    pub fn lease_range(&self) -> (IpAddr, IpAddr) {
        let lease = self.lease_range.as_ref();
        let first = lease.and_then(|lease| lease.start_ip);
        let last = lease.and_then(|lease| lease.end_ip);
        let end = self.range.last();
        let usable = match end {
            IpAddr::V4(_) => like(end, number(end).saturating_sub(1)),
            IpAddr::V6(_) => end,
        };
        (
            first.unwrap_or_else(|| self.range.nth(1)),
            last.unwrap_or(usable),
        )
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Whether names of containers are looked up in it.
    pub has_names: bool,
    ipam_driver: String,
    /// The whole, as netavark takes it.
    pub(super) raw: Map<String, Value>,
}

/// What is read of a file; Go takes `null` for the empty value.
#[derive(Deserialize)]
struct Known {
    name: String,
    id: String,
    #[serde(default)]
    subnets: Option<Vec<Subnet>>,
    #[serde(default)]
    dns_enabled: Option<bool>,
    #[serde(default)]
    internal: Option<bool>,
    #[serde(default)]
    ipam_options: Option<BTreeMap<String, String>>,
}

impl Definition {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is no network.
    pub fn parse(text: &[u8]) -> Result<Self, DefinitionFault> {
        let mut raw: Map<String, Value> = serde_json::from_slice(text)?;
        let read: Known = serde_json::from_value(Value::Object(raw.clone()))?;
        if read.id.len() != ID_LENGTH {
            return Err(DefinitionFault::Id(read.id));
        }
        if !is_name(&read.name) {
            return Err(DefinitionFault::Name(read.name));
        }
        let mut subnets = read.subnets.unwrap_or_default();
        for subnet in &mut subnets {
            if subnet.gateway.is_none() && read.internal != Some(true) {
                subnet.gateway = Some(subnet.range.nth(1));
            }
            let (first, last) = subnet.lease_range();
            for address in [Some(first), Some(last), subnet.gateway]
                .into_iter()
                .flatten()
            {
                if !subnet.range.contains(address) {
                    let subnet = subnet.range;
                    return Err(DefinitionFault::Outside { address, subnet });
                }
            }
        }
        complete(&mut raw, &subnets);
        let mut options = read.ipam_options.unwrap_or_default();
        Ok(Self {
            name: read.name,
            id: read.id,
            subnets,
            has_names: read.dns_enabled.unwrap_or_default(),
            ipam_driver: options.remove("driver").unwrap_or_default(),
            raw,
        })
    }

    /// The network that is there without a file.
    ///
    /// # Errors
    /// When the subnet is none.
    pub fn of_default(name: &str, subnet: &str) -> Result<Self, DefinitionError> {
        let range: Range = subnet.parse().map_err(DefinitionError::DefaultSubnet)?;
        let text = json!({
            "name": name,
            "id": DEFAULT_ID,
            "driver": "bridge",
            "network_interface": "podman0",
            "subnets": [{"subnet": range.to_string(), "gateway": range.nth(1)}],
            "ipv6_enabled": false,
            "internal": false,
            "dns_enabled": false,
            "ipam_options": {"driver": "host-local"},
        });
        let parsed = Self::parse(text.to_string().as_bytes());
        parsed.map_err(|source| DefinitionError::Parse {
            path: PathBuf::from(name),
            source,
        })
    }

    /// Says whether the host gives out addresses for it.
    #[must_use]
    pub fn gives_addresses(&self) -> bool {
        matches!(self.ipam_driver.as_str(), "" | "host-local") && !self.subnets.is_empty()
    }
}

/// Puts in what netavark insists on and a file may lack.
fn complete(raw: &mut Map<String, Value>, subnets: &[Subnet]) {
    for name in ["labels", "options", "ipam_options"] {
        let field = raw.entry(name).or_insert(Value::Null);
        if field.is_null() {
            *field = json!({});
        }
    }
    for name in ["ipv6_enabled", "internal", "dns_enabled"] {
        raw.entry(name).or_insert(Value::Bool(false));
    }
    let written = raw.get_mut("subnets").and_then(Value::as_array_mut);
    for (written, subnet) in written.into_iter().flatten().zip(subnets) {
        if let (Some(written), Some(gateway)) = (written.as_object_mut(), subnet.gateway) {
            written.insert("gateway".to_owned(), json!(gateway));
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Where networks are described.
#[derive(Debug, Clone)]
pub struct Networks<'a> {
    /// The folder of their files.
    pub folder: &'a Path,
    /// Name of the default network.
    pub default_name: &'a str,
    /// Its addresses, when it has no file.
    pub default_subnet: &'a str,
}

impl Networks<'_> {
    /// Finds a network by its name, or by the beginning of its identifier.
    ///
    /// # Errors
    /// When there is none, or its file cannot be used.
    pub fn find(&self, wanted: &str) -> Result<Definition, DefinitionError> {
        let path = self.folder.join(format!("{wanted}.json"));
        if is_name(wanted) && path.exists() {
            return load(&path);
        }
        if wanted == self.default_name {
            return Definition::of_default(self.default_name, self.default_subnet);
        }
        let mut found = Vec::new();
        for path in self.files()? {
            // A file that is no network is not the one that is looked for.
            found.extend(
                load(&path)
                    .into_iter()
                    .filter(|net| net.id.starts_with(wanted)),
            );
        }
        let name = wanted.to_owned();
        match (found.pop(), found.is_empty()) {
            (Some(network), true) => Ok(network),
            (Some(_), false) => Err(DefinitionError::Ambiguous { name }),
            (None, _) => Err(DefinitionError::NotFound { name }),
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>, DefinitionError> {
        let listed = match std::fs::read_dir(self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| DefinitionError::Folder {
                path: self.folder.to_owned(),
                source,
            })?,
        };
        let paths = listed.flatten().map(|entry| entry.path());
        let json = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        Ok(json.take(MAX_FILES).collect())
    }
}

fn load(path: &Path) -> Result<Definition, DefinitionError> {
    let read = || {
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(DefinitionFault::Read)?;
        let mut limited = file.take(MAX_FILE + 1);
        limited
            .read_to_end(&mut text)
            .map_err(DefinitionFault::Read)?;
        if text.len() as u64 > MAX_FILE {
            return Err(DefinitionFault::TooLarge);
        }
        let network = Definition::parse(&text)?;
        if path
            .file_stem()
            .is_none_or(|stem| stem != network.name.as_str())
        {
            return Err(DefinitionFault::Name(network.name));
        }
        Ok(network)
    };
    read().map_err(|source| DefinitionError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |text: &str, expected: &str| {
            let found = match text.parse::<Range>() {
                Ok(range) => format!("{range} {} {}", range.nth(1), range.last()),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        };
        check("10.88.0.0/16", "10.88.0.0/16 10.88.0.1 10.88.255.255");
        check("10.88.3.4/16", "10.88.0.0/16 10.88.0.1 10.88.255.255");
        check("fd00::/64", "fd00::/64 fd00::1 fd00::ffff:ffff:ffff:ffff");
        check("::/0", "::/0 ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        check("10.88.0.0", "invalid CIDR address: 10.88.0.0");
        check("10.88.0.0/33", "invalid CIDR address: 10.88.0.0/33");
    }

    #[test]
    fn files_are_checked_and_completed() {
        let check = |change: &str, expected: &str| {
            let mut text = json!({
                "name": "n1", "id": "a".repeat(64), "driver": "bridge",
                "network_interface": "podman1", "labels": null,
                "subnets": [{"subnet": "10.89.0.0/24"}], "later": {"x": 1},
            });
            let change: Map<String, Value> = serde_json::from_str(change).expect("json");
            text.as_object_mut().expect("object").extend(change);
            let found = match Definition::parse(text.to_string().as_bytes()) {
                Ok(network) => {
                    assert_eq!(network.raw["labels"], json!({}));
                    assert_eq!(network.raw["later"], json!({"x": 1}));
                    format!(
                        "{} {} {}",
                        network.name,
                        network.gives_addresses(),
                        network.raw["subnets"]
                    )
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        };
        let subnets = r#"[{"gateway":"10.89.0.1","subnet":"10.89.0.0/24"}]"#;
        check("{}", &format!("n1 true {subnets}"));
        check(
            r#"{"ipam_options": {"driver": "dhcp"}}"#,
            &format!("n1 false {subnets}"),
        );
        check(
            r#"{"internal": true}"#,
            r#"n1 true [{"subnet":"10.89.0.0/24"}]"#,
        );
        check(r#"{"subnets": null}"#, "n1 false null");
        check(r#"{"id": "abc"}"#, "invalid network ID \"abc\"");
        check(
            r#"{"name": "../x"}"#,
            "network names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: \"../x\"",
        );
        check(
            r#"{"subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.90.0.1"}]}"#,
            "10.90.0.1 not in subnet 10.89.0.0/24",
        );
        check(
            r#"{"subnets": [{"subnet": "x"}]}"#,
            "it is not a network in JSON",
        );
    }
}

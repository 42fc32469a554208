//! Networks of the host through netavark: what it is told, and what it answers.
//!
//! It reads one JSON text on its standard input, makes the bridge, the pair of devices and the
//! rules of the firewall, starts or tells aardvark-dns, and answers with the addresses that the
//! container has now. The same text takes everything back.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::definition::Definition;
use super::{NetworkError, Settings};

/// What netavark is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Connect a namespace.
    Setup,
    /// Take that back.
    Teardown,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Teardown => "teardown",
        }
    }
}

/// The connection of one container to networks, as netavark reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wish {
    container_id: String,
    container_name: String,
    networks: BTreeMap<String, Value>,
    network_info: BTreeMap<String, Map<String, Value>>,
}

impl Wish {
    /// The connection of `container` to `networks`, with the addresses that it was given in each.
    pub(super) fn new(container: &str, networks: &[Definition], given: &[Vec<IpAddr>]) -> Self {
        let mut wish = Self {
            container_id: container.to_owned(),
            container_name: container.to_owned(),
            networks: BTreeMap::new(),
            network_info: BTreeMap::new(),
        };
        for (index, network) in networks.iter().enumerate() {
            let mut options = json!({"interface_name": format!("eth{index}")});
            match given.get(index) {
                Some(addresses) if !addresses.is_empty() => {
                    options["static_ips"] = json!(addresses);
                }
                _ => {}
            }
            wish.networks.insert(network.name.clone(), options);
            wish.network_info
                .insert(network.name.clone(), network.raw.clone());
        }
        wish
    }
}

/// What netavark answers for one network.
#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    dns_server_ips: Option<Vec<IpAddr>>,
    #[serde(default)]
    interfaces: Option<BTreeMap<String, Interface>>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(default)]
    subnets: Option<Vec<Address>>,
}

#[derive(Debug, Deserialize)]
struct Address {
    /// `ADDRESS/PREFIX`.
    ipnet: String,
}

/// The addresses and name servers of a connected container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) resolvers: Vec<IpAddr>,
}

impl Answer {
    fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let all: BTreeMap<String, Status> = serde_json::from_slice(text)?;
        let mut answer = Self::default();
        for status in all.into_values() {
            answer
                .resolvers
                .extend(status.dns_server_ips.unwrap_or_default());
            let interfaces = status.interfaces.unwrap_or_default();
            let subnets = interfaces
                .into_values()
                .flat_map(|one| one.subnets.unwrap_or_default());
            let address =
                |net: Address| -> Option<IpAddr> { net.ipnet.split('/').next()?.parse().ok() };
            answer.addresses.extend(subnets.filter_map(address));
        }
        Ok(answer)
    }
}

/// What netavark says when it fails.
#[derive(Deserialize)]
struct Complaint {
    error: String,
}

/// The program, with what it is told besides a [`Wish`].
pub(super) struct Netavark<'a> {
    program: PathBuf,
    settings: &'a Settings,
}

impl<'a> Netavark<'a> {
    pub(super) fn find(settings: &'a Settings) -> Result<Self, NetworkError> {
        let program = settings
            .helper("netavark")
            .ok_or_else(|| NetworkError::NoHelper {
                program: "netavark",
                folders: settings.helper_dirs.clone(),
            })?;
        Ok(Self { program, settings })
    }

    /// Connects `namespace` or takes that back.
    pub(super) fn call(
        &self,
        action: Action,
        namespace: &Path,
        wish: &Wish,
    ) -> Result<Answer, NetworkError> {
        let output = self
            .run(action, namespace, wish)
            .map_err(|source| NetworkError::Start {
                program: "netavark",
                source,
            })?;
        if output.status.success() {
            if action == Action::Teardown {
                return Ok(Answer::default());
            }
            return Answer::parse(&output.stdout).map_err(NetworkError::Answer);
        }
        let said = match serde_json::from_slice::<Complaint>(&output.stdout) {
            Ok(complaint) => complaint.error,
            Err(_) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        };
        Err(NetworkError::Netavark { said })
    }

    fn run(
        &self,
        action: Action,
        namespace: &Path,
        wish: &Wish,
    ) -> std::io::Result<std::process::Output> {
        let settings = self.settings;
        let mut command = Command::new(&self.program);
        let aardvark = settings.helper("aardvark-dns").unwrap_or_default();
        command
            .arg("--config")
            .arg(&settings.run_dir)
            .arg(format!("--rootless={}", settings.is_user()))
            .arg(format!("--aardvark-binary={}", aardvark.display()));
        for folder in &settings.plugin_dirs {
            command.arg("--plugin-directory").arg(folder);
        }
        if !settings.firewall_driver.is_empty() {
            command.env("NETAVARK_FW", &settings.firewall_driver);
        }
        if settings.dns_port != 0 {
            command.env("NETAVARK_DNS_PORT", settings.dns_port.to_string());
        }
        // In a group of its own, an interrupt from the terminal does not stop it half way.
        let mut child = command
            .arg(action.word())
            .arg(namespace)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let text = serde_json::to_vec(wish)?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(&text));
        let output = child.wait_with_output()?;
        match written {
            // It has ended before it read everything: what it said counts.
            Some(Err(error)) if output.status.success() => Err(error),
            _ => Ok(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_what_podman_writes() {
        let network = Definition::of_default("podman", "10.88.0.0/16").expect("network");
        let given = [vec!["10.88.0.7".parse().expect("address")]];
        let wish = Wish::new("c1", std::slice::from_ref(&network), &given);
        assert_eq!(
            serde_json::to_value(&wish).expect("json"),
            json!({
                "container_id": "c1",
                "container_name": "c1",
                "networks": {"podman": {"interface_name": "eth0", "static_ips": ["10.88.0.7"]}},
                "network_info": {"podman": {
                    "name": "podman",
                    "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
                    "driver": "bridge",
                    "network_interface": "podman0",
                    "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
                    "ipv6_enabled": false,
                    "internal": false,
                    "dns_enabled": false,
                    "labels": {},
                    "options": {},
                    "ipam_options": {"driver": "host-local"},
                }},
            })
        );
    }

    #[test]
    fn answers_are_read() {
        let check = |text: &str, expected: &str| {
            let found = match Answer::parse(text.as_bytes()) {
                Ok(answer) => format!("{:?} {:?}", answer.addresses, answer.resolvers),
                Err(_) => "no answer".to_owned(),
            };
            assert_eq!(found, expected);
        };
        check(
            r#"{"podman":{"dns_search_domains":[],"dns_server_ips":[],"interfaces":{"eth0":{
                "mac_address":"aa:2d:80:31:b9:35","subnets":[{"gateway":"10.88.0.1","ipnet":"10.88.0.26/16"}]}}}}"#,
            "[10.88.0.26] []",
        );
        check(
            r#"{"n":{"dns_search_domains":["dns.podman"],"dns_server_ips":["10.89.0.1"],"interfaces":null}}"#,
            "[] [10.89.0.1]",
        );
        check("", "no answer");
    }
}

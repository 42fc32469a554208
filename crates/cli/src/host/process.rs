//! The world of a process in a container, from flags, from containers.conf and from the host: network, volumes, limits,
//! generated files. A flag that is given takes the place of the configuration's value.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use builder::run::{
    Access, EtcFiles, HostAddress, HostEntry, HostFile, HostsFile, Isolation, ResolvConf,
    VolumeMount, capability_set, parse_size,
};
use config::ContainersTable;
use runtime::network::Mode;
use runtime::{CapabilitySet, Device, Limit};
use store::Privilege;

use crate::args::process::{ProcessArgs, ResolverArgs};
use crate::host::confine;
use crate::host::namespace::ISOLATION;
use crate::host::networks;
use crate::host::settings;
use crate::host::volumes::volume_mount;
use crate::world::World;

/// Where the host keeps its certificate authorities.
const HOST_CERTIFICATES: &str = "/etc/ssl/certs";
/// Where systemd writes which name servers its own one asks.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

/// What the flags of `run`, `from` and `build` say about processes.
#[derive(Debug)]
pub struct ProcessSettings {
    /// How processes are kept apart from the host, if anything says so.
    pub isolation: Option<Isolation>,
    /// The network, if one was asked for.
    pub network: Option<Mode>,
    /// Files of the host that no image contains.
    pub host_files: Vec<HostFile>,
    /// Limits.
    pub limits: Vec<Limit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Capabilities of processes.
    pub capabilities: CapabilitySet,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// What `/etc/hosts` is made of.
    hosts: HostsFile,
    /// What `/etc/resolv.conf` is made of, if there is one.
    resolv_conf: Option<ResolvConf>,
}

impl ProcessSettings {
    /// Checks and converts the flags; capabilities are added to and dropped from `base`.
    pub fn resolve(args: &ProcessArgs, base: CapabilitySet, world: &World) -> Result<Self> {
        let ProcessArgs {
            network,
            isolation,
            cap_add,
            cap_drop,
            volume: _,
            add_host,
            ulimit,
            shm_size,
            device,
            host_certs,
            cni_config_dir: _, // nobody reads them since netavark
            cni_plugin_path: _,
        } = args;
        let isolation = isolation_of(isolation.as_deref(), world)?;
        check_network(network.as_deref(), isolation)?;
        let configured = &world.configuration.containers().containers;
        let limits = match ulimit.as_slice() {
            [] => default_limits(configured),
            limits => limits.iter().collect(),
        };
        let devices = match device.as_slice() {
            [] => &configured.devices.value,
            devices => devices,
        };
        let shm_size = shm_size.as_ref().unwrap_or(&configured.shm_size.value);
        let host_files = if *host_certs {
            vec![certificates()?]
        } else {
            Vec::new()
        };
        Ok(Self {
            isolation,
            network: match network {
                Some(word) => networks::mode(word, &world.cwd)?,
                None => None,
            },
            host_files,
            limits: limits
                .into_iter()
                .map(|text| Ok(runtime::parse_limit(text)?))
                .collect::<Result<_>>()?,
            shm_size: parse_size(shm_size).context("invalid --shm-size")?,
            devices: confine::devices(devices)?,
            capabilities: capability_set(base, cap_add, cap_drop)?,
            hosts: HostsFile {
                added: add_host
                    .iter()
                    .map(|text| HostEntry::parse(text).context("invalid value for add-host"))
                    .collect::<Result<_>>()?,
                base: base_hosts(configured)?,
                host: host_address(configured)?,
                names: Vec::new(),
            },
            resolv_conf: Some(resolv_conf(configured, &ResolverArgs::default())),
        })
    }

    /// Lays the flags about name servers over what the host and its configuration say.
    pub fn resolve_by(&mut self, args: &ResolverArgs, world: &World) -> Result<()> {
        let flags = [
            ("dns", &args.dns),
            ("dns-option", &args.dns_option),
            ("dns-search", &args.dns_search),
        ];
        let none = args
            .dns
            .iter()
            .any(|word| word.eq_ignore_ascii_case("none"));
        for (name, words) in flags {
            if words.is_empty() {
                continue;
            }
            if self.network == Some(Mode::None) {
                bail!("the --{name} option cannot be used with --network=none");
            }
            if none && name == "dns" && words.len() > 1 {
                bail!("invalid --dns, --dns=none may not be used with any other --dns options");
            }
            if none && name != "dns" {
                bail!("invalid --{name}, --{name} may not be used with --dns=none");
            }
        }
        if none {
            self.resolv_conf = None;
        } else if flags.iter().any(|(_, words)| !words.is_empty()) {
            let configured = &world.configuration.containers().containers;
            self.resolv_conf = Some(resolv_conf(configured, args));
        }
        Ok(())
    }

    /// The small files that every container finds in `/etc`.
    pub fn etc_files(&self, hostname: Option<&str>) -> EtcFiles {
        EtcFiles {
            hosts: Some(self.hosts.clone()),
            resolv_conf: self.resolv_conf.clone(),
            hostname: hostname.map(|name| format!("{name}\n")),
            container_env: None,
        }
    }
}

/// The words for volumes of the flags, or else of the configuration.
pub fn volume_words(args: &ProcessArgs, world: &World) -> Vec<String> {
    let configured = &world.configuration.containers().containers;
    match args.volume.as_slice() {
        [] => default_volumes(configured),
        volumes => volumes.to_vec(),
    }
}

/// Reads and checks words for volumes.
pub fn volumes(words: &[String], world: &World) -> Result<Vec<VolumeMount>> {
    let home = world.var("HOME");
    let mounts = words.iter().map(|text| volume_mount(text, home));
    mounts.collect()
}

/// The set of names in a container's state; the host's default one for none.
pub fn capabilities_of(names: &[String], world: &World) -> Result<CapabilitySet> {
    if names.is_empty() {
        return default_capabilities(world);
    }
    Ok(capability_set(CapabilitySet::EMPTY, names, &[])?)
}

/// The set that containers.conf has for processes.
pub fn default_capabilities(world: &World) -> Result<CapabilitySet> {
    let configured = &world.configuration.containers().containers;
    let names = &configured.default_capabilities;
    capability_set(CapabilitySet::EMPTY, &names.value, &[])
        .with_context(|| format!("default_capabilities of containers.conf ({})", names.place))
}

/// The volumes of containers.conf. A process of ours has a `/proc` of its own, also where an engine in a container is
/// given the outer one.
fn default_volumes(configured: &ContainersTable) -> Vec<String> {
    let volumes = configured.volumes.value.iter();
    volumes
        .filter(|volume| volume.as_str() != "/proc:/proc")
        .cloned()
        .collect()
}

/// The limits of containers.conf, without the word for those of whoever builds, which hold anyway.
fn default_limits(configured: &ContainersTable) -> Vec<&String> {
    let limits = configured.default_ulimits.value.iter();
    limits.filter(|limit| limit.as_str() != "host").collect()
}

/// What the hosts file of a container begins with.
fn base_hosts(configured: &ContainersTable) -> Result<String> {
    let path = match configured.base_hosts_file.value.as_str() {
        "" => return Ok(std::fs::read_to_string("/etc/hosts").unwrap_or_default()),
        "none" => return Ok(String::new()),
        "image" => {
            let place = &configured.base_hosts_file.place;
            bail!("{place}: the base_hosts_file \"image\" is not supported yet")
        }
        path => path,
    };
    std::fs::read_to_string(path).with_context(|| format!("reading the base_hosts_file {path:?}"))
}

/// The address of `host.containers.internal`.
fn host_address(configured: &ContainersTable) -> Result<HostAddress> {
    let set = &configured.host_containers_internal_ip;
    match set.value.as_str() {
        "" => Ok(HostAddress::Found),
        "none" => Ok(HostAddress::None),
        text => {
            let address = text.parse();
            let place = &set.place;
            address.map(HostAddress::Given).with_context(|| {
                format!("{place}: host_containers_internal_ip is no address: {text:?}")
            })
        }
    }
}

fn resolv_conf(configured: &ContainersTable, args: &ResolverArgs) -> ResolvConf {
    ResolvConf {
        host: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        behind_local: std::fs::read_to_string(BEHIND_SYSTEMD).ok(),
        servers: given_or(&args.dns, &configured.dns_servers.value).to_vec(),
        search: given_or(&args.dns_search, &configured.dns_searches.value).to_vec(),
        options: given_or(&args.dns_option, &configured.dns_options.value).to_vec(),
    }
}

fn given_or<'a>(given: &'a [String], configured: &'a [String]) -> &'a [String] {
    if given.is_empty() { configured } else { given }
}

/// What is logged of a limit that the host does not allow.
pub fn lowered_text(lowered: &runtime::Lowered) -> String {
    let runtime::Lowered { asked, set } = lowered;
    let name = runtime::resource_name(asked);
    format!(
        "the limit {name}={}:{} is set to {}:{}, which is what this host allows",
        asked.soft, asked.hard, set.soft, set.hard
    )
}

/// The isolation that the flag asks for, or else the environment, or else not being root.
fn isolation_of(flag: Option<&str>, world: &World) -> Result<Option<Isolation>> {
    if let Some(word) = flag.filter(|word| !word.is_empty()) {
        return Ok(Some(word.parse()?));
    }
    match world.var(ISOLATION) {
        Some(word) => match word.parse() {
            Ok(isolation) => Ok(Some(isolation)),
            Err(_) => bail!("unrecognized ${ISOLATION} value {word:?}"),
        },
        None => Ok((settings::privilege() == Privilege::Rootless).then_some(Isolation::Rootless)),
    }
}

fn check_network(flag: Option<&str>, isolation: Option<Isolation>) -> Result<()> {
    match flag {
        None | Some("" | "host" | "default") => Ok(()),
        Some(_) if isolation == Some(Isolation::Chroot) => {
            bail!("cannot set --network other than host with --isolation chroot")
        }
        Some(_) => Ok(()),
    }
}

fn certificates() -> Result<HostFile> {
    let path = PathBuf::from(HOST_CERTIFICATES);
    if !path.is_dir() {
        bail!("--host-certs: the host has no {HOST_CERTIFICATES}");
    }
    Ok(HostFile {
        source: path.clone(),
        target: path,
        access: Access::ReadOnly,
    })
}

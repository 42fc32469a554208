//! The world of a process in a container, from flags and from the host: network, volumes, limits,
//! generated files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use builder::run::{
    Access, EtcFiles, HostEntry, HostFile, Restrict, VolumeMount, capability_set, hosts_text,
    parse_size,
};
use runtime::{CapabilitySet, Limit, Network};

use crate::commands::process_args::ProcessArgs;
use crate::world::World;

/// Where the host keeps its certificate authorities.
const HOST_CERTIFICATES: &str = "/etc/ssl/certs";

/// What the flags of `run`, `from` and `build` say about processes.
#[derive(Debug)]
pub struct ProcessSettings {
    /// The network, if one was asked for.
    pub network: Option<Network>,
    /// Volumes of the host.
    pub volumes: Vec<VolumeMount>,
    /// Files of the host that no image contains.
    pub host_files: Vec<HostFile>,
    /// Limits.
    pub limits: Vec<Limit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Capabilities of processes.
    pub capabilities: CapabilitySet,
    /// Entries for `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
}

impl ProcessSettings {
    /// Checks and converts the flags; capabilities are added to and dropped from `base`.
    pub fn resolve(args: &ProcessArgs, base: CapabilitySet, world: &World) -> Result<Self> {
        let ProcessArgs {
            network,
            isolation,
            cap_add,
            cap_drop,
            volume,
            add_host,
            ulimit,
            shm_size,
            host_certs,
        } = args;
        check_isolation(isolation.as_deref().or(world.var("BUILDAH_ISOLATION")))?;
        let host_files = if *host_certs {
            vec![certificates()?]
        } else {
            Vec::new()
        };
        Ok(Self {
            network: network.as_deref().map(network_mode).transpose()?,
            volumes: volume
                .iter()
                .map(|text| volume_mount(text, &world.cwd))
                .collect::<Result<_>>()?,
            host_files,
            limits: ulimit
                .iter()
                .map(|text| Ok(runtime::parse_limit(text)?))
                .collect::<Result<_>>()?,
            shm_size: shm_size
                .as_deref()
                .map_or(Ok(runtime::DEFAULT_SHM_SIZE), parse_size)?,
            capabilities: capability_set(base, cap_add, cap_drop)?,
            hosts: add_host
                .iter()
                .map(|text| Ok(HostEntry::parse(text)?))
                .collect::<Result<_>>()?,
        })
    }

    /// The small files that every container finds in `/etc`.
    pub fn etc_files(&self, hostname: Option<&str>) -> EtcFiles {
        let own: Vec<&str> = hostname.into_iter().collect();
        let host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        EtcFiles {
            hosts: Some(hosts_text(&self.hosts, &host, &own)),
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").ok(),
            hostname: hostname.map(|name| format!("{name}\n")),
            container_env: None,
        }
    }
}

/// The set of names in a container's state; the default one for none.
pub fn capabilities_of(names: &[String]) -> Result<CapabilitySet> {
    if names.is_empty() {
        return Ok(CapabilitySet::DEFAULT);
    }
    Ok(capability_set(CapabilitySet::EMPTY, names, &[])?)
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

fn check_isolation(isolation: Option<&str>) -> Result<()> {
    match isolation {
        None | Some("oci" | "default") => Ok(()),
        Some(known @ ("chroot" | "rootless")) => {
            bail!("the isolation \"{known}\" is not supported yet")
        }
        Some(other) => bail!("unrecognized isolation type {other:?}"),
    }
}

/// Reads the word of `--network`.
pub fn network_mode(word: &str) -> Result<Network> {
    match word {
        "host" | "default" | "" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => bail!("the network {other:?} is not supported yet: choose host or none"),
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

/// Reads `SOURCE:TARGET[:OPTIONS]`.
fn volume_mount(text: &str, cwd: &Path) -> Result<VolumeMount> {
    let mut parts = text.split(':');
    let (source, target, options) = (parts.next(), parts.next(), parts.next());
    let (Some(source), Some(target), None) = (source, target, parts.next()) else {
        bail!("incorrect volume format {text:?}, should be host-dir:ctr-dir[:option]");
    };
    if source.is_empty() || !target.starts_with('/') {
        bail!("invalid container path {target:?}: must be an absolute path");
    }
    let mut mount = VolumeMount {
        source: cwd.join(source),
        target: PathBuf::from(target),
        access: Access::ReadWrite,
        restrict: Restrict::default(),
    };
    for option in options
        .unwrap_or_default()
        .split(',')
        .filter(|option| !option.is_empty())
    {
        match option {
            "ro" => mount.access = Access::ReadOnly,
            "rw" => mount.access = Access::ReadWrite,
            "O" => mount.access = Access::ThrowAway,
            "nosuid" => mount.restrict.nosuid = true,
            "nodev" => mount.restrict.nodev = true,
            "noexec" => mount.restrict.noexec = true,
            // Mounts are never propagated out of a step, so the private kinds are what there is;
            // relabelling has no effect without SELinux.
            "private" | "rprivate" | "slave" | "rslave" | "bind" | "rbind" | "suid" | "dev"
            | "exec" => {}
            "z" | "Z" if !Path::new("/sys/fs/selinux/enforce").exists() => {}
            other => bail!("volume option {other:?} is not supported yet"),
        }
    }
    std::fs::symlink_metadata(&mount.source)
        .with_context(|| format!("checking volume {text:?}"))?;
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let check = |text: &str, expected: Option<(Access, &str)>| {
            let found = volume_mount(text, Path::new("/"));
            let found = found.map(|mount| (mount.access, mount.target.display().to_string()));
            assert_eq!(
                found.ok(),
                expected.map(|(access, target)| (access, target.to_owned())),
                "{text}"
            );
        };
        check("/etc:/x", Some((Access::ReadWrite, "/x")));
        check("/etc:/x:ro,nosuid", Some((Access::ReadOnly, "/x")));
        check("etc:/x:O", Some((Access::ThrowAway, "/x")));
        check("/etc", None);
        check("/etc:x", None);
        check("/no/such/thing:/x", None);
        check("/etc:/x:shared", None);
    }
}

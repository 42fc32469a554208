//! The networks of processes: the words of flags, what is usual, and the programs and places that connections need.
//!
//! Buildah's default is a network of the container's own. Here it is the host's, unless containers.conf says otherwise:
//! that needs no program besides, no rights over the host's devices and firewall, and no time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use builder::run::Isolation;
use config::{Origin, Place};
use runtime::network::{Connector, Mode, Pool, Settings};
use store::Privilege;

use crate::host::configuration;
use crate::host::settings;
use crate::world::World;

/// Where the tools keep the networks of root, and what they share about them while the host runs.
const DEFINITIONS: &str = "/etc/containers/networks";
const STATE: &str = "/run/containers/networks";
/// Where root's records of connections are.
const RECORDS: &str = "/run/cooper/networks";
/// Variable with a folder of helper programs that comes first.
const HELPERS: &str = "CONTAINERS_HELPER_BINARY_DIR";

/// Reads the word of `--network`; `None` for what is usual. A path must exist.
pub fn mode(word: &str, cwd: &Path) -> Result<Option<Mode>> {
    Ok(Some(match word {
        "default" => return Ok(None),
        "" | "container" | "private" => Mode::Private,
        "host" => Mode::Host,
        "none" => Mode::None,
        other => {
            let text = other.strip_prefix("ns:").unwrap_or(other);
            let Ok(mode) = text.parse();
            if let Mode::Path(path) = &mode {
                std::fs::metadata(cwd.join(path))
                    .with_context(|| format!("faccessat {}", path.display()))
                    .context("checking network namespace")?;
            }
            mode
        }
    }))
}

/// The network of a process for which `asked` is wanted, if anything is.
pub fn chosen(asked: Option<Mode>, isolation: Isolation, world: &World) -> Mode {
    match asked {
        Some(Mode::None) => Mode::None,
        _ if isolation == Isolation::Chroot => Mode::Host,
        Some(mode) => mode,
        None => configured(&world.configuration.containers().containers.netns),
    }
}

/// What `netns` of containers.conf says, if a file says it.
fn configured(netns: &Origin<String>) -> Mode {
    match netns.value.as_str() {
        _ if netns.place == Place::Default => Mode::Host,
        "host" => Mode::Host,
        "none" => Mode::None,
        _ => Mode::Private,
    }
}

/// What connects processes that are kept apart in this way.
pub fn pool(isolation: Isolation, world: &World) -> Result<Pool> {
    let conf = world.configuration.containers();
    let (engine, network) = (&conf.engine, &conf.network);
    let is_user = isolation == Isolation::Rootless || settings::privilege() == Privilege::Rootless;
    let paths = |words: &[String]| words.iter().map(PathBuf::from).collect::<Vec<_>>();
    let path = |word: &str| Some(PathBuf::from(word)).filter(|_| !word.is_empty());
    let mut helper_dirs = paths(&engine.helper_binaries_dir.value);
    helper_dirs.splice(0..0, world.var(HELPERS).map(PathBuf::from));
    Ok(Pool::new(Settings {
        connector: if is_user {
            for_user(&network.default_rootless_network_cmd.value)?
        } else {
            Connector::Root
        },
        helper_dirs,
        program_dirs: std::env::split_paths(world.var("PATH").unwrap_or_default()).collect(),
        definitions: path(&network.network_config_dir.value).unwrap_or_else(|| DEFINITIONS.into()),
        default_network: network.default_network.value.clone(),
        default_subnet: network.default_subnet.value.clone(),
        run_dir: PathBuf::from(STATE),
        records: match settings::privilege() {
            Privilege::Root => PathBuf::from(RECORDS),
            Privilege::Rootless => {
                let session = configuration::search_roots(world).session_dir();
                session.join("cooper/networks")
            }
        },
        firewall_driver: network.firewall_driver.value.clone(),
        dns_port: network.dns_bind_port.value,
        plugin_dirs: paths(&network.netavark_plugin_dirs.value),
        pasta_options: network.pasta_options.value.clone(),
        slirp4netns: path(&engine.network_cmd_path.value),
        slirp4netns_options: engine.network_cmd_options.value.clone(),
    }))
}

fn for_user(word: &str) -> Result<Connector> {
    match word {
        "pasta" => Ok(Connector::UserWithPasta),
        "" | "slirp4netns" => Ok(Connector::UserWithSlirp4netns),
        other => bail!("invalid default_rootless_network_cmd option {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_flags() {
        let check = |word: &str, expected: &str| {
            let found = match mode(word, Path::new("/")) {
                Ok(mode) => format!("{mode:?}"),
                Err(error) => format!("{error:#}"),
            };
            assert_eq!(found, expected, "{word}");
        };
        check("default", "None");
        check("", "Some(Private)");
        check("private", "Some(Private)");
        check("container", "Some(Private)");
        check("host", "Some(Host)");
        check("none", "Some(None)");
        check("/proc/self/ns/net", "Some(Path(\"/proc/self/ns/net\"))");
        check("ns:/proc/self/ns/net", "Some(Path(\"/proc/self/ns/net\"))");
        check("a,b", "Some(Named([\"a\", \"b\"]))");
        check("ns:a", "Some(Named([\"a\"]))");
        check("pasta:-T,1", "Some(Pasta([\"-T\", \"1\"]))");
        check(
            "ns:/nowhere",
            "checking network namespace: faccessat /nowhere: No such file or directory (os error 2)",
        );
    }

    #[test]
    fn words_of_the_configuration() {
        let check = |value: &str, place: Place, expected: Mode| {
            let value = value.to_owned();
            assert_eq!(configured(&Origin { value, place }), expected);
        };
        let written = || Place::Variable("CONTAINERS_CONF".to_owned());
        check("private", Place::Default, Mode::Host);
        check("private", written(), Mode::Private);
        check("host", written(), Mode::Host);
        check("none", written(), Mode::None);
    }
}

//! The network of a run, when it is neither the host's nor none: a namespace that is connected to
//! networks of the host by netavark, or to the outside by pasta or slirp4netns.
//!
//! These are programs of the host; none is needed for the host's network or none. A [`Connection`]
//! lasts until it is closed, over any number of runs. It resolves no names of containers, publishes
//! no ports and keeps no list of networks: that is Podman's. How its addresses come into files of the
//! container is the caller's.

mod counting;
pub mod definition;
mod error;
pub mod ipam;
mod netavark;
mod pasta;
mod pool;
mod record;
mod said;
mod slirp4netns;

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::str::FromStr;

use sys::FileLock;

pub use error::NetworkError;
pub use pool::Pool;
pub use slirp4netns::OptionError;

use crate::spec::Network;
use definition::Networks;
use netavark::{Action, Netavark, Wish};
use record::{Helper, Left, Record};

/// Lock of the folder of definitions, which Podman takes while it connects something.
const LOCK: &str = "netavark.lock";
const DATABASE: &str = "ipam.db";

/// Which network a process is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// The host's.
    #[default]
    Host,
    /// None but a loopback device.
    None,
    /// One of its own, connected as is usual for whoever asks.
    Private,
    /// The namespace of this file.
    Path(PathBuf),
    /// Networks of the host, by name or identifier.
    Named(Vec<String>),
    /// The outside, by pasta with these options.
    Pasta(Vec<String>),
    /// The outside, by slirp4netns with these options.
    Slirp4netns(Vec<String>),
}

impl FromStr for Mode {
    type Err = std::convert::Infallible;

    /// Reads what is neither `host` nor `none` nor private: `PATH`, `pasta[:OPTION,…]`,
    /// `slirp4netns[:OPTION,…]`, `NETWORK,…`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        let (name, options) = match text.split_once(':') {
            Some((name, options)) => (name, list(options)),
            None => (text, Vec::new()),
        };
        Ok(match name {
            _ if text.is_empty() => Self::Private,
            _ if text.starts_with('/') => Self::Path(PathBuf::from(text)),
            pasta::PROGRAM => Self::Pasta(options),
            slirp4netns::PROGRAM => Self::Slirp4netns(options),
            _ => Self::Named(list(text)),
        })
    }
}

impl fmt::Display for Mode {
    /// Writes the words that are read, as far as there are any: none for the host's network, none and
    /// the private one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = |name: &str, options: &[String]| match options {
            [] => name.to_owned(),
            options => format!("{name}:{}", options.join(",")),
        };
        f.write_str(&match self {
            Self::Host | Self::None | Self::Private => return Ok(()),
            Self::Path(path) => return path.display().fmt(f),
            Self::Named(names) => names.join(","),
            Self::Pasta(options) => program(pasta::PROGRAM, options),
            Self::Slirp4netns(options) => program(slirp4netns::PROGRAM, options),
        })
    }
}

/// Who connects containers, which decides what can be used and what is usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Connector {
    /// Root of the host: by netavark.
    #[default]
    Root,
    /// A user, by pasta.
    UserWithPasta,
    /// A user, by slirp4netns.
    UserWithSlirp4netns,
}

/// The programs and places that connections need; without any, only the host's network and none
/// can be had.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who connects.
    pub connector: Connector,
    /// Folders of helper programs, which are looked through first.
    pub helper_dirs: Vec<PathBuf>,
    /// Folders of all programs.
    pub program_dirs: Vec<PathBuf>,
    /// Folder of the definitions of networks.
    pub definitions: PathBuf,
    /// Name of the default network.
    pub default_network: String,
    /// Its addresses.
    pub default_subnet: String,
    /// Folder of netavark's state and of the addresses that are given out.
    pub run_dir: PathBuf,
    /// Folder of what is to be taken back when this process is killed.
    pub records: PathBuf,
    /// What writes the rules of the firewall; empty for what netavark chooses.
    pub firewall_driver: String,
    /// The port of the name server; 0 for the usual one.
    pub dns_port: u16,
    /// Folders of netavark's plug-ins.
    pub plugin_dirs: Vec<PathBuf>,
    /// Options of pasta.
    pub pasta_options: Vec<String>,
    /// slirp4netns itself, if it is not to be looked for.
    pub slirp4netns: Option<PathBuf>,
    /// Options of slirp4netns.
    pub slirp4netns_options: Vec<String>,
}

impl Settings {
    /// Finds one of the helper programs.
    #[must_use]
    pub fn helper(&self, name: &str) -> Option<PathBuf> {
        found_in(&self.helper_dirs, name)
    }

    /// Finds a program, one of the helpers' first.
    fn program(&self, name: &str) -> Option<PathBuf> {
        self.helper(name)
            .or_else(|| found_in(&self.program_dirs, name))
    }

    fn is_user(&self) -> bool {
        self.connector != Connector::Root
    }

    fn networks(&self) -> Networks<'_> {
        Networks {
            folder: &self.definitions,
            default_name: &self.default_network,
            default_subnet: &self.default_subnet,
        }
    }

    fn database(&self) -> PathBuf {
        self.run_dir.join(DATABASE)
    }

    /// Says by what a mode is carried out; the default network for the private one.
    fn usual(&self, mode: &Mode) -> Mode {
        match (mode, self.connector) {
            (Mode::Private, Connector::Root) => Mode::Named(vec![self.default_network.clone()]),
            (Mode::Private, Connector::UserWithPasta) => Mode::Pasta(Vec::new()),
            (Mode::Private, Connector::UserWithSlirp4netns) => Mode::Slirp4netns(Vec::new()),
            (other, _) => other.clone(),
        }
    }
}

fn found_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let mut paths = folders.iter().map(|folder| folder.join(name));
    paths.find(|path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    })
}

/// What a container can know of its network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Name servers of the network.
    pub resolvers: Vec<IpAddr>,
    /// Whether the host's name servers follow those.
    pub keeps_host_resolvers: bool,
    /// Whether it has an address of IPv6.
    pub ipv6: bool,
    /// An address that leads to the host.
    pub host: Option<IpAddr>,
    /// Addresses of the host that do not lead there.
    pub hidden: Vec<IpAddr>,
}

/// What a container can see of the world.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// What the host sees.
    Host,
    /// Nothing.
    Nothing,
    /// What somebody else has arranged.
    Unknown,
    /// What a connection leads to.
    Connected(&'a Facts),
}

/// The network of one or several runs.
#[derive(Debug)]
pub enum Link {
    /// The host's.
    Host,
    /// None.
    None,
    /// A namespace of somebody else.
    Joined(OwnedFd),
    /// One made for it.
    Made(Box<Connection>),
}

impl Link {
    /// Returns what a run is to be told.
    #[must_use]
    pub fn network(&self) -> Network<'_> {
        match self {
            Self::Host => Network::Host,
            Self::None => Network::None,
            Self::Joined(namespace) => Network::Joined(namespace.as_fd()),
            Self::Made(connection) => Network::Joined(connection.namespace.as_fd()),
        }
    }

    /// Returns what can be seen from there.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Host => View::Host,
            Self::None => View::Nothing,
            Self::Joined(_) => View::Unknown,
            Self::Made(connection) => View::Connected(&connection.facts),
        }
    }

    /// Takes back what was made.
    ///
    /// # Errors
    /// What could not be taken back; it is written down for later.
    pub fn close(self) -> Result<(), NetworkError> {
        match self {
            Self::Made(mut connection) => connection.end(),
            _ => Ok(()),
        }
    }
}

/// A namespace that is connected to something. Dropping it takes that back.
#[derive(Debug)]
pub struct Connection {
    namespace: OwnedFd,
    facts: Facts,
    helper: Option<Child>,
    /// Until everything is taken back.
    record: Option<Record>,
    settings: Settings,
}

/// Makes the network of `mode`, and takes back what earlier processes left when they were killed.
///
/// # Errors
/// When it cannot be made; nothing of it is left then.
pub fn connect(mode: &Mode, settings: &Settings) -> Result<Link, NetworkError> {
    let mode = match settings.usual(mode) {
        Mode::Host => return Ok(Link::Host),
        Mode::None => return Ok(Link::None),
        Mode::Path(path) => {
            let opened = File::open(&path);
            let file = opened.map_err(|source| NetworkError::Open { path, source })?;
            return Ok(Link::Joined(file.into()));
        }
        other => other,
    };
    if settings.is_user() && matches!(mode, Mode::Named(_)) {
        return Err(NetworkError::NamedAsUser);
    }
    // What others left is no reason to fail now: it stays written down.
    let _ = record::reap(settings);
    let failed = |source| NetworkError::Namespace { source };
    let recorded = |source| NetworkError::Record {
        folder: settings.records.clone(),
        source,
    };
    let mut connection = Connection {
        namespace: sys::netns::make().map_err(failed)?,
        facts: Facts::default(),
        helper: None,
        record: Some(Record::make(&settings.records, &new_id()?).map_err(recorded)?),
        settings: settings.clone(),
    };
    match mode {
        Mode::Pasta(options) => connection.by_pasta(&options)?,
        Mode::Slirp4netns(options) => connection.by_slirp4netns(&options)?,
        Mode::Named(names) => connection.by_netavark(&names)?,
        Mode::Host | Mode::None | Mode::Private | Mode::Path(_) => {}
    }
    Ok(Link::Made(Box::new(connection)))
}

/// Takes back what killed processes have left, as every new connection does.
///
/// # Errors
/// The first thing that could not be taken back.
pub fn reap(settings: &Settings) -> Result<(), NetworkError> {
    record::reap(settings)
}

impl Connection {
    /// A path of the namespace that other processes can open while this one lives.
    fn path(&self) -> PathBuf {
        path_of(&self.namespace)
    }

    fn save(&mut self, change: impl FnOnce(&mut Left)) -> Result<(), NetworkError> {
        let Some(record) = &mut self.record else {
            return Ok(());
        };
        change(&mut record.left);
        record.save().map_err(|source| NetworkError::Record {
            folder: self.settings.records.clone(),
            source,
        })
    }

    fn watch_over(&mut self, helper: Child) -> Result<(), NetworkError> {
        let known = Helper::of(helper.id());
        self.helper = Some(helper);
        self.save(|left| left.helper = known)
    }

    fn by_pasta(&mut self, options: &[String]) -> Result<(), NetworkError> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let places = pasta::Places {
            namespace: self.namespace.as_fd(),
            seen_at: record.path(),
            mark: &record.beside("pid"),
        };
        let started = pasta::start(&self.settings, options, places)?;
        self.watch_over(started.child)?;
        let listed = sys::netns::addresses(Some(self.namespace.as_fd()));
        let mut addresses = listed.map_err(|source| NetworkError::Namespace { source })?;
        addresses.retain(is_global_unicast);
        let ipv4 = addresses.iter().any(IpAddr::is_ipv4);
        let ipv6 = addresses.iter().any(IpAddr::is_ipv6);
        let is_reachable =
            |server: &IpAddr| (server.is_ipv4() && ipv4) || (server.is_ipv6() && ipv6);
        self.facts = Facts {
            resolvers: started.resolvers.into_iter().filter(is_reachable).collect(),
            hidden: addresses.clone(),
            addresses: addresses.into_iter().take(1).collect(),
            keeps_host_resolvers: true,
            ipv6,
            host: started.host,
        };
        Ok(())
    }

    fn by_slirp4netns(&mut self, options: &[String]) -> Result<(), NetworkError> {
        let started = slirp4netns::start(&self.settings, options, &self.path())?;
        self.watch_over(started.child)?;
        self.facts = Facts {
            addresses: vec![started.address],
            resolvers: vec![started.resolver],
            keeps_host_resolvers: true,
            ipv6: started.ipv6,
            ..Facts::default()
        };
        Ok(())
    }

    fn by_netavark(&mut self, names: &[String]) -> Result<(), NetworkError> {
        let settings = self.settings.clone();
        let networks = settings.networks();
        let networks: Result<Vec<_>, _> = names.iter().map(|name| networks.find(name)).collect();
        let networks = networks?;
        let netavark = Netavark::find(&settings)?;
        let id = new_id()?;
        self.save(|left| left.container = Some(id.clone()))?;
        let _lock = lock(&settings)?;
        let given = ipam::allocate(&settings.database(), &networks, &id)?;
        let wish = Wish::new(&id, &networks, &given);
        self.save(|left| left.wish = Some(wish.clone()))?;
        let answer = netavark.call(Action::Setup, &self.path(), &wish)?;
        self.facts = Facts {
            ipv6: answer.addresses.iter().any(IpAddr::is_ipv6),
            addresses: answer.addresses,
            resolvers: answer.resolvers,
            ..Facts::default()
        };
        Ok(())
    }

    fn end(&mut self) -> Result<(), NetworkError> {
        if let Some(mut helper) = self.helper.take() {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        let Some(record) = self.record.take() else {
            return Ok(());
        };
        let ended = take_back(&record.left, Some(&self.namespace), &self.settings)?;
        let removed = record.remove().map_err(|source| NetworkError::Record {
            folder: self.settings.records.clone(),
            source,
        });
        ended.and(removed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Takes back what netavark did in `namespace`, or in one that has vanished, and the addresses.
/// Returns what netavark could not take back; once the addresses are free, nobody else can either.
///
/// # Errors
/// When it is to be tried again later.
fn take_back(
    left: &Left,
    namespace: Option<&OwnedFd>,
    settings: &Settings,
) -> Result<Result<(), NetworkError>, NetworkError> {
    let Some(container) = &left.container else {
        return Ok(Ok(()));
    };
    let _lock = lock(settings)?;
    let database = settings.database();
    let ended = match (&left.wish, namespace) {
        (None, _) => Ok(()),
        (Some(wish), Some(namespace)) => teardown(wish, namespace, settings),
        (Some(wish), None) if ipam::holds(&database, container)? => {
            teardown_vanished(wish, settings)
        }
        (Some(_), None) => Ok(()),
    };
    ipam::release(&database, container)?;
    Ok(ended)
}

fn teardown(wish: &Wish, namespace: &OwnedFd, settings: &Settings) -> Result<(), NetworkError> {
    let netavark = Netavark::find(settings)?;
    let done = netavark.call(Action::Teardown, &path_of(namespace), wish);
    done.map(drop)
}

/// The device in the container has vanished, without which netavark does not get to the bridge and the
/// rules of the firewall: so it is made once more.
fn teardown_vanished(wish: &Wish, settings: &Settings) -> Result<(), NetworkError> {
    let netavark = Netavark::find(settings)?;
    let empty = sys::netns::make().map_err(|source| NetworkError::Namespace { source })?;
    let made = netavark.call(Action::Setup, &path_of(&empty), wish);
    let done = netavark.call(Action::Teardown, &path_of(&empty), wish);
    made.and(done).map(drop)
}

fn path_of(namespace: &OwnedFd) -> PathBuf {
    let process = std::process::id();
    PathBuf::from(format!("/proc/{process}/fd/{}", namespace.as_raw_fd()))
}

fn lock(settings: &Settings) -> Result<FileLock, NetworkError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NetworkError::Lock { path, source }
    };
    for folder in [&settings.definitions, &settings.run_dir] {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    let path = settings.definitions.join(LOCK);
    FileLock::write(&path).map_err(failed(&path))
}

/// A name that nobody else has.
fn new_id() -> Result<String, NetworkError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
        |errno| NetworkError::Namespace {
            source: errno.into(),
        },
    )?;
    Ok(format!("cooper-{:032x}", u128::from_ne_bytes(bytes)))
}

/// Returns an address of this host that others can reach, rather one of IPv4, and none of `hidden`.
#[must_use]
pub fn local_address(hidden: &[IpAddr]) -> Option<IpAddr> {
    let mut addresses = sys::netns::addresses(None).unwrap_or_default();
    addresses.retain(|address| is_global_unicast(address) && !hidden.contains(address));
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or(addresses.first()).copied()
}

/// Says whether an address can be one of a host on a network, as Go's `IsGlobalUnicast` does.
fn is_global_unicast(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |text: &str, expected: Mode| {
            assert_eq!(text, expected.to_string());
            assert_eq!(text.parse(), Ok(expected));
        };
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        check("", Mode::Private);
        check("/proc/1/ns/net", Mode::Path("/proc/1/ns/net".into()));
        check("pasta", Mode::Pasta(Vec::new()));
        check("pasta:-T,5001", Mode::Pasta(list(&["-T", "5001"])));
        check(
            "slirp4netns:mtu=1500",
            Mode::Slirp4netns(list(&["mtu=1500"])),
        );
        check("podman", Mode::Named(list(&["podman"])));
        check("a,b", Mode::Named(list(&["a", "b"])));
        check("container:x", Mode::Named(list(&["container:x"])));
    }
}

//! What the program can see outside itself, read once: environment, directories, user, terminal.
//!
//! Libraries get values from here; none of them looks by itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use config::{ContainersConf, RegistriesConf, StorageConf};
use model::Timestamp;

/// The release of Buildah whose command line and records this program follows. Scripts compare it.
pub const BUILDAH: &str = "1.45.0";

/// What registries are told of who asks.
pub fn user_agent() -> String {
    format!("Buildah/{BUILDAH} Cooper/{}", env!("CARGO_PKG_VERSION"))
}

/// What follows our name when the program has started itself again in a user namespace.
pub const IN_A_USER_NAMESPACE: &str = "-in-a-user-namespace";

/// The variable with the user outside of a namespace that one of the tools has made.
pub const ROOTLESS_UID: &str = "_CONTAINERS_ROOTLESS_UID";

/// Which program the user believes to have started: it decides defaults and a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedAs {
    /// Under our own name: layer caching is on by default.
    Cooper,
    /// Under Buildah's name: Buildah's defaults.
    Buildah,
}

impl StartedAs {
    /// Reads the name from the first word of the command line.
    pub fn from_argv0(argv0: Option<&OsString>) -> Self {
        let name = argv0.map(Path::new).and_then(Path::file_name);
        let name = name.and_then(OsStr::to_str).unwrap_or_default();
        if name.strip_suffix(IN_A_USER_NAMESPACE).unwrap_or(name) == "buildah" {
            Self::Buildah
        } else {
            Self::Cooper
        }
    }

    /// The word for messages and help.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cooper => "cooper",
            Self::Buildah => "buildah",
        }
    }
}

/// What was read of the host's configuration files, each when it was first needed.
#[derive(Debug, Default)]
pub struct Configuration {
    pub containers: OnceLock<ContainersConf>,
    pub registries: OnceLock<RegistriesConf>,
    pub storage: OnceLock<StorageConf>,
}

impl Configuration {
    /// `containers.conf`, which is read before any command begins; its defaults before that.
    pub fn containers(&self) -> &ContainersConf {
        self.containers.get_or_init(ContainersConf::default)
    }
}

/// The outside as it was when the program started.
#[derive(Debug, Clone)]
pub struct World {
    /// The name we were started under.
    pub started_as: StartedAs,
    /// The environment; values that are not UTF-8 are left out, as nothing here could use them.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The real user; that outside of a user namespace which one of the tools has made.
    pub uid: u32,
    /// Whether this program was started by itself, in a user namespace.
    pub started_again: bool,
    /// What was read of the host's configuration files.
    pub configuration: Arc<Configuration>,
}

impl World {
    /// Looks around.
    pub fn read(started_as: StartedAs) -> std::io::Result<Self> {
        let text = |(key, value): (OsString, OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let outside = env.get(ROOTLESS_UID);
        let outside = outside.and_then(|uid| uid.parse().ok());
        let name = std::env::args_os().next().unwrap_or_default();
        Ok(Self {
            started_as,
            cwd: std::env::current_dir()?,
            uid: outside.unwrap_or_else(|| rustix::process::getuid().as_raw()),
            started_again: name.to_string_lossy().ends_with(IN_A_USER_NAMESPACE),
            env,
            configuration: Arc::default(),
        })
    }

    /// Returns a variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns a variable that says yes in any of Go's spellings of a boolean.
    pub fn flag(&self, name: &str) -> bool {
        self.var(name)
            .is_some_and(|value| crate::go_values::go_bool(value) == Ok(true))
    }

    /// Completes a `NAME` without a value from the environment; `None` if it is not set there.
    pub fn variable(&self, entry: &str) -> Option<String> {
        if entry.contains('=') {
            return Some(entry.to_owned());
        }
        self.env.get(entry).map(|value| format!("{entry}={value}"))
    }

    /// The proxy variables that are set, as `NAME=VALUE`.
    pub fn proxies(&self) -> Vec<String> {
        let names = solve::scope::PROXY_NAMES.iter();
        names
            .filter_map(|name| Some(format!("{name}={}", self.env.get(*name)?)))
            .collect()
    }

    /// The directory for large temporary files: `$TMPDIR`, else `/var/tmp`.
    pub fn big_temporary(&self) -> PathBuf {
        self.var("TMPDIR")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
    }

    /// The present moment; the only clock of the program.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_system_time(std::time::SystemTime::now())
            .expect("the clock is within four-digit years")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_survives_a_second_start() {
        for (argv0, expected) in [
            ("/usr/bin/buildah", StartedAs::Buildah),
            ("buildah-in-a-user-namespace", StartedAs::Buildah),
            ("cooper-in-a-user-namespace", StartedAs::Cooper),
            ("./buildah2", StartedAs::Cooper),
        ] {
            let found = StartedAs::from_argv0(Some(&OsString::from(argv0)));
            assert_eq!(found, expected, "{argv0}");
        }
    }
}

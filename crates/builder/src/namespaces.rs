//! What a working container's record says about the namespaces of its processes: Buildah's
//! `NamespaceOptions` and `IDMappingOptions`.

use std::io;
use std::path::PathBuf;

use runtime::{IdMap, IdMaps, IdRange, Namespace, Namespaces};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    /// Control groups.
    Cgroup,
    /// Message queues and shared memory.
    Ipc,
    /// Mounts.
    Mount,
    /// Network devices and ports.
    Network,
    /// Processes.
    Pid,
    /// Users and groups.
    User,
    /// Host name.
    Uts,
}

impl NamespaceKind {
    /// All of them, in the order of a record.
    pub const ALL: [Self; 7] = [
        Self::Cgroup,
        Self::Ipc,
        Self::Mount,
        Self::Network,
        Self::Pid,
        Self::User,
        Self::Uts,
    ];

    /// Returns its name in records and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }
}

/// How processes are in one kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NamespaceOption {
    /// The kind, as [`NamespaceKind::name`] has it.
    pub name: String,
    /// Whether it is the host's.
    pub host: bool,
    /// The file of one that exists.
    pub path: String,
}

impl NamespaceOption {
    /// An entry for a kind.
    #[must_use]
    pub fn new(kind: NamespaceKind, choice: &Namespace) -> Self {
        Self {
            name: kind.name().to_owned(),
            host: *choice == Namespace::Host,
            path: match choice {
                Namespace::Path(path) => path.to_string_lossy().into_owned(),
                Namespace::Private | Namespace::Host => String::new(),
            },
        }
    }
}

/// How processes are in namespaces of all kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NamespaceOptions(Vec<NamespaceOption>);

impl Default for NamespaceOptions {
    /// The host's users and control groups, and everything else of its own.
    fn default() -> Self {
        let entry = |kind| match kind {
            NamespaceKind::Cgroup | NamespaceKind::User => {
                NamespaceOption::new(kind, &Namespace::Host)
            }
            _ => NamespaceOption::new(kind, &Namespace::Private),
        };
        Self(NamespaceKind::ALL.into_iter().map(entry).collect())
    }
}

impl<'de> Deserialize<'de> for NamespaceOptions {
    /// Takes `null` for an empty list.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Option::<Vec<NamespaceOption>>::deserialize(deserializer)?;
        Ok(list.map_or_else(Self::empty, Self))
    }
}

impl NamespaceOptions {
    /// Says nothing about any kind.
    #[must_use]
    pub fn empty() -> Self {
        Self(Vec::new())
    }

    /// Returns the entries.
    #[must_use]
    pub fn entries(&self) -> &[NamespaceOption] {
        &self.0
    }

    /// Returns what is said about a kind, if anything is; of several entries the last counts.
    #[must_use]
    pub fn get(&self, kind: NamespaceKind) -> Option<Namespace> {
        let entry = self.0.iter().rfind(|entry| entry.name == kind.name())?;
        Some(match entry {
            entry if entry.host => Namespace::Host,
            entry if entry.path.is_empty() => Namespace::Private,
            entry => Namespace::Path(PathBuf::from(&entry.path)),
        })
    }

    /// Says something about a kind, in place of what was said before.
    pub fn set(&mut self, kind: NamespaceKind, choice: &Namespace) {
        let new = NamespaceOption::new(kind, choice);
        match self.0.iter_mut().rfind(|entry| entry.name == new.name) {
            Some(entry) => *entry = new,
            None => self.0.push(new),
        }
    }

    /// Returns the choices for a process. A kind of which nothing is said is the host's, as with
    /// Buildah.
    #[must_use]
    pub fn choices(&self) -> Namespaces {
        let choice = |kind| self.get(kind).unwrap_or(Namespace::Host);
        Namespaces {
            cgroup: choice(NamespaceKind::Cgroup),
            ipc: choice(NamespaceKind::Ipc),
            pid: choice(NamespaceKind::Pid),
            uts: choice(NamespaceKind::Uts),
        }
    }
}

/// Maps of user and group IDs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMappingOptions {
    /// Whether users are the host's.
    #[serde(rename = "HostUIDMapping")]
    pub host_uids: bool,
    /// Whether groups are the host's.
    #[serde(rename = "HostGIDMapping")]
    pub host_gids: bool,
    /// Users.
    #[serde(rename = "UIDMap", deserialize_with = "null_is_empty")]
    pub uids: Vec<IdMapping>,
    /// Groups.
    #[serde(rename = "GIDMap", deserialize_with = "null_is_empty")]
    pub gids: Vec<IdMapping>,
    /// Whether maps are chosen by size.
    #[serde(rename = "AutoUserNs")]
    pub automatic: bool,
    /// How they are chosen.
    #[serde(rename = "AutoUserNsOpts")]
    pub automatic_options: AutoUserNamespace,
}

impl IdMappingOptions {
    /// Returns the maps of which files take their owners; empty when they are the host's.
    #[must_use]
    pub fn maps(&self) -> IdMaps {
        let map = |list: &[IdMapping]| {
            let range = |range: &IdMapping| IdRange {
                inside: range.inside,
                outside: range.outside,
                count: range.size,
            };
            IdMap::from_ranges(list.iter().map(range).collect())
        };
        IdMaps {
            users: map(&self.uids),
            groups: map(&self.gids),
        }
    }

    /// Returns the maps of the user namespace that a process is in, if that is not the host's. One
    /// without maps of its own has all ids of the host.
    ///
    /// # Errors
    /// When the ids of this process's namespace cannot be read.
    pub fn of_process(&self, namespaces: &NamespaceOptions) -> io::Result<Option<IdMaps>> {
        let maps = self.maps();
        if !maps.is_empty() {
            return Ok(Some(maps));
        }
        match namespaces.get(NamespaceKind::User) {
            Some(Namespace::Private) => IdMaps::same().map(Some),
            _ => Ok(None),
        }
    }
}

impl Default for IdMappingOptions {
    /// The host's IDs.
    fn default() -> Self {
        Self {
            host_uids: true,
            host_gids: true,
            uids: Vec::new(),
            gids: Vec::new(),
            automatic: false,
            automatic_options: AutoUserNamespace::default(),
        }
    }
}

/// Consecutive IDs (`specs.LinuxIDMapping`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// The first one in the container.
    #[serde(rename = "containerID")]
    pub inside: u32,
    /// The first one on the host.
    #[serde(rename = "hostID")]
    pub outside: u32,
    /// How many there are.
    pub size: u32,
}

/// How maps are chosen by size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutoUserNamespace {
    /// The size.
    pub size: u32,
    /// The size to begin with.
    pub initial_size: u32,
    /// Where users are looked up.
    pub passwd_file: String,
    /// Where groups are looked up.
    pub group_file: String,
    /// Further users.
    #[serde(rename = "AdditionalUIDMappings")]
    pub further_uids: Value,
    /// Further groups.
    #[serde(rename = "AdditionalGIDMappings")]
    pub further_gids: Value,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IdMapping>, D::Error> {
    Ok(Option::<Vec<IdMapping>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_replaced() {
        let check = |text: &str, kind: NamespaceKind, expected: Option<Namespace>| {
            let options: NamespaceOptions = serde_json::from_str(text).expect("parses");
            assert_eq!(options.get(kind), expected, "{text}");
        };
        let pid = NamespaceKind::Pid;
        check("null", pid, None);
        check("[]", pid, None);
        check(r#"[{"Name":"ipc","Host":true}]"#, pid, None);
        check(r#"[{"Name":"pid"}]"#, pid, Some(Namespace::Private));
        check(
            r#"[{"Name":"pid","Host":true,"Path":""}]"#,
            pid,
            Some(Namespace::Host),
        );
        check(
            r#"[{"Name":"pid","Host":true},{"Name":"pid","Path":"/x"}]"#,
            pid,
            Some(Namespace::Path("/x".into())),
        );
        let mut options = NamespaceOptions::default();
        options.set(pid, &Namespace::Host);
        assert_eq!(options.entries().len(), NamespaceKind::ALL.len());
        assert_eq!(options.choices().pid, Namespace::Host);
        assert_eq!(options.choices().cgroup, Namespace::Host);
        assert_eq!(options.choices().ipc, Namespace::Private);
    }
}

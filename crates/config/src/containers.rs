//! `containers.conf`: defaults of containers and of the tools themselves.
//!
//! Every setting that a builder uses is a field with its origin; those that only Podman uses are checked for their type
//! and dropped. What the values mean is for their users.

mod check;
mod field;
mod tables;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::document::{self, ConfigError, Document, Setting, Value};
use crate::effective::{Effective, Shown};
use crate::nearest;
use crate::origin::{Origin, Place, Warning};
use crate::roots::{Files, SearchRoots};

pub use check::ContainersFault;
use field::Sticky;
pub use tables::{ContainersTable, EngineTable, NetworkTable};
use tables::{Kind, UNUSED, UNUSED_NAMES};

const RUNTIMES: &str = "engine.runtimes.";
/// Where the usual OCI runtimes are looked for.
const RUNTIME_DIRS: [&str; 7] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/sbin",
    "/bin",
    "/run/current-system/sw/bin",
];

/// Why `containers.conf` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainersError {
    /// A file that must be there is not.
    #[error("parsing containers.conf: open {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be read, or is not what it should be.
    #[error("parsing containers.conf: decode configuration {path:?}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A value has no meaning.
    #[error(transparent)]
    Value(#[from] ContainersFault),
}

/// What all `containers.conf` files come to.
#[derive(Clone, Debug)]
pub struct ContainersConf {
    /// `[containers]`.
    pub containers: ContainersTable,
    /// `[engine]`.
    pub engine: EngineTable,
    /// `[network]`.
    pub network: NetworkTable,
    /// `[engine.runtimes]`: where the programs of OCI runtimes are looked for, by name.
    pub runtimes: BTreeMap<String, Origin<Vec<String>>>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
    sticky: Sticky,
}

impl Default for ContainersConf {
    fn default() -> Self {
        let runtime = |name: &str| {
            let paths = RUNTIME_DIRS.iter().map(|dir| format!("{dir}/{name}"));
            (name.to_owned(), Origin::default_value(paths.collect()))
        };
        Self {
            containers: ContainersTable::default(),
            engine: EngineTable::default(),
            network: NetworkTable::default(),
            runtimes: ["crun", "runc", "youki"].map(runtime).into(),
            files: Vec::new(),
            warnings: Vec::new(),
            sticky: Sticky::new(),
        }
    }
}

impl ContainersConf {
    /// Finds, reads and merges the files.
    ///
    /// # Errors
    /// [`ContainersError`] with the file and the line, for anything but unknown keys.
    pub fn load(roots: &SearchRoots) -> Result<Self, ContainersError> {
        let mut conf = Self::default();
        for path in Files::find(roots, "containers.conf").paths {
            let document = document::read(&path).map_err(|error| match error {
                ConfigError::Read { path, source } => ContainersError::Open { path, source },
                source => ContainersError::Load {
                    path: path.clone(),
                    source,
                },
            })?;
            conf.merge(&document, &path)?;
        }
        conf.check()?;
        Ok(conf)
    }

    /// Parses the text of one file, which is then the whole configuration; `path` is for messages.
    ///
    /// # Errors
    /// As [`ContainersConf::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ContainersError> {
        let mut conf = Self::default();
        let document = document::parse(text, path).map_err(|source| ContainersError::Load {
            path: path.to_path_buf(),
            source,
        })?;
        conf.merge(&document, path)?;
        conf.check()?;
        Ok(conf)
    }

    fn merge(&mut self, document: &Document, path: &Path) -> Result<(), ContainersError> {
        self.files.push(path.to_path_buf());
        for setting in &document.settings {
            self.take(setting).map_err(|source| ContainersError::Load {
                path: path.to_path_buf(),
                source,
            })?;
        }
        Ok(())
    }

    fn take(&mut self, setting: &Setting) -> Result<(), ConfigError> {
        let sticky = &mut self.sticky;
        if self.containers.take(setting, sticky)?
            || self.engine.take(setting, sticky)?
            || self.network.take(setting, sticky)?
        {
            return Ok(());
        }
        if setting.key.starts_with(RUNTIMES) {
            let name = setting.spelled[RUNTIMES.len()..].to_owned();
            self.runtimes.insert(name, setting.texts()?);
            return Ok(());
        }
        if let Some(kind) = unused(&setting.key) {
            return check_kind(setting, kind);
        }
        self.warnings.push(nearest::unknown(setting, known()));
        Ok(())
    }

    /// Every setting with its value and its origin.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let mut all = Vec::new();
        self.containers.show(&mut all);
        self.engine.show(&mut all);
        for (name, paths) in &self.runtimes {
            let value = paths.clone().map(Shown::List);
            all.push(Effective::new(format!("{RUNTIMES}{name}"), value));
        }
        self.network.show(&mut all);
        all
    }
}

/// What a setting that a builder does not use must be; `None` for a setting that nobody knows.
fn unused(key: &str) -> Option<Kind> {
    let named = UNUSED_NAMES
        .iter()
        .find(|(_, table)| key.starts_with(table))
        .map(|(kind, _)| *kind);
    named.or_else(|| {
        let (table, name) = key.rsplit_once('.')?;
        UNUSED
            .iter()
            .find(|(_, known, names)| {
                *known == table && names.split_whitespace().any(|known| known == name)
            })
            .map(|(kind, ..)| *kind)
    })
}

fn check_kind(setting: &Setting, kind: Kind) -> Result<(), ConfigError> {
    match (kind, &setting.value.value) {
        (Kind::Any, _)
        | (Kind::Text, Value::Text(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Integer, Value::Integer { .. })
        | (Kind::Texts, Value::List { .. })
        | (Kind::Tables, Value::Tables(_)) => Ok(()),
        (Kind::Tables, Value::List { items, .. }) if items.is_empty() => Ok(()),
        (Kind::Text, _) => Err(setting.must_be("a string")),
        (Kind::Bool, _) => Err(setting.must_be("true or false")),
        (Kind::Integer, _) => Err(setting.must_be("an integer")),
        (Kind::Texts, _) => Err(setting.must_be("a list of strings")),
        (Kind::Tables, _) => Err(setting.must_be("a list of tables")),
    }
}

/// Every known key.
fn known() -> impl Iterator<Item = String> {
    let used = [ContainersTable::KEYS, EngineTable::KEYS, NetworkTable::KEYS];
    let used = used.into_iter().flatten().map(ToString::to_string);
    let unused = UNUSED.iter().flat_map(|(_, table, names)| {
        names
            .split_whitespace()
            .map(move |name| format!("{table}.{name}"))
    });
    used.chain(unused)
}

/// Where a text came from, when a message needs it behind its own words.
fn behind(place: &Place) -> String {
    match place {
        Place::Default => String::new(),
        place => format!(" ({place})"),
    }
}

#[cfg(test)]
mod tests;

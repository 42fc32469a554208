//! `registries.conf`: which registries a name may mean, and how each of them is reached.
//!
//! The files are merged into one [`RegistriesConf`]; [`RegistriesConf::endpoints`] applies it to a reference. Nobody is
//! asked here whether a registry exists. Names that were chosen at a prompt are in another file, see [`crate::AliasCache`].

mod endpoints;
mod error;
mod parse;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::alias::Alias;
use crate::document;
use crate::effective::{Effective, Shown};
use crate::origin::{Origin, Place, Warning};
use crate::roots::{Files, MainFile, SearchRoots};

pub use endpoints::{Located, Role, Use};
pub use error::{RegistriesError, RegistriesFault};
use parse::Layer;
pub(crate) use parse::aliases;

/// The entry of `credential-helpers` that means the files of credentials.
pub const AUTH_FILES_HELPER: &str = "containers-auth.json";

/// Whether a person is asked which of several registries a short name means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShortNameMode {
    /// Asked at a terminal; without one, a name with several candidates is refused.
    Enforcing,
    /// Asked at a terminal; without one, every candidate is tried.
    #[default]
    Permissive,
    /// Never asked: every candidate is tried.
    Disabled,
}

impl ShortNameMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Permissive => "permissive",
            Self::Disabled => "disabled",
        }
    }
}

/// For which references a mirror is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorUsage {
    /// For all.
    #[default]
    All,
    /// For those with a digest.
    DigestOnly,
    /// For those without one.
    TagOnly,
}

impl MirrorUsage {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::DigestOnly => "digest-only",
            Self::TagOnly => "tag-only",
        }
    }
}

/// A place that is asked before a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What replaces the registry's prefix in a name.
    pub location: Origin<String>,
    /// Whether certificates are not checked and plain HTTP is allowed.
    pub insecure: Origin<bool>,
    /// For which references it is asked.
    pub usage: Origin<MirrorUsage>,
}

/// One `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// What a name must begin with: a host, a namespace, a repository, or a full name; or `*.DOMAIN`.
    pub prefix: Origin<String>,
    /// What replaces the prefix in a name; empty, behind a wildcard, to leave the name as it is.
    pub location: Origin<String>,
    /// Whether certificates are not checked and plain HTTP is allowed.
    pub insecure: Origin<bool>,
    /// Whether nothing may be read or written there.
    pub blocked: Origin<bool>,
    /// Whether mirrors are asked only for references with a digest.
    pub mirror_by_digest_only: Origin<bool>,
    /// What is asked before it, in this order.
    pub mirrors: Vec<Mirror>,
}

/// What all `registries.conf` files come to.
#[derive(Clone, Debug)]
pub struct RegistriesConf {
    files: Files,
    default_main: PathBuf,
    search: Option<Origin<Vec<String>>>,
    short_name_mode: Option<Origin<ShortNameMode>>,
    credential_helpers: Option<Origin<Vec<String>>>,
    layer_store_helper: Option<Origin<String>>,
    aliases: BTreeMap<String, Alias>,
    /// By prefix.
    registries: BTreeMap<String, Registry>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
}

impl RegistriesConf {
    /// Finds, reads and merges the files.
    ///
    /// # Errors
    /// [`RegistriesError::Load`] with the file and the line.
    pub fn load(roots: &SearchRoots, main: MainFile<'_>) -> Result<Self, RegistriesError> {
        let mut conf = Self::empty(roots);
        conf.files = Files::find_with(roots, "registries.conf", main);
        for path in conf.files.paths.clone() {
            let layer = match document::read(&path) {
                Ok(document) => Layer::parse(&document),
                Err(error) => Err(error.into()),
            };
            conf.merge(layer.map_err(|source| RegistriesError::load(&path, source))?);
        }
        Ok(conf)
    }

    /// Parses the text of one file, which is then the whole configuration; `path` is for messages.
    ///
    /// # Errors
    /// As [`RegistriesConf::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, RegistriesError> {
        let load = |source| RegistriesError::load(path, source);
        let document = document::parse(text, path).map_err(|error| load(error.into()))?;
        let mut conf = Self::empty(&SearchRoots::new(Path::new("/"), 0, BTreeMap::new()));
        conf.files.paths.push(path.to_path_buf());
        conf.files.main = Some(path.to_path_buf());
        conf.merge(Layer::parse(&document).map_err(load)?);
        Ok(conf)
    }

    /// The configuration of a host without any.
    #[must_use]
    pub fn empty(roots: &SearchRoots) -> Self {
        Self {
            files: Files::default(),
            default_main: roots.system.join("registries.conf"),
            search: None,
            short_name_mode: None,
            credential_helpers: None,
            layer_store_helper: None,
            aliases: BTreeMap::new(),
            registries: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    fn merge(&mut self, layer: Layer) {
        self.search = layer.search.or(self.search.take());
        self.short_name_mode = layer.short_name_mode.or(self.short_name_mode.take());
        self.credential_helpers = layer.credential_helpers.or(self.credential_helpers.take());
        self.layer_store_helper = layer.layer_store_helper.or(self.layer_store_helper.take());
        self.aliases.extend(layer.aliases);
        for registry in layer.registries {
            self.registries
                .insert(registry.prefix.value.clone(), registry);
        }
        self.warnings.extend(layer.warnings);
    }

    /// Hosts to try, in order, for a short name without an alias.
    #[must_use]
    pub fn search(&self) -> &[String] {
        self.search.as_ref().map_or(&[], |list| &list.value)
    }

    /// The file that says which hosts to search, or the main file when none says it; for messages.
    #[must_use]
    pub fn search_file(&self) -> Option<&Path> {
        match self.search.as_ref().map(|list| &list.place) {
            Some(Place::File { path, .. }) => Some(path),
            _ => self.files.main.as_deref(),
        }
    }

    /// Whether a person is asked what a short name means.
    #[must_use]
    pub fn short_name_mode(&self) -> ShortNameMode {
        self.short_name_mode
            .as_ref()
            .map_or_else(ShortNameMode::default, |mode| mode.value)
    }

    /// Where credentials are looked for, in order: names of helpers, and [`AUTH_FILES_HELPER`].
    #[must_use]
    pub fn credential_helpers(&self) -> Vec<String> {
        match &self.credential_helpers {
            Some(helpers) if !helpers.value.is_empty() => helpers.value.clone(),
            _ => vec![AUTH_FILES_HELPER.to_owned()],
        }
    }

    /// The aliases, by short name.
    #[must_use]
    pub fn aliases(&self) -> &BTreeMap<String, Alias> {
        &self.aliases
    }

    /// The registries, by prefix.
    #[must_use]
    pub fn registries(&self) -> &BTreeMap<String, Registry> {
        &self.registries
    }

    /// The main file (or where one would be) and the directories of drop-ins; for messages.
    #[must_use]
    pub fn sources(&self) -> Vec<PathBuf> {
        let main = self.files.main.as_ref().unwrap_or(&self.default_main);
        let mut sources = vec![main.clone()];
        sources.extend(self.files.dirs.iter().cloned());
        sources
    }

    /// The files that were read.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files.paths
    }

    /// Every setting with its value and its origin.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let list = |set: &Option<Origin<Vec<String>>>, default: Vec<String>| {
            let set = set
                .clone()
                .unwrap_or_else(|| Origin::default_value(default));
            set.map(Shown::List)
        };
        let mode = self.short_name_mode.clone();
        let mode = mode.unwrap_or_else(|| Origin::default_value(ShortNameMode::default()));
        let helper = self.layer_store_helper.clone();
        let helper = helper.unwrap_or_else(|| Origin::default_value(String::new()));
        let files = vec![AUTH_FILES_HELPER.to_owned()];
        let mut all = vec![
            Effective::new(
                "unqualified-search-registries",
                list(&self.search, Vec::new()),
            ),
            Effective::new(
                "short-name-mode",
                mode.map(|mode| Shown::Text(mode.as_str().to_owned())),
            ),
            Effective::new("credential-helpers", list(&self.credential_helpers, files)),
            Effective::new(
                "additional-layer-store-auth-helper",
                helper.map(Shown::Text),
            ),
        ];
        for (name, alias) in &self.aliases {
            let value = alias.clone().map(|target| {
                Shown::Text(target.map(|target| target.to_string()).unwrap_or_default())
            });
            all.push(Effective::new(format!("aliases.{name}"), value));
        }
        for registry in self.registries.values() {
            registry.show(&mut all);
        }
        all
    }
}

impl Registry {
    fn show(&self, all: &mut Vec<Effective>) {
        let name = format!("registry.{}", self.prefix.value);
        let mut put = |key: &str, value| all.push(Effective::new(format!("{name}.{key}"), value));
        put("location", self.location.clone().map(Shown::Text));
        put("insecure", self.insecure.clone().map(Shown::Bool));
        put("blocked", self.blocked.clone().map(Shown::Bool));
        put(
            "mirror-by-digest-only",
            self.mirror_by_digest_only.clone().map(Shown::Bool),
        );
        for mirror in &self.mirrors {
            let key = |key: &str| format!("mirror.{}.{key}", mirror.location.value);
            put(&key("insecure"), mirror.insecure.clone().map(Shown::Bool));
            let usage = mirror.usage.clone();
            put(
                &key("pull-from-mirror"),
                usage.map(|usage| Shown::Text(usage.as_str().to_owned())),
            );
        }
    }
}

#[cfg(test)]
mod tests;

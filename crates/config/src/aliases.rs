//! The file of aliases that tools write themselves: what a person chose when asked what a short name means.
//!
//! It is shared with Podman and its relatives: same file, same lock, same bytes. Aliases that the host's administrator
//! wrote are in `registries.conf` and lose against these.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::Reference;
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::alias::{Alias, AliasError, check_short_name};
use crate::document::{self, ConfigError};
use crate::origin::Warning;
use crate::registries::{RegistriesFault, aliases};
use crate::roots::SearchRoots;

/// Why the file of aliases cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AliasCacheError {
    /// It cannot be read.
    #[error("loading short-name aliases config file {path:?}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<RegistriesFault>,
    },
    /// It cannot be written.
    #[error("recording a short-name alias in {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What is to be recorded is no alias.
    #[error(transparent)]
    Alias(#[from] AliasError),
}

/// The file of aliases, at its place.
#[derive(Clone, Debug)]
pub struct AliasCache {
    path: PathBuf,
}

impl AliasCache {
    /// The file at a place that the command line names.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file at its usual place: in `/var/cache` for root, in the user's cache otherwise.
    #[must_use]
    pub fn usual(roots: &SearchRoots) -> Self {
        let cache = match roots.is_user() {
            true => &roots.cache_home,
            false => Path::new("/var/cache"),
        };
        Self::at(cache.join("containers/short-name-aliases.conf"))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the aliases. A file that does not exist has none.
    ///
    /// # Errors
    /// [`AliasCacheError::Load`].
    pub fn read(&self) -> Result<(BTreeMap<String, Alias>, Vec<Warning>), AliasCacheError> {
        if !self.path.exists() {
            return Ok((BTreeMap::new(), Vec::new()));
        }
        // A reader without the right to lock (a cache of somebody else) still reads.
        let _lock = self.lock(FlockOperation::LockShared);
        self.parse()
    }

    fn parse(&self) -> Result<(BTreeMap<String, Alias>, Vec<Warning>), AliasCacheError> {
        let load = |source| AliasCacheError::Load {
            path: self.path.clone(),
            source: Box::new(source),
        };
        let document = match document::read(&self.path) {
            Ok(document) => document,
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok((BTreeMap::new(), Vec::new()));
            }
            Err(error) => return Err(load(error.into())),
        };
        let (named, others): (Vec<_>, Vec<_>) = document
            .settings
            .iter()
            .partition(|setting| setting.key.starts_with("aliases."));
        let warnings = others
            .iter()
            .map(|setting| crate::nearest::unknown(setting, std::iter::once("aliases".to_owned())));
        let warnings = warnings.collect();
        Ok((aliases(named.into_iter()).map_err(load)?, warnings))
    }

    /// Records that `name` stands for the repository of `target`, as a person chose.
    ///
    /// # Errors
    /// [`AliasCacheError`] when the file cannot be read or written.
    pub fn record(&self, name: &str, target: &Reference) -> Result<(), AliasCacheError> {
        check_short_name(name)?;
        let failed = |source| AliasCacheError::Write {
            path: self.path.clone(),
            source,
        };
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(failed)?;
        let _lock = self.lock(FlockOperation::LockExclusive).map_err(failed)?;
        let (known, _) = self.parse()?;
        let mut lines: BTreeMap<String, String> = known
            .into_iter()
            .map(|(name, alias)| (name, alias.value.map(|target| target.name())))
            .map(|(name, target)| (name, target.unwrap_or_default()))
            .collect();
        lines.insert(name.to_owned(), target.name());
        let mut text = String::from("[aliases]\n");
        for (name, target) in lines {
            // Neither can have a character that TOML would have escaped.
            text.push_str(&format!("  {name:?} = {target:?}\n"));
        }
        crate::replace::replace(&self.path, text.as_bytes()).map_err(failed)
    }

    fn lock(&self, operation: FlockOperation) -> io::Result<File> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)?;
        fcntl_lock(&file, operation)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Place;

    #[test]
    fn choices_are_kept_beside_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let cache = AliasCache::at(dir.path().join("new/aliases.conf"));
        assert!(cache.read().unwrap().0.is_empty());
        let quay = Reference::parse_normalized("quay.io/a/b:tag").unwrap();
        cache.record("b", &quay).unwrap();
        std::fs::write(
            cache.path(),
            "[aliases]\n  \"b\" = \"quay.io/a/b\"\n  \"off\" = \"\"\n",
        )
        .unwrap();
        cache.record("x/y", &quay).unwrap();
        assert_eq!(
            std::fs::read_to_string(cache.path()).unwrap(),
            "[aliases]\n  \"b\" = \"quay.io/a/b\"\n  \"off\" = \"\"\n  \"x/y\" = \"quay.io/a/b\"\n"
        );
        let (read, _) = cache.read().unwrap();
        assert_eq!(read["off"].value, None);
        assert!(matches!(&read["b"].place, Place::File { line: 2, .. }));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(cache.path()), 0o600);
        assert_eq!(mode(cache.path().parent().unwrap()), 0o700);
        assert!(cache.record("x:1", &quay).is_err());
    }
}

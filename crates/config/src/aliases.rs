//! The file of aliases that tools write themselves: what a person chose when asked what a short name means.
//!
//! It is shared with Podman and its relatives: same file, same lock, same bytes. Aliases that the host's administrator
//! wrote are in `registries.conf` and lose against these.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::{Reference, ReferenceError};
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::document::{self, ConfigError};
use crate::origin::Warning;
use crate::registries::{Alias, RegistriesFault, aliases};
use crate::roots::SearchRoots;

/// Why a text is no alias, or stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasError {
    /// The short name is no name.
    #[error("cannot parse short name: {name:?}: {problem}")]
    NoName {
        /// The text.
        name: String,
        /// What the grammar says.
        problem: ReferenceError,
    },
    /// The short name has what only a full name has.
    #[error("invalid short name {name:?}: must not contain {part}")]
    ShortName {
        /// The text.
        name: String,
        /// `tag`, `digest` or `registry`.
        part: &'static str,
    },
    /// What it stands for is no name.
    #[error("parsing alias {target:?}: {problem}")]
    NoTarget {
        /// The text.
        target: String,
        /// What the grammar says.
        problem: ReferenceError,
    },
    /// What it stands for is more than a repository.
    #[error("invalid alias {target:?}: must not contain {part}")]
    Target {
        /// The text.
        target: String,
        /// `tag` or `digest`.
        part: &'static str,
    },
    /// What it stands for is a short name again.
    #[error("invalid alias {target:?}: must contain registry and repository")]
    Short {
        /// The text.
        target: String,
    },
}

/// Checks what stands to the left of an alias: a repository without registry, tag and digest.
pub(crate) fn check_short_name(name: &str) -> Result<(), AliasError> {
    let parsed = Reference::parse_normalized(name).map_err(|problem| AliasError::NoName {
        name: name.to_owned(),
        problem,
    })?;
    let part = if parsed.digest().is_some() {
        "digest"
    } else if parsed.tag().is_some() {
        "tag"
    } else if !Reference::is_short(name) {
        "registry"
    } else {
        return Ok(());
    };
    Err(AliasError::ShortName {
        name: name.to_owned(),
        part,
    })
}

/// Reads what stands to the right of an alias: a repository of a registry, without tag and digest.
pub(crate) fn alias_target(text: &str) -> Result<Reference, AliasError> {
    let target = text.to_owned();
    let parsed = match Reference::parse_normalized(text) {
        Ok(parsed) => parsed,
        Err(problem) => return Err(AliasError::NoTarget { target, problem }),
    };
    if parsed.digest().is_some() {
        return Err(AliasError::Target {
            target,
            part: "digest",
        });
    }
    if parsed.tag().is_some() {
        return Err(AliasError::Target {
            target,
            part: "tag",
        });
    }
    if Reference::is_short(text) {
        return Err(AliasError::Short { target });
    }
    Ok(parsed)
}

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
    fn short_names_and_targets_are_checked() {
        let check = |name: &str, target: &str, expected: &str| {
            let found = match (check_short_name(name), alias_target(target)) {
                (Err(error), _) | (_, Err(error)) => error.to_string(),
                (Ok(()), Ok(target)) => target.to_string(),
            };
            assert_eq!(found, expected);
        };
        check("a", "docker.io/alpine", "docker.io/library/alpine");
        check("a/b", "quay.io/c/d", "quay.io/c/d");
        check("a", "localhost/x", "localhost/x");
        check(
            "a/b:c",
            "quay.io/x",
            "invalid short name \"a/b:c\": must not contain tag",
        );
        check(
            "quay.io/b",
            "quay.io/x",
            "invalid short name \"quay.io/b\": must not contain registry",
        );
        check(
            "A",
            "quay.io/x",
            "cannot parse short name: \"A\": invalid reference format: repository name must be lowercase",
        );
        check(
            "a",
            "y",
            "invalid alias \"y\": must contain registry and repository",
        );
        check(
            "a",
            "quay.io/y:1",
            "invalid alias \"quay.io/y:1\": must not contain tag",
        );
        let digest = format!("quay.io/y@sha256:{}", "0".repeat(64));
        check(
            "a",
            &digest,
            &format!("invalid alias \"{digest}\": must not contain digest"),
        );
    }

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

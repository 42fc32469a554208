//! Credentials of registries: the files they are in, the programs that keep them, and which one is for a name.
//!
//! [`AuthFiles`] holds the order in which they are asked. It reads files and runs helpers when it is asked, not before;
//! whether a registry accepts what is found is not its business.

mod edit;
mod error;
mod file;
mod helper;

use std::fmt;
use std::path::{Path, PathBuf};

use helper::Helpers;
use model::{Reference, Secret};

use crate::effective::{Effective, Shown};
use crate::origin::{Origin, Place};
use crate::registries::AUTH_FILES_HELPER;
use crate::roots::SearchRoots;

pub use edit::{Erased, Stored};
pub use error::AuthError;
pub use file::{AuthFile, AuthFormat, Entry};
pub use helper::HelperError;

/// The only file of credentials, named on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthFlag {
    /// None is.
    #[default]
    Unset,
    /// `--authfile`.
    File(PathBuf),
    /// `--compat-auth-file`: written as Docker writes it.
    DockerFile(PathBuf),
}

/// How a file of credentials is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// Any key, and the helpers of `registries.conf` first where they are named.
    Containers,
    /// Only hosts, docker.io under the URL that Docker uses.
    Docker,
}

/// A file of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AuthPath {
    path: PathBuf,
    format: AuthFormat,
    place: Place,
}

/// What credentials for a name come to.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The credentials, if there are any.
    pub found: Option<Found>,
    /// The files that exist and were read, in order.
    pub read: Vec<PathBuf>,
    /// The files that were looked for and do not exist.
    pub missing: Vec<PathBuf>,
    /// The helpers that were asked.
    pub asked: Vec<String>,
    /// What was wrong with entries that were passed over.
    pub warnings: Vec<String>,
}

/// Credentials, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The user; empty with a token of a helper.
    pub user: String,
    /// The password; empty with a token of a helper.
    pub password: Secret,
    /// A refresh token, which is used in place of user and password.
    pub identity_token: Option<Secret>,
    /// Where they come from.
    pub from: Provenance,
}

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// An entry of a file.
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        key: String,
    },
    /// A helper.
    Helper {
        /// Its name, without `docker-credential-`.
        name: String,
        /// What it was asked for.
        key: String,
        /// The file that names it.
        named_in: Option<PathBuf>,
    },
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { path, key } => write!(f, "entry {key:?} of {}", path.display()),
            Self::Helper {
                name,
                key,
                named_in,
            } => {
                write!(f, "credential helper {name}, asked for {key:?}")?;
                match named_in {
                    Some(path) => write!(f, ", named in {}", path.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Lookup {
    /// Says what was used, or where it was looked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(found) = &self.found {
            return write!(f, "the credentials are {}", found.from);
        }
        let names = |paths: &[PathBuf]| {
            let names: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            names.join(", ")
        };
        f.write_str("no credentials were found")?;
        if !self.read.is_empty() {
            write!(f, "; no key matches in {}", names(&self.read))?;
        }
        if !self.asked.is_empty() {
            write!(f, "; asked helpers {}", self.asked.join(", "))?;
        }
        if !self.missing.is_empty() {
            write!(f, "; not there: {}", names(&self.missing))?;
        }
        Ok(())
    }
}

/// The places of credentials, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    files: Vec<AuthPath>,
    /// Where credentials are written, or why nowhere.
    target: Result<(PathBuf, Writing), PathBuf>,
    helpers: Vec<String>,
    programs: Helpers,
    /// What is wrong with the places.
    pub warnings: Vec<String>,
}

impl AuthFiles {
    /// Settles the places: the only file that the command line or the environment names, or else the usual ones.
    /// `helpers` is the `credential-helpers` of `registries.conf`; relative paths are taken from `cwd`.
    #[must_use]
    pub fn find(roots: &SearchRoots, flag: &AuthFlag, helpers: Vec<String>, cwd: &Path) -> Self {
        let variable = |name: &str| roots.variable(name).map(|value| (value, name.to_owned()));
        let (path, place, writing) = match flag {
            AuthFlag::File(path) => (path.clone(), Place::Flag("--authfile"), Writing::Containers),
            AuthFlag::DockerFile(path) => (
                path.clone(),
                Place::Flag("--compat-auth-file"),
                Writing::Docker,
            ),
            AuthFlag::Unset => {
                if let Some((file, name)) = variable("REGISTRY_AUTH_FILE") {
                    (file.into(), Place::Variable(name), Writing::Containers)
                } else if let Some((dir, name)) = variable("DOCKER_CONFIG") {
                    let file = Path::new(dir).join("config.json");
                    (file, Place::Variable(name), Writing::Docker)
                } else {
                    return Self::usual(roots, helpers);
                }
            }
        };
        let path = cwd.join(path);
        Self {
            files: vec![AuthPath {
                path: path.clone(),
                format: AuthFormat::Current,
                place,
            }],
            target: Ok((path, writing)),
            helpers,
            programs: programs(roots),
            warnings: Vec::new(),
        }
    }

    fn usual(roots: &SearchRoots, helpers: Vec<String>) -> Self {
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        let mut add = |path: PathBuf, format, place| {
            files.push(AuthPath {
                path,
                format,
                place,
            });
        };
        let target = match roots.variable("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(dir) if !dir.exists() => {
                let missing = AuthError::NoRuntimeDir { dir: dir.clone() };
                warnings.push(format!(
                    "{missing}: Trying to pull image in the event that it is a public image."
                ));
                Err(dir)
            }
            Some(dir) => {
                let path = dir.join("containers/auth.json");
                let place = Place::Variable("XDG_RUNTIME_DIR".to_owned());
                add(path.clone(), AuthFormat::Current, place);
                Ok((path, Writing::Containers))
            }
            None => {
                let path = match roots.is_user() {
                    true => roots.session_dir().join("containers/auth.json"),
                    false => PathBuf::from("/run/containers/0/auth.json"),
                };
                add(path.clone(), AuthFormat::Current, Place::Default);
                Ok((path, Writing::Containers))
            }
        };
        let user = roots.user.join("auth.json");
        add(user, AuthFormat::Current, Place::Default);
        let docker = roots.home.join(".docker/config.json");
        add(docker, AuthFormat::Current, Place::Default);
        let legacy = roots.home.join(".dockercfg");
        add(legacy, AuthFormat::Legacy, Place::Default);
        Self {
            files,
            target,
            helpers,
            programs: programs(roots),
            warnings,
        }
    }

    /// Fails when the file that the command line names is not there: a command that reads credentials asks this first.
    ///
    /// # Errors
    /// [`AuthError::NotAccessible`].
    pub fn check_flag(&self) -> Result<(), AuthError> {
        for file in &self.files {
            if let (Place::Flag(_), Err(source)) = (&file.place, std::fs::metadata(&file.path)) {
                return Err(AuthError::NotAccessible {
                    path: file.path.clone(),
                    source,
                });
            }
        }
        Ok(())
    }

    /// Looks for the credentials of a repository: entries for it, for its namespaces, and for its registry.
    ///
    /// # Errors
    /// When a file or a helper cannot be used. No error shows a secret.
    pub fn lookup(&self, reference: &Reference) -> Result<Lookup, AuthError> {
        self.lookup_key(&reference.name())
    }

    /// As [`AuthFiles::lookup`], for a host, or a host and a path.
    ///
    /// # Errors
    /// As [`AuthFiles::lookup`]; also when the key is a URL or has a tag.
    pub fn lookup_key(&self, key: &str) -> Result<Lookup, AuthError> {
        check_key(key)?;
        let mut lookup = Lookup::default();
        let mut failures = Vec::new();
        for helper in &self.helpers {
            let outcome = if helper == AUTH_FILES_HELPER {
                self.lookup_in_files(key, &mut lookup)
            } else {
                lookup.asked.push(helper.clone());
                self.ask(helper, host(key), None)
            };
            match outcome {
                Ok(None) => {}
                Ok(found) => {
                    lookup.found = found;
                    return Ok(lookup);
                }
                Err(error) => failures.push(error),
            }
        }
        match AuthError::first_or_all(failures, "errors looking up credentials") {
            Some(error) => Err(error),
            None => Ok(lookup),
        }
    }

    fn lookup_in_files(&self, key: &str, lookup: &mut Lookup) -> Result<Option<Found>, AuthError> {
        for path in &self.files {
            let Some(file) = AuthFile::read(&path.path, path.format)? else {
                lookup.missing.push(path.path.clone());
                continue;
            };
            lookup.read.push(path.path.clone());
            if let Some(helper) = file.helper_of(host(key)) {
                lookup.asked.push(helper.to_owned());
                match self.ask(helper, host(key), Some(&path.path))? {
                    None => continue,
                    found => return Ok(found),
                }
            }
            if let Some(entry) = file.entry(key)? {
                lookup.warnings.extend(entry.warning);
                if entry.found.is_some() {
                    return Ok(entry.found);
                }
            }
            let Some(store) = file.store() else {
                continue;
            };
            lookup.asked.push(store.to_owned());
            match self.ask(store, docker_key(host(key)), Some(&path.path)) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // What a desktop's installer left behind must not stop a pull.
                Err(error) if error.is_missing_helper() => lookup.warnings.push(format!(
                    "{}: `credsStore` names docker-credential-{store}, which is not in $PATH",
                    path.path.display()
                )),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn ask(
        &self,
        name: &str,
        key: &str,
        named_in: Option<&Path>,
    ) -> Result<Option<Found>, AuthError> {
        let answer = self
            .programs
            .get(name, key)
            .map_err(|source| AuthError::Helper {
                source: Box::new(source),
                named_in: named_in.map(Path::to_path_buf),
            })?;
        let Some((user, secret)) = answer else {
            return Ok(None);
        };
        let from = Provenance::Helper {
            name: name.to_owned(),
            key: key.to_owned(),
            named_in: named_in.map(Path::to_path_buf),
        };
        // Helpers say with this user that the secret is a refresh token.
        Ok(Some(if user == "<token>" {
            Found {
                user: String::new(),
                password: Secret::default(),
                identity_token: Some(secret),
                from,
            }
        } else {
            Found {
                user,
                password: secret,
                identity_token: None,
                from,
            }
        }))
    }

    /// Every file with the reason why it is read.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let file = |number: usize, file: &AuthPath| {
            let there = if file.path.exists() {
                ""
            } else {
                " (not there)"
            };
            let value = Shown::Text(format!("{}{there}", file.path.display()));
            let place = file.place.clone();
            Effective::new(format!("auth.file.{}", number + 1), Origin { value, place })
        };
        self.files
            .iter()
            .enumerate()
            .map(|(number, path)| file(number, path))
            .collect()
    }
}

fn programs(roots: &SearchRoots) -> Helpers {
    Helpers::new(roots.variable("PATH").unwrap_or_default())
}

/// The registry of a key.
fn host(key: &str) -> &str {
    key.split_once('/').map_or(key, |(host, _)| host)
}

/// What Docker calls a registry in its own files and helpers.
fn docker_key(host: &str) -> &str {
    if host == "docker.io" {
        "https://index.docker.io/v1/"
    } else {
        host
    }
}

/// Refuses what is no host with an optional path.
fn check_key(key: &str) -> Result<(), AuthError> {
    let bad = |problem| {
        Err(AuthError::Key {
            key: key.to_owned(),
            problem,
        })
    };
    if key.starts_with("http://") || key.starts_with("https://") {
        return bad("contains http[s]:// prefix");
    }
    if key.contains('@') {
        return bad("contains a '@' character");
    }
    match key.split_once('/') {
        Some((_, path)) if path.contains(':') => bad("contains a ':' character after host[:port]"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

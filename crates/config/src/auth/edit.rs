//! Credentials written and removed: in a file, or by a helper.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use serde_json::{Map, Value, json};

use super::file::{AuthFile, AuthFormat};
use super::helper::{HelperError, Helpers};
use super::{AuthError, AuthFiles, Writing, check_key, docker_key, host};
use crate::registries::AUTH_FILES_HELPER;

/// Where credentials were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In a file.
    File(PathBuf),
    /// By a helper.
    Helper(String),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Helper(name) => write!(f, "credential helper: {name}"),
        }
    }
}

/// Whether there was something to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// It is gone.
    Removed,
    /// There was nothing.
    Nothing,
}

/// What an edit did to a file.
struct Edited<T> {
    result: T,
    rewrite: bool,
}

impl AuthFiles {
    /// Keeps a user and a password for `key`, at the first place that takes them.
    ///
    /// # Errors
    /// When no place takes them.
    pub fn store(&self, key: &str, user: &str, password: &Secret) -> Result<Stored, AuthError> {
        check_key(key)?;
        let mut failures = Vec::new();
        for name in self.writers()? {
            let stored = if name == AUTH_FILES_HELPER {
                self.store_in_file(key, user, password)
            } else {
                store_in_helper(&self.programs, name, key, user, password)
            };
            match stored {
                Ok(stored) => return Ok(stored),
                Err(error) => failures.push(error),
            }
        }
        Err(
            AuthError::first_or_all(failures, "Errors storing credentials")
                .unwrap_or(AuthError::NowhereToStore),
        )
    }

    /// Removes what is kept for exactly `key`.
    ///
    /// # Errors
    /// When a place fails.
    pub fn erase(&self, key: &str) -> Result<Erased, AuthError> {
        check_key(key)?;
        let mut failures = Vec::new();
        let mut removed = false;
        for name in self.writers()? {
            let outcome = if name == AUTH_FILES_HELPER {
                self.erase_in_file(key)
            } else if key.contains('/') {
                Ok(false)
            } else {
                erase_in_helper(&self.programs, name, key)
            };
            match outcome {
                Ok(here) => removed |= here,
                Err(error) => failures.push(error),
            }
        }
        match AuthError::first_or_all(failures, "errors removing credentials") {
            Some(error) => Err(error),
            None if removed => Ok(Erased::Removed),
            None => Ok(Erased::Nothing),
        }
    }

    /// Removes everything that is kept.
    ///
    /// # Errors
    /// When a place fails.
    pub fn erase_all(&self) -> Result<(), AuthError> {
        let mut failures = Vec::new();
        for name in self.writers()? {
            let outcome = if name == AUTH_FILES_HELPER {
                self.erase_file()
            } else {
                erase_all_in_helper(&self.programs, name)
            };
            failures.extend(outcome.err());
        }
        match AuthError::first_or_all(failures, "errors removing all credentials") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn target(&self) -> Result<(&Path, Writing), AuthError> {
        match &self.target {
            Ok((path, writing)) => Ok((path, *writing)),
            Err(dir) => Err(AuthError::NoRuntimeDir { dir: dir.clone() }),
        }
    }

    /// The helpers that are written to. Docker does not know those of `registries.conf`.
    fn writers(&self) -> Result<Vec<&str>, AuthError> {
        Ok(match self.target {
            Ok((_, Writing::Docker)) => vec![AUTH_FILES_HELPER],
            _ => self.helpers.iter().map(String::as_str).collect(),
        })
    }

    fn key_in_file(key: &str, writing: Writing) -> Result<&str, AuthError> {
        match writing {
            Writing::Docker if key.contains('/') => Err(AuthError::NamespacedDocker {
                key: key.to_owned(),
            }),
            Writing::Docker => Ok(docker_key(key)),
            Writing::Containers => Ok(key),
        }
    }

    fn store_in_file(&self, key: &str, user: &str, password: &Secret) -> Result<Stored, AuthError> {
        let (path, writing) = self.target()?;
        let key = Self::key_in_file(key, writing)?;
        edit(path, |file| {
            if let Some(name) = file.helper_of(key) {
                let result = store_in_helper(&self.programs, name, key, user, password)?;
                return Ok(Edited {
                    result,
                    rewrite: false,
                });
            }
            // A helper keeps hosts only, and one that is not installed keeps nothing.
            let store = file.store().filter(|_| !is_namespaced(key));
            if let Some(name) = store.map(str::to_owned) {
                match store_in_helper(&self.programs, &name, docker_key(key), user, password) {
                    Ok(result) => {
                        entries(file).insert(key.to_owned(), json!({}));
                        return Ok(Edited {
                            result,
                            rewrite: true,
                        });
                    }
                    Err(error) if error.is_missing_helper() => {}
                    Err(error) => return Err(error),
                }
            }
            let auth = STANDARD.encode(format!("{user}:{}", password.expose()));
            entries(file).insert(key.to_owned(), json!({ "auth": auth }));
            Ok(Edited {
                result: Stored::File(path.to_path_buf()),
                rewrite: true,
            })
        })
    }

    fn erase_in_file(&self, key: &str) -> Result<bool, AuthError> {
        let (path, writing) = self.target()?;
        let key = Self::key_in_file(key, writing)?;
        edit(path, |file| {
            let mut removed = false;
            if let Some(name) = file.helper_of(key).filter(|_| !is_namespaced(key)) {
                removed |= erase_in_helper(&self.programs, name, key)?;
            }
            if let Some(name) = file.store().filter(|_| !is_namespaced(key)) {
                removed |= erase_in_helper(&self.programs, name, docker_key(key))?;
            }
            let rewrite = entries(file).remove(key).is_some();
            Ok(Edited {
                result: removed | rewrite,
                rewrite,
            })
        })
    }

    fn erase_file(&self) -> Result<(), AuthError> {
        let (path, _) = self.target()?;
        edit(path, |file| {
            for (host, name) in file.helpers() {
                erase_in_helper(&self.programs, &name, &host)?;
            }
            if let Some(name) = file.store().map(str::to_owned) {
                // Only what a login put there: such a store may be that of a whole desktop.
                for key in entries(file).keys() {
                    erase_in_helper(&self.programs, &name, docker_key(host(key)))?;
                }
            }
            file.content.remove("credHelpers");
            file.content.insert("auths".to_owned(), json!({}));
            Ok(Edited {
                result: (),
                rewrite: true,
            })
        })
    }
}

/// Tells whether a key is more than a host; Docker's URL is a host.
fn is_namespaced(key: &str) -> bool {
    key.contains('/') && !key.starts_with("https://")
}

fn store_in_helper(
    programs: &Helpers,
    name: &str,
    key: &str,
    user: &str,
    password: &Secret,
) -> Result<Stored, AuthError> {
    if is_namespaced(key) {
        return Err(AuthError::Namespaced {
            helper: name.to_owned(),
        });
    }
    programs
        .store(name, key, user, password)
        .map_err(keeping("storing"))?;
    Ok(Stored::Helper(name.to_owned()))
}

fn erase_in_helper(programs: &Helpers, name: &str, key: &str) -> Result<bool, AuthError> {
    programs.erase(name, key).map_err(keeping("erasing"))
}

fn erase_all_in_helper(programs: &Helpers, name: &str) -> Result<(), AuthError> {
    let servers = match programs.list(name) {
        Ok(servers) => servers,
        // What is not installed keeps nothing.
        Err(HelperError::Missing { .. }) => return Ok(()),
        Err(error) => return Err(keeping("listing")(error)),
    };
    for server in servers {
        erase_in_helper(programs, name, &server)?;
    }
    Ok(())
}

fn keeping(doing: &'static str) -> impl Fn(HelperError) -> AuthError {
    move |source| AuthError::Keep {
        doing,
        source: Box::new(source),
    }
}

/// The entries of a file, which are made if there are none.
fn entries(file: &mut AuthFile) -> &mut Map<String, Value> {
    let auths = file.content.entry("auths").or_insert_with(|| json!({}));
    if !auths.is_object() {
        *auths = json!({});
    }
    auths.as_object_mut().expect("it was just made one")
}

/// Reads a file, changes it, and replaces it in one step, with everything in it that was not understood.
fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut AuthFile) -> Result<Edited<T>, AuthError>,
) -> Result<T, AuthError> {
    let mut file = match AuthFile::read(path, AuthFormat::Current)? {
        Some(file) => file,
        None => AuthFile::parse(b"{}", path, AuthFormat::Current)?,
    };
    let edited = change(&mut file)?;
    if edited.rewrite {
        write(path, &file.content).map_err(|source| AuthError::Write {
            path: path.to_path_buf(),
            source,
        })?;
    }
    Ok(edited.result)
}

fn write(path: &Path, content: &Map<String, Value>) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let bytes = model::go_json::to_vec_indent(content, "\t")?;
    crate::replace::replace(path, &bytes)
}

//! One file of credentials: `auth.json`, Docker's `config.json`, or the flat `.dockercfg` before it.
//!
//! The file is kept as it was read, so that what is not understood survives an edit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use serde_json::{Map, Value};

use super::{AuthError, Found, Provenance, host};

/// Largest file read, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFormat {
    /// Entries below `auths`.
    Current,
    /// Nothing but entries.
    Legacy,
}

/// The content of a file of credentials.
#[derive(Clone)]
pub struct AuthFile {
    path: PathBuf,
    format: AuthFormat,
    pub(super) content: Map<String, Value>,
}

impl std::fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What an entry comes to.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its credentials, unless it has none.
    pub found: Option<Found>,
    /// Why it has none although something is written there.
    pub warning: Option<String>,
}

impl AuthFile {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &Path, format: AuthFormat) -> Result<Option<Self>, AuthError> {
        let failed = |source| AuthError::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(failed(io::Error::other(format!(
                "larger than {MAX_SIZE} bytes"
            ))));
        }
        Self::parse(&bytes, path, format).map(Some)
    }

    /// Parses the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`AuthError::Parse`] with the line, and without what is written there.
    pub fn parse(bytes: &[u8], path: &Path, format: AuthFormat) -> Result<Self, AuthError> {
        let wrong = |problem: String| AuthError::Parse {
            path: path.to_path_buf(),
            problem,
        };
        let content: Value = serde_json::from_slice(bytes).map_err(|error| {
            let place = format!("({}:{})", path.display(), error.line().max(1));
            wrong(match error.classify() {
                serde_json::error::Category::Eof => {
                    format!("unexpected end of JSON input {place}")
                }
                // The parser's own message names no more than the column.
                _ => format!("invalid JSON at column {} {place}", error.column()),
            })
        })?;
        let Value::Object(content) = content else {
            return Err(wrong("it is no object".to_owned()));
        };
        let file = Self {
            path: path.to_path_buf(),
            format,
            content,
        };
        file.check().map_err(wrong)?;
        Ok(file)
    }

    /// Checks the types of what is used, so that nothing is looked over in silence.
    fn check(&self) -> Result<(), String> {
        for (name, entry) in self.entries().into_iter().flatten() {
            let Value::Object(fields) = entry else {
                return Err(format!("entry {name:?} is no object"));
            };
            for field in ["auth", "identitytoken"] {
                if !matches!(
                    fields.get(field),
                    None | Some(Value::String(_) | Value::Null)
                ) {
                    return Err(format!("`{field}` of entry {name:?} is no string"));
                }
            }
        }
        if self.format == AuthFormat::Legacy {
            return Ok(());
        }
        match self.field("auths") {
            None | Some(Value::Object(_) | Value::Null) => {}
            Some(_) => return Err("`auths` is no object".to_owned()),
        }
        match self.field("credHelpers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(helpers)) if helpers.values().all(Value::is_string) => {}
            Some(_) => return Err("`credHelpers` is no object of strings".to_owned()),
        }
        match self.field("credsStore") {
            None | Some(Value::Null | Value::String(_)) => Ok(()),
            Some(_) => Err("`credsStore` is no string".to_owned()),
        }
    }

    /// A field, in whatever case it is spelled: Go's reader does not mind.
    fn field(&self, name: &str) -> Option<&Value> {
        self.content.get(name).or_else(|| {
            self.content
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
    }

    fn entries(&self) -> Option<&Map<String, Value>> {
        match self.format {
            AuthFormat::Legacy => Some(&self.content),
            AuthFormat::Current => self.field("auths").and_then(Value::as_object),
        }
    }

    /// The helper that keeps the credentials of a host.
    #[must_use]
    pub fn helper_of(&self, host: &str) -> Option<&str> {
        self.current("credHelpers")?.get(host)?.as_str()
    }

    /// The hosts that have a helper of their own, with its name.
    pub(super) fn helpers(&self) -> Vec<(String, String)> {
        let helpers = self.current("credHelpers").and_then(Value::as_object);
        helpers
            .into_iter()
            .flatten()
            .filter_map(|(host, helper)| Some((host.clone(), helper.as_str()?.to_owned())))
            .collect()
    }

    /// The helper that keeps the credentials of all hosts that have no entry.
    #[must_use]
    pub fn store(&self) -> Option<&str> {
        self.current("credsStore")?
            .as_str()
            .filter(|name| !name.is_empty())
    }

    fn current(&self, name: &str) -> Option<&Value> {
        match self.format {
            AuthFormat::Current => self.field(name),
            AuthFormat::Legacy => None,
        }
    }

    /// Returns the entry for `key` (a host, or a host and a path) that says most about it; `None` if there is none.
    ///
    /// # Errors
    /// [`AuthError::Base64`].
    pub fn entry(&self, key: &str) -> Result<Option<Entry>, AuthError> {
        let Some(entries) = self.entries() else {
            return Ok(None);
        };
        let registry = host(key);
        let mut candidate = match self.format {
            AuthFormat::Current => key,
            AuthFormat::Legacy => registry,
        };
        loop {
            if let Some(entry) = entries.get(candidate) {
                return self.decode(candidate, entry).map(Some);
            }
            match candidate.rsplit_once('/') {
                Some((parent, _)) => candidate = parent,
                None => break,
            }
        }
        let wanted = plain_host(registry);
        let alias = entries
            .iter()
            .find(|(name, _)| self.normalized(name) == wanted);
        match alias {
            Some((name, entry)) => self.decode(name, entry).map(Some),
            None => Ok(None),
        }
    }

    /// What an entry's key means as a host: Docker once used URLs.
    fn normalized<'a>(&self, key: &'a str) -> &'a str {
        let bare = key.strip_prefix("http://").unwrap_or(key);
        let bare = bare.strip_prefix("https://").unwrap_or(bare);
        if self.format == AuthFormat::Legacy || bare.len() != key.len() {
            plain_host(host(bare))
        } else {
            plain_host(bare)
        }
    }

    fn decode(&self, key: &str, entry: &Value) -> Result<Entry, AuthError> {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let identity_token = Some(text("identitytoken"))
            .filter(|token| !token.is_empty())
            .map(Secret::new);
        let auth: String = text("auth")
            .chars()
            .filter(|c| !matches!(c, '\r' | '\n'))
            .collect();
        let decoded = STANDARD.decode(&auth).map_err(|error| AuthError::Base64 {
            offset: offset(&error, &auth),
            key: key.to_owned(),
            path: self.path.clone(),
        })?;
        let decoded = String::from_utf8_lossy(&decoded);
        let (user, password) = match decoded.split_once(':') {
            Some((user, password)) => (user, password.trim_matches('\0')),
            None if identity_token.is_some() => ("", ""),
            // Docker leaves an empty entry where a helper has the credentials.
            None if decoded.is_empty() => return Ok(Entry::default()),
            None => {
                return Ok(Entry {
                    found: None,
                    warning: Some(format!(
                        "Error parsing the \"auth\" field of a credential entry {key:?} in {:?}, missing colon",
                        self.path
                    )),
                });
            }
        };
        Ok(Entry {
            found: Some(Found {
                user: user.to_owned(),
                password: Secret::new(password),
                identity_token,
                from: Provenance::Entry {
                    path: self.path.clone(),
                    key: key.to_owned(),
                },
            }),
            warning: None,
        })
    }
}

/// The names of Docker's registry are one.
fn plain_host(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        other => other,
    }
}

/// Where a text stops being base64, as Go counts.
fn offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(offset, _)
        | base64::DecodeError::InvalidLastSymbol { offset, .. } => *offset,
        _ => text.trim_end_matches('=').len() / 4 * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_docker_are_hosts() {
        for (format, key, expected) in [
            (
                AuthFormat::Current,
                "https://index.docker.io/v1/",
                "index.docker.io",
            ),
            (AuthFormat::Current, "docker.io", "index.docker.io"),
            (AuthFormat::Current, "http://h:5000/v2/x", "h:5000"),
            (AuthFormat::Current, "h:5000/x", "h:5000/x"),
            (AuthFormat::Legacy, "h:5000/x", "h:5000"),
            (
                AuthFormat::Legacy,
                "registry-1.docker.io/v1",
                "index.docker.io",
            ),
        ] {
            let file = AuthFile {
                path: PathBuf::new(),
                format,
                content: Map::new(),
            };
            assert_eq!(file.normalized(key), expected, "{key}");
        }
    }
}

//! `certs.d`: certificates for one registry, of authorities and of clients.
//!
//! Files are read as bytes; what they hold is for the maker of connections to judge.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::effective::{Effective, Shown};
use crate::origin::{Origin, Place};
use crate::roots::{SearchRoots, drop_in_dirs};

/// Largest file of certificates or of a key, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// A file with its content.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PemFile({})", self.path.display())
    }
}

/// A client's certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPair {
    /// The certificate.
    pub certificate: PemFile,
    /// The key.
    pub key: PemFile,
}

/// What a directory of certificates holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCerts {
    /// The directory that was read, if one exists.
    pub directory: Option<PathBuf>,
    /// The directories that were looked for, in order.
    pub searched: Vec<PathBuf>,
    /// Authorities to trust besides the host's own.
    pub authorities: Vec<PemFile>,
    /// What the client may show.
    pub clients: Vec<ClientPair>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A file or directory cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A certificate is alone.
    #[error(
        "missing key {key} for client certificate {certificate}. Note that CA certificates should use the extension .crt"
    )]
    NoKey {
        /// The name of the file that is not there.
        key: String,
        /// The name of the file that is.
        certificate: String,
    },
    /// A key is alone.
    #[error("missing client certificate {certificate} for key {key}")]
    NoCertificate {
        /// The name of the file that is not there.
        certificate: String,
        /// The name of the file that is.
        key: String,
    },
}

/// Where certificates are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertsDirs {
    /// In this directory, whatever the registry.
    Named(PathBuf),
    /// In the first of these that has a directory for the registry.
    Usual(Vec<PathBuf>),
}

impl CertsDirs {
    /// The usual directories.
    #[must_use]
    pub fn usual(roots: &SearchRoots) -> Self {
        let mut dirs = drop_in_dirs(roots, "certs.d", "certs.d");
        dirs.push(PathBuf::from("/etc/docker/certs.d"));
        Self::Usual(dirs)
    }

    /// Reads the certificates for `host`, a host with its port if any. A directory that may not be entered is passed
    /// over.
    ///
    /// # Errors
    /// [`CertsError`].
    pub fn for_host(&self, host: &str) -> Result<HostCerts, CertsError> {
        let searched = match self {
            Self::Named(dir) => vec![dir.clone()],
            Self::Usual(dirs) => dirs.iter().map(|dir| dir.join(host)).collect(),
        };
        let mut found = HostCerts::default();
        for dir in &searched {
            let entries = match fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if is_passed_over(&error) => continue,
                Err(source) => {
                    return Err(CertsError::Read {
                        path: dir.clone(),
                        source,
                    });
                }
            };
            let mut names: Vec<String> = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            names.sort();
            found.directory = Some(dir.clone());
            found.take(dir, &names)?;
            break;
        }
        found.searched = searched;
        Ok(found)
    }

    /// Every directory with the reason why it is looked into.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let show = |name: String, dir: &Path, place| {
            let value = Shown::Text(dir.display().to_string());
            Effective::new(name, Origin { value, place })
        };
        match self {
            Self::Named(dir) => vec![show(
                "certs.directory".into(),
                dir,
                Place::Flag("--cert-dir"),
            )],
            Self::Usual(dirs) => dirs
                .iter()
                .enumerate()
                .map(|(number, dir)| {
                    let name = format!("certs.directory.{}", number + 1);
                    show(name, &dir.join("HOST[:PORT]"), Place::Default)
                })
                .collect(),
        }
    }
}

impl HostCerts {
    fn take(&mut self, dir: &Path, names: &[String]) -> Result<(), CertsError> {
        let has = |name: &String| names.contains(name);
        for name in names {
            if name.ends_with(".crt") {
                self.authorities.push(read(dir, name)?);
            } else if let Some(stem) = name.strip_suffix(".cert") {
                let key = format!("{stem}.key");
                if !has(&key) {
                    return Err(CertsError::NoKey {
                        key,
                        certificate: name.clone(),
                    });
                }
                self.clients.push(ClientPair {
                    certificate: read(dir, name)?,
                    key: read(dir, &key)?,
                });
            } else if let Some(stem) = name.strip_suffix(".key") {
                let certificate = format!("{stem}.cert");
                if !has(&certificate) {
                    return Err(CertsError::NoCertificate {
                        certificate,
                        key: name.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn is_passed_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

fn read(dir: &Path, name: &str) -> Result<PemFile, CertsError> {
    let path = dir.join(name);
    let read = || {
        let file = fs::File::open(&path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_SIZE + 1), &mut bytes)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(io::Error::other(format!("larger than {MAX_SIZE} bytes")));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(PemFile { path, bytes }),
        Err(source) => Err(CertsError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::world;

    #[test]
    fn the_first_directory_for_the_host_counts() {
        let world = world(
            0,
            &[
                ("etc/certs.d/h:5000/ca.crt", "near"),
                ("etc/certs.d/h:5000/b.cert", "cert"),
                ("etc/certs.d/h:5000/b.key", "key"),
                ("etc/certs.d/h:5000/README", "text"),
                ("usr/certs.d/h:5000/ca.crt", "far"),
                ("etc/certs.d/other/x.cert", "alone"),
                ("usr/certs.d/keys/x.key", "alone"),
            ],
        );
        let dirs = CertsDirs::usual(&world.roots);
        let found = dirs.for_host("h:5000").unwrap();
        assert_eq!(found.directory, Some(world.path("etc/certs.d/h:5000")));
        let [ca] = found.authorities.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(ca.bytes, b"near");
        assert_eq!(found.clients[0].key.bytes, b"key");
        assert_eq!(found.searched.len(), 6);
        assert_eq!(
            dirs.for_host("other").unwrap_err().to_string(),
            "missing key x.key for client certificate x.cert. Note that CA certificates should use the extension .crt"
        );
        assert_eq!(
            dirs.for_host("keys").unwrap_err().to_string(),
            "missing client certificate x.cert for key x.key"
        );
        assert_eq!(dirs.for_host("none").unwrap().directory, None);
        let named = CertsDirs::Named(world.path("usr/certs.d/h:5000"));
        assert_eq!(named.for_host("any").unwrap().authorities[0].bytes, b"far");
        let missing = CertsDirs::Named(world.path("missing"));
        assert!(missing.for_host("any").unwrap().authorities.is_empty());
    }
}

//! Signatures beside a registry: files below a directory, or on a web server, that the host's configuration names.
//!
//! The address of one is `BASE/REPOSITORY@sha256=HEX/signature-N`, with N from 1 and without gaps. A registry's host is
//! no part of it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use model::{Digest, Reference};
use registry::RegistryError;
use trust::{SIGNATURE_MAX, SIGNATURES_MAX, Signature};

use super::SignaturesError;
use super::policy::read_at_most;
use crate::files::write_whole;
use crate::registries::HostError;

type Result<T> = std::result::Result<T, SignaturesError>;

/// Where the signatures of an image in a registry are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignaturePlace {
    /// The address to read from: `file:///…`, `http://…` or `https://…`.
    pub lookaside: Option<String>,
    /// The address to write to.
    pub staging: Option<String>,
    /// Whether what sigstore attaches to images in the registry itself is read and written.
    pub attachments: bool,
}

/// The host's configuration as far as signatures go.
pub trait SignaturePlaces: Send + Sync + fmt::Debug {
    /// Returns where the signatures of an image are.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    fn place(&self, name: &Reference) -> std::result::Result<SignaturePlace, HostError>;
}

/// No signatures anywhere but in registries that keep them themselves.
#[derive(Clone, Copy, Debug)]
pub struct NoPlaces;

impl SignaturePlaces for NoPlaces {
    fn place(&self, _name: &Reference) -> std::result::Result<SignaturePlace, HostError> {
        Ok(SignaturePlace::default())
    }
}

/// Gets a small file from a web server, if it is there.
pub(super) type Fetch<'a> =
    dyn Fn(&str) -> std::result::Result<Option<Vec<u8>>, RegistryError> + 'a;

/// A place beside a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookaside {
    Directory(PathBuf),
    Web(String),
}

impl Lookaside {
    /// Reads the address of a place.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("file://") {
            // A host may stand there, and means nothing.
            let path = path.find('/').map_or("", |slash| &path[slash..]);
            return Ok(Self::Directory(undo_percent(path)));
        }
        if url.starts_with("http://") || url.starts_with("https://") {
            return Ok(Self::Web(url.trim_end_matches('/').to_owned()));
        }
        Err(SignaturesError::Scheme {
            url: url.to_owned(),
        })
    }

    /// Reads all signatures of a manifest.
    pub(crate) fn read(
        &self,
        repository: &str,
        manifest: &Digest,
        fetch: &Fetch<'_>,
    ) -> Result<Vec<Signature>> {
        let mut signatures = Vec::new();
        for number in 1.. {
            let object = object(repository, manifest, number);
            let bytes = match self {
                Self::Directory(base) => read_file(&base.join(&object))?,
                Self::Web(base) => {
                    let url = format!("{base}/{object}");
                    fetch(&url).map_err(|source| SignaturesError::Fetch {
                        url,
                        source: Box::new(source),
                    })?
                }
            };
            let Some(bytes) = bytes else { break };
            if signatures.len() == SIGNATURES_MAX {
                return Err(SignaturesError::TooMany {
                    manifest: manifest.clone(),
                });
            }
            signatures.push(parse(number, manifest, &bytes)?);
        }
        Ok(signatures)
    }

    /// Writes signatures in place of those that are there.
    pub(crate) fn write(
        &self,
        repository: &str,
        manifest: &Digest,
        signatures: &[&Signature],
    ) -> Result<()> {
        let base = match self {
            Self::Directory(base) => base,
            Self::Web(url) => {
                return Err(SignaturesError::ReadOnlyLookaside { url: url.clone() });
            }
        };
        for (at, signature) in signatures.iter().enumerate() {
            let path = base.join(object(repository, manifest, at + 1));
            write_file(&path, &signature.to_bytes())?;
        }
        // What was there before would be taken for more signatures of this image.
        for number in signatures.len() + 1.. {
            let path = base.join(object(repository, manifest, number));
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => {
                    return Err(SignaturesError::File {
                        attempt: "remove",
                        path,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

fn object(repository: &str, manifest: &Digest, number: usize) -> String {
    format!(
        "{repository}@{}={}/signature-{number}",
        manifest.algorithm().name(),
        manifest.hex()
    )
}

pub(super) fn parse(number: usize, manifest: &Digest, bytes: &[u8]) -> Result<Signature> {
    Signature::parse(bytes).map_err(|source| SignaturesError::Parse {
        number,
        manifest: manifest.clone(),
        source,
    })
}

/// Reads a signature's file, if it is there.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_at_most(path, SIGNATURE_MAX as u64 + 1) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(SignaturesError::File {
            attempt: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a signature's file whole or not at all.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let trouble = |attempt| {
        move |source| SignaturesError::File {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(trouble("create the directory of"))?;
    }
    write_whole(path, bytes).map_err(|err| trouble("write")(io::Error::other(err)))
}

/// Reads the path of an address, in which `%` may introduce a byte by its hexadecimal digits.
fn undo_percent(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let directory = |path: &str| Some(Lookaside::Directory(path.into()));
        let check = |url: &str, expected: Option<Lookaside>| {
            assert_eq!(Lookaside::parse(url).ok(), expected, "{url}");
        };
        check("file:///var/lib/s", directory("/var/lib/s"));
        check("file://host/s", directory("/s"));
        check("file:///a%20b%zz", directory("/a b%zz"));
        check(
            "https://ex.com/s/",
            Some(Lookaside::Web("https://ex.com/s".into())),
        );
        check("ftp://ex.com", None);
        check("/var/lib/s", None);
    }

    #[test]
    fn signatures_are_numbered_files() {
        let dir = tempfile::tempdir().unwrap();
        let place = Lookaside::Directory(dir.path().join("sigs"));
        let nothing = |_: &str| Ok(None);
        let manifest = Digest::sha256(b"m");
        let one = Signature::Simple(vec![0x90, 1]);
        let two = Signature::Simple(vec![0x90, 2]);
        let read = || place.read("sg/one", &manifest, &nothing).unwrap();
        assert!(read().is_empty());
        place
            .write("sg/one", &manifest, &[&one, &two, &one])
            .unwrap();
        assert_eq!(read(), [one.clone(), two.clone(), one.clone()]);
        let expected = format!("sigs/sg/one@sha256={}/signature-3", manifest.hex());
        assert!(dir.path().join(expected).exists());
        place.write("sg/one", &manifest, &[&two]).unwrap();
        assert_eq!(read(), [two]);
        assert!(
            place
                .read("sg/two", &manifest, &nothing)
                .unwrap()
                .is_empty()
        );

        let web = Lookaside::parse("https://ex.com").unwrap();
        let error = web.write("a", &manifest, &[&one]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Writing directly to a http lookaside https://ex.com is not supported. Configure a lookaside-staging: location"
        );
    }
}

//! Where an image is or shall be: `transport:reference` texts, taken apart.
//!
//! Parsing opens nothing, except that what a text means for a store (an identifier's prefix or a name) is only settled
//! when the store is asked. Transports that exist elsewhere but not here parse to [`TransportRef::Foreign`], so that the
//! error comes with the use.

use std::fmt;
use std::path::{Path, PathBuf};

use model::digest::Algorithm;
use model::{Digest, Reference, ReferenceError};

use crate::static_registry::{StaticName, StaticNameError};

/// Why a text is no place for an image. The texts are those of Buildah.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no colon.
    #[error("Invalid image name \"{text}\", expected colon-separated transport:reference")]
    NoTransport {
        /// The text as given.
        text: String,
    },
    /// Nobody knows such a transport.
    #[error("Invalid image name \"{text}\", unknown transport \"{transport}\"")]
    Unknown {
        /// The text as given.
        text: String,
        /// What stands before the colon.
        transport: String,
    },
    /// The transport that other tools leave out, too.
    #[error("The transport \"ostree:\" is not supported in this build")]
    Ostree,
    /// `docker:` without the slashes.
    #[error("docker: image reference {text} does not start with //")]
    DockerSlashes {
        /// What stands behind `docker:`.
        text: String,
    },
    /// A name for a registry with both.
    #[error("Docker references with both a tag and digest are currently not supported")]
    TagAndDigest,
    /// A digest that is said to be unknown beside a tag or a known one.
    #[error(
        "docker: image reference \"{text}\" has unknown digest set but it contains either a tag or digest"
    )]
    UnknownDigest {
        /// What stands behind the slashes.
        text: String,
    },
    /// The name within the transport is no reference.
    #[error("parsing reference \"{text}\"")]
    Name {
        /// The name.
        text: String,
        /// What the grammar says.
        source: ReferenceError,
    },
    /// A `docker-archive:` without a path.
    #[error("docker-archive reference {text} isn't of the form <path>[:<reference>]")]
    ArchiveForm {
        /// What stands behind `docker-archive:`.
        text: String,
    },
    /// A name in an archive by digest.
    #[error("docker-archive doesn't support digest references: {text}")]
    ArchiveDigest {
        /// The name.
        text: String,
    },
    /// A digest that no daemon gives an image.
    #[error("Invalid docker-daemon: reference {text}: only digest algorithm sha256 accepted")]
    DaemonAlgorithm {
        /// What stands behind `docker-daemon:`.
        text: String,
    },
    /// A name that a daemon keeps for identifiers.
    #[error(
        "Invalid docker-daemon: reference {text}: The sha256 repository name is reserved for (non-shortened) digest references"
    )]
    DaemonReserved {
        /// What stands behind `docker-daemon:`.
        text: String,
    },
    /// A name in a daemon that says too little.
    #[error("docker-daemon: reference {text} has neither a tag nor a digest")]
    DaemonName {
        /// The name.
        text: String,
    },
    /// A name in a daemon that says too much.
    #[error("docker-daemon: references with both a tag and digest are not supported")]
    DaemonTagAndDigest,
    /// A name in a registry tree that cannot be served.
    #[error("static-registry: the name `{text}` cannot be served")]
    StaticName {
        /// The name.
        text: String,
        /// Why not.
        source: StaticNameError,
    },
    /// `:@` without a number.
    #[error("Invalid source index {text}")]
    Index {
        /// What stands behind the colon.
        text: String,
        /// Why it is no number.
        source: std::num::ParseIntError,
    },
    /// A path is missing.
    #[error("{transport}: no path given")]
    NoPath {
        /// The transport.
        transport: &'static str,
    },
    /// A reference in an OCI layout that does not follow its grammar.
    #[error("Invalid image {text}")]
    OciName {
        /// The reference.
        text: String,
    },
    /// The bracket of a store is not closed or not well formed.
    #[error("`{text}` does not describe a store as [driver@graphroot+runroot:options]")]
    StoreForm {
        /// The text as given.
        text: String,
    },
    /// A directory of a store is not absolute.
    #[error("`{path}` is not an absolute path", path = path.display())]
    StoreRelative {
        /// The path.
        path: PathBuf,
    },
    /// The text behind `@` is empty.
    #[error("empty trailing digest or ID in \"{text}\"")]
    StoreTrailing {
        /// The text as given.
        text: String,
    },
    /// The text behind `@` is neither.
    #[error("\"{text}\" does not look like an image ID or digest")]
    StoreId {
        /// The text behind `@`.
        text: String,
    },
}

/// Which image of a layout or archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The only one.
    Only,
    /// The one so named.
    Named(String),
    /// The one at this position, from 0. For reading only.
    At(usize),
}

/// A store other than the one already open: `[driver@graphroot+runroot:options]`, every part optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSpec {
    /// The driver.
    pub driver: Option<String>,
    /// Where images and layers are.
    pub graph_root: Option<PathBuf>,
    /// Where mounts are noted.
    pub run_root: Option<PathBuf>,
    /// Options of the driver.
    pub options: Vec<String>,
}

/// An image in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRef {
    /// Another store than the open one.
    pub store: Option<StoreSpec>,
    /// The name, normalised, with `latest` if it had neither tag nor digest.
    pub name: Option<Reference>,
    /// An identifier, or at least three digits of one.
    pub id: Option<String>,
    /// The text behind the bracket.
    pub text: String,
}

/// An image in an archive of `docker save`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePick {
    /// The only one; for writing, one without a name.
    Only,
    /// The one with this tag.
    Named(Reference),
    /// The one at this position, from 0. For reading only.
    At(usize),
}

/// An image of a Docker daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonImage {
    /// By name, with a tag or a digest.
    Named(Reference),
    /// By identifier. For reading only.
    Id(Digest),
}

impl fmt::Display for DaemonImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonImage::Named(name) => f.write_str(&name.familiar()),
            DaemonImage::Id(id) => write!(f, "{id}"),
        }
    }
}

/// A place for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportRef {
    /// `containers-storage:`.
    Storage(StorageRef),
    /// `dir:`.
    Dir(PathBuf),
    /// `oci:`.
    Oci {
        /// The layout's directory.
        path: PathBuf,
        /// Which of its images.
        pick: Pick,
    },
    /// `oci-archive:`.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        pick: Pick,
    },
    /// `docker-archive:`.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        pick: ArchivePick,
    },
    /// `docker://`: a registry. With neither tag nor digest the image is written under its digest, whatever that will be.
    Docker(Reference),
    /// `docker-daemon:`.
    Daemon(DaemonImage),
    /// `tarball:`: archives that become layers, the lowest first; `-` is the standard input. For reading only.
    Tarball(Vec<PathBuf>),
    /// `static-registry:`: a tree that a web server serves as a registry.
    StaticRegistry {
        /// The tree's directory.
        path: PathBuf,
        /// Which of its images; for writing, `None` takes over the image's own name.
        name: Option<StaticName>,
    },
    /// A transport of other tools that is not here yet.
    Foreign {
        /// Its name.
        transport: &'static str,
        /// What stands behind the colon.
        text: String,
    },
}

/// What stands behind a repository to write there without a tag.
const UNKNOWN_DIGEST: &str = "@@unknown-digest@@";

const FOREIGN: [&str; 2] = ["atomic", "sif"];
const OURS: [&str; 9] = [
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "static-registry",
    "tarball",
];

/// Returns whether `name` is a transport's name, here or in other tools.
pub fn is_transport(name: &str) -> bool {
    OURS.contains(&name) || FOREIGN.contains(&name) || name == "ostree"
}

impl TransportRef {
    /// Parses `transport:reference`.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn parse(text: &str) -> Result<Self, TransportError> {
        let (transport, rest) =
            text.split_once(':')
                .ok_or_else(|| TransportError::NoTransport {
                    text: text.to_owned(),
                })?;
        match transport {
            "containers-storage" => parse_storage(rest).map(TransportRef::Storage),
            "dir" => path("dir", rest).map(TransportRef::Dir),
            "docker" => parse_docker(rest).map(TransportRef::Docker),
            "docker-archive" => parse_docker_archive(rest),
            "docker-daemon" => parse_daemon(rest).map(TransportRef::Daemon),
            "static-registry" => parse_static(rest),
            "tarball" => path("tarball", rest)
                .map(|_| TransportRef::Tarball(rest.split(':').map(PathBuf::from).collect())),
            "oci" => parse_oci("oci", rest).map(|(path, pick)| TransportRef::Oci { path, pick }),
            "oci-archive" => parse_oci("oci-archive", rest)
                .map(|(path, pick)| TransportRef::OciArchive { path, pick }),
            "ostree" => Err(TransportError::Ostree),
            other => match FOREIGN.into_iter().find(|name| *name == other) {
                Some(transport) => Ok(TransportRef::Foreign {
                    transport,
                    text: rest.to_owned(),
                }),
                None => Err(TransportError::Unknown {
                    text: text.to_owned(),
                    transport: other.to_owned(),
                }),
            },
        }
    }

    /// Returns the transport's name.
    pub fn transport(&self) -> &'static str {
        match self {
            TransportRef::Storage(_) => "containers-storage",
            TransportRef::Dir(_) => "dir",
            TransportRef::Oci { .. } => "oci",
            TransportRef::OciArchive { .. } => "oci-archive",
            TransportRef::DockerArchive { .. } => "docker-archive",
            TransportRef::Docker(_) => "docker",
            TransportRef::Daemon(_) => "docker-daemon",
            TransportRef::Tarball(_) => "tarball",
            TransportRef::StaticRegistry { .. } => "static-registry",
            TransportRef::Foreign { transport, .. } => transport,
        }
    }

    /// Makes the reference of an image in the open store by its name.
    pub fn stored(name: Reference) -> Self {
        let text = name.to_string();
        TransportRef::Storage(StorageRef {
            store: None,
            name: Some(name),
            id: None,
            text,
        })
    }

    /// Returns the first directory on the way to a place of files that is not there. Other tools refuse to write to
    /// such places; here the directories would be made.
    pub fn missing_parent(&self) -> Option<&Path> {
        let path = match self {
            TransportRef::Dir(path)
            | TransportRef::Oci { path, .. }
            | TransportRef::OciArchive { path, .. } => path,
            _ => return None,
        };
        let above = path.ancestors().skip(1);
        let missing = above.take_while(|parent| !parent.as_os_str().is_empty() && !parent.exists());
        missing.last()
    }

    /// Makes the reference of an image in the open store by its identifier.
    pub fn stored_id(id: &model::ImageId) -> Self {
        let id = id.to_string();
        TransportRef::Storage(StorageRef {
            store: None,
            name: None,
            text: format!("@{id}"),
            id: Some(id),
        })
    }
}

impl fmt::Display for TransportRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.transport())?;
        match self {
            TransportRef::Storage(storage) => {
                if let Some(store) = &storage.store {
                    write!(f, "{store}")?;
                }
                f.write_str(&storage.text)
            }
            TransportRef::Dir(path) => write!(f, "{}", path.display()),
            TransportRef::Oci { path, pick } | TransportRef::OciArchive { path, pick } => {
                write!(f, "{}", path.display())?;
                match pick {
                    Pick::Only => Ok(()),
                    Pick::Named(name) => write!(f, ":{name}"),
                    Pick::At(index) => write!(f, ":@{index}"),
                }
            }
            TransportRef::DockerArchive { path, pick } => {
                write!(f, "{}", path.display())?;
                match pick {
                    ArchivePick::Only => Ok(()),
                    ArchivePick::Named(name) => write!(f, ":{name}"),
                    ArchivePick::At(index) => write!(f, ":@{index}"),
                }
            }
            TransportRef::Docker(name) => {
                write!(f, "//{}", name.familiar())?;
                match (name.tag(), name.digest()) {
                    (None, None) => f.write_str(UNKNOWN_DIGEST),
                    _ => Ok(()),
                }
            }
            TransportRef::Daemon(image) => write!(f, "{image}"),
            TransportRef::Tarball(paths) => {
                let paths: Vec<_> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                f.write_str(&paths.join(":"))
            }
            TransportRef::StaticRegistry { path, name } => match name {
                None => write!(f, "{}", path.display()),
                Some(name) => write!(f, "{}:{name}", path.display()),
            },
            TransportRef::Foreign { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        if let Some(driver) = &self.driver {
            write!(f, "{driver}@")?;
        }
        if let Some(path) = &self.graph_root {
            write!(f, "{}", path.display())?;
        }
        if let Some(path) = &self.run_root {
            write!(f, "+{}", path.display())?;
        }
        if !self.options.is_empty() {
            write!(f, ":{}", self.options.join(","))?;
        }
        f.write_str("]")
    }
}

fn path(transport: &'static str, text: &str) -> Result<PathBuf, TransportError> {
    if text.is_empty() {
        Err(TransportError::NoPath { transport })
    } else {
        Ok(PathBuf::from(text))
    }
}

fn name(text: &str) -> Result<Reference, TransportError> {
    Reference::parse_normalized(text).map_err(|source| TransportError::Name {
        text: text.to_owned(),
        source,
    })
}

fn parse_docker(text: &str) -> Result<Reference, TransportError> {
    let rest = text
        .strip_prefix("//")
        .ok_or_else(|| TransportError::DockerSlashes {
            text: text.to_owned(),
        })?;
    if let Some(repository) = rest.strip_suffix(UNKNOWN_DIGEST) {
        let name = name(repository)?;
        if name.tag().is_some() || name.digest().is_some() {
            return Err(TransportError::UnknownDigest {
                text: rest.to_owned(),
            });
        }
        return Ok(name);
    }
    let name = name(rest)?.with_default_tag();
    if name.tag().is_some() && name.digest().is_some() {
        return Err(TransportError::TagAndDigest);
    }
    Ok(name)
}

fn index(text: &str, digits: &str) -> Result<usize, TransportError> {
    digits.parse().map_err(|source| TransportError::Index {
        text: text.to_owned(),
        source,
    })
}

fn parse_docker_archive(text: &str) -> Result<TransportRef, TransportError> {
    let (path, pick) = match text.split_once(':') {
        None => (text, ArchivePick::Only),
        Some((path, rest)) => match rest.strip_prefix('@') {
            Some(digits) => (path, ArchivePick::At(index(rest, digits)?)),
            None => {
                let name = name(rest)?.with_default_tag();
                if name.digest().is_some() {
                    return Err(TransportError::ArchiveDigest {
                        text: name.to_string(),
                    });
                }
                (path, ArchivePick::Named(name))
            }
        },
    };
    if path.is_empty() {
        return Err(TransportError::ArchiveForm {
            text: text.to_owned(),
        });
    }
    Ok(TransportRef::DockerArchive {
        path: path.into(),
        pick,
    })
}

fn parse_daemon(text: &str) -> Result<DaemonImage, TransportError> {
    if let Ok(id) = Digest::parse(text) {
        if id.algorithm() != Algorithm::Sha256 {
            return Err(TransportError::DaemonAlgorithm {
                text: text.to_owned(),
            });
        }
        return Ok(DaemonImage::Id(id));
    }
    let name = name(text)?;
    if name.repository().familiar() == Algorithm::Sha256.name() {
        return Err(TransportError::DaemonReserved {
            text: text.to_owned(),
        });
    }
    match (name.tag(), name.digest()) {
        (None, None) => Err(TransportError::DaemonName {
            text: name.familiar(),
        }),
        (Some(_), Some(_)) => Err(TransportError::DaemonTagAndDigest),
        _ => Ok(DaemonImage::Named(name)),
    }
}

fn parse_static(text: &str) -> Result<TransportRef, TransportError> {
    let (directory, name) = match text.split_once(':') {
        None => (text, None),
        Some((directory, name)) => {
            let parsed = StaticName::parse(name).map_err(|source| TransportError::StaticName {
                text: name.to_owned(),
                source,
            })?;
            (directory, Some(parsed))
        }
    };
    let path = path("static-registry", directory)?;
    Ok(TransportRef::StaticRegistry { path, name })
}

fn parse_oci(transport: &'static str, text: &str) -> Result<(PathBuf, Pick), TransportError> {
    let (directory, rest) = match text.split_once(':') {
        None => (text, ""),
        Some((directory, rest)) => (directory, rest),
    };
    let pick = match rest.strip_prefix('@') {
        Some(digits) => Pick::At(index(rest, digits)?),
        None if rest.is_empty() => Pick::Only,
        None if is_oci_name(rest) => Pick::Named(rest.to_owned()),
        None => {
            return Err(TransportError::OciName {
                text: rest.to_owned(),
            });
        }
    };
    Ok((path(transport, directory)?, pick))
}

/// Components joined by `/`; a component is alphanumeric runs joined by one of `- . _ : @ +` or `--`.
fn is_oci_name(text: &str) -> bool {
    text.split('/').all(|component| {
        let bytes = component.as_bytes();
        let mut at = 0;
        loop {
            let run = bytes[at..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric())
                .count();
            if run == 0 {
                return false;
            }
            at += run;
            match &bytes[at..] {
                [] => return true,
                [b'-', b'-', ..] => at += 2,
                [b'-' | b'.' | b'_' | b':' | b'@' | b'+', ..] => at += 1,
                _ => return false,
            }
        }
    })
}

fn parse_storage(text: &str) -> Result<StorageRef, TransportError> {
    let (store, rest) = match text.strip_prefix('[') {
        None => (None, text),
        Some(inner) => {
            let (spec, rest) = inner
                .split_once(']')
                .ok_or_else(|| TransportError::StoreForm {
                    text: text.to_owned(),
                })?;
            (Some(parse_store(spec)?), rest)
        }
    };
    let (named, id) = split_id(rest)?;
    let name = match named {
        "" => None,
        named => Some(name(named)?.with_default_tag()),
    };
    if name.is_none() && id.is_none() && store.is_none() {
        return Err(TransportError::Name {
            text: rest.to_owned(),
            source: ReferenceError::Empty,
        });
    }
    Ok(StorageRef {
        store,
        name,
        id,
        text: rest.to_owned(),
    })
}

/// Cuts an identifier off the end; a digest there belongs to the name.
fn split_id(text: &str) -> Result<(&str, Option<String>), TransportError> {
    let Some((before, trailing)) = text.rsplit_once('@') else {
        // 64 digits cannot be a name; shorter prefixes are settled by the store.
        return Ok(if is_id(text) && text.len() == 64 {
            ("", Some(text.to_owned()))
        } else {
            (text, None)
        });
    };
    if trailing.is_empty() {
        return Err(TransportError::StoreTrailing {
            text: text.to_owned(),
        });
    }
    if Digest::parse(trailing).is_ok() {
        return Ok((text, None));
    }
    if (3..=64).contains(&trailing.len()) && is_id(trailing) {
        return Ok((before, Some(trailing.to_owned())));
    }
    Err(TransportError::StoreId {
        text: trailing.to_owned(),
    })
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse_store(text: &str) -> Result<StoreSpec, TransportError> {
    let (places, options) = match text.split_once(':') {
        None => (text, Vec::new()),
        Some((places, options)) => (places, options.split(',').map(str::to_owned).collect()),
    };
    let (driver, roots) = match places.split_once('@') {
        None => (None, places),
        Some((driver, roots)) => (
            Some(driver.to_owned()).filter(|driver| !driver.is_empty()),
            roots,
        ),
    };
    let (graph, run) = match roots.split_once('+') {
        None => (roots, ""),
        Some((graph, run)) => (graph, run),
    };
    let absolute = |text: &str| match text {
        "" => Ok(None),
        text if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
        text => Err(TransportError::StoreRelative { path: text.into() }),
    };
    Ok(StoreSpec {
        driver,
        graph_root: absolute(graph)?,
        run_root: absolute(run)?,
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match TransportRef::parse(text) {
            Ok(place) => place.to_string(),
            Err(err) => match std::error::Error::source(&err) {
                Some(source) => format!("! {err}: {source}"),
                None => format!("! {err}"),
            },
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn places_are_taken_apart_or_refused() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}");
        for (text, expected) in [
            (
                "Foo/bar",
                "! Invalid image name \"Foo/bar\", expected colon-separated transport:reference",
            ),
            (
                "x:y",
                "! Invalid image name \"x:y\", unknown transport \"x\"",
            ),
            (
                "ostree:x@/y",
                "! The transport \"ostree:\" is not supported in this build",
            ),
            (
                "docker:alpine",
                "! docker: image reference alpine does not start with //",
            ),
            ("docker://alpine", "docker://alpine:latest"),
            (
                "docker://Foo",
                "! parsing reference \"Foo\": invalid reference format: repository name must be lowercase",
            ),
            (
                &format!("docker://x:1@{digest}"),
                "! Docker references with both a tag and digest are currently not supported",
            ),
            (
                "docker-archive:",
                "! docker-archive reference  isn't of the form <path>[:<reference>]",
            ),
            ("docker-archive:/a.tar", "docker-archive:/a.tar"),
            (
                "docker-archive:a.tar:x",
                "docker-archive:a.tar:docker.io/library/x:latest",
            ),
            ("docker-archive:a.tar:@2", "docker-archive:a.tar:@2"),
            (
                "docker-archive:a.tar:@-2",
                "! Invalid source index @-2: invalid digit found in string",
            ),
            (
                &format!("docker-archive:a:x@{digest}"),
                &format!(
                    "! docker-archive doesn't support digest references: docker.io/library/x@{digest}"
                ),
            ),
            ("dir:/x:y", "dir:/x:y"),
            ("dir:", "! dir: no path given"),
            ("oci:/x", "oci:/x"),
            ("oci:/x:a/b--c.d:e@f+g", "oci:/x:a/b--c.d:e@f+g"),
            ("oci:/x:@3", "oci:/x:@3"),
            ("oci:/x:a b", "! Invalid image a b"),
            ("oci:/x:-", "! Invalid image -"),
            ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
            ("docker-daemon:a:b", "docker-daemon:a:b"),
            ("docker-daemon:docker.io/a/b:c", "docker-daemon:a/b:c"),
            (
                &format!("docker-daemon:{digest}"),
                &format!("docker-daemon:{digest}"),
            ),
            (
                "docker-daemon:a",
                "! docker-daemon: reference a has neither a tag nor a digest",
            ),
            (
                "docker-daemon:sha256:abc",
                "! Invalid docker-daemon: reference sha256:abc: The sha256 repository name is reserved for (non-shortened) digest references",
            ),
            (
                &format!("docker-daemon:sha512:{hex}{hex}"),
                &format!(
                    "! Invalid docker-daemon: reference sha512:{hex}{hex}: only digest algorithm sha256 accepted"
                ),
            ),
            (
                &format!("docker-daemon:x:1@{digest}"),
                "! docker-daemon: references with both a tag and digest are not supported",
            ),
            ("tarball:", "! tarball: no path given"),
            ("tarball:/a.tar:-:b", "tarball:/a.tar:-:b"),
            ("static-registry:", "! static-registry: no path given"),
            ("static-registry:/srv", "static-registry:/srv"),
            (
                "static-registry:/srv:a/b",
                "static-registry:/srv:a/b:latest",
            ),
            ("static-registry:/srv:a:v1", "static-registry:/srv:a:v1"),
            (
                &format!("static-registry:/srv:a@{digest}"),
                &format!("static-registry:/srv:a@{digest}"),
            ),
            (
                "static-registry:/srv:A",
                "! static-registry: the name `A` cannot be served: invalid reference format: repository name must be lowercase",
            ),
            (
                "static-registry:/srv:a/tags/b",
                "! static-registry: the name `a/tags/b` cannot be served: `tags` has a meaning of its own in a registry",
            ),
            ("containers-storage:x", "containers-storage:x"),
            (
                &format!("containers-storage:x@{hex}"),
                &format!("containers-storage:x@{hex}"),
            ),
            (
                &format!("containers-storage:{hex}"),
                &format!("containers-storage:{hex}"),
            ),
            (
                "containers-storage:x@",
                "! empty trailing digest or ID in \"x@\"",
            ),
            (
                "containers-storage:x@zz",
                "! \"zz\" does not look like an image ID or digest",
            ),
            (
                "containers-storage:",
                "! parsing reference \"\": repository name must have at least one component",
            ),
            (
                "containers-storage:[vfs@/g+/r:a=b,c=d]x:1",
                "containers-storage:[vfs@/g+/r:a=b,c=d]x:1",
            ),
            ("containers-storage:[/g]x", "containers-storage:[/g]x"),
            ("containers-storage:[g]x", "! `g` is not an absolute path"),
            (
                "containers-storage:[/g",
                "! `[/g` does not describe a store as [driver@graphroot+runroot:options]",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn names_in_a_store_are_normalised() {
        let digest = format!("sha256:{}", "b".repeat(64));
        let check = |text: &str, name: Option<&str>, id: Option<&str>| {
            let Ok(TransportRef::Storage(place)) =
                TransportRef::parse(&format!("containers-storage:{text}"))
            else {
                panic!("{text} does not parse")
            };
            assert_eq!(
                place.name.map(|name| name.to_string()).as_deref(),
                name,
                "{text}"
            );
            assert_eq!(place.id.as_deref(), id, "{text}");
        };
        check("x", Some("docker.io/library/x:latest"), None);
        check("@abc", None, Some("abc"));
        check("x:1@abcdef", Some("docker.io/library/x:1"), Some("abcdef"));
        check(
            &format!("x@{digest}"),
            Some(&format!("docker.io/library/x@{digest}")),
            None,
        );
        check(
            &format!("x@{digest}@abc"),
            Some(&format!("docker.io/library/x@{digest}")),
            Some("abc"),
        );
    }
}

//! Where everything is in a registry tree.
//!
//! Below `v2/` lies what the distribution protocol asks for, under the names that it asks by, so that any web server
//! can answer. Blobs are kept once for all repositories in `blobs/`, and are hard links elsewhere. A manifest has a
//! second name, below `manifests/-/`, whose ending is its media type; no tag can begin with a hyphen.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use archive::VerifiedReader;
use model::manifest::MANIFEST_MAX;
use model::{Digest, media_type};
use serde::{Deserialize, Serialize};

use super::{StaticError, StaticName};
use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{open_stream, parent, publish, read_limited, write_whole};
use crate::unfinished;

/// Says that a tree is ours, and in which form.
const MARKER: (&str, &[u8]) = (".static-registry", b"1\n");
/// Files for servers, written once and then left to the user.
const SERVERS: [(&str, &str); 4] = [
    ("nginx.conf", include_str!("nginx.conf")),
    (".htaccess", include_str!("htaccess")),
    ("Caddyfile", include_str!("Caddyfile")),
    ("ping.json", "{}"),
];
/// Where the configurations say what the tree's directory is.
const ROOT: &str = "@ROOT@";
/// The endings of manifests' second names.
const ENDINGS: [(&str, &str); 4] = [
    (media_type::OCI_MANIFEST, "oci-manifest"),
    (media_type::OCI_INDEX, "oci-index"),
    (media_type::DOCKER_MANIFEST, "docker-manifest"),
    (media_type::DOCKER_LIST, "docker-list"),
];
/// Where the second names are.
const TYPED: &str = "-";

/// What `tags/list` says.
#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: Vec<String>,
}

/// What `_catalog` says.
#[derive(Default, Serialize, Deserialize)]
struct Catalog {
    repositories: Vec<String>,
}

/// A registry tree.
#[derive(Clone)]
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn trouble(&self, source: StaticError) -> TransferError {
        TransferError::StaticRegistry {
            path: self.0.clone(),
            source,
        }
    }

    /// Checks that a tree is there.
    pub(super) fn check(&self) -> Result<()> {
        match fs::read(self.0.join(MARKER.0)) {
            Ok(found) if found == MARKER.1 => Ok(()),
            Ok(_) => Err(self.trouble(StaticError::Form)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                Err(self.trouble(StaticError::NoTree))
            }
            Err(err) => Err(err).at("read", &self.0.join(MARKER.0)),
        }
    }

    /// Makes a tree of a directory, unless it is one. Other files may be there, but none that would be overwritten.
    pub(super) fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.0).at("create the directory", &self.0)?;
        if self.0.join(MARKER.0).exists() {
            return self.check();
        }
        let files = SERVERS.iter().map(|(name, _)| *name);
        for name in files.chain(["v2", "blobs"]) {
            if fs::symlink_metadata(self.0.join(name)).is_ok() {
                return Err(self.trouble(StaticError::Foreign { name }));
            }
        }
        write_whole(&self.0.join(MARKER.0), MARKER.1)
    }

    /// Where blobs are written before they have a digest.
    pub(super) fn incoming(&self) -> PathBuf {
        parent(&self.pool(&Digest::sha256(b""))).to_owned()
    }

    /// Where a blob is kept for all repositories.
    pub(super) fn pool(&self, digest: &Digest) -> PathBuf {
        let directory = self.0.join("blobs").join(digest.algorithm().name());
        directory.join(digest.hex())
    }

    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> PathBuf {
        let directory = self.repository(repository).join("blobs");
        directory.join(digest.as_str())
    }

    pub(super) fn manifest(&self, repository: &str, version: &str) -> PathBuf {
        self.manifests(repository).join(version)
    }

    fn repository(&self, repository: &str) -> PathBuf {
        self.0.join("v2").join(repository)
    }

    fn manifests(&self, repository: &str) -> PathBuf {
        self.repository(repository).join("manifests")
    }

    /// Whether a blob is kept, with all its bytes right.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        let path = self.pool(digest);
        if !fs::symlink_metadata(&path).is_ok_and(|there| there.is_file() && there.len() == size) {
            return false;
        }
        let Ok(stream) = open_stream(&path) else {
            return false;
        };
        let mut reader = VerifiedReader::new(stream, digest.clone(), Some(size));
        io::copy(&mut reader, &mut io::sink()).is_ok()
    }

    /// Keeps a small blob.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if self.has(digest, bytes.len() as u64) {
            return Ok(());
        }
        let path = self.pool(digest);
        make_directory(parent(&path))?;
        write_whole(&path, bytes)
    }

    /// Gives a repository a blob that is kept.
    pub(super) fn link_blob(&self, repository: &str, digest: &Digest) -> Result<()> {
        link(&self.pool(digest), &self.blob(repository, digest))
    }

    /// Writes a manifest under its digest.
    pub(super) fn put_manifest(
        &self,
        repository: &str,
        digest: &Digest,
        kind: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let path = self.manifest(repository, digest.as_str());
        make_directory(parent(&path))?;
        let same = read_limited(&path, MANIFEST_MAX as u64).is_ok_and(|there| there == bytes);
        if !same {
            write_whole(&path, bytes)?;
        }
        link(
            &path,
            &self.typed(repository, digest.as_str(), ending(kind)),
        )
    }

    fn typed(&self, repository: &str, version: &str, ending: &str) -> PathBuf {
        let directory = self.manifests(repository).join(TYPED);
        directory.join(format!("{version}.{ending}"))
    }

    /// Lets a tag lead to a manifest that is there, and enters it in the lists.
    pub(super) fn publish(&self, name: &StaticName, digest: &Digest, kind: &str) -> Result<()> {
        let directory = File::open(&self.0).at("open", &self.0)?;
        // Two writers of one tree would lose one of the entries.
        rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .at("lock", &self.0)?;
        let repository = name.repository();
        if let Some(tag) = name.tag() {
            let source = self.manifest(repository, digest.as_str());
            let wanted = ending(kind);
            link(&source, &self.typed(repository, tag, wanted))?;
            // With two of them a server would find the first.
            for (_, other) in ENDINGS.iter().filter(|(_, other)| *other != wanted) {
                remove(&self.typed(repository, tag, other))?;
            }
            link(&source, &self.manifest(repository, tag))?;
        }
        self.write_tags(repository)?;
        self.write_catalog(repository)?;
        for (file, text) in SERVERS {
            let path = self.0.join(file);
            if fs::symlink_metadata(&path).is_err() {
                write_whole(&path, self.located(text)?.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Says in a server's configuration where the tree is.
    fn located(&self, text: &str) -> Result<String> {
        let path = fs::canonicalize(&self.0).at("look at", &self.0)?;
        let plain = |path: &&str| {
            let odd = |c: char| c.is_control() || "\"'`\\${}".contains(c);
            !path.contains(odd)
        };
        Ok(match path.to_str().filter(plain) {
            Some(path) => text.replace(ROOT, path),
            // Servers would take such a name for something else, each in its own way.
            None => text.replace(ROOT, "/the/name/of/this/directory"),
        })
    }

    fn write_tags(&self, repository: &str) -> Result<()> {
        let path = self.repository(repository).join("tags/list");
        let tags = self.tags(repository)?;
        let name = repository;
        make_directory(parent(&path))?;
        write_whole(&path, &json(&Tags { name, tags }))
    }

    /// The tags of a repository, sorted.
    pub(super) fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let directory = self.manifests(repository);
        let mut tags = Vec::new();
        for entry in fs::read_dir(&directory).at("read the directory", &directory)? {
            let name = entry.at("read the directory", &directory)?.file_name();
            // Digests have a colon; what begins with a dot is not finished.
            match name.to_str() {
                Some(TYPED) | None => {}
                Some(name) if name.contains(':') || name.starts_with('.') => {}
                Some(name) => tags.push(name.to_owned()),
            }
        }
        tags.sort();
        Ok(tags)
    }

    fn write_catalog(&self, repository: &str) -> Result<()> {
        let mut repositories = self.repositories();
        if let Err(at) = repositories.binary_search_by(|known| known.as_str().cmp(repository)) {
            repositories.insert(at, repository.to_owned());
        }
        write_whole(&self.catalog(), &json(&Catalog { repositories }))
    }

    fn catalog(&self) -> PathBuf {
        self.0.join("v2/_catalog")
    }

    /// The repositories, sorted.
    pub(super) fn repositories(&self) -> Vec<String> {
        let known = read_limited(&self.catalog(), MANIFEST_MAX as u64).ok();
        let known = known.and_then(|bytes| serde_json::from_slice::<Catalog>(&bytes).ok());
        let mut repositories = known.unwrap_or_default().repositories;
        repositories.sort();
        repositories
    }
}

/// The ending for a media type.
fn ending(kind: &str) -> &'static str {
    ENDINGS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(ENDINGS[0].1, |(_, ending)| ending)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("all keys are strings")
}

/// Makes a directory with all above it.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at("create the directory", path)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

/// Gives a file one more name, which may lead elsewhere until then; a copy where the file system has no links.
fn link(source: &Path, target: &Path) -> Result<()> {
    let wanted = fs::metadata(source).at("look at", source)?;
    if let Ok(there) = fs::symlink_metadata(target)
        && (there.dev(), there.ino()) == (wanted.dev(), wanted.ino())
    {
        return Ok(());
    }
    let directory = parent(target);
    make_directory(directory)?;
    let linked = tempfile::Builder::new()
        .prefix(".cooper-")
        .make_in(directory, |path| fs::hard_link(source, path));
    match linked {
        Ok(name) => {
            let name = name.into_temp_path();
            let path = name.to_path_buf();
            name.persist(target)
                .map_err(|err| err.error)
                .at("create", target)?;
            // Renaming does nothing where both names already are one file.
            let _ = fs::remove_file(path);
            Ok(())
        }
        Err(_) => {
            let mut copy = unfinished::file(directory)?;
            let mut content = open_stream(source)?;
            io::copy(&mut content, &mut copy).at("write", target)?;
            publish(copy, target)
        }
    }
}

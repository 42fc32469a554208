//! Where an image comes from, as far as a policy goes.

use std::path::{Path, PathBuf};

use trust::Subject;

use super::SignaturesError;
use crate::transport::{ArchivePick, DaemonImage, TransportRef};

/// Whom an image comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// It was made here, or let in before: what is in the store is not asked about again.
    Ours,
    /// Somebody else.
    Foreign(Subject),
}

/// Finds out where an image behind a reference comes from.
pub(crate) fn origin_of(source: &TransportRef) -> Result<Origin, SignaturesError> {
    let label = source.to_string();
    let transport = source.transport();
    Ok(Origin::Foreign(match source {
        TransportRef::Storage(_) => return Ok(Origin::Ours),
        TransportRef::Docker(name) => Subject::docker(label, name),
        TransportRef::Dir(path)
        | TransportRef::Oci { path, .. }
        | TransportRef::OciArchive { path, .. } => {
            Subject::path(transport, label, &full(path)?.to_string_lossy())
        }
        TransportRef::DockerArchive { pick, .. } => {
            let name = match pick {
                ArchivePick::Named(name) => Some(name.clone()),
                ArchivePick::Only | ArchivePick::At(_) => None,
            };
            Subject::unscoped(transport, label, name)
        }
        TransportRef::Daemon(image) => {
            let name = match image {
                DaemonImage::Named(name) => Some(name),
                DaemonImage::Id(_) => None,
            };
            Subject::daemon(label, name)
        }
        TransportRef::StaticRegistry { path, .. } => {
            Subject::path(transport, label, &full(path)?.to_string_lossy())
        }
        TransportRef::Tarball(_) | TransportRef::Foreign { .. } => {
            Subject::unscoped(transport, label, None)
        }
    }))
}

/// Makes a path absolute and free of symbolic links as far as it exists.
fn full(path: &Path) -> Result<PathBuf, SignaturesError> {
    let trouble = |source| SignaturesError::Path {
        path: path.to_owned(),
        source,
    };
    match path.canonicalize() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            std::path::absolute(path).map_err(trouble)
        }
        other => other.map_err(trouble),
    }
}

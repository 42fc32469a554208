//! Source images in OCI layouts: making one, and adding what an image was built from.
//!
//! Each artifact becomes a layer of its own, an archive compressed with gzip. Source images travel as every other
//! artifact does, by [`copy()`](crate::copy()). Deliberately missing: taking artifacts out again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use archive::tar::{Header, Kind, TarError, Time, Writer};
use archive::{Compression, Flavour, TreeError, TreeOptions};
use model::manifest::LAYERS_MAX;
use model::source_image::{SourceConfig, empty_manifest};
use model::{Descriptor, Digest, media_type};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{CHUNK, Encoding, Spooled, open_regular, spool_written};
use crate::layout::{LayoutSink, change_manifest};
use crate::transport::Pick;

/// How artifacts are compressed.
const GZIP: Encoding = Encoding {
    compression: Compression::Gzip,
    level: None,
    chunked: false,
};

/// Why an artifact cannot become a layer.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A directory cannot be archived.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file cannot be archived.
    #[error(transparent)]
    File(#[from] TarError),
    /// It is neither a file nor a directory nor a link.
    #[error("it is neither a file nor a directory")]
    Kind,
    /// The source image has as many artifacts as it can.
    #[error("a source image has at most {LAYERS_MAX} artifacts")]
    TooMany,
}

/// Makes a source image without artifacts in the layout at `path`, under the name that `pick` gives it. Returns the
/// digest of its manifest.
///
/// # Errors
/// When the layout cannot be made or written.
pub fn create_source_image(path: &Path, pick: &Pick, config: &SourceConfig) -> Result<Digest> {
    let layout = LayoutSink::create("oci:", path, pick)?;
    let bytes = config.to_bytes();
    let digest = layout.put_bytes(&bytes)?;
    let config = Descriptor::new(media_type::OCI_SOURCE_CONFIG, digest, bytes.len() as u64);
    let manifest = empty_manifest(&config);
    let digest = layout.put_bytes(manifest.bytes())?;
    let size = manifest.bytes().len() as u64;
    layout.enter(Descriptor::new(
        media_type::OCI_MANIFEST,
        digest.clone(),
        size,
    ))?;
    Ok(digest)
}

/// Adds a file, or what a directory holds, to the source image at `path`, which is its layout's only one. Returns the
/// digest of the new manifest.
///
/// # Errors
/// When the artifact cannot be read, or the layout not be read and written.
pub fn add_to_source_image(
    path: &Path,
    artifact: &Path,
    annotations: BTreeMap<String, String>,
) -> Result<Digest> {
    let layout = LayoutSink::open(path)?;
    let failed = |source| TransferError::SourceArtifact {
        path: artifact.to_owned(),
        source,
    };
    let spooled = spool_written(GZIP.into(), &layout.blobs()?, |out| {
        archive_artifact(artifact, out)
    })?;
    let Spooled { digest, size, .. } = &spooled;
    let mut layer = Descriptor::new(media_type::OCI_LAYER_GZIP, digest.clone(), *size);
    layer.annotations = annotations;
    layout.publish(spooled)?;
    change_manifest(path, |manifest| {
        if manifest.layers.len() == LAYERS_MAX {
            return Err(failed(ArtifactError::TooMany));
        }
        manifest.layers.push(layer);
        Ok(())
    })
}

/// Writes an artifact as an archive: a file under its own name, a directory as what is in it.
fn archive_artifact(artifact: &Path, mut out: &mut dyn Write) -> Result<()> {
    let failed = |source| TransferError::SourceArtifact {
        path: artifact.to_owned(),
        source,
    };
    let facts = fs::symlink_metadata(artifact).at("look at", artifact)?;
    if facts.is_dir() {
        let directory = File::open(artifact).at("open", artifact)?;
        let options = TreeOptions::new(Flavour::Plain);
        return archive::write_tree(directory, &[], &options, out)
            .map_err(|error| failed(error.into()));
    }
    let name = artifact.file_name().unwrap_or_default();
    let kind = match facts.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => return Err(failed(ArtifactError::Kind)),
    };
    let mut header = Header::new(name.as_bytes(), kind);
    header.mode = (facts.mode() & 0o7777).into();
    header.uid = facts.uid().into();
    header.gid = facts.gid().into();
    header.mtime = Time {
        seconds: facts.mtime(),
        nanoseconds: 0,
    };
    let mut writer = Writer::new(&mut out);
    let written =
        |result: std::result::Result<(), TarError>| result.map_err(|error| failed(error.into()));
    if kind == Kind::Symlink {
        let target = fs::read_link(artifact).at("read", artifact)?;
        header.link = target.as_os_str().as_bytes().to_vec();
        written(writer.start(&header))?;
    } else {
        header.size = facts.len();
        written(writer.start(&header))?;
        let mut file = open_regular(artifact)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk).at("read", artifact)? {
                0 => break,
                count => written(writer.data(&chunk[..count]))?,
            }
        }
    }
    written(writer.finish().map(drop))
}

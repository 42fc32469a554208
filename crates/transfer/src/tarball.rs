//! `tarball:`: an image made of plain archives, each of which becomes a layer.
//!
//! The config says no more than platform, layers and when they were made. Its times are those of the files, so that
//! equal files make equal images; the peers take the present. Every file is read once to learn its digests before the
//! image can be described; what can be read only once, such as a pipe, is kept in a file meanwhile.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use archive::Compression;
use model::digest::{Algorithm, Hasher};
use model::image_config::History;
use model::manifest::LAYERS_MAX;
use model::{
    Descriptor, DiffId, Digest, ImageConfig, Manifest, ManifestFormat, Platform, RawManifest,
    Timestamp, media_type,
};

use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{CHUNK, FromStart};
use crate::signatures::Guard;
use crate::source::{Layers, Offered, Opened, Promised};

/// The name that means what comes through the standard input.
const STDIN: &str = "-";
/// Where the standard input is found as a file.
const STDIN_FILE: &str = "/dev/stdin";

/// An archive whose digests are known.
struct Archive {
    file: File,
    made: Option<Timestamp>,
    offered: Offered,
    diff_id: DiffId,
}

/// Opens an image of these archives, the lowest layer first. `temporary` is a directory for large files.
pub(crate) fn open(
    label: &str,
    paths: &[PathBuf],
    platform: &Platform,
    temporary: &Path,
) -> Result<Opened<'static>> {
    if paths.len() > LAYERS_MAX {
        let source = model::ManifestError::TooMany {
            what: "layers",
            count: paths.len(),
            limit: LAYERS_MAX,
        };
        return Err(TransferError::Manifest {
            place: label.to_owned(),
            source,
        });
    }
    let archives = paths
        .iter()
        .map(|path| examine(path, temporary))
        .collect::<Result<Vec<_>>>()?;
    let config = describe(&archives, platform).to_bytes(ManifestFormat::Oci);
    let described = Descriptor::new(
        media_type::OCI_CONFIG,
        Digest::sha256(&config),
        config.len() as u64,
    );
    let offered: Vec<Offered> = archives.iter().map(|one| one.offered.clone()).collect();
    let layers = offered
        .iter()
        .map(|layer| layer.descriptor.clone())
        .collect();
    let manifest = Manifest::new(ManifestFormat::Oci, described, layers);
    Ok(Opened {
        place: label.to_owned(),
        guard: Guard::Unasked,
        manifest: RawManifest::from_manifest(manifest),
        list: None,
        config,
        offered,
        names: Vec::new(),
        layers: Box::new(Archives(archives)),
    })
}

fn describe(archives: &[Archive], platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::for_platform(platform);
    config.created = archives.iter().filter_map(|one| one.made).max();
    for archive in archives {
        config.rootfs.diff_ids.push(archive.diff_id.clone());
        config.history.push(History {
            created: archive.made,
            created_by: format!(
                "/bin/sh -c #(nop) ADD file:{} in /",
                archive.diff_id.0.hex()
            ),
            ..History::default()
        });
    }
    config
}

/// Opens an archive, so that it can be read from its start more than once, and says when it was made.
fn open_archive(path: &Path, temporary: &Path) -> Result<(File, Option<Timestamp>)> {
    let is_stdin = path == Path::new(STDIN);
    let from = if is_stdin {
        Path::new(STDIN_FILE)
    } else {
        path
    };
    let mut file = File::open(from).at("open", path)?;
    let metadata = file.metadata().at("look at", path)?;
    if metadata.is_dir() {
        return Err(TransferError::NotFile {
            path: path.to_owned(),
        });
    }
    // A file on the standard input may have been read in part, and a pipe can be read only once.
    if is_stdin || !metadata.is_file() {
        let mut kept = tempfile::tempfile_in(temporary).at("create a file in", temporary)?;
        io::copy(&mut file, &mut kept).at("read", path)?;
        file = kept;
    }
    let modified = metadata.modified().at("look at", path)?;
    Ok((file, Timestamp::from_system_time(modified).ok()))
}

/// Reads an archive to its end.
fn examine(path: &Path, temporary: &Path) -> Result<Archive> {
    let (file, made) = open_archive(path, temporary)?;
    let tally = Arc::new(Mutex::new(Tally::new()));
    let blob = Tallied {
        inner: FromStart::of(&file),
        tally: Arc::clone(&tally),
    };
    let (compression, mut content) =
        archive::decode(BufReader::with_capacity(CHUNK, blob)).at("read", path)?;
    let mut plain = Tally::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match content.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => plain.add(&chunk[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err).at("read", path),
        }
    }
    drop(content);
    if plain.size == 0 {
        return Err(TransferError::EmptyTarball {
            path: path.to_owned(),
        });
    }
    let (diff_id, plain_size) = plain.finish();
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let (blob, size) = tally.clone().finish();
    let diff_id = DiffId(diff_id);
    let kind = match compression {
        Compression::None => Some(media_type::OCI_LAYER),
        Compression::Gzip => Some(media_type::OCI_LAYER_GZIP),
        Compression::Zstd => Some(media_type::OCI_LAYER_ZSTD),
        // No media type names these; only the content is offered.
        Compression::Bzip2 | Compression::Xz => None,
    };
    let (descriptor, promised) = match kind {
        Some(kind) => (Descriptor::new(kind, blob, size), Promised::Blob),
        None => (
            Descriptor::new(media_type::OCI_LAYER, diff_id.0.clone(), plain_size),
            Promised::Content,
        ),
    };
    Ok(Archive {
        file,
        made,
        offered: Offered {
            descriptor,
            promised,
            diff_id: Some(diff_id.clone()),
        },
        diff_id,
    })
}

/// Digest and size of what has passed.
#[derive(Clone)]
struct Tally {
    hasher: Hasher,
    size: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size)
    }
}

/// Counts and hashes what is read through it. The tally is shared because the decoder keeps the reader.
struct Tallied<R> {
    inner: R,
    tally: Arc<Mutex<Tally>>,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(&buffer[..count]);
        Ok(count)
    }
}

struct Archives(Vec<Archive>);

impl Layers for Archives {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        // The handle stays, and with it the file that was examined.
        Ok(Box::new(FromStart::of(&self.0[index].file)))
    }
}

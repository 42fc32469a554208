//! Writing `docker-archive:`, member for member as containers/image writes it, with the older format's directories and
//! `repositories` beside `manifest.json`.
//!
//! The file appears when it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::tar::{Header, Kind, TarError, Writer};
use archive::{Compression, VerifiedReader};
use model::{Digest, ImageId, Reference, go_json};
use serde::Serialize;
use serde_json::value::RawValue;
use trust::ClaimKind;

use crate::archive_file::has_content;
use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{CHUNK, Encoding, Output, spool};
use crate::signatures::{NoRoom, SignaturesError};
use crate::sink::{Finished, Incoming, Landed, Lanes, Sink, Wish};
use crate::source::Offered;
use crate::transport::ArchivePick;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// An archive being written.
pub(crate) struct DockerArchiveSink {
    path: PathBuf,
    temporary: PathBuf,
    names: Vec<Reference>,
    state: Mutex<State>,
}

struct State {
    // `None` once the archive is finished.
    writer: Option<Writer<Output>>,
    written: BTreeSet<Digest>,
}

impl DockerArchiveSink {
    pub(crate) fn create(
        place: &str,
        path: &Path,
        pick: &ArchivePick,
        additional: &[Reference],
        temporary: &Path,
    ) -> Result<Self> {
        let mut names = Vec::new();
        match pick {
            ArchivePick::Only => {}
            ArchivePick::Named(name) => names.push(name.clone()),
            ArchivePick::At(_) => {
                return Err(TransferError::ReadOnly {
                    place: place.to_owned(),
                });
            }
        }
        for name in additional {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if has_content(path) {
            return Err(TransferError::ArchiveExists);
        }
        Ok(Self::new(path, Output::create(path)?, names, temporary))
    }

    /// Starts an archive anywhere; `path` is for messages.
    pub(crate) fn new(
        path: &Path,
        output: Output,
        names: Vec<Reference>,
        temporary: &Path,
    ) -> Self {
        let state = Mutex::new(State {
            writer: Some(Writer::new(output)),
            written: BTreeSet::new(),
        });
        Self {
            path: path.to_owned(),
            temporary: temporary.to_owned(),
            names,
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: TarError) -> TransferError {
        TransferError::ArchiveWrite {
            path: self.path.clone(),
            source,
        }
    }

    fn write_stream(&self, name: &str, size: u64, reader: &mut dyn Read) -> Result<()> {
        let mut state = self.state();
        let writer = state.writer()?;
        writer
            .start(&file(name, size))
            .map_err(|err| self.failed(err))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => writer
                    .data(&chunk[..count])
                    .map_err(|err| self.failed(err))?,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(TransferError::Stream(err)),
            }
        }
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_stream(name, bytes.len() as u64, &mut &*bytes)
    }

    fn write_link(&self, name: &str, target: &str) -> Result<()> {
        let header = Header {
            link: target.into(),
            ..Header::new(name, Kind::Symlink)
        };
        self.state()
            .writer()?
            .start(&header)
            .map_err(|err| self.failed(err))
    }

    /// Writes the directories of the format before Docker 1.10 and returns the top one's identifier.
    fn write_legacy(&self, config: &[u8], layers: &[Landed]) -> Result<Option<String>> {
        // Members that are taken over keep their bytes, as Go's raw messages do.
        let config: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(config).map_err(|source| TransferError::Json {
                path: self.path.clone(),
                source,
            })?;
        let mut parent: Option<String> = None;
        let mut chain: Option<Digest> = None;
        let mut made = BTreeSet::new();
        for (index, layer) in layers.iter().enumerate() {
            let mut json: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
            json.extend(parent.as_ref().map(|parent| ("parent", raw(parent))));
            if index + 1 == layers.len() {
                for key in INHERITED {
                    json.insert(key, config.get(key).cloned().unwrap_or_else(|| raw(&())));
                }
            }
            let link = match &chain {
                None => layer.digest.clone(),
                Some(below) => Digest::sha256(format!("{below} {}", layer.digest).as_bytes()),
            };
            json.insert("layer_id", raw(&link));
            let id = Digest::sha256(&plain_json(&json)).hex().to_owned();
            // It only makes identifiers of equal descriptions differ.
            json.remove("layer_id");
            json.insert("id", raw(&id));
            if made.insert(id.clone()) {
                self.write_link(
                    &format!("{id}/layer.tar"),
                    &format!("../{}", layer_name(&layer.digest)),
                )?;
                self.write_bytes(&format!("{id}/VERSION"), b"1.0")?;
                self.write_bytes(&format!("{id}/json"), &plain_json(&json))?;
            }
            chain = Some(link);
            parent = Some(id);
        }
        Ok(parent)
    }
}

/// What the top layer's older description takes from the config.
const INHERITED: [&str; 7] = [
    "architecture",
    "config",
    "container",
    "container_config",
    "created",
    "docker_version",
    "os",
];

fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("all values are plain")
}

fn plain_json<T: Serialize>(value: &T) -> Vec<u8> {
    go_json::to_vec(value).expect("all keys are strings and all values plain")
}

fn layer_name(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

fn file(name: &str, size: u64) -> Header {
    Header {
        mode: 0o444,
        size,
        ..Header::new(name, Kind::File)
    }
}

impl State {
    fn writer(&mut self) -> Result<&mut Writer<Output>> {
        self.writer.as_mut().ok_or(TransferError::GivenUp)
    }
}

impl Sink for DockerArchiveSink {
    fn wish(&self) -> Wish {
        Wish::Decompress
    }

    fn lanes(&self) -> Lanes {
        Lanes::One
    }

    fn takes_artifacts(&self) -> bool {
        false
    }

    fn reuse(&self, _index: usize, _offered: &Offered) -> Result<Option<Landed>> {
        Ok(None)
    }

    fn put_layer(&self, _index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let landed = |digest: Digest, size| Landed::new(digest, size, Compression::None);
        match layer.blob {
            Some((digest, size)) if layer.compression == Compression::None => {
                let mut reader = VerifiedReader::new(layer.reader, digest.clone(), Some(size));
                if self.state().written.insert(digest.clone()) {
                    self.write_stream(&layer_name(&digest), size, &mut reader)?;
                } else {
                    io::copy(&mut reader, &mut io::sink()).map_err(TransferError::Stream)?;
                }
                Ok(landed(digest, size))
            }
            _ => {
                let spooled = spool(layer.reader, Encoding::PLAIN.into(), &self.temporary)?;
                let (digest, size) = (spooled.digest, spooled.size);
                if self.state().written.insert(digest.clone()) {
                    let mut content = spooled.file;
                    content
                        .rewind()
                        .at("read", content.path().to_owned().as_path())?;
                    self.write_stream(&layer_name(&digest), size, content.as_file_mut())?;
                }
                Ok(landed(digest, size))
            }
        }
    }

    fn check_signatures(&self, _kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        Err(NoRoom::DockerArchive.into())
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        let config = format!("{}.json", finished.manifest.manifest().config.digest.hex());
        self.write_bytes(&config, finished.config)?;
        let top = self.write_legacy(finished.config, finished.landed)?;
        let item = Item {
            config,
            repo_tags: self.names.iter().map(ToString::to_string).collect(),
            layers: finished
                .landed
                .iter()
                .map(|layer| layer_name(&layer.digest))
                .collect(),
        };
        self.write_bytes("manifest.json", &plain_json(&[item]))?;
        let mut repositories: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
        for name in &self.names {
            if let (Some(tag), Some(top)) = (name.tag(), &top) {
                repositories
                    .entry(name.name())
                    .or_default()
                    .insert(tag, top.clone());
            }
        }
        self.write_bytes("repositories", &plain_json(&repositories))?;
        let writer = self.state().writer.take().ok_or(TransferError::GivenUp)?;
        writer.finish().map_err(|err| self.failed(err))?.finish()?;
        Ok(None)
    }
}

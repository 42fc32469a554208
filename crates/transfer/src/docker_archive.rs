//! Reading `docker-archive:`: what `docker save`, `podman save` and others write.
//!
//! `manifest.json` is what counts; the older `repositories` and the OCI layout that newer Dockers add are not read.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use model::image_config::CONFIG_MAX;
use model::manifest::LAYERS_MAX;
use model::{Descriptor, Digest, Manifest, ManifestFormat, RawManifest, Reference, media_type};
use serde::Deserialize;

use crate::archive_file::ArchiveFile;
use crate::error::{Result, TransferError};
use crate::layout::Place as _;
use crate::signatures::Guard;
use crate::source::{Layers, Offered, Opened, Promised, parse_config};
use crate::transport::ArchivePick;

/// The most bytes `manifest.json` may have.
const MANIFEST_JSON_MAX: u64 = 1 << 20;

/// One image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An archive with the list of its images.
pub(crate) struct DockerArchive {
    label: String,
    archive: Arc<ArchiveFile>,
    items: Vec<Item>,
}

struct Members {
    archive: Arc<ArchiveFile>,
    names: Vec<String>,
}

impl Layers for Members {
    fn open(&self, index: usize) -> Result<Box<dyn Read + Send + '_>> {
        self.archive.stream(&self.names[index])
    }
}

impl DockerArchive {
    /// Opens an archive. `temporary` is a directory for a large file.
    pub(crate) fn open(label: &str, path: &Path, temporary: &Path) -> Result<Self> {
        Self::of(label, ArchiveFile::open(path, temporary)?)
    }

    /// Takes an archive that is open already.
    pub(crate) fn of(label: &str, archive: ArchiveFile) -> Result<Self> {
        let bytes = archive.small("manifest.json", MANIFEST_JSON_MAX)?;
        let items = serde_json::from_slice(&bytes).map_err(|source| TransferError::Json {
            path: archive.path().join("manifest.json"),
            source,
        })?;
        Ok(Self {
            label: label.to_owned(),
            archive: Arc::new(archive),
            items,
        })
    }

    /// Returns the one image that is meant.
    pub(crate) fn one(&self, pick: &ArchivePick) -> Result<Opened<'static>> {
        let count = self.items.len();
        let item = match pick {
            ArchivePick::Only => match self.items.as_slice() {
                [one] => one,
                _ => return Err(TransferError::ItemCount { count }),
            },
            ArchivePick::At(index) => self.items.get(*index).ok_or(TransferError::NoSuchItem {
                index: *index,
                count,
            })?,
            ArchivePick::Named(name) => self.named(name)?,
        };
        self.image(item)
    }

    /// Returns all images that are meant: every one when nothing is said.
    pub(crate) fn all(&self, pick: &ArchivePick) -> Result<Vec<Opened<'static>>> {
        match pick {
            ArchivePick::Only => self.items.iter().map(|item| self.image(item)).collect(),
            _ => Ok(vec![self.one(pick)?]),
        }
    }

    fn named(&self, name: &Reference) -> Result<&Item> {
        for item in &self.items {
            if tags(item)?.contains(&name.to_string()) {
                return Ok(item);
            }
        }
        Err(TransferError::NoSuchTag {
            tag: name.to_string(),
        })
    }

    fn image(&self, item: &Item) -> Result<Opened<'static>> {
        let config = self.archive.small(&item.config, CONFIG_MAX as u64)?;
        let diff_ids = parse_config(&self.label, &config)?.rootfs.diff_ids;
        let names = item.layers.clone().unwrap_or_default();
        if names.len() != diff_ids.len() || names.len() > LAYERS_MAX {
            let (layers, diff_ids) = (names.len(), diff_ids.len());
            return Err(TransferError::LayerCount {
                place: self.label.clone(),
                layers,
                diff_ids,
            });
        }
        let mut offered = Vec::with_capacity(names.len());
        for (name, diff_id) in names.iter().zip(diff_ids) {
            // Other tools call the layers of an archive gzip, although their digests are of the plain tar.
            let size = self.archive.size(name)?;
            let descriptor =
                Descriptor::new(media_type::DOCKER_LAYER_GZIP, diff_id.0.clone(), size);
            offered.push(Offered {
                descriptor,
                promised: Promised::Content,
                diff_id: Some(diff_id),
            });
        }
        let digest = Digest::sha256(&config);
        let described = Descriptor::new(media_type::DOCKER_CONFIG, digest, config.len() as u64);
        let layers = offered
            .iter()
            .map(|layer| layer.descriptor.clone())
            .collect();
        let manifest = Manifest::new(ManifestFormat::Docker, described, layers);
        Ok(Opened {
            place: self.label.clone(),
            guard: Guard::Unasked,
            manifest: RawManifest::from_manifest(manifest),
            list: None,
            config,
            offered,
            names: tags(item)?,
            layers: Box::new(Members {
                archive: Arc::clone(&self.archive),
                names,
            }),
        })
    }
}

fn tags(item: &Item) -> Result<Vec<String>> {
    let normalised = |name: &String| {
        Reference::parse_normalized(name)
            .map(|name| name.with_default_tag().to_string())
            .map_err(|source| TransferError::Name {
                name: name.clone(),
                source,
            })
    };
    item.repo_tags.iter().flatten().map(normalised).collect()
}

//! Overlay layers: `G/overlay/ID/{diff,link,lower,lower-layers,work,merged,empty}`.
//!
//! Composefs layers, quotas and mount programs are refused when the store is opened or the
//! layer is met.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use model::LayerId;

use crate::MAX_DEPTH;
use crate::error::{IoContext as _, Result, StoreError};
use crate::ident;
use crate::json;
use crate::tempdir::remove_file;

/// Longest `lower` file read, in bytes: 500 links of 29.
const MAX_LOWER_SIZE: u64 = 1 << 20;

/// What lies below a new layer, in the words of its `lower` and `lower-layers` files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Below {
    links: Vec<String>,
    layers: Vec<LayerId>,
}

impl Below {
    /// Returns what lies below a child of `layer`.
    pub(crate) fn child_of(home: &Path, layer: &LayerId) -> Result<Self> {
        let dir = home.join(layer);
        let link_path = dir.join("link");
        let link = read_text(&link_path)?.ok_or_else(|| StoreError::Io {
            attempt: "open",
            path: link_path,
            source: io::Error::from(io::ErrorKind::NotFound),
        })?;
        let below = Self::of(home, layer)?;
        below.with(format!("l/{link}"), layer.clone())
    }

    /// Returns what lies below `layer` itself.
    pub(crate) fn of(home: &Path, layer: &LayerId) -> Result<Self> {
        let dir = home.join(layer);
        let links: Vec<String> = read_text(&dir.join("lower"))?
            .map(|text| {
                text.split(':')
                    .filter(|s| !s.is_empty())
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default();
        let listed: Option<Vec<LayerId>> = read_text(&dir.join("lower-layers"))?.map(|text| {
            text.split(':')
                .filter(|s| !s.is_empty())
                .filter_map(|s| s.parse().ok())
                .collect()
        });
        let layers = match listed {
            Some(layers) => layers,
            None => links
                .iter()
                .map(|link| resolve_link(home, link))
                .collect::<Result<_>>()?,
        };
        Ok(Self { links, layers })
    }

    /// Puts a layer on top.
    pub(crate) fn with(mut self, link: String, layer: LayerId) -> Result<Self> {
        if self.layers.len() >= MAX_DEPTH {
            return Err(StoreError::TooDeep {
                parent: layer.to_string(),
                depth: self.layers.len(),
                limit: MAX_DEPTH,
            });
        }
        self.links.insert(0, link);
        self.layers.insert(0, layer);
        Ok(self)
    }

    /// The layers, nearest first.
    pub(crate) fn layers(&self) -> &[LayerId] {
        &self.layers
    }

    /// Writes `lower` and `lower-layers`; a base layer has neither, since an empty file would
    /// mean one layer without a name.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        if self.layers.is_empty() {
            remove_file(&dir.join("lower"))?;
            return remove_file(&dir.join("lower-layers"));
        }
        replace_text(&dir.join("lower"), &self.links.join(":"))?;
        replace_text(&dir.join("lower-layers"), &self.id_list())
    }

    fn id_list(&self) -> String {
        let ids: Vec<&str> = self.layers.iter().map(LayerId::as_str).collect();
        ids.join(":")
    }
}

fn read_text(path: &Path) -> Result<Option<String>> {
    Ok(json::read_optional(path, MAX_LOWER_SIZE)?
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// Writes a new small file of mode 0644 into a directory that nobody else knows yet.
fn new_text(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = fs::File::create_new(path).at("create", path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .at("change the mode of", path)?;
    file.write_all(text.as_bytes()).at("write", path)
}

/// Replaces a small file of mode 0644 in one step.
fn replace_text(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}{}", ident::random_digits()));
    new_text(&temporary, text)?;
    fs::rename(&temporary, path).at("replace", path)
}

fn resolve_link(home: &Path, link: &str) -> Result<LayerId> {
    let path = home.join(link);
    let target = fs::read_link(&path).at("read the link", &path)?;
    target
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        .at("understand the link", &path)
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at("create the directory", path)
}

/// Makes a layer directory with everything but `diff`; returns its name for `l/`.
pub(crate) fn make_layer_dir(dir: &Path, below: &Below) -> Result<String> {
    make_dir(dir, 0o700)?;
    make_dir(&dir.join("work"), 0o700)?;
    make_dir(&dir.join("merged"), 0o700)?;
    let link = ident::link_name();
    new_text(&dir.join("link"), &link)?;
    if below.layers().is_empty() {
        make_dir(&dir.join("empty"), 0o700)?;
    } else {
        new_text(&dir.join("lower"), &below.links.join(":"))?;
        new_text(&dir.join("lower-layers"), &below.id_list())?;
    }
    Ok(link)
}

/// Makes the short link of a layer.
pub(crate) fn make_link(home: &Path, link: &str, layer: &LayerId) -> Result<()> {
    let path = home.join("l").join(link);
    symlink(format!("../{layer}/diff"), &path).at("create the link", &path)
}

/// Removes the short link of the layer in `dir`.
pub(crate) fn remove_link(home: &Path, dir: &Path) -> Result<()> {
    match read_text(&dir.join("link"))? {
        Some(link) if !link.is_empty() && !link.contains('/') => {
            remove_file(&home.join("l").join(link))
        }
        _ => Ok(()),
    }
}

/// Returns the directories that hold a layer's content, nearest first: `diff`, then what ID
/// mapping rotated away.
pub(crate) fn contents(home: &Path, layer: &LayerId) -> Result<Vec<PathBuf>> {
    let dir = home.join(layer);
    for feature in ["composefs-data", "additionallayer"] {
        let at = dir.join(feature);
        if at.exists() {
            let feature = if feature == "composefs-data" {
                "a composefs layer"
            } else {
                "a layer of an additional layer store"
            };
            return Err(StoreError::FeatureUnsupported { feature, at });
        }
    }
    let mut contents = vec![dir.join("diff")];
    for number in 1.. {
        let rotated = dir.join(format!("diff{number}"));
        if !rotated.exists() {
            break;
        }
        contents.push(rotated);
    }
    Ok(contents)
}

//! `build --output`: the files of the image, in a folder or a tar archive.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use archive::{ArchiveOptions, Flavour, TreeOptions};
use model::ImageId;
use store::Store;
use sys::Root;

use crate::failure::Failure;
use crate::host;
use crate::world::World;

/// Mode of a folder that is made for the files.
const FOLDER_MODE: u32 = 0o700;

/// Where the files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into a folder, made if it is missing.
    Folder(PathBuf),
    /// Into a tar archive.
    Archive(PathBuf),
    /// As a tar archive to standard output, which nothing else is written to.
    Stdout,
}

impl Output {
    /// Reads `-`, a folder, or `type=local|tar,dest=PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        if !text.contains(',') {
            return Ok(Self::Folder(text.into()));
        }
        let (mut kind, mut dest) = (None, None);
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                bail!("invalid build output options {text:?}, expected format key=value");
            };
            let place = match key {
                "type" if !matches!(value, "local" | "tar") => {
                    bail!("invalid type {value:?} selected for build output options {text:?}")
                }
                "type" => &mut kind,
                "dest" => &mut dest,
                _ => bail!("unrecognized key {key:?} in build output option: {text:?}"),
            };
            if place.replace(value).is_some() {
                bail!("duplicate {key:?} not supported");
            }
        }
        let missing =
            |key| format!("missing required key {key:?} in build output option: {text:?}");
        let kind = kind.with_context(|| missing("type"))?;
        let dest = dest.with_context(|| missing("dest"))?;
        match (kind, dest) {
            ("local", "-") => bail!(
                "invalid build output option {text:?}, type=local and dest=- is not supported"
            ),
            ("local", folder) => Ok(Self::Folder(folder.into())),
            (_, "-") => Ok(Self::Stdout),
            (_, file) => Ok(Self::Archive(file.into())),
        }
    }

    /// Writes the files of an image.
    pub fn write(&self, image: &ImageId, store: &Store, world: &World) -> Result<(), Failure> {
        let images = store.images()?;
        let layer = images.get(image).and_then(|image| image.layer.as_ref());
        let root = store.read_only_root(layer)?;
        self.put(root.root(), world)
            .context("failed to export build output")?;
        Ok(())
    }

    fn put(&self, tree: &Root, world: &World) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = world.cwd.join(folder);
                unpack(tree, &folder)
                    .with_context(|| format!("failed while writing to {}", folder.display()))
            }
            Self::Archive(file) => {
                let file = world.cwd.join(file);
                let archive = File::create(&file).with_context(|| {
                    format!("failed while creating destination tar at {file:?}")
                })?;
                pack(tree, archive).with_context(|| format!("writing {}", file.display()))
            }
            Self::Stdout => pack(tree, io::stdout().lock()).context("writing standard output"),
        }
    }
}

fn pack(tree: &Root, out: impl Write) -> Result<()> {
    let mut out = io::BufWriter::new(out);
    archive::write_tree(tree, &[], &TreeOptions::new(Flavour::Plain), &mut out)?;
    Ok(out.flush()?)
}

fn unpack(tree: &Root, folder: &Path) -> Result<()> {
    let mut making = DirBuilder::new();
    making.recursive(true).mode(FOLDER_MODE).create(folder)?;
    let into = Root::open(folder)?;
    let options = ArchiveOptions {
        owner: None,
        modes: archive::Modes::Kept,
        privilege: host::archive_privilege(),
        limits: archive::Limits::default(),
    };
    Ok(archive::copy_tree(tree, &into, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |text: &str, expected: Output| {
            assert_eq!(Output::parse(text).ok(), Some(expected), "{text}");
        };
        check("-", Output::Stdout);
        check("x", Output::Folder("x".into()));
        check("type=local", Output::Folder("type=local".into()));
        check("type=local,dest=x", Output::Folder("x".into()));
        check("dest=x,type=tar", Output::Archive("x".into()));
        check("type=tar,dest=-", Output::Stdout);
        let refused = |text: &str, expected: &str| {
            let error = Output::parse(text).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(expected), "{text}");
        };
        refused(
            "type=image,dest=x",
            "invalid type \"image\" selected for build output options \"type=image,dest=x\"",
        );
        refused(
            "type=tar,",
            "invalid build output options \"type=tar,\", expected format key=value",
        );
        refused("dest=a,dest=b", "duplicate \"dest\" not supported");
        refused(
            "type=tar,foo=b",
            "unrecognized key \"foo\" in build output option: \"type=tar,foo=b\"",
        );
        refused(
            "type=local,dest=-",
            "invalid build output option \"type=local,dest=-\", type=local and dest=- is not supported",
        );
    }
}

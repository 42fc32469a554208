//! Images that a command wants to start from: found in the store, or brought there first.

use anyhow::{Context as _, bail};
use builder::container::BaseImage;
use model::event::Reporter;
use store::Store;
use transfer::{CopyOptions, NameRules, TransportRef};

use crate::failure::Failure;
use crate::world::World;

/// When to look beyond the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only for an image that the store lacks.
    Missing,
    /// Never.
    Never,
    /// For every image.
    Always,
    /// For an image that has changed.
    Newer,
}

impl PullPolicy {
    /// Reads the word of `--pull` or `--policy`.
    pub fn parse(word: Option<&str>) -> anyhow::Result<Self> {
        match word.unwrap_or("missing") {
            "missing" | "ifmissing" | "notpresent" | "false" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            "always" | "true" => Ok(Self::Always),
            "newer" | "ifnewer" => Ok(Self::Newer),
            other => bail!("unrecognized pull policy {other:?}"),
        }
    }
}

/// Returns the image that `text` means: a transport and its words are read into the store, a
/// plain name is found there.
pub fn base_image(
    store: &Store,
    text: &str,
    policy: Option<&str>,
    world: &World,
    reporter: &dyn Reporter,
) -> Result<BaseImage, Failure> {
    let policy = PullPolicy::parse(policy)?;
    if let Some(source) = other_place(text)? {
        let options = CopyOptions {
            temporary: world.big_temporary(),
            ..CopyOptions::default()
        };
        let copied = transfer::pull(&source, store, &options, reporter)?;
        let image = copied.iter().find_map(|copied| copied.image.clone());
        let image = image.with_context(|| format!("{text}: there is no image"))?;
        return Ok(BaseImage::load(store, &image, text)?);
    }
    let found = transfer::lookup(store, text, &NameRules::default(), None)?;
    match policy {
        PullPolicy::Missing | PullPolicy::Never | PullPolicy::Newer => {
            Ok(BaseImage::load(store, &found.image.id, text)?)
        }
        PullPolicy::Always => Err(anyhow::anyhow!(
            "pulling {text}: registries are not supported yet; the store has this image"
        )
        .into()),
    }
}

/// Parses `text` as a transport and its words, if it begins with a transport's name.
pub fn other_place(text: &str) -> anyhow::Result<Option<TransportRef>> {
    match text.split_once(':') {
        Some((transport, _)) if transfer::is_transport(transport) => {
            match TransportRef::parse(text)? {
                // A name in this store: found there, with what the store knows of names.
                TransportRef::Storage(place) if place.store.is_none() => Ok(None),
                source => Ok(Some(source)),
            }
        }
        _ => Ok(None),
    }
}

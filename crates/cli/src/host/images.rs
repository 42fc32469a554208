//! Images that a Containerfile names: in the store, or brought there from an archive or a folder.

use model::Platform;
use model::event::Reporter;
use solve::{BaseImage, Images};
use store::Store;
use transfer::{CopyOptions, LookupError, NameRules, TransferError};

use super::pulling::{PullPolicy, other_place};
use crate::world::World;

/// Finds images by the names in a Containerfile.
pub struct StoreImages<'a> {
    /// The store.
    pub store: &'a Store,
    /// When to look beyond it.
    pub policy: PullPolicy,
    /// The outside.
    pub world: &'a World,
    /// Who is told of copies.
    pub reporter: &'a dyn Reporter,
}

/// Why a name leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store has none.
    #[error(transparent)]
    LookUp(#[from] LookupError),
    /// It could not be brought here.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// It cannot be read.
    #[error(transparent)]
    Base(#[from] builder::container::ContainerError),
    /// The words are no place.
    #[error("{0:#}")]
    Place(anyhow::Error),
    /// The place holds nothing.
    #[error("{place}: there is no image")]
    Nothing {
        /// The place.
        place: String,
    },
    /// The user wants it fetched.
    #[error("pulling {name}: registries are not supported yet; the store has this image")]
    Registry {
        /// The name.
        name: String,
    },
}

impl Images for StoreImages<'_> {
    type Error = ImageError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, ImageError> {
        let id = match other_place(name).map_err(ImageError::Place)? {
            Some(source) => {
                let options = CopyOptions {
                    platform: platform.clone(),
                    temporary: self.world.big_temporary(),
                    ..CopyOptions::default()
                };
                let copied = transfer::pull(&source, self.store, &options, self.reporter)?;
                let image = copied.into_iter().find_map(|copied| copied.image);
                image.ok_or_else(|| ImageError::Nothing {
                    place: name.to_owned(),
                })?
            }
            None => {
                let found =
                    transfer::lookup(self.store, name, &NameRules::default(), Some(platform))?;
                if self.policy == PullPolicy::Always {
                    return Err(ImageError::Registry {
                        name: name.to_owned(),
                    });
                }
                found.image.id.clone()
            }
        };
        let base = builder::container::BaseImage::load(self.store, &id, name)?;
        Ok(BaseImage {
            config: base.inherited()?,
            id: base.id,
            name: base.name,
            digest: Some(base.digest),
            annotations: base.annotations,
            top_layer: base.layer,
        })
    }
}

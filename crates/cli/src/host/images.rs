//! Images that a Containerfile names: in the store, or brought there from wherever their names lead.

use model::Platform;
use model::event::Reporter;
use solve::{BaseImage, Images};
use store::Store;

use super::pulling::{Puller, Ways};

/// Finds images by the names in a Containerfile.
pub struct StoreImages<'a> {
    /// The store.
    pub store: &'a Store,
    /// How images are brought there.
    pub ways: &'a Ways,
    /// Who is told of copies.
    pub reporter: &'a dyn Reporter,
}

/// Why a name leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not here and could not be brought.
    #[error("{0:#}")]
    Pull(anyhow::Error),
    /// It cannot be read.
    #[error(transparent)]
    Base(#[from] builder::container::ContainerError),
}

impl Images for StoreImages<'_> {
    type Error = ImageError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, ImageError> {
        let wanted =
            Some(platform.clone()).filter(|wanted| !wanted.same_machine(&Platform::host()));
        let ways = self.ways.clone().for_platform(wanted);
        let puller = Puller {
            store: self.store,
            ways: &ways,
            reporter: self.reporter,
        };
        let pulled = puller.pull_one(name).map_err(ImageError::Pull)?;
        let base = builder::container::BaseImage::load(self.store, &pulled.id, &pulled.name)?;
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

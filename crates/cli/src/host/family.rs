//! Which images others are built on, as Podman and Buildah see it: nothing records it, so the
//! histories say it.

use std::collections::HashSet;

use model::{ImageConfig, ImageId};
use store::{ImageRecord, Images, Store};

use crate::failure::Failure;

/// The unnamed images that another one continues by one step.
#[derive(Debug)]
pub struct Parents {
    continued: HashSet<ImageId>,
}

impl Parents {
    /// Compares each unnamed image with all others. Configurations are read only when there is an
    /// unnamed image; one that cannot be read, or is a list, continues nothing.
    pub fn of(store: &Store, images: &Images) -> Result<Self, Failure> {
        let mut continued = HashSet::new();
        if images.iter().all(|image| !image.names.is_empty()) {
            return Ok(Self { continued });
        }
        let configs: Vec<(&ImageRecord, ImageConfig)> = images
            .iter()
            .filter_map(|image| Some((image.as_ref(), super::image_config(store, image).ok()?)))
            .collect();
        for (image, config) in configs.iter().filter(|(image, _)| image.names.is_empty()) {
            if configs.iter().any(|(_, other)| continues(other, config)) {
                continued.insert(image.id.clone());
            }
        }
        Ok(Self { continued })
    }

    /// Whether the image has no name and another is built on it.
    pub fn is_intermediate(&self, image: &ImageRecord) -> bool {
        self.continued.contains(&image.id)
    }
}

/// One entry more in the history, and the same layers below.
fn continues(child: &ImageConfig, parent: &ImageConfig) -> bool {
    child.history.len() == parent.history.len() + 1
        && child.rootfs.diff_ids.starts_with(&parent.rootfs.diff_ids)
        && child.history.starts_with(&parent.history)
}

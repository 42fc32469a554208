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

/// All images of a store that are no lists, with what each was built on.
#[derive(Debug)]
pub struct Family(Vec<Relative>);

#[derive(Debug)]
struct Relative {
    image: ImageId,
    is_named: bool,
    config: ImageConfig,
}

impl Family {
    /// Reads the configurations; an image whose configuration cannot be read has no relatives.
    pub fn of(store: &Store, images: &Images) -> Self {
        let relative = |image: &std::sync::Arc<ImageRecord>| {
            Some(Relative {
                image: image.id.clone(),
                is_named: !image.names.is_empty(),
                config: super::image_config(store, image).ok()?,
            })
        };
        Self(images.iter().filter_map(relative).collect())
    }

    /// Whether another image continues this one by one step.
    pub fn has_children(&self, image: &ImageId) -> bool {
        self.0
            .iter()
            .find(|one| one.image == *image)
            .is_some_and(|parent| {
                self.0
                    .iter()
                    .any(|other| continues(&other.config, &parent.config))
            })
    }

    /// Takes an image out, and returns the unnamed one that it continued.
    pub fn remove(&mut self, image: &ImageId) -> Option<ImageId> {
        let at = self.0.iter().position(|one| one.image == *image)?;
        let gone = self.0.swap_remove(at);
        self.0
            .iter()
            .find(|other| !other.is_named && continues(&gone.config, &other.config))
            .map(|parent| parent.image.clone())
    }
}

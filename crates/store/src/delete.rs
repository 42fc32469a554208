//! Deletion: records go first under the locks, trees are moved to a temporary directory and
//! removed after the locks are gone.
//!
//! What loses its record is announced before, as what gets one is (see `placing`): when the
//! process dies between the two, `reap` finds the directories that nobody knows.

use std::collections::BTreeSet;

use model::{ContainerId, ImageId, LayerId};

use crate::error::{Result, StoreError};
use crate::fault;
use crate::ledger::{Tables, Writing};
use crate::options::DriverName;
use crate::placing::{PlacedLayer, Placing};
use crate::record::{ContainerRecord, ImageRecord, LayerRecord};
use crate::store::{Inner, Store};
use crate::trash::Trash;

/// What deleting an image removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The image.
    pub image: ImageId,
    /// Its layers that nothing else used, topmost first.
    pub layers: Vec<LayerId>,
}

/// How an image to be removed was found, which decides what removing it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// By this name: with other names left, only the name goes.
    Name(String),
    /// By identifier or digest: refused while it has several names.
    Id,
    /// By identifier or digest, all names included.
    Forced,
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// The image, if it was deleted.
    pub deleted: Option<Deleted>,
}

/// What to do with a container's visible mounts when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMounted {
    /// Leave the container alone and return an error.
    Refuse,
    /// Unmount it for everybody.
    Unmount,
}

impl Trash {
    /// Announces the layers whose records are about to go.
    fn announce(
        &self,
        inner: &Inner,
        layers: &Writing<'_, LayerRecord>,
    ) -> Result<Option<Placing>> {
        let going: Vec<PlacedLayer> = self
            .layers
            .iter()
            .map(|layer| PlacedLayer {
                layer: layer.clone(),
                // The directory tells it as long as it is there.
                link: String::new(),
            })
            .collect();
        inner.announce_layers(layers, &going)
    }
}

impl Store {
    /// Deletes an image and the layers that nothing else uses.
    ///
    /// # Errors
    /// [`StoreError::ImageUnknown`]; [`StoreError::ImageInUse`] when a container is based on
    /// it; [`StoreError::Io`].
    pub fn delete_image(&self, image: &ImageId) -> Result<Deleted> {
        let inner = &*self.inner;
        let mut trash = Trash::new(inner)?;
        let mut layers = inner.write_layers()?;
        let mut images = inner.write_images()?;
        let containers = inner.containers.read()?;
        let deleted =
            inner.delete_image(image, &mut layers, &mut images, &containers.1, &mut trash)?;
        let going_image = inner.announce_image(&images, image)?;
        let going = trash.announce(inner, &layers)?;
        // The image first: a layer without an image is waste, an image without its layer
        // breaks every tool.
        let images = images.save_and_keep()?;
        fault::point("delete-image-saved");
        let layers = layers.save_and_keep()?;
        fault::point("delete-saved");
        trash.files.take_away(&inner.image_dir(image))?;
        trash.collect(inner)?;
        for placing in going_image.into_iter().chain(going) {
            placing.finish()?;
        }
        drop(containers);
        drop(images);
        drop(layers);
        trash.empty()?;
        Ok(deleted)
    }

    /// Removes an image as `rmi` does: by name it loses the name, and the last name takes
    /// the image with it; by identifier it must have at most one name, unless forced.
    ///
    /// # Errors
    /// As [`Store::delete_image`]; [`StoreError::SeveralNames`].
    pub fn remove_image(&self, image: &ImageId, removal: &Removal) -> Result<Removed> {
        let images = self.images()?;
        let record = images.get(image).ok_or_else(|| StoreError::ImageUnknown {
            wanted: image.to_string(),
        })?;
        match removal {
            Removal::Name(name) if record.names.len() > 1 => {
                self.remove_names(image, std::slice::from_ref(name))?;
                return Ok(Removed {
                    untagged: vec![name.clone()],
                    deleted: None,
                });
            }
            Removal::Id if record.names.len() > 1 => {
                return Err(StoreError::SeveralNames {
                    image: image.clone(),
                    names: record.names.join(" "),
                });
            }
            _ => {}
        }
        let untagged = record.names.clone();
        let deleted = self.delete_image(image)?;
        Ok(Removed {
            untagged,
            deleted: Some(deleted),
        })
    }

    /// Deletes a container with its layer and directories.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`]; [`StoreError::ContainerMounted`]; [`StoreError::Io`].
    pub fn delete_container(&self, container: &ContainerId, mounted: WhenMounted) -> Result<()> {
        let inner = &*self.inner;
        let mut trash = Trash::new(inner)?;
        let mut layers = inner.write_layers()?;
        let _images = inner.images.read()?;
        let mut containers = inner.write_containers()?;
        let record = containers.get(container.as_str()).cloned().ok_or_else(|| {
            StoreError::ContainerUnknown {
                wanted: container.to_string(),
            }
        })?;
        if mounted == WhenMounted::Refuse && inner.visible_mount_locked(&layers, &record.layer)? {
            return Err(StoreError::ContainerMounted {
                container: container.clone(),
            });
        }
        inner.unmount_for_good(&layers, &record.layer)?;
        layers.remove(record.layer.as_str());
        trash.layers.push(record.layer.clone());
        let going = trash.announce(inner, &layers)?;
        let layers = layers.save_and_keep()?;
        fault::point("delete-container-layer-saved");
        trash.collect(inner)?;
        if let Some(going) = going {
            going.finish()?;
        }
        trash
            .files
            .take_away(&inner.kind_dir("containers").join(container))?;
        containers.remove(container.as_str());
        containers.save()?;
        drop(layers);
        crate::tempdir::remove_tree(&inner.run_kind_dir("containers").join(container))?;
        crate::tempdir::remove_file(&self.container_lock_path(container)?)?;
        trash.empty()
    }

    /// Deletes a layer that nothing uses.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`]; [`StoreError::LayerInUse`] with what uses it;
    /// [`StoreError::Io`].
    pub fn delete_layer(&self, layer: &LayerId) -> Result<()> {
        let inner = &*self.inner;
        let mut trash = Trash::new(inner)?;
        let mut layers = inner.write_layers()?;
        if layers.get(layer.as_str()).is_none() {
            return Err(StoreError::LayerUnknown {
                wanted: layer.to_string(),
            });
        }
        let mounted = inner.visible_mount_locked(&layers, layer)?;
        let images = inner.images.read()?;
        let containers = inner.containers.read()?;
        let user = user_of(layer, layers.tables(), &images.1, &containers.1);
        let user = user.or_else(|| mounted.then(|| "a mount".to_owned()));
        if let Some(by) = user {
            return Err(StoreError::LayerInUse {
                layer: layer.clone(),
                by,
            });
        }
        layers.remove(layer.as_str());
        trash.layers.push(layer.clone());
        let going = trash.announce(inner, &layers)?;
        let held = layers.save_and_keep()?;
        fault::point("delete-saved");
        trash.collect(inner)?;
        if let Some(going) = going {
            going.finish()?;
        }
        drop(held);
        trash.empty()
    }
}

/// Returns what uses a layer.
fn user_of(
    layer: &LayerId,
    layers: &Tables<LayerRecord>,
    images: &Tables<ImageRecord>,
    containers: &Tables<ContainerRecord>,
) -> Option<String> {
    if let Some(child) = layers
        .iter()
        .find(|child| child.parent.as_ref() == Some(layer))
    {
        return Some(format!("layer {}", child.id));
    }
    let image = images
        .iter()
        .find(|image| image.layer.as_ref() == Some(layer) || image.mapped_layers.contains(layer));
    if let Some(image) = image {
        return Some(format!("image {}", image.id));
    }
    containers
        .iter()
        .find(|container| container.layer == *layer)
        .map(|container| format!("container {}", container.id))
}

impl Inner {
    fn delete_image(
        &self,
        image: &ImageId,
        layers: &mut Writing<'_, LayerRecord>,
        images: &mut Writing<'_, ImageRecord>,
        containers: &Tables<ContainerRecord>,
        trash: &mut Trash,
    ) -> Result<Deleted> {
        let record =
            images
                .get(image.as_str())
                .cloned()
                .ok_or_else(|| StoreError::ImageUnknown {
                    wanted: image.to_string(),
                })?;
        if let Some(user) = containers
            .iter()
            .find(|one| one.image.as_ref() == Some(image))
        {
            return Err(StoreError::ImageInUse {
                image: image.clone(),
                container: user.id.clone(),
            });
        }
        images.remove(image.as_str());
        let mut deleted = Vec::new();
        let mut done = BTreeSet::new();
        let tops = record.mapped_layers.iter().chain(&record.layer);
        for top in tops {
            let mut next = Some(top.clone());
            while let Some(layer) = next {
                let Some(found) = layers.get(layer.as_str()).cloned() else {
                    break;
                };
                if !done.insert(layer.clone())
                    || user_of(&layer, layers.tables(), images.tables(), containers).is_some()
                {
                    break;
                }
                layers.remove(layer.as_str());
                trash.layers.push(layer.clone());
                deleted.push(layer);
                next = found.parent.clone();
            }
        }
        Ok(Deleted {
            image: image.clone(),
            layers: deleted,
        })
    }

    pub(crate) fn visible_mount_locked(
        &self,
        layers: &Writing<'_, LayerRecord>,
        layer: &LayerId,
    ) -> Result<bool> {
        let mounts = self.write_mounts(layers)?;
        let counted = mounts
            .get(layer.as_str())
            .is_some_and(|mount| mount.count > 0);
        Ok(counted
            && (self.driver == DriverName::Vfs
                || crate::root::is_mount_point(&self.layer_dir(layer).join("merged"))))
    }

    /// Removes the layers whose writers died; the caller saves.
    pub(crate) fn discard_incomplete(&self) -> Result<usize> {
        let incomplete = |tables: &Tables<LayerRecord>| -> Vec<LayerId> {
            tables
                .iter()
                .filter(|one| one.is_incomplete())
                .map(|one| one.id.clone())
                .collect()
        };
        if incomplete(&*self.layers.snapshot()?).is_empty() {
            return Ok(0);
        }
        let mut trash = Trash::new(self)?;
        let mut layers = self.write_layers()?;
        let found = incomplete(layers.tables());
        for layer in &found {
            layers.remove(layer.as_str());
        }
        let count = found.len();
        // The other order than for whole layers: the record, flagged as it is, is what
        // leads everybody to the waste.
        trash.layers = found;
        trash.collect(self)?;
        layers.save()?;
        trash.empty()?;
        Ok(count)
    }
}

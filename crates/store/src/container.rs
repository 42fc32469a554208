//! Containers: a writable layer on an image, a record, and two directories for the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ContainerId, ImageId, LayerId};
use serde_json::{Map, Value};
use sys::idmap::IdMaps;

use crate::driver::{RootAttributes, overlay, overlay::Below, vfs};
use crate::error::{Result, StoreError};
use crate::fault;
use crate::ident;
use crate::item;
use crate::json::{self, Durability};
use crate::ledger::File;
use crate::locks::private_dir;
use crate::options::DriverName;
use crate::placing::PlacedLayer;
use crate::record::{ContainerRecord, Items, LayerRecord, RecordTime};
use crate::root::fresh_dir;
use crate::shift;
use crate::store::{Inner, Store};

/// A container to be made.
#[derive(Clone, Debug, Default)]
pub struct NewContainer {
    /// Names, unique among containers.
    pub names: Vec<String>,
    /// The image it is made from; `None` for a container made from nothing.
    pub image: Option<ImageId>,
    /// The layer its own lies on, usually the image's top layer.
    pub parent: Option<LayerId>,
    /// The engine's own text.
    pub metadata: Option<String>,
    /// How its users and groups are called on the host; empty when they are the host's.
    pub ids: IdMaps,
}

/// Directories that belong to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerDirs {
    /// In the graph root: `buildah.json` and the like.
    pub persistent: PathBuf,
    /// In the run root: `resolv.conf` and the like.
    pub run: PathBuf,
}

impl Store {
    /// Makes a container with an empty layer of its own.
    ///
    /// # Errors
    /// [`StoreError::NameInUse`]; [`StoreError::ParentVanished`]; [`StoreError::Io`].
    pub fn create_container(&self, new: NewContainer) -> Result<Arc<ContainerRecord>> {
        let inner = &*self.inner;
        let temp = inner.tree_temp()?;
        let layer = ident::layer();
        let dir = temp.next("addition");
        let link = inner.prepare_container_layer(&dir, new.parent.as_ref(), &new.ids)?;
        let mut layers = inner.write_layers()?;
        if let Some(parent) = &new.parent {
            inner.check_parent(&layers, parent)?;
        }
        let _images = inner.images.read()?;
        let mut containers = inner.write_containers()?;
        for name in &new.names {
            if let Some(other) = containers
                .tables()
                .iter()
                .find(|container| container.names.contains(name))
            {
                return Err(StoreError::NameInUse {
                    name: name.clone(),
                    by: other.id.to_string(),
                });
            }
        }
        let file = match inner.containers.has_volatile_file() {
            true => File::Volatile,
            false => File::Stable,
        };
        let placed = PlacedLayer {
            layer: layer.clone(),
            link: link.clone(),
        };
        let placing = inner.announce_layers(&layers, &[placed])?;
        if inner.driver == DriverName::Overlay {
            overlay::make_link(&inner.home, &link, &layer)?;
        }
        move_dir(&dir, &inner.layer_dir(&layer))?;
        fault::point("container-layer-placed");
        let (uid_map, gid_map) = (
            shift::ranges(&new.ids.users),
            shift::ranges(&new.ids.groups),
        );
        layers.push(
            file,
            LayerRecord {
                uid_map: uid_map.clone(),
                gid_map: gid_map.clone(),
                ..LayerRecord::new(layer.clone(), new.parent)
            },
        );
        let id = ident::container();
        let record = ContainerRecord {
            uid_map,
            gid_map,
            ..record(&id, layer, new.names, new.image, new.metadata, file)
        };
        containers.push(file, record);
        let made = containers.get(id.as_str()).cloned();
        // The other locks end last, so that nobody sees the layer without its container.
        let layers = layers.save_and_keep()?;
        fault::point("container-layer-saved");
        if let Some(placing) = placing {
            placing.finish()?;
        }
        containers.save()?;
        drop(layers);
        fault::point("container-saved");
        // Last: a directory without a container would stay for ever, and a missing one is made
        // by whoever wants it.
        let dirs = inner.container_dirs(&id);
        private_dir(&dirs.persistent)?;
        private_dir(&dirs.run)?;
        made.ok_or(StoreError::ContainerUnknown {
            wanted: id.to_string(),
        })
    }

    /// Returns the directories that belong to the engine, making them if missing.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`]; [`StoreError::Io`].
    pub fn container_dirs(&self, container: &ContainerId) -> Result<ContainerDirs> {
        self.containers()?.require(container)?;
        let dirs = self.inner.container_dirs(container);
        private_dir(&dirs.persistent)?;
        private_dir(&dirs.run)?;
        Ok(dirs)
    }

    /// Replaces a file in a container's directory in the graph root, such as `buildah.json`.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`]; [`StoreError::BadKey`] for a name with a slash.
    pub fn put_container_file(
        &self,
        container: &ContainerId,
        name: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let dirs = self.container_dirs(container)?;
        json::replace(&inside(&dirs.persistent, name)?, bytes, Durability::Data)
    }

    /// Reads a file in a container's directory in the graph root; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::BadKey`] for a name with a slash; [`StoreError::Io`].
    pub fn container_file(&self, container: &ContainerId, name: &str) -> Result<Option<Vec<u8>>> {
        let dirs = self.inner.container_dirs(container);
        json::read_optional(&inside(&dirs.persistent, name)?, item::MAX_ITEM_SIZE)
    }

    /// Gives a container these names in place of those it has.
    ///
    /// # Errors
    /// [`StoreError::NameInUse`]; [`StoreError::ContainerUnknown`]; [`StoreError::Io`].
    pub fn rename_container(&self, container: &ContainerId, names: &[String]) -> Result<()> {
        let mut containers = self.inner.write_containers()?;
        for other in containers
            .tables()
            .iter()
            .filter(|other| other.id != *container)
        {
            if let Some(name) = names.iter().find(|name| other.names.contains(name)) {
                return Err(StoreError::NameInUse {
                    name: name.clone(),
                    by: other.id.to_string(),
                });
            }
        }
        let known = containers.update(container.as_str(), |record| record.names = names.to_vec());
        if !known {
            return Err(StoreError::ContainerUnknown {
                wanted: container.to_string(),
            });
        }
        containers.save()
    }
}

fn inside(dir: &Path, name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(StoreError::BadKey {
            key: name.to_owned(),
        });
    }
    Ok(dir.join(name))
}

fn move_dir(from: &Path, to: &Path) -> Result<()> {
    use crate::error::IoContext as _;
    crate::tempdir::rename(from, to).at("move into place", to)
}

fn record(
    id: &ContainerId,
    layer: LayerId,
    names: Vec<String>,
    image: Option<ImageId>,
    metadata: Option<String>,
    file: File,
) -> ContainerRecord {
    let mut flags = Map::new();
    // Both or neither: without SELinux both are empty.
    flags.insert("MountLabel".to_owned(), Value::from(""));
    flags.insert("ProcessLabel".to_owned(), Value::from(""));
    if file == File::Volatile {
        flags.insert("Volatile".to_owned(), Value::Bool(true));
    }
    ContainerRecord {
        id: id.clone(),
        names,
        image,
        layer,
        metadata,
        items: Items::default(),
        created: RecordTime::now(),
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        flags,
        extra: Map::new(),
    }
}

impl Inner {
    pub(crate) fn container_dirs(&self, container: &ContainerId) -> ContainerDirs {
        let userdata = |dir: PathBuf| dir.join(container).join("userdata");
        ContainerDirs {
            persistent: userdata(self.kind_dir("containers")),
            run: userdata(self.run_kind_dir("containers")),
        }
    }

    /// Builds the directory of a container's layer in a temporary place.
    fn prepare_container_layer(
        &self,
        dir: &Path,
        parent: Option<&LayerId>,
        ids: &IdMaps,
    ) -> Result<String> {
        let parent_home = match parent {
            Some(parent) => Some((self.home_of(parent)?, parent)),
            None => None,
        };
        match self.driver {
            DriverName::Overlay => {
                let (below, attributes) = match parent_home {
                    Some((home, parent)) => (
                        Below::child_of(home, parent)?,
                        RootAttributes::of(&home.join(parent).join("diff"))?,
                    ),
                    None => (Below::default(), RootAttributes::base()),
                };
                let link = overlay::make_layer_dir(dir, &below)?;
                fresh_dir(&dir.join("diff"), attributes.shifted(ids))?;
                Ok(link)
            }
            DriverName::Vfs => {
                match parent_home {
                    Some((home, parent)) => {
                        vfs::copy_tree_shifted(&home.join(parent), dir, vfs::Marks::Drop, ids)?;
                    }
                    None => fresh_dir(dir, RootAttributes::base().shifted(ids))?,
                }
                Ok(String::new())
            }
        }
    }
}

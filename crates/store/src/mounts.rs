//! Mounts that other tools see: at `merged`, counted in `mountpoints.json`.
//!
//! `G/overlay` is itself a private bind mount while anything is mounted in it; tools remove
//! that mount, with everything unrecorded in it, when they end. So a visible mount is made
//! with `storage.lock` held, on top of the home mount, and recorded before the lock is gone.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use model::{ContainerId, LayerId};
use serde_json::Map;
use sys::FileLock;
use sys::mount::{Depth, MountFlags};
use sys::overlay::Durability;

use crate::error::{IoContext as _, Result, StoreError};
use crate::ledger::{File, Writing};
use crate::locks::private_dir;
use crate::options::{DriverName, HomeMount, MountFlag};
use crate::record::{ContainerRecord, LayerRecord, MountRecord};
use crate::root::is_mount_point;
use crate::shift::View;
use crate::store::{Inner, Store};

impl Store {
    /// Mounts a container where other tools see it and returns the path. Each call counts;
    /// [`Store::unmount_container`] is its opposite.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`]; [`StoreError::ContainerMounted`] when another
    /// process of ours works in it privately; [`StoreError::Io`] when the mount fails.
    pub fn mount_container(&self, container: &ContainerId) -> Result<PathBuf> {
        let inner = &*self.inner;
        inner.create()?;
        let record = self.containers()?.require(container)?.clone();
        let lock_path = self.container_lock_path(container)?;
        let Some(_private) = FileLock::try_write(&lock_path).at("lock", &lock_path)? else {
            return Err(StoreError::ContainerMounted {
                container: container.clone(),
            });
        };
        let _storage = inner.lock_storage()?;
        let layers = inner.write_layers()?;
        let layer = &record.layer;
        if layers.get(layer.as_str()).is_none() {
            return Err(StoreError::LayerUnknown {
                wanted: layer.to_string(),
            });
        }
        let mut mounts = inner.write_mounts(&layers)?;
        let path = match inner.driver {
            DriverName::Vfs => inner.layer_dir(layer),
            DriverName::Overlay => {
                let path = inner.layer_dir(layer).join("merged");
                inner.ensure_home_mount()?;
                if !is_mount_point(&path) {
                    inner.attach_layer(&record, &path)?;
                }
                path
            }
        };
        let text = path.to_string_lossy().into_owned();
        let known = mounts.update(layer.as_str(), |mount| {
            mount.count = mount.count.max(0) + 1;
            mount.path.clone_from(&text);
        });
        if !known {
            let mount = MountRecord {
                id: layer.clone(),
                path: text,
                count: 1,
                extra: Map::new(),
            };
            mounts.push(File::Stable, mount);
        }
        mounts.save()?;
        Ok(path)
    }

    /// Takes back one [`Store::mount_container`]; tells whether the container is still
    /// mounted for others.
    ///
    /// # Errors
    /// [`StoreError::ContainerUnknown`]; [`StoreError::Io`] when unmounting fails.
    pub fn unmount_container(&self, container: &ContainerId) -> Result<bool> {
        let inner = &*self.inner;
        let record = self.containers()?.require(container)?.clone();
        let layers = inner.write_layers()?;
        let mut mounts = inner.write_mounts(&layers)?;
        let count = mounts
            .get(record.layer.as_str())
            .map_or(0, |mount| mount.count);
        if count > 1 {
            mounts.update(record.layer.as_str(), |mount| mount.count -= 1);
            mounts.save()?;
            return Ok(true);
        }
        inner.unmount_layer(&record.layer)?;
        mounts.remove(record.layer.as_str());
        mounts.save()?;
        Ok(false)
    }

    /// Returns where a container is visibly mounted and how often, if it is.
    ///
    /// # Errors
    /// See [`Store::containers`].
    pub fn container_mount(&self, container: &ContainerId) -> Result<Option<(PathBuf, i64)>> {
        let record = self.containers()?.require(container)?.clone();
        let Some(path) = self.inner.visible_mount(&record.layer)? else {
            return Ok(None);
        };
        let count = self
            .inner
            .mounts
            .snapshot()?
            .get(record.layer.as_str())
            .map_or(0, |m| m.count);
        Ok(Some((path, count)))
    }
}

impl Inner {
    /// Makes `G/overlay` a private mount of its own, as every tool does before mounting.
    pub(crate) fn ensure_home_mount(&self) -> Result<()> {
        if self.settings.home_mount == HomeMount::Skip || is_mount_point(&self.home) {
            return Ok(());
        }
        let home = fs::File::open(&self.home).at("open", &self.home)?;
        let bind = sys::mount::bind_detached(home.as_fd(), Depth::One).at("bind", &self.home)?;
        sys::mount::make_private(bind.as_fd(), Depth::One).at("make private", &self.home)?;
        sys::mount::attach(bind.as_fd(), &self.home).at("mount", &self.home)
    }

    pub(crate) fn attach_layer(&self, container: &ContainerRecord, path: &Path) -> Result<()> {
        private_dir(path)?;
        let mount = self.mount_view(container, View::Host, Durability::Volatile)?;
        let mut flags = MountFlags::empty();
        for flag in &self.settings.mount_flags {
            flags |= match flag {
                MountFlag::NoDev => MountFlags::MOUNT_ATTR_NODEV,
                MountFlag::NoExec => MountFlags::MOUNT_ATTR_NOEXEC,
                MountFlag::NoSuid => MountFlags::MOUNT_ATTR_NOSUID,
                MountFlag::ReadOnly => MountFlags::MOUNT_ATTR_RDONLY,
            };
        }
        if !flags.is_empty() {
            sys::mount::set_flags(mount.as_fd(), flags, MountFlags::empty(), Depth::One)
                .at("set the mount flags of", path)?;
        }
        sys::overlay::attach(mount.as_fd(), path).at("mount", path)
    }

    /// Unmounts `merged` and puts a fresh directory in its place.
    pub(crate) fn unmount_layer(&self, layer: &LayerId) -> Result<()> {
        if self.driver == DriverName::Vfs {
            return Ok(());
        }
        let path = self.layer_dir(layer).join("merged");
        while is_mount_point(&path) {
            sys::mount::unmount(&path).at("unmount", &path)?;
        }
        let fresh = self.layer_dir(layer).join("merged.1");
        match fs::DirBuilder::new().mode(0o700).create(&fresh) {
            // A busy mount in another namespace pins the old directory; it can stay.
            Ok(()) if fs::rename(&fresh, &path).is_err() => {
                fs::remove_dir(&fresh).at("remove", &fresh)
            }
            Ok(()) => Ok(()),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(err).at("create the directory", &fresh),
        }
    }

    /// Ends every visible mount of a layer that is being deleted.
    pub(crate) fn unmount_for_good(
        &self,
        layers: &Writing<'_, LayerRecord>,
        layer: &LayerId,
    ) -> Result<()> {
        let mut mounts = self.write_mounts(layers)?;
        if mounts.get(layer.as_str()).is_some() {
            self.unmount_layer(layer)?;
            mounts.remove(layer.as_str());
        }
        mounts.save()
    }
}

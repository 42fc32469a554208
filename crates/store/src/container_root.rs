//! The root file system of a container, in the view that is wanted.

use std::path::PathBuf;
use std::sync::Arc;

use model::ContainerId;
use sys::FileLock;
use sys::overlay::Durability;

use crate::error::{IoContext as _, Result};
use crate::options::DriverName;
use crate::record::ContainerRecord;
use crate::root::{RootMount, Undone};
use crate::shift::View;
use crate::store::Store;

/// A visible mount that has made way for a view with other owners. It comes back at the end; where
/// that fails, whoever mounts the container next makes it anew.
#[derive(Debug)]
struct Aside {
    store: Store,
    container: Arc<ContainerRecord>,
    at: PathBuf,
}

impl Aside {
    fn put(store: &Store, container: &Arc<ContainerRecord>, at: PathBuf) -> Result<Self> {
        let _storage = store.inner.lock_storage()?;
        store.inner.unmount_layer(&container.layer)?;
        Ok(Self {
            store: store.clone(),
            container: Arc::clone(container),
            at,
        })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let inner = &*self.store.inner;
        let _ = inner.lock_storage().and_then(|_storage| {
            inner.ensure_home_mount()?;
            inner.attach_layer(&self.container, &self.at)
        });
    }
}

impl Undone for Aside {}

impl Store {
    /// Returns a container's root file system for reading and writing: its visible mount if
    /// it has one, else a private mount. Waits while another process of ours works in it
    /// privately. Owners are those of the image, also where the container's ids are mapped; a visible
    /// mount of such a container is away meanwhile, since it shows those of the host.
    ///
    /// # Errors
    /// [`crate::StoreError::ContainerUnknown`]; [`crate::StoreError::Io`] when the mount fails.
    pub fn container_root(&self, container: &ContainerId) -> Result<RootMount> {
        self.container_view(container, View::Image)
    }

    /// As [`Store::container_root`], with the owners that the container's processes have on the
    /// host.
    ///
    /// # Errors
    /// [`crate::StoreError::ContainerUnknown`]; [`crate::StoreError::Io`] when the mount fails.
    pub fn container_process_root(&self, container: &ContainerId) -> Result<RootMount> {
        self.container_view(container, View::Host)
    }

    fn container_view(&self, container: &ContainerId, view: View) -> Result<RootMount> {
        let inner = &*self.inner;
        let record = self.containers()?.require(container)?.clone();
        if inner.driver == DriverName::Vfs {
            return inner.mount_view(&record, view, Durability::Volatile);
        }
        // What is mounted shows the ids of the host, as those who mount it expect.
        if (view == View::Host || record.maps().is_empty())
            && let Some(at) = inner.visible_mount(&record.layer)?
        {
            return RootMount::directory(&at, None);
        }
        let path = self.container_lock_path(container)?;
        let lock = FileLock::write(&path).at("lock", &path)?;
        let visible = match record.maps().is_empty() {
            true => None,
            false => inner.visible_mount(&record.layer)?,
        };
        let aside = visible
            .map(|at| Aside::put(self, &record, at))
            .transpose()?;
        let mount = inner.mount_view(&record, view, Durability::Volatile)?;
        let aside = aside.map(|aside| Box::new(aside) as Box<dyn Undone>);
        Ok(mount.undoing(aside).with_lock(Some(lock)))
    }
}

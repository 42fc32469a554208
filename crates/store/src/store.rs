//! The store as a whole: where everything is, what is open, and how it comes to exist.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::LayerId;
use sys::overlay::XattrFlavour;

use crate::error::{IoContext as _, Result, StoreError};
use crate::json;
use crate::ledger::{Ledger, Writing, create_lock_file};
use crate::locks::{Access, Held, Rank, private_dir};
use crate::options::{DriverName, DriverSettings, Privilege, StoreOptions};
use crate::probe;
use crate::record::{ContainerRecord, ImageRecord, LayerRecord, MountRecord};
use crate::tempdir::TempDir;

/// Drivers of containers/storage whose directories are recognised in a graph root.
const KNOWN_DRIVERS: [&str; 6] = [
    "overlay",
    "overlay2",
    "aufs",
    "btrfs",
    "zfs",
    "devicemapper",
];

/// An open store. Cloning gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) driver: DriverName,
    pub(crate) settings: DriverSettings,
    /// `G/overlay` or `G/vfs/dir`: the parent of all layer directories.
    pub(crate) home: PathBuf,
    pub(crate) layers: Ledger<LayerRecord>,
    pub(crate) images: Ledger<ImageRecord>,
    pub(crate) containers: Ledger<ContainerRecord>,
    pub(crate) mounts: Ledger<MountRecord>,
    pub(crate) others: Vec<OtherStore>,
    created: AtomicBool,
    pub(crate) snapshots: Mutex<crate::snapshot::Cached>,
}

/// An additional store, read only.
#[derive(Debug)]
pub(crate) struct OtherStore {
    pub(crate) home: PathBuf,
    pub(crate) images_dir: PathBuf,
    pub(crate) layers_dir: PathBuf,
    pub(crate) layers: Ledger<LayerRecord>,
    pub(crate) images: Ledger<ImageRecord>,
}

impl Store {
    /// Opens a store, which need not exist yet: it is created by the first change.
    ///
    /// # Errors
    /// [`StoreError::DriverUnsupported`], [`StoreError::FeatureUnsupported`] and
    /// [`StoreError::OptionUnsupported`] for what cannot be handled without harm;
    /// [`StoreError::SeveralDrivers`] when no driver is chosen and the root has several.
    pub fn open(mut options: StoreOptions) -> Result<Self> {
        options.graph_root = absolute(&options.graph_root)?;
        options.run_root = absolute(&options.run_root)?;
        if options.image_store.is_some() {
            return Err(StoreError::OptionUnsupported {
                option: "imagestore".to_owned(),
            });
        }
        if options.transient {
            return Err(StoreError::OptionUnsupported {
                option: "transient_store".to_owned(),
            });
        }
        let driver = choose_driver(&options)?;
        let settings = DriverSettings::parse(driver, &options.driver_options)?;
        refuse_foreign_features(&options.graph_root, driver)?;
        let kind = |what: &str| options.graph_root.join(format!("{driver}-{what}"));
        let others = options
            .additional_stores
            .iter()
            .filter(|root| root.join(format!("{driver}-images")).is_dir())
            .map(|root| OtherStore::new(root, driver))
            .collect();
        let inner = Inner {
            driver,
            settings,
            home: home_of(&options.graph_root, driver),
            layers: Ledger::new(&kind("layers"), "layers", Rank::Layers).with_volatile(),
            images: Ledger::new(&kind("images"), "images", Rank::Images),
            containers: Ledger::new(&kind("containers"), "containers", Rank::Containers)
                .with_volatile(),
            mounts: Ledger::new(
                &options.run_root.join(format!("{driver}-layers")),
                "mountpoints",
                Rank::Mounts,
            )
            .without_sync(),
            others,
            created: AtomicBool::new(false),
            snapshots: Mutex::default(),
            options,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns where layers, images and containers are.
    #[must_use]
    pub fn graph_root(&self) -> &Path {
        &self.inner.options.graph_root
    }

    /// Returns where state that ends with a reboot is.
    #[must_use]
    pub fn run_root(&self) -> &Path {
        &self.inner.options.run_root
    }

    /// Returns the driver in use.
    #[must_use]
    pub fn driver(&self) -> DriverName {
        self.inner.driver
    }

    /// Returns which extended attributes mark opaque directories in this store.
    #[must_use]
    pub fn flavour(&self) -> XattrFlavour {
        self.inner.flavour()
    }

    /// Returns our own directory in the graph root, `G/cooper` of mode 0700, which other
    /// tools ignore; it is made if missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn state_dir(&self) -> Result<PathBuf> {
        self.inner.create()?;
        let dir = self.inner.options.graph_root.join("cooper");
        private_dir(&dir)?;
        Ok(dir)
    }
}

impl OtherStore {
    fn new(root: &Path, driver: DriverName) -> Self {
        let layers_dir = root.join(format!("{driver}-layers"));
        let images_dir = root.join(format!("{driver}-images"));
        Self {
            home: home_of(root, driver),
            layers: Ledger::new(&layers_dir, "layers", Rank::OtherLayers).with_volatile(),
            images: Ledger::new(&images_dir, "images", Rank::OtherImages),
            images_dir,
            layers_dir,
        }
    }
}

impl Inner {
    pub(crate) fn flavour(&self) -> XattrFlavour {
        match (self.driver, self.options.privilege) {
            (DriverName::Overlay, Privilege::Root) => XattrFlavour::Trusted,
            _ => XattrFlavour::User,
        }
    }

    /// `G/D-layers`, `G/D-images`, `G/D-containers`.
    pub(crate) fn kind_dir(&self, kind: &str) -> PathBuf {
        self.options
            .graph_root
            .join(format!("{}-{kind}", self.driver))
    }

    /// `R/D-containers` and the like.
    pub(crate) fn run_kind_dir(&self, kind: &str) -> PathBuf {
        self.options
            .run_root
            .join(format!("{}-{kind}", self.driver))
    }

    /// The directory of a layer of this store.
    pub(crate) fn layer_dir(&self, layer: &LayerId) -> PathBuf {
        self.home.join(layer)
    }

    pub(crate) fn tar_split_path(&self, layer: &LayerId) -> PathBuf {
        self.kind_dir("layers")
            .join(format!("{layer}.tar-split.gz"))
    }

    /// Where layer trees are staged: on the same mount as their final place.
    pub(crate) fn tree_temp_root(&self) -> PathBuf {
        match self.driver {
            DriverName::Overlay => self.home.join("tempdirs"),
            DriverName::Vfs => self.options.graph_root.join("vfs/tempdirs"),
        }
    }

    /// Where everything else is staged and deleted.
    pub(crate) fn file_temp_root(&self) -> PathBuf {
        self.kind_dir("layers").join("tmp")
    }

    pub(crate) fn tree_temp(&self) -> Result<TempDir> {
        self.create()?;
        TempDir::create(&self.tree_temp_root())
    }

    pub(crate) fn file_temp(&self) -> Result<TempDir> {
        self.create()?;
        TempDir::create(&self.file_temp_root())
    }

    pub(crate) fn lock_storage(&self) -> Result<Held> {
        Held::take(
            &self.options.graph_root.join("storage.lock"),
            Rank::Storage,
            Access::Write,
        )
    }

    pub(crate) fn write_layers(&self) -> Result<Writing<'_, LayerRecord>> {
        self.create()?;
        self.layers.write()
    }

    pub(crate) fn write_images(&self) -> Result<Writing<'_, ImageRecord>> {
        self.create()?;
        self.images.write()
    }

    pub(crate) fn write_containers(&self) -> Result<Writing<'_, ContainerRecord>> {
        self.create()?;
        self.containers.write()
    }

    /// The mounts, which may be locked only by who holds the layers.
    pub(crate) fn write_mounts(
        &self,
        _layers: &Writing<'_, LayerRecord>,
    ) -> Result<Writing<'_, MountRecord>> {
        self.mounts.write()
    }

    /// Makes the directories and files that every tool expects, with their exact modes.
    /// Existing ones are left alone, so that calling this twice costs one look.
    pub(crate) fn create(&self) -> Result<()> {
        if self.created.load(Ordering::Acquire) {
            return Ok(());
        }
        let root = &self.options.graph_root;
        private_dir(root)?;
        private_dir(&self.options.run_root)?;
        for name in ["storage.lock", "userns.lock"] {
            let path = root.join(name);
            if !path.exists() {
                create_lock_file(&path)?;
            }
        }
        if !self.home.is_dir() {
            self.refuse_driver_change()?;
        }
        match self.driver {
            DriverName::Overlay => self.create_overlay()?,
            DriverName::Vfs => {
                private_dir(&root.join("vfs"))?;
                private_dir(&self.home)?;
            }
        }
        for kind in ["layers", "images", "containers"] {
            let dir = self.kind_dir(kind);
            private_dir(&dir)?;
            let lock = dir.join(format!("{kind}.lock"));
            if !lock.exists() {
                create_lock_file(&lock)?;
            }
            private_dir(&self.run_kind_dir(kind))?;
        }
        private_dir(&self.run_kind_dir("locks"))?;
        private_dir(&self.options.run_root.join(self.driver.as_str()))?;
        let mounts = self.run_kind_dir("layers").join("mountpoints.lock");
        if !mounts.exists() {
            create_lock_file(&mounts)?;
        }
        self.created.store(true, Ordering::Release);
        Ok(())
    }

    fn create_overlay(&self) -> Result<()> {
        let links = self.home.join("l");
        let flag = self.home.join(".has-mount-program");
        if flag.exists() && links.is_dir() {
            return Ok(());
        }
        let fresh = !self.home.is_dir();
        // Two processes may come here at once; what each makes is what the other expects.
        let _storage = self.lock_storage()?;
        for dir in [&self.home, &links] {
            match fs::DirBuilder::new().mode(0o755).create(dir) {
                Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
                    .at("change the mode of", dir)?,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(err).at("create the directory", dir),
            }
        }
        if fresh && let Err(err) = probe::overlay(&self.options, &self.home, self.flavour()) {
            // A directory named after a driver selects that driver next time.
            let _ = fs::remove_dir_all(self.home.join("tempdirs"));
            let _ = fs::remove_dir(&links);
            let _ = fs::remove_dir(&self.home);
            return Err(err);
        }
        if fresh {
            self.write_mount_program_flag(&flag)?;
        }
        Ok(())
    }

    /// Without this file every Go tool walks the whole store when it opens it.
    fn write_mount_program_flag(&self, flag: &Path) -> Result<()> {
        use std::io::Write as _;
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(flag);
        match made {
            Ok(mut file) => file.write_all(b"false").at("write", flag),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(err) => Err(err).at("create", flag),
        }
    }

    /// Podman's database remembers the driver and stops with an error if it changes.
    fn refuse_driver_change(&self) -> Result<()> {
        let root = &self.options.graph_root;
        if !root.join("libpod").exists() && !root.join("db.sql").exists() {
            return Ok(());
        }
        let other = match self.driver {
            DriverName::Overlay => DriverName::Vfs,
            DriverName::Vfs => DriverName::Overlay,
        };
        if root.join(format!("{other}-images")).is_dir() {
            return Err(StoreError::DriverChange {
                graph_root: root.clone(),
                existing: other.to_string(),
                wanted: self.driver.to_string(),
            });
        }
        Ok(())
    }

    /// Returns the last views that were given out.
    pub(crate) fn cached(&self) -> std::sync::MutexGuard<'_, crate::snapshot::Cached> {
        self.snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn home_of(root: &Path, driver: DriverName) -> PathBuf {
    match driver {
        DriverName::Overlay => root.join("overlay"),
        DriverName::Vfs => root.join("vfs/dir"),
    }
}

/// Makes a path absolute and resolves the links of the part that exists, since other tools
/// compare these paths as text.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).at("make absolute", path)?;
    let mut existing = path.as_path();
    loop {
        match existing.canonicalize() {
            Ok(resolved) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() {
                    resolved
                } else {
                    resolved.join(rest)
                });
            }
            Err(_) => match existing.parent() {
                Some(parent) => existing = parent,
                None => return Ok(path),
            },
        }
    }
}

fn choose_driver(options: &StoreOptions) -> Result<DriverName> {
    let root = &options.graph_root;
    if let Some(name) = options
        .driver
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        return named_driver(name, options);
    }
    let found: Vec<&str> = KNOWN_DRIVERS
        .into_iter()
        .filter(|name| root.join(name).is_dir())
        .collect();
    match found.as_slice() {
        [one] => return named_driver(one, options),
        [] => {}
        several => {
            return Err(StoreError::SeveralDrivers {
                graph_root: root.clone(),
                names: several.join(", "),
            });
        }
    }
    for name in &options.driver.priority {
        match named_driver(name, options)? {
            DriverName::Overlay if probe::overlay_in(root, options).is_err() => {}
            driver => return Ok(driver),
        }
    }
    if !options.driver.priority.is_empty() {
        return Ok(DriverName::Overlay);
    }
    if options.privilege == Privilege::Rootless && root.join("vfs-images").is_dir() {
        return Ok(DriverName::Vfs);
    }
    // A store that does not exist yet: overlay where it works.
    match probe::overlay_in(root, options) {
        Ok(()) => Ok(DriverName::Overlay),
        Err(_) => Ok(DriverName::Vfs),
    }
}

fn named_driver(name: &str, options: &StoreOptions) -> Result<DriverName> {
    match name {
        "overlay" | "overlay2" => Ok(DriverName::Overlay),
        "vfs" => Ok(DriverName::Vfs),
        _ => Err(StoreError::DriverUnsupported {
            driver: name.to_owned(),
            chosen_by: options.driver.chosen_by.clone(),
        }),
    }
}

/// Refuses what would be misread or damaged.
fn refuse_foreign_features(root: &Path, driver: DriverName) -> Result<()> {
    if driver != DriverName::Overlay {
        return Ok(());
    }
    let refuse = |feature, at: PathBuf| Err(StoreError::FeatureUnsupported { feature, at });
    let old = root.join("overlay2");
    if fs::read_dir(&old).is_ok_and(|mut entries| entries.next().is_some()) {
        return refuse("a store in a directory named `overlay2`", old);
    }
    let flag = root.join("overlay/.has-mount-program");
    if json::read_optional(&flag, 16)?.is_some_and(|bytes| bytes.trim_ascii() == b"true") {
        return refuse(
            "a store written by a mount program such as fuse-overlayfs",
            flag,
        );
    }
    let quota = root.join("overlay/backingFsBlockDev");
    if quota.exists() {
        return refuse("a store with project quotas", quota);
    }
    Ok(())
}

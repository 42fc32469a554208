//! The store's options out of flags, environment and storage.conf; where big temporary files are.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::Context as _;
use config::{Origin, Place};
use store::StoreOptions;

use super::configuration;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// Settles what a store is opened with: flags, then the environment, then files, then defaults.
pub fn store_options(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<StoreOptions, Failure> {
    let conf = configuration::storage(world, ui)?;
    if global.runroot.is_none() && conf.run_root.place == Place::Default {
        session_dir(world)?;
    }
    // Buildah takes both roots from the command line when it names one.
    let named = global.root.is_some() || global.runroot.is_some();
    let place = |flag: &Option<PathBuf>, set: &Origin<PathBuf>| match flag {
        Some(path) => world.cwd.join(path),
        None => set.value.clone(),
    };
    let mut options = StoreOptions::new(
        place(&global.root, &conf.graph_root),
        place(&global.runroot, &conf.run_root),
    );
    options.privilege = privilege();
    options.transient = global.transient_store || conf.transient_store.value;
    options.driver_options = conf
        .driver_options
        .iter()
        .map(|option| option.value.clone())
        .collect();
    let priority = conf.driver_priority.iter();
    options.driver.priority = priority.map(|driver| driver.value.clone()).collect();
    match (&global.storage_driver, &conf.driver) {
        (Some(name), _) => {
            options.driver.name = Some(name.clone());
            options.driver.chosen_by = "--storage-driver".to_owned();
            // Options in files are for the driver that the files name.
            options.driver_options.clear();
        }
        (None, Some(driver)) => {
            options.driver.name = Some(driver.value.clone());
            options.driver.chosen_by = driver.place.to_string();
        }
        (None, None) => "default".clone_into(&mut options.driver.chosen_by),
    }
    if !global.storage_opt.is_empty() {
        options.driver_options.clone_from(&global.storage_opt);
    }
    if !named {
        options.image_store = conf.image_store.as_ref().map(|set| set.value.clone());
        options.additional_stores = conf
            .additional_image_stores
            .iter()
            .map(|set| set.value.clone())
            .collect();
    }
    if let Some(dir) = &global.imagestore {
        options.image_store = Some(world.cwd.join(dir));
    }
    Ok(options)
}

/// The directory for large temporary files: `$TMPDIR`, else what containers.conf says, which may be the store's own.
pub fn temporary(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<PathBuf, Failure> {
    if let Some(dir) = world.var("TMPDIR") {
        return Ok(world.cwd.join(dir));
    }
    let configured = &configuration::containers(world, ui)?
        .engine
        .image_copy_tmp_dir;
    match configured.value.as_str() {
        "storage" => Ok(store_options(global, world, ui)?.graph_root.join("tmp")),
        path if path.starts_with('/') => Ok(PathBuf::from(path)),
        // What is no absolute path is passed over, as Buildah does.
        _ => Ok(PathBuf::from("/var/tmp")),
    }
}

/// The directory for what ends with the session of a user who is not root and whose environment names none that is
/// there. One that is missing is made; one that others can write to, which they could have made in a public place, is refused.
pub fn session_dir(world: &World) -> anyhow::Result<Option<PathBuf>> {
    if world.uid == 0 {
        return Ok(None);
    }
    let roots = configuration::search_roots(world);
    let dir = roots.session_dir();
    if roots.runtime_dir.as_ref() == Some(&dir) {
        return Ok(None);
    }
    let attempt = || format!("cannot make {}", dir.display());
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(attempt);
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(&dir).with_context(attempt)?;
    let is_own = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
    if !is_own || meta.permissions().mode() & 0o022 != 0 {
        anyhow::bail!(
            "{} is not a directory that belongs to this user only; set XDG_RUNTIME_DIR to one",
            dir.display()
        );
    }
    Ok(Some(dir))
}

/// Whether the Go tools would call this process rootless. Where the kernel does not say, it is:
/// less is then attempted.
pub fn privilege() -> store::Privilege {
    match sys::Probe::take() {
        Ok(probe) if !probe.is_rootless() => store::Privilege::Root,
        _ => store::Privilege::Rootless,
    }
}

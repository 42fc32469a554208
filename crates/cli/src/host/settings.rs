//! The store's options out of flags, environment and storage.conf.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Origin, SearchRoots, StorageConf};
use store::StoreOptions;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// Settles what a store is opened with: flags, then the environment, then files, then defaults.
pub fn store_options(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<StoreOptions, Failure> {
    let conf = StorageConf::load(&search_roots(world))?;
    for warning in &conf.warnings {
        ui.warn(&format!("{}: {}", warning.place, warning.text));
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
    options.transient = conf.transient_store.value;
    options.driver_options = conf
        .driver_options
        .iter()
        .map(|option| option.value.clone())
        .collect();
    options.driver.priority = conf.driver_priority.clone();
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
        options.image_store = conf.image_store.map(|set| set.value);
        options.additional_stores = conf
            .additional_image_stores
            .into_iter()
            .map(|set| set.value)
            .collect();
    }
    Ok(options)
}

fn search_roots(world: &World) -> SearchRoots {
    let variables: BTreeMap<String, String> = world.env.clone();
    let home = world.var("HOME").unwrap_or("/");
    SearchRoots::new(Path::new(home), world.uid, variables)
}

/// Whether the Go tools would call this process rootless. Where the kernel does not say, it is:
/// less is then attempted.
pub fn privilege() -> store::Privilege {
    match sys::Probe::take() {
        Ok(probe) if !probe.is_rootless() => store::Privilege::Root,
        _ => store::Privilege::Rootless,
    }
}

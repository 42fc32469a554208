//! The store's options out of flags, environment and storage.conf.

use store::StoreOptions;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// Settles what a store is opened with.
pub fn store_options(
    global: &GlobalArgs,
    _world: &World,
    _ui: &Ui,
) -> Result<StoreOptions, Failure> {
    let root = global
        .root
        .clone()
        .unwrap_or_else(|| "/var/lib/containers/storage".into());
    let run = global
        .runroot
        .clone()
        .unwrap_or_else(|| "/run/containers/storage".into());
    let mut options = StoreOptions::new(root, run);
    options.privilege = privilege();
    options.driver.name = global.storage_driver.clone();
    Ok(options)
}

/// Whether the Go tools would call this process rootless. Where the kernel does not say, it is:
/// less is then attempted.
pub fn privilege() -> store::Privilege {
    match sys::Probe::take() {
        Ok(probe) if !probe.is_rootless() => store::Privilege::Root,
        _ => store::Privilege::Rootless,
    }
}

//! `prune`: what builds leave behind goes: images without a name, and the content of cache mounts.

use anyhow::Context as _;

use super::rmi::{self, RmiArgs};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Remove all images that no container uses
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove also images that containers use, with the containers
    #[arg(long, short = 'f')]
    force: bool,
    /// Images to remove, in place of those without a name
    image: Vec<String>,
}

/// Removes them, and prints the names taken away and the identifiers removed.
pub fn run(args: &PruneArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let is_named = !args.image.is_empty();
    let images = RmiArgs {
        all: args.all && !is_named,
        force: args.force,
        prune: !args.all && !is_named,
        image: args.image.clone(),
    };
    rmi::run(&images, global, world, ui)?;
    let caches = host::cache_mounts(world);
    match std::fs::remove_dir_all(&caches) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", caches.display()))?
        }
        _ => Ok(()),
    }
}

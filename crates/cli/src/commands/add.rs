//! `add`: content into a working container; local archives are unpacked.

use builder::copy::CopyKind;

use super::copy_args::{self, CopyFlags};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    flags: CopyFlags,
}

/// Copies or unpacks, and prints the digest of what was added.
pub fn run(args: &AddArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    copy_args::run(
        &args.flags,
        CopyKind::Add,
        copy_args::Parents::Flat,
        (global, world, ui),
    )
}

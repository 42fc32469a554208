//! `copy`: content into a working container, as it is.

use builder::copy::CopyKind;

use super::copy_args::{self, CopyFlags};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `copy`.
#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    #[command(flatten)]
    flags: CopyFlags,
    /// Keep the directories of the sources
    #[arg(long)]
    parents: bool,
}

/// Copies, and prints the digest of what was copied.
pub fn run(args: &CopyArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let parents = if args.parents {
        copy_args::Parents::Parents
    } else {
        copy_args::Parents::Flat
    };
    copy_args::run(&args.flags, CopyKind::Copy, parents, (global, world, ui))
}

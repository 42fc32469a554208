//! `rename`: another name for a working container.

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `rename`.
#[derive(Debug, clap::Args)]
pub struct RenameArgs {
    /// The container, and its new name
    #[arg(value_name = "CONTAINER NAME")]
    words: Vec<String>,
}

/// Renames the container; prints nothing.
pub fn run(args: &RenameArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let [name, wanted] = args.words.as_slice() else {
        let count = args.words.len();
        return Err(anyhow::anyhow!("accepts 2 arg(s), received {count}").into());
    };
    let store = host::open_store_to_write(global, world, ui)?;
    host::open_container(&store, name)?.rename(wanted)?;
    Ok(())
}

//! `tag`: further names for an image.

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// The image and its new names
    #[arg(value_name = "IMAGE NAME")]
    words: Vec<String>,
}

/// Adds names to an image; each leaves the image that had it before.
pub fn run(args: &TagArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let [image, names @ ..] = args.words.as_slice() else {
        return Err(anyhow::anyhow!("requires at least 2 arg(s), only received 0").into());
    };
    if names.is_empty() {
        return Err(anyhow::anyhow!("requires at least 2 arg(s), only received 1").into());
    }
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store(global, world, ui)?;
    let found = host::find_record(&store, image, &rules)?;
    // One after the other: each goes before those that are there, and a wrong one leaves those before it.
    for name in names {
        store.add_names(&found.image.id, &[host::new_name(name)?])?;
    }
    Ok(())
}

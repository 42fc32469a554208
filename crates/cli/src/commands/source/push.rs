//! `source push`: a source image of the host is written to a registry.

use std::path::PathBuf;

use anyhow::Context as _;

use super::RegistryArgs;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `source push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Write the manifest's digest to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The source image, and its full name in a registry
    #[arg(value_name = "PATH[:NAME] IMAGE")]
    words: Vec<String>,
}

/// Copies the source image.
pub fn run(args: &PushArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let [path, image] = super::exactly::<2>(&args.words)?;
    let source = super::local(path, world)?;
    let destination = super::remote(image)?;
    let options = args.registry.options(global, world, ui)?;
    let reporter = CopyLines::new(ui, Told::unless(args.quiet));
    let copied = transfer::copy(&source, &destination, None, &options, &reporter)
        .context("pushing source image")?;
    if let Some(file) = &args.digestfile {
        host::write_file(&world.cwd.join(file), copied.digest.as_str())?;
    }
    Ok(())
}

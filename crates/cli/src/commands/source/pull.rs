//! `source pull`: a source image of a registry comes to a path of the host.

use anyhow::Context as _;
use model::source_image;
use transfer::{CopyOptions, CopyScope, TransportRef};

use super::RegistryArgs;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `source pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The full name of the source image in a registry, and where it will be
    #[arg(value_name = "IMAGE PATH[:NAME]")]
    words: Vec<String>,
}

/// Copies the source image, if it is one.
pub fn run(args: &PullArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let [image, path] = super::exactly::<2>(&args.words)?;
    if world.cwd.join(path).exists() {
        return Err(anyhow::anyhow!("{path:?} already exists").into());
    }
    let source = super::remote(image)?;
    let destination = super::local(path, world)?;
    let options = args.registry.options(global, world, ui)?;
    check(&source, &options)?;
    let reporter = CopyLines::new(ui, Told::unless(args.quiet));
    transfer::copy(&source, &destination, None, &options, &reporter)
        .context("pulling source image")?;
    Ok(())
}

/// Refuses what is no source image before anything is written.
fn check(source: &TransportRef, options: &CopyOptions) -> anyhow::Result<()> {
    let documents = CopyOptions {
        scope: CopyScope::Instances(Vec::new()),
        ..options.clone()
    };
    let looked =
        transfer::look(source, None, &documents).context("creating image source from reference")?;
    let name = source.to_string();
    source_image::check(name.trim_start_matches("docker://"), &looked.top)?;
    Ok(())
}

//! `pull`: an image of another place comes into the store.

use model::Platform;
use transfer::{CopyOptions, NameRules};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::host::pulling::{PullPolicy, other_place};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// The architecture to choose from a list
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// The operating system to choose from a list
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// The platform to choose from a list, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The variant to choose from a list
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// When to fetch an image that the store has: missing, never, always, newer
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Print nothing but the ID
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The image: TRANSPORT:PLACE, or the name of an image in the store
    image: Vec<String>,
}

/// Copies the image and prints its ID; for a name that the store has, prints that ID.
pub fn run(args: &PullArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let image = match args.image.as_slice() {
        [image] => image,
        [] => return Err(anyhow::anyhow!("an image name must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let policy = PullPolicy::parse(args.policy.as_deref())?;
    let platform = host::platform(
        args.platform.as_deref(),
        [&args.os, &args.arch, &args.variant],
    )?;
    let source = other_place(image)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let Some(source) = source else {
        let found = transfer::lookup(&store, image, &NameRules::default(), platform.as_ref())?;
        if policy == PullPolicy::Always {
            return Err(anyhow::anyhow!(
                "pulling {image}: registries are not supported yet; the store has this image"
            )
            .into());
        }
        ui.line(&found.image.id);
        return Ok(());
    };
    let told = if args.quiet {
        Told::Warnings
    } else {
        Told::All
    };
    let options = CopyOptions {
        platform: platform.unwrap_or_else(Platform::host),
        temporary: world.big_temporary(),
        ..CopyOptions::default()
    };
    for copied in transfer::pull(&source, &store, &options, &CopyLines::new(ui, told))? {
        if let Some(id) = copied.image {
            ui.line(id);
        }
    }
    Ok(())
}

//! `version`: what this program is.

use serde_json::json;

use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::{BUILDAH, World};

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the version; touches no file.
pub fn run(args: &VersionArgs, _world: &World, ui: &Ui) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let platform = model::Platform::host().to_string();
    if args.json {
        let value = json!({
            "version": BUILDAH,
            "cooperVersion": ours,
            "imageSpec": "1.1.0",
            "runtimeSpec": "1.2.0",
            "osArch": platform,
            "buildPlatform": platform,
        });
        ui.line(format_args!("{value:#}"));
        return Ok(());
    }
    ui.out(format_args!(
        "Version:         {BUILDAH}\n\
         Cooper Version:  {ours}\n\
         Image Spec:      1.1.0\n\
         Runtime Spec:    1.2.0\n\
         OS/Arch:         {platform}\n\
         BuildPlatform:   {platform}\n"
    ));
    Ok(())
}

/// Prints the answer to `--version`.
pub fn one_line(world: &World, ui: &Ui) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    match world.started_as {
        crate::world::StartedAs::Cooper => {
            ui.line(format_args!("cooper version {ours} (buildah {BUILDAH})"));
        }
        crate::world::StartedAs::Buildah => {
            ui.line(format_args!("buildah version {BUILDAH} (cooper {ours})"));
        }
    }
    Ok(())
}

//! `version`: what this program is.

use serde::Serialize;

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

/// The specification of images that is followed.
const IMAGE_SPEC: &str = "1.1.0";
/// The specification of containers that is followed.
const RUNTIME_SPEC: &str = "1.2.0";

/// The members in Buildah's order. Those about Go and CNI are empty: nothing of either is here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions<'a> {
    version: &'a str,
    cooper_version: &'a str,
    go_version: &'a str,
    image_spec: &'a str,
    runtime_spec: &'a str,
    cni_spec: &'a str,
    libcni_version: &'a str,
    image_version: &'a str,
    git_commit: &'a str,
    built: &'a str,
    os_arch: &'a str,
    build_platform: &'a str,
}

/// Prints the version; touches no file.
pub fn run(args: &VersionArgs, _world: &World, ui: &Ui) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let platform = model::Platform::host().to_string();
    if args.json {
        let versions = Versions {
            version: BUILDAH,
            cooper_version: ours,
            go_version: "",
            image_spec: IMAGE_SPEC,
            runtime_spec: RUNTIME_SPEC,
            cni_spec: "",
            libcni_version: "",
            image_version: "",
            git_commit: "",
            built: "",
            os_arch: &platform,
            build_platform: &platform,
        };
        let json = model::go_json::to_vec_indent(&versions, "    ")?;
        ui.line(String::from_utf8_lossy(&json));
        return Ok(());
    }
    ui.out(format_args!(
        "Version:         {BUILDAH}\n\
         Cooper Version:  {ours}\n\
         Image Spec:      {IMAGE_SPEC}\n\
         Runtime Spec:    {RUNTIME_SPEC}\n\
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
            ui.line(format_args!(
                "buildah version {BUILDAH} (image-spec {IMAGE_SPEC}, runtime-spec {RUNTIME_SPEC})"
            ));
        }
    }
    Ok(())
}

//! `source create`: a source image without artifacts.

use anyhow::{Context as _, bail};
use model::source_image::SourceConfig;
use transfer::TransportRef;

use crate::args::go_bool;
use crate::failure::Failure;
use crate::world::World;

/// Arguments of `source create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Who makes the source image
    #[arg(
        long,
        value_name = "AUTHOR",
        default_value = "",
        hide_default_value = true
    )]
    author: String,
    /// Whether to record when it was made
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    time_stamp: Option<bool>,
    /// Where the source image will be: PATH[:NAME]
    #[arg(value_name = "PATH[:NAME]")]
    words: Vec<String>,
}

/// Makes the layout.
pub fn run(args: &CreateArgs, world: &World) -> Result<(), Failure> {
    let [text] = super::exactly::<1>(&args.words)?;
    make(args, text, world).map_err(Into::into)
}

fn make(args: &CreateArgs, text: &str, world: &World) -> anyhow::Result<()> {
    let config = SourceConfig {
        created: args.time_stamp.unwrap_or(true).then(|| world.now()),
        author: args.author.clone(),
    };
    if text.is_empty() {
        bail!("mkdir : no such file or directory");
    }
    if world.cwd.join(text).exists() {
        bail!("creating source image: {text:?} already exists");
    }
    let TransportRef::Oci { path, pick } = super::local(text, world)? else {
        unreachable!("it was parsed as one");
    };
    if let Some(parent) = path.parent() {
        // A mistyped path does not become a tree of directories.
        std::fs::metadata(parent).with_context(|| format!("lstat {}", parent.display()))?;
    }
    transfer::create_source_image(&path, &pick, &config)?;
    Ok(())
}

//! `manifest add`: an image, or an artifact made of files, becomes a member of a list.

use model::Platform;

use super::EntryArgs;
use super::artifact::{self, ArtifactArgs};
use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::host::members::{Sources, Which};
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Of an image that is a list, add all members
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    artifact: ArtifactArgs,
    #[command(flatten)]
    entry: EntryArgs,
    /// The list, and the image or the files
    #[arg(value_name = "LIST IMAGE|FILE")]
    words: Vec<String>,
}

/// Adds the member and prints the list's identifier with the member's digest.
pub fn run(args: &AddArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    super::at_least(2, &args.words)?;
    args.artifact.check()?;
    let (name, images) = (&args.words[0], &args.words[1..]);
    if !args.artifact.artifact && images.len() > 1 {
        return Err(
            anyhow::anyhow!("Too many arguments: expected list and image add to list").into(),
        );
    }
    let change = args.entry.change()?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = super::open_store(global, world, ui)?;
    let found = lists::find(&store, name, &rules)?;
    // What the entry shall say is also what is chosen by.
    let entry = &args.entry;
    let platform = host::platform(None, [&entry.os, &entry.arch, &entry.variant])?;
    let options = transfer::CopyOptions {
        platform: platform.unwrap_or_else(Platform::host),
        ..host::copying::options(&args.access, global, world, ui)?
    };
    let sources = Sources {
        store: &store,
        rules: &rules,
        options: &options,
    };
    let member = if args.artifact.artifact {
        artifact::member(&args.artifact, images, &sources, world)?
    } else {
        let which = if args.all {
            Which::All
        } else {
            Which::Preferred
        };
        sources.member(&images[0], which)?
    };
    let digest = lists::change(&store, &found.id, |list| {
        let digest = member.join(list)?;
        if let Some(entry) = list.index.entry_mut(&digest) {
            change.apply(entry);
        }
        Ok(digest)
    })?;
    ui.line(format_args!("{}: {digest}", found.id));
    Ok(())
}

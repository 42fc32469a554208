//! `manifest remove`: a member leaves a list.

use anyhow::{Context as _, Result};
use model::Digest;
use store::List;

use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::host::members::{Sources, Which};
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// The list, and the digest, name or file of the member
    #[arg(value_name = "LIST MEMBER")]
    words: Vec<String>,
}

/// Removes members and prints the list's identifier with each one's digest.
pub fn run(args: &RemoveArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    super::at_least(2, &args.words)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = super::open_store(global, world, ui)?;
    let found = lists::find(&store, &args.words[0], &rules)?;
    let options = host::copying::options(&args.access, global, world, ui)?;
    let sources = Sources {
        store: &store,
        rules: &rules,
        options: &options,
    };
    let mut digests = Vec::new();
    for text in &args.words[1..] {
        digests.push(instance(text, &found.list, &sources, world)?);
    }
    lists::change(&store, &found.id, |list| {
        for digest in &digests {
            list.index.take(digest).ok_or_else(|| unknown(digest))?;
            list.places.remove(digest);
            list.artifacts.remove(digest);
        }
        Ok(())
    })?;
    for digest in digests {
        ui.line(format_args!("{}: {digest}", found.id));
    }
    Ok(())
}

/// The list has no such member.
pub fn unknown(digest: &Digest) -> anyhow::Error {
    anyhow::anyhow!(
        "no instance matching digest \"{digest}\" found in manifest list: file does not exist"
    )
}

/// The member that a text means: its digest, a file of an artifact, or the name of an image.
pub fn instance(
    text: &str,
    list: &List,
    sources: &Sources<'_>,
    world: &crate::world::World,
) -> Result<Digest> {
    if let Ok(digest) = Digest::parse(text) {
        return Ok(digest);
    }
    let path = world.cwd.join(text);
    let by_file = list
        .artifacts
        .files
        .iter()
        .find(|(_, files)| files.iter().any(|file| path == std::path::Path::new(file)));
    if let Some((digest, _)) = by_file {
        return Ok(Digest::parse(digest)?);
    }
    let member = sources
        .member(text, Which::Preferred)
        .with_context(|| format!("reading image instance {text:?}"))?;
    let entry = member.entries.into_iter().next();
    let (entry, _) = entry.with_context(|| format!("{text}: there is no image"))?;
    Ok(entry.digest)
}

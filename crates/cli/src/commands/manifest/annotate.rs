//! `manifest annotate`: what a list says of a member, or of itself.

use anyhow::bail;

use super::{EntryArgs, artifact, remove};
use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::host::members::Sources;
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest annotate`.
#[derive(Debug, clap::Args)]
pub struct AnnotateArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    entry: EntryArgs,
    /// Change the list itself
    #[arg(long)]
    index: bool,
    /// The image that the list is about
    #[arg(long, value_name = "IMAGE")]
    subject: Option<String>,
    /// The list, and the digest, name or file of the member
    #[arg(value_name = "LIST [MEMBER]")]
    words: Vec<String>,
}

/// Changes the entry, or the list, and prints the list's identifier with the member's digest.
pub fn run(
    args: &AnnotateArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<(), Failure> {
    check(args)?;
    let change = args.entry.change()?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = super::open_store(global, world, ui)?;
    let found = lists::find(&store, &args.words[0], &rules)?;
    let options = host::copying::options(&args.access, global, world, ui)?;
    let sources = Sources {
        store: &store,
        rules: &rules,
        options: &options,
    };
    if args.index {
        let subject = match &args.subject {
            Some(text) => Some(artifact::subject(text, &sources)?),
            None => None,
        };
        lists::change(&store, &found.id, |list| {
            list.index.annotations.extend(change.annotations);
            if subject.is_some() {
                list.index.subject = subject;
            }
            Ok(())
        })?;
        ui.line(&found.id);
        return Ok(());
    }
    let digest = remove::instance(&args.words[1], &found.list, &sources, world)?;
    lists::change(&store, &found.id, |list| {
        let entry = list
            .index
            .entry_mut(&digest)
            .ok_or_else(|| remove::unknown(&digest))?;
        change.apply(entry);
        Ok(())
    })?;
    ui.line(format_args!("{}: {digest}", found.id));
    Ok(())
}

fn check(args: &AnnotateArgs) -> anyhow::Result<()> {
    let received = args.words.len();
    if !(1..=2).contains(&received) {
        bail!("accepts between 1 and 2 arg(s), received {received}");
    }
    if !args.index {
        if args.subject.is_some() {
            bail!("--subject requires --index");
        }
        if args.words.len() == 1 {
            bail!("Expected an instance digest, image name, or artifact name");
        }
        return Ok(());
    }
    if let Some(flag) = args.entry.of_platform().first() {
        bail!("--index is not compatible with {flag}");
    }
    if let Some(member) = args.words.get(1) {
        bail!("Did not expect image or artifact name {member:?} when modifying the entire index");
    }
    Ok(())
}

//! `manifest create`: a new list, with members or without.

use anyhow::bail;
use model::{ImageId, Platform};
use store::{List, Store, StoreError};

use super::annotations;
use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::host::members::{Sources, Which};
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Of images that are lists, add all members
    #[arg(long)]
    all: bool,
    /// Go on with the list that has the name, if there is one
    #[arg(long)]
    amend: bool,
    /// Add a remark to the list
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Of images that are lists, add the member for this architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Of images that are lists, add the member for this operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Take the name from the image or list that has it
    #[arg(long)]
    replace: bool,
    /// Of images that are lists, add the member for this variant of the processor
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// The list's name, and images to begin with
    #[arg(value_name = "LIST [IMAGE]")]
    words: Vec<String>,
}

/// Makes the list and prints its identifier.
pub fn run(args: &CreateArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let [name, images @ ..] = args.words.as_slice() else {
        return super::at_least(1, &args.words);
    };
    if args.amend && args.replace {
        return Err(anyhow::anyhow!("amend and replace are mutually exclusive").into());
    }
    let remarks = annotations(&args.annotation)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let name = super::new_name(name, &rules)?;
    let store = super::open_store(global, world, ui)?;
    let platform = host::platform(None, [&args.os, &args.arch, &args.variant])?;
    let options = host::copying::options(&args.access, global, world, ui)?;
    let options = transfer::CopyOptions {
        platform: platform.unwrap_or_else(Platform::host),
        ..options
    };
    let sources = Sources {
        store: &store,
        rules: &rules,
        options: &options,
    };
    let which = if args.all {
        Which::All
    } else {
        Which::Preferred
    };
    let mut members = Vec::new();
    for image in images {
        members.push(sources.member(image, which)?);
    }
    let fill = |list: &mut List| {
        for member in members {
            member.join(list)?;
        }
        list.index.annotations.extend(remarks);
        anyhow::Ok(())
    };
    let id = if args.amend
        && let Some(id) = holder(&store, &name)?
    {
        let id = as_list(&sources, id)?;
        lists::change(&store, &id, fill)?;
        id
    } else {
        let mut list = List::default();
        fill(&mut list)?;
        list.index.settle();
        create(&store, name, &list, args.replace)?
    };
    ui.line(id);
    Ok(())
}

fn create(store: &Store, name: String, list: &List, replace: bool) -> anyhow::Result<ImageId> {
    if replace {
        let id = store.create_list(Vec::new(), list)?;
        store.add_names(&id, &[name])?;
        return Ok(id);
    }
    match store.create_list(vec![name], list) {
        Ok(id) => Ok(id),
        Err(taken @ StoreError::ImageNameInUse { .. }) => {
            bail!("creating image to hold manifest list: {taken}")
        }
        Err(error) => Err(error.into()),
    }
}

fn holder(store: &Store, name: &str) -> Result<Option<ImageId>, Failure> {
    let images = store.images()?;
    Ok(images.by_name(name).map(|image| image.id.clone()))
}

/// An image in the place of a list becomes the first member of one that takes over its names.
fn as_list(sources: &Sources<'_>, id: ImageId) -> anyhow::Result<ImageId> {
    let store = sources.store;
    if store.list(&id)?.is_some() {
        return Ok(id);
    }
    let mut list = List::default();
    sources.member(id.as_str(), Which::All)?.join(&mut list)?;
    list.index.settle();
    let names = store
        .images()?
        .get(&id)
        .map(|image| image.names.clone())
        .unwrap_or_default();
    let made = store.create_list(Vec::new(), &list)?;
    store.add_names(&made, &names)?;
    Ok(made)
}

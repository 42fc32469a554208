//! `rmi`: images, or names of them, leave the store.

use model::ImageId;
use store::{Removal, Store, WhenMounted};
use transfer::{LookupError, NameRules};

use crate::args::GlobalArgs;
use crate::failure::{Failure, all_of};
use crate::host;
use crate::host::family::Parents;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `rmi`.
#[derive(Debug, clap::Args)]
pub struct RmiArgs {
    /// Remove all images that no container uses
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove an image with all its names, and the containers made from it
    #[arg(long, short = 'f')]
    force: bool,
    /// Remove images without a name that nothing is built on
    #[arg(long, short = 'p')]
    prune: bool,
    /// The images
    image: Vec<String>,
}

/// Removes images, and prints the names taken away and the identifiers removed. One that cannot
/// be removed does not stop the others.
pub fn run(args: &RmiArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    check(args)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let mut errors = Vec::new();
    let mut told = Told::default();
    if args.prune {
        while let Some(image) = next_dangling(&store)? {
            if let Err(error) = remove_by_id(&store, &image, args, &mut told) {
                errors.push(error);
                break;
            }
        }
    } else if args.all {
        remove_all(&store, args, &mut told, &mut errors)?;
    } else {
        for text in &args.image {
            if let Err(error) = remove_named(&store, text, &rules, args, &mut told) {
                errors.push(error);
            }
        }
    }
    for name in &told.untagged {
        ui.line(format_args!("untagged: {name}"));
    }
    for image in &told.removed {
        ui.line(image);
    }
    all_of(errors)
}

/// What is printed at the end: the names first.
#[derive(Default)]
struct Told {
    untagged: Vec<String>,
    removed: Vec<ImageId>,
}

fn check(args: &RmiArgs) -> Result<(), Failure> {
    let wrong = match (args.all, args.prune, args.image.is_empty()) {
        (false, false, true) => "image name or ID must be specified",
        (true, _, false) => "when using the --all switch, you may not pass any images names or IDs",
        (_, true, false) => {
            "when using the --prune switch, you may not pass any images names or IDs"
        }
        (true, true, _) => "when using the --all switch, you may not use --prune switch",
        _ => return Ok(()),
    };
    Err(anyhow::anyhow!(wrong).into())
}

/// An image without a name that no other image is built on and no container uses.
fn next_dangling(store: &Store) -> Result<Option<ImageId>, Failure> {
    let images = store.images()?;
    let containers = store.containers()?;
    let parents = Parents::of(store, &images)?;
    let is_dangling = |image: &store::ImageRecord| {
        image.names.is_empty()
            && containers.by_image(&image.id).next().is_none()
            && !parents.is_intermediate(image)
    };
    Ok(images
        .iter()
        .find(|image| is_dangling(image))
        .map(|image| image.id.clone()))
}

/// Images on top go first: what they are built on is free only then.
fn remove_all(
    store: &Store,
    args: &RmiArgs,
    told: &mut Told,
    errors: &mut Vec<anyhow::Error>,
) -> Result<(), Failure> {
    let images = store.images()?;
    let mut by_height = Vec::new();
    for image in images.iter() {
        let height = match &image.layer {
            Some(top) => store.chain(top)?.len(),
            None => 0,
        };
        by_height.push((height, image.id.clone()));
    }
    by_height.sort_by_key(|(height, _)| std::cmp::Reverse(*height));
    for (_, image) in by_height {
        if let Err(error) = remove_by_id(store, &image, args, told) {
            errors.push(error);
        }
    }
    Ok(())
}

fn remove_by_id(
    store: &Store,
    image: &ImageId,
    args: &RmiArgs,
    told: &mut Told,
) -> anyhow::Result<()> {
    remove(store, image, &Removal::Forced, args, told)
}

fn remove_named(
    store: &Store,
    text: &str,
    rules: &NameRules,
    args: &RmiArgs,
    told: &mut Told,
) -> anyhow::Result<()> {
    let found = match transfer::lookup_image(&*store.images()?, text, rules) {
        Err(LookupError::NotFound { wanted, .. }) => {
            anyhow::bail!("{wanted}: image not known")
        }
        found => found?,
    };
    let removal = match &found.name {
        _ if args.force => Removal::Forced,
        Some(name) => Removal::Name(name.to_string()),
        None => Removal::Id,
    };
    remove(store, &found.image.id, &removal, args, told)
}

fn remove(
    store: &Store,
    image: &ImageId,
    removal: &Removal,
    args: &RmiArgs,
    told: &mut Told,
) -> anyhow::Result<()> {
    if args.force {
        let containers = store.containers()?;
        for container in containers.by_image(image) {
            store.delete_container(&container.id, WhenMounted::Unmount)?;
        }
    }
    let removed = store
        .remove_image(image, removal)
        .map_err(|error| match error {
            in_use @ store::StoreError::ImageInUse { .. } => anyhow::anyhow!(
                "{:#}: consider listing external containers and force-removing image",
                anyhow::Error::from(in_use)
            ),
            other => other.into(),
        })?;
    told.untagged.extend(removed.untagged);
    told.removed
        .extend(removed.deleted.map(|deleted| deleted.image));
    Ok(())
}

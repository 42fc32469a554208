//! `rmi`: images, or names of them, leave the store.

use model::ImageId;
use store::{Removal, Store, WhenMounted};
use transfer::{LookupError, NameRules};

use crate::args::GlobalArgs;
use crate::failure::{Failure, all_of};
use crate::host;
use crate::host::family::{Family, Parents};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `rmi`.
#[derive(Debug, clap::Args)]
pub struct RmiArgs {
    /// Remove all images that no container uses
    #[arg(long, short = 'a')]
    pub all: bool,
    /// Remove an image with all its names, and the containers made from it
    #[arg(long, short = 'f')]
    pub force: bool,
    /// Remove images without a name that nothing is built on
    #[arg(long, short = 'p')]
    pub prune: bool,
    /// The images
    pub image: Vec<String>,
}

/// Removes images, and prints the names taken away and the identifiers removed. One that cannot
/// be removed does not stop the others.
pub fn run(args: &RmiArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    check(args)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let mut errors = Vec::new();
    let family = Family::of(&store, &*store.images()?);
    let mut remover = Remover {
        store: &store,
        args,
        family,
        untagged: Vec::new(),
        removed: Vec::new(),
    };
    if args.prune {
        while let Some(image) = next_dangling(&store)? {
            if let Err(error) = remover.remove(&image, &Removal::Forced) {
                errors.push(error);
                break;
            }
        }
    } else if args.all {
        for image in from_the_top(&store)? {
            if let Err(error) = remover.remove(&image, &Removal::Forced) {
                errors.push(error);
            }
        }
    } else {
        remover.remove_named(&rules, &mut errors)?;
    }
    for name in &remover.untagged {
        ui.line(format_args!("untagged: {name}"));
    }
    for image in &remover.removed {
        ui.line(image);
    }
    all_of(errors)
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

/// All images; those on top go first, as what they are built on is free only then.
fn from_the_top(store: &Store) -> Result<Vec<ImageId>, Failure> {
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
    Ok(by_height.into_iter().map(|(_, image)| image).collect())
}

/// What is removed, and what is printed of it at the end: the names first.
struct Remover<'a> {
    store: &'a Store,
    args: &'a RmiArgs,
    family: Family,
    untagged: Vec<String>,
    removed: Vec<ImageId>,
}

impl Remover<'_> {
    /// Looks up everything before anything goes, and then takes image after image.
    fn remove_named(
        &mut self,
        rules: &NameRules,
        errors: &mut Vec<anyhow::Error>,
    ) -> Result<(), Failure> {
        let mut going: Vec<(ImageId, Vec<Removal>)> = Vec::new();
        {
            let images = self.store.images()?;
            for text in &self.args.image {
                let found = match transfer::lookup_image(&images, text, rules) {
                    Ok(found) => found,
                    Err(LookupError::NotFound { wanted, .. }) => {
                        errors.push(anyhow::anyhow!("{wanted}: image not known"));
                        continue;
                    }
                    Err(error) => {
                        errors.push(error.into());
                        continue;
                    }
                };
                let removal = match found.name {
                    _ if self.args.force => Removal::Forced,
                    Some(name) => Removal::Name(name.to_string()),
                    None => Removal::Id,
                };
                let id = &found.image.id;
                match going.iter_mut().find(|(image, _)| image == id) {
                    Some((_, removals)) => removals.push(removal),
                    None => going.push((id.clone(), vec![removal])),
                }
            }
        }
        for (image, removals) in going {
            for removal in removals {
                // One name may have been the last, and another may be given with it.
                if self.store.images()?.get(&image).is_none() {
                    break;
                }
                if let Err(error) = self.remove(&image, &removal) {
                    errors.push(error);
                }
            }
        }
        Ok(())
    }

    /// Takes away a name or the image, and with the image what only it was built on, if that has no name.
    fn remove(&mut self, image: &ImageId, removal: &Removal) -> anyhow::Result<()> {
        if let Removal::Name(name) = removal {
            let images = self.store.images()?;
            let known = images
                .get(image)
                .is_some_and(|image| image.names.contains(name));
            if !known {
                anyhow::bail!("{name}: tag not known");
            }
        }
        if self.args.force {
            let containers = self.store.containers()?;
            for container in containers.by_image(image) {
                self.store
                    .delete_container(&container.id, WhenMounted::Unmount)?;
            }
        }
        let removed = self
            .store
            .remove_image(image, removal)
            .map_err(|error| match error {
                in_use @ store::StoreError::ImageInUse { .. } => anyhow::anyhow!(
                    "{:#}: consider listing external containers and force-removing image",
                    anyhow::Error::from(in_use)
                ),
                other => other.into(),
            })?;
        self.untagged.extend(removed.untagged);
        if removed.deleted.is_some() {
            self.forget(image)?;
        }
        Ok(())
    }

    /// Notes that an image is gone, and removes those below that nothing else needs.
    fn forget(&mut self, image: &ImageId) -> anyhow::Result<()> {
        // The layers of an image that others continue stay, and so it is not said to be gone.
        if !self.family.has_children(image) {
            self.removed.push(image.clone());
        }
        let mut parent = self.family.remove(image);
        while let Some(image) = parent {
            let is_used = {
                let containers = self.store.containers()?;
                containers.by_image(&image).next().is_some()
            };
            if is_used || self.family.has_children(&image) {
                break;
            }
            self.store.remove_image(&image, &Removal::Id)?;
            parent = self.family.remove(&image);
            self.removed.push(image);
        }
        Ok(())
    }
}

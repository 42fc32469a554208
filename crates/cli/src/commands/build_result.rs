//! What becomes of the images of a build: one stands for itself, several for several machines become a list; then they go
//! to other places, and their identifier is told.

use anyhow::Result;
use model::{ImageId, Reference};
use solve::Outcome;
use store::{List, Store};
use transfer::{CopyOptions, CopyScope, Existing, NameRules, SignatureOptions, TransportRef};

use super::build_args::BuildArgs;
use super::build_output::Output;
use super::metadata;
use crate::failure::Failure;
use crate::host::{self, lists, members};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// What a build has made.
pub enum Product {
    /// One image.
    Image(ImageId),
    /// A list of images for several machines.
    List(ImageId),
}

/// Where a build's images are put, and under which names.
pub struct Destination<'a> {
    /// The store.
    pub store: &'a Store,
    /// What names without a registry mean.
    pub rules: &'a NameRules,
    /// Names for a list; an image has its names already.
    pub names: &'a [Reference],
    /// Other places.
    pub places: &'a [TransportRef],
    /// Where the files of an image are written.
    pub outputs: &'a [Output],
    /// How images are copied there.
    pub options: &'a CopyOptions,
    /// Who signs images, if they are to be signed.
    pub signing: Option<SignatureOptions>,
}

impl Destination<'_> {
    /// Signs images that stay in the store, for the first of the names that they get then. Those that go to other places
    /// are signed there. Returns the names that were given.
    pub fn sign(
        &self,
        outcome: &Outcome,
        reporter: &CopyLines<'_>,
    ) -> Result<Vec<String>, Failure> {
        let mut given = Vec::new();
        let Some(signing) = &self.signing else {
            return Ok(given);
        };
        if !self.places.is_empty() && self.names.is_empty() {
            return Ok(given);
        }
        let alone = outcome.images.len() == 1;
        for image in &outcome.images {
            let names = if alone { self.names } else { &[] };
            transfer::sign_stored(self.store, &image.id, names.first(), signing, reporter)?;
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            self.store.add_names(&image.id, &names)?;
            given.extend(names);
        }
        Ok(given)
    }

    /// Puts images into lists where that is asked for; `None` for a build without images.
    pub fn collect(&self, outcome: &Outcome, list: Option<&str>) -> Result<Option<Product>> {
        let ids: Vec<&ImageId> = outcome.images.iter().map(|image| &image.id).collect();
        match (ids.as_slice(), list) {
            ([], _) => Ok(None),
            ([one], None) => Ok(Some(Product::Image((*one).clone()))),
            ([one], Some(name)) => {
                lists::include(self.store, name, one, self.rules)?;
                Ok(Some(Product::Image((*one).clone())))
            }
            (several, list) => {
                let id = match list {
                    Some(name) => self.add_to(name, several)?,
                    None => self.new_list(several)?,
                };
                let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
                self.store.add_names(&id, &names)?;
                Ok(Some(Product::List(id)))
            }
        }
    }

    fn add_to(&self, name: &str, images: &[&ImageId]) -> Result<ImageId> {
        for image in images {
            lists::include(self.store, name, image, self.rules)?;
        }
        Ok(lists::find(self.store, name, self.rules)?.id)
    }

    fn new_list(&self, images: &[&ImageId]) -> Result<ImageId> {
        let mut list = List::default();
        for image in images {
            members::of_image(self.store, image)?.join(&mut list)?;
        }
        list.index.settle();
        Ok(self.store.create_list(Vec::new(), &list)?)
    }

    /// Copies the product to the other places, and tells its identifier.
    pub fn finish(
        &self,
        product: &Product,
        args: &BuildArgs,
        (world, ui): (&World, &Ui),
    ) -> Result<(), Failure> {
        let report = &args.report;
        let silent = self.outputs.contains(&Output::Stdout);
        let reporter = CopyLines::new(ui, Told::unless(report.quiet || silent));
        let options = self.copying();
        for place in self.places {
            match product {
                Product::Image(id) => {
                    let source = TransportRef::stored_id(id);
                    transfer::copy(&source, place, Some(self.store), &options, &reporter)?;
                }
                Product::List(id) => {
                    let options = CopyOptions {
                        scope: CopyScope::All,
                        ..options.clone()
                    };
                    let found = lists::find(self.store, id.as_str(), self.rules)?;
                    super::manifest::push_list(self.store, &found, place, &options, &reporter)?;
                }
            }
        }
        let (Product::Image(id) | Product::List(id)) = product;
        for output in self.outputs {
            output.write(id, self.store, world)?;
        }
        if let Some(file) = &report.metadata_file {
            let manifest = self.store.image_manifest(id)?;
            host::write_file(&world.cwd.join(file), &metadata::text(id, &manifest)?)?;
        }
        if let Some(file) = &report.iidfile {
            host::write_file(&world.cwd.join(file), &format!("sha256:{id}"))?;
        }
        if let Some(file) = &report.iidfile_raw {
            host::write_file(&world.cwd.join(file), id.as_str())?;
        }
        if !report.hides_id() && !silent {
            ui.line(id);
        }
        Ok(())
    }

    /// How what was made is copied: signatures that the store has are of its name there.
    fn copying(&self) -> CopyOptions {
        let mut options = self.options.clone();
        options.signatures.existing = Existing::Remove;
        if let Some(signing) = &self.signing {
            options.signatures.signers.clone_from(&signing.signers);
        }
        options
    }
}

//! `push`: an image of the store is written to another place.

use std::path::PathBuf;

use anyhow::Context as _;
use transfer::{Compress, CopyOptions, LookupError, TransportRef};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::host::copying::{self, PushingArgs};
use crate::host::encryption::EncryptionArgs;
use crate::host::lists;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    #[command(flatten)]
    pushing: PushingArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    /// Of a manifest list, push all images and the list
    #[arg(long)]
    all: bool,
    /// Write the manifest's digest to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Write layers as they are
    #[arg(long, short = 'D')]
    disable_compression: bool,
    /// The format of the manifest: oci or v2s2
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Remove the manifest list from the store when it was pushed
    #[arg(long)]
    rm: bool,
    /// The image, and the place
    #[arg(value_name = "IMAGE [PLACE]")]
    words: Vec<String>,
}

/// Copies the image out of the store.
pub fn run(args: &PushArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let (image, place) = match args.words.as_slice() {
        [image] => (image, format!("docker://{image}")),
        [image, place] => (image, place.clone()),
        [] => return Err(anyhow::anyhow!("at least a source image ID must be specified").into()),
        _ => {
            return Err(anyhow::anyhow!(
                "Only two arguments are necessary to push: source and destination"
            )
            .into());
        }
    };
    if image.is_empty() {
        return Err(anyhow::anyhow!("invalid image name {image:?}").into());
    }
    let format = copying::format(args.format.as_deref())?;
    let destination = destination(&place)?;
    let mut options = options(args, global, world, ui)?;
    options.format = format;
    options.schema1 = args.format.as_deref() == Some(copying::SCHEMA1);
    let rules = host::short_names::rules(global, world, ui)?;
    let store = if args.rm {
        host::open_store_to_write(global, world, ui)?
    } else {
        host::open_store(global, world, ui)?
    };
    let told = Told::unless(args.quiet);
    let reporter = CopyLines::new(ui, told);
    let attempt = || format!("pushing image {image:?} to {place:?}");
    let list = lists::find(&store, image, &rules).ok();
    let digest = if let Some(list) = list.as_ref().filter(|_| args.all) {
        copying::check_policy(&args.pushing.access, world).with_context(attempt)?;
        options.scope = transfer::CopyScope::All;
        super::manifest::push_list(&store, list, &destination, &options, &reporter)
            .with_context(attempt)?
    } else {
        let found = match transfer::lookup(&store, image, &rules, None) {
            Err(LookupError::NotFound { wanted, .. }) => {
                Err(anyhow::anyhow!("{wanted}: image not known"))
            }
            found => found.map_err(Into::into),
        };
        let found = found.with_context(attempt)?;
        copying::check_policy(&args.pushing.access, world).with_context(attempt)?;
        options.additional_names = found.name.iter().cloned().collect();
        let source = TransportRef::stored_id(&found.image.id);
        transfer::copy(&source, &destination, Some(&store), &options, &reporter)
            .with_context(attempt)?
            .digest
    };
    if let Some(file) = &args.digestfile {
        host::write_file(file, digest.as_str())?;
    }
    if let Some(list) = list.filter(|_| args.rm) {
        store.delete_image(&list.id)?;
    }
    Ok(())
}

/// Parses a place; a name alone is one in a registry.
fn destination(place: &str) -> anyhow::Result<TransportRef> {
    let error = match copying::destination(place) {
        Ok(destination) => return Ok(destination),
        Err(error) => error,
    };
    let transport = place.split(':').next().unwrap_or_default();
    if transfer::is_transport(transport) || place.contains("://") {
        return Err(error);
    }
    TransportRef::parse(&format!("docker://{place}")).map_err(|_| error)
}

fn options(
    args: &PushArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<CopyOptions, Failure> {
    let mut options = copying::options(&args.pushing.access, global, world, ui)?;
    args.pushing.apply(&mut options, world, ui)?;
    args.encryption.apply(&mut options, world)?;
    // Who names a compression means it. Buildah's push compresses what goes into a directory, too.
    let named = args.pushing.compression.compression_format.is_some();
    options.compress = match args.disable_compression && !named {
        true => Compress::Never,
        false => Compress::Always,
    };
    Ok(options)
}

//! `manifest push`: a list goes to another place, with its members or alone.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use model::{Digest, Document, ManifestFormat};
use store::{Artifacts, List, Store};
use transfer::{
    BlobAt, CompressionFormat, CopyOptions, CopyScope, ListSource, Member, TransferError,
    TransportRef,
};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host::copying::{self, PushingArgs};
use crate::host::lists::FoundList;
use crate::host::{self, lists};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    #[command(flatten)]
    pushing: PushingArgs,
    /// Also push every image with this compression
    #[arg(long, value_name = "FORMAT")]
    add_compression: Vec<String>,
    /// Also push the members (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::args::go_bool)]
    all: Option<bool>,
    /// Write the list's digest to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// The format of the list and its members: oci or v2s2
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Remove the list from the store when it was pushed
    #[arg(long, alias = "purge")]
    rm: bool,
    /// The list, and the place
    #[arg(value_name = "LIST [PLACE]")]
    words: Vec<String>,
}

/// Copies the list.
pub fn run(args: &PushArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let (name, place) = match args.words.as_slice() {
        [name] => (name, format!("docker://{name}")),
        [name, place] => (name, place.clone()),
        [] => return super::at_least(1, &args.words),
        _ => {
            return Err(anyhow::anyhow!(
                "Only two arguments are necessary to push: source and destination"
            )
            .into());
        }
    };
    let options = options(args, global, world, ui)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = if args.rm {
        host::open_store_to_write(global, world, ui)?
    } else {
        host::open_store(global, world, ui)?
    };
    let found = lists::find(&store, name, &rules)?;
    copying::check_policy(&args.pushing.access, world)
        .context("obtaining default signature policy")?;
    let destination = copying::destination(&place)?;
    let told = Told::unless(args.quiet);
    let digest = push(
        &store,
        &found,
        &destination,
        &options,
        &CopyLines::new(ui, told),
    )?;
    if let Some(file) = &args.digestfile {
        host::write_file(file, digest.as_str())?;
    }
    if args.rm {
        store.delete_image(&found.id)?;
    }
    Ok(())
}

/// Copies a list as it is when nobody else changes it, and returns the digest that it has at the destination.
pub fn push(
    store: &Store,
    found: &FoundList,
    destination: &TransportRef,
    options: &CopyOptions,
    reporter: &dyn model::Reporter,
) -> Result<Digest> {
    let lock = store.lock_list(&found.id)?;
    let list = store
        .list(lock.list())?
        .with_context(|| format!("{}: image is not a manifest list", found.id))?;
    let source = source(store, found, &list)?;
    let copied = transfer::copy_list(&source, destination, Some(store), options, reporter)?;
    Ok(copied.digest)
}

fn options(
    args: &PushArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<CopyOptions, Failure> {
    let format = format(args.format.as_deref())?;
    let mut options = copying::list_options(&args.pushing.access, global, world, ui)?;
    args.pushing.apply(&mut options, world, ui)?;
    if options.force_compression && options.compression.is_none() {
        let error = anyhow::Error::from(TransferError::ForceWithoutFormat);
        return Err(error.context("preparing instances for copy").into());
    }
    options.format = format;
    if !args.add_compression.is_empty() {
        options.add_compression.clear();
    }
    for word in &args.add_compression {
        let format = CompressionFormat::parse(word).with_context(|| {
            format!("requested algorithm {word} is not supported for replication")
        })?;
        options.add_compression.push(format);
    }
    options.scope = if args.all.unwrap_or(true) {
        CopyScope::All
    } else {
        CopyScope::System
    };
    Ok(options)
}

fn format(word: Option<&str>) -> Result<Option<ManifestFormat>> {
    match word {
        None | Some("") => Ok(None),
        Some("oci") => Ok(Some(ManifestFormat::Oci)),
        Some("v2s2" | "docker") => Ok(Some(ManifestFormat::Docker)),
        Some(other) => {
            bail!("unknown format {other:?}. Choose on of the supported formats: 'oci' or 'v2s2'")
        }
    }
}

/// Says where each member of a list is.
fn source(store: &Store, found: &FoundList, list: &List) -> Result<ListSource> {
    let index = match Document::parse(store.image_manifest(&found.id)?)? {
        Document::Index(index) => index,
        Document::Manifest(_) => bail!("{}: image is not a manifest list", found.id),
    };
    let mut members = std::collections::BTreeMap::new();
    for (digest, place) in &list.places {
        let place = TransportRef::parse(place)
            .with_context(|| format!("creating ImageReference from image {place:?}"))?;
        members.insert(digest.clone(), Member::Place(place));
    }
    for (digest, manifest) in &list.artifacts.manifests {
        let digest = Digest::parse(digest)?;
        let member = Member::Artifact {
            manifest: manifest.clone().into_bytes(),
            blobs: blobs(&digest, &list.artifacts)?,
        };
        members.insert(digest, member);
    }
    Ok(ListSource { index, members })
}

/// Where the config and the layers of an artifact are.
fn blobs(
    manifest: &Digest,
    artifacts: &Artifacts,
) -> Result<std::collections::BTreeMap<Digest, BlobAt>> {
    let key = manifest.as_str();
    let layers = artifacts.layers.get(key).into_iter().flatten();
    let mut blobs = std::collections::BTreeMap::new();
    for text in artifacts.config.get(key).into_iter().chain(layers) {
        let digest = Digest::parse(text)?;
        let at = match (artifacts.detached.get(text), artifacts.blob(&digest)) {
            (Some(path), _) => BlobAt::File(PathBuf::from(path)),
            (None, Some(bytes)) => BlobAt::Bytes(bytes),
            (None, None) => bail!(
                "no file or blob with artifact \"config\" or \"layer\" digest \"{digest}\" recorded"
            ),
        };
        blobs.insert(digest, at);
    }
    Ok(blobs)
}

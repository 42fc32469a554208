//! `push`: an image of the store is written to another place.

use std::path::PathBuf;

use anyhow::Context as _;
use transfer::{Compress, CompressionFormat, CopyOptions, NameRules, TransportRef};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Compress layers with gzip or zstd
    #[arg(long, value_name = "FORMAT")]
    compression_format: Option<String>,
    /// The level of the compression, on its own scale
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<i32>,
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
                "only two arguments are necessary to push: source and destination"
            )
            .into());
        }
    };
    let options = options(args, world)?;
    let attempt = || format!("pushing image {image:?} to {place:?}");
    let destination = match TransportRef::parse(&place) {
        Ok(destination) => destination,
        Err(error) => TransportRef::parse(&format!("docker://{place}")).map_err(|_| error)?,
    };
    let store = host::open_store(global, world, ui)?;
    let found =
        transfer::lookup(&store, image, &NameRules::default(), None).with_context(attempt)?;
    let options = CopyOptions {
        additional_names: found.name.iter().cloned().collect(),
        ..options
    };
    let told = if args.quiet {
        Told::Warnings
    } else {
        Told::All
    };
    let source = TransportRef::stored_id(&found.image.id);
    let copied = transfer::copy(
        &source,
        &destination,
        Some(&store),
        &options,
        &CopyLines::new(ui, told),
    )
    .with_context(attempt)?;
    if let Some(file) = &args.digestfile {
        host::write_file(file, copied.digest.as_str())?;
    }
    Ok(())
}

fn options(args: &PushArgs, world: &World) -> Result<CopyOptions, Failure> {
    let compression = match args.compression_format.as_deref() {
        None => None,
        Some("gzip") => Some(CompressionFormat::Gzip),
        Some("zstd") => Some(CompressionFormat::Zstd),
        Some(other) => {
            return Err(
                anyhow::anyhow!("compression format {other:?} is not supported yet").into(),
            );
        }
    };
    let format = match args.format.as_deref() {
        None => None,
        Some("oci") => Some(model::ManifestFormat::Oci),
        Some("v2s2" | "docker") => Some(model::ManifestFormat::Docker),
        Some(other) => {
            return Err(anyhow::anyhow!(
                "unknown format {other:?}. Choose one of the supported formats: 'oci' or 'v2s2'"
            )
            .into());
        }
    };
    let compress = match (args.disable_compression, compression) {
        (true, Some(_)) => {
            return Err(
                anyhow::anyhow!("a compression and no compression are both asked for").into(),
            );
        }
        (true, None) => Compress::Never,
        // Buildah's push compresses what goes into a directory, too.
        (false, _) => Compress::Always,
    };
    Ok(CopyOptions {
        format,
        compress,
        compression,
        level: args.compression_level,
        temporary: world.big_temporary(),
        ..CopyOptions::default()
    })
}

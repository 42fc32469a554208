//! From flags to the options of a copy.

use std::sync::Arc;

use anyhow::Context as _;
use transfer::{Compress, CompressionFormat, CopyOptions, PolicySource, Retry, TransportRef};

use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, RetryArgs};
use crate::failure::Failure;
use crate::host::signing::{SignatureArgs, SigningArgs};
use crate::ui::Ui;
use crate::world::World;

/// How many more times a pull is tried when nobody says it.
pub const RETRY_DEFAULT: u32 = 3;

/// What the host's configuration and the flags about registries say of the copy of one image.
pub fn options(
    access: &AccessArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<CopyOptions, Failure> {
    Ok(CopyOptions {
        // Further compressions are for lists.
        add_compression: Vec::new(),
        ..list_options(access, global, world, ui)?
    })
}

/// What the host's configuration and the flags about registries say of the copy of a list.
pub fn list_options(
    access: &AccessArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<CopyOptions, Failure> {
    let mut options = super::registries::copy_options(access, global, world, ui)?;
    if let Some(file) = &access.signature_policy {
        options.signatures.policy = Arc::new(PolicySource::file(world.cwd.join(file)));
    }
    Ok(options)
}

/// Parses the place that an image is to be written to, whose parent directory has to be there.
pub fn destination(text: &str) -> anyhow::Result<TransportRef> {
    let place = TransportRef::parse(text)?;
    match place.missing_parent() {
        Some(missing) => Err(anyhow::anyhow!(
            "lstat {}: no such file or directory",
            missing.display()
        )),
        None => Ok(place),
    }
}

/// Refuses a policy that is named and cannot be used, also where no image is held against it.
pub fn check_policy(access: &AccessArgs, world: &World) -> anyhow::Result<()> {
    let Some(file) = &access.signature_policy else {
        return Ok(());
    };
    PolicySource::file(world.cwd.join(file)).policy()?;
    Ok(())
}

/// Refuses a file with credentials that is named and not there.
pub fn check_authfile(access: &AccessArgs, world: &World) -> anyhow::Result<()> {
    let Some(file) = &access.authfile else {
        return Ok(());
    };
    std::fs::metadata(world.cwd.join(file))
        .map(drop)
        .with_context(|| {
            format!(
                "credential file is not accessible: faccessat {}",
                file.display()
            )
        })
}

/// Lays flags about the compression of what is made over `options`; without any the destination chooses.
pub fn compressed(
    flags: &CompressionArgs,
    disable: Option<bool>,
    mut options: CopyOptions,
) -> anyhow::Result<CopyOptions> {
    flags.apply(&mut options)?;
    match disable {
        Some(true) => options.compress = Compress::Never,
        Some(false) => options.compress = Compress::Always,
        // Who names a compression means it.
        None if options.compression.is_some() => options.compress = Compress::Always,
        None => {}
    }
    Ok(options)
}

/// Lays the flags about repetition over the host's configuration.
pub fn retry(args: &RetryArgs, configured: Retry) -> anyhow::Result<Retry> {
    Ok(Retry {
        times: args.retry.unwrap_or(configured.times),
        delay: args.delay()?.or(configured.delay),
    })
}

/// Flags of every copy out of the store.
#[derive(Debug, clap::Args)]
pub struct PushingArgs {
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    pub compression: CompressionArgs,
    #[command(flatten)]
    signatures: SignatureArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

impl PushingArgs {
    /// Lays the flags over `options`, in which those about access are already.
    pub fn apply(&self, options: &mut CopyOptions, world: &World, ui: &Ui) -> Result<(), Failure> {
        options.retry = retry(&self.retry, options.retry)?;
        self.compression.apply(options)?;
        self.signatures.apply(options);
        self.signing.apply(options, world, ui)?;
        Ok(())
    }
}

/// Flags about the compression of layers.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CompressionArgs {
    /// Compress layers with gzip, zstd or zstd:chunked
    #[arg(long, value_name = "FORMAT")]
    pub compression_format: Option<String>,
    /// The level of the compression, on its own scale
    #[arg(long, value_name = "LEVEL", value_parser = crate::args::go_int)]
    pub compression_level: Option<i64>,
    /// Compress layers again that the destination has with another compression
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::args::go_bool)]
    pub force_compression: Option<bool>,
}

impl CompressionArgs {
    /// Lays the flags over `options`.
    pub fn apply(&self, options: &mut CopyOptions) -> anyhow::Result<()> {
        if let Some(word) = &self.compression_format {
            options.compression = Some(CompressionFormat::parse(word)?);
        }
        if let Some(level) = self.compression_level {
            // No format has a level beyond these.
            options.level = Some(i32::try_from(level).unwrap_or(i32::MAX));
        }
        // Who names a compression wants that one, whatever is there already.
        options.force_compression = self
            .force_compression
            .unwrap_or(options.compression.is_some());
        Ok(())
    }
}

/// The word for Docker's first format, which is made of an image in its second.
pub const SCHEMA1: &str = "v2s1";

/// Reads the manifest format of a push: `oci`, `v2s2`, or [`SCHEMA1`].
pub fn format(word: Option<&str>) -> anyhow::Result<Option<model::ManifestFormat>> {
    match word {
        None | Some("") => Ok(None),
        Some("oci") => Ok(Some(model::ManifestFormat::Oci)),
        Some("v2s2" | "docker" | SCHEMA1) => Ok(Some(model::ManifestFormat::Docker)),
        // The words are Buildah's, slip included: scripts match them.
        Some(other) => anyhow::bail!(
            "unknown format {other:?}. Choose on of the supported formats: 'oci', 'v2s1', or 'v2s2'"
        ),
    }
}

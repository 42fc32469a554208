//! `from`: a working container, from an image or from nothing.

use std::path::PathBuf;

use anyhow::Context as _;
use builder::container::{FromRequest, WorkingContainer};
use builder::state::RunOptions;
use model::{ManifestFormat, Platform};

use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, PlatformArgs, PullArgs, RetryArgs};
use crate::args::namespaces::{NamespaceArgs, UserNamespaceArgs};
use crate::args::process::ProcessArgs;
use crate::args::resources::ResourceArgs;
use crate::failure::Failure;
use crate::host::encryption::DecryptionArgs;
use crate::host::process::{ProcessSettings, default_capabilities};
use crate::host::pulling::{self, Puller, Ways};
use crate::host::{self, copying, namespace_options, process, resources, user_maps};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `from`.
#[derive(Debug, clap::Args)]
pub struct FromArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    pull: PullArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    decryption: DecryptionArgs,
    /// Write the container's ID to a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// The format of the image that it will become: oci or docker
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print nothing but the name
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    resources: ResourceArgs,
    /// Add the user to a group, by number; keep-groups for those of whoever runs this
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    group_add: Vec<String>,
    #[command(flatten)]
    namespaces: NamespaceArgs,
    #[command(flatten)]
    users: UserNamespaceArgs,
    /// The image, or `scratch`
    image: Vec<String>,
}

/// Makes the container and prints its name.
pub fn run(args: FromArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let image = match args.image.as_slice() {
        [image] => image.as_str(),
        [] => {
            return Err(anyhow::anyhow!("an image name (or \"scratch\") must be specified").into());
        }
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let format = format_of(args.format.as_deref(), world)?;
    let run_options = remembered(&args, world)?;
    let settings = ProcessSettings::resolve(&args.process, default_capabilities(world)?, world)?;
    let configured = namespace_options::configured(world);
    let mut namespaces = namespace_options::choose(&args.namespaces, configured, world)
        .context("parsing namespace-related options")?;
    user_maps::check_form(&args.users)?;
    let id_mapping = user_maps::choose(&args.users, &mut namespaces, world)?;
    let forgotten = [args.process.host_certs, !args.process.device.is_empty()];
    if forgotten.contains(&true) {
        return Err(anyhow::anyhow!(
            "--host-certs and --device are not remembered for a container yet: give them to `run`"
        )
        .into());
    }
    let policy = args.pull.policy()?;
    let platform = host::chosen_platform(&args.platform, ui)?;
    let mut ways = Ways::read(&args.access, global, world, ui)?;
    let decryption = args.decryption.apply(&mut ways.options, world);
    decryption.context("unable to obtain decrypt config")?;
    copying::check_authfile(&args.access, world)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let told = Told::unless(args.quiet);
    let base = match image {
        "scratch" => None,
        name => {
            let mut ways = ways.for_platform(platform.clone());
            ways.policy = policy;
            ways.options.retry = copying::retry(&args.retry, ways.options.retry)?;
            let puller = Puller {
                store: &store,
                ways: &ways,
                reporter: &CopyLines::new(ui, told),
            };
            let pulled = puller.pull_one(name)?;
            Some(pulling::base_image(&store, &pulled)?)
        }
    };
    let request = FromRequest {
        base,
        name: args.name,
        suffix: None,
        format,
        platform: platform.unwrap_or_else(Platform::host),
        group_add: args.group_add,
        run_options,
        isolation: settings.isolation.unwrap_or_default(),
        namespaces,
        network: settings.network,
        id_mapping,
        capabilities: builder::run::capability_names(settings.capabilities),
        now: world.now(),
    };
    let container = WorkingContainer::create(&store, &request)?;
    if let Some(file) = &args.cidfile {
        std::fs::write(file, container.id().as_str())
            .with_context(|| format!("open {}", file.display()))
            .with_context(|| {
                format!(
                    "failed to write container ID file {:?}",
                    file.display().to_string()
                )
            })?;
    }
    ui.line(container.name());
    Ok(())
}

/// What later runs are told of: volumes and limits are remembered as words, and checked now.
fn remembered(args: &FromArgs, world: &World) -> Result<RunOptions, Failure> {
    let volumes = process::volume_words(&args.process, world);
    process::volumes(&volumes, world).context("validating volumes")?;
    let mut options = RunOptions {
        add_host: args.process.add_host.clone(),
        ulimit: args.process.ulimit.clone(),
        volumes,
        ..RunOptions::defaults()
    };
    if let Some(size) = &args.process.shm_size {
        options.shm_size.clone_from(size);
    }
    resources::record(&args.resources, &mut options)?;
    Ok(options)
}

/// The format that a flag or the environment asks for.
pub fn format_of(word: Option<&str>, world: &World) -> Result<ManifestFormat, Failure> {
    match word.or(world.var("BUILDAH_FORMAT")).unwrap_or("oci") {
        "oci" => Ok(ManifestFormat::Oci),
        "docker" => Ok(ManifestFormat::Docker),
        other => Err(anyhow::anyhow!("unrecognized image type {other:?}").into()),
    }
}

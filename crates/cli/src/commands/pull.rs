//! `pull`: an image of another place comes into the store.

use anyhow::Context as _;

use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, PlatformArgs, PullPolicy, RetryArgs, UnknownPolicy};
use crate::failure::Failure;
use crate::host;
use crate::host::copying;
use crate::host::encryption::DecryptionArgs;
use crate::host::pulling::{Puller, Ways};
use crate::host::signing::SignatureArgs;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    signatures: SignatureArgs,
    #[command(flatten)]
    decryption: DecryptionArgs,
    /// Fetch every tag of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// When to fetch an image that the store has: missing, never, always, newer
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Print nothing but the ID
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The image: TRANSPORT:PLACE, or a name that a registry or the store has
    image: Vec<String>,
}

/// Brings the image here, unless it is, and prints its ID; of several that of the first.
pub fn run(args: &PullArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let image = match args.image.as_slice() {
        [image] => image,
        [] => return Err(anyhow::anyhow!("an image name must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let word = args.policy.as_deref().unwrap_or("missing");
    let policy = PullPolicy::parse(word)
        .map_err(|UnknownPolicy| anyhow::anyhow!("unsupported pull policy {word:?}"))?;
    let platform = host::chosen_platform(&args.platform, ui).context("building system context")?;
    let mut ways = Ways::read(&args.access, global, world, ui)?.for_platform(platform);
    ways.policy = policy;
    ways.options.retry = copying::retry(&args.retry, ways.options.retry)?;
    if ways.options.retry.times == 0 {
        // Buildah's pull takes none for not said.
        ways.options.retry.times = copying::RETRY_DEFAULT;
    }
    args.signatures.apply(&mut ways.options);
    let decryption = args.decryption.apply(&mut ways.options, world);
    decryption.context("unable to obtain decryption config")?;
    let store = host::open_store_to_write(global, world, ui)?;
    let told = Told::unless(args.quiet);
    let puller = Puller {
        store: &store,
        ways: &ways,
        reporter: &CopyLines::new(ui, told),
    };
    let pulled = if args.all_tags {
        puller.pull_all_tags(image)?
    } else {
        puller.pull(image)?
    };
    // Of several, the first speaks for all.
    if let Some(image) = pulled.first() {
        ui.line(&image.id);
    }
    Ok(())
}

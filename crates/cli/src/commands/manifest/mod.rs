//! `manifest`: lists of images for several machines, put together in the store and sent to registries.

mod add;
mod annotate;
mod artifact;
mod create;
mod inspect;
mod push;
mod remove;
mod rm;

pub use inspect::shown;
pub use push::push as push_list;

use anyhow::{Context as _, Result};
use model::list::EntryChange;
use store::Store;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::host::namespace::Space;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest`.
#[derive(Debug, clap::Args)]
pub struct ManifestArgs {
    #[command(subcommand)]
    command: ManifestCommand,
}

/// What is to be done with lists.
#[derive(Debug, clap::Subcommand)]
enum ManifestCommand {
    /// Add an image, or an artifact made of files, to a list
    Add(Box<add::AddArgs>),
    /// Change what a list says of a member, or of itself
    Annotate(annotate::AnnotateArgs),
    /// Make a list
    Create(create::CreateArgs),
    /// Tell by the exit status whether the store has a list of this name
    Exists(rm::ExistsArgs),
    /// Show a list of the store, or one of a registry
    Inspect(inspect::InspectArgs),
    /// Copy a list with its members to another place
    Push(Box<push::PushArgs>),
    /// Remove a member from a list
    Remove(remove::RemoveArgs),
    /// Remove lists
    Rm(rm::RmArgs),
}

impl ManifestArgs {
    /// Where the command works: looking at lists needs no rights.
    pub fn space(&self) -> Space {
        match &self.command {
            ManifestCommand::Exists(_) | ManifestCommand::Inspect(_) => Space::Here,
            ManifestCommand::Add(_)
            | ManifestCommand::Annotate(_)
            | ManifestCommand::Create(_)
            | ManifestCommand::Push(_)
            | ManifestCommand::Remove(_)
            | ManifestCommand::Rm(_) => Space::Owners,
        }
    }
}

/// Carries out what the command line asks for.
pub fn run(args: ManifestArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    match args.command {
        ManifestCommand::Add(args) => add::run(&args, global, world, ui),
        ManifestCommand::Annotate(args) => annotate::run(&args, global, world, ui),
        ManifestCommand::Create(args) => create::run(&args, global, world, ui),
        ManifestCommand::Exists(args) => rm::exists(&args, global, world, ui),
        ManifestCommand::Inspect(args) => inspect::run(&args, global, world, ui),
        ManifestCommand::Push(args) => push::run(&args, global, world, ui),
        ManifestCommand::Remove(args) => remove::run(&args, global, world, ui),
        ManifestCommand::Rm(args) => rm::run(&args, global, world, ui),
    }
}

/// What flags say of one entry.
#[derive(Debug, Clone, Default, clap::Args)]
struct EntryArgs {
    /// Add a remark to the entry
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// The architecture that the list says
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// What the list says of the processor's features
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// The operating system that the list says
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// What the list says of the operating system's features
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// The operating system's version that the list says
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// The processor's variant that the list says
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl EntryArgs {
    fn change(&self) -> Result<EntryChange> {
        let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
        Ok(EntryChange {
            os: text(&self.os),
            architecture: text(&self.arch),
            variant: text(&self.variant),
            os_version: text(&self.os_version),
            os_features: self.os_features.clone(),
            features: self.features.clone(),
            annotations: annotations(&self.annotation)?,
        })
    }

    /// The flags about the platform that are given, as they are written.
    fn of_platform(&self) -> Vec<&'static str> {
        let flags = [
            ("--arch", self.arch.is_some()),
            ("--features", !self.features.is_empty()),
            ("--os", self.os.is_some()),
            ("--os-features", !self.os_features.is_empty()),
            ("--os-version", self.os_version.is_some()),
            ("--variant", self.variant.is_some()),
        ];
        flags
            .into_iter()
            .filter_map(|(flag, given)| given.then_some(flag))
            .collect()
    }
}

/// Reads `NAME=VALUE` remarks.
fn annotations(words: &[String]) -> Result<std::collections::BTreeMap<String, String>> {
    let pair = |word: &String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| anyhow::anyhow!("no \"=\" found in annotation {word:?}"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(pair).collect()
}

/// Refuses too few words as Buildah's flag library does.
fn at_least(count: usize, words: &[String]) -> Result<(), Failure> {
    if words.len() >= count {
        return Ok(());
    }
    let received = words.len();
    Err(anyhow::anyhow!("requires at least {count} arg(s), only received {received}").into())
}

/// The name for a new list: the first that the text could mean in this store.
fn new_name(text: &str, rules: &transfer::NameRules) -> Result<String, Failure> {
    let attempt = || format!("encountered while expanding image name {text:?}");
    let local = host::new_name(text).map_err(|failure| failure.context(attempt()))?;
    let named = rules.for_store(text).with_context(attempt)?;
    Ok(named.first().map_or(local, ToString::to_string))
}

/// Opens the store for a change of lists.
fn open_store(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<Store, Failure> {
    host::open_store_to_write(global, world, ui)
}

//! The commands, one file each: the arguments, whose comments are the help text, and one function.

mod add;
mod build;
mod build_args;
mod build_output;
mod build_result;
mod commit;
pub mod completion;
mod config;
mod containers;
mod copy;
mod copy_args;
mod from;
mod images;
mod info;
mod info_config;
mod inspect;
mod login;
mod logout;
mod manifest;
mod metadata;
mod mount;
pub mod peers;
mod prune;
mod pull;
mod push;
mod rename;
mod rm;
mod rmi;
mod run;
mod source;
mod tag;
mod umount;
mod unshare;
pub mod version;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host::namespace::Space;
use crate::ui::Ui;
use crate::world::World;

/// What was asked for.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Add content to a working container, unpacking local archives
    Add(add::AddArgs),
    /// Build an image from a Containerfile
    #[command(visible_aliases = ["bud", "build-using-dockerfile"])]
    Build(Box<build::BuildArgs>),
    /// Make an image of a working container
    Commit(Box<commit::CommitArgs>),
    /// Print a script that lets a shell complete command lines
    Completion(completion::CompletionArgs),
    /// Change the settings of a working container
    Config(Box<config::ConfigArgs>),
    /// List working containers
    #[command(visible_aliases = ["list", "ls", "ps"])]
    Containers(containers::ContainersArgs),
    /// Copy content into a working container
    Copy(copy::CopyArgs),
    /// Make a working container from an image or from nothing (`scratch`)
    From(Box<from::FromArgs>),
    /// List images in the store
    Images(images::ImagesArgs),
    /// Show the host and the store
    Info(info::InfoArgs),
    /// Show the settings of a working container or an image
    Inspect(inspect::InspectArgs),
    /// Log in to a registry
    Login(login::LoginArgs),
    /// Log out of a registry
    Logout(logout::LogoutArgs),
    /// Put together lists of images for several machines
    Manifest(manifest::ManifestArgs),
    /// Mount the root file systems of working containers
    Mount(mount::MountArgs),
    /// Remove what builds have left behind
    Prune(prune::PruneArgs),
    /// Bring an image into the store
    Pull(Box<pull::PullArgs>),
    /// Write an image to another place
    Push(Box<push::PushArgs>),
    /// Give a working container another name
    Rename(rename::RenameArgs),
    /// Remove working containers
    #[command(visible_alias = "delete")]
    Rm(rm::RmArgs),
    /// Remove images
    Rmi(rmi::RmiArgs),
    /// Run a command in a working container
    Run(Box<run::RunArgs>),
    /// Keep what images were built from in images of its own
    Source(source::SourceArgs),
    /// Give an image further names
    Tag(tag::TagArgs),
    /// Unmount the root file systems of working containers
    #[command(visible_alias = "unmount")]
    Umount(umount::UmountArgs),
    /// Run a command in the user namespace that other commands use without root
    Unshare(unshare::UnshareArgs),
    /// Show the version
    Version(version::VersionArgs),
}

impl Subcommand {
    /// Where the command works. What only reads and writes records of the store, which belong to its
    /// user, and what does not touch it, needs no namespace. A mount must be where others see it.
    pub fn space(&self) -> Space {
        match self {
            Self::Completion(_)
            | Self::Containers(_)
            | Self::Images(_)
            | Self::Inspect(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Mount(_)
            | Self::Tag(_)
            | Self::Version(_) => Space::Here,
            Self::Info(args) => args.space(),
            Self::Manifest(args) => args.space(),
            Self::Source(args) => args.space(),
            Self::Unshare(_) => Space::New,
            Self::Add(_)
            | Self::Build(_)
            | Self::Commit(_)
            | Self::Config(_)
            | Self::Copy(_)
            | Self::From(_)
            | Self::Prune(_)
            | Self::Pull(_)
            | Self::Push(_)
            | Self::Rename(_)
            | Self::Rm(_)
            | Self::Rmi(_)
            | Self::Run(_)
            | Self::Umount(_) => Space::Owners,
        }
    }
}

/// Carries out a command.
pub fn run(
    command: Subcommand,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<(), Failure> {
    match command {
        Subcommand::Add(args) => add::run(&args, global, world, ui),
        Subcommand::Build(args) => build::run(&args, global, world, ui),
        Subcommand::Commit(args) => commit::run(&args, global, world, ui),
        Subcommand::Completion(args) => completion::run(&args, world, ui),
        Subcommand::Config(args) => config::run(*args, global, world, ui),
        Subcommand::Containers(args) => containers::run(&args, global, world, ui),
        Subcommand::Copy(args) => copy::run(&args, global, world, ui),
        Subcommand::From(args) => from::run(*args, global, world, ui),
        Subcommand::Images(args) => images::run(&args, global, world, ui),
        Subcommand::Info(args) => info::run(&args, global, world, ui),
        Subcommand::Login(args) => login::run(&args, global, world, ui),
        Subcommand::Logout(args) => logout::run(&args, global, world, ui),
        Subcommand::Inspect(args) => inspect::run(&args, global, world, ui),
        Subcommand::Manifest(args) => manifest::run(args, global, world, ui),
        Subcommand::Mount(args) => mount::run(&args, global, world, ui),
        Subcommand::Prune(args) => prune::run(&args, global, world, ui),
        Subcommand::Pull(args) => pull::run(&args, global, world, ui),
        Subcommand::Push(args) => push::run(&args, global, world, ui),
        Subcommand::Rename(args) => rename::run(&args, global, world, ui),
        Subcommand::Rm(args) => rm::run(&args, global, world, ui),
        Subcommand::Rmi(args) => rmi::run(&args, global, world, ui),
        Subcommand::Run(args) => run::run(&args, global, world, ui),
        Subcommand::Source(args) => source::run(args, global, world, ui),
        Subcommand::Tag(args) => tag::run(&args, global, world, ui),
        Subcommand::Umount(args) => umount::run(&args, global, world, ui),
        Subcommand::Unshare(args) => unshare::run(&args, global, world, ui),
        Subcommand::Version(args) => version::run(&args, world, ui),
    }
}

//! `source`: images of what an image was built from, in OCI layouts of the host and in registries.

mod add;
mod create;
mod pull;
mod push;

use anyhow::{Context as _, bail};
use model::{Reference, Secret};
use transfer::{CopyOptions, TransportRef};

use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, secret};
use crate::args::go_bool;
use crate::failure::Failure;
use crate::host::copying;
use crate::host::namespace::Space;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `source`.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    #[command(subcommand)]
    command: SourceCommand,
}

/// What is to be done with source images.
#[derive(Debug, clap::Subcommand)]
enum SourceCommand {
    /// Add a file or directory to a source image
    Add(add::AddArgs),
    /// Make a source image
    Create(create::CreateArgs),
    /// Bring a source image of a registry to a path
    Pull(pull::PullArgs),
    /// Write a source image to a registry
    Push(push::PushArgs),
}

impl SourceArgs {
    /// Where the command works: owners of files get into what is added.
    pub fn space(&self) -> Space {
        match &self.command {
            SourceCommand::Add(_) => Space::Owners,
            SourceCommand::Create(_) | SourceCommand::Pull(_) | SourceCommand::Push(_) => {
                Space::Here
            }
        }
    }
}

/// Carries out what the command line asks for.
pub fn run(args: SourceArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    match args.command {
        SourceCommand::Add(args) => add::run(&args, world),
        SourceCommand::Create(args) => create::run(&args, world),
        SourceCommand::Pull(args) => pull::run(&args, global, world, ui),
        SourceCommand::Push(args) => push::run(&args, global, world, ui),
    }
}

/// How the registry of a source image is spoken to.
#[derive(Debug, clap::Args)]
struct RegistryArgs {
    /// Use these credentials
    #[arg(long, value_name = "USER[:PASSWORD]", value_parser = secret)]
    creds: Option<Secret>,
    /// Require HTTPS and check certificates
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    tls_verify: Option<bool>,
}

impl RegistryArgs {
    fn options(&self, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<CopyOptions, Failure> {
        let access = AccessArgs {
            creds: self.creds.clone(),
            tls_verify: self.tls_verify,
            ..AccessArgs::default()
        };
        copying::options(&access, global, world, ui)
    }
}

/// The source image of a registry that a full name stands for.
fn remote(name: &str) -> anyhow::Result<TransportRef> {
    if Reference::is_short(name) && Reference::parse_normalized(name).is_ok() {
        bail!(
            "pulling source images by short name ({name:?}) is not supported, please use a fully-qualified name"
        );
    }
    let parsed = Reference::parse_normalized(name).context("parsing image name")?;
    Ok(TransportRef::Docker(parsed.with_default_tag()))
}

/// The source image at a path of the host, `PATH[:NAME]`.
fn local(path: &str, world: &World) -> anyhow::Result<TransportRef> {
    let path = world.cwd.join(path);
    Ok(TransportRef::parse(&format!("oci:{}", path.display()))?)
}

/// Refuses another number of words than the command takes, as Buildah's flag library does.
fn exactly<const COUNT: usize>(words: &[String]) -> anyhow::Result<&[String; COUNT]> {
    let received = words.len();
    words
        .try_into()
        .map_err(|_| anyhow::anyhow!("accepts {COUNT} arg(s), received {received}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_full_ones() {
        let check = |name: &str, expected: Result<&str, &str>| {
            let found = remote(name).map(|place| place.to_string());
            let found = found.map_err(|error| format!("{error:#}"));
            let found = found.as_ref().map(String::as_str).map_err(String::as_str);
            assert_eq!(found, expected, "{name}");
        };
        check("h.example.com/src", Ok("docker://h.example.com/src:latest"));
        check(
            "localhost:5000/a/b:v1",
            Ok("docker://localhost:5000/a/b:v1"),
        );
        check(
            "foo",
            Err(
                "pulling source images by short name (\"foo\") is not supported, please use a fully-qualified name",
            ),
        );
        check(
            "docker://localhost:5000/foo",
            Err("parsing image name: invalid reference format"),
        );
        check(
            "localhost/Foo",
            Err("parsing image name: invalid reference format: repository name must be lowercase"),
        );
    }
}

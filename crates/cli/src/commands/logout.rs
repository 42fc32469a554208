//! `logout`: kept credentials are removed.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use config::Erased;
use transfer::Verify;

use super::login::auth_flag;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host::account::{Account, Gate, user_and_password};
use crate::host::registries;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// Remove the credentials of all registries
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove the credentials from this file
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Remove the credentials from this file, written as Docker does
    #[arg(long, value_name = "FILE")]
    compat_auth_file: Option<PathBuf>,
    /// The registry, or a namespace or repository in it
    registry: Vec<String>,
}

/// Removes the credentials of one registry or of all. Opens no store.
pub fn run(args: &LogoutArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    match (args.registry.as_slice(), args.all) {
        ([], false) => return Err(anyhow!("registry must be given").into()),
        ([_, _, ..], _) => {
            return Err(anyhow!("too many arguments, logout takes at most 1 argument").into());
        }
        ([_], true) => return Err(anyhow!("--all takes no arguments").into()),
        _ => {}
    }
    let flag = auth_flag(args.authfile.as_ref(), args.compat_auth_file.as_ref())?;
    let files = registries::auth_files(&flag, global, world, ui)?;
    files.check_flag()?;
    let [registry] = args.registry.as_slice() else {
        files.erase_all()?;
        ui.line("Removed login credentials for all registries");
        return Ok(());
    };
    let account = Account::parse(registry)?;
    let key = &account.key;
    let erased = files
        .erase(key)
        .with_context(|| format!("logging out of {key:?}"))?;
    if erased == Erased::Removed {
        ui.line(format_args!("Removed login credentials for {key}"));
        return Ok(());
    }
    // Another tool's credentials that work are no failure, but not ours to remove.
    let lookup = files.lookup_key(key).context("get credentials")?;
    let gate = Gate {
        cert_dir: None,
        verify: Verify::AsConfigured,
        global,
        world,
        ui,
    };
    match user_and_password(lookup.found.as_ref()) {
        Some((user, password)) if gate.check(&account, user, password).is_ok() => {
            ui.line(format_args!(
                "Not logged into {key} with current tool. Existing credentials were established via docker login. Please use docker logout instead."
            ));
            Ok(())
        }
        _ => Err(anyhow!("not logged into {key}").into()),
    }
}

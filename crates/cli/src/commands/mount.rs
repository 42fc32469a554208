//! `mount`: the root file systems of working containers, where everybody sees them.

use builder::container::WorkingContainer;
use serde_json::json;

use crate::args::GlobalArgs;
use crate::failure::{Failure, all_of};
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `mount`.
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The containers; without one, what is mounted is listed
    container: Vec<String>,
}

/// Mounts containers and prints where, or lists what is mounted.
pub fn run(args: &MountArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    refuse_elsewhere(global, world, ui)?;
    if args.container.is_empty() {
        return list(args, global, world, ui);
    }
    let store = if rustix::process::geteuid().is_root() {
        host::open_store_to_write(global, world, ui)?
    } else {
        // What a crash has left may belong to others, and goes with the next command in a namespace.
        host::open_store(global, world, ui)?
    };
    let mut mounted = Vec::new();
    let mut errors = Vec::new();
    for name in &args.container {
        match WorkingContainer::open(&store, name).and_then(|mut container| container.mount()) {
            Ok(path) => mounted.push((name.clone(), path.display().to_string())),
            Err(error) => errors.push(error.into()),
        }
    }
    if args.json {
        let is_alone = args.container.len() == 1;
        let named = mounted
            .iter()
            .map(|(name, path)| ((!is_alone).then_some(name.as_str()), path.as_str()));
        print_json(named, ui);
    } else if let [(_, path)] = mounted.as_slice()
        && args.container.len() == 1
    {
        ui.line(path);
    } else {
        for (name, path) in &mounted {
            ui.line(format_args!("{name} {path}"));
        }
    }
    if let [_] = errors.as_slice()
        && let Some(error) = errors.pop()
    {
        return Err(Failure::from(error));
    }
    all_of(errors)
}

/// A mount that is made in a namespace ends with it, so without root there must be one already. The
/// vfs driver has no mounts.
fn refuse_elsewhere(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let driver = host::settings::store_options(global, world, ui)?
        .driver
        .name;
    match driver.unwrap_or_default().as_str() {
        "vfs" => Ok(()),
        driver => Err(anyhow::anyhow!(
            "cannot mount using driver {driver} in rootless mode. You need to run it in a `buildah unshare` session"
        )
        .into()),
    }
}

fn list(args: &MountArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let store = host::open_store(global, world, ui)?;
    let mut mounted = Vec::new();
    for entry in WorkingContainer::list(&store)? {
        if let Some(state) = entry.state
            && let Some((path, _)) = store.container_mount(&entry.record.id)?
        {
            mounted.push((state.container_name, path.display().to_string()));
        }
    }
    if args.json {
        let named = mounted.iter();
        print_json(
            named.map(|(name, path)| (Some(name.as_str()), path.as_str())),
            ui,
        );
        return Ok(());
    }
    for (name, path) in &mounted {
        ui.line(format_args!("{name} {path}"));
    }
    Ok(())
}

/// Prints names and places; the only container that was asked for needs no name.
fn print_json<'a>(mounted: impl Iterator<Item = (Option<&'a str>, &'a str)>, ui: &Ui) {
    let shown = |(name, path): (Option<&str>, &str)| match name {
        Some(name) => json!({"container": name, "mountPoint": path}),
        None => json!({"mountPoint": path}),
    };
    let list: Vec<_> = mounted.map(shown).collect();
    if list.is_empty() {
        ui.line("null");
    } else {
        ui.line(crate::format::go_indented(&list));
    }
}

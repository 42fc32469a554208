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
    if args.container.is_empty() {
        return list(args, global, world, ui);
    }
    let store = host::open_store_to_write(global, world, ui)?;
    let mut mounted = Vec::new();
    let mut errors = Vec::new();
    for name in &args.container {
        match WorkingContainer::open(&store, name).and_then(|mut container| container.mount()) {
            Ok(path) => mounted.push((name.clone(), path.display().to_string())),
            Err(error) => errors.push(error.into()),
        }
    }
    if args.json {
        print_json(&mounted, ui);
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
        print_json(&mounted, ui);
        return Ok(());
    }
    for (name, path) in &mounted {
        ui.line(format_args!("{name} {path}"));
    }
    Ok(())
}

fn print_json(mounted: &[(String, String)], ui: &Ui) {
    let list: Vec<_> = mounted
        .iter()
        .map(|(name, path)| json!({"container": name, "mountPoint": path}))
        .collect();
    ui.line(crate::format::go_indented(&list));
}

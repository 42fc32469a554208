//! `umount`: takes visible mounts back.

use builder::container::{ContainerError, WorkingContainer};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `umount`.
#[derive(Debug, clap::Args)]
pub struct UmountArgs {
    /// Unmount all working containers
    #[arg(long, short = 'a')]
    all: bool,
    /// The containers
    container: Vec<String>,
}

/// Unmounts containers and prints the identifiers of those that were mounted.
pub fn run(args: &UmountArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    match (args.all, args.container.is_empty()) {
        (false, true) => {
            return Err(anyhow::anyhow!("at least one container ID must be specified").into());
        }
        (true, false) => {
            return Err(anyhow::anyhow!(
                "when using the --all switch, you may not pass any container IDs"
            )
            .into());
        }
        _ => {}
    }
    let store = host::open_store_to_write(global, world, ui)?;
    let wanted: Vec<String> = if args.all {
        let entries = WorkingContainer::list(&store)?;
        entries
            .iter()
            .filter(|entry| entry.state.is_some())
            .map(|entry| entry.record.id.to_string())
            .collect()
    } else {
        args.container.clone()
    };
    let mut errors = Vec::new();
    for name in &wanted {
        if let Err(error) = unmount(&store, name, ui) {
            let error = match error {
                ContainerError::Unknown { .. } => anyhow::anyhow!("container not known"),
                other => other.into(),
            };
            errors.push(error.context(format!("error unmounting container {name}")));
        }
    }
    Err(match ui.all_but_last(errors) {
        Some(error) => error.into(),
        None => return Ok(()),
    })
}

fn unmount(store: &store::Store, name: &str, ui: &Ui) -> Result<(), ContainerError> {
    let mut container = WorkingContainer::open(store, name)?;
    if container.mounted_at()?.is_some() {
        container.unmount()?;
        ui.line(container.id());
    }
    Ok(())
}

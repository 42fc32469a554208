//! `rm`: the end of working containers.

use builder::container::{WorkingContainer, remove_container};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove all working containers
    #[arg(long, short = 'a')]
    all: bool,
    /// The containers
    container: Vec<String>,
}

/// Removes containers and prints their identifiers. One that cannot be removed does not stop
/// the others.
pub fn run(args: &RmArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    match (args.all, args.container.is_empty()) {
        (false, true) => return Err(anyhow::anyhow!("container ID must be specified").into()),
        (true, false) => {
            return Err(anyhow::anyhow!(
                "when using the --all switch, you may not pass any containers names or IDs"
            )
            .into());
        }
        _ => {}
    }
    let store = host::open_store_to_write(global, world, ui)?;
    let wanted: Vec<String> = if args.all {
        let made_here = |entry: &builder::container::ContainerEntry| entry.state.is_some();
        let entries = WorkingContainer::list(&store)?;
        entries
            .iter()
            .filter(|entry| made_here(entry))
            .map(|entry| entry.record.id.to_string())
            .collect()
    } else {
        args.container.clone()
    };
    let mut errors = Vec::new();
    for container in &wanted {
        match remove_container(&store, container) {
            Ok(id) => ui.line(id),
            Err(error) => errors.push(anyhow::Error::from(error)),
        }
    }
    Err(match ui.all_but_last(errors) {
        Some(error) => error.into(),
        None => return Ok(()),
    })
}

//! `manifest rm` and `manifest exists`: whole lists.

use store::{Removal, Removed, Store};
use transfer::{LookupError, NameRules};

use crate::args::GlobalArgs;
use crate::failure::{Failure, all_of};
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The lists
    #[arg(value_name = "LIST")]
    lists: Vec<String>,
}

/// Arguments of `manifest exists`.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: Vec<String>,
}

/// Removes lists; their members stay. One that cannot be removed does not stop the others.
pub fn run(args: &RmArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    super::at_least(1, &args.lists)?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = super::open_store(global, world, ui)?;
    let (mut untagged, mut deleted, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for text in &args.lists {
        match remove(&store, text, &rules) {
            Ok(removed) => {
                untagged.extend(removed.untagged);
                deleted.extend(removed.deleted);
            }
            Err(error) => errors.push(error),
        }
    }
    for name in untagged {
        ui.line(format_args!("untagged: {name}"));
    }
    for list in deleted {
        ui.line(list.image);
    }
    all_of(errors)
}

fn remove(store: &Store, text: &str, rules: &NameRules) -> anyhow::Result<Removed> {
    let found = lists::find(store, text, rules)?;
    let removal = match found.name {
        Some(name) => Removal::Name(name.to_string()),
        None => Removal::Id,
    };
    Ok(store.remove_image(&found.id, &removal)?)
}

/// Says by the exit status whether the store has the list.
pub fn exists(
    args: &ExistsArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<(), Failure> {
    let [text] = args.list.as_slice() else {
        let received = args.list.len();
        return Err(anyhow::anyhow!("accepts 1 arg(s), received {received}").into());
    };
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store(global, world, ui)?;
    match transfer::lookup_image(&*store.images()?, text, &rules) {
        // What is no list is an error, not a list that is missing.
        Ok(_) => return Ok(lists::find(&store, text, &rules).map(drop)?),
        Err(LookupError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Err(Failure {
        error: None,
        hints: Vec::new(),
        status: 1,
    })
}

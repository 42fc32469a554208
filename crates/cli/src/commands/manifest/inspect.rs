//! `manifest inspect`: a list of the store, or one of a registry as it is there.

use anyhow::{Context as _, Result};
use model::{Document, ImageId};
use store::Store;
use transfer::{CopyOptions, CopyScope, NameRules, TransportRef};

use super::artifact;
use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `manifest inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// The list
    #[arg(value_name = "LIST")]
    list: Vec<String>,
}

/// Prints the list of the store that has the name, else that of a registry.
pub fn run(args: &InspectArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    super::at_least(1, &args.list)?;
    let [text] = args.list.as_slice() else {
        return Err(
            anyhow::anyhow!("Only one argument is necessary for inspect: an image name").into(),
        );
    };
    let rules = host::short_names::rules(global, world, ui)?;
    let here = match local(text, &rules, global, world, ui)? {
        Here::List(shown) => {
            ui.line(shown);
            return Ok(());
        }
        Here::Image(kind) => Some(kind),
        Here::Nothing => None,
    };
    let options = CopyOptions {
        scope: CopyScope::Instances(Vec::new()),
        ..host::copying::options(&args.access, global, world, ui)?
    };
    let candidates = rules.for_pull(text).map(|found| found.candidates);
    let candidates = candidates.or_else(|_| rules.for_store(text))?;
    let mut failure = None;
    for name in candidates {
        let place = TransportRef::Docker(name);
        match transfer::look(&place, None, &options) {
            Ok(looked) => match looked.top {
                Document::Index(index) => {
                    ui.line(crate::format::reindented(index.bytes()));
                    return Ok(());
                }
                Document::Manifest(manifest) => {
                    let kind = manifest.format().manifest_type();
                    failure.get_or_insert(not_a_list(kind));
                }
            },
            Err(error) => {
                let attempt = format!("reading image {:?}", place.to_string());
                failure.get_or_insert(anyhow::Error::from(error).context(attempt));
            }
        }
    }
    let failure = failure.context("no registry to ask")?;
    Err(match here {
        Some(kind) => failure.context(not_a_list(&kind)).into(),
        None => failure.into(),
    })
}

fn not_a_list(kind: &str) -> anyhow::Error {
    anyhow::anyhow!("tried manifest is of type {kind} (not a list type)")
}

/// What the store has under a name.
enum Here {
    List(String),
    /// An image that is no list, of this type.
    Image(String),
    Nothing,
}

fn local(
    text: &str,
    rules: &NameRules,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<Here, Failure> {
    let store = host::open_store(global, world, ui)?;
    let found = match transfer::lookup_image(&*store.images()?, text, rules) {
        Ok(found) => found,
        Err(error @ transfer::LookupError::Transport { .. }) => return Err(error.into()),
        Err(error) if error.is_not_found() => return Ok(Here::Nothing),
        Err(error) => return Err(error.into()),
    };
    match shown(&store, &found.image.id)? {
        Some(shown) => Ok(Here::List(shown)),
        None => {
            let manifest = store.image_manifest(&found.image.id)?;
            let kind = match Document::parse(manifest)? {
                Document::Manifest(manifest) => manifest.format().manifest_type(),
                Document::Index(index) => index.index().format().index_type(),
            };
            Ok(Here::Image(kind.to_owned()))
        }
    }
}

/// A list of the store as people see it; `None` for an image of another kind.
pub fn shown(store: &Store, id: &ImageId) -> Result<Option<String>> {
    let Some(list) = store.list(id)? else {
        return Ok(None);
    };
    let shown = list.index.display(&artifact::files(&list.artifacts));
    Ok(Some(String::from_utf8(shown)?))
}

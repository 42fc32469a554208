//! `inspect`: what is known of a working container or an image.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use builder::container::{ContainerError, WorkingContainer};
use serde_json::Value;
use store::Store;
use transfer::NameRules;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::format::inspection::BUILDER_INFO;
use crate::format::template::Template;
use crate::host::{self, lists};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print with a Go template
    #[arg(long, short = 'f', value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look for a container, an image or a manifest list; a container comes first without it
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    kind: Option<String>,
    /// The container or image
    #[arg(value_name = "CONTAINER|IMAGE")]
    name: Vec<String>,
}

/// Prints everything as JSON, or what a template picks.
pub fn run(args: &InspectArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let name = match args.name.as_slice() {
        [name] => name,
        [] => return Err(anyhow::anyhow!("container or image name must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.map(template).transpose()?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store(global, world, ui)?;
    let shown_list = || -> anyhow::Result<String> {
        let found = lists::find(&store, name, &rules)?;
        Ok(super::manifest::shown(&store, &found.id)?.unwrap_or_default())
    };
    let text = match args.kind.as_deref() {
        None => match WorkingContainer::open(&store, name) {
            Ok(container) => container.inspect()?.to_text()?,
            Err(ContainerError::Unknown { .. } | ContainerError::NotABuilder { .. }) => {
                match inspected_image(&store, name, &rules) {
                    Ok(text) => text,
                    // A list without an image for this machine is shown itself.
                    Err(failure) => {
                        ui.line(shown_list().map_err(|_| failure)?);
                        return Ok(());
                    }
                }
            }
            Err(error) => return Err(error.into()),
        },
        Some("container") => match WorkingContainer::open(&store, name) {
            Err(ContainerError::Unknown { .. }) => {
                return Err(anyhow::anyhow!("reading build container: container not known").into());
            }
            found => found?.inspect()?.to_text()?,
        },
        Some("image") => inspected_image(&store, name, &rules)?,
        // Buildah has no template for lists.
        Some("manifest") => {
            ui.line(shown_list()?);
            return Ok(());
        }
        Some(_) => {
            return Err(anyhow::anyhow!(
                "the only recognized types are \"container\", \"image\", and \"manifest\""
            )
            .into());
        }
    };
    match template {
        None => ui.line(text.trim_end()),
        Some(template) => {
            let value: Value = serde_json::from_str(&text)?;
            let shown = template.render(BUILDER_INFO.read(&value))?;
            // Buildah ends the line for a person only; a script gets the bare value.
            if std::io::stdout().is_terminal() {
                ui.line(shown);
            } else {
                ui.out(shown);
            }
        }
    }
    Ok(())
}

fn inspected_image(store: &Store, name: &str, rules: &NameRules) -> Result<String, Failure> {
    let image = host::base_image(store, name, rules)
        .map_err(|failure| failure.context("importing settings"))?;
    Ok(image.inspect()?.to_text()?)
}

/// Parses a template, which must have an action.
pub fn template(format: &str) -> anyhow::Result<Template> {
    let has_action = format
        .find("{{")
        .is_some_and(|at| format[at..].contains("}}"));
    if !has_action {
        anyhow::bail!("invalid format provided: {format}");
    }
    Template::of_one(format).context("Template parsing error")
}

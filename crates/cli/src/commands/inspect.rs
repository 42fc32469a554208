//! `inspect`: what is known of a working container or an image.

use std::io::IsTerminal as _;

use builder::container::{ContainerError, WorkingContainer};
use serde_json::{Value, json};

use crate::args::GlobalArgs;
use crate::failure::Failure;
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
    name: Vec<String>,
}

/// Prints everything as JSON, or what a template picks.
pub fn run(args: &InspectArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let name = match args.name.as_slice() {
        [name] => name,
        [] => return Err(anyhow::anyhow!("container or image name must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let rules = host::short_names::rules(global, world, ui)?;
    let store = host::open_store(global, world, ui)?;
    let text = match args.kind.as_deref() {
        None => match WorkingContainer::open(&store, name) {
            Ok(container) => container.inspect()?.to_text()?,
            Err(ContainerError::Unknown { .. } | ContainerError::NotABuilder { .. }) => {
                let image = host::base_image(&store, name, &rules)
                    .map_err(|failure| failure.context("importing settings"))?;
                image.inspect()?.to_text()?
            }
            Err(error) => return Err(error.into()),
        },
        Some("container") => host::open_container(&store, name)?.inspect()?.to_text()?,
        Some("image") => host::base_image(&store, name, &rules)?
            .inspect()?
            .to_text()?,
        Some("manifest") => {
            let found = lists::find(&store, name, &rules)?;
            super::manifest::shown(&store, &found.id)?.unwrap_or_default()
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
            let mut value: Value = serde_json::from_str(&text)?;
            fill_gaps(&mut value);
            let shown = template.render(&value)?;
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

/// Adds what JSON leaves out when it is empty: a template sees the whole structure.
fn fill_gaps(value: &mut Value) {
    let strings = ["User", "WorkingDir", "StopSignal"];
    let lists = ["Env", "Entrypoint", "Cmd"];
    let maps = ["ExposedPorts", "Volumes", "Labels"];
    for dialect in ["OCIv1", "Docker"] {
        let Some(image) = value.get_mut(dialect).and_then(Value::as_object_mut) else {
            continue;
        };
        for key in ["author", "variant"] {
            image.entry(key).or_insert_with(|| json!(""));
        }
        image.entry("history").or_insert_with(|| json!([]));
        let config = image.entry("config").or_insert_with(|| json!({}));
        let Some(config) = config.as_object_mut() else {
            continue;
        };
        let mut fill = |key: &str, empty: Value| {
            let slot = config.entry(key).or_insert(Value::Null);
            if slot.is_null() {
                *slot = empty;
            }
        };
        strings.iter().for_each(|key| fill(key, json!("")));
        lists.iter().for_each(|key| fill(key, json!([])));
        maps.iter().for_each(|key| fill(key, json!({})));
        if dialect == "Docker" {
            ["Hostname", "Domainname", "Image"]
                .iter()
                .for_each(|key| fill(key, json!("")));
            ["OnBuild", "Shell"]
                .iter()
                .for_each(|key| fill(key, json!([])));
        }
    }
}

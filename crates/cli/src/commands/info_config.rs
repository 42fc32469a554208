//! `info --config`: every setting of the host's configuration files with its effective value, and where it was written.
//!
//! Opens no store: it is asked when something is wrong there.

use std::path::PathBuf;

use config::{AuthFlag, Effective, Files, Origin, Place, Shown, StorageConf};
use serde_json::{Map, Value, json};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::format::template::Template;
use crate::host::{configuration, registries};
use crate::ui::Ui;
use crate::world::World;

/// The settings of one configuration.
struct Section {
    /// Its name, which is that of its main file.
    name: &'static str,
    /// The files that were read.
    files: Vec<PathBuf>,
    /// The settings.
    settings: Vec<Effective>,
}

/// Prints the settings as lines, as JSON, or what a template picks.
pub fn run(
    format: Option<&str>,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<(), Failure> {
    let sections = sections(global, world, ui)?;
    match format {
        None => {
            for section in &sections {
                print_lines(section, ui);
            }
        }
        Some("json") => ui.line(crate::format::go_indented(&as_json(&sections))),
        Some(template) => ui.line(Template::parse(template)?.render(as_json(&sections))?),
    }
    Ok(())
}

fn print_lines(section: &Section, ui: &Ui) {
    let files: Vec<String> = section
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let files = match files.is_empty() {
        true => "no file".to_owned(),
        false => files.join(", "),
    };
    ui.line(format_args!("# {}: {files}", section.name));
    for setting in &section.settings {
        ui.line(format_args!(
            "{} = {}  # {}",
            setting.name, setting.value, setting.place
        ));
    }
}

fn as_json(sections: &[Section]) -> Value {
    let setting = |setting: &Effective| {
        let value = match &setting.value {
            Shown::Text(text) => json!(text),
            Shown::Integer(number) => json!(number),
            Shown::Bool(value) => json!(value),
            Shown::List(items) => json!(items),
            Shown::Unset => Value::Null,
        };
        let entry = json!({"value": value, "origin": setting.place.to_string()});
        (setting.name.clone(), entry)
    };
    let sections = sections.iter().map(|section| {
        let settings: Map<String, Value> = section.settings.iter().map(setting).collect();
        let entry = json!({"files": section.files, "settings": settings});
        (section.name.to_owned(), entry)
    });
    Value::Object(sections.collect())
}

fn sections(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<Vec<Section>, Failure> {
    let roots = configuration::search_roots(world);
    let containers = configuration::containers(world, ui)?;
    let registries_conf = configuration::registries(global, world, ui)?;
    let storage = StorageConf::load(&roots)?;
    configuration::warn(&storage.warnings, ui);
    let registries_d = registries::registries_d(global, world)?;
    configuration::warn(&registries_d.warnings, ui);
    let auth = registries::auth_files(&AuthFlag::Unset, global, world, ui)?;
    let policy = Files::find(&roots, "policy.json").main;
    let mut all = vec![
        Section {
            name: "containers.conf",
            files: containers.files.clone(),
            settings: containers.effective(),
        },
        Section {
            name: "registries.conf",
            files: registries_conf.files().to_vec(),
            settings: registries_conf.effective(),
        },
        Section {
            name: "storage.conf",
            files: storage.files.clone(),
            settings: storage.effective(),
        },
        Section {
            name: "policy.json",
            files: policy.iter().cloned().collect(),
            settings: vec![policy_path(policy, world)],
        },
        Section {
            name: "auth.json",
            files: Vec::new(),
            settings: auth.effective(),
        },
        Section {
            name: "certs.d",
            files: Vec::new(),
            settings: registries::certificates(None, world).effective(),
        },
        Section {
            name: "registries.d",
            files: registries_d.files.clone(),
            settings: registries_d.effective(),
        },
        Section {
            name: "short-name-aliases.conf",
            files: Vec::new(),
            settings: chosen_aliases(global, world)?,
        },
    ];
    for section in &mut all {
        override_by_environment(section, world);
        override_by_flags(section, global);
    }
    Ok(all)
}

fn policy_path(path: Option<PathBuf>, world: &World) -> Effective {
    const VARIABLE: &str = "CONTAINERS_POLICY_JSON";
    let place = match world.var(VARIABLE) {
        Some(_) => Place::Variable(VARIABLE.to_owned()),
        None => Place::Default,
    };
    let value = path.map_or(Shown::Unset, |path| Shown::Text(path.display().to_string()));
    Effective::new("policy.path", Origin { value, place })
}

/// The file of aliases that were chosen at a prompt, and what is in it.
fn chosen_aliases(global: &GlobalArgs, world: &World) -> Result<Vec<Effective>, Failure> {
    let cache = registries::alias_cache(global, world);
    let value = Shown::Text(cache.path().display().to_string());
    let place = match global.short_name_alias_conf {
        Some(_) => Place::Flag("--short-name-alias-conf"),
        None => Place::Default,
    };
    let mut all = vec![Effective::new("aliases.path", Origin { value, place })];
    for (name, alias) in cache.read()?.0 {
        let target = alias
            .map(|target| Shown::Text(target.map(|target| target.to_string()).unwrap_or_default()));
        all.push(Effective::new(format!("aliases.{name}"), target));
    }
    Ok(all)
}

/// Settings that a variable decides outside of the configuration itself.
fn override_by_environment(section: &mut Section, world: &World) {
    const VARIABLES: [(&str, &str); 1] = [("engine.image_copy_tmp_dir", "TMPDIR")];
    for (name, variable) in VARIABLES {
        if let Some(value) = world.var(variable) {
            let place = Place::Variable(variable.to_owned());
            replace(section, name, Shown::Text(value.to_owned()), &place);
        }
    }
}

fn override_by_flags(section: &mut Section, global: &GlobalArgs) {
    let path = |path: &PathBuf| Shown::Text(path.display().to_string());
    let flags = [
        (
            "storage.graphroot",
            "--root",
            global.root.as_ref().map(path),
        ),
        (
            "storage.runroot",
            "--runroot",
            global.runroot.as_ref().map(path),
        ),
        (
            "storage.driver",
            "--storage-driver",
            global.storage_driver.clone().map(Shown::Text),
        ),
        (
            "storage.options",
            "--storage-opt",
            Some(Shown::List(global.storage_opt.clone()))
                .filter(|_| !global.storage_opt.is_empty()),
        ),
    ];
    for (name, flag, value) in flags {
        if let Some(value) = value {
            replace(section, name, value, &Place::Flag(flag));
        }
    }
}

fn replace(section: &mut Section, name: &str, value: Shown, place: &Place) {
    if let Some(setting) = section.settings.iter_mut().find(|one| one.name == name) {
        setting.value = value;
        setting.place = place.clone();
    }
}

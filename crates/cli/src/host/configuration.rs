//! The host's configuration files, each read when it is first needed and then kept.

use std::path::{Path, PathBuf};

use config::{
    ContainersConf, ContainersTable, MainFile, Origin, RegistriesConf, SearchRoots, StorageConf,
    Warning,
};

use crate::args::GlobalArgs;
use crate::failure::{Failure, in_go_words};
use crate::ui::{Level, Ui};
use crate::world::World;

/// The status with which the Go tools end when they cannot read `containers.conf`.
const BAD_CONTAINERS_CONF: u8 = 1;

/// Where files are looked for.
pub fn search_roots(world: &World) -> SearchRoots {
    let home = world.var("HOME").unwrap_or("/");
    SearchRoots::new(Path::new(home), world.uid, world.env.clone())
}

/// `containers.conf`. A file that cannot be read ends every command, before it has begun.
pub fn containers<'a>(world: &'a World, ui: &Ui) -> Result<&'a ContainersConf, Failure> {
    let kept = &world.configuration.containers;
    if let Some(conf) = kept.get() {
        return Ok(conf);
    }
    match ContainersConf::load(&search_roots(world)) {
        Ok(conf) => {
            warn(&conf.warnings, ui);
            warn(&without_effect(&conf.containers), ui);
            Ok(kept.get_or_init(|| conf))
        }
        Err(error) => {
            ui.log(Level::Error, &in_go_words(&error.into()));
            Err(Failure {
                error: None,
                hints: Vec::new(),
                status: BAD_CONTAINERS_CONF,
            })
        }
    }
}

/// What `[containers]` asks for and no step gets.
fn without_effect(containers: &ContainersTable) -> Vec<Warning> {
    let users = containers.userns.clone();
    let wanted = [
        ("userns", users.map(|mode| !matches!(&*mode, "" | "host"))),
        (
            "container_name_as_hostname",
            containers.container_name_as_hostname.clone(),
        ),
    ];
    let warning = |(name, set): (&str, Origin<bool>)| Warning {
        place: set.place,
        text: format!("this value of `containers.{name}` is not supported yet"),
    };
    let wanted = wanted.into_iter().filter(|(_, set)| set.value);
    wanted.map(warning).collect()
}

/// `registries.conf`, or what the command line names in its place.
pub fn registries<'a>(
    global: &GlobalArgs,
    world: &'a World,
    ui: &Ui,
) -> Result<&'a RegistriesConf, Failure> {
    let kept = &world.configuration.registries;
    if let Some(conf) = kept.get() {
        return Ok(conf);
    }
    let roots = search_roots(world);
    let named = match &global.registries_conf {
        Some(path) => Some(world.cwd.join(path)),
        None => of_the_store(&roots),
    };
    let main = named.as_deref().map_or(MainFile::Found, MainFile::Named);
    let conf = RegistriesConf::load(&roots, main)?;
    warn(&conf.warnings, ui);
    Ok(kept.get_or_init(|| conf))
}

/// `storage.conf`.
pub fn storage<'a>(world: &'a World, ui: &Ui) -> Result<&'a StorageConf, Failure> {
    let kept = &world.configuration.storage;
    if let Some(conf) = kept.get() {
        return Ok(conf);
    }
    let conf = StorageConf::load(&search_roots(world))?;
    warn(&conf.warnings, ui);
    Ok(kept.get_or_init(|| conf))
}

/// The file that a user without root may have beside the store.
fn of_the_store(roots: &SearchRoots) -> Option<PathBuf> {
    if !roots.is_user() || roots.variable("CONTAINERS_REGISTRIES_CONF").is_some() {
        return None;
    }
    let store = StorageConf::load(roots).ok()?.graph_root.value;
    Some(store.join("registries.conf")).filter(|path| path.exists())
}

/// Tells what has no effect.
pub fn warn(warnings: &[Warning], ui: &Ui) {
    for warning in warnings {
        ui.warn(&warning.to_string());
    }
}

/// Adds what `containers.conf` has for the tool's own environment, where it is not set.
pub fn add_environment(mut world: World, ui: &Ui) -> Result<World, Failure> {
    let additions = containers(&world, ui)?.engine.env.value.clone();
    for addition in additions {
        if let Some((name, value)) = addition.split_once('=') {
            let entry = world.env.entry(name.to_owned());
            entry.or_insert_with(|| value.to_owned());
        }
    }
    Ok(world)
}

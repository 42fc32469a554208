//! The namespaces of processes: what flags say on top of what a container remembers or the host's
//! configuration has.

use std::path::Path;

use anyhow::{Context as _, Result};
use builder::namespaces::{NamespaceKind, NamespaceOptions};
use config::{Origin, Place};
use runtime::{Namespace, RootChange};

use crate::args::namespaces::NamespaceArgs;
use crate::world::World;

/// What a new container has before flags: what containers.conf says. A kind of which nobody says
/// anything is the container's own, but for control groups of the first version, which have always been
/// the host's.
pub fn configured(world: &World) -> NamespaceOptions {
    let containers = &world.configuration.containers().containers;
    let mut options = NamespaceOptions::default();
    for (kind, set) in [
        (NamespaceKind::Cgroup, &containers.cgroupns),
        (NamespaceKind::Ipc, &containers.ipcns),
        (NamespaceKind::Network, &containers.netns),
        (NamespaceKind::Pid, &containers.pidns),
        (NamespaceKind::Uts, &containers.utsns),
    ] {
        options.set(kind, &of_configuration(kind, set));
    }
    options
}

fn of_configuration(kind: NamespaceKind, set: &Origin<String>) -> Namespace {
    let by_default = set.place == Place::Default;
    let first_version = !Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    match set.value.as_str() {
        "host" => Namespace::Host,
        _ if kind == NamespaceKind::Cgroup && by_default && first_version => Namespace::Host,
        _ => Namespace::Private,
    }
}

/// How roots change: as a flag or the environment has it.
pub fn root_change(no_pivot: bool, world: &World) -> RootChange {
    let set = world
        .var("BUILDAH_NOPIVOT")
        .is_some_and(|value| !value.is_empty());
    match no_pivot || set {
        true => RootChange::Chroot,
        false => RootChange::Pivot,
    }
}

/// Lays the flags over `options`.
pub fn choose(
    args: &NamespaceArgs,
    mut options: NamespaceOptions,
    world: &World,
) -> Result<NamespaceOptions> {
    for (kind, flag) in [
        (NamespaceKind::Cgroup, &args.cgroupns),
        (NamespaceKind::Ipc, &args.ipc),
        (NamespaceKind::Pid, &args.pid),
        (NamespaceKind::Uts, &args.uts),
    ] {
        if let Some(word) = flag {
            options.set(kind, &mode(kind, word, &world.cwd)?);
        }
    }
    Ok(options)
}

/// Reads the word of a flag; a path must exist.
fn mode(kind: NamespaceKind, word: &str, cwd: &Path) -> Result<Namespace> {
    match word {
        "" | "container" | "private" => Ok(Namespace::Private),
        "host" => Ok(Namespace::Host),
        path => {
            let path = path.strip_prefix("ns:").unwrap_or(path);
            let file = cwd.join(path);
            std::fs::metadata(&file)
                .with_context(|| format!("faccessat {path}"))
                .with_context(|| format!("checking {} namespace", kind.name()))?;
            Ok(Namespace::Path(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn words_of_flags() {
        let check = |word: &str, expected: Option<Namespace>| {
            let found = mode(NamespaceKind::Ipc, word, Path::new("/proc/self"));
            assert_eq!(found.ok(), expected, "{word}");
        };
        let path = |text: &str| Some(Namespace::Path(PathBuf::from(text)));
        check("", Some(Namespace::Private));
        check("private", Some(Namespace::Private));
        check("container", Some(Namespace::Private));
        check("host", Some(Namespace::Host));
        check("/proc/self/ns/ipc", path("/proc/self/ns/ipc"));
        check("ns:/proc/self/ns/ipc", path("/proc/self/ns/ipc"));
        check("ns/ipc", path("/proc/self/ns/ipc"));
        check("shareable", None);
        check("ns:/no/such", None);
    }

    #[test]
    fn words_of_the_configuration() {
        let written = Place::Variable("CONTAINERS_CONF".to_owned());
        let check = |kind, value: &str, expected: Namespace| {
            let set = Origin {
                value: value.to_owned(),
                place: written.clone(),
            };
            assert_eq!(of_configuration(kind, &set), expected, "{value}");
        };
        check(NamespaceKind::Ipc, "host", Namespace::Host);
        check(NamespaceKind::Ipc, "shareable", Namespace::Private);
        check(NamespaceKind::Cgroup, "private", Namespace::Private);
        check(NamespaceKind::Cgroup, "host", Namespace::Host);
    }
}

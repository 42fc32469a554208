//! The namespaces of a run, opened.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::RunError;
use crate::spec::{Namespace, Namespaces, Network, RunSpec};

/// Where the host has its control groups.
pub(crate) const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Kind of a file system of control groups, version 2, as statfs(2) has it.
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Opens what a run joins.
pub(crate) fn open(spec: &RunSpec<'_>) -> Result<sys::launch::Namespaces, RunError> {
    let Namespaces {
        cgroup,
        ipc,
        pid,
        uts,
    } = &spec.namespaces;
    Ok(sys::launch::Namespaces {
        cgroup: opened(cgroup)?,
        ipc: opened(ipc)?,
        network: match spec.network {
            Network::Host => sys::launch::Namespace::Shared,
            Network::None => sys::launch::Namespace::New,
            Network::Joined(namespace) => {
                let copy = namespace.try_clone_to_owned();
                sys::launch::Namespace::Joined(
                    copy.map_err(|source| RunError::NetworkNamespace { source })?,
                )
            }
        },
        pid: opened(pid)?,
        uts: opened(uts)?,
        user: match &spec.user_namespace {
            Some(users) => {
                let failed = |source| RunError::Namespace {
                    path: "/proc/self/fd".into(),
                    source,
                };
                Some(users.handle.try_clone().map_err(failed)?)
            }
            None => None,
        },
    })
}

fn opened(wanted: &Namespace) -> Result<sys::launch::Namespace, RunError> {
    let path = match wanted {
        Namespace::Private => return Ok(sys::launch::Namespace::New),
        Namespace::Host => return Ok(sys::launch::Namespace::Shared),
        Namespace::Path(path) => path,
    };
    let failed = |source: io::Error| RunError::Namespace {
        path: PathBuf::from(path),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    Ok(sys::launch::Namespace::Joined(file.into()))
}

/// Says whether the host has control groups of version 2 only, whose tree looks different from each
/// namespace.
pub(crate) fn has_control_groups_2() -> bool {
    statfs(Path::new(CONTROL_GROUPS)).is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC)
}

//! `run`: one process in a container's root, with the user, the environment and the mounts that an
//! image's configuration and a request ask for.
//!
//! Names are resolved and files are made here; the process itself is [`runtime`]'s. What the step
//! leaves in the root is only what the process wrote, and the working directory. Whether and how
//! the history tells of it is the caller's.

mod agent;
mod cache;
mod env;
mod error;
mod files;
mod isolation;
mod mounts;
mod ownership;
mod request;
mod size;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

use runtime::{IdMaps, MountKind, MountPlan, Output, RunSpec, Stdin, Stop, UserNamespace, network};
use rustix::fs::{Gid, Mode, Uid};
use store::{RootMount, Store};
use sys::making::MakingAs;

pub use cache::CacheError;
pub use env::{DEFAULT_PATH, Environment};
pub use error::StepError;
pub use files::{
    EtcFiles, HOST_NAMES, HostAddress, HostEntry, HostEntryError, HostsFile, ResolvConf,
    SecretBytes, container_env_text,
};
pub use isolation::{Isolation, UnknownIsolation};
pub use ownership::Ownership;
pub use request::{
    Access, AddedGroups, AgentMount, BindMount, CacheMount, Command, HostFile, MountSource,
    Restrict, RunMount, RunRequest, SecretMount, Sharing, TmpfsMount, UpperDirs, VolumeChanges,
    VolumeMount, capability_names, capability_set,
};
pub use size::{SizeError, parse_size};
pub use sys::mount::{Depth, Propagation};

use crate::passwd::{Accounts, RunUser};
use mounts::Mounter;

/// Where a step runs.
#[derive(Debug, Clone, Copy)]
pub struct RunPlace<'a> {
    /// The container's root file system.
    pub root: &'a RootMount,
    /// The store, for directories that end with the step.
    pub store: &'a Store,
    /// Directory of the caches, made when it is missing.
    pub caches: &'a Path,
    /// Where networks come from.
    pub networks: &'a network::Pool,
}

/// What is to be told after a step that succeeded.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Limits that the host did not allow and that were set lower.
    pub lowered: Vec<runtime::Lowered>,
    /// Why places to mount on could not all be taken away again.
    pub left_behind: Option<std::io::Error>,
    /// What could not be done about the control group.
    pub control_group: Option<runtime::ControlGroupError>,
}

impl RunReport {
    /// Says what could not be done about the control group, in one line.
    #[must_use]
    pub fn not_limited(&self) -> Option<String> {
        let error = self.control_group.as_ref()?;
        let cause = std::error::Error::source(error);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        Some(match error {
            runtime::ControlGroupError::Remove { .. } => format!("{error}{cause}"),
            _ => format!("the limits of the process do not hold: {error}{cause}"),
        })
    }
}

/// Runs a step and waits for its end. Afterwards none of its processes is left and nothing is
/// mounted, whatever the result.
///
/// # Errors
/// [`StepError::Status`] and [`StepError::Signal`] when the process failed; everything else when it
/// was not started or had to be killed.
pub fn run(
    place: RunPlace<'_>,
    request: &RunRequest<'_>,
    stdin: Stdin,
    output: Output<'_>,
    stop: &Stop,
) -> Result<RunReport, StepError> {
    let root = place.root.root();
    let user = Accounts::read(root)?.run_user(&request.user)?;
    let users = request.user_namespace.as_ref();
    let users = users.map(UserNamespace::try_clone).transpose();
    let users = users.map_err(StepError::UserNamespace)?;
    let maps = users.as_ref().map(|users| users.maps.clone());
    let maps = maps.unwrap_or_default();
    make_dir(root, &request.working_dir, (user.uid, user.gid), &maps).map_err(|source| {
        let path = request.working_dir.clone();
        StepError::WorkingDir { path, source }
    })?;
    for path in &request.volumes {
        make_volume(root, path, &maps).map_err(|source| StepError::Volume {
            path: path.clone(),
            source,
        })?;
    }
    let mut mounter = Mounter {
        store: place.store,
        root,
        user: maps.outside((user.uid, user.gid)),
        caches: place.caches,
        working_dir: &request.working_dir,
        maps: &maps,
        kept: mounts::Kept::default(),
    };
    let link = place.networks.take(&request.network);
    let link = link.map_err(StepError::Network)?;
    // A step's own mounts come last and so lie on top of the general ones.
    let mut plans = etc_plans(request.etc.list(link.view(), &request.hostname));
    for file in &request.host_files {
        plans.push(mounter.host_file(file)?);
    }
    if request.volume_changes == VolumeChanges::Dropped {
        for path in &request.volumes {
            plans.extend(mounter.copy_of_volume(path)?);
        }
    }
    for mount in &request.mounts {
        plans.extend(mounter.plan(mount)?);
    }
    let spec = RunSpec {
        env: environment(request, &user),
        cwd: request.working_dir.clone(),
        user: runtime::User {
            uid: user.uid,
            gid: user.gid,
            groups: groups(user.groups, &request.groups),
        },
        mounts: plans,
        devices: request.devices.clone(),
        network: link.network(),
        namespaces: request.namespaces.clone(),
        user_namespace: users,
        root_change: request.root_change,
        hostname: Some(request.hostname.clone()).filter(|name| !name.is_empty()),
        capabilities: request.capabilities,
        seccomp: request.seccomp.clone(),
        privileges: request.privileges,
        limits: request.limits.clone(),
        control_group: request.control_group.clone(),
        shm_size: request.shm_size,
        ..RunSpec::new(root_source(place.root), arguments(&request.command))
    };
    let finished = runtime::run(spec, stdin, output, stop)?;
    drop(mounter);
    let networks = place.networks;
    networks.give_back(&request.network, link, request.capabilities);
    match finished.exit {
        runtime::Exit::Code(0) => Ok(RunReport {
            lowered: finished.lowered,
            left_behind: finished.left_behind,
            control_group: finished.control_group,
        }),
        runtime::Exit::Code(status) => Err(StepError::Status { status }),
        runtime::Exit::Signal(signal) => Err(StepError::Signal { signal }),
    }
}

fn root_source(root: &RootMount) -> runtime::RootSource<'_> {
    match root.source() {
        store::RootSource::Detached(mount) => runtime::RootSource::Mount(mount),
        store::RootSource::Directory(_) => runtime::RootSource::Directory(root.as_fd()),
    }
}

/// The groups of the user with those that are added, in order and each once.
fn groups(mut own: Vec<u32>, added: &AddedGroups) -> runtime::Groups {
    match added {
        AddedGroups::Callers => runtime::Groups::Callers,
        AddedGroups::Ids(more) => {
            own.extend(more);
            own.sort_unstable();
            own.dedup();
            runtime::Groups::These(own)
        }
    }
}

fn arguments(command: &Command) -> Vec<OsString> {
    command
        .arguments()
        .into_iter()
        .map(OsString::from)
        .collect()
}

fn environment(request: &RunRequest<'_>, user: &RunUser) -> Vec<OsString> {
    let defaults = env::Defaults {
        home: &user.home,
        hostname: &request.hostname,
        term: request.term.as_deref(),
    };
    let mut environment = request.environment.clone();
    for mount in &request.mounts {
        if let RunMount::Secret(SecretMount {
            env: Some(name),
            value,
            ..
        }) = mount
        {
            let value = String::from_utf8_lossy(&value.0).into_owned();
            environment.secrets.push((name.clone(), value));
        }
    }
    let mut agents = request.mounts.iter().filter_map(|mount| match mount {
        RunMount::Agent(agent) => Some(agent),
        _ => None,
    });
    if let Some(first) = agents.next() {
        let socket = mounts::absolute(&request.working_dir, &first.target);
        let socket = socket.to_string_lossy().into_owned();
        environment
            .secrets
            .push(("SSH_AUTH_SOCK".to_owned(), socket));
    }
    environment
        .assemble(defaults)
        .into_iter()
        .map(OsString::from)
        .collect()
}

/// Makes what is missing of a directory, for `owner` of the container.
fn make_dir(
    root: &sys::Root,
    path: &Path,
    owner: (u32, u32),
    maps: &IdMaps,
) -> std::io::Result<()> {
    let maker = (!maps.is_empty()).then(|| maps.outside((0, 0)));
    let _making = maker.map(MakingAs::new).transpose()?;
    let owner = maps.outside(owner);
    let mut made = Vec::new();
    root.make_dirs_listed(path, Mode::from_raw_mode(0o755), &mut made)?;
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    for sys::Made { parent, name } in made {
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)?;
    }
    Ok(())
}

/// Makes the directory of a volume, unless something else is there, which can be mounted on, too.
fn make_volume(root: &sys::Root, path: &Path, maps: &IdMaps) -> std::io::Result<()> {
    match root.resolve(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_dir(root, path, (0, 0), maps)
        }
        other => other.map(drop),
    }
}

fn etc_plans(files: Vec<(&'static str, String)>) -> Vec<MountPlan> {
    let plan = |(target, text): (&str, String)| MountPlan {
        target: target.into(),
        kind: MountKind::File {
            content: text.into_bytes(),
            mode: 0o644,
            owner: (0, 0),
            access: runtime::Access::ReadWrite,
        },
    };
    files.into_iter().map(plan).collect()
}

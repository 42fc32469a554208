//! From a [`RunSpec`] to the launcher's [`Plan`]: everything that can be done outside is.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use sys::Root;
use sys::launch::{
    Controlling, Instruction, KernelFs, Limit, Links, MAX_PATH, MountStep, Plan, TargetKind,
};
use sys::mount::{Depth, MountFlags};

use crate::control_group::Group;
use crate::devices::{Dev, dev};
use crate::flags::{access_flags, kernel_flags, quiet, restrict};
use crate::limit::Ceiling;
use crate::namespaces::{self, CONTROL_GROUPS};
use crate::owners::Owners;
use crate::points::MountPoints;
use crate::seccomp::Profile;
use crate::spec::{Groups, MountKind, MountPlan, Namespace, RunSpec, SeccompChoice};
use crate::surroundings::Surroundings;
use crate::{Lowered, RunError};

/// Group of terminals, `tty` by convention.
const TTY_GROUP: u32 = 5;
/// Most mounts of one run.
pub const MAX_MOUNTS: usize = 1000;
/// What [`prepare`] gives back besides the plan.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) points: MountPoints,
    pub(crate) lowered: Vec<Lowered>,
    /// The container's own terminals, for opening one.
    pub(crate) terminals: Option<OwnedFd>,
}

/// Builds the plan. `stdio` and `terminal` are set by the caller, who knows where output goes.
pub(crate) fn prepare(
    mut spec: RunSpec<'_>,
    group: &mut Group,
    stdio: [OwnedFd; 3],
    around: &Surroundings,
) -> Result<Prepared, RunError> {
    if spec.mounts.len() > MAX_MOUNTS {
        return Err(RunError::TooManyMounts);
    }
    let root = sys::mount::bind_detached(spec.root.fd(), Depth::One)
        .map_err(|source| RunError::Root { source })?;
    let inside = Root::from_fd(
        spec.root
            .fd()
            .try_clone_to_owned()
            .map_err(|source| RunError::Root { source })?,
    );
    let owners = Owners::of(spec.user_namespace.as_ref());
    let points = MountPoints::new(inside, owners.root());
    let mut mounts = Mounts::new(points, owners, &spec.mounts);
    let terminals = mounts.usual(&spec, around)?;
    mounts.own_groups(group)?;
    mounts.own(std::mem::take(&mut spec.mounts))?;
    mounts.restrict(&spec)?;
    let Mounts {
        points,
        steps,
        files,
        ..
    } = mounts;
    let (limits, lowered) = limits(&spec.limits, around);
    let effective = spec.capabilities.bits() & permitted()?;
    let plan = Plan {
        control_groups: group.entrances(),
        namespaces: namespaces::open(&spec)?,
        root,
        root_change: spec.root_change,
        files: files.map(|files| files.mount),
        mask_dir: mask_dir().map_err(|source| RunError::Mount {
            target: "masks".into(),
            source,
        })?,
        mask_file: c"/dev/null".to_owned(),
        mounts: steps,
        hostname: spec
            .hostname
            .clone()
            .filter(|_| spec.namespaces.uts == Namespace::Private)
            .map(|name| string(name.into()))
            .transpose()?,
        stdio,
        terminal: Controlling::None,
        limits,
        umask: spec.umask,
        cwd: path_string(&spec.cwd)?,
        uid: spec.user.uid,
        gid: spec.user.gid,
        groups: groups(&spec.user.groups, owners, around),
        bounding: spec.capabilities.bits(),
        effective,
        last_capability: last_capability(),
        privileges: spec.privileges,
        seccomp: filter(&spec)?,
        programs: programs(&spec)?,
        args: spec
            .args
            .iter()
            .cloned()
            .map(string)
            .collect::<Result<_, _>>()?,
        env: spec
            .env
            .iter()
            .cloned()
            .map(string)
            .collect::<Result<_, _>>()?,
    };
    Ok(Prepared {
        plan,
        points,
        lowered,
        terminals,
    })
}

/// Files with given content, in one file system in memory.
struct Files {
    mount: OwnedFd,
    count: usize,
}

/// The mounts of a run, in the making.
struct Mounts<'a> {
    points: MountPoints,
    owners: Owners<'a>,
    steps: Vec<MountStep>,
    files: Option<Files>,
    /// Targets of the caller's own mounts, which replace ours.
    taken: Vec<PathBuf>,
    /// Targets of earlier steps; what lies below them is made by the child.
    covered: Vec<PathBuf>,
}

impl<'a> Mounts<'a> {
    fn new(points: MountPoints, owners: Owners<'a>, own: &[MountPlan]) -> Self {
        let taken = own.iter().map(|mount| clean(&mount.target)).collect();
        Self {
            points,
            owners,
            steps: Vec::new(),
            files: None,
            taken,
            covered: Vec::new(),
        }
    }

    fn is_taken(&self, target: &str) -> bool {
        self.taken.iter().any(|own| own == Path::new(target))
    }

    fn point(&mut self, target: &Path, kind: TargetKind, links: Links) -> Result<(), RunError> {
        if !self.covered.iter().any(|above| target.starts_with(above)) {
            self.points
                .ensure(target, kind, links)
                .map_err(|source| RunError::MountPoint {
                    target: target.to_owned(),
                    source,
                })?;
        }
        self.covered.push(target.to_owned());
        Ok(())
    }

    /// Adds what every container has. Returns its terminals.
    fn usual(
        &mut self,
        spec: &RunSpec<'_>,
        around: &Surroundings,
    ) -> Result<Option<OwnedFd>, RunError> {
        self.kernel("/proc", KernelFs::Proc, around)?;
        let owners = self.owners;
        let mut nodes = Vec::new();
        self.attach("/dev", Links::Refuse, || {
            let Dev {
                mount,
                nodes: bound,
            } = dev(&spec.devices, owners)?;
            nodes = bound;
            Ok(mount)
        })?;
        for (name, mount) in nodes {
            self.steps.push(MountStep::Attach {
                mount,
                target: path_string(&Path::new("/dev").join(name))?,
                kind: TargetKind::File,
                links: Links::Refuse,
            });
        }
        let mut terminals = None;
        self.attach("/dev/pts", Links::Refuse, || {
            let mount = devpts(around, owners)?;
            terminals = Some(mount.try_clone()?);
            Ok(mount)
        })?;
        self.attach("/dev/shm", Links::Refuse, || {
            tmpfs(Some(spec.shm_size), 0o1777, quiet(), owners)
        })?;
        self.kernel("/dev/mqueue", KernelFs::Mqueue, around)?;
        self.kernel("/sys", KernelFs::Sysfs, around)?;
        if Path::new(CONTROL_GROUPS).is_dir() && !self.is_taken("/sys") {
            let own = spec.namespaces.cgroup != Namespace::Host;
            if own && namespaces::has_control_groups_2() {
                self.kernel(CONTROL_GROUPS, KernelFs::Cgroup2, around)?;
            } else {
                self.attach(CONTROL_GROUPS, Links::Refuse, control_groups)?;
            }
        }
        Ok(terminals)
    }

    /// Shows the run's own control group, in the first version, where that of the host would be.
    fn own_groups(&mut self, group: &Group) -> Result<(), RunError> {
        if self.is_taken("/sys") || self.is_taken(CONTROL_GROUPS) {
            return Ok(());
        }
        for (mount, directory) in group.views() {
            let Some(target) = mount.to_str().filter(|_| mount.starts_with(CONTROL_GROUPS)) else {
                continue;
            };
            self.attach(target, Links::Refuse, || {
                let view = sys::mount::bind_detached(directory, Depth::One)?;
                restrict(view, quiet() | MountFlags::MOUNT_ATTR_RDONLY, Depth::One)
            })?;
        }
        Ok(())
    }

    /// Adds the paths that are read-only or hidden, after every mount.
    fn restrict(&mut self, spec: &RunSpec<'_>) -> Result<(), RunError> {
        for path in &spec.read_only {
            self.steps.push(MountStep::ReadOnly {
                target: path_string(path)?,
            });
        }
        for path in &spec.masked {
            self.steps.push(MountStep::Mask {
                target: path_string(path)?,
            });
        }
        Ok(())
    }

    fn kernel(
        &mut self,
        target: &str,
        fs: KernelFs,
        around: &Surroundings,
    ) -> Result<(), RunError> {
        if self.is_taken(target) {
            return Ok(());
        }
        let path = Path::new(target);
        self.point(path, TargetKind::Directory, Links::Refuse)?;
        let instead = around.instead_of(fs).map_err(|source| RunError::Mount {
            target: path.to_owned(),
            source,
        })?;
        self.steps.push(MountStep::Kernel {
            fs,
            target: path_string(path)?,
            flags: kernel_flags(fs).bits(),
            instead,
        });
        Ok(())
    }

    fn attach(
        &mut self,
        target: &str,
        links: Links,
        make: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<(), RunError> {
        if self.is_taken(target) {
            return Ok(());
        }
        let path = Path::new(target);
        self.point(path, TargetKind::Directory, links)?;
        let mount = make().map_err(|source| RunError::Mount {
            target: path.to_owned(),
            source,
        })?;
        let (kind, target) = (TargetKind::Directory, path_string(path)?);
        self.steps.push(MountStep::Attach {
            mount,
            target,
            kind,
            links,
        });
        Ok(())
    }

    /// Adds the caller's mounts, parents first.
    fn own(&mut self, mut own: Vec<MountPlan>) -> Result<(), RunError> {
        for mount in &mut own {
            mount.target = clean(&mount.target);
        }
        own.sort_by_key(|mount| mount.target.components().count());
        for MountPlan { target, kind } in own {
            let failed = |source| RunError::Mount {
                target: target.clone(),
                source,
            };
            let step = match kind {
                MountKind::File {
                    content,
                    mode,
                    owner,
                    access,
                } => {
                    let name = self.file(&content, mode, owner).map_err(failed)?;
                    let flags = u64::from(access_flags(access).bits());
                    MountStep::File {
                        name,
                        target: path_string(&target)?,
                        flags,
                    }
                }
                MountKind::Bind {
                    source,
                    access,
                    flags,
                    depth,
                } => {
                    let mount = sys::mount::bind_detached(source.as_fd(), depth)
                        .and_then(|mount| restrict(mount, access_flags(access) | flags, depth))
                        .map_err(failed)?;
                    attach_step(mount, &target)?
                }
                MountKind::Tmpfs {
                    size,
                    mode,
                    access,
                    flags,
                } => {
                    let flags = access_flags(access) | flags;
                    let mount = tmpfs(size, mode, flags, self.owners).map_err(failed)?;
                    attach_step(mount, &target)?
                }
                MountKind::Detached(mount) => attach_step(mount, &target)?,
            };
            let kind = match &step {
                MountStep::Attach { kind, .. } => *kind,
                _ => TargetKind::File,
            };
            self.point(&target, kind, Links::Follow)?;
            self.steps.push(step);
        }
        Ok(())
    }

    fn file(&mut self, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<CString> {
        let files = match self.files.take() {
            Some(files) => files,
            None => Files {
                // A file's own mode says whether it can be executed: a program in a
                // here-document is such a file.
                mount: {
                    let flags = quiet() - MountFlags::MOUNT_ATTR_NOEXEC;
                    tmpfs(None, 0o755, flags, self.owners)?
                },
                count: 0,
            },
        };
        let name = files.count.to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&files.mount, &name, flags, Mode::from_raw_mode(0o600))?;
        io::Write::write_all(&mut std::fs::File::from(file.try_clone()?), content)?;
        let owner = self.owners.here(owner);
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        self.files = Some(Files {
            mount: files.mount,
            count: files.count + 1,
        });
        Ok(CString::new(name)?)
    }
}

fn attach_step(mount: OwnedFd, target: &Path) -> Result<MountStep, RunError> {
    let failed = |source: io::Error| RunError::Mount {
        target: target.to_owned(),
        source,
    };
    let stat = rustix::fs::fstat(&mount).map_err(|errno| failed(errno.into()))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => TargetKind::Directory,
        _ => TargetKind::File,
    };
    Ok(MountStep::Attach {
        mount,
        target: path_string(target)?,
        kind,
        links: Links::Follow,
    })
}

fn tmpfs(
    size: Option<u64>,
    mode: u32,
    flags: MountFlags,
    owners: Owners<'_>,
) -> io::Result<OwnedFd> {
    let (uid, gid) = owners.here((0, 0));
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let mode = format!("{mode:o}");
    let size = size.map(|size| size.to_string());
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.as_deref().map(|size| ("size", size)));
    if owners.root().is_some() {
        options.extend([("uid", uid.as_str()), ("gid", gid.as_str())]);
    }
    sys::mount::tmpfs_detached(&options, flags)
}

fn mask_dir() -> io::Result<OwnedFd> {
    let flags = quiet() | MountFlags::MOUNT_ATTR_RDONLY;
    sys::mount::tmpfs_detached(&[("mode", "755"), ("size", "0"), ("nr_inodes", "1")], flags)
}

fn devpts(around: &Surroundings, owners: Owners<'_>) -> io::Result<OwnedFd> {
    let flags = MountFlags::MOUNT_ATTR_NOSUID | MountFlags::MOUNT_ATTR_NOEXEC;
    let (_, group) = owners.here((0, TTY_GROUP));
    let exists = match owners.groups_of(&[TTY_GROUP]) {
        Some(groups) => !groups.is_empty(),
        None => around.has_group(group),
    };
    let group = group.to_string();
    let mut options = vec![("mode", "620"), ("ptmxmode", "666")];
    if exists {
        options.push(("gid", &group));
    }
    let mount = sys::mount::new_detached("devpts", "devpts", &options, flags)?;
    owners.give(&mount)?;
    Ok(mount)
}

fn control_groups() -> io::Result<OwnedFd> {
    let host = sys::Root::open(Path::new(CONTROL_GROUPS))?;
    let mount = sys::mount::bind_detached(host.as_fd(), Depth::Recursive)?;
    restrict(
        mount,
        quiet() | MountFlags::MOUNT_ATTR_RDONLY,
        Depth::Recursive,
    )
}

/// The supplementary groups to set; `None` where they stay as they are.
fn groups(asked: &Groups, owners: Owners<'_>, around: &Surroundings) -> Option<Vec<u32>> {
    let Groups::These(groups) = asked else {
        return None;
    };
    let own = owners.groups_of(groups);
    own.or_else(|| around.groups_of(groups))
}

fn limits(asked: &[Limit], around: &Surroundings) -> (Vec<Limit>, Vec<Lowered>) {
    let ceiling = Ceiling::of_host(around);
    let set: Vec<Limit> = asked.iter().map(|limit| ceiling.fit(*limit)).collect();
    let lowered = asked.iter().zip(&set).filter(|(asked, set)| asked != set);
    let lowered = lowered
        .map(|(asked, set)| Lowered {
            asked: *asked,
            set: *set,
        })
        .collect();
    (set, lowered)
}

fn permitted() -> Result<u64, RunError> {
    let sets = rustix::thread::capabilities(None).map_err(|errno| RunError::OwnRights {
        source: errno.into(),
    })?;
    Ok(sets.permitted.bits())
}

fn last_capability() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        text.trim()
            .parse()
            .unwrap_or(crate::Capability::CheckpointRestore as u32)
    })
}

fn filter(spec: &RunSpec<'_>) -> Result<Option<Arc<[Instruction]>>, RunError> {
    Ok(match &spec.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Default => Some(Profile::compile_standard(spec.capabilities)?),
        SeccompChoice::Profile(profile) => Some(profile.compile(spec.capabilities)?),
    })
}

/// The paths to try: the program itself when it has a slash, otherwise one per word of `PATH`.
/// Relative words are left out, because they would find programs in the build's own tree.
fn programs(spec: &RunSpec<'_>) -> Result<Vec<CString>, RunError> {
    let Some(program) = spec.args.first().filter(|program| !program.is_empty()) else {
        return Err(RunError::NoProgram);
    };
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![string(program.clone())?]);
    }
    let path = spec
        .env
        .iter()
        .rev()
        .find_map(|pair| pair.as_bytes().strip_prefix(b"PATH="));
    let words = path.unwrap_or_default().split(|byte| *byte == b':');
    words
        .filter(|word| word.starts_with(b"/"))
        .map(|word| {
            let mut path = word.to_vec();
            path.push(b'/');
            path.extend_from_slice(program.as_bytes());
            string(OsString::from_vec(path))
        })
        .collect()
}

/// Makes a target absolute and resolves `.` and `..` by its words.
fn clean(target: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in target.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

fn path_string(path: &Path) -> Result<CString, RunError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= MAX_PATH {
        return Err(RunError::PathTooLong);
    }
    string(path.as_os_str().to_owned())
}

fn string(text: OsString) -> Result<CString, RunError> {
    CString::new(text.into_vec()).map_err(|_| RunError::Nul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RootSource;

    #[test]
    fn targets_are_cleaned_by_their_words() {
        for (target, expected) in [
            ("/a/../b", "/b"),
            ("a//b/.", "/a/b"),
            ("/../..", "/"),
            ("", "/"),
            ("/x/", "/x"),
        ] {
            assert_eq!(clean(Path::new(target)), Path::new(expected), "{target}");
        }
    }

    #[test]
    fn programs_are_looked_up_in_path() {
        let null = std::fs::File::open("/dev/null").unwrap();
        for (program, env, expected) in [
            (
                "sh",
                &["PATH=/bin:rel::/usr/bin/"][..],
                Some(&["/bin/sh", "/usr/bin//sh"][..]),
            ),
            ("sh", &["PATH=/a", "PATH=/b"], Some(&["/b/sh"])),
            ("./sh", &["PATH=/a"], Some(&["./sh"])),
            ("sh", &[], Some(&[])),
            ("", &["PATH=/a"], None),
        ] {
            let root = RootSource::Directory(null.as_fd());
            let mut spec = RunSpec::new(root, vec![program.into()]);
            spec.env = env.iter().map(OsString::from).collect();
            let got = programs(&spec).ok();
            let got: Option<Vec<&str>> = got
                .as_ref()
                .map(|list| list.iter().map(|p| p.to_str().unwrap()).collect());
            assert_eq!(got.as_deref(), expected, "{program} {env:?}");
        }
    }
}

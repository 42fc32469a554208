//! From the mounts of a request to those of the runtime: sources opened, overlays and caches made.
//!
//! Sources are resolved inside their tree and handed on as descriptors. What must live as long as
//! the process (upper directories, locks of caches) is kept in [`Kept`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use archive::ArchiveOptions;
use runtime::{Depth, IdMaps, MountFlags, MountKind, MountPlan};
use rustix::fs::{FileType, Mode, OFlags};
use store::{Scratch, Store};
use sys::Root;
use sys::mount::Propagation;
use sys::overlay::{Durability, OverlaySpec};

use super::agent::AgentSocket;
use super::cache::{self, CacheInUse, CacheKey};
use super::error::StepError;
use super::ownership::{self, Ownership};
use super::request::{
    Access, AgentMount, BindMount, CacheMount, HostFile, MountSource, Restrict, RunMount,
    SecretMount, TmpfsMount, UpperDirs, VolumeMount,
};

/// Mode of a tmpfs unless asked otherwise.
const TMPFS_MODE: u32 = 0o1777;

/// How an object of the host is mounted.
#[derive(Debug, Clone, Copy)]
struct HostMount<'a> {
    access: Access,
    flags: MountFlags,
    depth: Depth,
    propagation: Propagation,
    ownership: Ownership,
    upper: Option<&'a UpperDirs>,
}

/// What must live as long as the process.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Before their directories.
    agents: Vec<AgentSocket>,
    scratch: Vec<Scratch>,
    caches: Vec<CacheInUse>,
}

/// Opens sources and makes mounts of them.
pub(crate) struct Mounter<'a> {
    pub(crate) store: &'a Store,
    /// The root file system of the container.
    pub(crate) root: &'a Root,
    /// User and group of the process.
    pub(crate) user: (u32, u32),
    pub(crate) caches: &'a Path,
    pub(crate) working_dir: &'a Path,
    /// How users and groups of the process are called on the host.
    pub(crate) maps: &'a IdMaps,
    pub(crate) kept: Kept,
}

impl Mounter<'_> {
    /// Makes the plan of one mount; a secret that is only a variable has none.
    pub(crate) fn plan(&mut self, mount: &RunMount<'_>) -> Result<Option<MountPlan>, StepError> {
        match mount {
            RunMount::Bind(bind) => self.bind(bind).map(Some),
            RunMount::Volume(volume) => self.volume(volume).map(Some),
            RunMount::Cache(cache) => self.cache(cache).map(Some),
            RunMount::Tmpfs(tmpfs) => self.tmpfs(tmpfs).map(Some),
            RunMount::Secret(secret) => Ok(self.secret(secret)),
            RunMount::Agent(agent) => self.agent(agent).map(Some),
        }
    }

    /// Makes the plan of a file of the host.
    pub(crate) fn host_file(&mut self, file: &HostFile) -> Result<MountPlan, StepError> {
        self.volume(&VolumeMount {
            source: file.source.clone(),
            target: file.target.clone(),
            access: file.access,
            restrict: Restrict {
                nosuid: true,
                nodev: true,
                noexec: false,
            },
            ..VolumeMount::default()
        })
    }

    /// Makes a target absolute.
    fn target(&self, target: &Path) -> PathBuf {
        absolute(self.working_dir, target)
    }

    fn bind(&mut self, bind: &BindMount<'_>) -> Result<MountPlan, StepError> {
        let failed = |source| StepError::BindSource {
            path: bind.path.clone(),
            source,
        };
        let (root, attached) = match bind.source {
            MountSource::Host(root) => (root, true),
            MountSource::Detached(root) => (root, false),
        };
        let source = root.resolve(&bind.path).map_err(failed)?;
        let target = self.target(&bind.target);
        if attached {
            let wanted = HostMount {
                access: bind.access,
                flags: flags_of(bind.restrict),
                depth: bind.depth,
                propagation: bind.propagation,
                ownership: bind.ownership,
                upper: None,
            };
            let kind = self.host_kind(source, wanted).map_err(failed)?;
            return Ok(MountPlan { target, kind });
        }
        if bind.ownership == Ownership::OfUser {
            ownership::give(source.as_fd(), self.user).map_err(failed)?;
        }
        // A throw-away upper is the caller's: an overlay cannot be stacked on a detached mount
        // before Linux 6.15.
        let access = match bind.access {
            Access::ReadOnly => runtime::Access::ReadOnly,
            Access::ReadWrite | Access::ThrowAway => runtime::Access::ReadWrite,
        };
        let kind = MountKind::Bind {
            source,
            access,
            flags: flags_of(bind.restrict),
            depth: Depth::One,
        };
        Ok(MountPlan { target, kind })
    }

    fn volume(&mut self, volume: &VolumeMount) -> Result<MountPlan, StepError> {
        let failed = |source| StepError::VolumeSource {
            path: volume.source.clone(),
            source,
        };
        let source = rustix::fs::open(
            &volume.source,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| failed(errno.into()))?;
        let given = volume.ownership == Ownership::OfUser && volume.access != Access::ThrowAway;
        if given && ownership::is_protected(&volume.source) {
            let (uid, gid) = self.user;
            let path = volume.source.clone();
            return Err(StepError::Protected { path, uid, gid });
        }
        let wanted = HostMount {
            access: volume.access,
            flags: flags_of(volume.restrict),
            depth: Depth::Recursive,
            propagation: volume.propagation,
            ownership: volume.ownership,
            upper: volume.upper.as_ref(),
        };
        let kind = self.host_kind(source, wanted).map_err(failed)?;
        Ok(MountPlan {
            target: self.target(&volume.target),
            kind,
        })
    }

    /// What mounts `source`, an object of an attached mount.
    fn host_kind(&mut self, source: OwnedFd, wanted: HostMount<'_>) -> io::Result<MountKind> {
        if wanted.access == Access::ThrowAway {
            return self.written_elsewhere(&source, wanted);
        }
        if wanted.ownership == Ownership::OfUser {
            ownership::give(source.as_fd(), self.user)?;
        }
        let access = plain_access(wanted.access);
        if wanted.propagation == Propagation::Private {
            return Ok(MountKind::Bind {
                source,
                access,
                flags: wanted.flags,
                depth: wanted.depth,
            });
        }
        let depth = wanted.depth;
        let mount = sys::mount::bind_propagating(source.as_fd(), depth, wanted.propagation)?;
        let mut flags = wanted.flags;
        flags.set(
            MountFlags::MOUNT_ATTR_RDONLY,
            access == runtime::Access::ReadOnly,
        );
        sys::mount::set_flags(mount.as_fd(), flags, MountFlags::empty(), depth)?;
        Ok(MountKind::Detached(mount))
    }

    /// Mounts `source` so that what is written does not reach it.
    fn written_elsewhere(
        &mut self,
        source: &OwnedFd,
        wanted: HostMount<'_>,
    ) -> io::Result<MountKind> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode);
        if let (FileType::Directory, Some(upper)) = (kind, wanted.upper) {
            return self.overlay(source, upper, Durability::Synced, wanted);
        }
        let scratch = self.store.scratch().map_err(io::Error::other)?;
        let kind = if kind == FileType::Directory {
            let upper = UpperDirs {
                upper: scratch.path().join("upper"),
                work: scratch.path().join("work"),
            };
            std::fs::create_dir(&upper.upper)?;
            std::fs::create_dir(&upper.work)?;
            self.overlay(source, &upper, Durability::Volatile, wanted)?
        } else {
            let copy = private_copy(source, &scratch.path().join("file"))?;
            if wanted.ownership == Ownership::OfUser {
                ownership::give(copy.as_fd(), self.user)?;
            }
            MountKind::Bind {
                source: copy,
                access: runtime::Access::ReadWrite,
                flags: wanted.flags,
                depth: Depth::One,
            }
        };
        self.kept.scratch.push(scratch);
        Ok(kind)
    }

    fn overlay(
        &self,
        lower: &OwnedFd,
        UpperDirs { upper, work }: &UpperDirs,
        durability: Durability,
        wanted: HostMount<'_>,
    ) -> io::Result<MountKind> {
        // The root of an overlay has its upper's owner and mode.
        let stat = rustix::fs::fstat(lower)?;
        let owner = (
            rustix::fs::Uid::from_raw(stat.st_uid),
            rustix::fs::Gid::from_raw(stat.st_gid),
        );
        rustix::fs::chown(upper, Some(owner.0), Some(owner.1))?;
        rustix::fs::chmod(upper, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let mount = sys::overlay::mount_detached(&OverlaySpec {
            lowers: vec![PathBuf::from(format!(
                "/proc/self/fd/{}",
                lower.as_raw_fd()
            ))],
            upper: Some(upper.clone()),
            work: Some(work.clone()),
            xattrs: self.store.flavour(),
            durability,
        })?;
        if wanted.ownership == Ownership::OfUser {
            ownership::give(mount.as_fd(), self.user)?;
        }
        let none = MountFlags::empty();
        sys::mount::set_flags(mount.as_fd(), wanted.flags, none, Depth::One)?;
        Ok(MountKind::Detached(mount))
    }

    /// Makes the plan of a private copy of a volume of the image; what is no directory has none.
    pub(crate) fn copy_of_volume(&mut self, path: &Path) -> Result<Option<MountPlan>, StepError> {
        let failed = |source| StepError::Volume {
            path: path.to_owned(),
            source,
        };
        let directory = match self.root.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            other => other.map_err(failed)?,
        };
        let scratch = self.store.scratch().map_err(io::Error::other);
        let scratch = scratch.map_err(failed)?;
        let source = private_tree(directory, &scratch.path().join("volume")).map_err(failed)?;
        self.kept.scratch.push(scratch);
        Ok(Some(MountPlan {
            target: path.to_owned(),
            kind: MountKind::Bind {
                source,
                access: runtime::Access::ReadWrite,
                flags: MountFlags::empty(),
                depth: Depth::One,
            },
        }))
    }

    fn cache(&mut self, mount: &CacheMount<'_>) -> Result<MountPlan, StepError> {
        let (uid, gid) = self.maps.outside((mount.uid, mount.gid));
        let key = CacheKey {
            id: &mount.id,
            mode: mount.mode,
            uid,
            gid,
        };
        let mut fill = |directory: &Path| match &mount.from {
            Some((source, path)) => fill_from(*source, path, directory),
            None => Ok(()),
        };
        let cache = cache::open(self.caches, key, mount.sharing, &mut fill)?;
        let failed = |source| StepError::VolumeSource {
            path: cache.path().to_owned(),
            source,
        };
        let source = Root::open(cache.path()).map_err(failed)?;
        if mount.ownership == Ownership::OfUser {
            ownership::give(source.as_fd(), self.user).map_err(failed)?;
        }
        self.kept.caches.push(cache);
        let kind = MountKind::Bind {
            source: source.into_fd(),
            access: plain_access(mount.access),
            flags: MountFlags::empty(),
            depth: Depth::One,
        };
        Ok(MountPlan {
            target: self.target(&mount.target),
            kind,
        })
    }

    fn tmpfs(&self, mount: &TmpfsMount) -> Result<MountPlan, StepError> {
        let target = self.target(&mount.target);
        let flags = MountFlags::MOUNT_ATTR_NOSUID | MountFlags::MOUNT_ATTR_NODEV;
        let kind = if mount.copy_up {
            let filled = self.filled_tmpfs(mount, &target, flags);
            MountKind::Detached(filled.map_err(|source| StepError::CopyUp {
                path: target.clone(),
                source,
            })?)
        } else {
            MountKind::Tmpfs {
                size: mount.size,
                mode: mount.mode.unwrap_or(TMPFS_MODE),
                access: plain_access(mount.access),
                flags,
            }
        };
        Ok(MountPlan { target, kind })
    }

    /// A file system in memory that begins with what the container has at its place.
    fn filled_tmpfs(
        &self,
        mount: &TmpfsMount,
        target: &Path,
        flags: MountFlags,
    ) -> io::Result<OwnedFd> {
        let covered = match self.root.open_dir(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let mode = match (mount.mode, &covered) {
            (Some(mode), _) => mode,
            (None, Some(directory)) => rustix::fs::fstat(directory)?.st_mode & 0o7777,
            (None, None) => TMPFS_MODE,
        };
        let mode = format!("{mode:o}");
        let size = mount.size.map(|size| size.to_string());
        let mut options = vec![("mode", mode.as_str())];
        options.extend(size.as_deref().map(|size| ("size", size)));
        let filled = sys::mount::tmpfs_detached(&options, flags)?;
        if let Some(directory) = covered {
            let into = Root::from_fd(filled.try_clone()?);
            copy_tree(&Root::from_fd(directory), &into)?;
        }
        if mount.access == Access::ReadOnly {
            let flags = MountFlags::MOUNT_ATTR_RDONLY;
            sys::mount::set_flags(filled.as_fd(), flags, MountFlags::empty(), Depth::One)?;
        }
        Ok(filled)
    }

    fn agent(&mut self, mount: &AgentMount) -> Result<MountPlan, StepError> {
        let failed = |source| StepError::Agent {
            path: mount.agent.clone(),
            source,
        };
        let scratch = self.store.scratch().map_err(io::Error::other);
        let scratch = scratch.map_err(failed)?;
        let owner = self.maps.outside((mount.uid, mount.gid));
        let socket = AgentSocket::open(&mount.agent, scratch.path(), mount.mode, owner);
        let socket = socket.map_err(failed)?;
        let source = rustix::fs::open(
            socket.path(),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let source = source.map_err(|errno| failed(errno.into()))?;
        self.kept.agents.push(socket);
        self.kept.scratch.push(scratch);
        Ok(MountPlan {
            target: self.target(&mount.target),
            kind: MountKind::Bind {
                source,
                access: runtime::Access::ReadWrite,
                flags: MountFlags::empty(),
                depth: Depth::One,
            },
        })
    }

    fn secret(&self, mount: &SecretMount) -> Option<MountPlan> {
        let kind = MountKind::File {
            content: mount.value.0.clone(),
            mode: mount.mode,
            owner: (mount.uid, mount.gid),
            access: runtime::Access::ReadOnly,
        };
        Some(MountPlan {
            target: self.target(mount.target.as_deref()?),
            kind,
        })
    }
}

/// Makes the target of a mount absolute.
pub(crate) fn absolute(working_dir: &Path, target: &Path) -> PathBuf {
    Path::new("/").join(working_dir).join(target)
}

fn plain_access(access: Access) -> runtime::Access {
    match access {
        Access::ReadOnly => runtime::Access::ReadOnly,
        Access::ReadWrite | Access::ThrowAway => runtime::Access::ReadWrite,
    }
}

fn flags_of(restrict: Restrict) -> MountFlags {
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::MOUNT_ATTR_NOSUID, restrict.nosuid);
    flags.set(MountFlags::MOUNT_ATTR_NODEV, restrict.nodev);
    flags.set(MountFlags::MOUNT_ATTR_NOEXEC, restrict.noexec);
    flags
}

/// Copies a regular file with its mode and owner, and returns a handle on the copy.
fn private_copy(source: &OwnedFd, to: &Path) -> io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(source)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let from = sys::reopen(source.as_fd(), OFlags::RDONLY)?;
    let copy = rustix::fs::open(
        to,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    sys::copy::copy_file_data(from.as_fd(), copy.as_fd(), size)?;
    rustix::fs::fchown(
        &copy,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(copy)
}

/// Copies a directory with its mode and owner, and returns a handle on the copy.
fn private_tree(source: OwnedFd, to: &Path) -> io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(&source)?;
    std::fs::create_dir(to)?;
    let copy = Root::open(to)?;
    copy_tree(&Root::from_fd(source), &copy)?;
    let owner = (
        rustix::fs::Uid::from_raw(stat.st_uid),
        rustix::fs::Gid::from_raw(stat.st_gid),
    );
    rustix::fs::chown(to, Some(owner.0), Some(owner.1))?;
    rustix::fs::chmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(copy.into_fd())
}

/// Copies a directory of a tree into the empty directory of a new cache.
fn fill_from(source: MountSource<'_>, path: &Path, directory: &Path) -> io::Result<()> {
    let (MountSource::Host(root) | MountSource::Detached(root)) = source;
    copy_tree(
        &Root::from_fd(root.open_dir(path)?),
        &Root::open(directory)?,
    )
}

fn copy_tree(tree: &Root, into: &Root) -> io::Result<()> {
    let options = ArchiveOptions {
        owner: None,
        modes: archive::Modes::Kept,
        privilege: archive::Privilege::Full,
        limits: archive::Limits::default(),
    };
    archive::copy_tree(tree, into, &options)
}

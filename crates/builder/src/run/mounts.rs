//! From the mounts of a request to those of the runtime: sources opened, overlays and caches made.
//!
//! Sources are resolved inside their tree and handed on as descriptors. What must live as long as
//! the process (upper directories, locks of caches) is kept in [`Kept`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use archive::ArchiveOptions;
use runtime::{Depth, MountFlags, MountKind, MountPlan};
use rustix::fs::{FileType, Mode, OFlags};
use store::{Scratch, Store};
use sys::Root;
use sys::overlay::{Durability, OverlaySpec};

use super::agent::AgentSocket;
use super::cache::{self, CacheInUse, CacheKey};
use super::error::StepError;
use super::request::{
    Access, AgentMount, BindMount, CacheMount, HostFile, MountSource, Restrict, RunMount,
    SecretMount, TmpfsMount, VolumeMount,
};

/// Mode of a tmpfs unless asked otherwise.
const TMPFS_MODE: u32 = 0o1777;

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
    pub(crate) caches: &'a Path,
    pub(crate) working_dir: &'a Path,
    pub(crate) kept: Kept,
}

impl Mounter<'_> {
    /// Makes the plan of one mount; a secret that is only a variable has none.
    pub(crate) fn plan(&mut self, mount: &RunMount<'_>) -> Result<Option<MountPlan>, StepError> {
        match mount {
            RunMount::Bind(bind) => self.bind(bind).map(Some),
            RunMount::Volume(volume) => self.volume(volume).map(Some),
            RunMount::Cache(cache) => self.cache(cache).map(Some),
            RunMount::Tmpfs(tmpfs) => Ok(Some(self.tmpfs(tmpfs))),
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
            let kind = self
                .host_kind(source, bind.access, flags_of(bind.restrict))
                .map_err(failed)?;
            return Ok(MountPlan { target, kind });
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
        let flags = flags_of(volume.restrict);
        let kind = self
            .host_kind(source, volume.access, flags)
            .map_err(failed)?;
        Ok(MountPlan {
            target: self.target(&volume.target),
            kind,
        })
    }

    /// What mounts `source`, an object of an attached mount.
    fn host_kind(
        &mut self,
        source: OwnedFd,
        access: Access,
        flags: MountFlags,
    ) -> io::Result<MountKind> {
        let bind = |source, access, depth| MountKind::Bind {
            source,
            access,
            flags,
            depth,
        };
        match access {
            Access::ReadOnly => Ok(bind(source, runtime::Access::ReadOnly, Depth::Recursive)),
            Access::ReadWrite => Ok(bind(source, runtime::Access::ReadWrite, Depth::Recursive)),
            Access::ThrowAway => {
                let scratch = self.store.scratch().map_err(io::Error::other)?;
                let directory = FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode)
                    == FileType::Directory;
                let kind = if directory {
                    self.overlay(&source, &scratch, flags)?
                } else {
                    let copy = private_copy(&source, &scratch.path().join("file"))?;
                    bind(copy, runtime::Access::ReadWrite, Depth::One)
                };
                self.kept.scratch.push(scratch);
                Ok(kind)
            }
        }
    }

    fn overlay(
        &self,
        lower: &OwnedFd,
        scratch: &Scratch,
        flags: MountFlags,
    ) -> io::Result<MountKind> {
        let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
        std::fs::create_dir(&work)?;
        std::fs::create_dir(&upper)?;
        // The root of an overlay has its upper's owner and mode.
        let stat = rustix::fs::fstat(lower)?;
        let owner = (
            rustix::fs::Uid::from_raw(stat.st_uid),
            rustix::fs::Gid::from_raw(stat.st_gid),
        );
        rustix::fs::chown(&upper, Some(owner.0), Some(owner.1))?;
        rustix::fs::chmod(&upper, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let mount = sys::overlay::mount_detached(&OverlaySpec {
            lowers: vec![PathBuf::from(format!(
                "/proc/self/fd/{}",
                lower.as_raw_fd()
            ))],
            upper: Some(upper),
            work: Some(work),
            xattrs: self.store.flavour(),
            durability: Durability::Volatile,
        })?;
        sys::mount::set_flags(mount.as_fd(), flags, MountFlags::empty(), Depth::One)?;
        Ok(MountKind::Detached(mount))
    }

    fn cache(&mut self, mount: &CacheMount<'_>) -> Result<MountPlan, StepError> {
        let key = CacheKey {
            id: &mount.id,
            mode: mount.mode,
            uid: mount.uid,
            gid: mount.gid,
        };
        let mut fill = |directory: &Path| match &mount.from {
            Some((source, path)) => fill_from(*source, path, directory),
            None => Ok(()),
        };
        let cache = cache::open(self.caches, key, mount.sharing, &mut fill)?;
        let source = Root::open(cache.path()).map_err(|source| StepError::VolumeSource {
            path: cache.path().to_owned(),
            source,
        })?;
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

    fn tmpfs(&self, mount: &TmpfsMount) -> MountPlan {
        let kind = MountKind::Tmpfs {
            size: mount.size,
            mode: mount.mode.unwrap_or(TMPFS_MODE),
            access: plain_access(mount.access),
            flags: MountFlags::MOUNT_ATTR_NOSUID | MountFlags::MOUNT_ATTR_NODEV,
        };
        MountPlan {
            target: self.target(&mount.target),
            kind,
        }
    }

    fn agent(&mut self, mount: &AgentMount) -> Result<MountPlan, StepError> {
        let failed = |source| StepError::Agent {
            path: mount.agent.clone(),
            source,
        };
        let scratch = self.store.scratch().map_err(io::Error::other);
        let scratch = scratch.map_err(failed)?;
        let owner = (mount.uid, mount.gid);
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

/// Copies a directory of a tree into the empty directory of a new cache.
fn fill_from(source: MountSource<'_>, path: &Path, directory: &Path) -> io::Result<()> {
    let (MountSource::Host(root) | MountSource::Detached(root)) = source;
    let tree = Root::from_fd(root.open_dir(path)?);
    let into = Root::open(directory)?;
    let options = ArchiveOptions {
        owner: None,
        modes: archive::Modes::Kept,
        privilege: archive::Privilege::Full,
        limits: archive::Limits::default(),
    };
    archive::copy_tree(&tree, &into, &options)
}

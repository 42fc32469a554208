//! What to run, as data.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use sys::idmap::IdMaps;
use sys::launch::{Limit, Privileges, RootChange};
use sys::mount::{Depth, MountFlags};

use crate::seccomp::Profile;
use crate::{CapabilitySet, ControlGroup};

/// Size of `/dev/shm` unless asked otherwise, in bytes.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// Paths that a process may not look into: those that Buildah's runtime hides, old and new ones.
pub const DEFAULT_MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Paths that a process may not write to.
pub const DEFAULT_READ_ONLY: &[&str] = &[
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Where the root comes from.
#[derive(Debug, Clone, Copy)]
pub enum RootSource<'a> {
    /// A detached mount, such as an overlay. It is cloned, which before Linux 6.15 works once: there
    /// it serves one run, and stays usable as a directory.
    Mount(BorrowedFd<'a>),
    /// A directory of the host.
    Directory(BorrowedFd<'a>),
}

impl<'a> RootSource<'a> {
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        match self {
            Self::Mount(fd) | Self::Directory(fd) => fd,
        }
    }
}

/// Whose network is seen.
#[derive(Debug, Clone, Copy)]
pub enum Network<'a> {
    /// The host's.
    Host,
    /// None but a loopback device.
    None,
    /// That of this namespace.
    Joined(BorrowedFd<'a>),
}

/// Which namespace of a kind a process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Namespace {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of this file, such as `/proc/PID/ns/ipc`.
    Path(PathBuf),
}

/// The namespaces that can be shared with others. That of mounts never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    /// Control groups.
    pub cgroup: Namespace,
    /// Message queues and shared memory.
    pub ipc: Namespace,
    /// Processes. In one that is not its own, a process that leaves its session outlives the run.
    pub pid: Namespace,
    /// Host name.
    pub uts: Namespace,
}

/// A user namespace for a run.
#[derive(Debug)]
pub struct UserNamespace {
    /// Its users and groups.
    pub maps: IdMaps,
    /// Its handle.
    pub handle: OwnedFd,
}

impl UserNamespace {
    /// Makes one.
    ///
    /// # Errors
    /// The kernel's answer to a new user namespace or to the maps.
    pub fn new(maps: IdMaps) -> io::Result<Self> {
        let handle = sys::userns::namespace(&maps)?;
        Ok(Self { maps, handle })
    }

    /// Returns another handle of the same namespace.
    ///
    /// # Errors
    /// The system's, when this process has too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            maps: self.maps.clone(),
            handle: self.handle.try_clone()?,
        })
    }
}

impl Default for Namespaces {
    /// The host's control groups, and everything else of its own.
    fn default() -> Self {
        Self {
            cgroup: Namespace::Host,
            ipc: Namespace::Private,
            pid: Namespace::Private,
            uts: Namespace::Private,
        }
    }
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It cannot.
    ReadOnly,
    /// It can.
    ReadWrite,
}

/// Something mounted for this run.
#[derive(Debug)]
pub struct MountPlan {
    /// Absolute path in the root. Links on the way are followed inside the root; what is missing is
    /// made and, when it is still empty, taken away after the run.
    pub target: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountKind {
    /// A directory or file. Before Linux 6.15, of a detached mount only one, a directory.
    Bind {
        /// Handle of it; `O_PATH` is enough.
        source: OwnedFd,
        /// Whether it can be written to.
        access: Access,
        /// More flags: nosuid, nodev, noexec.
        flags: MountFlags,
        /// Whether mounts below it come along.
        depth: Depth,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Largest size in bytes; half of the memory when `None`.
        size: Option<u64>,
        /// Mode of its root.
        mode: u32,
        /// Whether it can be written to.
        access: Access,
        /// More flags: nosuid, nodev, noexec.
        flags: MountFlags,
    },
    /// A detached mount of the caller, with its flags already set.
    Detached(OwnedFd),
    /// A file with this content. Writes to it are lost with the run.
    File {
        /// The content.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner and group.
        owner: (u32, u32),
        /// Whether it can be written to.
        access: Access,
    },
}

/// A device node below `/dev`, besides the usual ones.
#[derive(Debug, Clone)]
pub struct Device {
    /// Path below `/dev`, such as `fuse` or `net/tun`.
    pub name: PathBuf,
    /// Kind of node.
    pub kind: DeviceKind,
    /// Device numbers, major and minor.
    pub number: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// Who the process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Groups,
}

/// Supplementary groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These.
    These(Vec<u32>),
    /// The caller's.
    Callers,
}

impl Default for Groups {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// Which system calls are possible.
#[derive(Debug, Clone, Default)]
pub enum SeccompChoice {
    /// Those of the default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of this profile.
    Profile(Arc<Profile>),
}

/// Everything about one run.
#[derive(Debug)]
pub struct RunSpec<'a> {
    /// The root file system.
    pub root: RootSource<'a>,
    /// Program and arguments. Without a slash in it, the program is looked up in the `PATH` of
    /// `env`, in the root.
    pub args: Vec<OsString>,
    /// The whole environment, each `NAME=value`.
    pub env: Vec<OsString>,
    /// Working directory, absolute; it must exist.
    pub cwd: PathBuf,
    /// Who the process is.
    pub user: User,
    /// What is mounted besides the usual; parents before children whatever the order here.
    pub mounts: Vec<MountPlan>,
    /// Device nodes besides the usual.
    pub devices: Vec<Device>,
    /// Whose network is seen.
    pub network: Network<'a>,
    /// The other namespaces.
    pub namespaces: Namespaces,
    /// The users that exist for the process; those of the caller without it. The owners of files in
    /// the root are the caller's to shift.
    pub user_namespace: Option<UserNamespace>,
    /// How the root becomes that of the process.
    pub root_change: RootChange,
    /// Host name, unless the namespace is shared; the host's own when `None`.
    pub hostname: Option<String>,
    /// Capabilities of user 0, and bound for everybody.
    pub capabilities: CapabilitySet,
    /// Which system calls are possible.
    pub seccomp: SeccompChoice,
    /// Whether set-user-id programs work.
    pub privileges: Privileges,
    /// Resource limits; others are inherited.
    pub limits: Vec<Limit>,
    /// What the processes may use together.
    pub control_group: ControlGroup,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Paths that are hidden.
    pub masked: Vec<PathBuf>,
    /// Paths that are read-only.
    pub read_only: Vec<PathBuf>,
    /// Mode bits that new files do not get.
    pub umask: u32,
}

impl<'a> RunSpec<'a> {
    /// A run of `args` as root in `/` with the defaults of a build step and the host's network.
    #[must_use]
    pub fn new(root: RootSource<'a>, args: Vec<OsString>) -> Self {
        Self {
            root,
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User::default(),
            mounts: Vec::new(),
            devices: Vec::new(),
            network: Network::Host,
            namespaces: Namespaces::default(),
            user_namespace: None,
            root_change: RootChange::Pivot,
            hostname: None,
            capabilities: CapabilitySet::DEFAULT,
            seccomp: SeccompChoice::Default,
            privileges: Privileges::MayGain,
            limits: Vec::new(),
            control_group: ControlGroup::default(),
            shm_size: DEFAULT_SHM_SIZE,
            masked: DEFAULT_MASKED.iter().map(PathBuf::from).collect(),
            read_only: DEFAULT_READ_ONLY.iter().map(PathBuf::from).collect(),
            umask: 0o022,
        }
    }
}

/// Standard input of a run.
#[derive(Debug)]
pub enum Stdin {
    /// Empty.
    Null,
    /// The caller's.
    Inherit,
    /// This descriptor.
    Fd(OwnedFd),
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where the output of a run goes.
pub enum Output<'a> {
    /// To the caller's standard output and error: directly for user 0, through pipes for other
    /// users, who could not open `/dev/stdout` otherwise.
    Inherit,
    /// Nowhere.
    Null,
    /// To these descriptors.
    Fds {
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// Piece by piece to this function, called in the thread of [`crate::run`].
    Relay(&'a mut dyn FnMut(Stream, &[u8])),
    /// A terminal: standard input, output and error are one pseudo-terminal, of the given rows and
    /// columns. What is read from `input`, if given, is typed there; what it prints is written to
    /// `output`. [`Stdin`] is not used. The caller sets its own terminal to raw mode and back.
    Terminal {
        /// Where key strokes come from.
        input: Option<BorrowedFd<'a>>,
        /// Where the screen is.
        output: BorrowedFd<'a>,
        /// Rows and columns.
        size: (u16, u16),
    },
}

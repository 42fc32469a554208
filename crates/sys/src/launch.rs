//! Starts one process in new namespaces, from a process that may have threads.
//!
//! Everything that needs memory, a decision or a lock is prepared by the parent as a [`Plan`]: C
//! strings, detached mounts, capability words, the compiled filter. The child shares the parent's
//! memory (`CLONE_VM | CLONE_VFORK`, as posix_spawn(3) does), runs on a stack of its own and makes
//! bare system calls until `execve`; the calling thread sleeps meanwhile. A failure comes back
//! through the shared memory as a stage and an errno.
//!
//! ```text
//! parent: block signals ─ clone ───────── asleep ──────────────── Child{pidfd} │ LaunchError
//! child:  signals ─ out of a chroot ─ private mounts ─ pivot_root ─ mounts ─ net ─ stdio, limits, cwd
//!         ─ bounding set ─ filter ─ ids ─ capabilities ─ parent alive? ─ execve
//! ```
//!
//! It makes no control group, and no user namespace, but works in one: there the plan names what
//! takes the place of file systems that cannot be mounted. It knows no default: what a container
//! looks like is decided by its caller.
//!
//! A process of a process namespace that it did not begin has no death that ends all others. There
//! its session takes the place of the namespace: what is left in it is killed when it ends.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

mod child;
mod session;

/// Stack of the child, in bytes; it calls a few functions deep, with one path buffer.
const STACK: usize = 64 << 10;
/// Lowest unmapped part of the stack, in bytes.
const GUARD: usize = 4 << 10;
/// Longest mount target and working directory, in bytes with their NUL (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;

/// One instruction of a classic BPF program, as the kernel takes it (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Which namespace of a kind the process is in.
#[derive(Debug)]
pub enum Namespace {
    /// The caller's.
    Shared,
    /// A new one.
    New,
    /// That of this handle: a file of `/proc/PID/ns`, or a mount of one.
    Joined(OwnedFd),
}

impl Namespace {
    fn flag(&self, flag: c_int) -> c_int {
        match self {
            Self::New => flag,
            Self::Shared | Self::Joined(_) => 0,
        }
    }
}

/// The namespaces of the process, besides that of its mounts, which is always new.
#[derive(Debug)]
pub struct Namespaces {
    /// Control groups. The root of a new one is the group that the process begins in.
    pub cgroup: Namespace,
    /// Message queues and shared memory.
    pub ipc: Namespace,
    /// Network devices and ports; in a new one only the loopback device is up.
    pub network: Namespace,
    /// Processes. One to join must lie below the caller's.
    pub pid: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// Users, by the handle of one to join just before the program begins; it must lie below the
    /// caller's. Everything else of the process belongs to the caller's.
    pub user: Option<OwnedFd>,
}

/// How the new root takes the place of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootChange {
    /// By pivot_root(2), after which the old one is nowhere.
    Pivot,
    /// By chroot(2), with the new one mounted over the old: all that is possible where the root is
    /// the first one of the kernel, that of an initial ramdisk.
    Chroot,
}

/// What a mount target is, when it has to be made inside another mount of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Whether symbolic links of the image are followed (inside the root) on the way to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are.
    Follow,
    /// A link anywhere in the target is an error (`ELOOP`).
    Refuse,
}

/// A file system whose content depends on the namespaces of the process that mounts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFs {
    /// Processes.
    Proc,
    /// Devices and the network namespace's interfaces.
    Sysfs,
    /// POSIX message queues.
    Mqueue,
    /// Control groups, version 2, below the root of the process's cgroup namespace.
    Cgroup2,
}

impl KernelFs {
    fn name(self) -> &'static CStr {
        match self {
            Self::Proc => c"proc",
            Self::Sysfs => c"sysfs",
            Self::Mqueue => c"mqueue",
            Self::Cgroup2 => c"cgroup2",
        }
    }
}

/// One step of setting up the mounts, done in order inside the new root. Targets are absolute.
#[derive(Debug)]
pub enum MountStep {
    /// Attaches a detached mount.
    Attach {
        /// The mount.
        mount: OwnedFd,
        /// Where.
        target: CString,
        /// What the target is.
        kind: TargetKind,
        /// Whether links are followed.
        links: Links,
    },
    /// Attaches one file of [`Plan::files`].
    File {
        /// Its name there.
        name: CString,
        /// Where.
        target: CString,
        /// Mount flags, `MOUNT_ATTR_*`.
        flags: u64,
    },
    /// Mounts a kernel file system; links to the target are refused.
    Kernel {
        /// Which.
        fs: KernelFs,
        /// Where.
        target: CString,
        /// Mount flags, `MOUNT_ATTR_*`.
        flags: u32,
        /// Detached mount that takes its place where the kernel refuses a new one (`EPERM`), as in a
        /// user namespace whose surroundings hide parts of it.
        instead: Option<OwnedFd>,
    },
    /// Makes an existing path read-only, without suid, devices and execution; missing is fine.
    ReadOnly {
        /// Which.
        target: CString,
    },
    /// Covers an existing directory with [`Plan::mask_dir`], anything else with
    /// [`Plan::mask_file`]; missing is fine.
    Mask {
        /// Which.
        target: CString,
    },
}

impl MountStep {
    fn target(&self) -> &CStr {
        match self {
            Self::Attach { target, .. }
            | Self::File { target, .. }
            | Self::Kernel { target, .. }
            | Self::ReadOnly { target }
            | Self::Mask { target } => target,
        }
    }
}

/// One resource limit (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// Whether the process and its children can gain rights by execve(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Set-user-id programs work.
    MayGain,
    /// `no_new_privs` is set.
    Fixed,
}

/// Whether standard input is a terminal that becomes the controlling one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controlling {
    /// No terminal.
    None,
    /// The terminal on standard input.
    Stdin,
}

/// Everything that the child needs, ready for use.
#[derive(Debug)]
pub struct Plan {
    /// Files `cgroup.procs`, open for writing, of the control groups that the process enters.
    pub control_groups: Vec<OwnedFd>,
    /// The namespaces of the process.
    pub namespaces: Namespaces,
    /// Detached mount that becomes `/`.
    pub root: OwnedFd,
    /// How it becomes that.
    pub root_change: RootChange,
    /// Detached mount that holds the files of [`MountStep::File`].
    pub files: Option<OwnedFd>,
    /// Detached, empty, read-only directory for masks.
    pub mask_dir: OwnedFd,
    /// Absolute path, in the new root, of the device that masks files.
    pub mask_file: CString,
    /// Mounts inside the new root, in order.
    pub mounts: Vec<MountStep>,
    /// Host name to set; that of the surroundings stays where a system call filter forbids to.
    pub hostname: Option<CString>,
    /// Standard input, output and error; each above 2.
    pub stdio: [OwnedFd; 3],
    /// Whether there is a controlling terminal.
    pub terminal: Controlling,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// File mode creation mask.
    pub umask: u32,
    /// Working directory, absolute, inside the new root; magic links of procfs are refused.
    pub cwd: CString,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; `None` where they stay as they are because setgroups(2) is forbidden.
    pub groups: Option<Vec<u32>>,
    /// Capabilities that stay in the bounding set, as bits.
    pub bounding: u64,
    /// Permitted and effective capabilities of user 0; other users have none.
    pub effective: u64,
    /// Highest capability that the kernel knows.
    pub last_capability: u32,
    /// Whether rights can be gained later.
    pub privileges: Privileges,
    /// System call filter.
    pub seccomp: Option<Arc<[Instruction]>>,
    /// Programs to try, in order, until one can be executed.
    pub programs: Vec<CString>,
    /// Arguments, the zeroth included.
    pub args: Vec<CString>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<CString>,
}

/// What the child was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names and the text below say it")]
pub enum Stage {
    Clone = 1,
    ControlGroup,
    Join,
    Keyring,
    Private,
    Files,
    Root,
    Mount,
    Hostname,
    Loopback,
    Stdio,
    Terminal,
    Limit,
    Cwd,
    CloseFds,
    Bounding,
    NoNewPrivs,
    Seccomp,
    Groups,
    Gid,
    Uid,
    Capabilities,
    ParentDied,
    Exec,
}

impl Stage {
    const ALL: [Self; 24] = [
        Self::Clone,
        Self::ControlGroup,
        Self::Join,
        Self::Keyring,
        Self::Private,
        Self::Files,
        Self::Root,
        Self::Mount,
        Self::Hostname,
        Self::Loopback,
        Self::Stdio,
        Self::Terminal,
        Self::Limit,
        Self::Cwd,
        Self::CloseFds,
        Self::Bounding,
        Self::NoNewPrivs,
        Self::Seccomp,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Capabilities,
        Self::ParentDied,
        Self::Exec,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Clone => "create a process in new namespaces",
            Self::ControlGroup => "enter the control group",
            Self::Join => "join a namespace",
            Self::Keyring => "leave the session keyring",
            Self::Private => "make the mounts private",
            Self::Files => "prepare the mounted files",
            Self::Root => "change to the new root",
            Self::Mount => "mount",
            Self::Hostname => "set the host name",
            Self::Loopback => "bring up the loopback device",
            Self::Stdio => "set up standard input and output",
            Self::Terminal => "take the controlling terminal",
            Self::Limit => "set a resource limit",
            Self::Cwd => "change to the working directory",
            Self::CloseFds => "close inherited descriptors",
            Self::Bounding => "drop capabilities from the bounding set",
            Self::NoNewPrivs => "set no_new_privs",
            Self::Seccomp => "install the system call filter",
            Self::Groups => "set the supplementary groups",
            Self::Gid => "set the group id",
            Self::Uid => "set the user id",
            Self::Capabilities => "set the capabilities",
            Self::ParentDied => "go on: the parent died",
            Self::Exec => "execute the program",
        }
    }
}

/// Why a process could not be started.
#[derive(Debug)]
pub struct LaunchError {
    /// What the child was doing.
    pub stage: Stage,
    /// Index into the plan's list that the stage works through (mounts, limits, programs).
    pub index: usize,
    /// What it was done to, where that is a path.
    pub path: Option<CString>,
    /// The kernel's answer.
    pub source: io::Error,
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.stage.text())?;
        match &self.path {
            Some(path) => write!(f, " `{}`", path.to_string_lossy()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What ends together with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Nothing, or its process namespace, whose first process it is.
    Own,
    /// Its session, in a process namespace that it shares with others.
    Session,
}

/// A started process. One that [`spawn`] made is the first of its process namespace, whose end ends
/// all of that, or of a session, whose other processes are killed when it has ended.
///
/// Dropping it kills the process and waits, so that nothing of it is left.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
    pid: i32,
    tree: Tree,
    waited: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Child {
    pub(crate) fn new(pidfd: OwnedFd, pid: i32, tree: Tree) -> Self {
        Self {
            pidfd,
            pid,
            tree,
            waited: false,
        }
    }

    /// Returns its process id in the caller's namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends `signal` to it. The first process of a namespace receives only signals that it
    /// handles, and `SIGKILL`.
    ///
    /// # Errors
    /// The kernel's error; `ESRCH` when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the descriptor is a pidfd owned by `self`; a null siginfo is allowed.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if done < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Waits until it has ended, and with it every process of its namespace or session.
    ///
    /// # Errors
    /// The kernel's error of waitid(2), or of looking through `/proc`.
    pub fn wait(&mut self) -> io::Result<Exit> {
        use rustix::process::WaitIdOptions;
        if self.tree == Tree::Session && !self.waited {
            // Unreaped it keeps its number, so that no other session can have it.
            self.wait_for(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
            session::kill(self.pid)?;
        }
        let status = self.wait_for(WaitIdOptions::EXITED)?;
        self.waited = true;
        let signal = status.terminating_signal().map(Exit::Signal);
        Ok(signal.unwrap_or_else(|| Exit::Code(status.exit_status().unwrap_or(0))))
    }

    fn wait_for(
        &self,
        options: rustix::process::WaitIdOptions,
    ) -> io::Result<rustix::process::WaitIdStatus> {
        use rustix::process::{WaitId, waitid};
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
}

impl AsFd for Child {
    /// The pidfd: readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            let _ = self.signal(libc::SIGKILL);
            let _ = self.wait();
        }
    }
}

/// Where the child leaves its error.
#[derive(Default)]
struct Report {
    stage: AtomicU32,
    index: AtomicU32,
    errno: AtomicI32,
}

/// What the child works on: the plan and pointers into it.
struct Context<'a> {
    plan: &'a Plan,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// One slot per mount step: the descriptor of its cloned file or file system of the kernel.
    slots: Vec<AtomicI32>,
    /// A descriptor that becomes readable when this process has ended.
    parent: RawFd,
    report: Report,
}

/// Starts the process of `plan`. If this process ignores `SIGCHLD`, as some supervisors leave it, it
/// does no more: the kernel would throw the exit status away.
///
/// The calling thread must live until the process has ended: its end
/// kills the process.
///
/// # Errors
/// What the child could not do. No process is left then.
pub fn spawn(plan: &Plan) -> Result<Child, LaunchError> {
    let failed = |source| LaunchError {
        stage: Stage::Clone,
        index: 0,
        path: None,
        source,
    };
    let parent = own_pidfd().map_err(failed)?;
    let context = Context {
        plan,
        argv: pointers(&plan.args),
        envp: pointers(&plan.env),
        slots: plan.mounts.iter().map(|_| AtomicI32::new(-1)).collect(),
        parent: parent.as_raw_fd(),
        report: Report::default(),
    };
    let stack = Stack::new().map_err(failed)?;
    keep_exit_status();
    let Namespaces {
        cgroup: _, // a new one begins at the group of who asks for it: the child does
        ipc,
        network,
        pid: processes,
        uts,
        user: _,
    } = &plan.namespaces;
    let flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_PIDFD
        | libc::CLONE_NEWNS
        | processes.flag(libc::CLONE_NEWPID)
        | ipc.flag(libc::CLONE_NEWIPC)
        | uts.flag(libc::CLONE_NEWUTS)
        | network.flag(libc::CLONE_NEWNET)
        | libc::SIGCHLD;
    let joined = match processes {
        Namespace::Joined(namespace) => Some(ChildrenIn::enter(namespace).map_err(|source| {
            let stage = Stage::Join;
            LaunchError {
                stage,
                ..failed(source)
            }
        })?),
        Namespace::Shared | Namespace::New => None,
    };
    let tree = match processes {
        Namespace::New => Tree::Own,
        Namespace::Shared | Namespace::Joined(_) => Tree::Session,
    };
    let mut pidfd: c_int = -1;
    let dumpable = own_dumpable();
    let mask = block_signals();
    // SAFETY: the child runs `child::main` on its own stack with `context`, both of which outlive
    // it: CLONE_VFORK suspends this thread until the child has executed or exited. It allocates
    // nothing, takes no lock and unwinds nowhere. Its errno is this suspended thread's.
    let pid = unsafe {
        libc::clone(
            child::main,
            stack.top(),
            flags,
            std::ptr::from_ref(&context).cast_mut().cast::<c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_int>(),
        )
    };
    let cloned = if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    };
    restore_signals(mask);
    drop(joined);
    // A change of ids in the child marks the memory, which is ours too, as not dumpable.
    if let Some(before) = dumpable
        && rustix::process::dumpable_behavior() != Ok(before)
    {
        let _ = rustix::process::set_dumpable_behavior(before);
    }
    drop(stack);
    let pid = cloned.map_err(failed)?;
    // SAFETY: the kernel stored a new descriptor, owned by nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let child = Child::new(pidfd, pid, tree);
    let stage = context.report.stage.load(Ordering::Acquire);
    match Stage::ALL.into_iter().find(|known| *known as u32 == stage) {
        None => Ok(child),
        Some(stage) => {
            drop(child);
            let index = context.report.index.load(Ordering::Acquire) as usize;
            let path = match stage {
                Stage::Mount => plan.mounts.get(index).map(|step| step.target().to_owned()),
                Stage::Cwd => Some(plan.cwd.clone()),
                Stage::Exec => plan.programs.get(index).cloned(),
                _ => None,
            };
            let errno = context.report.errno.load(Ordering::Acquire);
            Err(LaunchError {
                stage,
                index,
                path,
                source: io::Error::from_raw_os_error(errno),
            })
        }
    }
}

/// The calling thread's children begin in another process namespace while this lives.
struct ChildrenIn {
    before: OwnedFd,
}

impl ChildrenIn {
    fn enter(namespace: &OwnedFd) -> io::Result<Self> {
        let before = std::fs::File::open("/proc/thread-self/ns/pid_for_children")?.into();
        set_namespace(namespace, libc::CLONE_NEWPID)?;
        Ok(Self { before })
    }
}

impl Drop for ChildrenIn {
    fn drop(&mut self) {
        // The thread was there before, which is all that the kernel asks.
        let _ = set_namespace(&self.before, libc::CLONE_NEWPID);
    }
}

fn set_namespace(namespace: &OwnedFd, kind: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open; the call changes nothing but the calling thread.
    match unsafe { libc::setns(namespace.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Brings the loopback device of the calling thread's network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    child::loopback_up().map_err(io::Error::from_raw_os_error)
}

/// Whether this process can be dumped and traced, as it was before the first child: later calls
/// would see the mark of a child that another thread is just starting.
fn own_dumpable() -> Option<rustix::process::DumpableBehavior> {
    static BEFORE: OnceLock<Option<rustix::process::DumpableBehavior>> = OnceLock::new();
    *BEFORE.get_or_init(|| rustix::process::dumpable_behavior().ok())
}

/// Undoes an ignored `SIGCHLD`, with which the kernel would throw exit statuses away.
pub(crate) fn keep_exit_status() {
    // SAFETY: `sigaction` is plain data for which zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; `action` outlives the call.
    unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) };
    if action.sa_sigaction == libc::SIG_IGN {
        action.sa_sigaction = libc::SIG_DFL;
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    }
}

fn own_pidfd() -> io::Result<OwnedFd> {
    let flags = rustix::process::PidfdFlags::empty();
    Ok(rustix::process::pidfd_open(
        rustix::process::getpid(),
        flags,
    )?)
}

pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Blocks every signal, those that the C library keeps for itself too: a handler running in the
/// child would see this process's memory with another process's identity.
fn block_signals() -> u64 {
    let (all, mut old) = (u64::MAX, 0_u64);
    // SAFETY: both sets are 8 bytes, the size given, and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    old
}

fn restore_signals(mask: u64) {
    // SAFETY: as in `block_signals`; a null old set is allowed.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// Memory for the child's stack, with an unmapped page below.
pub(crate) struct Stack {
    base: *mut c_void,
}

impl Stack {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                STACK,
                prot,
                MapFlags::PRIVATE | MapFlags::STACK,
            )
        }?;
        let stack = Self { base };
        // SAFETY: the guard lies inside the mapping just made, which nobody uses yet.
        unsafe { mprotect(base, GUARD, MprotectFlags::empty()) }?;
        Ok(stack)
    }

    pub(crate) fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, page-aligned and so aligned for any ABI.
        unsafe { self.base.byte_add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; the child has left it.
        let _ = unsafe { rustix::mm::munmap(self.base, STACK) };
    }
}

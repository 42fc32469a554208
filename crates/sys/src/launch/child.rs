//! The child's side: bare system calls only.
//!
//! Law of this file: no allocation, no lock, no panic, no library call that does any of these. The
//! memory belongs to the sleeping parent.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use super::{
    Context, Controlling, KernelFs, Limit, Links, MAX_PATH, MountStep, Namespace, Namespaces, Plan,
    Privileges, RootChange, Stage, TargetKind,
};

const OPEN_TREE_CLONE: c_int = 1;
const OPEN_TREE_CLOEXEC: c_int = libc::O_CLOEXEC;
const MOVE_FROM_EMPTY: c_int = 0x04;
const MOVE_TO_EMPTY: c_int = 0x40;
const FSOPEN_CLOEXEC: c_int = 1;
const FSMOUNT_CLOEXEC: c_int = 1;
const FSCONFIG_CMD_CREATE: c_int = 6;
const ATTR_RDONLY: u64 = 1;
const ATTR_NOSUID: u64 = 2;
const ATTR_NODEV: u64 = 4;
const ATTR_NOEXEC: u64 = 8;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_IN_ROOT: u64 = 0x10;
const CLOSE_RANGE_CLOEXEC: c_int = 4;
const SIGNALS: c_int = 64;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// How often a program that another thread's child still holds open for writing is tried again,
/// one millisecond apart: such a child is about to execute, which closes it.
const BUSY_RETRIES: u32 = 200;

type Errno = c_int;
type Step<T> = Result<T, (Stage, u32, Errno)>;

/// Entry point of the child. Never returns but by executing or exiting.
pub(super) extern "C" fn main(context: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a pointer to a `Context` that outlives the child.
    let context = unsafe { &*context.cast_const().cast::<Context<'_>>() };
    let (stage, index, errno) = match run(context) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    context.report.errno.store(errno, Ordering::Release);
    context.report.index.store(index, Ordering::Release);
    context.report.stage.store(stage as u32, Ordering::Release);
    // SAFETY: ends this process only: it is a thread group of its own.
    unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    127
}

fn run(context: &Context<'_>) -> Step<std::convert::Infallible> {
    let plan = context.plan;
    default_signals();
    // Set early for the time of the mounts, and again below because a change of ids clears it.
    die_with_parent();
    // Before a namespace of control groups is begun, whose root is where the process is.
    for (index, entrance) in (0_u32..).zip(&plan.control_groups) {
        enter_group(entrance.as_raw_fd()).map_err(|errno| (Stage::ControlGroup, index, errno))?;
    }
    at(Stage::Join, namespaces(&plan.namespaces))?;
    at(Stage::Keyring, new_keyring())?;
    mounts(context)?;
    if let Some(name) = &plan.hostname {
        at(Stage::Hostname, set_hostname(name))?;
    }
    if matches!(plan.namespaces.network, Namespace::New) {
        at(Stage::Loopback, loopback_up())?;
    }
    stdio(plan)?;
    let _ = call(libc::SYS_umask, [plan.umask as usize, 0, 0, 0, 0]);
    at(Stage::Cwd, enter(&plan.cwd))?;
    // From here on nothing but 0, 1, 2 survives the execution. Marked, not closed: the sources of
    // the failure report and of the liveness check are still needed.
    let all = [3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC as usize, 0, 0];
    at(Stage::CloseFds, call(libc::SYS_close_range, all))?;
    // After the last descriptor was opened, which a small limit would prevent.
    for (index, limit) in (0_u32..).zip(&plan.limits) {
        set_limit(limit).map_err(|errno| (Stage::Limit, index, errno))?;
    }
    identity(plan)?;
    die_with_parent();
    if parent_ended(context.parent) {
        return Err((Stage::ParentDied, 0, libc::ESRCH));
    }
    if plan.privileges == Privileges::Fixed {
        at(Stage::Seccomp, filter(plan))?;
    }
    let none = 0_u64;
    let mask = [
        libc::SIG_SETMASK as usize,
        (&raw const none).expose_provenance(),
        0,
        size_of::<u64>(),
        0,
    ];
    let _ = call(libc::SYS_rt_sigprocmask, mask);
    Err(execute(context))
}

/// Moves this process into a control group: 0 is the process that writes.
fn enter_group(entrance: RawFd) -> Result<(), Errno> {
    let zero = b"0";
    let text = zero.as_ptr().expose_provenance();
    call(libc::SYS_write, [entrance as usize, text, zero.len(), 0, 0]).map(drop)
}

/// Enters the namespaces that exist already, and begins that of control groups. The process is in
/// its process namespace from birth.
fn namespaces(namespaces: &Namespaces) -> Result<(), Errno> {
    let Namespaces {
        cgroup,
        ipc,
        network,
        pid: _,
        uts,
        user: _, // joined last, because mounts and names are made with the caller's rights
    } = namespaces;
    for (namespace, kind) in [
        (cgroup, libc::CLONE_NEWCGROUP),
        (ipc, libc::CLONE_NEWIPC),
        (network, libc::CLONE_NEWNET),
        (uts, libc::CLONE_NEWUTS),
    ] {
        if let Namespace::Joined(handle) = namespace {
            let join = [handle.as_raw_fd() as usize, kind as usize, 0, 0, 0];
            call(libc::SYS_setns, join)?;
        }
    }
    if let Namespace::New = cgroup {
        let flags = libc::CLONE_NEWCGROUP as usize;
        call(libc::SYS_unshare, [flags, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Drops rights in the order that keeps each later step permitted.
fn identity(plan: &Plan) -> Step<()> {
    if let Some(users) = &plan.namespaces.user {
        let join = [
            users.as_raw_fd() as usize,
            libc::CLONE_NEWUSER as usize,
            0,
            0,
            0,
        ];
        at(Stage::Join, call(libc::SYS_setns, join))?;
    }
    for capability in 0..=plan.last_capability.min(63) {
        if plan.bounding >> capability & 1 == 0 {
            let drop = [libc::PR_CAPBSET_DROP as usize, capability as usize, 0, 0, 0];
            at(Stage::Bounding, call(libc::SYS_prctl, drop))?;
        }
    }
    let clear = [
        libc::PR_CAP_AMBIENT as usize,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as usize,
        0,
        0,
        0,
    ];
    at(Stage::Capabilities, call(libc::SYS_prctl, clear))?;
    if plan.privileges == Privileges::Fixed {
        let set = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0];
        at(Stage::NoNewPrivs, call(libc::SYS_prctl, set))?;
    } else {
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
        at(Stage::Seccomp, filter(plan))?;
    }
    // The C library's wrappers would change the ids of every thread of the parent.
    if let Some(groups) = &plan.groups {
        let list = groups.as_ptr().expose_provenance();
        at(
            Stage::Groups,
            call(libc::SYS_setgroups, [groups.len(), list, 0, 0, 0]),
        )?;
    }
    let gid = plan.gid as usize;
    at(Stage::Gid, call(libc::SYS_setresgid, [gid, gid, gid, 0, 0]))?;
    let uid = plan.uid as usize;
    at(Stage::Uid, call(libc::SYS_setresuid, [uid, uid, uid, 0, 0]))?;
    if plan.uid == 0 {
        at(Stage::Capabilities, set_capabilities(plan.effective))?;
    }
    Ok(())
}

fn mounts(context: &Context<'_>) -> Step<()> {
    let plan = context.plan;
    at(Stage::Private, private_mounts(plan.root.as_raw_fd()))?;
    if let Some(files) = &plan.files {
        clone_files(plan, files.as_raw_fd(), &context.slots)
            .map_err(|errno| (Stage::Files, 0, errno))?;
    }
    make_kernel_fs(plan, &context.slots)?;
    at(
        Stage::Root,
        change_root(plan.root.as_raw_fd(), plan.root_change),
    )?;
    let mut masks = 0;
    for (index, (step, slot)) in (0_u32..).zip(plan.mounts.iter().zip(&context.slots)) {
        let slot = slot.load(Ordering::Relaxed);
        mount_step(plan, step, slot, &mut masks).map_err(|errno| (Stage::Mount, index, errno))?;
    }
    Ok(())
}

/// Cuts this namespace's mounts off from all others. When the caller was started in a chroot its
/// root is no mount, which this and pivot_root(2) refuse: then the namespace's own root is taken.
fn private_mounts(new_root: RawFd) -> Result<(), Errno> {
    let flags = (libc::MS_REC | libc::MS_PRIVATE) as usize;
    let private = || call(libc::SYS_mount, [0, addr(c"/"), 0, flags, 0]).map(drop);
    match private() {
        Err(libc::EINVAL) => {
            leave_chroot(new_root)?;
            private()
        }
        other => other,
    }
}

/// Climbs to the root of the mount namespace. `..` stops at the process's root, so that is moved
/// out of the way meanwhile, to a directory that does not lie above: `aside`.
fn leave_chroot(aside: RawFd) -> Result<(), Errno> {
    let here = addr(c".");
    let chroot = || call(libc::SYS_chroot, [here, 0, 0, 0, 0]).map(drop);
    let old = open(c"/".as_ptr(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    call(libc::SYS_fchdir, [aside as usize, 0, 0, 0, 0])?;
    chroot()?;
    call(libc::SYS_fchdir, [old as usize, 0, 0, 0, 0])?;
    close(old);
    loop {
        let before = place_of(c".")?;
        call(libc::SYS_chdir, [addr(c".."), 0, 0, 0, 0])?;
        if place_of(c".")? == before {
            return chroot();
        }
    }
}

/// Makes the kernel's file systems, or takes what is there instead. This comes before the change of
/// the root: in a user namespace the kernel gives out only what is visible around already.
fn make_kernel_fs(plan: &Plan, slots: &[AtomicI32]) -> Step<()> {
    for (index, (step, slot)) in (0_u32..).zip(plan.mounts.iter().zip(slots)) {
        if let MountStep::Kernel {
            fs, flags, instead, ..
        } = step
        {
            let mount = match (kernel_fs(*fs, *flags), instead) {
                (Err(libc::EPERM), Some(mount)) => mount.as_raw_fd(),
                (made, _) => made.map_err(|errno| (Stage::Mount, index, errno))?,
            };
            slot.store(mount, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Clones each file to mount. Kernels before 6.15 clone only what is attached in the caller's
/// namespace (`EINVAL`), so there the files are attached to the old root meanwhile.
fn clone_files(plan: &Plan, files: RawFd, slots: &[AtomicI32]) -> Result<(), Errno> {
    match clone_each_file(plan, files, slots) {
        Err(libc::EINVAL) => {}
        other => return other,
    }
    attach(files, libc::AT_FDCWD, c"/", 0)?;
    clone_each_file(plan, files, slots)?;
    // It must not stay on top of the old root, or that could not be detached below.
    call(libc::SYS_fchdir, [files as usize, 0, 0, 0, 0])?;
    detach_here()
}

fn clone_each_file(plan: &Plan, files: RawFd, slots: &[AtomicI32]) -> Result<(), Errno> {
    for (step, slot) in plan.mounts.iter().zip(slots) {
        if let MountStep::File { name, flags, .. } = step {
            let fd = clone_tree(files, name, 0)?;
            if *flags != 0 {
                set_flags(fd, *flags, 0)?;
            }
            slot.store(fd, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn change_root(root: RawFd, how: RootChange) -> Result<(), Errno> {
    attach(root, libc::AT_FDCWD, c"/", 0)?;
    call(libc::SYS_fchdir, [root as usize, 0, 0, 0, 0])?;
    let here = addr(c".");
    match how {
        RootChange::Pivot => {
            call(libc::SYS_pivot_root, [here, here, 0, 0, 0])?;
            detach_here()?;
        }
        RootChange::Chroot => {
            call(libc::SYS_chroot, [here, 0, 0, 0, 0])?;
        }
    }
    call(libc::SYS_chdir, [addr(c"/"), 0, 0, 0, 0])?;
    // `..` at the root steps onto whatever is mounted on top of it. That must be nothing: the old
    // root left there would be the way out.
    if place_of(c"/..")? == place_of(c"/")? {
        Ok(())
    } else {
        Err(libc::EBUSY)
    }
}

/// Detaches the topmost mount on the working directory.
fn detach_here() -> Result<(), Errno> {
    call(
        libc::SYS_umount2,
        [addr(c"."), libc::MNT_DETACH as usize, 0, 0, 0],
    )
    .map(drop)
}

/// A directory's mount and inode, which together tell it from all others.
fn place_of(path: &CStr) -> Result<(u64, u64), Errno> {
    // SAFETY: plain numbers, for which zero is valid.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let buffer = (&raw mut stat).expose_provenance();
    let dir = libc::AT_FDCWD as usize;
    let wanted = (libc::STATX_MNT_ID | libc::STATX_INO) as usize;
    call(libc::SYS_statx, [dir, addr(path), 0, wanted, buffer])?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

fn mount_step(plan: &Plan, step: &MountStep, slot: RawFd, masks: &mut u32) -> Result<(), Errno> {
    match step {
        MountStep::Attach {
            mount,
            target,
            kind,
            links,
        } => {
            let place = place(target, *kind, *links)?;
            attach(mount.as_raw_fd(), place, c"", MOVE_TO_EMPTY)?;
            close(place);
        }
        MountStep::File { target, .. } => {
            let place = place(target, TargetKind::File, Links::Follow)?;
            attach(slot, place, c"", MOVE_TO_EMPTY)?;
            close(place);
        }
        MountStep::Kernel { target, .. } => {
            let place = place(target, TargetKind::Directory, Links::Refuse)?;
            attach(slot, place, c"", MOVE_TO_EMPTY)?;
            close(place);
        }
        MountStep::ReadOnly { target } => {
            let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT;
            let place = match open(target.as_ptr(), libc::O_PATH, resolve) {
                Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
                other => other?,
            };
            let mount = clone_tree(place, c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)?;
            let flags = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
            set_flags(mount, flags, libc::AT_RECURSIVE)?;
            attach(mount, place, c"", MOVE_TO_EMPTY)?;
            close(mount);
            close(place);
        }
        MountStep::Mask { target } => mask(plan, target, masks)?,
    }
    Ok(())
}

fn mask(plan: &Plan, target: &CStr, masks: &mut u32) -> Result<(), Errno> {
    let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT;
    let (place, mount) = match open(target.as_ptr(), libc::O_PATH | libc::O_DIRECTORY, resolve) {
        Ok(place) if *masks == 0 => {
            // The first one attaches the mount itself: only then can it be cloned.
            *masks = 1;
            attach(plan.mask_dir.as_raw_fd(), place, c"", MOVE_TO_EMPTY)?;
            close(place);
            return Ok(());
        }
        Ok(place) => (
            place,
            clone_tree(plan.mask_dir.as_raw_fd(), c"", libc::AT_EMPTY_PATH)?,
        ),
        Err(libc::ENOTDIR) => {
            let place = match open(target.as_ptr(), libc::O_PATH, resolve) {
                Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
                other => other?,
            };
            let null = open(plan.mask_file.as_ptr(), libc::O_PATH, resolve)?;
            let mount = clone_tree(null, c"", libc::AT_EMPTY_PATH)?;
            close(null);
            (place, mount)
        }
        Err(libc::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    attach(mount, place, c"", MOVE_TO_EMPTY)?;
    close(mount);
    close(place);
    Ok(())
}

/// Resolves a mount target; when it is missing, which can only be inside another mount of the
/// plan, makes it.
fn place(target: &CStr, kind: TargetKind, links: Links) -> Result<RawFd, Errno> {
    let mut resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= RESOLVE_NO_SYMLINKS;
    }
    match open(target.as_ptr(), libc::O_PATH, resolve) {
        Err(libc::ENOENT) => {}
        other => return other,
    }
    let bytes = target.to_bytes_with_nul();
    let mut buffer = [0_u8; MAX_PATH];
    let Some(path) = buffer.get_mut(..bytes.len()) else {
        return Err(libc::ENAMETOOLONG);
    };
    path.copy_from_slice(bytes);
    let mut parent = open(c"/".as_ptr(), libc::O_PATH, resolve)?;
    let mut name_at = 1;
    let mut end = 1;
    while let Some(byte) = path.get(end).copied() {
        let last = byte == 0;
        if !last && byte != b'/' {
            end += 1;
            continue;
        }
        if end > name_at {
            if let Some(byte) = path.get_mut(end) {
                *byte = 0;
            }
            let directory = !last || kind == TargetKind::Directory;
            let name = path.get(name_at..).unwrap_or_default().as_ptr();
            let next = match open(path.as_ptr().cast(), libc::O_PATH, resolve) {
                Err(libc::ENOENT) => {
                    make(parent, name.cast(), directory)?;
                    open(path.as_ptr().cast(), libc::O_PATH, resolve)?
                }
                other => other?,
            };
            close(parent);
            parent = next;
            if let Some(byte) = path.get_mut(end) {
                *byte = if last { 0 } else { b'/' };
            }
        }
        if last {
            break;
        }
        end += 1;
        name_at = end;
    }
    Ok(parent)
}

fn make(parent: RawFd, name: *const c_char, directory: bool) -> Result<(), Errno> {
    let done = if directory {
        call(
            libc::SYS_mkdirat,
            [parent as usize, name.expose_provenance(), 0o755, 0, 0],
        )
    } else {
        let mode = (libc::S_IFREG | 0o644) as usize;
        call(
            libc::SYS_mknodat,
            [parent as usize, name.expose_provenance(), mode, 0, 0],
        )
    };
    done.map(drop)
}

fn kernel_fs(fs: KernelFs, flags: u32) -> Result<RawFd, Errno> {
    let open = [addr(fs.name()), FSOPEN_CLOEXEC as usize, 0, 0, 0];
    let context = call(libc::SYS_fsopen, open)? as RawFd;
    let create = [context as usize, FSCONFIG_CMD_CREATE as usize, 0, 0, 0];
    call(libc::SYS_fsconfig, create)?;
    let mount = [
        context as usize,
        FSMOUNT_CLOEXEC as usize,
        flags as usize,
        0,
        0,
    ];
    let mount = call(libc::SYS_fsmount, mount)? as RawFd;
    close(context);
    Ok(mount)
}

fn stdio(plan: &Plan) -> Step<()> {
    at(Stage::Terminal, call(libc::SYS_setsid, [0; 5]))?;
    for (fd, number) in plan.stdio.iter().zip(0_usize..) {
        at(
            Stage::Stdio,
            call(libc::SYS_dup3, [fd.as_raw_fd() as usize, number, 0, 0, 0]),
        )?;
    }
    if plan.terminal == Controlling::Stdin {
        let take = [0, libc::TIOCSCTTY as usize, 0, 0, 0];
        at(Stage::Terminal, call(libc::SYS_ioctl, take))?;
    }
    Ok(())
}

fn set_limit(limit: &Limit) -> Result<(), Errno> {
    let value = [limit.soft, limit.hard];
    let set = [
        0,
        limit.resource as usize,
        (&raw const value).expose_provenance(),
        0,
        0,
    ];
    call(libc::SYS_prlimit64, set).map(drop)
}

/// Changes to the working directory. A link through `/proc/self/fd` could lead to a directory of
/// the host (CVE-2024-21626), so such links are refused.
fn enter(cwd: &CStr) -> Result<(), Errno> {
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let fd = open(cwd.as_ptr(), libc::O_PATH | libc::O_DIRECTORY, resolve)?;
    call(libc::SYS_fchdir, [fd as usize, 0, 0, 0, 0])?;
    close(fd);
    Ok(())
}

fn filter(plan: &Plan) -> Result<(), Errno> {
    let Some(program) = &plan.seccomp else {
        return Ok(());
    };
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const super::Instruction,
    }
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(libc::EINVAL);
    };
    let program = Program {
        len,
        filter: program.as_ptr(),
    };
    let set = [
        libc::SECCOMP_SET_MODE_FILTER as usize,
        0,
        (&raw const program).expose_provenance(),
        0,
        0,
    ];
    call(libc::SYS_seccomp, set).map(drop)
}

/// Leaves the session keyring of the host's user, whose keys this process could read.
fn new_keyring() -> Result<(), Errno> {
    match call(
        libc::SYS_keyctl,
        [libc::KEYCTL_JOIN_SESSION_KEYRING as usize, 0, 0, 0, 0],
    ) {
        // Not built in, or refused by a filter around us: then there are no keys to reach either.
        Err(libc::ENOSYS | libc::EPERM) => Ok(()),
        other => other.map(drop),
    }
}

fn set_capabilities(effective: u64) -> Result<(), Errno> {
    let header = [CAPABILITY_VERSION_3, 0];
    let (low, high) = (effective as u32, (effective >> 32) as u32);
    // Effective, permitted, inheritable; for the low and the high half.
    let data = [low, low, 0, high, high, 0];
    let set = [
        (&raw const header).expose_provenance(),
        (&raw const data).expose_provenance(),
        0,
        0,
        0,
    ];
    call(libc::SYS_capset, set).map(drop)
}

fn set_hostname(name: &CStr) -> Result<(), Errno> {
    let set = [addr(name), name.count_bytes(), 0, 0, 0];
    match call(libc::SYS_sethostname, set) {
        // Root of a host-name namespace may; so a filter around us refuses it, as Podman's does to
        // containers without CAP_SYS_ADMIN. Under another name the process runs all the same.
        Err(libc::EPERM) => Ok(()),
        other => other.map(drop),
    }
}

/// Brings the loopback device of this thread's network namespace up.
pub(super) fn loopback_up() -> Result<(), Errno> {
    let socket = [
        libc::AF_INET as usize,
        (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize,
        0,
        0,
        0,
    ];
    let socket = call(libc::SYS_socket, socket)?;
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let mut request = Request {
        name: [0; 16],
        flags: 0,
        rest: [0; 22],
    };
    request.name[0] = b'l';
    request.name[1] = b'o';
    request.flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    let set = [
        socket as usize,
        libc::SIOCSIFFLAGS as usize,
        (&raw const request).expose_provenance(),
        0,
        0,
    ];
    call(libc::SYS_ioctl, set)?;
    close(socket as RawFd);
    Ok(())
}

/// Gives every signal its default action; the parent ignores SIGPIPE and may ignore more.
fn default_signals() {
    // `struct kernel_sigaction`: handler, flags, restorer, mask; all zero is the default action.
    let action = [0_usize; 4];
    for signal in 1..=SIGNALS {
        let set = [
            signal as usize,
            (&raw const action).expose_provenance(),
            0,
            size_of::<u64>(),
            0,
        ];
        let _ = call(libc::SYS_rt_sigaction, set);
    }
}

fn die_with_parent() {
    let set = [
        libc::PR_SET_PDEATHSIG as usize,
        libc::SIGKILL as usize,
        0,
        0,
        0,
    ];
    let _ = call(libc::SYS_prctl, set);
}

/// Says whether the parent ended before the death signal was set.
fn parent_ended(pidfd: RawFd) -> bool {
    let mut poll = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let wait = [
        (&raw mut poll).expose_provenance(),
        1,
        (&raw const now).expose_provenance(),
        0,
        0,
    ];
    call(libc::SYS_ppoll, wait) == Ok(1)
}

/// Tries the programs in turn; returns only when none could be executed. The error is that of the
/// first program that exists, if any does, as execvp(3) has it.
fn execute(context: &Context<'_>) -> (Stage, u32, Errno) {
    let mut failure = (Stage::Exec, 0, libc::ENOENT);
    for (index, program) in (0_u32..).zip(&context.plan.programs) {
        let exec = [
            addr(program),
            context.argv.as_ptr().expose_provenance(),
            context.envp.as_ptr().expose_provenance(),
            0,
            0,
        ];
        let mut left = BUSY_RETRIES;
        let errno = loop {
            match call(libc::SYS_execve, exec) {
                Err(libc::ETXTBSY) if left > 0 => {
                    left -= 1;
                    let pause = libc::timespec {
                        tv_sec: 0,
                        tv_nsec: 1_000_000,
                    };
                    let _ = call(
                        libc::SYS_nanosleep,
                        [(&raw const pause).expose_provenance(), 0, 0, 0, 0],
                    );
                }
                Err(errno) => break errno,
                // execve does not return when it succeeds.
                Ok(_) => break libc::EINVAL,
            }
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => {
                if failure.2 == libc::ENOENT {
                    failure = (Stage::Exec, index, errno);
                }
            }
            _ => return (Stage::Exec, index, errno),
        }
    }
    failure
}

fn open(path: *const c_char, flags: c_int, resolve: u64) -> Result<RawFd, Errno> {
    let how = [(flags | libc::O_CLOEXEC) as u64, 0, resolve];
    let open = [
        libc::AT_FDCWD as usize,
        path.expose_provenance(),
        (&raw const how).expose_provenance(),
        size_of_val(&how),
        0,
    ];
    call(libc::SYS_openat2, open).map(|fd| fd as RawFd)
}

fn clone_tree(from: RawFd, path: &CStr, flags: c_int) -> Result<RawFd, Errno> {
    let flags = flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    call(
        libc::SYS_open_tree,
        [from as usize, addr(path), flags as usize, 0, 0],
    )
    .map(|fd| fd as RawFd)
}

fn set_flags(mount: RawFd, set: u64, flags: c_int) -> Result<(), Errno> {
    let attr = [set, 0_u64, 0, 0];
    let flags = (flags | libc::AT_EMPTY_PATH) as usize;
    let args = [
        mount as usize,
        addr(c""),
        flags,
        (&raw const attr).expose_provenance(),
        size_of_val(&attr),
    ];
    call(libc::SYS_mount_setattr, args).map(drop)
}

fn attach(mount: RawFd, dir: RawFd, path: &CStr, flags: c_int) -> Result<(), Errno> {
    let flags = (flags | MOVE_FROM_EMPTY) as usize;
    call(
        libc::SYS_move_mount,
        [mount as usize, addr(c""), dir as usize, addr(path), flags],
    )
    .map(drop)
}

fn close(fd: RawFd) {
    let _ = call(libc::SYS_close, [fd as usize, 0, 0, 0, 0]);
}

fn addr(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

fn at<T>(stage: Stage, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|errno| (stage, 0, errno))
}

fn call(number: c_long, args: [usize; 5]) -> Result<c_long, Errno> {
    // SAFETY: every caller passes what the call documents; pointers are to live, sufficiently
    // large data. The C library's wrapper only loads registers and stores errno, which belongs to
    // the sleeping parent thread.
    let done = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if done < 0 {
        // SAFETY: the C library's errno of the (shared) thread is always readable.
        Err(unsafe { *libc::__errno_location() })
    } else {
        Ok(done)
    }
}

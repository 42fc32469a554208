//! Mounts as descriptors: made detached, given their flags, and only then put in a place.
//!
//! A detached mount is in no namespace, so nobody can look into it before it is complete and
//! nothing is left behind when the process is killed. Propagation and moving existing mounts are
//! not handled here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

/// Flags of one mount: read-only, nosuid, nodev, noexec, …
pub use rustix::mount::MountAttrFlags as MountFlags;

/// Whether mounts below a directory are meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only the mount that holds the directory.
    One,
    /// Every mount below the directory as well.
    Recursive,
}

/// Clones the tree at the handle `source` (directory or file, `O_PATH` is enough) as a detached,
/// private bind mount: what is mounted in it later does not spread to `source`.
///
/// # Errors
/// The kernel's error of open_tree(2); `EINVAL` before Linux 6.15 when `source` is itself in a
/// detached mount.
pub fn bind_detached(source: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let clone = rustix::mount::open_tree(source, "", flags)?;
    make_private(clone.as_fd(), depth)?;
    Ok(clone)
}

/// Makes a detached tmpfs; `options` are its own words (`size`, `mode`, …).
///
/// # Errors
/// The kernel's error of an option or of the mount.
pub fn tmpfs_detached(options: &[(&str, &str)], flags: MountFlags) -> io::Result<OwnedFd> {
    new_detached("tmpfs", "tmpfs", options, flags)
}

/// Makes a detached mount of file-system type `kind` from `source`. An option with an empty value is
/// given as a flag.
///
/// # Errors
/// The kernel's error of an option or of the mount.
pub fn new_detached(
    kind: &str,
    source: &str,
    options: &[(&str, &str)],
    flags: MountFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", source)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    finish(context.as_fd(), flags)
}

/// Creates the superblock of a configured context and returns its detached mount.
pub(crate) fn finish(context: BorrowedFd<'_>, flags: MountAttrFlags) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    Ok(rustix::mount::fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags,
    )?)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets `set` and clears `clear` on the mount `mount` (mount_setattr(2), Linux 5.12).
///
/// # Errors
/// The kernel's error.
pub fn set_flags(
    mount: BorrowedFd<'_>,
    set: MountFlags,
    clear: MountFlags,
    depth: Depth,
) -> io::Result<()> {
    let attr = MountAttr {
        set: set.bits().into(),
        clear: clear.bits().into(),
        propagation: 0,
        userns: 0,
    };
    setattr(mount, &attr, depth)
}

/// Makes `mount` private: what is mounted in it spreads nowhere.
///
/// # Errors
/// The kernel's error.
pub fn make_private(mount: BorrowedFd<'_>, depth: Depth) -> io::Result<()> {
    let attr = MountAttr {
        set: 0,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns: 0,
    };
    setattr(mount, &attr, depth)
}

fn setattr(mount: BorrowedFd<'_>, attr: &MountAttr, depth: Depth) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a NUL-terminated literal, `attr` is the kernel's `struct mount_attr` of
    // the size given, and both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Puts the detached `mount` on the host path `at`, not following a symbolic link there.
///
/// # Errors
/// The kernel's error of move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount,
        "",
        rustix::fs::CWD,
        at,
        flags,
    )?)
}

/// Puts the detached `mount` on the object behind the handle `at`.
///
/// # Errors
/// The kernel's error of move_mount(2).
pub fn attach_to(mount: BorrowedFd<'_>, at: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", at, "", flags)?)
}

/// Detaches the topmost mount at `at`; open files in it stay usable until they are closed.
///
/// # Errors
/// The kernel's error of umount2(2); `EINVAL` when nothing is mounted there.
pub fn unmount(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(
        at,
        UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
    )?)
}

/// Returns the id of the mount that holds the object behind `handle` (statx, Linux 5.8).
///
/// # Errors
/// The kernel's error of statx(2).
pub fn mount_id(handle: BorrowedFd<'_>) -> io::Result<u64> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(handle, "", flags, rustix::fs::StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// A mount in a place, taken away when dropped.
#[derive(Debug)]
pub struct Mounted {
    /// `None` once closed or released.
    at: Option<PathBuf>,
}

impl Mounted {
    /// Attaches `mount` at `at` and guards it.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn attach(mount: BorrowedFd<'_>, at: &Path) -> io::Result<Self> {
        attach(mount, at)?;
        Ok(Self {
            at: Some(at.to_owned()),
        })
    }

    /// Returns where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.at
            .as_deref()
            .expect("set until closed, which consumes the guard")
    }

    /// Unmounts, and says whether that worked.
    ///
    /// # Errors
    /// As [`unmount`].
    pub fn close(mut self) -> io::Result<()> {
        self.at.take().map_or(Ok(()), |at| unmount(&at))
    }

    /// Leaves the mount in its place.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.at
            .take()
            .expect("set until closed, which consumes the guard")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(at) = self.at.take() {
            let _ = unmount(&at);
        }
    }
}

/// Options of [`classic_detached`] and the descriptors that they name by number.
pub(crate) struct Classic {
    pub(crate) flags: libc::c_ulong,
    pub(crate) data: String,
    pub(crate) held: Vec<OwnedFd>,
}

/// Mounts with mount(2) in a mount namespace of its own and returns the result detached.
///
/// `prepare` opens the directories there, because the kernel refuses an overlay over another
/// namespace's mounts; the call runs with `/proc/self/fd` as its working directory. For kernels
/// whose file system does not speak fsconfig(2) well enough.
pub(crate) fn classic_detached(
    kind: &str,
    prepare: impl FnOnce() -> io::Result<Classic> + Send,
) -> io::Result<OwnedFd> {
    let kind = CString::new(kind)?;
    let work = move || -> io::Result<OwnedFd> {
        // SAFETY: runs in a thread that ends after this closure, so no other code sees the changed
        // working directory and namespace.
        check(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) })?;
        let slash = c"/";
        // SAFETY: all pointers are NUL-terminated strings or null where mount(2) allows it.
        check(unsafe {
            libc::mount(
                std::ptr::null(),
                slash.as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            )
        })?;
        let options = prepare()?;
        let data = CString::new(options.data)?;
        rustix::process::chdir("/proc/self/fd")?;
        // procfs always has this directory, whatever the host's tree looks like; covering it is
        // seen in this thread's namespace only.
        let target = c"/proc/tty";
        // SAFETY: as above; `kind` and `data` outlive the call.
        check(unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                options.flags,
                data.as_ptr().cast(),
            )
        })?;
        drop(options.held);
        let open = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(rustix::mount::open_tree(rustix::fs::CWD, target, open)?)
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .spawn_scoped(scope, work)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

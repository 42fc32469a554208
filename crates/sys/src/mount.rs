//! Mounts as descriptors: made detached, given their flags, and only then put in a place.
//!
//! A detached mount is in no namespace, so nobody can look into it before it is complete and
//! nothing is left behind when the process is killed. Propagation and moving existing mounts are
//! not handled here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
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
/// When `source` lies in a mount that is itself detached, kernels before 6.15 refuse to clone it.
/// There a directory is cloned in a mount namespace made for the purpose, which works once per
/// mount; `source` stays usable as a directory.
///
/// # Errors
/// The kernel's error of open_tree(2); `EINVAL` where an old kernel leaves no way.
pub fn bind_detached(source: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    bind_propagating(source, depth, Propagation::Private)
}

/// Clones the mount of `source` as [`bind_detached`] does, with this propagation.
///
/// # Errors
/// The kernel's error.
pub fn bind_propagating(
    source: BorrowedFd<'_>,
    depth: Depth,
    propagation: Propagation,
) -> io::Result<OwnedFd> {
    let clone = match clone_tree(source, depth) {
        Err(Errno::INVAL) => clone_in_namespace(source, depth)?,
        other => other?,
    };
    propagate(clone.as_fd(), propagation, depth)?;
    Ok(clone)
}

fn clone_tree(source: BorrowedFd<'_>, depth: Depth) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(source, "", flags)
}

/// Attaches the detached mount of the directory `source` in a namespace of its own, clones from
/// there, and lets the namespace go.
fn clone_in_namespace(source: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let mut root = rustix::fs::openat(source, ".", PATH_DIR, Mode::empty())?;
    loop {
        let above = rustix::fs::openat(&root, "..", PATH_DIR, Mode::empty())?;
        let (here, there) = (rustix::fs::fstat(&root)?, rustix::fs::fstat(&above)?);
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
            break;
        }
        root = above;
    }
    in_own_namespace(|| {
        attach(root.as_fd(), Path::new(COVERED))?;
        Ok(clone_tree(source, depth)?)
    })
}

const PATH_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory that procfs always has, whatever the host's tree looks like. Covering it in a
/// namespace of our own is seen by nobody.
const COVERED: &str = "/proc/tty";

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

/// Whether later mounts below a mount appear below its clones, and theirs below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Neither.
    #[default]
    Private,
    /// Those below the original appear below the clone.
    Slave,
    /// Both, as far as the original is shared.
    Shared,
    /// Neither, and it cannot be cloned.
    Unbindable,
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
    propagate(mount, Propagation::Private, depth)
}

fn propagate(mount: BorrowedFd<'_>, propagation: Propagation, depth: Depth) -> io::Result<()> {
    let attr = MountAttr {
        set: 0,
        clear: 0,
        propagation: match propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        },
        userns: 0,
    };
    setattr(mount, &attr, depth)
}

/// Shifts the owners of all files of the detached `mount` by the maps of a user namespace: who is an
/// id inside it becomes the one outside (Linux 5.12, and whatever the file system allows).
///
/// # Errors
/// The kernel's error; `EINVAL` of a file system that cannot shift owners.
pub fn shift_owners(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns: u64::try_from(namespace.as_raw_fd()).unwrap_or_default(),
    };
    setattr(mount, &attr, Depth::One)
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
    let target = CString::new(COVERED)?;
    in_own_namespace(|| {
        let options = prepare()?;
        let data = CString::new(options.data)?;
        rustix::process::chdir("/proc/self/fd")?;
        // SAFETY: the strings are NUL-terminated and outlive the call.
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
        Ok(rustix::mount::open_tree(rustix::fs::CWD, COVERED, open)?)
    })
}

/// Runs `work` in a thread with a private mount namespace and a working directory of its own.
pub(crate) fn in_own_namespace<T: Send>(
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let inside = || {
        // SAFETY: this thread ends after the closure, so no other code sees the change.
        check(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) })?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        work()
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .spawn_scoped(scope, inside)?
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    #[test]
    fn priv_old_kernels_clone_from_detached_mounts_too() {
        let tree = tmpfs_detached(&[("mode", "755")], MountFlags::empty()).expect("needs root");
        let root = Root::from_fd(tree);
        root.make_dirs(Path::new("a/b/c"), Mode::from_raw_mode(0o755))
            .unwrap();
        let below = root.resolve(Path::new("a/b")).unwrap();
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let clone = Root::from_fd(clone_in_namespace(below.as_fd(), Depth::One).unwrap());
        assert!(clone.resolve(Path::new("c")).is_ok());
        // The tree itself is still a directory to work in.
        root.make_dirs(Path::new("a/b/d"), Mode::from_raw_mode(0o755))
            .unwrap();
        assert!(clone.resolve(Path::new("d")).is_ok());
        assert_eq!(
            std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
            before
        );
    }
}

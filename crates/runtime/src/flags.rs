//! Flags of mounts: what they forbid.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sys::launch::KernelFs;
use sys::mount::{Depth, MountFlags};

use crate::spec::Access;

/// How a file system of the kernel is mounted.
pub(crate) fn kernel_flags(fs: KernelFs) -> MountFlags {
    match fs {
        KernelFs::Proc | KernelFs::Mqueue => quiet(),
        KernelFs::Sysfs | KernelFs::Cgroup2 => quiet() | MountFlags::MOUNT_ATTR_RDONLY,
    }
}

/// No suid, no devices, no execution.
pub(crate) fn quiet() -> MountFlags {
    MountFlags::MOUNT_ATTR_NOSUID | MountFlags::MOUNT_ATTR_NODEV | MountFlags::MOUNT_ATTR_NOEXEC
}

/// What keeps a mount from being written, where it must not be.
pub(crate) fn access_flags(access: Access) -> MountFlags {
    match access {
        Access::ReadOnly => MountFlags::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => MountFlags::empty(),
    }
}

/// Returns `mount` with `flags`.
pub(crate) fn restrict(mount: OwnedFd, flags: MountFlags, depth: Depth) -> io::Result<OwnedFd> {
    if !flags.is_empty() {
        sys::mount::set_flags(mount.as_fd(), flags, MountFlags::empty(), depth)?;
    }
    Ok(mount)
}

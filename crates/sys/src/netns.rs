//! Network namespaces: made, and looked into, from a process that stays in its own.
//!
//! A namespace lives as long as a descriptor, a process or a mount holds it. Those made here have
//! no name anywhere, so that nothing of them is left when the process is killed.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};

use rustix::mount::MountPropagationFlags;

use crate::launch;

/// Makes a network namespace in which only the loopback device is up.
///
/// # Errors
/// The kernel's error; `EPERM` without CAP_SYS_ADMIN.
pub fn make() -> io::Result<OwnedFd> {
    apart(|| {
        // SAFETY: changes the network namespace of the calling thread, which ends right after.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        launch::loopback_up()?;
        Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
    })
}

/// Returns the addresses of all interfaces, in the kernel's order: those of `namespace`, or of the
/// process's own.
///
/// # Errors
/// The kernel's error of joining the namespace or of listing.
pub fn addresses(namespace: Option<BorrowedFd<'_>>) -> io::Result<Vec<IpAddr>> {
    let Some(namespace) = namespace else {
        return list();
    };
    apart(|| {
        // SAFETY: changes the network namespace of the calling thread, which ends right after.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        list()
    })
}

/// Starts `command` in a mount namespace of its own, in which the file `at` is that of `namespace`:
/// for programs that give up their rights before they open it, after which no file of another
/// process's can be opened.
///
/// # Errors
/// The kernel's error of mounting or starting.
pub fn spawn_with(
    namespace: BorrowedFd<'_>,
    at: &Path,
    command: &mut Command,
) -> io::Result<Child> {
    apart(|| {
        // SAFETY: changes the mount namespace of the calling thread, which ends right after.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        let file = format!("/proc/thread-self/fd/{}", namespace.as_raw_fd());
        rustix::mount::mount_bind(file, at)?;
        command.spawn()
    })
}

/// Does `work` in a thread of its own, whose namespaces end with it.
fn apart<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn list() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: stores a list that is freed below.
    if unsafe { libc::getifaddrs(&raw mut first) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: an element of the list, which lives until it is freed.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: not null, and the family says which of the two structures it is; both are read
        // as copies without relying on their alignment.
        let address: Option<IpAddr> = unsafe {
            match c_int_of((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let socket = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    Some(Ipv4Addr::from(u32::from_be(socket.sin_addr.s_addr)).into())
                }
                libc::AF_INET6 => {
                    let socket = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    Some(Ipv6Addr::from(socket.sin6_addr.s6_addr).into())
                }
                _ => None,
            }
        };
        found.extend(address);
    }
    // SAFETY: the list of `getifaddrs`, to which no reference is left.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

fn c_int_of(family: libc::sa_family_t) -> libc::c_int {
    libc::c_int::from(family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_own_namespace_has_addresses() {
        let found = addresses(None).expect("addresses");
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn priv_a_new_namespace_has_its_loopback_device_only() {
        let made = make().expect("a namespace");
        let found = addresses(Some(made.as_fd())).expect("addresses");
        assert!(!found.is_empty());
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}

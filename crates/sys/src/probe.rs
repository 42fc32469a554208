//! What this process may do here, asked of the kernel once.
//!
//! Answers only questions whose answers decide how work is done; what follows from them is the
//! caller's.

use std::io;

use rustix::mount::FsOpenFlags;
use rustix::thread::CapabilitySet;

use crate::idmap::in_initial_user_namespace;

/// Version numbers of the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The first number of the release.
    pub major: u32,
    /// The second number of the release.
    pub minor: u32,
}

/// Which user namespace this process lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserNamespace {
    /// The initial one, in which all user ids exist.
    Initial,
    /// One inside of that, in which only some ids exist, or all but without the rights of the initial one.
    Inner,
}

/// What this process may do here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Effective user id.
    pub uid: u32,
    /// Which user namespace this process lives in.
    pub user_namespace: UserNamespace,
    /// Whether `CAP_SYS_ADMIN` is effective.
    pub sys_admin: bool,
    /// The running kernel.
    pub kernel: Kernel,
}

impl Probe {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When `/proc` or the capabilities cannot be read.
    pub fn take() -> io::Result<Self> {
        let map = std::fs::read_to_string("/proc/self/uid_map")?;
        let effective = rustix::thread::capabilities(None)?.effective;
        let release = rustix::system::uname();
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            user_namespace: match is_full(&map) && in_initial_user_namespace() {
                true => UserNamespace::Initial,
                false => UserNamespace::Inner,
            },
            sys_admin: effective.contains(CapabilitySet::SYS_ADMIN),
            kernel: kernel(&release.release().to_string_lossy()),
        })
    }

    /// Says whether the Go tools would call this process rootless, which decides between
    /// `trusted.overlay.*` and `user.overlay.*`.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.uid != 0 || !self.sys_admin || self.user_namespace == UserNamespace::Inner
    }
}

/// Says whether the kernel has overlay file systems and lets this process open one.
#[must_use]
pub fn has_overlay() -> bool {
    rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

/// Whether all user ids are mapped to themselves.
fn is_full(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn kernel(release: &str) -> Kernel {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|word| word.parse().unwrap_or(0));
    Kernel {
        major: numbers.next().unwrap_or(0),
        minor: numbers.next().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases() {
        for (release, major, minor) in [
            ("6.18.44-fc-v669", 6, 18),
            ("5.4.0-1100-aws", 5, 4),
            ("6.1", 6, 1),
            ("x", 0, 0),
        ] {
            assert_eq!(kernel(release), Kernel { major, minor }, "{release}");
        }
    }

    #[test]
    fn uid_maps() {
        for (map, expected) in [
            ("         0          0 4294967295\n", true),
            ("0 1000 1\n1 100000 65536\n", false),
            ("", false),
        ] {
            assert_eq!(is_full(map), expected, "{map:?}");
        }
    }

    #[test]
    fn this_process() {
        let probe = Probe::take().unwrap();
        assert_eq!(probe.uid, rustix::process::geteuid().as_raw());
        assert!(
            probe.kernel
                >= Kernel {
                    major: 5,
                    minor: 12
                }
        );
    }
}

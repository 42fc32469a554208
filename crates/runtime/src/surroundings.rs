//! What the user namespace of this process allows: outside the initial one some ids do not exist,
//! device nodes cannot be made, and file systems of the kernel may be refused.
//!
//! Its map is fixed before this process could run anything, so it is read once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::thread::CapabilitySet;
use sys::idmap::{self, IdMap};
use sys::launch::KernelFs;
use sys::mount::Depth;

use crate::RunError;
use crate::flags::{kernel_flags, restrict};
use crate::namespaces::CONTROL_GROUPS;
use crate::spec::User;

/// Facts about the user namespace.
#[derive(Debug)]
pub(crate) struct Surroundings {
    users: IdMap,
    groups: IdMap,
    groups_are_fixed: bool,
    /// Whether this process may mount and make namespaces.
    may_mount: bool,
    /// Whether it is the initial one.
    pub(crate) initial: bool,
}

impl Surroundings {
    /// Returns those of this process.
    pub(crate) fn here() -> Result<&'static Self, RunError> {
        static HERE: OnceLock<Surroundings> = OnceLock::new();
        if let Some(known) = HERE.get() {
            return Ok(known);
        }
        let failed = |source| RunError::OwnRights { source };
        let found = Self {
            users: IdMap::of_users().map_err(failed)?,
            groups: IdMap::of_groups().map_err(failed)?,
            groups_are_fixed: idmap::groups_are_fixed(),
            may_mount: rustix::thread::capabilities(None)
                .map_err(|errno| failed(errno.into()))?
                .effective
                .contains(CapabilitySet::SYS_ADMIN),
            initial: idmap::in_initial_user_namespace(),
        };
        Ok(HERE.get_or_init(|| found))
    }

    /// Checks that processes can be isolated.
    pub(crate) fn check_rights(&self) -> Result<(), RunError> {
        match self.may_mount {
            true => Ok(()),
            false => Err(RunError::NoRights),
        }
    }

    /// Checks that processes can be isolated, and that `user` and its group exist here.
    pub(crate) fn check(&self, user: &User) -> Result<(), RunError> {
        self.check_rights()?;
        if !self.users.contains(user.uid) {
            return Err(RunError::UnmappedUser { uid: user.uid });
        }
        if !self.groups.contains(user.gid) {
            return Err(RunError::UnmappedGroup { gid: user.gid });
        }
        Ok(())
    }

    /// Says whether a group exists here.
    pub(crate) fn has_group(&self, gid: u32) -> bool {
        self.groups.contains(gid)
    }

    /// Returns those of a user's groups that exist here: no file can belong to the others. `None`
    /// where they cannot be set.
    pub(crate) fn groups_of(&self, groups: &[u32]) -> Option<Vec<u32>> {
        let groups = groups.iter().copied();
        let groups = groups.filter(|gid| self.has_group(*gid)).collect();
        (!self.groups_are_fixed).then_some(groups)
    }

    /// What takes the place of `fs` where the kernel refuses to mount a new one: a bind mount of
    /// that around us. `/proc` is refused where the one around us is partly hidden, as in a pod;
    /// `/sys` where the network belongs to another user namespace.
    pub(crate) fn instead_of(&self, fs: KernelFs) -> io::Result<Option<OwnedFd>> {
        let around = match fs {
            _ if self.initial => return Ok(None),
            KernelFs::Mqueue => return Ok(None),
            KernelFs::Proc => "/proc",
            KernelFs::Sysfs => "/sys",
            KernelFs::Cgroup2 => CONTROL_GROUPS,
        };
        let host = sys::Root::open(Path::new(around))?;
        let mount = sys::mount::bind_detached(host.as_fd(), Depth::Recursive)?;
        restrict(mount, kernel_flags(fs), Depth::Recursive).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(groups_are_fixed: bool) -> Surroundings {
        let own = IdMap::from_ranges(vec![sys::idmap::IdRange {
            inside: 0,
            outside: 1000,
            count: 1,
        }]);
        Surroundings {
            users: own.clone(),
            groups: own,
            groups_are_fixed,
            may_mount: true,
            initial: false,
        }
    }

    #[test]
    fn only_ids_that_exist_are_used() {
        let check = |uid, gid, groups_are_fixed, expected: &str| {
            let user = User {
                uid,
                gid,
                ..User::default()
            };
            let around = single(groups_are_fixed);
            let found = match around.check(&user) {
                Ok(()) => format!("{:?}", around.groups_of(&[0, 4])),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{user:?}");
        };
        check(0, 0, false, "Some([0])");
        check(0, 0, true, "None");
        check(
            7,
            0,
            false,
            "user 7 is not mapped into this user namespace: check /etc/subuid",
        );
        check(
            0,
            7,
            false,
            "group 7 is not mapped into this user namespace: check /etc/subgid",
        );
    }
}

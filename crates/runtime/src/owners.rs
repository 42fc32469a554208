//! Who owns what is made for a run in a user namespace: the ids of the container are others here.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Uid};
use sys::idmap::IdMaps;

use crate::RunError;
use crate::spec::{User, UserNamespace};

/// How ids of the container are called here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Owners<'a>(Option<&'a IdMaps>);

impl<'a> Owners<'a> {
    pub(crate) fn of(namespace: Option<&'a UserNamespace>) -> Self {
        Self(namespace.map(|namespace| &namespace.maps))
    }

    /// Says whether ids are the same everywhere.
    pub(crate) fn are_ours(self) -> bool {
        self.0.is_none()
    }

    /// Returns what an owner and a group of the container are called here.
    pub(crate) fn here(self, owner: (u32, u32)) -> (u32, u32) {
        self.0.map_or(owner, |maps| maps.outside(owner))
    }

    /// Returns root of the container, if that is somebody else than ours.
    pub(crate) fn root(self) -> Option<(u32, u32)> {
        Some(self.here((0, 0))).filter(|root| *root != (0, 0))
    }

    /// Gives what was made to the container's root.
    pub(crate) fn give(self, made: impl AsFd) -> io::Result<()> {
        match self.root() {
            Some((uid, gid)) => {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                let itself = AtFlags::EMPTY_PATH;
                Ok(rustix::fs::chownat(
                    made,
                    c"",
                    Some(uid),
                    Some(gid),
                    itself,
                )?)
            }
            None => Ok(()),
        }
    }

    /// Returns the groups of a user that exist in its own namespace; `None` without one.
    pub(crate) fn groups_of(self, groups: &[u32]) -> Option<Vec<u32>> {
        let maps = self.0?;
        let existing = groups.iter().copied();
        Some(existing.filter(|gid| maps.groups.contains(*gid)).collect())
    }

    /// Checks that a user and its group exist in its own namespace.
    pub(crate) fn check(self, user: &User) -> Result<(), RunError> {
        let Some(maps) = self.0 else { return Ok(()) };
        if !maps.users.contains(user.uid) {
            return Err(RunError::UnmappedUser { uid: user.uid });
        }
        if !maps.groups.contains(user.gid) {
            return Err(RunError::UnmappedGroup { gid: user.gid });
        }
        Ok(())
    }
}

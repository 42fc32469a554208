//! The user namespace of this process: which ids exist in it, and what its kind forbids.
//!
//! Only looks; namespaces are made and joined elsewhere.

use std::io;

/// Inode of the initial user namespace in procfs (`PROC_USER_INIT_INO`).
const INITIAL: u64 = 0xEFFF_FFFD;

/// Which user or group ids exist in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap(Vec<IdRange>);

/// Consecutive ids of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first one, inside.
    pub inside: u32,
    /// What it is called in the namespace around.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

impl IdMap {
    /// Reads the users of this process's namespace.
    ///
    /// # Errors
    /// When `/proc` cannot be read or holds something else than a map.
    pub fn of_users() -> io::Result<Self> {
        Self::read("/proc/self/uid_map")
    }

    /// Reads the groups of this process's namespace.
    ///
    /// # Errors
    /// As [`Self::of_users`].
    pub fn of_groups() -> io::Result<Self> {
        Self::read("/proc/self/gid_map")
    }

    fn read(path: &str) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, path))
    }

    /// Parses the text of a map (user_namespaces(7)).
    fn parse(text: &str) -> Option<Self> {
        let range = |line: &str| {
            let mut words = line.split_whitespace().map(|word| word.parse().ok());
            let range = IdRange {
                inside: words.next()??,
                outside: words.next()??,
                count: words.next()??,
            };
            words.next().is_none().then_some(range)
        };
        text.lines().map(range).collect::<Option<_>>().map(Self)
    }

    /// Makes a map of these ranges.
    #[must_use]
    pub fn from_ranges(ranges: Vec<IdRange>) -> Self {
        Self(ranges)
    }

    /// Returns the ranges, as the kernel lists them.
    #[must_use]
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// Says whether there is no range at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what `id` of the namespace is called around it, if it exists.
    #[must_use]
    pub fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let at = id.checked_sub(range.inside)?;
            (at < range.count).then(|| range.outside.checked_add(at))?
        })
    }

    /// Returns the map in the other direction.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let swapped = |range: &IdRange| IdRange {
            inside: range.outside,
            outside: range.inside,
            count: range.count,
        };
        Self(self.0.iter().map(swapped).collect())
    }

    /// Says whether `id` exists.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        let within = |range: &IdRange| {
            id.checked_sub(range.inside)
                .is_some_and(|at| at < range.count)
        };
        self.0.iter().any(within)
    }
}

/// Which users and groups exist in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// Users.
    pub users: IdMap,
    /// Groups.
    pub groups: IdMap,
}

impl IdMaps {
    /// Returns those of this process's namespace.
    ///
    /// # Errors
    /// As [`IdMap::of_users`].
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            users: IdMap::of_users()?,
            groups: IdMap::of_groups()?,
        })
    }

    /// Returns maps that leave every id of this process's namespace as it is.
    ///
    /// # Errors
    /// As [`IdMap::of_users`].
    pub fn same() -> io::Result<Self> {
        let same = |map: IdMap| {
            let same = |range: &IdRange| IdRange {
                outside: range.inside,
                ..*range
            };
            IdMap(map.0.iter().map(same).collect())
        };
        let Self { users, groups } = Self::own()?;
        Ok(Self {
            users: same(users),
            groups: same(groups),
        })
    }

    /// Says whether nobody exists there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Returns what an owner and a group are called around the namespace. Who does not exist there
    /// keeps the number, which means nobody inside.
    #[must_use]
    pub fn outside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (
            self.users.outside(uid).unwrap_or(uid),
            self.groups.outside(gid).unwrap_or(gid),
        )
    }

    /// Returns the maps in the other direction.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            users: self.users.inverse(),
            groups: self.groups.inverse(),
        }
    }
}

/// Says whether this process lives in the initial user namespace, to which the kernel leaves
/// making device nodes and raising hard limits whatever the capabilities elsewhere. Where the kernel
/// has no user namespaces there is only that one.
#[must_use]
pub fn in_initial_user_namespace() -> bool {
    rustix::fs::stat("/proc/self/ns/user").map_or(true, |stat| stat.st_ino == INITIAL)
}

/// Says whether setgroups(2) is forbidden in this process's namespace, as it is where one id was
/// mapped without help.
#[must_use]
pub fn groups_are_fixed() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "deny")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_and_asked() {
        let check = |text: &str, id: u32, expected: Option<bool>| {
            assert_eq!(
                IdMap::parse(text).map(|map| map.contains(id)),
                expected,
                "{text} {id}"
            );
        };
        let two = "         0       1000          1\n         1     100000      65536\n";
        check(two, 0, Some(true));
        check(two, 65536, Some(true));
        check(two, 65537, Some(false));
        check("0 1000 1\n", 1, Some(false));
        check("5 1000 2\n", 4, Some(false));
        check("0 0 4294967295\n", u32::MAX - 1, Some(true));
        check("", 0, Some(false));
        check("0 0\n", 0, None);
        check("0 0 1 1\n", 0, None);
        check("0 0 x\n", 0, None);
    }

    #[test]
    fn ids_are_translated() {
        let map = IdMap::parse("0 1000 1\n1 100000 10\n").unwrap();
        for (inside, outside) in [
            (0, Some(1000)),
            (1, Some(100_000)),
            (10, Some(100_009)),
            (11, None),
        ] {
            assert_eq!(map.outside(inside), outside, "{inside}");
            if let Some(outside) = outside {
                assert_eq!(map.inverse().outside(outside), Some(inside));
            }
        }
        let maps = IdMaps {
            users: map,
            groups: IdMap::default(),
        };
        assert_eq!(maps.outside((1, 1)), (100_000, 1));
    }

    #[test]
    fn this_process_has_its_own_id() {
        let own = rustix::process::geteuid().as_raw();
        assert!(IdMap::of_users().unwrap().contains(own));
        assert!(!IdMap::of_groups().unwrap().ranges().is_empty());
    }
}

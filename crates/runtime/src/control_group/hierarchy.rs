//! Where the control groups of this machine are, as `/proc` tells it.
//!
//! The first version has a tree for each set of controllers, the second one tree for all; a machine
//! may have both, and then a controller is in one of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Most bytes that are read of a file about control groups.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// Version of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    First,
    Second,
}

/// One tree of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Controllers of the first version; what the second has is read from its files.
    pub(super) controllers: Vec<String>,
    /// This process's own group: a directory below `mount`.
    pub(super) own: PathBuf,
}

impl Hierarchy {
    /// Where groups for processes of ours are made, unless asked otherwise. In the second version
    /// a group that holds processes cannot give controllers to groups below it, so there they are
    /// made beside our own.
    pub(super) fn home(&self) -> &Path {
        match (self.version, self.own.parent()) {
            (Version::Second, Some(above)) if self.own != self.mount => above,
            _ => &self.own,
        }
    }

    /// The directory that `path` means: absolute from the root of the tree, or else from
    /// [`Self::home`]. It never leaves the tree.
    pub(super) fn directory(&self, path: &Path) -> PathBuf {
        let mut found = if path.has_root() {
            self.mount.clone()
        } else {
            self.home().to_owned()
        };
        for part in path.components() {
            match part {
                Component::Normal(name) => found.push(name),
                Component::ParentDir if found != self.mount => {
                    found.pop();
                }
                _ => {}
            }
        }
        found
    }

    /// Says whether the tree has `controller`, in the first version.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }
}

/// Reads the trees from the content of `/proc/self/mountinfo` and `/proc/self/cgroup`. Trees
/// without controllers, as systemd has one for itself, are left out.
pub(super) fn parse(mounts: &[u8], groups: &[u8]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some(tree) = tree(line, groups) else {
            continue;
        };
        if !found
            .iter()
            .any(|known| known.version == tree.version && known.controllers == tree.controllers)
        {
            found.push(tree);
        }
    }
    found
}

fn tree(line: &[u8], groups: &[u8]) -> Option<Hierarchy> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (root, mount) = (fields.by_ref().nth(3)?, fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, _, options) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match kind {
        b"cgroup" => Version::First,
        b"cgroup2" => Version::Second,
        _ => return None,
    };
    let group = own_groups(groups).find(|group| match version {
        Version::First => {
            let words = || options.split(|byte| *byte == b',');
            !group.controllers.is_empty()
                && group
                    .controllers
                    .iter()
                    .all(|own| words().any(|word| word == own.as_bytes()))
        }
        Version::Second => group.number == b"0",
    })?;
    let (root, mount) = (unescape(root), unescape(mount));
    let mut own = mount.clone();
    // A group that is not below the mounted part of the tree is not seen from here.
    if let Ok(below) = group.path.strip_prefix(&root)
        && below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    {
        own.extend(below);
    }
    Some(Hierarchy {
        version,
        own,
        mount,
        controllers: group.controllers,
    })
}

struct Group<'a> {
    number: &'a [u8],
    controllers: Vec<String>,
    path: PathBuf,
}

/// The lines `NUMBER:CONTROLLERS:PATH` of `/proc/self/cgroup`.
fn own_groups(text: &[u8]) -> impl Iterator<Item = Group<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = String::from_utf8_lossy(controllers);
        let controllers = controllers.split(',');
        let real = |word: &&str| !word.is_empty() && !word.starts_with("name=");
        Some(Group {
            number,
            controllers: controllers.filter(real).map(str::to_owned).collect(),
            path: PathBuf::from(OsStr::from_bytes(path)),
        })
    })
}

/// Undoes the kernel's `\040` for bytes that would end a field.
fn unescape(field: &[u8]) -> PathBuf {
    let mut found = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        found.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsStr::from_bytes(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mounts: &str, groups: &str) -> Vec<String> {
        let found = parse(mounts.as_bytes(), groups.as_bytes());
        let line = |tree: &Hierarchy| {
            format!(
                "{:?} {} own={} home={} [{}]",
                tree.version,
                tree.mount.display(),
                tree.own.display(),
                tree.home().display(),
                tree.controllers.join(",")
            )
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn trees_are_found() {
        let one =
            "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            shown(one, "0::/user.slice/user-0.slice/session-1.scope\n"),
            [
                "Second /sys/fs/cgroup own=/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope \
              home=/sys/fs/cgroup/user.slice/user-0.slice []"
            ]
        );
        // In a control group namespace, and in one whose group lies outside of what is mounted.
        for groups in ["0::/\n", "0::/../other\n"] {
            assert_eq!(
                shown(one, groups),
                ["Second /sys/fs/cgroup own=/sys/fs/cgroup home=/sys/fs/cgroup []"],
                "{groups}"
            );
        }
        let many = "30 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            31 25 0:27 /docker/x /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:28 / /mnt/with\\040blank rw - cgroup cgroup rw,memory\n\
            33 25 0:28 / /elsewhere rw - cgroup cgroup rw,memory\n\
            34 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "4:name=systemd:/a\n3:memory:/m\n2:cpu,cpuacct:/docker/x/y\n0::/\n";
        assert_eq!(
            shown(many, groups),
            [
                "First /sys/fs/cgroup/cpu,cpuacct own=/sys/fs/cgroup/cpu,cpuacct/y \
                 home=/sys/fs/cgroup/cpu,cpuacct/y [cpu,cpuacct]",
                "First /mnt/with blank own=/mnt/with blank/m home=/mnt/with blank/m [memory]",
                "Second /sys/fs/cgroup/unified own=/sys/fs/cgroup/unified \
                 home=/sys/fs/cgroup/unified []",
            ]
        );
        assert!(shown("", "").is_empty());
        assert!(shown("garbage\n1 2 3\n", "x\n").is_empty());
    }

    #[test]
    fn paths_stay_in_the_tree() {
        let tree = |version| Hierarchy {
            version,
            mount: "/cg".into(),
            controllers: Vec::new(),
            own: "/cg/a/b".into(),
        };
        let check = |path: &str, first: &str, second: &str| {
            let path = Path::new(path);
            assert_eq!(tree(Version::First).directory(path), Path::new(first));
            assert_eq!(tree(Version::Second).directory(path), Path::new(second));
        };
        check("", "/cg/a/b", "/cg/a");
        check("x", "/cg/a/b/x", "/cg/a/x");
        check("/x/y", "/cg/x/y", "/cg/x/y");
        check("../../../../etc", "/cg/etc", "/cg/etc");
        check("/../etc", "/cg/etc", "/cg/etc");
    }
}

//! Where configuration files are looked for, as values: this crate asks no environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything outside of the files that decides what is read and what it means.
#[derive(Clone, Debug)]
pub struct SearchRoots {
    /// Files of the user: `$XDG_CONFIG_HOME/containers`.
    pub user: PathBuf,
    /// Files of the administrator: `/etc/containers`.
    pub system: PathBuf,
    /// Files of the distribution: `/usr/share/containers`.
    pub vendor: PathBuf,
    /// The user's data: `$XDG_DATA_HOME`, or `~/.local/share`.
    pub data_home: PathBuf,
    /// `$XDG_RUNTIME_DIR`, if set.
    pub runtime_dir: Option<PathBuf>,
    /// The real user ID; that of the user outside of a user namespace of our own.
    pub uid: u32,
    /// Environment variables: overriding ones such as `CONTAINERS_STORAGE_CONF`, and those
    /// that `$NAME` in a path may mean.
    pub variables: BTreeMap<String, String>,
}

impl SearchRoots {
    /// Returns the usual places for a user with this home directory and environment.
    #[must_use]
    pub fn new(home: &Path, uid: u32, variables: BTreeMap<String, String>) -> Self {
        let absolute = |name: &str| {
            variables
                .get(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            user: absolute("XDG_CONFIG_HOME")
                .unwrap_or_else(|| home.join(".config"))
                .join("containers"),
            system: PathBuf::from("/etc/containers"),
            vendor: PathBuf::from("/usr/share/containers"),
            data_home: absolute("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            uid,
            variables,
        }
    }

    /// Returns a variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Tells whether locations are those of a user rather than of the system.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.uid != 0
    }
}

/// The files that make up one configuration, in the order in which later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// All files, the main one first.
    pub paths: Vec<PathBuf>,
    /// Files that a variable named and that must exist.
    pub required: Vec<PathBuf>,
}

impl Files {
    /// Finds the files for a configuration such as `storage.conf`: one main file (the user's,
    /// else the administrator's, else the distribution's) and drop-ins in the order of their
    /// names, of which the one in the nearest directory hides those of the same name.
    #[must_use]
    pub fn find(roots: &SearchRoots, name: &str) -> Self {
        let variable = format!(
            "CONTAINERS_{}",
            name.to_ascii_uppercase().replace(['.', '-'], "_")
        );
        let mut files = Self::default();
        if let Some(only) = roots.variable(&variable) {
            files.paths.push(PathBuf::from(only));
            files.required.push(PathBuf::from(only));
        } else {
            let places = [&roots.user, &roots.system, &roots.vendor];
            files.paths.extend(
                places
                    .iter()
                    .map(|dir| dir.join(name))
                    .find(|path| path.exists()),
            );
            files.paths.extend(drop_ins(roots, name));
        }
        if let Some(last) = roots.variable(&format!("{variable}_OVERRIDE")) {
            files.paths.push(PathBuf::from(last));
            files.required.push(PathBuf::from(last));
        }
        files
    }
}

fn drop_ins(roots: &SearchRoots, name: &str) -> Vec<PathBuf> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "conf"));
    let special: Vec<String> = if roots.is_user() {
        vec![
            format!("{stem}.rootless.{extension}.d"),
            format!("{stem}.rootless.{extension}.d/{}", roots.uid),
        ]
    } else {
        vec![format!("{stem}.rootful.{extension}.d")]
    };
    // From the farthest to the nearest, so that the nearer of equal names stays.
    let mut dirs = Vec::new();
    for place in [&roots.vendor, &roots.system] {
        dirs.push(place.join(format!("{name}.d")));
        dirs.extend(special.iter().map(|dir| place.join(dir)));
    }
    dirs.push(roots.user.join(format!("{name}.d")));
    let mut by_name = BTreeMap::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|found| found == "conf") && !path.is_dir() {
                by_name.insert(entry.file_name(), path);
            }
        }
    }
    by_name.into_values().collect()
}

//! Where configuration files are looked for, as values: this crate asks no environment.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
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
    /// The user's home: `$HOME`.
    pub home: PathBuf,
    /// What can be fetched again: `$XDG_CACHE_HOME`, or `~/.cache`.
    pub cache_home: PathBuf,
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
            home: home.to_path_buf(),
            cache_home: absolute("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")),
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

    /// The directory for what ends with the user's session: `$XDG_RUNTIME_DIR` if that is there, else the one that
    /// systemd makes of it, else one below the directory for large temporary files. It need not exist.
    #[must_use]
    pub fn session_dir(&self) -> PathBuf {
        if let Some(dir) = self.runtime_dir.as_ref().filter(|dir| dir.exists()) {
            return dir.clone();
        }
        let run = PathBuf::from(format!("/run/user/{}", self.uid));
        if is_private(&run) {
            return run;
        }
        let temporary = self.variable("TMPDIR").map(Path::new);
        let temporary = temporary.filter(|dir| dir.is_absolute());
        let temporary = temporary.unwrap_or(Path::new("/var/tmp"));
        temporary.join(format!("storage-run-{}", self.uid))
    }

    /// Tells whether locations are those of a user rather than of the system.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.uid != 0
    }
}

/// Tells whether a directory is this process's and nobody else can write to it. In a user namespace the user
/// outside has another number there.
fn is_private(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| {
        meta.is_dir()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.permissions().mode() & 0o077 == 0
    })
}

/// Which main file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainFile<'a> {
    /// What the environment names, else the first of the usual ones that exists.
    Found,
    /// The one that the command line names. Drop-ins are still read.
    Named(&'a Path),
}

/// The files that make up one configuration, in the order in which later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// All files, the main one first.
    pub paths: Vec<PathBuf>,
    /// Files that a variable or the command line named and that must exist.
    pub required: Vec<PathBuf>,
    /// The main file, if there is one.
    pub main: Option<PathBuf>,
    /// The directories of drop-ins that were looked into, whether they exist or not, the one that wins first.
    pub dirs: Vec<PathBuf>,
}

impl Files {
    /// Finds the files for a configuration such as `storage.conf`: one main file (the user's,
    /// else the administrator's, else the distribution's) and drop-ins in the order of their
    /// names, of which the one in the nearest directory hides those of the same name.
    #[must_use]
    pub fn find(roots: &SearchRoots, name: &str) -> Self {
        Self::find_with(roots, name, MainFile::Found)
    }

    /// As [`Files::find`], with a say in which main file is read.
    #[must_use]
    pub fn find_with(roots: &SearchRoots, name: &str, main: MainFile<'_>) -> Self {
        let variable = variable(name);
        let mut files = Self::default();
        match (main, roots.variable(&variable)) {
            (MainFile::Named(path), _) => {
                files.take_required(path.to_path_buf());
                files.main = Some(path.to_path_buf());
                files.add_drop_ins(roots, name);
            }
            (MainFile::Found, Some(only)) => {
                files.take_required(PathBuf::from(only));
                files.main = Some(PathBuf::from(only));
            }
            (MainFile::Found, None) => {
                files.main = [&roots.user, &roots.system, &roots.vendor]
                    .iter()
                    .map(|dir| dir.join(name))
                    .find(|path| path.exists());
                files.paths.extend(files.main.clone());
                files.add_drop_ins(roots, name);
            }
        }
        if let Some(last) = roots.variable(&format!("{variable}_OVERRIDE")) {
            files.take_required(PathBuf::from(last));
        }
        files
    }

    fn take_required(&mut self, path: PathBuf) {
        self.paths.push(path.clone());
        self.required.push(path);
    }

    fn add_drop_ins(&mut self, roots: &SearchRoots, name: &str) {
        self.dirs = drop_in_dirs(roots, name, &format!("{name}.d"));
        self.paths.extend(by_name(&self.dirs, "conf"));
    }

    /// Finds the files of a configuration that has directories only, such as `registries.d` with its `*.yaml`.
    #[must_use]
    pub fn of_directories(roots: &SearchRoots, name: &str, extension: &str) -> Self {
        let dirs = drop_in_dirs(roots, name, name);
        Self {
            paths: by_name(&dirs, extension),
            dirs,
            ..Self::default()
        }
    }

    /// Finds the files of one directory that was named.
    #[must_use]
    pub fn of_directory(dir: &Path, extension: &str) -> Self {
        let dirs = vec![dir.to_path_buf()];
        Self {
            paths: by_name(&dirs, extension),
            dirs,
            ..Self::default()
        }
    }
}

/// The variable that names the only file: `CONTAINERS_REGISTRIES_CONF`, and `CONTAINERS_CONF` for `containers.conf`.
fn variable(name: &str) -> String {
    let words = name.to_ascii_uppercase().replace(['.', '-'], "_");
    if words.starts_with("CONTAINERS_") {
        words
    } else {
        format!("CONTAINERS_{words}")
    }
}

/// The directories beside `NAME.EXT` or named `NAME.d`, the one that wins first: the user's, then the administrator's and
/// the distribution's, each of these with the one for this kind of user before the one for everybody.
pub(crate) fn drop_in_dirs(roots: &SearchRoots, name: &str, plain: &str) -> Vec<PathBuf> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "conf"));
    let tail = if extension == "d" {
        "d".to_owned()
    } else {
        format!("{extension}.d")
    };
    let special: Vec<String> = if roots.is_user() {
        vec![
            format!("{stem}.rootless.{tail}/{}", roots.uid),
            format!("{stem}.rootless.{tail}"),
        ]
    } else {
        vec![format!("{stem}.rootful.{tail}")]
    };
    let mut dirs = vec![roots.user.join(plain)];
    for place in [&roots.system, &roots.vendor] {
        dirs.extend(special.iter().map(|dir| place.join(dir)));
        dirs.push(place.join(plain));
    }
    dirs
}

/// The files of the directories with this extension, sorted by name; of equal names that of the first directory.
fn by_name(dirs: &[PathBuf], extension: &str) -> Vec<PathBuf> {
    let mut by_name = BTreeMap::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|found| found == extension) && !path.is_dir() {
                by_name.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    by_name.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_directory() {
        // A number that no user of this machine has, and so no directory of systemd's.
        let uid = 3_999_999_999;
        let check = |variables: &[(&str, &str)], expected: &str| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let variables = variables.iter().map(pair).collect();
            let roots = SearchRoots::new(Path::new("/h"), uid, variables);
            assert_eq!(roots.session_dir(), Path::new(expected));
        };
        check(&[("XDG_RUNTIME_DIR", "/run"), ("TMPDIR", "/t")], "/run");
        check(
            &[("XDG_RUNTIME_DIR", "/gone/r"), ("TMPDIR", "/t")],
            "/t/storage-run-3999999999",
        );
        check(&[("TMPDIR", "/t")], "/t/storage-run-3999999999");
        check(&[("TMPDIR", "t")], "/var/tmp/storage-run-3999999999");
        check(&[], "/var/tmp/storage-run-3999999999");
    }

    #[test]
    fn configurations_have_their_variables_and_directories() {
        for (name, expected) in [
            ("containers.conf", "CONTAINERS_CONF"),
            ("registries.conf", "CONTAINERS_REGISTRIES_CONF"),
            ("storage.conf", "CONTAINERS_STORAGE_CONF"),
            ("policy.json", "CONTAINERS_POLICY_JSON"),
        ] {
            assert_eq!(variable(name), expected);
        }
        let check = |uid, name: &str, plain: &str, expected: &[&str]| {
            let mut roots = SearchRoots::new(Path::new("/h"), uid, BTreeMap::new());
            roots.user = "U".into();
            roots.system = "E".into();
            roots.vendor = "D".into();
            let dirs: Vec<String> = drop_in_dirs(&roots, name, plain)
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            assert_eq!(dirs, expected);
        };
        check(
            0,
            "registries.conf",
            "registries.conf.d",
            &[
                "U/registries.conf.d",
                "E/registries.rootful.conf.d",
                "E/registries.conf.d",
                "D/registries.rootful.conf.d",
                "D/registries.conf.d",
            ],
        );
        check(
            7,
            "registries.d",
            "registries.d",
            &[
                "U/registries.d",
                "E/registries.rootless.d/7",
                "E/registries.rootless.d",
                "E/registries.d",
                "D/registries.rootless.d/7",
                "D/registries.rootless.d",
                "D/registries.d",
            ],
        );
    }
}

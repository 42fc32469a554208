//! A host's directories for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::roots::SearchRoots;

/// Directories of their own; gone when dropped.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) roots: SearchRoots,
}

impl World {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.roots
            .variables
            .insert(variable.to_owned(), value.to_owned());
    }

    /// A text in which the directories have their short names.
    pub(crate) fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

/// Makes `user/`, `etc/`, `usr/`, `home/` and `run/` with these files.
pub(crate) fn world(uid: u32, files: &[(&str, &str)]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut roots = SearchRoots::new(Path::new("/home/u"), uid, BTreeMap::new());
    roots.user = dir.path().join("user");
    roots.system = dir.path().join("etc");
    roots.vendor = dir.path().join("usr");
    roots.home = dir.path().join("home");
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    roots
        .variables
        .insert("XDG_RUNTIME_DIR".to_owned(), run.display().to_string());
    roots.runtime_dir = Some(run);
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    World { dir, roots }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

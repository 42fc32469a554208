//! One control group while it is in use: a directory in each tree that it needs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::hierarchy::{self, Hierarchy, MAX_FILE, Version};
use super::setting::{self, Setting};
use super::{ControlGroup, ControlGroupError};

/// What the names of our groups begin with.
const PREFIX: &str = "cooper-run-";
/// Most groups of one process at a time.
const MAX_GROUPS: u32 = 10_000;
/// How often the removal of a group whose processes are just ending is tried, and how long is
/// waited before the second try; each further wait is longer by as much.
const REMOVALS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(1);

/// Groups above ours that this process has made, to be removed with the last of ours.
static MADE_ABOVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A group in use. Dropping it removes it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    places: Vec<Place>,
}

/// The group's directory in one tree.
#[derive(Debug)]
struct Place {
    version: Version,
    /// Where the tree is mounted.
    mount: PathBuf,
    path: PathBuf,
    /// The directory, locked for as long as the group is in use.
    directory: File,
    /// What a process enters the group through.
    entrance: Option<OwnedFd>,
}

impl Group {
    /// Makes the group that `asked` describes.
    ///
    /// # Errors
    /// When it cannot be made, or a limit cannot be set. Nothing is left then.
    pub(crate) fn make(asked: &ControlGroup) -> Result<Self, ControlGroupError> {
        Self::in_trees(asked, &trees()?)
    }

    fn in_trees(asked: &ControlGroup, trees: &[Hierarchy]) -> Result<Self, ControlGroupError> {
        let settings = Settings::of(asked, trees)?;
        let parent = asked.parent.as_deref();
        let mut group = Self::default();
        for tree in trees {
            let wanted = settings.for_tree(tree);
            if wanted.is_empty() && parent.is_none() {
                continue;
            }
            let above = tree.directory(parent.unwrap_or(Path::new("")));
            let controllers = controllers(&wanted);
            prepare_above(tree, &above, &controllers)?;
            let place = Place::make(tree, &above)?;
            group.places.push(place);
            if let Some(place) = group.places.last_mut() {
                place.set_up(&above, &wanted)?;
            }
        }
        Ok(group)
    }

    /// What a process enters the group through: it writes `0` into each.
    pub(crate) fn entrances(&mut self) -> Vec<OwnedFd> {
        let places = self.places.iter_mut();
        places.filter_map(|place| place.entrance.take()).collect()
    }

    /// The directories of the first version and where their trees are mounted: a process finds its
    /// own group in the place of a whole tree.
    pub(crate) fn views(&self) -> impl Iterator<Item = (&Path, BorrowedFd<'_>)> {
        let first = self
            .places
            .iter()
            .filter(|place| place.version == Version::First);
        first.map(|place| (place.mount.as_path(), place.directory.as_fd()))
    }

    /// Removes the group. Its processes have ended; those that have not are killed.
    ///
    /// # Errors
    /// When it stays.
    pub(crate) fn close(mut self) -> Result<(), ControlGroupError> {
        let mut result = Ok(());
        for place in self.places.drain(..) {
            let removed = place.remove();
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            let _ = place.remove();
        }
    }
}

/// Removes the groups that killed programs have left in the usual place, once for each process.
pub(crate) fn sweep_usual() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for tree in trees().unwrap_or_default() {
            sweep(tree.home());
        }
    });
}

/// What is to be set, in the version where each controller is.
struct Settings {
    first: Vec<Setting>,
    second: Vec<Setting>,
}

impl Settings {
    fn of(asked: &ControlGroup, trees: &[Hierarchy]) -> Result<Self, ControlGroupError> {
        let in_first = |setting: &Setting| trees.iter().any(|tree| tree.has(setting.controller));
        let (first, others): (Vec<_>, Vec<_>) = setting::first_version(&asked.resources)
            .into_iter()
            .partition(in_first);
        let Some(other) = others.first() else {
            return Ok(Self {
                first,
                second: Vec::new(),
            });
        };
        if !trees.iter().any(|tree| tree.version == Version::Second) {
            let controller = other.controller;
            return Err(ControlGroupError::NoController { controller });
        }
        let mut second = setting::second_version(&asked.resources)?;
        second.retain(|setting| !in_first(setting));
        Ok(Self { first, second })
    }

    fn for_tree(&self, tree: &Hierarchy) -> Vec<Setting> {
        match tree.version {
            Version::First => {
                let own = self
                    .first
                    .iter()
                    .filter(|setting| tree.has(setting.controller));
                own.cloned().collect()
            }
            Version::Second => self.second.clone(),
        }
    }
}

impl Place {
    /// Makes a new group below `above` and locks it.
    fn make(tree: &Hierarchy, above: &Path) -> Result<Self, ControlGroupError> {
        let process = rustix::process::getpid().as_raw_nonzero();
        for number in 0..MAX_GROUPS {
            let path = above.join(format!("{PREFIX}{process}-{number}"));
            let failed = |source| ControlGroupError::Make {
                path: path.clone(),
                source,
            };
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed)?,
            }
            if let Some(directory) = lock_new(&path).map_err(failed)? {
                return Ok(Self {
                    version: tree.version,
                    mount: tree.mount.clone(),
                    path,
                    directory,
                    entrance: None,
                });
            }
        }
        Err(ControlGroupError::Make {
            path: above.to_owned(),
            source: io::Error::other(format!("more than {MAX_GROUPS} groups")),
        })
    }

    fn set_up(&mut self, above: &Path, settings: &[Setting]) -> Result<(), ControlGroupError> {
        match self.version {
            Version::First => inherit_cpuset(above, &self.path)?,
            Version::Second => check_controllers(&self.path, &controllers(settings))?,
        }
        for setting in settings {
            apply(&self.path, setting)?;
        }
        let path = self.path.join("cgroup.procs");
        match File::options().write(true).open(&path) {
            Ok(file) => self.entrance = Some(file.into()),
            Err(source) => return Err(ControlGroupError::Make { path, source }),
        }
        Ok(())
    }

    fn remove(self) -> Result<(), ControlGroupError> {
        let removed = remove_group(&self.path);
        let mut made = MADE_ABOVE.lock().unwrap_or_else(PoisonError::into_inner);
        for above in self.path.ancestors().skip(1) {
            if !made.contains(above) || std::fs::remove_dir(above).is_err() {
                break;
            }
            made.remove(above);
        }
        removed.map_err(|source| ControlGroupError::Remove {
            path: self.path.clone(),
            source,
        })
    }
}

/// Removes a group, killing what is in it when something is. That it is gone is fine.
fn remove_group(path: &Path) -> io::Result<()> {
    for attempt in 1..=REMOVALS {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
        kill_members(path);
        std::thread::sleep(PAUSE * attempt);
    }
    Err(Errno::BUSY.into())
}

fn kill_members(path: &Path) {
    let text = read(&path.join("cgroup.procs")).unwrap_or_default();
    for word in text.split_whitespace() {
        if let Some(pid) = word.parse().ok().and_then(Pid::from_raw) {
            // That it has just ended is what is wanted.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Opens and locks a directory that was just made; `None` when somebody's [`sweep`] was faster.
fn lock_new(path: &Path) -> io::Result<Option<File>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    let still_there = match std::fs::metadata(path) {
        Ok(facts) => facts.ino() == directory.metadata()?.ino(),
        Err(_) => false,
    };
    Ok(still_there.then_some(directory))
}

/// Removes what of our groups in `above` nobody uses any more.
fn sweep(above: &Path) {
    let Ok(entries) = std::fs::read_dir(above) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else {
            continue;
        };
        if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // One that holds processes stays: they may be about to end.
            let _ = rustix::fs::rmdir(entry.path());
        }
    }
}

/// Makes the group that ours lies below, and lets it have the controllers.
fn prepare_above(
    tree: &Hierarchy,
    above: &Path,
    controllers: &[&'static str],
) -> Result<(), ControlGroupError> {
    for path in between(&tree.mount, above) {
        match std::fs::create_dir(&path) {
            Ok(()) => {
                let mut made = MADE_ABOVE.lock().unwrap_or_else(PoisonError::into_inner);
                made.insert(path.clone());
            }
            Err(_) if path.is_dir() => {}
            Err(source) => return Err(ControlGroupError::Make { path, source }),
        }
        if let (Version::First, Some(parent)) = (tree.version, path.parent()) {
            inherit_cpuset(parent, &path)?;
        }
    }
    sweep(above);
    if tree.version == Version::Second {
        give_on(&tree.mount, controllers);
        for path in between(&tree.mount, above) {
            give_on(&path, controllers);
        }
    }
    Ok(())
}

/// The directories from `mount`, without it, down to `below`.
fn between(mount: &Path, below: &Path) -> Vec<PathBuf> {
    let rest = below.strip_prefix(mount).unwrap_or(Path::new(""));
    let mut path = mount.to_owned();
    let step = |part| {
        path.push(part);
        path.clone()
    };
    rest.components().map(step).collect()
}

/// Lets the groups in `path` have `controllers`. Whether it worked is seen in the group that needs
/// them: where others have seen to it this process need not be allowed to.
fn give_on(path: &Path, controllers: &[&'static str]) {
    let file = path.join("cgroup.subtree_control");
    let given = read(&file).unwrap_or_default();
    for controller in controllers {
        if !given.split_whitespace().any(|word| word == *controller) {
            let _ = write(&file, &format!("+{controller}"));
        }
    }
}

/// Checks that a group of the second version has its controllers, and says why not.
fn check_controllers(path: &Path, controllers: &[&'static str]) -> Result<(), ControlGroupError> {
    let file = path.join("cgroup.controllers");
    let there = read(&file).map_err(|source| ControlGroupError::Read { path: file, source })?;
    for controller in controllers {
        if there.split_whitespace().any(|word| word == *controller) {
            continue;
        }
        let refused = path.ancestors().skip(1).find_map(|above| {
            let file = above.join("cgroup.subtree_control");
            write(&file, &format!("+{controller}")).err()
        });
        return Err(ControlGroupError::NotGivenOn {
            controller,
            path: path.to_owned(),
            source: refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()),
        });
    }
    Ok(())
}

/// Gives a group of the first version the processors and memory nodes of the one above: without
/// any no process can enter it.
fn inherit_cpuset(above: &Path, path: &Path) -> Result<(), ControlGroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (above.join(file), path.join(file));
        if !read(&to).is_ok_and(|own| own.trim().is_empty()) {
            continue;
        }
        let value = read(&from).map_err(|source| ControlGroupError::Read { path: from, source })?;
        let value = value.trim().to_owned();
        write(&to, &value).map_err(|source| ControlGroupError::Write {
            value,
            path: to,
            source,
        })?;
    }
    Ok(())
}

fn apply(path: &Path, setting: &Setting) -> Result<(), ControlGroupError> {
    let path = path.join(setting.file);
    match write(&path, &setting.value) {
        // A kernel that does not account for swap has no such file, and no limit.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && ["max", "-1"].contains(&setting.value.as_str()) =>
        {
            Ok(())
        }
        Err(source) => Err(ControlGroupError::Write {
            value: setting.value.clone(),
            path,
            source,
        }),
        Ok(()) => Ok(()),
    }
}

fn controllers(settings: &[Setting]) -> Vec<&'static str> {
    let mut names: Vec<_> = settings.iter().map(|setting| setting.controller).collect();
    names.dedup();
    names
}

fn trees() -> Result<Vec<Hierarchy>, ControlGroupError> {
    let read = |path: &str| {
        read(Path::new(path)).map_err(|source| ControlGroupError::Read {
            path: path.into(),
            source,
        })
    };
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    Ok(hierarchy::parse(mounts.as_bytes(), groups.as_bytes()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file of the kernel in one call; it is never made.
fn write(path: &Path, value: &str) -> io::Result<()> {
    File::options()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in the place of the kernel's tree: files take what is written and do nothing.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let folder = format!("cooper-control-group-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(folder);
            std::fs::create_dir_all(&path).expect("makes a folder");
            Self(path)
        }

        fn file(&self, name: &str, content: &str) {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().expect("is below")).expect("makes a folder");
            std::fs::write(path, content).expect("writes");
        }

        fn content(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).expect("reads")
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn second(mount: &Path, own: &str) -> Hierarchy {
        Hierarchy {
            version: Version::Second,
            mount: mount.to_owned(),
            controllers: Vec::new(),
            own: mount.join(own),
        }
    }

    #[test]
    fn controllers_are_given_on_from_the_root_down() {
        let fake = Fake::new("given");
        fake.file("cgroup.subtree_control", "cpu memory\n");
        fake.file("a/cgroup.subtree_control", "");
        let tree = second(&fake.0, "a/shell");
        prepare_above(&tree, &fake.0.join("a/b"), &["memory"]).expect("prepares");
        assert_eq!(fake.content("cgroup.subtree_control"), "cpu memory\n");
        assert_eq!(fake.content("a/cgroup.subtree_control"), "+memory");
        assert!(fake.0.join("a/b").is_dir());
        let made = MADE_ABOVE.lock().expect("lock");
        assert!(made.contains(&fake.0.join("a/b")) && !made.contains(&fake.0.join("a")));
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let fake = Fake::new("missing");
        fake.file("g/cgroup.controllers", "cpu pids\n");
        let path = fake.0.join("g");
        check_controllers(&path, &["cpu"]).expect("is there");
        let error = check_controllers(&path, &["cpu", "memory"]).expect_err("is not");
        let expected = format!(
            "cannot limit memory in the control group {}: a group above does not give it on",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn settings_are_written_where_the_kernel_has_their_files() {
        let fake = Fake::new("settings");
        fake.file("memory.max", "max\n");
        let check = |file, value: &str, expected: &str| {
            let setting = Setting {
                controller: "memory",
                file,
                value: value.to_owned(),
            };
            let found = apply(&fake.0, &setting)
                .err()
                .map(|error| error.to_string());
            assert_eq!(found.unwrap_or_default(), expected, "{file}");
        };
        check("memory.max", "100", "");
        assert!(fake.content("memory.max").starts_with("100"));
        check("memory.swap.max", "max", "");
        let missing = fake.0.join("memory.swap.max");
        let expected = format!("failed to write \"5\": write {}", missing.display());
        check("memory.swap.max", "5", &expected);
    }

    #[test]
    fn processors_are_inherited_once() {
        let fake = Fake::new("cpuset");
        for (file, content) in [
            ("cpuset.cpus", "0-3\n"),
            ("cpuset.mems", "0\n"),
            ("g/cpuset.cpus", "\n"),
            ("g/cpuset.mems", "1\n"),
        ] {
            fake.file(file, content);
        }
        inherit_cpuset(&fake.0, &fake.0.join("g")).expect("inherits");
        assert_eq!(fake.content("g/cpuset.cpus"), "0-3");
        assert_eq!(fake.content("g/cpuset.mems"), "1\n");
    }

    #[test]
    fn groups_in_use_are_not_swept() {
        let fake = Fake::new("sweep");
        let tree = second(&fake.0, "");
        let used = Place::make(&tree, &fake.0).expect("makes one");
        let left = Place::make(&tree, &fake.0).expect("makes another");
        assert_ne!(used.path, left.path);
        let path = left.path.clone();
        drop(left.directory);
        std::fs::create_dir(fake.0.join("other")).expect("makes a folder");
        sweep(&fake.0);
        assert!(used.path.is_dir() && !path.exists() && fake.0.join("other").is_dir());
        used.remove().expect("removes");
    }
}

//! A store in a directory of its own, taken down with everything mounted in it.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails the test"
)]

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::Times;
use cooper_store::{DriverName, NewImage, Privilege, Stack, Store, StoreOptions};
use model::{Digest, ImageId, LayerId};

pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root: it mounts overlay file systems"
        );
        let dir = PathBuf::from(format!(
            "/var/tmp/cooper-dev-store/{name}-{}",
            std::process::id()
        ));
        let scratch = Self { dir };
        scratch.clear();
        fs::create_dir_all(&scratch.dir).unwrap();
        // The host's own settings shall not decide how the tools behave.
        fs::write(scratch.path("containers.conf"), "").unwrap();
        scratch
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn options(&self, driver: DriverName) -> StoreOptions {
        let mut options =
            StoreOptions::new(self.path("root"), self.path("run")).with_driver(driver);
        options.privilege = Privilege::Root;
        options
    }

    pub(crate) fn store(&self, driver: DriverName) -> Store {
        Store::open(self.options(driver)).unwrap()
    }

    /// Runs a tool on this store and returns its output.
    pub(crate) fn tool(&self, tool: &str, driver: DriverName, args: &[&str]) -> String {
        self.try_tool(tool, driver, args)
            .unwrap_or_else(|error| panic!("{tool} {args:?}: {error}"))
    }

    pub(crate) fn try_tool(
        &self,
        tool: &str,
        driver: DriverName,
        args: &[&str],
    ) -> Result<String, String> {
        let mut command = Command::new(tool);
        command
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("STORAGE_DRIVER", driver.as_str());
        if tool != "skopeo" {
            command
                .arg("--root")
                .arg(self.path("root"))
                .arg("--runroot")
                .arg(self.path("run"))
                .args(["--storage-driver", driver.as_str()]);
        }
        if tool == "podman" {
            command.args(["--cgroup-manager", "cgroupfs"]);
        }
        let output = command
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("this test needs {tool}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// The name by which Skopeo knows an image of this store.
    pub(crate) fn reference(&self, driver: DriverName, name: &str) -> String {
        format!(
            "containers-storage:[{driver}@{}+{}]{name}",
            self.path("root").display(),
            self.path("run").display()
        )
    }

    fn clear(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut below: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| Path::new(path).starts_with(&self.dir))
            .collect();
        below.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for path in below {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A path through which the standard library reaches into a root.
pub(crate) fn inside(root: impl AsFd, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{path}", root.as_fd().as_raw_fd()))
}

/// Everything below a root as one line per entry.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    fn walk(top: &Path, dir: &Path, out: &mut Vec<String>) {
        let mut paths: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                out.push(format!("{name}/"));
                walk(top, &path, out);
            } else if meta.is_symlink() {
                out.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else {
                out.push(format!("{name}: {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out
}

/// Writes the first of two layers.
pub(crate) fn first_layer(stack: &mut Stack) {
    let root = stack.root().unwrap();
    for dir in ["etc", "gone", "replaced", "replaced/inner"] {
        fs::create_dir(inside(root, dir)).unwrap();
    }
    for (path, text) in [
        ("etc/a", "a"),
        ("etc/b", "b"),
        ("gone/c", "c"),
        ("replaced/inner/d", "d"),
        ("top", "top"),
    ] {
        fs::write(inside(root, path), text).unwrap();
    }
    fs::hard_link(inside(root, "etc/a"), inside(root, "etc/a-again")).unwrap();
    std::os::unix::fs::symlink("a", inside(root, "etc/link")).unwrap();
}

/// Writes the second: a removed directory, a replaced one, a removed and a changed file.
pub(crate) fn second_layer(stack: &mut Stack) {
    let root = stack.root().unwrap();
    fs::remove_dir_all(inside(root, "gone")).unwrap();
    fs::remove_dir_all(inside(root, "replaced")).unwrap();
    fs::create_dir(inside(root, "replaced")).unwrap();
    fs::write(inside(root, "replaced/new"), "new").unwrap();
    fs::remove_file(inside(root, "etc/b")).unwrap();
    fs::write(inside(root, "top"), "changed").unwrap();
}

/// What both layers together show.
pub(crate) const BOTH: [&str; 8] = [
    "etc/",
    "etc/a: a",
    "etc/a-again: a",
    "etc/link -> a",
    "replaced/",
    "replaced/new: new",
    "top: changed",
    "",
];

pub(crate) fn both() -> Vec<String> {
    BOTH.iter()
        .filter(|line| !line.is_empty())
        .map(|line| (*line).to_owned())
        .collect()
}

/// Publishes the two layers.
pub(crate) fn two_layers(store: &Store) -> Vec<LayerId> {
    let mut stack = store.stack(None).unwrap();
    first_layer(&mut stack);
    let first = stack.freeze().unwrap();
    let thread = std::thread::spawn(move || first.digest(Times::Keep).unwrap());
    second_layer(&mut stack);
    let second = stack.freeze().unwrap().digest(Times::Keep).unwrap();
    let first = thread.join().unwrap();
    store.publish_stack(stack, vec![first, second]).unwrap()
}

/// Records an image of these layers.
pub(crate) fn image(store: &Store, layers: &[LayerId], names: &[&str]) -> ImageId {
    let snapshot = store.layers().unwrap();
    let records: Vec<_> = layers.iter().map(|id| snapshot.get(id).unwrap()).collect();
    let diffs: Vec<String> = records
        .iter()
        .map(|one| one.diff_digest.as_ref().unwrap().to_string())
        .collect();
    let history: Vec<String> = diffs
        .iter()
        .map(|_| r#"{"created":"2024-01-02T03:04:05Z","created_by":"test"}"#.to_owned())
        .collect();
    let config = format!(
        r#"{{"created":"2024-01-02T03:04:05Z","architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}},"history":[{}]}}"#,
        diffs.join("\",\""),
        history.join(",")
    );
    let blobs: Vec<String> = records
        .iter()
        .map(|one| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}"#,
                one.diff_digest.as_ref().unwrap(),
                one.diff_size.unwrap()
            )
        })
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
        Digest::sha256(config.as_bytes()),
        config.len(),
        blobs.join(",")
    );
    let new = NewImage::new(
        layers.last().cloned(),
        manifest.as_bytes(),
        config.as_bytes(),
    )
    .with_names(names.iter().map(|name| (*name).to_owned()).collect());
    store.put_image(new).unwrap().id.clone()
}

//! What a crash at each step of a change leaves: a store that opens, holds all that was
//! there before, and takes the change when it is tried again.
//!
//! A second process of this test program makes the change and dies at the wanted point
//! without unwinding.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::Times;
use model::{ContainerId, LayerId};

use crate::{DriverName, NewContainer, NewImage, Reaped, Result, Store, StoreOptions, WhenMounted};

const DIR: &str = "COOPER_STORE_CRASH_DIR";
const CHANGE: &str = "COOPER_STORE_CRASH_CHANGE";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root: it mounts overlay file systems"
        );
        let path = PathBuf::from(format!(
            "/var/tmp/cooper-dev-store/crash-{name}-{}",
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(dir: &Path) -> Store {
    let options =
        StoreOptions::new(dir.join("root"), dir.join("run")).with_driver(DriverName::Overlay);
    Store::open(options).unwrap()
}

fn inside(root: impl AsFd, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{path}", root.as_fd().as_raw_fd()))
}

/// Publishes one layer per file on `base`.
fn publish(store: &Store, base: Option<&LayerId>, files: &[&str]) -> Result<Vec<LayerId>> {
    let mut stack = store.stack(base)?;
    let mut digests = Vec::new();
    for file in files {
        fs::write(inside(stack.root()?, file), file).unwrap();
        digests.push(stack.freeze()?.digest(Times::Fixed(0))?);
    }
    store.publish_stack(stack, digests)
}

fn image(layer: &LayerId) -> NewImage {
    let mut image = NewImage::new(Some(layer.clone()), b"{\"m\":1}", b"{\"c\":1}");
    image.names = vec!["localhost/crash:1".to_owned()];
    image
}

/// What is there before every change: a layer, an image, a container with a file.
fn prepare(dir: &Path) -> (LayerId, ContainerId) {
    let store = open(dir);
    let base = publish(&store, None, &["base"]).unwrap().remove(0);
    let mut before = NewImage::new(Some(base.clone()), b"{\"m\":0}", b"{\"c\":0}");
    before.names = vec!["localhost/before:1".to_owned()];
    let before = store.put_image(before).unwrap();
    let container = store
        .create_container(NewContainer {
            names: vec!["before".to_owned()],
            image: Some(before.id.clone()),
            parent: Some(base.clone()),
            ..NewContainer::default()
        })
        .unwrap();
    let root = store.container_root(&container.id).unwrap();
    fs::write(inside(&root, "mine"), "mine").unwrap();
    (base, container.id.clone())
}

fn change(store: &Store, name: &str, base: &LayerId, container: &ContainerId) -> Result<()> {
    match name {
        "publish" => publish(store, Some(base), &["one", "two"]).map(drop),
        "image" => store.put_image(image(base)).map(drop),
        "container" => store
            .create_container(NewContainer {
                names: vec!["after".to_owned()],
                image: None,
                parent: Some(base.clone()),
                ..NewContainer::default()
            })
            .map(drop),
        "commit" => store
            .commit_container_layer(container, Times::Fixed(0))
            .map(drop),
        "delete" => store.delete_container(container, WhenMounted::Refuse),
        "delete-image" => {
            let layer = publish(store, Some(base), &["going"])?.remove(0);
            let going = store.put_image(image(&layer))?;
            store.delete_image(&going.id).map(drop)
        }
        "delete-layer" => {
            let layer = publish(store, Some(base), &["going"])?.remove(0);
            store.delete_layer(&layer)
        }
        other => panic!("no change is called {other}"),
    }
}

/// Not a test: the second process.
#[test]
#[ignore = "started by the other tests of this module"]
fn child() {
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let name = std::env::var(CHANGE).unwrap();
    let store = open(&dir);
    let base = store
        .images()
        .unwrap()
        .by_name("localhost/before:1")
        .unwrap()
        .layer
        .clone();
    let container = store
        .containers()
        .unwrap()
        .by_name("before")
        .unwrap()
        .id
        .clone();
    change(&store, &name, &base.unwrap(), &container).unwrap();
}

fn crash(dir: &Path, name: &str, point: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored"])
        .env(DIR, dir)
        .env(CHANGE, name)
        .env("COOPER_STORE_DIES_AT", point)
        .output()
        .unwrap();
    // SIGABRT: it came to the point. Anything else is an error of its own.
    assert_eq!(
        output.status.signal(),
        Some(6),
        "{name} at {point}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
}

fn left_in(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Checks that every directory, short link and tar-split is that of a record, and the other
/// way round.
fn assert_recorded(store: &Store, root: &Path, point: &str) {
    let layers = store.layers().unwrap();
    let ids: BTreeSet<String> = layers.iter().map(|one| one.id.to_string()).collect();
    let mut found = names_in(&root.join("overlay"));
    for other in ["l", "tempdirs", ".has-mount-program"] {
        found.remove(other);
    }
    assert_eq!(found, ids, "{point}: layer directories");
    let links: BTreeSet<String> = ids
        .iter()
        .map(|id| fs::read_to_string(root.join("overlay").join(id).join("link")).unwrap())
        .collect();
    assert_eq!(names_in(&root.join("overlay/l")), links, "{point}: links");
    for name in names_in(&root.join("overlay-layers")) {
        if let Some(id) = name.strip_suffix(".tar-split.gz") {
            assert!(ids.contains(id), "{point}: tar-split {id}");
        }
    }
    let images = store.images().unwrap();
    let ids: BTreeSet<String> = images.iter().map(|one| one.id.to_string()).collect();
    let mut found = names_in(&root.join("overlay-images"));
    found.retain(|name| name.len() == 64);
    assert_eq!(found, ids, "{point}: image directories");
}

/// Crashes a change at a point, cleans up, and returns the store with what reaping found.
fn survive(name: &str, point: &str, expect: impl Fn(&Store, &LayerId, &ContainerId, Reaped)) {
    let scratch = Scratch::new(&format!("{name}-{point}"));
    let (base, container) = prepare(&scratch.0);
    crash(&scratch.0, name, point);
    let store = open(&scratch.0);
    // Readable as it is, before anybody cleans up.
    assert!(
        store
            .images()
            .unwrap()
            .by_name("localhost/before:1")
            .is_some(),
        "{point}"
    );
    let reaped = store.reap().unwrap();
    assert_eq!(
        store.reap().unwrap(),
        Reaped::default(),
        "{point}: reaped twice"
    );
    for temp in [
        "overlay/tempdirs",
        "overlay-layers/tmp",
        "cooper/journal",
        "cooper/publish",
    ] {
        assert_eq!(
            left_in(&scratch.0.join("root").join(temp)),
            0,
            "{point}: {temp}"
        );
    }
    if name != "delete" {
        assert_recorded(&store, &scratch.0.join("root"), point);
    }
    let root = store.read_only_root(Some(&base)).unwrap();
    assert_eq!(fs::read_to_string(inside(&root, "base")).unwrap(), "base");
    drop(root);
    expect(&store, &base, &container, reaped);
}

#[test]
fn priv_crash_while_publishing() {
    for (point, saved) in [
        ("publish-prepared", false),
        ("publish-announced", false),
        ("publish-one-linked", false),
        ("publish-one-placed", false),
        ("publish-placed", false),
        ("placing-saved", true),
        ("publish-saved", true),
    ] {
        survive("publish", point, |store, base, container, reaped| {
            let unrecorded = match point {
                "publish-one-placed" => 1,
                "publish-placed" => 2,
                _ => 0,
            };
            assert_eq!(reaped.unrecorded, unrecorded, "{point}");
            let count = store.layers().unwrap().iter().count();
            assert_eq!(count, if saved { 4 } else { 2 }, "{point}");
            change(store, "publish", base, container).unwrap();
            assert_eq!(store.layers().unwrap().iter().count(), 4, "{point}");
            let ids = publish(store, Some(base), &["one", "two"]).unwrap();
            let root = store.read_only_root(ids.last()).unwrap();
            assert_eq!(fs::read_to_string(inside(&root, "one")).unwrap(), "one");
            store.export_layer(&ids[1], std::io::sink()).unwrap();
        });
    }
}

#[test]
fn priv_crash_while_recording_an_image() {
    for (point, saved) in [
        ("image-announced", false),
        ("image-item-written", false),
        ("placing-saved", true),
        ("image-saved", true),
    ] {
        survive("image", point, |store, base, container, reaped| {
            let unrecorded = usize::from(point == "image-item-written");
            assert_eq!(reaped.unrecorded, unrecorded, "{point}");
            let found = store
                .images()
                .unwrap()
                .by_name("localhost/crash:1")
                .is_some();
            assert_eq!(found, saved, "{point}");
            change(store, "image", base, container).unwrap();
            let images = store.images().unwrap();
            let image = images.by_name("localhost/crash:1").unwrap();
            assert_eq!(store.image_config(&image.id).unwrap(), b"{\"c\":1}");
        });
    }
}

#[test]
fn priv_crash_while_creating_a_container() {
    for (point, saved) in [
        ("container-layer-placed", false),
        ("container-layer-saved", false),
        ("container-saved", true),
    ] {
        survive("container", point, |store, base, container, reaped| {
            let unrecorded = usize::from(point == "container-layer-placed");
            assert_eq!(reaped.unrecorded, unrecorded, "{point}");
            let containers = store.containers().unwrap();
            let after = containers.by_name("after");
            assert_eq!(after.is_some(), saved, "{point}");
            // No directory of a container that does not exist.
            let dirs = store.inner.kind_dir("containers");
            let known: BTreeSet<String> = containers.iter().map(|one| one.id.to_string()).collect();
            let mut found = names_in(&dirs);
            found.retain(|name| name.len() == 64);
            assert!(found.is_subset(&known), "{point}");
            if let Some(after) = after {
                let dirs = store.container_dirs(&after.id).unwrap();
                assert!(dirs.persistent.is_dir() && dirs.run.is_dir());
                return;
            }
            change(store, "container", base, container).unwrap();
            assert!(
                store.containers().unwrap().by_name("after").is_some(),
                "{point}"
            );
        });
    }
}

#[test]
fn priv_crash_while_committing() {
    for (point, journalled, saved) in [
        ("commit-hashed", false, false),
        ("commit-journalled", true, false),
        ("commit-built", true, false),
        ("commit-renamed", true, false),
        ("commit-restarted", true, false),
        ("commit-saved", true, true),
    ] {
        survive("commit", point, |store, base, container, reaped| {
            assert_eq!(reaped.commits, usize::from(journalled), "{point}");
            // The content is there, whichever layer has it.
            let root = store.container_root(container).unwrap();
            assert_eq!(
                fs::read_to_string(inside(&root, "mine")).unwrap(),
                "mine",
                "{point}"
            );
            fs::write(inside(&root, "more"), "more").unwrap();
            drop(root);
            let record = store
                .containers()
                .unwrap()
                .require(container)
                .unwrap()
                .clone();
            let parent = store
                .layers()
                .unwrap()
                .require(&record.layer)
                .unwrap()
                .parent
                .clone();
            assert_eq!(parent.as_ref() == Some(base), !saved, "{point}");
            let committed = store
                .commit_container_layer(container, Times::Fixed(0))
                .unwrap();
            assert_eq!(committed.parent, parent, "{point}");
            store.export_layer(&committed.id, std::io::sink()).unwrap();
            let root = store.read_only_root(Some(&committed.id)).unwrap();
            assert_eq!(
                fs::read_to_string(inside(&root, "mine")).unwrap(),
                "mine",
                "{point}"
            );
            assert_eq!(
                fs::read_to_string(inside(&root, "more")).unwrap(),
                "more",
                "{point}"
            );
        });
    }
}

#[test]
fn priv_crash_while_deleting() {
    survive(
        "delete",
        "delete-container-layer-saved",
        |store, base, container, reaped| {
            assert_eq!(reaped.unrecorded, 1);
            change(store, "delete", base, container).unwrap();
            assert_eq!(store.containers().unwrap().iter().count(), 0);
            assert_eq!(store.layers().unwrap().iter().count(), 1);
        },
    );
    // The layer, and for an image its items.
    for (name, unrecorded) in [("delete-image", 2), ("delete-layer", 1)] {
        survive(name, "delete-saved", |store, base, container, reaped| {
            assert_eq!(reaped.unrecorded, unrecorded, "{name}");
            assert_eq!(store.images().unwrap().iter().count(), 1);
            assert_eq!(store.layers().unwrap().iter().count(), 2);
            change(store, name, base, container).unwrap();
            assert_eq!(store.layers().unwrap().iter().count(), 2);
        });
    }
}

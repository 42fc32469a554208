//! Stacks, layers, images and containers on both drivers.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails the test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use archive::Times;
use cooper_store::{DriverName, NewContainer, Removal, RootSource, Store, StoreError, WhenMounted};
use model::{DiffId, Digest, LayerId};

use crate::scratch::{Scratch, both, first_layer, image, inside, listing, two_layers};

const DRIVERS: [DriverName; 2] = [DriverName::Overlay, DriverName::Vfs];

fn export(store: &Store, layer: &LayerId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.export_layer(layer, &mut bytes).unwrap();
    bytes
}

#[test]
fn priv_two_layers_are_published_and_exported() {
    for driver in DRIVERS {
        let scratch = Scratch::new(&format!("two-{driver}"));
        let store = scratch.store(driver);
        let ids = two_layers(&store);
        let root = store.read_only_root(ids.last()).unwrap();
        assert_eq!(listing(&inside(&root, "")), both(), "{driver}");
        drop(root);
        let layers = store.layers().unwrap();
        let top = layers.get(&ids[1]).unwrap();
        assert_eq!(top.parent.as_ref(), Some(&ids[0]));
        assert_eq!(
            ids[1],
            LayerId::chain(Some(&ids[0]), top.diff_digest.as_ref().unwrap()),
            "{driver}"
        );
        for id in &ids {
            let bytes = export(&store, id);
            let record = layers.get(id).unwrap();
            assert_eq!(bytes.len() as i64, record.diff_size.unwrap());
            let digest = DiffId(Digest::sha256(&bytes));
            assert_eq!(Some(&digest), record.diff_digest.as_ref());
        }
        // Nothing is left over, and a second store sees the same.
        assert_eq!(store.reap().unwrap(), cooper_store::Reaped::default());
        assert_eq!(scratch.store(driver).chain(&ids[1]).unwrap().len(), 2);
    }
}

#[test]
fn priv_a_new_store_has_the_expected_modes() {
    let scratch = Scratch::new("modes");
    let store = scratch.store(DriverName::Overlay);
    let ids = two_layers(&store);
    let dir = format!("overlay/{}", ids[0]);
    for (path, mode) in [
        ("", 0o700),
        ("storage.lock", 0o644),
        ("userns.lock", 0o644),
        ("overlay", 0o755),
        ("overlay/l", 0o755),
        ("overlay/.has-mount-program", 0o600),
        ("overlay/tempdirs", 0o700),
        ("overlay-layers", 0o700),
        ("overlay-images", 0o700),
        ("overlay-containers", 0o700),
        ("overlay-layers/layers.json", 0o600),
        ("overlay-layers/layers.lock", 0o644),
        ("overlay-images/images.lock", 0o644),
        ("overlay-containers/containers.lock", 0o644),
        (&dir, 0o700),
        (&format!("{dir}/diff"), 0o555),
        (&format!("{dir}/work"), 0o700),
        (&format!("{dir}/merged"), 0o700),
        (&format!("{dir}/empty"), 0o700),
        (&format!("{dir}/link"), 0o644),
        (&format!("overlay/{}/lower", ids[1]), 0o644),
        (&format!("overlay/{}/lower-layers", ids[1]), 0o644),
        (&format!("overlay-layers/{}.tar-split.gz", ids[1]), 0o600),
    ] {
        let meta = fs::metadata(scratch.path("root").join(path)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path}");
    }
    let root = scratch.path("root");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("overlay/.has-mount-program"), "false");
    assert_eq!(
        read(&format!("overlay/{}/lower-layers", ids[1])),
        ids[0].to_string()
    );
    let link = read(&format!("{dir}/link"));
    assert_eq!(
        read(&format!("overlay/{}/lower", ids[1])),
        format!("l/{link}")
    );
    assert_eq!(
        fs::read_link(root.join("overlay/l").join(link))
            .unwrap()
            .to_str()
            .unwrap(),
        format!("../{}/diff", ids[0])
    );
    assert_eq!(
        fs::metadata(root.join("overlay-layers/layers.lock"))
            .unwrap()
            .len(),
        64
    );
}

#[test]
fn reading_a_store_that_does_not_exist_creates_nothing_in_it() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let options = cooper_store::StoreOptions::new(dir.path().join("g"), dir.path().join("r"))
        .with_driver(DriverName::Overlay);
    let store = Store::open(options).unwrap();
    assert_eq!(store.layers().unwrap().iter().count(), 0);
    assert_eq!(store.images().unwrap().iter().count(), 0);
    assert_eq!(store.containers().unwrap().iter().count(), 0);
    assert_eq!(store.reap().unwrap(), cooper_store::Reaped::default());
    assert!(!dir.path().join("g").exists());
}

#[test]
fn priv_stacks_reset_and_adopt() {
    for driver in DRIVERS {
        let scratch = Scratch::new(&format!("adopt-{driver}"));
        let store = scratch.store(driver);
        let ids = two_layers(&store);
        let mut stack = store.stack(Some(&ids[0])).unwrap();
        fs::write(inside(stack.root().unwrap(), "junk"), "x").unwrap();
        stack.reset().unwrap();
        assert!(!inside(stack.root().unwrap(), "junk").exists());
        stack.adopt(&ids[1]).unwrap();
        assert_eq!(listing(&inside(stack.root().unwrap(), "")), both());
        // The same content on the same parent is the same layer, and saved only once.
        let before = fs::metadata(scratch.path(&format!("root/{driver}-layers/layers.json")));
        stack.adopt(&ids[0]).unwrap();
        let stack = stack;
        assert!(store.publish_stack(stack, Vec::new()).unwrap().is_empty());
        let after = fs::metadata(scratch.path(&format!("root/{driver}-layers/layers.json")));
        assert_eq!(before.unwrap().ino(), after.unwrap().ino());
        let missing: LayerId = "f".repeat(64).parse().unwrap();
        assert!(matches!(
            store.stack(Some(&missing)),
            Err(StoreError::LayerUnknown { .. })
        ));
    }
}

#[test]
fn priv_layers_travel_between_stores_and_parents() {
    for driver in DRIVERS {
        let scratch = Scratch::new(&format!("travel-{driver}"));
        let store = scratch.store(driver);
        let ids = two_layers(&store);
        let other_scratch = Scratch::new(&format!("travel-to-{driver}"));
        let other = other_scratch.store(driver);
        let unpacked: Vec<_> = ids
            .iter()
            .map(|id| {
                let tar = export(&store, id);
                other
                    .unpack_layer(tar.as_slice(), None, archive::Limits::default())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            other.publish_layers(None, unpacked).unwrap(),
            ids,
            "{driver}"
        );
        let root = other.read_only_root(Some(&ids[1])).unwrap();
        assert_eq!(listing(&inside(&root, "")), both(), "{driver}");
        drop(root);
        // The second layer's content on nothing.
        let copy = other.copy_layer(&ids[1]).unwrap();
        let diff = copy.digest().diff_id.clone();
        let moved = other.publish_layers(None, vec![copy]).unwrap();
        assert_eq!(moved, [LayerId::chain(None, &diff)]);
        assert_eq!(
            export(&other, &moved[0]),
            export(&store, &ids[1]),
            "{driver}"
        );
        assert_eq!(other.layers().unwrap().by_diff(&diff).len(), 2);
        // A wrong promise publishes nothing.
        let tar = export(&store, &ids[0]);
        let wrong = other.import_layer(None, tar.as_slice(), Some(&diff));
        assert!(matches!(wrong, Err(StoreError::DigestMismatch { .. })));
    }
}

#[test]
fn priv_containers_are_committed_and_go_on() {
    for driver in DRIVERS {
        let scratch = Scratch::new(&format!("commit-{driver}"));
        let store = scratch.store(driver);
        let ids = two_layers(&store);
        let image = image(&store, &ids, &["localhost/base:1"]);
        let new = NewContainer {
            names: vec!["work".to_owned()],
            image: Some(image.clone()),
            parent: Some(ids[1].clone()),
            ..NewContainer::default()
        };
        let container = store.create_container(new.clone()).unwrap();
        assert!(matches!(
            store.create_container(new),
            Err(StoreError::NameInUse { .. })
        ));
        {
            let root = store.container_root(&container.id).unwrap();
            assert_eq!(listing(&inside(&root, "")), both(), "{driver}");
            fs::write(inside(&root, "mine"), "1").unwrap();
            fs::remove_file(inside(&root, "top")).unwrap();
        }
        let copied = store.copy_container(&container.id, Times::Keep).unwrap();
        let committed = store
            .commit_container_layer(&container.id, Times::Keep)
            .unwrap();
        assert_eq!(copied.id, committed.id, "{driver}");
        assert_eq!(committed.parent.as_ref(), Some(&ids[1]));
        let export = export(&store, &committed.id);
        assert_eq!(DiffId(Digest::sha256(&export)), committed.digest.diff_id);
        {
            let root = store.container_root(&container.id).unwrap();
            assert_eq!(fs::read_to_string(inside(&root, "mine")).unwrap(), "1");
            assert!(!inside(&root, "top").exists());
            fs::write(inside(&root, "mine"), "2").unwrap();
        }
        let again = store
            .commit_container_layer(&container.id, Times::Keep)
            .unwrap();
        assert_eq!(again.parent.as_ref(), Some(&committed.id));
        let root = store.read_only_root(Some(&committed.id)).unwrap();
        assert_eq!(fs::read_to_string(inside(&root, "mine")).unwrap(), "1");
        drop(root);
        assert!(matches!(
            store.delete_image(&image),
            Err(StoreError::ImageInUse { .. })
        ));
        store
            .delete_container(&container.id, WhenMounted::Refuse)
            .unwrap();
        assert_eq!(store.containers().unwrap().iter().count(), 0);
        store.delete_layer(&again.id).unwrap();
        assert!(matches!(
            store.delete_layer(&ids[1]),
            Err(StoreError::LayerInUse { .. })
        ));
        store.delete_layer(&committed.id).unwrap();
        let deleted = store.delete_image(&image).unwrap();
        assert_eq!(deleted.layers, [ids[1].clone(), ids[0].clone()]);
        assert_eq!(store.layers().unwrap().iter().count(), 0);
        let home = match driver {
            DriverName::Overlay => "root/overlay",
            DriverName::Vfs => "root/vfs/dir",
        };
        let left: Vec<_> = fs::read_dir(scratch.path(home))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.len() == 64)
            .collect();
        assert!(left.is_empty(), "{driver}: {left:?}");
        assert_eq!(store.reap().unwrap(), cooper_store::Reaped::default());
    }
}

#[test]
fn priv_names_move_between_images() {
    let scratch = Scratch::new("names");
    let store = scratch.store(DriverName::Overlay);
    let ids = two_layers(&store);
    let one = image(&store, &ids[..1], &["localhost/x:1", "localhost/x:2"]);
    let two = image(&store, &ids, &["localhost/x:2"]);
    let images = store.images().unwrap();
    assert_eq!(images.get(&one).unwrap().names, ["localhost/x:1"]);
    assert_eq!(images.by_name("localhost/x:2").unwrap().id, two);
    assert_eq!(images.find(&two.as_str()[..12]).unwrap().unwrap().id, two);
    assert_eq!(images.by_layer(&ids[0]).count(), 1);
    let digest = images.get(&two).unwrap().digest.clone().unwrap();
    assert_eq!(images.by_digest(&digest).next().unwrap().id, two);
    store
        .add_names(&two, &["localhost/y:1".to_owned()])
        .unwrap();
    let record = store.images().unwrap().get(&two).unwrap().clone();
    assert_eq!(record.names, ["localhost/y:1", "localhost/x:2"]);
    assert_eq!(record.names_history, ["localhost/x:2", "localhost/y:1"]);
    assert!(matches!(
        store.remove_image(&two, &Removal::Id),
        Err(StoreError::SeveralNames { .. })
    ));
    let removed = store
        .remove_image(&two, &Removal::Name("localhost/y:1".to_owned()))
        .unwrap();
    assert!(removed.deleted.is_none());
    let removed = store
        .remove_image(&two, &Removal::Name("localhost/x:2".to_owned()))
        .unwrap();
    // The lower layer is the other image's.
    assert_eq!(removed.deleted.unwrap().layers, [ids[1].clone()]);
    assert!(matches!(
        store.image_manifest(&two),
        Err(StoreError::ImageUnknown { .. })
    ));
    assert!(store.image_config(&one).unwrap().starts_with(b"{"));
}

#[test]
fn priv_mounts_are_counted_and_used() {
    let scratch = Scratch::new("mounts");
    let store = scratch.store(DriverName::Overlay);
    let ids = two_layers(&store);
    let new = NewContainer {
        parent: Some(ids[1].clone()),
        ..NewContainer::default()
    };
    let container = store.create_container(new).unwrap();
    let path = store.mount_container(&container.id).unwrap();
    assert_eq!(store.mount_container(&container.id).unwrap(), path);
    assert_eq!(listing(&path), both());
    {
        let root = store.container_root(&container.id).unwrap();
        assert!(matches!(root.source(), RootSource::Directory(at) if at == path));
        fs::write(inside(&root, "seen"), "x").unwrap();
    }
    assert!(path.join("seen").exists());
    assert_eq!(
        store.container_mount(&container.id).unwrap(),
        Some((path.clone(), 2))
    );
    assert!(matches!(
        store.commit_container_layer(&container.id, Times::Keep),
        Err(StoreError::ContainerMounted { .. })
    ));
    assert!(matches!(
        store.delete_container(&container.id, WhenMounted::Refuse),
        Err(StoreError::ContainerMounted { .. })
    ));
    assert!(store.unmount_container(&container.id).unwrap());
    assert!(!store.unmount_container(&container.id).unwrap());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    store.mount_container(&container.id).unwrap();
    store
        .delete_container(&container.id, WhenMounted::Unmount)
        .unwrap();
    assert!(!path.exists());
}

#[test]
fn priv_a_parent_removed_meanwhile_is_noticed() {
    let scratch = Scratch::new("vanished");
    let store = scratch.store(DriverName::Overlay);
    let ids = two_layers(&store);
    let mut stack = store.stack(Some(&ids[1])).unwrap();
    fs::write(inside(stack.root().unwrap(), "x"), "x").unwrap();
    let digest = stack.freeze().unwrap().digest(Times::Keep).unwrap();
    scratch
        .store(DriverName::Overlay)
        .delete_layer(&ids[1])
        .unwrap();
    let published = store.publish_stack(stack, vec![digest]);
    assert!(
        matches!(
            published,
            Err(StoreError::ParentVanished { .. } | StoreError::Io { .. })
        ),
        "{published:?}"
    );
}

#[test]
fn priv_times_on_disk_follow_the_archive() {
    let scratch = Scratch::new("times");
    let store = scratch.store(DriverName::Overlay);
    let mut stack = store.stack(None).unwrap();
    first_layer(&mut stack);
    let digest = stack
        .freeze()
        .unwrap()
        .digest(Times::Fixed(1_000_000))
        .unwrap();
    let ids = store.publish_stack(stack, vec![digest]).unwrap();
    let root = store.read_only_root(Some(&ids[0])).unwrap();
    for path in ["etc", "etc/a", "top"] {
        assert_eq!(
            fs::metadata(inside(&root, path)).unwrap().mtime(),
            1_000_000,
            "{path}"
        );
    }
}

/// One file whose content is written while its layer is hashed.
struct Arriving {
    path: PathBuf,
    content: Vec<u8>,
}

impl Arriving {
    /// Makes the file, empty, in the root of a stack.
    fn promise(stack: &mut cooper_store::Stack) -> Self {
        let path = inside(stack.root().unwrap(), "").join("late");
        fs::write(&path, "").unwrap();
        fs::write(path.with_file_name("ready"), "was there").unwrap();
        Self {
            path,
            content: b"arrived".repeat(100_000),
        }
    }
}

impl archive::Supply for Arriving {
    fn expected(&self, inode: u64) -> Option<archive::Expected> {
        let meta = fs::metadata(&self.path).unwrap();
        (meta.ino() == inode).then_some(archive::Expected {
            size: self.content.len() as u64,
            mode: 0o644,
            mtime: 1_000_000_000,
        })
    }

    fn supply(&mut self, _: u64, passage: &mut dyn sys::copy::Passage) -> std::io::Result<()> {
        fs::write(&self.path, &self.content)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o644))?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::open(&self.path)?.set_modified(time)?;
        let mut left = &self.content[..];
        while !left.is_empty() {
            let room = passage.room()?;
            let len = room.len().min(left.len());
            room[..len].copy_from_slice(&left[..len]);
            passage.passed(len)?;
            left = &left[len..];
        }
        Ok(())
    }
}

#[test]
fn priv_layers_hashed_while_they_are_filled_are_those_of_the_disk() {
    type Change = fn(&Path);
    let untouched: Change = |_| {};
    let changes: [(&str, Change); 3] = [
        ("nothing", untouched),
        ("content", |root| {
            fs::write(root.join("late"), b"another").unwrap();
        }),
        ("a socket, which no layer holds", |root| {
            let name = root.join("socket");
            drop(std::os::unix::net::UnixListener::bind(name).unwrap());
        }),
    ];
    for times in [Times::Keep, Times::Fixed(77), Times::Clamp(77)] {
        for (what, change) in changes {
            let scratch = Scratch::new("arriving");
            let store = scratch.store(DriverName::Overlay);
            let base = two_layers(&store).pop();
            let mut stack = store.stack(base.as_ref()).unwrap();
            let mut arriving = Arriving::promise(&mut stack);
            let is_early = stack.digest_arriving(times, &mut arriving).unwrap();
            assert!(is_early, "{times:?} {what}");
            change(arriving.path.parent().unwrap());
            let tree = stack.freeze().unwrap();
            assert!(tree.is_digested_early());
            let digest = tree.digest(times).unwrap();
            let ids = store.publish_stack(stack, vec![digest]).unwrap();
            let record = store.layers().unwrap().get(&ids[0]).unwrap().clone();
            let bytes = export(&store, &ids[0]);
            let found = DiffId(Digest::sha256(&bytes));
            assert_eq!(
                Some(&found),
                record.diff_digest.as_ref(),
                "{times:?} {what}"
            );
            assert_eq!(record.diff_size, Some(bytes.len() as i64));
        }
    }
}

#[test]
fn priv_whoever_may_write_into_a_stack_takes_its_early_digest_away() {
    let scratch = Scratch::new("early");
    let store = scratch.store(DriverName::Overlay);
    let mut stack = store.stack(None).unwrap();
    let mut arriving = Arriving::promise(&mut stack);
    assert!(stack.digest_arriving(Times::Keep, &mut arriving).unwrap());
    stack.root().unwrap();
    assert!(!stack.freeze().unwrap().is_digested_early());

    let store = Scratch::new("early-vfs");
    let mut stack = store.store(DriverName::Vfs).stack(None).unwrap();
    let mut arriving = Arriving::promise(&mut stack);
    assert!(!stack.digest_arriving(Times::Keep, &mut arriving).unwrap());
}

#[test]
fn priv_deep_stacks_are_read_and_written() {
    let scratch = Scratch::new("deep");
    let store = scratch.store(DriverName::Overlay);
    let mut stack = store.stack(None).unwrap();
    let mut digests = Vec::new();
    for number in 0..150 {
        fs::write(inside(stack.root().unwrap(), &format!("f{number}")), "x").unwrap();
        digests.push(stack.freeze().unwrap().digest(Times::Keep).unwrap());
    }
    let started = Instant::now();
    let ids = store.publish_stack(stack, digests).unwrap();
    let published = started.elapsed();
    let other = scratch.store(DriverName::Overlay);
    let started = Instant::now();
    assert_eq!(other.chain(&ids[149]).unwrap().len(), 150);
    let read = started.elapsed();
    let root = other.read_only_root(ids.last()).unwrap();
    assert_eq!(listing(&inside(&root, "")).len(), 150);
    drop(root);
    let mut stack = other.stack(ids.last()).unwrap();
    second_layer_on_deep(&mut stack);
    let digest = stack.freeze().unwrap().digest(Times::Keep).unwrap();
    other.publish_stack(stack, vec![digest]).unwrap();
    eprintln!("150 layers: published in {published:?}, chain read in {read:?}");
}

fn second_layer_on_deep(stack: &mut cooper_store::Stack) {
    let root = stack.root().unwrap();
    fs::remove_file(inside(root, "f3")).unwrap();
    fs::create_dir(inside(root, "f3")).unwrap();
    fs::write(inside(root, "f3/inner"), "x").unwrap();
}

#[test]
fn priv_same_second_changes_are_seen_by_vfs() {
    let scratch = Scratch::new("same-second");
    let store = scratch.store(DriverName::Vfs);
    let mut stack = store.stack(None).unwrap();
    let mut digests = Vec::new();
    for text in ["a", "b", "c"] {
        fs::write(inside(stack.root().unwrap(), "file"), text).unwrap();
        digests.push(stack.freeze().unwrap().digest(Times::Keep).unwrap());
    }
    let ids = store.publish_stack(stack, digests).unwrap();
    for (id, text) in ids.iter().zip(["a", "b", "c"]) {
        let root = store.read_only_root(Some(id)).unwrap();
        assert_eq!(fs::read_to_string(inside(&root, "file")).unwrap(), text);
        assert!(export(&store, id).len() > 1024);
    }
}

#[test]
fn priv_threads_and_processes_lose_no_names() {
    let scratch = Scratch::new("threads");
    let store = scratch.store(DriverName::Overlay);
    let ids = two_layers(&store);
    let id = image(&store, &ids, &["localhost/x:1"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (scratch, id) = (&scratch, &id);
            let store = store.clone();
            scope.spawn(move || {
                // Two share what was read, two see the files only.
                let store = if thread < 2 {
                    store
                } else {
                    scratch.store(DriverName::Overlay)
                };
                for number in 0..50 {
                    store
                        .add_names(id, &[format!("localhost/t{thread}:{number}")])
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        store.images().unwrap().get(&id).unwrap().names.len(),
        1 + 4 * 50
    );
}

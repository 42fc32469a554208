//! Next to Debian's Podman, Buildah and Skopeo, in both directions.

use std::fs;
use std::process::Command;

use archive::Times;
use cooper_store::{DriverName, NewContainer, StoreError, WhenMounted};
use model::{DiffId, Digest};

use crate::scratch::{Scratch, both, image, inside, listing, two_layers};

#[test]
fn peer_our_image_is_used_by_others() {
    for driver in [DriverName::Overlay, DriverName::Vfs] {
        let scratch = Scratch::new(&format!("ours-{driver}"));
        let store = scratch.store(driver);
        let ids = two_layers(&store);
        let id = image(&store, &ids, &["localhost/ours:1"]);
        let listed = scratch.tool(
            "podman",
            driver,
            &["images", "--no-trunc", "--format", "{{.Id}}"],
        );
        assert_eq!(
            listed.trim_start_matches("sha256:"),
            id.as_str(),
            "{driver}"
        );
        let listed = scratch.tool("buildah", driver, &["images", "-q", "--no-trunc"]);
        assert_eq!(
            listed.trim_start_matches("sha256:"),
            id.as_str(),
            "{driver}"
        );
        let target = format!("oci:{}:x", scratch.path("oci").display());
        let source = scratch.reference(driver, "localhost/ours:1");
        scratch.tool("skopeo", driver, &["copy", "-q", &source, &target]);
        let container = scratch.tool("buildah", driver, &["from", "localhost/ours:1"]);
        let mount = scratch.tool("buildah", driver, &["mount", &container]);
        assert_eq!(listing(mount.as_ref()), both(), "{driver}");
        // While Buildah has it mounted, we see where, and leave it alone.
        let record = store
            .containers()
            .unwrap()
            .by_name(&container)
            .unwrap()
            .clone();
        let (path, count) = store.container_mount(&record.id).unwrap().unwrap();
        assert_eq!((path.to_str().unwrap(), count), (mount.as_str(), 1));
        assert!(matches!(
            store.delete_image(&id),
            Err(StoreError::ImageInUse { .. })
        ));
        let refused = scratch.try_tool("buildah", driver, &["rmi", "localhost/ours:1"]);
        let ours = store.delete_image(&id).unwrap_err().to_string();
        assert!(refused.unwrap_err().contains(&ours), "{ours}");
        fs::write(format!("{mount}/added"), "by buildah").unwrap();
        let theirs = scratch.tool(
            "buildah",
            driver,
            &["commit", "-q", &container, "localhost/theirs"],
        );
        scratch.tool("buildah", driver, &["rm", &container]);
        let theirs = store
            .images()
            .unwrap()
            .find(&theirs)
            .unwrap()
            .unwrap()
            .clone();
        let root = store.read_only_root(theirs.layer.as_ref()).unwrap();
        assert_eq!(
            fs::read_to_string(inside(&root, "added")).unwrap(),
            "by buildah"
        );
        drop(root);
        scratch.tool("buildah", driver, &["rmi", "-a"]);
        assert_eq!(store.layers().unwrap().iter().count(), 0, "{driver}");
    }
}

#[test]
fn peer_their_image_is_read_by_us() {
    for driver in [DriverName::Overlay, DriverName::Vfs] {
        let scratch = Scratch::new(&format!("theirs-{driver}"));
        let container = scratch.tool("buildah", driver, &["from", "scratch"]);
        let mount = scratch.tool("buildah", driver, &["mount", &container]);
        fs::create_dir_all(format!("{mount}/a/b")).unwrap();
        fs::write(format!("{mount}/a/b/file"), "x".repeat(5000)).unwrap();
        fs::hard_link(format!("{mount}/a/b/file"), format!("{mount}/a/link")).unwrap();
        scratch.tool(
            "buildah",
            driver,
            &["commit", "-q", &container, "localhost/one"],
        );
        let container = scratch.tool("buildah", driver, &["from", "localhost/one"]);
        let mount = scratch.tool("buildah", driver, &["mount", &container]);
        fs::remove_file(format!("{mount}/a/link")).unwrap();
        fs::write(format!("{mount}/a/new"), "new").unwrap();
        scratch.tool(
            "buildah",
            driver,
            &["commit", "-q", &container, "localhost/two"],
        );
        scratch.tool("buildah", driver, &["umount", "-a"]);

        let store = scratch.store(driver);
        let images = store.images().unwrap();
        let two = images.by_name("localhost/two:latest").unwrap();
        let chain = store.chain(two.layer.as_ref().unwrap()).unwrap();
        assert_eq!(chain.len(), 2, "{driver}");
        for layer in &chain {
            let mut bytes = Vec::new();
            store.export_layer(&layer.id, &mut bytes).unwrap();
            assert_eq!(
                Some(DiffId(Digest::sha256(&bytes))),
                layer.diff_digest,
                "{driver}"
            );
        }
        let root = store.read_only_root(two.layer.as_ref()).unwrap();
        assert_eq!(fs::read_to_string(inside(&root, "a/new")).unwrap(), "new");
        assert!(!inside(&root, "a/link").exists());
        drop(root);
        // Their working container is used and committed by us, and then goes on with them.
        let record = store
            .containers()
            .unwrap()
            .by_name(&container)
            .unwrap()
            .clone();
        {
            let root = store.container_root(&record.id).unwrap();
            fs::write(inside(&root, "ours"), "1").unwrap();
        }
        let committed = store
            .commit_container_layer(&record.id, Times::Keep)
            .unwrap();
        let mount = scratch.tool("buildah", driver, &["mount", &container]);
        assert_eq!(fs::read_to_string(format!("{mount}/ours")).unwrap(), "1");
        assert_eq!(fs::read_to_string(format!("{mount}/a/new")).unwrap(), "new");
        scratch.tool("buildah", driver, &["rm", "-a"]);
        // Unused now, so it is ours to delete.
        store.delete_layer(&committed.id).unwrap();
        scratch.tool("podman", driver, &["images"]);
    }
}

#[test]
fn peer_our_containers_are_listed_and_mounted() {
    let driver = DriverName::Overlay;
    let scratch = Scratch::new("container");
    let store = scratch.store(driver);
    let ids = two_layers(&store);
    let image = image(&store, &ids, &["localhost/ours:1"]);
    let container = store
        .create_container(NewContainer {
            names: vec!["ours-working-container".to_owned()],
            image: Some(image.clone()),
            parent: ids.last().cloned(),
            ..NewContainer::default()
        })
        .unwrap();
    let state = format!(
        r#"{{"type":"buildah 0.0.1","image":"localhost/ours:1","image-id":"{image}","container":"ours-working-container","container-name":"ours-working-container","container-id":"{}"}}"#,
        container.id
    );
    store
        .put_container_file(&container.id, "buildah.json", state.as_bytes())
        .unwrap();
    let listed = scratch.tool(
        "buildah",
        driver,
        &[
            "containers",
            "--format",
            "{{.ContainerName}} {{.ContainerID}}",
            "--notruncate",
        ],
    );
    let listed: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(listed, ["ours-working-container", container.id.as_str()]);
    let mount = scratch.tool("buildah", driver, &["mount", "ours-working-container"]);
    assert_eq!(listing(mount.as_ref()), both());
    assert_eq!(
        store
            .mount_container(&container.id)
            .unwrap()
            .to_str()
            .unwrap(),
        mount
    );
    scratch.tool("buildah", driver, &["umount", "ours-working-container"]);
    assert_eq!(store.container_mount(&container.id).unwrap().unwrap().1, 1);
    assert_eq!(listing(mount.as_ref()), both());
    assert!(!store.unmount_container(&container.id).unwrap());
    // Our mount alone, over another tool's whole run.
    store.mount_container(&container.id).unwrap();
    scratch.tool("buildah", driver, &["images"]);
    assert_eq!(listing(mount.as_ref()), both());
    scratch.tool("buildah", driver, &["rm", "ours-working-container"]);
    assert_eq!(store.containers().unwrap().iter().count(), 0);
    scratch.tool("podman", driver, &["ps", "-a", "--external"]);
}

#[test]
fn peer_a_container_from_nothing_is_committed() {
    let driver = DriverName::Overlay;
    let scratch = Scratch::new("from-nothing");
    let store = scratch.store(driver);
    let container = store.create_container(NewContainer::default()).unwrap();
    {
        let root = store.container_root(&container.id).unwrap();
        fs::write(inside(&root, "first"), "1").unwrap();
        std::os::unix::net::UnixListener::bind(inside(&root, "socket")).unwrap();
    }
    let first = store
        .commit_container_layer(&container.id, Times::Keep)
        .unwrap();
    assert_eq!(first.parent, None);
    {
        let root = store.container_root(&container.id).unwrap();
        assert_eq!(listing(&inside(&root, "")), ["first: 1"]);
        fs::write(inside(&root, "second"), "2").unwrap();
    }
    let second = store
        .commit_container_layer(&container.id, Times::Keep)
        .unwrap();
    image(&store, &[first.id, second.id], &["localhost/scratch:1"]);
    let theirs = scratch.tool("buildah", driver, &["from", "localhost/scratch:1"]);
    let mount = scratch.tool("buildah", driver, &["mount", &theirs]);
    assert_eq!(listing(mount.as_ref()), ["first: 1", "second: 2"]);
    let target = format!("oci:{}:x", scratch.path("oci").display());
    let source = scratch.reference(driver, "localhost/scratch:1");
    scratch.tool("skopeo", driver, &["copy", "-q", &source, &target]);
    scratch.tool("buildah", driver, &["rm", "-a"]);
    store
        .delete_container(&container.id, WhenMounted::Refuse)
        .unwrap();
}

#[test]
fn peer_concurrent_tags_lose_nothing() {
    const EACH: usize = 25;
    let driver = DriverName::Overlay;
    let scratch = Scratch::new("tags");
    let store = scratch.store(driver);
    let ids = two_layers(&store);
    let id = image(&store, &ids, &["localhost/ours:1"]);
    // Buildah 1.28 replaces all names of the image that it tags by what it read before it
    // took the lock, so the two sides must work on different images.
    let other = image(&store, &ids[..1], &["localhost/other:1"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..EACH {
                scratch.tool(
                    "buildah",
                    driver,
                    &[
                        "tag",
                        "localhost/other:1",
                        &format!("localhost/theirs:{number}"),
                    ],
                );
            }
        });
        for thread in 0..2 {
            let (store, id) = (&store, &id);
            scope.spawn(move || {
                for number in 0..EACH * 4 {
                    let name = format!("localhost/ours-{thread}:{number}");
                    store.add_names(id, &[name]).unwrap();
                }
            });
        }
    });
    let images = store.images().unwrap();
    let names = [
        &images.get(&id).unwrap().names[..],
        &images.get(&other).unwrap().names,
    ]
    .concat();
    let missing = |prefix: &str, count: usize| -> Vec<String> {
        (0..count)
            .map(|number| format!("localhost/{prefix}:{number}"))
            .filter(|name| !names.contains(name))
            .collect()
    };
    assert_eq!(missing("theirs", EACH), Vec::<String>::new());
    assert_eq!(missing("ours-0", EACH * 4), Vec::<String>::new());
    assert_eq!(missing("ours-1", EACH * 4), Vec::<String>::new());
}

#[test]
fn peer_unknown_fields_survive_our_writes() {
    let driver = DriverName::Overlay;
    let scratch = Scratch::new("unknown");
    let store = scratch.store(driver);
    let ids = two_layers(&store);
    let id = image(&store, &ids, &["localhost/ours:1"]);
    let path = scratch.path("root/overlay-images/images.json");
    let text = fs::read_to_string(&path).unwrap();
    let marked = text.replacen(r#"{"id""#, r#"{"from-the-future":{"x":[1.0]},"id""#, 1);
    assert_ne!(text, marked);
    fs::write(&path, marked).unwrap();
    store
        .add_names(&id, &["localhost/more:1".to_owned()])
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""from-the-future":{"x":[1.0]}"#), "{text}");
    scratch.tool("podman", driver, &["images"]);
}

#[test]
fn peer_times_and_empty_layers_pass_their_check() {
    let driver = DriverName::Overlay;
    let scratch = Scratch::new("squeeze");
    let store = scratch.store(driver);
    let mut stack = store.stack(None).unwrap();
    fs::write(inside(stack.root().unwrap(), "file"), "x").unwrap();
    let one = stack.freeze().unwrap().digest(Times::Fixed(0)).unwrap();
    let two = stack.freeze().unwrap().digest(Times::Keep).unwrap();
    let ids = store.publish_stack(stack, vec![one, two]).unwrap();
    image(&store, &ids, &["localhost/empty:1"]);
    let tar = scratch.path("x.tar");
    scratch.tool(
        "podman",
        driver,
        &[
            "save",
            "-q",
            "-o",
            tar.to_str().unwrap(),
            "localhost/empty:1",
        ],
    );
    let listed = Command::new("tar").arg("tf").arg(&tar).output().unwrap();
    assert!(listed.status.success());
}

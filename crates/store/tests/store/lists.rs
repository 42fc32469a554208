//! Manifest lists: alone, with many writers, and next to Debian's tools in both directions.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails the test"
)]

use cooper_store::{DriverName, List, NewImage, Privilege, Store, StoreError, StoreOptions};
use model::{Descriptor, Digest, ImageId, Platform, media_type};

use crate::scratch::{Scratch, image, two_layers};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/var/tmp").unwrap())
    }

    fn store(&self) -> Store {
        let mut options = StoreOptions::new(self.0.path().join("g"), self.0.path().join("r"))
            .with_driver(DriverName::Vfs);
        options.privilege = Privilege::Root;
        Store::open(options).unwrap()
    }
}

fn member(list: &mut List, content: &str) -> Digest {
    let digest = Digest::sha256(content.as_bytes());
    let entry = Descriptor {
        platform: Some(Platform::new("linux", "arm64")),
        ..Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), 3)
    };
    list.index.put(entry);
    list.index.settle();
    let place = format!("docker://registry.example.com/{content}");
    list.places.insert(digest.clone(), place);
    digest
}

#[test]
fn a_list_comes_back_as_it_was_written() {
    let dir = Dir::new();
    let store = dir.store();
    let mut list = List::default();
    let digest = member(&mut list, "a");
    list.artifacts.put_blob(&digest, b"{}");
    let key = digest.to_string();
    let artifacts = &mut list.artifacts;
    artifacts.manifests.insert(key.clone(), "{}".to_owned());
    artifacts.files.insert(key.clone(), vec!["/f".to_owned()]);
    artifacts.extra.insert("later".to_owned(), 7.into());
    let names = vec!["localhost/l:latest".to_owned()];
    let id = store.create_list(names.clone(), &list).unwrap();
    assert_eq!(store.list(&id).unwrap().as_ref(), Some(&list));
    assert_eq!(list.artifacts.blob(&digest).unwrap(), b"{}");
    let taken = store.create_list(names, &list).unwrap_err();
    assert_eq!(
        taken.to_string(),
        format!(
            "image name \"localhost/l:latest\" is already associated with image \"{id}\": that name is already in use"
        )
    );
    let first = store.images().unwrap().get(&id).unwrap().digest.clone();
    let lock = store.lock_list(&id).unwrap();
    list.index.take(&digest).unwrap();
    list.places.remove(&digest);
    list.artifacts.remove(&digest);
    store.save_list(&lock, &list).unwrap();
    drop(lock);
    assert_eq!(store.list(&id).unwrap(), Some(list));
    let record = store.images().unwrap().get(&id).unwrap().clone();
    assert_eq!(record.digest, first);
    assert_eq!(
        record.items.names,
        ["manifest", "instances.json", "artifacts.json"]
    );
}

#[test]
fn what_is_no_list_is_none() {
    let dir = Dir::new();
    let store = dir.store();
    let manifest = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    let image = store
        .put_image(NewImage::new(None, manifest, b"{}"))
        .unwrap();
    assert_eq!(store.list(&image.id).unwrap(), None);
    let unknown = ImageId::parse(&"1".repeat(64)).unwrap();
    assert!(matches!(
        store.list(&unknown),
        Err(StoreError::ImageUnknown { .. })
    ));
}

#[test]
fn twenty_writers_lose_nothing() {
    let dir = Dir::new();
    let id = dir
        .store()
        .create_list(Vec::new(), &List::default())
        .unwrap();
    std::thread::scope(|scope| {
        for writer in 0..20 {
            let (dir, id) = (&dir, &id);
            scope.spawn(move || {
                let store = dir.store();
                let lock = store.lock_list(id).unwrap();
                let mut list = store.list(lock.list()).unwrap().unwrap();
                member(&mut list, &format!("m{writer}"));
                store.save_list(&lock, &list).unwrap();
            });
        }
    });
    let list = dir.store().list(&id).unwrap().unwrap();
    assert_eq!((list.index.manifests.len(), list.places.len()), (20, 20));
}

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn peer_lists_are_shared_with_buildah_and_podman() {
    for driver in [DriverName::Overlay, DriverName::Vfs] {
        let scratch = Scratch::new(&format!("lists-{driver}"));
        let store = scratch.store(driver);
        let layers = two_layers(&store);
        let member_id = image(&store, &layers, &["localhost/member:1"]);
        // Ours, read and changed by them.
        let mut list = List::default();
        let remote = member(&mut list, "remote");
        let ours = store
            .create_list(vec!["localhost/ours:latest".to_owned()], &list)
            .unwrap();
        for tool in ["buildah", "podman"] {
            // Before 1.37 they show every list under Docker's type.
            let shown = scratch
                .tool(tool, driver, &["manifest", "inspect", "localhost/ours"])
                .replace(DOCKER_LIST, OCI_INDEX);
            let expected = store.list(&ours).unwrap().unwrap();
            let expected = expected.index.display(&Default::default());
            assert_eq!(shown, String::from_utf8(expected).unwrap(), "{tool}");
        }
        scratch.tool(
            "buildah",
            driver,
            &["manifest", "add", "ours", "localhost/member:1"],
        );
        let changed = store.list(&ours).unwrap().unwrap();
        let record = store.images().unwrap().get(&member_id).unwrap().clone();
        let added = record.digest.clone().unwrap();
        assert_eq!(changed.index.manifests.len(), 2);
        assert_eq!(changed.places[&remote], list.places[&remote]);
        let reference = scratch.reference(driver, &format!("@{member_id}"));
        assert_eq!(changed.places[&added], reference, "{driver}");
        // Theirs, read and changed by us.
        let theirs = scratch.tool("podman", driver, &["manifest", "create", "theirs"]);
        let theirs = ImageId::parse(&theirs).unwrap();
        let lock = store.lock_list(&theirs).unwrap();
        let mut list = store.list(&theirs).unwrap().unwrap();
        assert!(list.index.manifests.is_empty());
        member(&mut list, "x");
        store.save_list(&lock, &list).unwrap();
        drop(lock);
        let shown = scratch.tool("podman", driver, &["manifest", "inspect", "theirs"]);
        assert!(shown.contains(Digest::sha256(b"x").as_str()), "{shown}");
        scratch.tool(
            "podman",
            driver,
            &["manifest", "rm", "localhost/theirs:latest"],
        );
        assert!(store.list(&theirs).is_err());
    }
}

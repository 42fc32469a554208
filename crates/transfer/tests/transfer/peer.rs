//! Debian's Buildah, Podman and Skopeo at the other end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cooper_transfer::{CopyOptions, TransportRef, pull};
use model::{Document, ImageConfig, Reference, validate};
use store::{DriverName, Store};

use crate::support::{Scratch, tool};

/// A store in which Buildah has made an image of two layers called `localhost/two:latest`.
struct Peer {
    scratch: Scratch,
    driver: &'static str,
}

impl Peer {
    fn new(driver: &'static str, format: &str) -> Self {
        let peer = Self {
            scratch: Scratch::new(),
            driver,
        };
        let files = peer.scratch.path("files");
        fs::create_dir_all(files.join("sub")).unwrap();
        fs::write(files.join("one"), vec![b'1'; 100_000]).unwrap();
        fs::write(files.join("sub/two"), b"two").unwrap();
        std::os::unix::fs::symlink("one", files.join("link")).unwrap();
        let base = peer.buildah(&["from", "scratch"]);
        peer.buildah(&["copy", "-q", &base, files.to_str().unwrap(), "/"]);
        peer.buildah(&[
            "config",
            "--env",
            "A=<&>",
            "--cmd",
            "/one",
            "--healthcheck",
            "CMD x",
            &base,
        ]);
        peer.buildah(&["commit", "-q", "--format", format, &base, "base"]);
        let top = peer.buildah(&["from", "base"]);
        peer.buildah(&[
            "copy",
            "-q",
            &top,
            files.join("one").to_str().unwrap(),
            "/three",
        ]);
        peer.buildah(&["commit", "-q", "--format", format, &top, "two"]);
        peer
    }

    fn roots(&self) -> [String; 6] {
        [
            "--root",
            "@/g",
            "--runroot",
            "@/r",
            "--storage-driver",
            self.driver,
        ]
        .map(|text| self.scratch.text(text))
    }

    fn with_roots(&self, program: &str, args: &[&str]) -> Vec<String> {
        let mut all = vec![program.to_owned()];
        all.extend(self.roots());
        all.extend(args.iter().map(|arg| self.scratch.text(arg)));
        all
    }

    fn buildah(&self, args: &[&str]) -> String {
        // The arguments of `buildah copy` are paths already.
        let all = self.with_roots("buildah", args);
        tool(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn podman(&self, args: &[&str]) -> String {
        let all = self.with_roots("podman", args);
        tool(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The image as Skopeo names it in this store.
    fn stored(&self, name: &str) -> String {
        let [graph, run] = ["g", "r"].map(|name| self.scratch.path(name).display().to_string());
        format!("containers-storage:[{}@{graph}+{run}]{name}", self.driver)
    }

    fn skopeo(&self, args: &[&str]) -> String {
        let mut all = vec!["skopeo".to_owned()];
        all.extend(args.iter().map(|arg| {
            if arg.contains("containers-storage") {
                (*arg).to_owned()
            } else {
                self.scratch.text(arg)
            }
        }));
        tool(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn store(&self) -> Store {
        let driver = if self.driver == "vfs" {
            DriverName::Vfs
        } else {
            DriverName::Overlay
        };
        let options = store::StoreOptions::new(self.scratch.path("g"), self.scratch.path("r"));
        Store::open(options.with_driver(driver)).unwrap()
    }

    fn id(&self, name: &str) -> String {
        self.buildah(&["images", "-q", "--no-trunc", name])
            .trim_start_matches("sha256:")
            .to_owned()
    }
}

fn files_of(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Both directories have the same files with the same bytes.
fn assert_same_tree(ours: &Path, theirs: &Path) {
    assert_eq!(files_of(ours), files_of(theirs));
    for name in files_of(ours) {
        if ours.join(&name).is_dir() {
            assert_same_tree(&ours.join(&name), &theirs.join(&name));
        } else {
            let (ours, theirs) = (
                fs::read(ours.join(&name)).unwrap(),
                fs::read(theirs.join(&name)).unwrap(),
            );
            assert!(
                ours == theirs,
                "{name}:\n{}\n{}",
                String::from_utf8_lossy(&ours),
                String::from_utf8_lossy(&theirs)
            );
        }
    }
}

#[test]
fn peer_what_leaves_a_store_is_what_skopeo_makes_of_it() {
    for (driver, format) in [("overlay", "oci"), ("vfs", "docker")] {
        let peer = Peer::new(driver, format);
        let store = peer.store();
        let from = "containers-storage:localhost/two";
        peer.skopeo(&[
            "copy",
            "-q",
            &peer.stored("localhost/two"),
            "dir:@/dir-theirs",
        ]);
        peer.scratch
            .copy(from, "dir:@/dir-ours", Some(&store))
            .unwrap();
        assert_same_tree(
            &peer.scratch.path("dir-ours"),
            &peer.scratch.path("dir-theirs"),
        );

        peer.skopeo(&[
            "copy",
            "-q",
            &peer.stored("localhost/two"),
            "docker-archive:@/theirs.tar:a/b:c",
        ]);
        peer.scratch
            .copy(from, "docker-archive:@/ours.tar:a/b:c", Some(&store))
            .unwrap();
        let (ours, theirs) = (
            peer.scratch.path("ours.tar"),
            peer.scratch.path("theirs.tar"),
        );
        for (archive, to) in [(&ours, "x-ours"), (&theirs, "x-theirs")] {
            fs::create_dir(peer.scratch.path(to)).unwrap();
            tool(&[
                "tar",
                "-C",
                peer.scratch.path(to).to_str().unwrap(),
                "-xf",
                archive.to_str().unwrap(),
            ]);
        }
        assert_same_tree(&peer.scratch.path("x-ours"), &peer.scratch.path("x-theirs"));
        assert!(
            fs::read(ours).unwrap() == fs::read(theirs).unwrap(),
            "the archives differ"
        );
    }
}

#[test]
fn peer_skopeo_and_podman_read_what_we_write() {
    for (driver, format) in [("overlay", "docker"), ("vfs", "oci")] {
        let peer = Peer::new(driver, format);
        let store = peer.store();
        let id = peer.id("two");
        for to in [
            "oci:@/oci:tag",
            "oci-archive:@/oci.tar:tag",
            "dir:@/dir",
            "docker-archive:@/docker.tar:tag",
        ] {
            let copied = peer
                .scratch
                .copy("containers-storage:localhost/two", to, Some(&store))
                .unwrap();
            let seen = peer.skopeo(&["inspect", "--raw", to]);
            assert_eq!(
                Document::parse(seen.into_bytes()).unwrap().bytes().len(),
                if to.starts_with("docker-archive") {
                    Document::parse(peer.skopeo(&["inspect", "--raw", to]).into_bytes())
                        .unwrap()
                        .bytes()
                        .len()
                } else {
                    copied.manifest.bytes().len()
                }
            );
            let expected = copied.manifest.manifest().config.digest.hex().to_owned();
            // Docker's config becomes another one as OCI; otherwise the image stays the same.
            if format == "oci" || !to.starts_with("oci") {
                assert_eq!(expected, id, "{to}");
            }
            let config = peer.skopeo(&["inspect", "--config", "--raw", to]);
            assert_eq!(
                model::Digest::sha256(config.as_bytes()).hex(),
                expected,
                "{to}"
            );
            let other = Peer {
                scratch: Scratch::new(),
                driver,
            };
            let pulled = other.podman(&["pull", "-q", &peer.scratch.text(to)]);
            assert_eq!(pulled, expected, "{to}");
            let mounted = other.podman(&["image", "mount", &pulled]);
            assert_eq!(
                fs::read(Path::new(&mounted).join("sub/two")).unwrap(),
                b"two"
            );
            assert_eq!(
                fs::metadata(Path::new(&mounted).join("three"))
                    .unwrap()
                    .len(),
                100_000
            );
            other.podman(&["image", "unmount", &pulled]);
        }
    }
}

#[test]
fn peer_conversion_to_oci_gives_skopeo_s_image() {
    let peer = Peer::new("vfs", "docker");
    let store = peer.store();
    peer.skopeo(&[
        "copy",
        "-q",
        "--dest-oci-accept-uncompressed-layers",
        &peer.stored("localhost/two"),
        "oci:@/theirs:t",
    ]);
    let options = CopyOptions {
        compress: cooper_transfer::Compress::Never,
        ..peer.scratch.options()
    };
    peer.scratch
        .copy_with(
            "containers-storage:localhost/two",
            "oci:@/ours:t",
            Some(&store),
            &options,
        )
        .unwrap();
    let (ours, theirs) = (
        peer.scratch.path("ours/blobs/sha256"),
        peer.scratch.path("theirs/blobs/sha256"),
    );
    let documents = |path: &Path| -> BTreeSet<String> {
        files_of(path)
            .into_iter()
            .map(|name| fs::read(path.join(name)).unwrap())
            .filter(|bytes| bytes.starts_with(b"{"))
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    };
    assert_eq!(documents(&ours), documents(&theirs));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn peer_we_read_what_skopeo_and_podman_write() {
    for (driver, ours) in [("overlay", DriverName::Overlay), ("vfs", DriverName::Vfs)] {
        let peer = Peer::new(driver, "oci");
        let id = peer.id("two");
        let stored = peer.stored("localhost/two");
        peer.skopeo(&["copy", "-q", &stored, "dir:@/dir"]);
        peer.skopeo(&["copy", "-q", &stored, "oci:@/oci:me/img:v1"]);
        peer.skopeo(&["copy", "-q", &stored, "oci-archive:@/oci.tar:v1"]);
        peer.skopeo(&[
            "copy",
            "-q",
            &stored,
            "docker-archive:@/docker.tar:me/img:v2",
        ]);
        peer.podman(&["save", "-q", "-m", "-o", "@/many.tar", "two", "base"]);
        let base = peer.id("base");
        for (from, names) in [
            ("dir:@/dir", vec![vec![]]),
            ("oci:@/oci:me/img:v1", vec![vec!["docker.io/me/img:v1"]]),
            ("oci-archive:@/oci.tar", vec![vec!["localhost/v1:latest"]]),
            (
                "docker-archive:@/docker.tar",
                vec![vec!["docker.io/me/img:v2"]],
            ),
            (
                "docker-archive:@/docker.tar:me/img:v2",
                vec![vec!["docker.io/me/img:v2"]],
            ),
            (
                "docker-archive:@/many.tar",
                vec![vec!["localhost/two:latest"], vec!["localhost/base:latest"]],
            ),
            (
                "docker-archive:@/many.tar:@1",
                vec![vec!["localhost/base:latest"]],
            ),
        ] {
            let other = Peer {
                scratch: Scratch::new(),
                driver,
            };
            let store = Store::open(
                store::StoreOptions::new(other.scratch.path("g"), other.scratch.path("r"))
                    .with_driver(ours),
            )
            .unwrap();
            let place = peer.scratch.place(from);
            let pulled = pull(
                &place,
                &store,
                &other.scratch.options(),
                &model::event::Silent,
            )
            .unwrap_or_else(|err| panic!("{from}: {}", crate::support::chain(&err)));
            let found: Vec<Vec<String>> = pulled.iter().map(|one| one.names.clone()).collect();
            assert_eq!(found, names, "{from}");
            for one in &pulled {
                let image = one.image.clone().unwrap();
                assert!(
                    [id.as_str(), base.as_str()].contains(&image.as_str()),
                    "{from}"
                );
                let findings = validate::image(&one.manifest, &store.image_config(&image).unwrap());
                assert!(findings.is_empty(), "{from}: {findings:?}");
                let listed = other.podman(&[
                    "image",
                    "inspect",
                    "--format",
                    "{{.Id}} {{.Digest}}",
                    image.as_str(),
                ]);
                assert_eq!(listed, format!("{image} {}", one.digest), "{from}");
                let mounted = other.podman(&["image", "mount", image.as_str()]);
                assert_eq!(
                    fs::read(Path::new(&mounted).join("sub/two")).unwrap(),
                    b"two",
                    "{from}"
                );
                other.podman(&["image", "unmount", image.as_str()]);
            }
            // What went in comes out as it was.
            let again = other.stored(&format!("@{}", pulled[0].image.clone().unwrap()));
            other.skopeo(&["copy", "-q", &again, "dir:@/out"]);
        }
    }
}

#[test]
fn peer_our_store_records_are_those_of_skopeo() {
    let peer = Peer::new("vfs", "oci");
    peer.skopeo(&["copy", "-q", &peer.stored("localhost/two"), "oci:@/oci:t"]);
    peer.skopeo(&[
        "copy",
        "-q",
        &peer.stored("localhost/two"),
        "docker-archive:@/docker.tar:t",
    ]);
    for from in ["oci:@/oci:t", "docker-archive:@/docker.tar:t"] {
        let theirs = Peer {
            scratch: Scratch::new(),
            driver: "vfs",
        };
        theirs.skopeo(&[
            "copy",
            "-q",
            &peer.scratch.text(from),
            &theirs.stored("x/y:z"),
        ]);
        let ours = Peer {
            scratch: Scratch::new(),
            driver: "vfs",
        };
        let store = ours.store();
        let place = TransportRef::stored(Reference::parse_normalized("x/y:z").unwrap());
        let from = TransportRef::parse(&peer.scratch.text(from)).unwrap();
        cooper_transfer::copy(
            &from,
            &place,
            Some(&store),
            &ours.scratch.options(),
            &model::event::Silent,
        )
        .unwrap();
        let record = |peer: &Peer| {
            let text = fs::read_to_string(peer.scratch.path("g/vfs-images/images.json")).unwrap();
            let mut images: serde_json::Value = serde_json::from_str(&text).unwrap();
            let image = images[0].as_object_mut().unwrap();
            // Signatures, of which there are none, are written as empty items by the others.
            image.remove("metadata");
            image.remove("names-history");
            for key in ["big-data-sizes", "big-data-digests"] {
                let items = image[key].as_object_mut().unwrap();
                items.retain(|key, _| !key.starts_with("signature"));
            }
            let mut names: Vec<String> =
                serde_json::from_value(image["big-data-names"].clone()).unwrap();
            names.retain(|key| !key.starts_with("signature"));
            names.sort();
            image["big-data-names"] = names.into();
            images
        };
        assert_eq!(record(&ours), record(&theirs));
        let config = store
            .image_config(&store.images().unwrap().iter().next().unwrap().id)
            .unwrap();
        assert!(ImageConfig::parse(&config).is_ok());
    }
}

//! Images that lie, and destinations that must not be harmed.

use std::fs;
use std::path::Path;

use archive::Compression;
use archive::tar::{Header, Kind, Writer};
use model::{Descriptor, DiffId, Digest, ManifestFormat, media_type};
use store::DriverName;

use crate::support::{Image, Scratch, blob, failure, layer, pack, write_index};

/// A layout whose only image was bent.
fn bent(scratch: &Scratch, bend: impl FnOnce(&mut Image, &Path)) {
    let layout = scratch.path("bad");
    let mut image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"]);
    image.write_layout(&layout, None);
    bend(&mut image, &layout);
}

fn tamper(layout: &Path, digest: &Digest, change: impl FnOnce(&mut Vec<u8>)) {
    let path = layout.join("blobs/sha256").join(digest.hex());
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[expect(
    clippy::ptr_arg,
    reason = "it is passed where the length may change, too"
)]
fn last(bytes: &mut Vec<u8>) {
    *bytes.last_mut().unwrap() ^= 1;
}

/// Every destination refuses the image with this text, publishes nothing, and takes another one afterwards.
fn refused(bend: impl Fn(&mut Image, &Path), expected: &str) {
    for to in [
        "dir:@/dir",
        "oci:@/oci:t",
        "oci-archive:@/oci.tar",
        "docker-archive:@/docker.tar",
        "containers-storage:x",
    ] {
        let scratch = Scratch::new();
        bent(&scratch, &bend);
        let store = scratch.store("s", DriverName::Vfs);
        let found = failure(scratch.copy("oci:@/bad", to, Some(&store)));
        assert!(found.contains(expected), "{to}: {found}");
        assert!(!scratch.path("dir/manifest.json").exists());
        assert!(!scratch.path("oci/index.json").exists());
        assert!(!scratch.path("oci.tar").exists() && !scratch.path("docker.tar").exists());
        assert_eq!(store.images().unwrap().iter().count(), 0);
        assert_eq!(store.layers().unwrap().iter().count(), 0);
        // What is left of it does not stand in the way of the next one.
        let good = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one", b"two"]);
        good.write_layout(&scratch.path("good"), None);
        scratch
            .copy("oci:@/good", to, Some(&store))
            .unwrap_or_else(|err| panic!("{to}: {err}"));
    }
}

#[test]
fn priv_a_layer_with_other_bytes_is_refused() {
    refused(
        |image, layout| {
            tamper(layout, &Digest::sha256(&image.layers[1].0), |bytes| {
                bytes[9] ^= 1;
            });
        },
        "digest",
    );
    refused(
        |image, layout| tamper(layout, &Digest::sha256(&image.layers[0].0), last),
        "layer 0",
    );
}

#[test]
fn priv_a_layer_of_another_size_is_refused() {
    refused(
        |image, layout| {
            tamper(layout, &Digest::sha256(&image.layers[1].0), |bytes| {
                bytes.extend([0; 100_000]);
            });
        },
        "cannot copy layer 1",
    );
    refused(
        |image, layout| {
            tamper(layout, &Digest::sha256(&image.layers[1].0), |bytes| {
                bytes.truncate(20);
            });
        },
        "cannot copy layer 1",
    );
}

#[test]
fn priv_a_missing_layer_is_refused() {
    refused(
        |image, layout| {
            fs::remove_file(
                layout
                    .join("blobs/sha256")
                    .join(Digest::sha256(&image.layers[1].0).hex()),
            )
            .unwrap();
        },
        "No such file",
    );
}

#[test]
fn priv_content_other_than_the_config_s_is_refused_where_it_is_seen() {
    for to in ["docker-archive:@/docker.tar", "containers-storage:x"] {
        let scratch = Scratch::new();
        bent(&scratch, |image, layout| {
            image.config.rootfs.diff_ids[1] = DiffId(Digest::sha256(b"other"));
            image.write_layout(layout, None);
        });
        let store = scratch.store("s", DriverName::Vfs);
        let found = failure(scratch.copy("oci:@/bad", to, Some(&store)));
        assert!(found.contains("cannot copy layer 1"), "{found}");
        assert!(!scratch.path("docker.tar").exists());
        assert_eq!(store.layers().unwrap().iter().count(), 0);
    }
}

#[test]
fn priv_documents_that_do_not_fit_are_refused() {
    refused(
        |image, layout| tamper(layout, &Digest::sha256(&image.config_bytes()), last),
        "the config is not",
    );
    refused(
        |image, layout| tamper(layout, &Digest::sha256(&image.manifest().to_bytes()), last),
        "the manifest is not",
    );
    refused(
        |image, layout| {
            image.config.rootfs.diff_ids.pop();
            image.write_layout(layout, None);
        },
        "has 2 layers, its config 1",
    );
    refused(
        |_, layout| fs::write(layout.join("index.json"), "[").unwrap(),
        "cannot parse",
    );
    refused(
        |_, layout| fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"9"}"#).unwrap(),
        "not an OCI image layout",
    );
    refused(
        |_, layout| write_index(layout, Vec::new()),
        "there is no image in",
    );
    refused(
        |_, layout| {
            let huge = vec![b' '; (4 << 20) + 1];
            let digest = blob(layout, &huge);
            write_index(
                layout,
                vec![Descriptor::new(
                    media_type::OCI_MANIFEST,
                    digest,
                    huge.len() as u64,
                )],
            );
        },
        "more than 4194304",
    );
    refused(
        |_, layout| {
            let mut entry = Descriptor::new(media_type::OCI_INDEX, Digest::sha256(b""), 0);
            for _ in 0..7 {
                let bytes = model::Index::new(ManifestFormat::Oci, vec![entry]).to_bytes();
                entry = Descriptor::new(
                    media_type::OCI_INDEX,
                    blob(layout, &bytes),
                    bytes.len() as u64,
                );
            }
            write_index(layout, vec![entry]);
        },
        "lists of manifests within each other",
    );
}

#[test]
fn a_pipe_in_a_layout_does_not_block() {
    let scratch = Scratch::new();
    bent(&scratch, |image, layout| {
        let path = layout
            .join("blobs/sha256")
            .join(Digest::sha256(&image.layers[1].0).hex());
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    });
    assert!(failure(scratch.copy("oci:@/bad", "dir:@/x", None)).contains("not a regular file"));
}

#[test]
fn other_people_s_directories_are_left_alone() {
    let scratch = Scratch::new();
    Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"])
        .write_layout(&scratch.path("a"), None);
    fs::create_dir(scratch.path("home")).unwrap();
    fs::write(scratch.path("home/letter"), "x").unwrap();
    assert_eq!(
        failure(scratch.copy("oci:@/a", "dir:@/home", None)),
        format!(
            "initializing destination dir:{}: not a containers image directory, don't want to overwrite important data",
            scratch.path("home").display()
        )
    );
    fs::write(
        scratch.path("home/version"),
        "Directory Transport Version: 1.9\n",
    )
    .unwrap();
    assert!(
        failure(scratch.copy("oci:@/a", "dir:@/home", None))
            .starts_with("unsupported directory transport version")
    );
    assert_eq!(scratch.list("home"), ["letter", "version"]);

    // An image of before stays until the new one is whole.
    scratch.copy("oci:@/a", "dir:@/b", None).unwrap();
    let before = scratch.list("b");
    bent(&scratch, |image, layout| {
        tamper(layout, &Digest::sha256(&image.layers[1].0), last);
    });
    failure(scratch.copy("oci:@/bad", "dir:@/b", None));
    assert!(before.iter().all(|name| scratch.list("b").contains(name)));
    scratch
        .copy("oci:@/a", "docker-archive:@/x.tar", None)
        .unwrap();
    let first = fs::read(scratch.path("x.tar")).unwrap();
    assert_eq!(
        failure(scratch.copy("oci:@/a", "docker-archive:@/x.tar", None)),
        "docker-archive doesn't support modifying existing images"
    );
    assert!(fs::read(scratch.path("x.tar")).unwrap() == first);
}

/// A `docker-archive:` written member by member.
fn archive(path: &Path, members: &[(&str, Member<'_>)]) {
    let mut writer = Writer::new(fs::File::create(path).unwrap());
    for (name, member) in members {
        match member {
            Member::File(bytes) => {
                let header = Header {
                    size: bytes.len() as u64,
                    ..Header::new(*name, Kind::File)
                };
                writer.start(&header).unwrap();
                writer.data(bytes).unwrap();
            }
            Member::Link(target) => {
                let header = Header {
                    link: (*target).into(),
                    ..Header::new(*name, Kind::Symlink)
                };
                writer.start(&header).unwrap();
            }
        }
    }
    writer.finish().unwrap();
}

enum Member<'a> {
    File(&'a [u8]),
    Link(&'a str),
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn archives_are_read_without_trusting_their_names() {
    use Member::{File, Link};
    let scratch = Scratch::new();
    let image = Image::new(ManifestFormat::Docker, "linux/amd64", &[b"one", b"two"]);
    let (config, first, second) = (
        image.config_bytes(),
        layer("file0", b"one"),
        &image.layers[1].0,
    );
    let list = |json: &str| json.replace('\'', "\"").into_bytes();
    let good = list(
        "[{'Config':'c.json','RepoTags':['a:1','b.io/x:2'],'Layers':['id/layer.tar','../two.tar']}]",
    );
    let path = scratch.path("a.tar");
    let tars = |manifest: &[u8]| {
        archive(
            &path,
            &[
                ("./c.json", File(&config)),
                ("one.tar", File(&first)),
                ("id/layer.tar", Link("../one.tar")),
                ("two.tar", File(second)),
                ("manifest.json", File(manifest)),
            ],
        );
    };
    tars(&good);
    let copied = scratch
        .copy("docker-archive:@/a.tar", "dir:@/d", None)
        .unwrap();
    assert_eq!(
        copied.manifest.manifest().layers[1].digest,
        image.config.rootfs.diff_ids[1].0
    );
    assert_eq!(
        copied.manifest.manifest().config.digest,
        Digest::sha256(&config)
    );
    let compressed = pack(&fs::read(&path).unwrap(), Compression::Gzip);
    fs::write(scratch.path("a.tar.gz"), compressed).unwrap();
    scratch
        .copy("docker-archive:@/a.tar.gz:b.io/x:2", "dir:@/d", None)
        .unwrap();

    let check = |from: &str, expected: &str| {
        let found = failure(scratch.copy(from, "dir:@/e", None));
        assert!(found.contains(expected), "{found}");
    };
    check(
        "docker-archive:@/a.tar:nope",
        "Tag \"docker.io/library/nope:latest\" not found",
    );
    check(
        "docker-archive:@/a.tar:@5",
        "Invalid source index @5, only 1 manifest items available",
    );
    tars(&list("[]"));
    check(
        "docker-archive:@/a.tar",
        "Unexpected tar manifest.json: expected 1 item, got 0",
    );
    tars(&list("[{'Config':'c.json','Layers':['one.tar']}]"));
    check("docker-archive:@/a.tar", "has 1 layers, its config 2");
    tars(&list(
        "[{'Config':'c.json','Layers':['two.tar','one.tar']}]",
    ));
    check("docker-archive:@/a.tar", "digest");
    tars(&list("[{'Config':'/etc/passwd','Layers':[]}]"));
    check("docker-archive:@/a.tar", "there is no `/etc/passwd`");
    tars(&vec![b' '; (1 << 20) + 1]);
    check("docker-archive:@/a.tar", "more than 1048576");
    archive(
        &path,
        &[
            ("manifest.json", Link("other")),
            ("other", Link("manifest.json")),
        ],
    );
    check("docker-archive:@/a.tar", "there is no `manifest.json`");
    fs::write(&path, vec![b'x'; 4096]).unwrap();
    check("docker-archive:@/a.tar", "as an archive");
    check("oci-archive:@/a.tar", "as an archive");
    check("docker-archive:@/missing", "cannot open");
}

//! Users of a container that are called otherwise on the host: `--userns` and its maps.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::stage::{Said, Stage, said, text, write_base_tree};

/// The maps of the tests: users and groups that differ.
const MAPS: [&str; 2] = [
    "--userns-uid-map=0:100000:5000",
    "--userns-gid-map=0:200000:5000",
];
const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// A store of one driver, with `localhost/base`, which has all that Debian's runc mounts on.
struct Place<'a> {
    stage: &'a Stage,
    driver: &'static str,
}

impl<'a> Place<'a> {
    fn new(stage: &'a Stage, driver: &'static str) -> Self {
        let place = Self { stage, driver };
        let base = stage.path("tree");
        if !base.exists() {
            write_base_tree(&base);
            for folder in ["proc", "sys", "dev", "run"] {
                std::fs::create_dir(base.join(folder)).unwrap();
            }
            stage.write("Containerfile", "FROM scratch\nCOPY . /\n");
        }
        let file = stage.path("Containerfile");
        place
            .cooper(&["build", "-q", "-t", "base", "-f", text(&file), text(&base)])
            .ok();
        place
    }

    fn on(&self, mut command: std::process::Command, words: &[&str]) -> Said {
        let root = self.stage.path(self.driver);
        command.args(["--storage-driver", self.driver, "--root"]);
        said(command.arg(root).args(words))
    }

    fn cooper(&self, words: &[&str]) -> Said {
        self.on(self.stage.cooper_command(&[]), words)
    }

    fn buildah(&self, words: &[&str]) -> Said {
        let mut command = std::process::Command::new("buildah");
        self.stage.surround(&mut command);
        command.arg("--runroot").arg(self.stage.path("run"));
        self.on(command, words)
    }

    /// Owners of files of a container as the host sees them.
    fn owners(&self, container: &str, names: &[&str]) -> Vec<(u32, u32)> {
        let mount = self.cooper(&["mount", container]).ok();
        let owner = |name: &&str| {
            let meta = std::fs::symlink_metadata(Path::new(&mount).join(name)).unwrap();
            (meta.uid(), meta.gid())
        };
        let found = names.iter().map(owner).collect();
        self.cooper(&["umount", container]).ok();
        found
    }

    /// Owners of files of an image.
    fn image_owners(&self, image: &str, names: &[&str]) -> Vec<(u32, u32)> {
        let container = self.cooper(&["from", image]).ok();
        let found = self.owners(&container, names);
        self.cooper(&["rm", &container]).ok();
        found
    }
}

#[test]
fn priv_files_of_a_mapped_container_have_their_owners_everywhere() {
    let stage = Stage::empty("usermaps");
    let file = stage.write("f", "x");
    for driver in DRIVERS {
        let place = Place::new(&stage, driver);
        let from = ["from", "--name", "c", MAPS[0], MAPS[1], "base"];
        place.cooper(&from).ok();
        let script = "cat /proc/self/uid_map; id -u; touch /made; mkdir /d; chown 7:8 /d; \
            stat -c %u:%g / /bin /made /dev; chown 6000 /made 2>/dev/null || echo refused";
        let seen = place.cooper(&["run", "c", "sh", "-c", script]).ok();
        let seen: Vec<&str> = seen.split_whitespace().collect();
        let expected = "0 100000 5000 0 0:0 0:0 0:0 0:0 refused";
        assert_eq!(seen.join(" "), expected, "{driver}");
        place.cooper(&["copy", "c", text(&file), "/f"]).ok();
        place
            .cooper(&["copy", "--chown", "5:6", "c", text(&file), "/g"])
            .ok();
        let run = ["run", "--workingdir", "/w/x", "--user", "9:9", "c", "true"];
        place.cooper(&run).ok();
        let names = ["", "bin", "made", "d", "f", "g", "w/x"];
        let inside = [(0, 0), (0, 0), (0, 0), (7, 8), (0, 0), (5, 6), (9, 9)];
        let outside = inside.map(|(uid, gid)| (100_000 + uid, 200_000 + gid));
        assert_eq!(place.owners("c", &names), outside, "{driver}");
        // What is mounted shows what comes from elsewhere, too.
        let mount = place.cooper(&["mount", "c"]).ok();
        let late = ["copy", "--chown", "3:4", "c", text(&file), "/late"];
        place.cooper(&late).ok();
        let late = std::fs::metadata(Path::new(&mount).join("late")).unwrap();
        assert_eq!((late.uid(), late.gid()), (100_003, 200_004), "{driver}");
        place.cooper(&["run", "c", "test", "-e", "/late"]).ok();
        place.cooper(&["umount", "c"]).ok();
        let seen = place.cooper(&["run", "c", "stat", "-c", "%u:%g", "/g"]);
        assert_eq!(seen.ok(), "5:6", "{driver}");
        place.cooper(&["commit", "-q", "c", "made"]).ok();
        assert_eq!(place.image_owners("made", &names), inside, "{driver}");
        // The container goes on as it was.
        assert_eq!(place.owners("c", &names), outside, "{driver}");
        place.cooper(&["rm", "c"]).ok();
    }
    // The store's mount on itself stays, as with every tool.
    let mut left = stage.leftover_mounts().into_iter();
    assert!(left.all(|at| at == stage.path("overlay/overlay")));
}

#[test]
fn priv_steps_of_a_build_run_as_mapped_users() {
    let stage = Stage::empty("usermapsbuild");
    for driver in DRIVERS {
        let place = Place::new(&stage, driver);
        let containerfile = "FROM base\nCOPY etc/group /f\nCOPY --chown=7:8 etc/group /g\nWORKDIR /w\n\
            RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t touch /cache/x /t/x /w/made && \
            mkdir /d && chown 9:9 /d && cat /proc/self/uid_map && stat -c %u:%g /f /g /w /cache\nRUN rm /f\n";
        let file = stage.write("Containerfile.maps", containerfile);
        let context = stage.path("tree");
        for layers in ["--layers=false", "--layers"] {
            let words = [
                "build",
                "-t",
                "built",
                layers,
                "--no-cache",
                MAPS[0],
                MAPS[1],
                "-f",
            ];
            let words = [&words[..], &[text(&file), text(&context)]].concat();
            let printed = place.cooper(&words).ok();
            let lines: Vec<String> = printed
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            let expected = ["0 100000 5000", "0:0", "7:8", "0:0", "0:0"].map(str::to_owned);
            assert!(
                lines.windows(5).any(|seen| seen == expected),
                "{driver} {printed}"
            );
            let owners = place.image_owners("built", &["g", "w", "w/made", "d", ""]);
            assert_eq!(owners, [(7, 8), (0, 0), (0, 0), (9, 9), (0, 0)], "{driver}");
        }
    }
}

#[test]
fn priv_a_private_user_namespace_without_maps_has_all_ids() {
    let stage = Stage::with_base("usersame");
    let from = ["from", "--name", "c", "--userns", "private", "base"];
    stage.cooper(&from).ok();
    let link = |said: Said| {
        let listing = said.ok();
        let line = listing.lines().find(|line| line.contains(" user -> "));
        line.unwrap_or_default().to_owned()
    };
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    let seen = link(stage.cooper(&["run", "c", "ls", "-l", "/proc/self/ns"]));
    assert!(!seen.contains(own.to_str().unwrap()), "{seen}");
    let seen = stage.cooper(&["run", "--user", "4000000", "c", "id", "-u"]);
    assert_eq!(seen.ok(), "4000000");
    let file = "FROM base\nRUN ls -l /proc/self/ns\n";
    let seen = link(stage.build(file, &["--userns=private", "--no-cache"]));
    assert!(!seen.contains(own.to_str().unwrap()), "{seen}");
    let seen = link(stage.build(file, &["--userns=/proc/self/ns/user", "--no-cache"]));
    assert!(seen.contains(own.to_str().unwrap()), "{seen}");
}

#[test]
fn priv_bad_maps_are_refused() {
    let stage = Stage::with_base("usermapsbad");
    let context = stage.path("base");
    stage.write("base/Containerfile", "FROM base\n");
    let check = |flags: &[&str], expected: &str| {
        let from = [&["from"][..], flags, &["base"]].concat();
        let build = [&["build"][..], flags, &[text(&context)]].concat();
        for words in [from, build] {
            let stderr = stage.cooper(&words).fails(125);
            assert!(stderr.contains(expected), "{words:?}: {stderr}");
        }
    };
    check(
        &["--userns", "foo"],
        "Error: parsing ID mapping options: checking user namespace: faccessat foo: no such file or directory",
    );
    check(
        &["--userns", "host", "--userns-uid-map", "0:100000:10"],
        "Error: parsing ID mapping options: can not specify ID mappings while using host's user namespace",
    );
    check(
        &["--userns-gid-map", "0:1:1"],
        "Error: option --userns-gid-map can not be used without --userns-uid-map",
    );
    check(
        &["--userns-uid-map-user", "no-such"],
        "no subuid ranges found for user \"no-such\" in /etc/subuid",
    );
    check(
        &["--userns", "auto:foo=1"],
        "Error: parsing ID mapping options: unknown option specified: \"foo\"",
    );
    check(&["--userns", "auto"], "--userns=auto is not supported yet");
    let stderr = stage
        .cooper(&["from", "--userns-uid-map", "0:1", "base"])
        .fails(125);
    let expected = "initializing ID mappings: userns-uid-map setting is malformed expected [\"uint32:uint32:uint32\"]: [\"0:1\"]";
    assert!(stderr.contains(expected), "{stderr}");
    let stderr = stage
        .cooper(&["build", "--userns-uid-map", "0:1", text(&context)])
        .fails(125);
    let expected = "mapping \"0:1\" is not in the form containerid:hostid:size[,...]";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn peer_mapped_containers_are_those_of_buildah() {
    let stage = Stage::empty("usermapspeer");
    let file = stage.write("f", "x");
    for driver in DRIVERS {
        let place = Place::new(&stage, driver);
        let from = |name| ["from", "--name", name, MAPS[0], MAPS[1], "localhost/base"];
        place.cooper(&from("ours")).ok();
        place.buildah(&from("theirs")).ok();
        let inspected = |name: &str| {
            let format = "{{.IDMappingOptions}} {{.NamespaceOptions}}";
            let words = ["inspect", "--format", format, name];
            let seen = place.buildah(&words).ok();
            assert_eq!(place.cooper(&words).ok(), seen, "{driver}");
            seen
        };
        assert_eq!(inspected("ours"), inspected("theirs"), "{driver}");
        let script = "touch /srv/x; id -u; cat /proc/self/uid_map";
        let run = ["run", "--network", "host", "--workingdir", "/srv"];
        for container in ["ours", "theirs"] {
            let words = [&run[..], &[container, "sh", "-c", script]].concat();
            let seen = place.cooper(&words).ok();
            assert_eq!(place.buildah(&words).ok(), seen, "{driver} {container}");
            let copy = ["copy", "--chown", "5:6", container, text(&file)];
            place.cooper(&[&copy[..], &["/srv/a"]].concat()).ok();
            place.buildah(&[&copy[..], &["/srv/b"]].concat()).ok();
            let owners = place.owners(container, &["srv/a", "srv/b", "srv/x"]);
            let expected = [(100_005, 200_006), (100_005, 200_006), (100_000, 200_000)];
            assert_eq!(owners, expected, "{driver} {container}");
            let image = format!("image-{container}");
            place.cooper(&["commit", "-q", container, &image]).ok();
            let owners = place.image_owners(&image, &["srv/a", "srv/b", "srv/x", "bin"]);
            assert_eq!(
                owners,
                [(5, 6), (5, 6), (0, 0), (0, 0)],
                "{driver} {container}"
            );
        }
        // Buildah writes owners of the host into the image when it has made such a container itself.
        place.buildah(&["commit", "-q", "ours", "by-them"]).ok();
        let owners = place.image_owners("localhost/by-them", &["srv/a", "srv/x"]);
        assert_eq!(owners, [(5, 6), (0, 0)], "{driver}");
        for container in ["ours", "theirs"] {
            place.buildah(&["rm", container]).ok();
        }
    }
}

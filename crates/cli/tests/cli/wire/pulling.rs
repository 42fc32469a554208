//! When an image is fetched, for which machine, and what that costs.

use testkit::proxy::{FaultProxy, Seen};
use testkit::registry::Registry;

use super::setting::{PLAIN, at, id, make, raw, tiny};
use crate::stage::{Stage, Store, said, text};

/// A registry with the image `a/tiny:1` behind a proxy that counts.
struct Far {
    stage: Stage,
    registry: Registry,
    proxy: FaultProxy,
}

impl Far {
    fn new(purpose: &str) -> Self {
        let stage = tiny(purpose);
        let registry = Registry::open().unwrap();
        let proxy = FaultProxy::start(&registry.host()).unwrap();
        let far = Self {
            stage,
            registry,
            proxy,
        };
        far.publish("tiny", "a/tiny:1");
        far
    }

    fn publish(&self, image: &str, name: &str) {
        let place = at(&self.registry.host(), name);
        self.stage
            .cooper(&["push", "-q", PLAIN, image, &place])
            .ok();
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.proxy.host())
    }

    /// What a command on the other store asked the registry for, the greeting left out.
    fn asked(&self, words: &[&str]) -> Vec<Seen> {
        let before = self.proxy.requests().len();
        self.stage.cooper_elsewhere(words).ok();
        self.proxy.requests()[before..]
            .iter()
            .filter(|seen| seen.target != "/v2/")
            .cloned()
            .collect()
    }
}

#[test]
fn peer_policies_ask_no_more_than_they_must() {
    let far = Far::new("policies");
    let name = far.name("a/tiny:1");
    let check = |policy: &str, expected: &[&str]| {
        let asked = far.asked(&["pull", "-q", PLAIN, "--policy", policy, &name]);
        let kinds: Vec<&str> = asked
            .iter()
            .map(|seen| match seen.target.contains("/manifests/") {
                true => "manifest",
                false => "blob",
            })
            .collect();
        assert_eq!(kinds, expected, "{policy}: {asked:#?}");
    };
    check("missing", &["manifest", "blob", "blob"]);
    check("missing", &[]);
    check("never", &[]);
    check("newer", &["manifest"]);
    check("always", &["manifest", "blob"]);
    // Another image under the same name.
    make(&far.stage, "other", "FROM tiny\nLABEL a=b\n");
    let other = id(&far.stage, "other");
    far.publish("other", "a/tiny:1");
    let pull = |policy: &str| {
        let words = ["pull", "-q", PLAIN, "--policy", policy, &name];
        far.stage.cooper_elsewhere(&words).ok()
    };
    assert_ne!(pull("missing"), other);
    assert_eq!(pull("newer"), other);
    let words = ["pull", PLAIN, "--policy", "always", other.as_str()];
    let stderr = far.stage.cooper_elsewhere(&words).fails(125);
    let expected = format!("pull policy is always but image has been referred to by ID ({other})");
    assert!(stderr.contains(&expected), "{stderr}");
}

#[test]
fn peer_what_cannot_be_reached_matters_by_policy() {
    let far = Far::new("unreachable");
    let name = far.name("a/tiny:1");
    let pull = |policy: &str, name: &str| {
        let words = [
            "pull",
            "-q",
            PLAIN,
            "--retry-delay",
            "1ms",
            "--policy",
            policy,
            name,
        ];
        far.stage.cooper_elsewhere(&words)
    };
    let here = pull("missing", &name).ok();
    let gone = far.name("a/nosuch:1");
    far.stage.cooper_elsewhere(&["tag", &name, &gone]).ok();
    assert_eq!(pull("newer", &gone).ok(), here);
    assert_eq!(pull("missing", &gone).ok(), here);
    let stderr = pull("always", &gone).fails(125);
    let expected = format!("unable to copy from source docker://{gone}");
    assert!(stderr.contains(&expected), "{stderr}");
    let never = far.name("never:1");
    let stderr = pull("never", &never).fails(125);
    assert_eq!(stderr, format!("Error: {never}: image not known\n"));
    for words in [
        ["from", PLAIN, "--pull-never", &never],
        ["from", PLAIN, "--pull=never", &never],
    ] {
        let stderr = far.stage.cooper_elsewhere(&words).fails(125);
        assert!(stderr.contains("image not known"), "{stderr}");
    }
}

#[test]
fn peer_a_machine_gets_its_own_image() {
    let far = Far::new("machines");
    let stage = &far.stage;
    let build = |platform: &str, name: &str| {
        let words = ["-q", "--platform", platform, "-t", name];
        stage.build("FROM scratch\nCOPY h.txt /\n", &words).ok()
    };
    let arm = build("linux/arm64", "arm");
    let amd = build("linux/amd64", "amd");
    stage
        .cooper(&["manifest", "create", "m", "arm", "amd"])
        .ok();
    let place = at(&far.registry.host(), "m:1");
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "m", &place])
        .ok();
    let name = far.name("m:1");
    let pull = |words: &[&str]| {
        let mut all = vec!["pull", PLAIN];
        all.extend(words);
        all.push(&name);
        stage.cooper_elsewhere(&all)
    };
    assert_eq!(pull(&["-q", "--arch", "arm64"]).ok(), arm);
    assert_eq!(pull(&["-q", "--platform", "linux/amd64"]).ok(), amd);
    assert_eq!(pull(&["-q", "--platform", "linux/arm64/v8"]).ok(), arm);
    // The image that is here under the name is for the other machine.
    assert_eq!(pull(&["-q", "--policy", "newer"]).ok(), amd);
    let said = pull(&["-q", "--platform", "linux/arm64,linux/amd64"]);
    assert!(
        said.stderr
            .contains("ignoring platforms other than {OS:linux Arch:arm64 Variant:}"),
        "{said:?}"
    );
    let stderr = pull(&["--platform", "linux/arm64", "--os", "linux"]).fails(125);
    assert!(
        stderr.contains("invalid --platform may not be used with --os, --arch, or --variant"),
        "{stderr}"
    );
    let stderr = pull(&["--arch", "s390x"]).fails(125);
    assert!(
        stderr.contains(
            "no image found in image index for architecture \"s390x\", variant \"\", OS \"linux\""
        ),
        "{stderr}"
    );
    // One image for all machines is taken, and said to be the wrong one.
    let single = far.name("a/tiny:1");
    let words = ["pull", "-q", PLAIN, "--arch", "arm64", &single];
    let said = stage.cooper_elsewhere(&words);
    assert!(
        said.stderr.contains(
            "image platform (linux/amd64) does not match the expected platform (linux/arm64)"
        ),
        "{said:?}"
    );
    assert_eq!(said.ok(), id(stage, "tiny"));
}

#[test]
fn peer_builds_follow_their_policy() {
    let far = Far::new("build-policy");
    let stage = &far.stage;
    make(stage, "second", "FROM tiny\nLABEL second=1\n");
    far.publish("second", "a/second:1");
    let (one, two) = (far.name("a/tiny:1"), far.name("a/second:1"));
    let file = stage.write(
        "Containerfile.far",
        &format!("FROM {one} AS one\nFROM {two}\nCOPY --from=one /h.txt /copy\n"),
    );
    let context = stage.path("context");
    let build = |words: &[&str]| {
        let mut all = vec!["build", "-q", PLAIN, "-f", text(&file)];
        all.extend(words);
        all.push(text(&context));
        said(&mut stage.cooper_on(Store::Elsewhere, &all))
    };
    let stderr = build(&["--pull-never"]).fails(125);
    assert!(stderr.contains("image not known"), "{stderr}");
    build(&[]).ok();
    let count = |words: &[&str]| {
        let before = far.proxy.count("GET", "/manifests/");
        build(words).ok();
        far.proxy.count("GET", "/manifests/") - before
    };
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&["--pull=never"]), 0);
    assert_eq!(count(&["--pull=newer"]), 2);
    assert_eq!(count(&["--pull"]), 2);
    assert_eq!(count(&["--pull-always"]), 2);
    let stderr = build(&["--pull-always", "--pull-never"]).fails(125);
    assert!(
        stderr.contains("can only set one of 'pull' or 'pull-always' or 'pull-never'"),
        "{stderr}"
    );
}

#[test]
fn peer_what_is_made_joins_a_list() {
    let far = Far::new("join");
    let stage = &far.stage;
    for platform in ["linux/amd64", "linux/arm64"] {
        stage
            .build(
                "FROM scratch\nCOPY h.txt /\n",
                &["-q", "--platform", platform, "--manifest", "all"],
            )
            .ok();
    }
    let container = stage.cooper(&["from", "tiny"]).ok();
    stage.cooper(&["config", "--label", "x=y", &container]).ok();
    stage
        .cooper(&["commit", "-q", "--manifest", "all", &container, "named"])
        .ok();
    let stderr = stage
        .cooper(&["commit", "-q", "--manifest", "tiny", &container])
        .fails(125);
    assert!(
        stderr.contains("localhost/tiny:latest: image is not a manifest list"),
        "{stderr}"
    );
    let place = at(&far.registry.host(), "all:1");
    stage
        .cooper(&["push", "-q", PLAIN, "--all", "all", &place])
        .ok();
    let list = raw(stage, &place);
    let machines: Vec<_> = list["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(machines, ["amd64", "arm64", "amd64"]);
    // A remote list as a member: all of it, or the one for a machine.
    stage.cooper(&["manifest", "create", PLAIN, "again"]).ok();
    stage
        .cooper(&["manifest", "add", PLAIN, "--all", "again", &place])
        .ok();
    let count = |name: &str| {
        let shown = stage.cooper(&["manifest", "inspect", name]).ok();
        shown.matches("\"digest\"").count()
    };
    assert_eq!(count("again"), 3);
    stage
        .cooper(&[
            "manifest", "create", PLAIN, "--arch", "arm64", "one", &place,
        ])
        .ok();
    assert_eq!(count("one"), 1);
    let copy = at(&far.registry.host(), "copy/all:1");
    stage
        .cooper(&["manifest", "push", "-q", PLAIN, "again", &copy])
        .ok();
    assert_eq!(raw(stage, &copy), list);
}

#[test]
fn peer_a_damaged_image_is_fetched_again() {
    let far = Far::new("damaged");
    let name = far.name("a/tiny:1");
    let words = ["pull", "-q", PLAIN, &name];
    let id = far.stage.cooper_elsewhere(&words).ok();
    let folder = far.stage.path("root2/overlay-images").join(&id);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The config's file is named after its digest in base64.
        if path.to_string_lossy().contains("/=c2hhMjU2") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let never = ["pull", PLAIN, "--policy", "never", &name];
    assert_eq!(far.stage.cooper_elsewhere(&never).ok(), id);
    let said = far.stage.cooper_elsewhere(&words);
    assert!(
        said.stderr
            .contains("the image in the store cannot be used"),
        "{said:?}"
    );
    assert_eq!(said.ok(), id);
    far.stage.cooper_elsewhere(&["inspect", &name]).ok();
}

#[test]
fn peer_several_machines_at_once_make_a_list() {
    let far = Far::new("several");
    let stage = &far.stage;
    let file = "FROM scratch\nARG TARGETARCH\nCOPY h.txt /$TARGETARCH\n";
    let place = at(&far.registry.host(), "both:1");
    let platforms = ["-q", "--platform", "linux/amd64,linux/arm64", "-t"];
    let build = |words: &[&str]| {
        let mut all = platforms.to_vec();
        all.extend(words);
        stage.build(file, &all)
    };
    let list = build(&["both", PLAIN, "-t", &place]).ok();
    let machines = |shown: &serde_json::Value| -> Vec<String> {
        let entries = shown["manifests"].as_array().unwrap();
        let name = |entry: &serde_json::Value| entry["platform"]["architecture"].to_string();
        entries.iter().map(name).collect()
    };
    let shown = stage.cooper(&["manifest", "inspect", &list]).ok();
    let shown = serde_json::from_str(&shown).unwrap();
    assert_eq!(machines(&shown), ["\"amd64\"", "\"arm64\""]);
    assert_eq!(machines(&raw(stage, &place)), machines(&shown));
    let container = stage.cooper(&["from", "both"]).ok();
    let mount = stage.cooper(&["mount", &container]).ok();
    assert!(std::path::Path::new(&mount).join("amd64").exists());
    stage.cooper(&["umount", &container]).ok();
    // Again: the name is the new list's. With --manifest the list stays and keeps what it has.
    let again = build(&["both"]).ok();
    assert_ne!(again, list);
    let appended = build(&["third", "--manifest", "both"]).ok();
    assert_eq!(appended, again);
    let shown = stage.cooper(&["manifest", "inspect", "third"]).ok();
    assert_eq!(shown.matches("\"digest\"").count(), 2, "{shown}");
    let said = stage.build(
        "FROM scratch\nCOPY h.txt /\n",
        &["--platform", "linux/amd64,linux/arm64"],
    );
    assert!(
        said.stdout.contains("[linux/arm64] STEP 2/2: COPY h.txt /"),
        "{said:?}"
    );
}

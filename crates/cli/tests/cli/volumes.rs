//! Volumes of the host with their options, volumes of images, and mounts that change owners.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::stage::{Stage, text};

fn owner(path: &Path) -> (u32, u32) {
    let facts = std::fs::symlink_metadata(path).unwrap();
    (facts.uid(), facts.gid())
}

#[test]
fn priv_owners_change_on_the_host_or_in_the_overlay() {
    let stage = Stage::with_base("volowner");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let file = stage.write("shared/sub/file", "x");
    let folder = stage.path("shared");
    let list = |options: &str| {
        let volume = format!("{}:/x:{options}", text(&folder));
        let words = [
            "run",
            "--user",
            "7:8",
            "-v",
            &volume,
            "c",
            "stat",
            "-c",
            "%u:%g",
            "/x/sub/file",
        ];
        stage.cooper(&words).ok()
    };
    assert_eq!(list("O,U"), "7:8");
    assert_eq!(owner(&file), (0, 0));
    assert_eq!(list("U,ro"), "7:8");
    assert_eq!((owner(&file), owner(&folder)), ((7, 8), (7, 8)));
    let said = stage
        .cooper(&["run", "-v", "/etc:/x:U", "c", "true"])
        .fails(125);
    let expected =
        "chowning host path \"/etc\" is not allowed. You can manually `chown -R 0:0 /etc`";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn priv_an_overlay_may_have_an_upper_directory_that_stays() {
    let stage = Stage::with_base("volupper");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let lower = stage.write("lower/file", "x");
    for name in ["upper", "work"] {
        std::fs::create_dir(stage.path(name)).unwrap();
    }
    let [lower, upper, work] = [
        lower.parent().unwrap().to_owned(),
        stage.path("upper"),
        stage.path("work"),
    ];
    let volume = format!(
        "{}:/x:O,upperdir={},workdir={}",
        text(&lower),
        text(&upper),
        text(&work)
    );
    for script in [
        "echo new > /x/new; rm /x/file",
        "cat /x/new; test ! -e /x/file",
    ] {
        stage
            .cooper(&["run", "-v", &volume, "c", "sh", "-c", script])
            .ok();
    }
    assert!(lower.join("file").exists() && !lower.join("new").exists());
    assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "new\n");
}

#[test]
fn priv_mounts_spread_as_asked() {
    let stage = Stage::with_base("volspread");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let folder = stage.path("shared");
    std::fs::create_dir(&folder).unwrap();
    let line = |flag: &str, value: String| {
        let script = "busybox grep ' /x ' /proc/self/mountinfo";
        stage
            .cooper(&["run", flag, &value, "c", "sh", "-c", script])
            .ok()
    };
    let volume = |options: &str| line("-v", format!("{}:/x:{options}", text(&folder)));
    assert!(volume("rshared").contains(" shared:"));
    assert!(volume("unbindable").contains(" unbindable "));
    for options in ["private", "nodev,nosuid"] {
        let line = volume(options);
        assert!(!line.contains("shared:"), "{line}");
    }
    assert!(volume("nodev,nosuid,noexec").contains("rw,nosuid,nodev,noexec"));
    let mount = format!(
        "type=bind,source={},target=/x,bind-propagation=shared",
        text(&folder)
    );
    assert!(line("--mount", mount).contains(" shared:"));
}

#[test]
fn priv_volumes_of_an_image_exist_and_keep_what_is_written() {
    let stage = Stage::with_base("volimage");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    stage
        .cooper(&[
            "config",
            "--volume",
            "/data/a",
            "--volume",
            "/x/../../up",
            "c",
        ])
        .ok();
    let script = "stat -c '%u:%g %a' /data/a /up; echo kept > /data/a/file";
    let said = stage.cooper(&["run", "c", "sh", "-c", script]).ok();
    assert_eq!(said, "0:0 755\n0:0 755");
    assert_eq!(
        stage.cooper(&["run", "c", "cat", "/data/a/file"]).ok(),
        "kept"
    );
}

const VOLUMES: &str = "FROM base\nRUN mkdir /data && echo a > /data/a && chown 7:8 /data\nVOLUME /data\n\
    RUN echo b > /data/b; rm /data/a; chown 9:9 /data\nCOPY copied /data/copied\n\
    RUN ls /data; echo c > /data/c\nRUN ls /data > /listing\n";

#[test]
fn priv_changes_in_volumes_are_dropped_for_compatibility() {
    let stage = Stage::with_base("volcompat");
    stage.write("context/copied", "x");
    let listing = |name: &str, flags: &[&str]| {
        let flags = [&["--no-cache", "-t", name], flags].concat();
        stage.build(VOLUMES, &flags).ok();
        stage.cooper(&["from", "--name", name, name]).ok();
        let script = "cat /listing; stat -c %u:%g /data";
        stage.cooper(&["run", name, "sh", "-c", script]).ok()
    };
    assert_eq!(listing("new", &[]), "b\nc\ncopied\n9:9");
    for (name, layers) in [("once", "--layers=false"), ("layered", "--layers")] {
        let found = listing(name, &["--compat-volumes", layers]);
        assert_eq!(found, "a\ncopied\n7:8", "{name}");
    }
}

#[test]
fn priv_mounts_in_memory_and_caches_take_over_files_and_owners() {
    let stage = Stage::with_base("volmounts");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    stage
        .cooper(&[
            "run",
            "c",
            "sh",
            "-c",
            "mkdir -m 750 /data; echo x > /data/f",
        ])
        .ok();
    let run = |mount: &str, script: &str| {
        let words = [
            "run", "--user", "7:8", "--mount", mount, "c", "sh", "-c", script,
        ];
        stage.cooper(&words)
    };
    let script = "stat -c %a /data; ls /data";
    assert_eq!(
        run("type=tmpfs,target=/data,tmpcopyup,tmpfs-mode=755", script).ok(),
        "755\nf"
    );
    assert_eq!(run("type=tmpfs,target=/data", script).ok(), "1777");
    let script = "stat -c %u:%g /c; echo x > /c/f";
    assert_eq!(run("type=cache,target=/c,U", script).ok(), "7:8");
}

#[test]
fn priv_one_place_has_one_volume() {
    let stage = Stage::with_base("voltwice");
    stage
        .cooper(&["from", "--name", "c", "-v", "/etc:/x", "base"])
        .ok();
    let said = stage
        .cooper(&["run", "-v", "/etc:/y", "-v", "/usr:/y", "c", "true"])
        .fails(125);
    assert_eq!(said, "Error: /y: duplicate mount destination\n");
    // One of the call takes the place of one of the container.
    let folder = stage.write("own/file", "x");
    let volume = format!("{}:/x", text(folder.parent().unwrap()));
    assert_eq!(
        stage.cooper(&["run", "-v", &volume, "c", "ls", "/x"]).ok(),
        "file"
    );
}

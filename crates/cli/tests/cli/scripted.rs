//! Working containers driven by hand.

use crate::stage::{Stage, text};

#[test]
fn priv_an_image_by_hand() {
    let stage = Stage::with_base("by-hand");
    let container = stage.cooper(&["from", "base"]).ok();
    assert_eq!(container, "base-working-container");
    assert_eq!(
        stage.cooper(&["from", "base"]).ok(),
        "base-working-container-1"
    );
    stage
        .cooper(&["run", &container, "--", "sh", "-c", "echo made > /made"])
        .ok();
    let file = stage.write("greeting", "hi\n");
    stage
        .cooper(&[
            "copy",
            "--chown",
            "app:extra",
            &container,
            text(&file),
            "/srv/",
        ])
        .ok();
    stage
        .cooper(&[
            "config",
            "--entrypoint",
            "[\"/bin/cat\"]",
            "--label",
            "a=b",
            "--author",
            "me",
            "--env",
            "X=1",
            &container,
        ])
        .ok();
    let id = stage.cooper(&["commit", &container, "by-hand"]).ok();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(
        stage
            .cooper(&[
                "inspect",
                "--type",
                "image",
                "--format",
                "{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Labels.a}} {{.OCIv1.Author}}",
                "by-hand"
            ])
            .ok(),
        "[/bin/cat] b me"
    );
    // The container goes on after its commit.
    assert_eq!(
        stage
            .cooper(&["run", &container, "cat", "/made", "/srv/greeting"])
            .ok(),
        "made\nhi"
    );
    let second = stage.cooper(&["from", "--name", "second", "by-hand"]).ok();
    assert_eq!(
        stage
            .cooper(&["run", &second, "--", "stat", "-c", "%u:%g", "/srv/greeting"])
            .ok(),
        "1000:2000"
    );
    stage.cooper(&["rm", "-a"]).ok();
    assert_eq!(stage.cooper(&["containers", "-q"]).ok(), "");
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn priv_a_mounted_container_is_a_folder_of_the_host() {
    let stage = Stage::empty("mounted");
    let container = stage.cooper(&["from", "scratch"]).ok();
    let mount = stage.cooper(&["mount", &container]).ok();
    std::fs::create_dir(format!("{mount}/etc")).unwrap();
    std::fs::write(format!("{mount}/etc/made"), "by the host\n").unwrap();
    assert!(stage.cooper(&["mount"]).ok().contains(&mount));
    stage.cooper(&["umount", &container]).ok();
    assert_eq!(stage.cooper(&["mount"]).ok(), "");
    stage.cooper(&["config", "--label", "x=y", &container]).ok();
    stage
        .cooper(&["commit", "--rm", &container, "host-made"])
        .ok();
    let copy = stage.path("copy");
    stage
        .skopeo(&[
            "copy",
            "-q",
            "STORE:localhost/host-made",
            &format!("oci:{}:x", copy.display()),
        ])
        .ok();
    let picture = testkit::picture::Picture::of_layout(&copy).unwrap();
    let made = &picture.tree[b"etc/made".as_slice()];
    assert_eq!((made.kind, made.size), ("file", 12));
    assert_eq!(stage.cooper(&["containers", "-q"]).ok(), "");
}

#[test]
fn priv_a_commit_to_another_place_is_quiet_and_leaves_no_image() {
    let stage = Stage::empty("elsewhere");
    let container = stage.cooper(&["from", "scratch"]).ok();
    let place = |name: &str| format!("dir:{}", stage.path(name).display());
    let file = stage.path("iid").display().to_string();
    let said = stage.cooper(&["commit", "-q", "--iidfile", &file, &container, &place("a")]);
    assert_eq!(said.ok(), "", "Buildah prints no identifier");
    assert!(!stage.path("iid").exists());
    assert!(stage.path("a/manifest.json").exists());
    assert_eq!(stage.cooper(&["images", "-aq"]).ok(), "");
    // A container whose image went nowhere is not lost.
    std::fs::write(stage.path("b"), "in the way").unwrap();
    let failed = stage.cooper(&["commit", "--rm", &container, &place("b")]);
    assert_eq!(failed.status, 125, "{failed:?}");
    assert_ne!(stage.cooper(&["containers", "-q"]).ok(), "");
    stage
        .cooper(&["commit", "-q", "--rm", &container, &place("c")])
        .ok();
    assert_eq!(stage.cooper(&["containers", "-q"]).ok(), "");
}

#[test]
fn priv_the_process_is_shut_in() {
    let stage = Stage::with_base("shut-in");
    let container = stage.cooper(&["from", "base"]).ok();
    let run = |script: &str| {
        stage
            .cooper(&["run", &container, "--", "sh", "-c", script])
            .ok()
    };
    assert_eq!(
        run("ls /proc/self/fd | wc -l"),
        "4",
        "the three streams and the listing itself"
    );
    assert_eq!(run("echo $$"), "1");
    assert_eq!(
        run("cat /proc/1/status | while read a b; do test $a = Seccomp: && echo $b; done; true"),
        "2"
    );
    assert_eq!(run("touch /sys/x 2>/dev/null || echo no"), "no");
    let variables = run("env");
    assert!(!variables.contains("CONTAINERS_CONF"), "{variables}");
    assert_eq!(
        stage
            .cooper(&["run", "--user", "app", &container, "--", "id"])
            .ok(),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    );
    assert_eq!(
        stage
            .cooper(&["run", &container, "--", "sh", "-c", "exit 7"])
            .status,
        7
    );
    assert_eq!(
        stage
            .cooper(&[
                "run",
                &container,
                "--",
                "sh",
                "-c",
                "sh -c 'kill -9 $$' || exit $?"
            ])
            .status,
        137
    );
    let said = stage.cooper(&["run", &container, "--", "nosuch"]);
    assert!(
        said.status != 0 && said.stderr.contains("nosuch"),
        "{said:?}"
    );
}

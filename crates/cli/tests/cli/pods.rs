//! Steps without root's rights: for a user of the machine, for root in a pod, and for root in a
//! chroot; and the words for isolation.

use std::process::Command;

use testkit::picture::Picture;

use crate::rootless::{SubIds, User};
use crate::stage::{Said, Stage, said, shell_apart, text, write_base_tree};

/// A place as Kubernetes makes it for an ordinary container: of `/proc` and `/sys` parts are hidden
/// or read-only, and root has the default capabilities, `CAP_SYS_ADMIN` not among them.
const POD: &str = r#"
    if [ -n "$OVER" ]; then
        mkdir -p "$OVER/lower" "$OVER/upper" "$OVER/work" "$OVER/root" || exit 94
        mount -t overlay -o "lowerdir=$OVER/lower,upperdir=$OVER/upper,workdir=$OVER/work" overlay "$OVER/root" || exit 95
    fi
    mount -t proc proc /proc
    for dir in acpi scsi; do
        if [ -d /proc/$dir ]; then mount -t tmpfs -o ro tmpfs /proc/$dir || exit 90; fi
    done
    for file in kcore keys timer_list; do
        if [ -e /proc/$file ]; then mount --bind /dev/null /proc/$file || exit 91; fi
    done
    for dir in bus fs irq sys; do
        mount --bind /proc/$dir /proc/$dir && mount -o remount,bind,ro /proc/$dir || exit 92
    done
    mount -o remount,bind,ro,nosuid,nodev,noexec /sys || exit 93
    caps=-all
    for cap in chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw \
        sys_chroot mknod audit_write setfcap; do
        caps="$caps,+$cap"
    done
    exec setpriv --bounding-set "$caps" --inh-caps=-all "$@"
"#;

/// What a step sees of its rights, and what it leaves.
const STEPS: &str = "FROM scratch AS made
COPY base /
RUN echo data > /f && chown 5:6 /f && chmod 4755 /f && mkdir /gone /emptied && touch /gone/x /emptied/x
RUN rm -r /gone && rm -r /emptied && mkdir /emptied && touch /emptied/y
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=bind,source=base/etc,target=/e \
    touch /c/x /t/y && test -s /e/passwd
RUN echo x > /dev/null && test $(dd if=/dev/urandom bs=4 count=1 2>/dev/null | wc -c) = 4 \
    && test -d /proc/self && test -d /sys/class && test -d /dev/pts && touch /dev/shm/x \
    && ! touch /proc/sys/kernel/hostname 2>/dev/null && ! touch /sys/x 2>/dev/null \
    && echo step $(id -u):$(id -g) \"$(stat -c %u:%g:%a /f)\" $(ls /emptied)
FROM made
USER app
RUN echo user $(id -u):$(id -g)
COPY --from=made --chown=33:42 /f /theirs
";

/// Puts a busybox and `STEPS` into `context` of `stage`.
fn context_of(stage: &Stage) {
    write_base_tree(&stage.path("context/base"));
    stage.write("context/Containerfile", STEPS);
}

/// What a pod has of its own besides mounts.
const POD_APART: [&str; 4] = ["--pid", "--fork", "--ipc", "--uts"];

/// Runs our program as root of a pod.
fn in_pod(stage: &Stage, driver: &str, words: &[&str]) -> Said {
    let places = [stage.path(driver), stage.path(&format!("run-{driver}"))];
    let mut command = shell_apart(&POD_APART, POD);
    command.arg(env!("CARGO_BIN_EXE_cooper"));
    command.args(["--root", text(&places[0]), "--runroot", text(&places[1])]);
    stage.surround(command.args(words));
    command.env("STORAGE_DRIVER", driver);
    command.env("HOME", stage.path("home"));
    said(&mut command)
}

#[test]
fn priv_an_unprivileged_pod_builds() {
    let stage = Stage::empty("pod-build");
    context_of(&stage);
    let context = stage.path("context");
    for driver in ["vfs", "overlay"] {
        for isolation in [&["--isolation", "chroot"][..], &[]] {
            let words = [
                &["build", "--no-cache", "-t", "made"],
                isolation,
                &[text(&context)],
            ];
            let said = in_pod(&stage, driver, &words.concat());
            let out = format!("{}{}", said.stdout, said.stderr);
            said.ok();
            assert!(out.contains("step 0:0 5:6:4755 y"), "{driver}: {out}");
            assert!(out.contains("user 1000:1000"), "{driver}: {out}");
        }
        let container = in_pod(&stage, driver, &["from", "--isolation", "chroot", "made"]).ok();
        let run = |words: &[&str]| {
            let words = [&["run", container.as_str()], words].concat();
            in_pod(&stage, driver, &words)
        };
        run(&["test", "-e", "/gone"]).fails(1);
        assert_eq!(run(&["stat", "-c", "%u:%g", "/theirs"]).ok(), "33:42");
        in_pod(&stage, driver, &["commit", "-q", &container, "again"]).ok();
        in_pod(&stage, driver, &["rm", &container]).ok();
    }
    assert!(stage.leftover_mounts().is_empty());
}

#[test]
fn priv_a_pod_builds_on_an_overlay_file_system() {
    let stage = Stage::empty("pod-over");
    context_of(&stage);
    let over = stage.path("over");
    stage.set("OVER", text(&over));
    let context = stage.path("context");
    let archive = format!("oci-archive:{}", stage.path("made.tar").display());
    let script = format!(
        "set -e; c() {{ {} --root {}/root/store --runroot {}/root/run --storage-driver vfs \"$@\"; }}
        c build -t made {}; c push -q made {archive}:made; c rmi -a -f > /dev/null
        c pull -q {archive}; id=$(c from made); c run $id ls /emptied; c run $id test -e /gone",
        env!("CARGO_BIN_EXE_cooper"),
        text(&over),
        text(&over),
        text(&context),
    );
    let mut command = shell_apart(&POD_APART, POD);
    stage.surround(command.args(["sh", "-c", &script]));
    let said = said(&mut command);
    assert!(
        said.stdout.ends_with("\ny\n"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    said.fails(1);
}

#[test]
fn priv_where_nothing_is_allowed_the_step_says_what_is_missing() {
    let stage = Stage::empty("pod-none");
    context_of(&stage);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces
        exec setpriv --bounding-set -sys_admin --inh-caps=-sys_admin \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
    let inner = stage.cooper_command(&[
        "--storage-driver",
        "vfs",
        "build",
        text(&stage.path("context")),
    ]);
    stage.surround(command.arg(inner.get_program()).args(inner.get_args()));
    let said = said(&mut command).fails(125);
    assert!(
        said.contains("mounts need CAP_SYS_ADMIN or a user namespace, and neither is allowed here"),
        "{said}"
    );
}

#[test]
fn priv_a_step_in_a_pod_sees_nothing_of_the_builder() {
    let stage = Stage::empty("pod-secret");
    context_of(&stage);
    stage.set("CANARY", "sings");
    let look = "FROM scratch\nCOPY base /\nRUN for dir in /proc/[0-9]*; do cat $dir/environ 2>/dev/null; done; \
        echo looked; mount | while read what; do case $what in *kcore*) echo hidden;; esac; done\n";
    stage.write("context/Containerfile", look);
    let said = in_pod(
        &stage,
        "vfs",
        &["build", "-t", "made", text(&stage.path("context"))],
    );
    assert!(
        said.stdout.contains("looked"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert!(!said.stdout.contains("sings"), "{}", said.stdout);
}

#[test]
fn priv_a_user_builds_and_runs() {
    let user = User::new("steps", SubIds::Given);
    let context = user.context(STEPS);
    let said = user.cooper(&["build", "-t", "made", text(&context)]);
    let out = format!("{}{}", said.stdout, said.stderr);
    said.ok();
    assert!(out.contains("step 0:0 5:6:4755 y"), "{out}");
    assert!(out.contains("user 1000:1000"), "{out}");
    let container = user.cooper(&["from", "made"]).ok();
    let isolation = user
        .cooper(&["inspect", "--format", "{{.Isolation}}", &container])
        .ok();
    assert_eq!(isolation, "rootless");
    let run = |words: &[&str]| user.cooper(&[&["run", container.as_str()], words].concat());
    assert_eq!(run(&["stat", "-c", "%u:%g", "/theirs"]).ok(), "33:42");
    assert!(
        run(&["cat", "/run/.containerenv"])
            .ok()
            .contains("rootless=1")
    );
    let missing = user
        .cooper(&["run", "--user", "70000", &container, "true"])
        .fails(125);
    assert!(
        missing.contains("user 70000 is not mapped into this user namespace"),
        "{missing}"
    );
    let none = [
        "run",
        "--network",
        "none",
        "--user",
        "0",
        &container,
        "ls",
        "/sys/class/net",
    ];
    assert_eq!(user.cooper(&none).ok(), "lo");
    let limit = [
        "run",
        "--ulimit",
        "nofile=100000000",
        "--user",
        "0",
        &container,
        "true",
    ];
    user.cooper(&limit).ok();
    let failed = run(&["sh", "-c", "exit 3"]).fails(3);
    assert!(
        failed.contains("while running runtime: exit status 3"),
        "{failed}"
    );
    user.cooper(&["commit", "-q", &container, "again"]).ok();
}

#[test]
fn priv_one_id_is_enough_for_what_belongs_to_root() {
    let user = User::new("one", SubIds::None);
    let context = user.context("FROM scratch\nCOPY base /\nRUN id -u && touch /made\n");
    let said = user.cooper(&["build", "-t", "made", text(&context)]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let context = user.context("FROM made\nUSER app\nRUN true\n");
    let said = user.cooper(&["build", text(&context)]).fails(125);
    assert!(
        said.contains("user 1000 is not mapped into this user namespace: check /etc/subuid"),
        "{said}"
    );
}

#[test]
fn peer_without_root_the_image_is_that_of_buildah() {
    let user = User::new("same", SubIds::Given);
    let context = user.context(STEPS);
    let picture = |by: &str| {
        let layout = user.path(&format!("home/{by}"));
        let target = format!("oci:{}", layout.display());
        let build = [
            "build",
            "--isolation",
            "chroot",
            "--layers=false",
            "-t",
            by,
            text(&context),
        ];
        let push = ["push", "-q", by, &target];
        if by == "ours" {
            user.cooper(&build).ok();
            user.cooper(&push).ok();
        } else {
            user.buildah(&build).ok();
            user.buildah(&push).ok();
        }
        Picture::of_layout(&layout).unwrap()
    };
    let (ours, theirs) = (picture("ours"), picture("theirs"));
    let found: Vec<String> = ours
        .differences(&theirs)
        .iter()
        .map(ToString::to_string)
        .collect();
    // Buildah leaves its mount points.
    let left = ["/dev", "/proc", "/run", "/sys"].map(|path| format!("{path}: missing ≠ there"));
    assert_eq!(found, left);
}

#[test]
fn priv_root_in_a_chroot_builds() {
    let stage = Stage::empty("chroot");
    context_of(&stage);
    let jail = stage.path("jail");
    for folder in ["proc", "dev", "sys", "tmp", "var/tmp", "etc", "work"] {
        std::fs::create_dir_all(jail.join(folder)).unwrap();
    }
    std::fs::copy(env!("CARGO_BIN_EXE_cooper"), jail.join("cooper")).unwrap();
    let script = r#"
        cd "$1" && mount -t proc proc proc && mount --rbind /dev dev && mount --bind "$2" work || exit 90
        exec chroot . /cooper --root /var/tmp/root --runroot /var/tmp/run --storage-driver vfs build -t made /work
    "#;
    let mut command = shell_apart(&[], script);
    command.arg(&jail).arg(stage.path("context"));
    let said = said(
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
    );
    assert!(
        said.stdout.contains("user 1000:1000"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    said.ok();
}

#[test]
fn priv_words_for_isolation() {
    let stage = Stage::with_base("isolation");
    let from = |words: &[&str]| stage.cooper(&[&["from"], words, &["base"]].concat()).ok();
    let kept = |container: &str| {
        stage
            .cooper(&["inspect", "--format", "{{.Isolation}}", container])
            .ok()
    };
    let run = |words: &[&str], container: &str| {
        stage.cooper(&[&["run"], words, &[container, "sh", "-c", "exit 3"]].concat())
    };
    let (oci, chroot) = (from(&[]), from(&["--isolation", "chroot"]));
    assert_eq!(
        (kept(&oci).as_str(), kept(&chroot).as_str()),
        ("oci", "chroot")
    );
    let check = |said: Said, status: i32, expected: &str| {
        assert_eq!(said.fails(status).trim_end(), expected);
    };
    let with_runtime = "Error: while running runtime: exit status 3";
    check(run(&[], &oci), 3, with_runtime);
    check(run(&["--isolation", "rootless"], &oci), 3, with_runtime);
    check(
        run(&["--isolation", "chroot"], &oci),
        3,
        "Error: exit status 3",
    );
    check(run(&[], &chroot), 3, "Error: exit status 3");
    check(run(&["--isolation", "OCI"], &chroot), 3, with_runtime);
    check(
        run(&["--isolation", "vm"], &oci),
        125,
        "Error: unrecognized isolation type \"vm\"",
    );
    check(
        run(&["--isolation", "chroot", "--network", "none"], &oci),
        125,
        "Error: cannot set --network other than host with --isolation chroot",
    );
    let said = stage.build("FROM base\nRUN exit 42\n", &["-q", "--isolation", "chroot"]);
    assert!(
        said.fails(42)
            .ends_with("Error: building at STEP \"RUN exit 42\": exit status 42\n"),
    );
    stage.set("BUILDAH_ISOLATION", "chroot");
    assert_eq!(kept(&from(&[])), "chroot");
    check(run(&[], &oci), 3, "Error: exit status 3");
    stage.set("BUILDAH_ISOLATION", "vm");
    check(
        run(&[], &oci),
        125,
        "Error: unrecognized $BUILDAH_ISOLATION value \"vm\"",
    );
}

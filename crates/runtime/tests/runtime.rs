//! Runs real processes in a busybox root. Needs root and `/bin/busybox` (static).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "runtime/control_group.rs"]
mod control_group;
#[path = "runtime/namespaces.rs"]
mod namespaces;
#[path = "runtime/network.rs"]
mod network;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cooper_runtime::{
    Access, CapabilitySet, Depth, Exit, Groups, Limit, MountFlags, MountKind, MountPlan, Network,
    Output, RootSource, RunError, RunSpec, Stdin, Stop, Stream, User, run,
};
use sys::Root;

const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "mount", "sleep", "true", "false", "env", "id", "touch", "stat", "ip",
    "grep", "kill", "echo", "sed", "sort", "readlink", "pwd", "wc", "umount", "mkdir", "test",
    "hostname", "dd", "tty", "chmod", "ln", "rm", "df", "head", "ps",
];

/// A busybox root on disk, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/var/tmp/cooper-dev-runtime/t{}-{count}",
            std::process::id()
        ));
        std::fs::create_dir_all(path.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", path.join("bin/busybox")).expect("needs busybox-static");
        for applet in APPLETS {
            symlink("busybox", path.join("bin").join(applet)).unwrap();
        }
        std::fs::create_dir(path.join("tmp")).unwrap();
        Self(path)
    }

    fn root(&self) -> Root {
        Root::open(&self.0).unwrap()
    }

    fn listing(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut todo = vec![self.0.clone()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                out.push(format!(
                    "{} {} {}",
                    entry.path().display(),
                    meta.mtime(),
                    meta.mtime_nsec()
                ));
                if meta.is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        let meta = std::fs::metadata(&self.0).unwrap();
        out.push(format!("/ {} {}", meta.mtime(), meta.mtime_nsec()));
        out.sort();
        out
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

const PATH: &str = "PATH=/usr/bin:/bin";

fn spec<'a>(root: &'a Root, words: &[&str]) -> RunSpec<'a> {
    let mut spec = RunSpec::new(RootSource::Directory(root.as_fd()), args(words));
    spec.env = vec![PATH.into()];
    spec
}

/// Runs a spec; returns how it ended, standard output and standard error.
fn outcome(spec: RunSpec<'_>) -> (Result<Exit, RunError>, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => out.extend_from_slice(bytes),
        Stream::Stderr => err.extend_from_slice(bytes),
    };
    let finished = run(
        spec,
        Stdin::Null,
        Output::Relay(&mut sink),
        &Stop::new().unwrap(),
    );
    let exit = finished.map(|finished| {
        assert!(finished.left_behind.is_none(), "{:?}", finished.left_behind);
        finished.exit
    });
    (
        exit,
        String::from_utf8_lossy(&out).into_owned(),
        String::from_utf8_lossy(&err).into_owned(),
    )
}

/// Runs a script as root in a fresh tree and returns its output, which must have ended well.
fn script(text: &str) -> String {
    let tree = Tree::new();
    script_in(&tree, text, |_| {})
}

fn script_in(tree: &Tree, text: &str, change: impl FnOnce(&mut RunSpec<'_>)) -> String {
    let root = tree.root();
    let mut spec = spec(&root, &["sh", "-c", text]);
    change(&mut spec);
    let (exit, out, err) = outcome(spec);
    assert_eq!(exit.expect("starts"), Exit::Code(0), "{text}\n{out}{err}");
    out
}

#[test]
fn priv_exit_codes_and_signals() {
    let tree = Tree::new();
    let root = tree.root();
    for (words, expected) in [
        (&["true"][..], Exit::Code(0)),
        (&["/bin/false"], Exit::Code(1)),
        (&["sh", "-c", "exit 42"], Exit::Code(42)),
        (
            &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"],
            Exit::Code(137),
        ),
        (
            &["sh", "-c", "trap 'exit 7' TERM; kill -TERM $$; exit 4"],
            Exit::Code(7),
        ),
        // The first process of a namespace does not die of its own signals.
        (&["sh", "-c", "kill -9 $$; exit 4"], Exit::Code(4)),
    ] {
        assert_eq!(
            outcome(spec(&root, words)).0.unwrap(),
            expected,
            "{words:?}"
        );
    }
}

#[test]
fn priv_missing_programs() {
    let tree = Tree::new();
    std::fs::write(tree.0.join("bin/data"), "x").unwrap();
    std::fs::write(tree.0.join("bin/script"), "#!/no/such\n").unwrap();
    std::fs::write(tree.0.join("bin/garbage"), "\0garbage").unwrap();
    for name in ["script", "garbage"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(tree.0.join("bin").join(name), mode).unwrap();
    }
    let before = tree.listing();
    let root = tree.root();
    for (program, expected) in [
        (
            "/bin/nope",
            "exec: \"/bin/nope\": stat /bin/nope: no such file or directory",
        ),
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/bin", "exec: \"/bin\": permission denied"),
        ("data", "exec: \"data\": permission denied"),
        (
            "/bin/script",
            "exec: \"/bin/script\": stat /bin/script: no such file or directory",
        ),
        ("/bin/garbage", "exec: \"/bin/garbage\""),
    ] {
        let err = outcome(spec(&root, &[program])).0.unwrap_err();
        assert_eq!(err.to_string(), expected);
    }
    let mut bad = spec(&root, &["true"]);
    bad.cwd = "/nowhere".into();
    let err = outcome(bad).0.unwrap_err();
    assert!(matches!(err, RunError::Launch(ref e) if e.to_string().contains("working directory")));
    assert_eq!(tree.listing(), before, "mount points stay after a failure");
}

/// Whether a process with that word for its program is there.
fn is_running(name: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.starts_with(name.as_bytes()))
    })
}

#[test]
fn priv_nothing_survives_the_step() {
    let started = Instant::now();
    let name = format!("cooper-orphan-{}", std::process::id());
    script(&format!(
        "(exec -a {name} sleep 1000) & sleep 1001 & exit 0"
    ));
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(!is_running(&name));
}

#[test]
fn priv_environment_and_descriptors_are_exact() {
    let tree = Tree::new();
    let root = tree.root();
    // A descriptor without close-on-exec, as another library might leave.
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let mut env = spec(&root, &["/bin/env"]);
    env.env = vec!["A=1".into(), "B=x y".into()];
    assert_eq!(outcome(env).1, "A=1\nB=x y\n");
    // `ls` itself holds one more for the directory.
    let out = script_in(
        &tree,
        "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0",
        |_| {},
    );
    // Inside a chroot the kernel shows the whole path of what lies outside the container.
    let (count, stdin) = out.split_once('\n').unwrap();
    assert_eq!(count, "4");
    assert!(stdin.trim_end().ends_with("/dev/null"), "{stdin}");
    drop(leak);
}

#[test]
fn priv_rights() {
    let tree = Tree::new();
    let status = |change: fn(&mut RunSpec<'_>)| {
        script_in(&tree, "exec cat /proc/self/status", change)
            .lines()
            .filter_map(|line| line.split_once(":\t"))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect::<std::collections::HashMap<_, _>>()
    };
    let root = status(|_| {});
    let debian = status(|spec| {
        use cooper_runtime::Capability::{AuditWrite, Mknod, NetRaw};
        spec.capabilities = CapabilitySet::DEFAULT
            .with(AuditWrite)
            .with(Mknod)
            .with(NetRaw);
    });
    let user = status(|spec| {
        spec.user = User {
            uid: 1000,
            gid: 1001,
            groups: Groups::These(vec![5, 6]),
        };
        spec.privileges = cooper_runtime::Privileges::Fixed;
    });
    for (got, key, expected) in [
        (&root, "CapEff", "00000000800405fb"),
        (&root, "CapBnd", "00000000800405fb"),
        (&root, "CapInh", "0000000000000000"),
        (&root, "CapAmb", "0000000000000000"),
        (&root, "Seccomp", "2"),
        (&root, "NoNewPrivs", "0"),
        (&root, "Umask", "0022"),
        (&root, "SigIgn", "0000000000000000"),
        (&root, "SigBlk", "0000000000000000"),
        (&debian, "CapEff", "00000000a80425fb"),
        (&user, "Uid", "1000\t1000\t1000\t1000"),
        (&user, "Gid", "1001\t1001\t1001\t1001"),
        (&user, "Groups", "5 6"),
        (&user, "CapEff", "0000000000000000"),
        (&user, "CapPrm", "0000000000000000"),
        (&user, "CapBnd", "00000000800405fb"),
        (&user, "NoNewPrivs", "1"),
    ] {
        assert_eq!(got[key], expected, "{key}");
    }
    // What is ours stays as it was.
    assert!(std::fs::read_dir("/proc/self/fd").is_ok());
    let own = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(own, rustix::process::DumpableBehavior::Dumpable);
}

#[test]
fn priv_file_systems_are_as_usual() {
    let out = script("cat /proc/self/mountinfo; ls -l /dev; id -u; echo x > /dev/null; echo $$");
    let has = |text: &str| assert!(out.contains(text), "{text} not in\n{out}");
    for mount in [
        " /proc rw,nosuid,nodev,noexec",
        " /dev rw,nosuid,noexec",
        " /dev/pts rw,nosuid,noexec",
        " /dev/shm rw,nosuid,nodev,noexec",
        "size=65536k",
        " /dev/mqueue rw,nosuid,nodev,noexec",
        " /sys ro,nosuid,nodev,noexec",
        " /sys/fs/cgroup ro,nosuid,nodev,noexec",
        " /proc/sys ro,nosuid,nodev,noexec",
        " /proc/bus ro,",
        " /proc/acpi ro,",
        " /proc/keys ",
        " /sys/firmware ro,",
        "ptmxmode=666",
        "ptmx -> pts/ptmx",
        "fd -> /proc/self/fd",
    ] {
        has(mount);
    }
    assert!(
        !out.contains("shared:") && !out.contains("master:"),
        "{out}"
    );
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let line = out
            .lines()
            .find(|line| line.ends_with(&format!(" {device}")));
        assert!(
            line.is_some_and(|line| line.starts_with("crw-rw-rw-")),
            "{device}\n{out}"
        );
    }
    for (text, expected) in [
        ("cat /proc/keys | wc -c", "0\n"),
        (
            "ls /proc/acpi /sys/firmware | grep -v : | grep . | wc -l",
            "0\n",
        ),
        (
            "touch /sys/x /proc/sys/kernel/x /proc/acpi/x 2>/dev/null; echo 1 > /proc/sys/kernel/panic; echo $?",
            "1\n",
        ),
        // A pipe would race: its members start one after the other.
        ("set -- /proc/[0-9]*; echo $#", "1\n"),
        ("ls /sys/class/net | grep -c lo", "1\n"),
        (
            "mount -t tmpfs x /tmp 2>/dev/null || echo refused",
            "refused\n",
        ),
        ("ls / | grep -c .", "5\n"),
        (
            "grep -c '^[0-9]* [0-9]* [0-9:]* [^ ]* / ' /proc/self/mountinfo",
            "1\n",
        ),
        (
            "mkdir -p /etc; cd /etc/..; test . -ef / && test /.. -ef / && ls -di . / /.. | grep -c .",
            "3\n",
        ),
        (
            "test -e /usr/lib || test -e /etc/../home || test -e /../home || echo inside",
            "inside\n",
        ),
        ("ls -a /.. | grep -c .", "7\n"),
    ] {
        let got = script(text);
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn priv_mount_points_come_and_go() {
    let tree = Tree::new();
    std::fs::create_dir(tree.0.join("etc")).unwrap();
    symlink("../run/systemd/resolv.conf", tree.0.join("etc/resolv.conf")).unwrap();
    symlink("/data", tree.0.join("link")).unwrap();
    symlink("../../../../../../../tmp", tree.0.join("up")).unwrap();
    let host = tree.0.join("tmp/host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), "from host").unwrap();
    let before = tree.listing();
    let mounts_before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let file = |content: &str| MountKind::File {
        content: content.into(),
        mode: 0o644,
        owner: (0, 0),
        access: Access::ReadWrite,
    };
    let bind = |access| MountKind::Bind {
        source: Root::open(&host).unwrap().into_fd(),
        access,
        flags: MountFlags::empty(),
        depth: Depth::One,
    };
    let out = script_in(
        &tree,
        "cat /etc/resolv.conf /etc/hosts /data/sub/f /up/ro/f /cache/deep/er/name; echo w > /data/sub/w;
         touch /up/ro/x 2>/dev/null || echo ro; stat -c %a /cache /run/secrets/s; df /cache | grep -c 1024",
        |spec| {
            for (target, kind) in [
                ("/cache/deep/er/name", file("5")),
                ("/etc/resolv.conf", file("1")),
                ("/etc/hosts", file("2")),
                ("/link/sub", bind(Access::ReadWrite)),
                ("/up/ro", bind(Access::ReadOnly)),
                (
                    "/cache",
                    MountKind::Tmpfs { size: Some(1 << 20), mode: 0o700, access: Access::ReadWrite, flags: MountFlags::empty() },
                ),
                (
                    "/run/secrets/s",
                    MountKind::File { content: b"x".to_vec(), mode: 0o400, owner: (7, 8), access: Access::ReadOnly },
                ),
            ] {
                spec.mounts.push(MountPlan { target: target.into(), kind });
            }
        },
    );
    assert_eq!(out, "12from hostfrom host5ro\n700\n400\n1\n");
    assert!(host.join("w").exists());
    std::fs::remove_file(host.join("w")).unwrap();
    let mut after = tree.listing();
    after.retain(|line| !line.contains("/tmp/host "));
    let mut expected = before;
    expected.retain(|line| !line.contains("/tmp/host "));
    assert_eq!(after, expected);
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts_before
    );
}

#[test]
fn priv_what_the_step_makes_stays() {
    let tree = Tree::new();
    script_in(&tree, "mkdir /etc/conf; echo a > /etc/a", |spec| {
        let kind = MountKind::File {
            content: vec![],
            mode: 0o644,
            owner: (0, 0),
            access: Access::ReadOnly,
        };
        spec.mounts.push(MountPlan {
            target: "/etc/hosts".into(),
            kind,
        });
    });
    let mut left: Vec<_> = std::fs::read_dir(tree.0.join("etc"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["a", "conf"]);
    assert!(!tree.0.join("proc").exists());
}

#[test]
fn priv_links_at_our_own_targets_are_refused() {
    for name in ["proc", "dev", "sys"] {
        let tree = Tree::new();
        let victim = tree.0.join("tmp/victim");
        std::fs::create_dir(&victim).unwrap();
        symlink("/tmp/victim", tree.0.join(name)).unwrap();
        let before = tree.listing();
        let root = tree.root();
        let err = outcome(spec(&root, &["true"])).0.unwrap_err();
        assert!(
            matches!(err, RunError::Launch(_) | RunError::MountPoint { .. }),
            "{name}: {err}"
        );
        assert_eq!(tree.listing(), before, "{name}");
    }
    // A working directory through a host descriptor (CVE-2024-21626).
    let tree = Tree::new();
    let root = tree.root();
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let mut spec = spec(&root, &["pwd"]);
    spec.cwd = format!("/proc/self/fd/{}", leak.as_raw_fd()).into();
    assert!(matches!(outcome(spec).0, Err(RunError::Launch(_))));
}

#[test]
fn priv_other_users_can_open_their_output() {
    let tree = Tree::new();
    let out = script_in(&tree, "echo a > /dev/stdout; echo b >&2; id -u", |spec| {
        spec.user = User {
            uid: 1000,
            gid: 1000,
            groups: Groups::default(),
        };
    });
    assert_eq!(out, "a\n1000\n");
}

#[test]
fn priv_scripts_and_devices_below_dev() {
    use cooper_runtime::{Device, DeviceKind};
    let tree = Tree::new();
    let out = script_in(
        &tree,
        "/dev/pipes/a/script; ls -ln /dev/net/tun; ls /dev/mapper",
        |spec| {
            let content = b"#!/bin/sh\necho ran\n".to_vec();
            let kind = MountKind::File {
                content,
                mode: 0o755,
                owner: (0, 0),
                access: Access::ReadOnly,
            };
            spec.mounts.push(MountPlan {
                target: "/dev/pipes/a/script".into(),
                kind,
            });
            for (name, kind) in [
                ("net/tun", DeviceKind::Character),
                ("mapper/x", DeviceKind::Block),
            ] {
                let (number, mode, owner) = ((10, 200), 0o660, (3, 4));
                spec.devices.push(Device {
                    name: name.into(),
                    kind,
                    number,
                    mode,
                    owner,
                });
            }
        },
    );
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(
        words[..7],
        ["ran", "crw-rw----", "1", "3", "4", "10,", "200"],
        "{out}"
    );
    assert_eq!(words.last(), Some(&"x"));
}

#[test]
fn priv_long_targets_are_an_error() {
    let tree = Tree::new();
    let before = tree.listing();
    for (length, depth) in [(70_000, 1), (300, 1), (200, 30)] {
        let root = tree.root();
        let mut spec = spec(&root, &["true"]);
        let target = format!("/{}", "n".repeat(length)).repeat(depth);
        let kind = MountKind::File {
            content: vec![],
            mode: 0o644,
            owner: (0, 0),
            access: Access::ReadOnly,
        };
        spec.mounts.push(MountPlan {
            target: target.into(),
            kind,
        });
        assert!(outcome(spec).0.is_err(), "{length}");
        assert_eq!(tree.listing(), before);
    }
}

#[test]
fn priv_detached_roots_serve_many_runs() {
    let tree = Tree::new();
    let scratch = tree.0.join("tmp");
    for dir in ["upper", "work"] {
        std::fs::create_dir(scratch.join(dir)).unwrap();
    }
    let overlay = sys::overlay::mount_detached(&sys::overlay::OverlaySpec {
        lowers: vec![tree.0.clone()],
        upper: Some(scratch.join("upper")),
        work: Some(scratch.join("work")),
        xattrs: sys::overlay::XattrFlavour::Trusted,
        durability: sys::overlay::Durability::Volatile,
    })
    .unwrap();
    for i in 0..3 {
        let words = ["sh", "-c", &format!("touch /new{i}")];
        let mut spec = RunSpec::new(RootSource::Mount(overlay.as_fd()), args(&words));
        spec.env = vec![PATH.into()];
        assert_eq!(outcome(spec).0.unwrap(), Exit::Code(0));
        let root = Root::from_fd(overlay.try_clone().unwrap());
        assert!(root.resolve(Path::new(&format!("new{i}"))).is_ok());
    }
    let mut upper: Vec<_> = std::fs::read_dir(scratch.join("upper"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    upper.sort();
    assert_eq!(upper, ["new0", "new1", "new2"]);
}

#[test]
fn priv_network_none_has_only_loopback() {
    let tree = Tree::new();
    let none = |spec: &mut RunSpec<'_>| spec.network = Network::None;
    let out = script_in(
        &tree,
        "ls /sys/class/net; ip -o link | wc -l; ip addr | grep -c 127.0.0.1/8",
        none,
    );
    let names: Vec<&str> = out.lines().collect();
    assert_eq!(names.last(), Some(&"1"), "{out}");
    assert!(out.contains("lo\n"), "{out}");
    assert!(!out.contains("eth"), "{out}");
}

#[test]
fn priv_host_name_and_limits() {
    let tree = Tree::new();
    let out = script_in(&tree, "hostname; ulimit -n; ulimit -Hn; pwd", |spec| {
        spec.hostname = Some("sandbox".into());
        spec.limits = vec![Limit {
            resource: 7,
            soft: 123,
            hard: 456,
        }];
        spec.cwd = "/tmp".into();
    });
    assert_eq!(out, "sandbox\n123\n456\n/tmp\n");
    let root = tree.root();
    let mut high = spec(&root, &["true"]);
    high.limits = vec![Limit {
        resource: 7,
        soft: 9,
        hard: u64::MAX,
    }];
    let finished = run(high, Stdin::Null, Output::Null, &Stop::new().unwrap()).unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    assert_eq!(finished.lowered.len(), 1);
}

#[test]
fn priv_a_terminal() {
    let tree = Tree::new();
    let root = tree.root();
    let (read, write) = std::io::pipe().unwrap();
    let spec = spec(
        &root,
        &["sh", "-c", "tty; test -t 0 && test -t 2 && echo yes; cat"],
    );
    let (keys, type_to) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &type_to, b"typed\n").unwrap();
    drop(type_to);
    let output = Output::Terminal {
        input: Some(keys.as_fd()),
        output: write.as_fd(),
        size: (24, 80),
    };
    let finished = run(spec, Stdin::Null, output, &Stop::new().unwrap()).unwrap();
    drop(write);
    assert_eq!(finished.exit, Exit::Code(0));
    let screen = std::io::read_to_string(read).unwrap();
    assert!(screen.contains("/dev/pts/0\r\n"), "{screen}");
    assert!(screen.contains("yes\r\n"), "{screen}");
    assert_eq!(screen.matches("typed\r\n").count(), 2, "{screen}");
}

#[test]
fn priv_a_run_can_be_ended() {
    let tree = Tree::new();
    for (text, signal, grace, expected) in [
        ("sleep 1000; true", 15, 100, Exit::Signal(9)),
        (
            "trap 'exit 3' TERM; while true; do sleep 0.05; done",
            15,
            20_000,
            Exit::Code(3),
        ),
    ] {
        let root = tree.root();
        let spec = spec(&root, &["sh", "-c", text]);
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            other.end(signal, Duration::from_millis(grace));
        });
        let started = Instant::now();
        let finished = run(spec, Stdin::Null, Output::Null, &stop).unwrap();
        thread.join().unwrap();
        assert_eq!(finished.exit, expected);
        assert!(started.elapsed() < Duration::from_secs(15));
        let again = crate::spec(&root, &["true"]);
        let again = run(again, Stdin::Null, Output::Null, &stop);
        assert!(matches!(again, Err(RunError::Stopped)));
    }
}

#[test]
fn priv_large_output_is_relayed_whole() {
    let tree = Tree::new();
    let out = script_in(
        &tree,
        "dd if=/dev/zero bs=1000 count=5000 2>/dev/null",
        |_| {},
    );
    assert_eq!(out.len(), 5_000_000);
}

#[test]
fn priv_many_runs_from_many_threads() {
    let trees: Vec<Tree> = (0..4).map(|_| Tree::new()).collect();
    std::thread::scope(|scope| {
        for tree in &trees {
            scope.spawn(move || {
                let root = tree.root();
                for i in 0..50 {
                    // Writing and executing at once: the descriptor can be in another's child.
                    let name = format!("bin/busybox-{i}");
                    std::fs::copy("/bin/busybox", tree.0.join(&name)).unwrap();
                    let spec = spec(&root, &[&format!("/{name}"), "true"]);
                    let (exit, _, err) = outcome(spec);
                    assert_eq!(exit.unwrap(), Exit::Code(0), "{err}");
                }
            });
        }
    });
}

/// A Buildah store of its own, removed at the end.
struct Buildah(PathBuf);

impl Buildah {
    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .env("CONTAINERS_CONF", self.0.join("containers.conf"))
            .arg("--root")
            .arg(self.0.join("root"))
            .arg("--runroot")
            .arg(self.0.join("run"))
            .args(["--storage-driver", "vfs"]);
        command
    }

    fn output(&self, words: &[&str]) -> String {
        let output = self.command().args(words).output().expect("needs buildah");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{words:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text.trim().to_owned()
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all"]).output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn peer_the_container_looks_like_that_of_buildah_and_runc() {
    let tree = Tree::new();
    let place = format!("/var/tmp/cooper-dev-runtime/peer{}", std::process::id());
    let buildah = Buildah(place.into());
    std::fs::create_dir_all(&buildah.0).unwrap();
    std::fs::write(
        buildah.0.join("containers.conf"),
        "[containers]\ndefault_ulimits = []\n",
    )
    .unwrap();
    let container = buildah.output(&["from", "scratch"]);
    buildah.output(&["copy", "-q", &container, tree.0.to_str().unwrap(), "/"]);
    let script = "grep -E '^(Cap|NoNew|Seccomp:|Uid|Gid|Umask|Sig(Blk|Cgt))' /proc/self/status
        ls -ln /dev | grep -v total | sed -E 's/ +[A-Z][a-z]{2} +[0-9]+ [0-9:]+ / /; s/[0-9]+ (pts|shm|mqueue)/\\1/'
        sed 's/ - .*//' /proc/self/mountinfo | grep -E -o ' /(proc|dev|sys)[^ ]* r[ow][^ ]*' | grep -v cgroup | sort
        cat /proc/self/cmdline | wc -c; ls /proc/self/ns | wc -l; pwd; umask";
    let words = [
        "run",
        "--isolation",
        "oci",
        "--runtime",
        "runc",
        "--network",
        "host",
    ];
    let theirs = buildah.output(&[&words[..], &[&container, "--", "sh", "-c", script]].concat());
    let ours = script_in(&tree, script, |spec| {
        use cooper_runtime::Capability::{AuditWrite, Mknod, NetRaw};
        spec.capabilities = CapabilitySet::DEFAULT
            .with(AuditWrite)
            .with(Mknod)
            .with(NetRaw);
    });
    // Masks carry more flags with us; read-only is what counts.
    let plain = |text: &str| {
        let words = text.lines().map(|line| match line.trim().split_once(' ') {
            Some((
                path @ ("/proc/acpi" | "/proc/keys" | "/proc/timer_list" | "/sys/firmware"
                | "/sys/dev"),
                _,
            )) => path.to_owned(),
            _ => line.split_whitespace().collect::<Vec<_>>().join(" "),
        });
        words
            .map(|line| line.replace(",relatime", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(ours.trim()), plain(&theirs));
}

/// Not a test by itself: what the next one kills.
#[test]
fn priv_victim_of_kill() {
    let Some(at) = std::env::args().find_map(|arg| arg.strip_prefix("victim=").map(PathBuf::from))
    else {
        return;
    };
    let root = Root::open(&at).unwrap();
    let spec = spec(
        &root,
        &["sh", "-c", "sleep 12345 & echo > /tmp/started; sleep 12345"],
    );
    let _ = run(spec, Stdin::Null, Output::Null, &Stop::new().unwrap());
}

/// A child that is killed when the test that started it ends, however it ends.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn priv_killing_the_parent_kills_the_tree() {
    let tree = Tree::new();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "priv_victim_of_kill",
            "--nocapture",
            "--test-threads=1",
        ])
        .arg("--skip")
        .arg(format!("victim={}", tree.0.display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut victim = Victim(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !tree.0.join("tmp/started").exists() {
        assert!(Instant::now() < deadline, "the victim did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let here = |process: &Path| {
        std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("bin/busybox"))
            && std::fs::read(process.join("cmdline"))
                .is_ok_and(|line| line.windows(5).any(|w| w == b"12345"))
    };
    let count = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| here(&entry.path()))
            .count()
    };
    assert!(count() >= 2, "sleepers run");
    victim.0.kill().unwrap();
    assert_eq!(victim.0.wait().unwrap().signal(), Some(9));
    let deadline = Instant::now() + Duration::from_secs(5);
    while count() > 0 {
        assert!(Instant::now() < deadline, "the tree outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}

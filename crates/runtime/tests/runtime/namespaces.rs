//! Namespaces that are shared with the host, of the process's own, or joined.

use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cooper_runtime::{
    Access, Exit, IdMap, IdMaps, IdRange, MountKind, MountPlan, Namespace, Namespaces, Output,
    RootChange, RootSource, RunSpec, Stdin, Stop, UserNamespace, run,
};

use super::{Tree, is_running, outcome, script_in, spec};

const KINDS: [&str; 4] = ["cgroup", "ipc", "pid", "uts"];

/// A process in namespaces of its own, which ends with this value.
struct Elsewhere(Child);

impl Elsewhere {
    fn start() -> Self {
        let words = ["-C", "-i", "-u", "-p", "--fork", "--kill-child", "cat"];
        let mut child = Command::new("unshare");
        let child = child
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // What comes back says that the namespaces are there.
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Self(child)
    }

    /// The file of a namespace; that of processes is one of its children's.
    fn file(&self, kind: &str) -> Namespace {
        let kind = if kind == "pid" {
            "pid_for_children"
        } else {
            kind
        };
        Namespace::Path(format!("/proc/{}/ns/{kind}", self.0.id()).into())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn inode(path: &std::path::Path) -> String {
    let text = std::fs::read_link(path).unwrap();
    text.to_string_lossy().into_owned()
}

fn set(namespaces: &mut Namespaces, kind: &str, choice: Namespace) {
    match kind {
        "cgroup" => namespaces.cgroup = choice,
        "ipc" => namespaces.ipc = choice,
        "pid" => namespaces.pid = choice,
        "uts" => namespaces.uts = choice,
        other => unreachable!("{other}"),
    }
}

#[test]
fn priv_each_namespace_is_shared_own_or_joined() {
    let tree = Tree::new();
    let elsewhere = Elsewhere::start();
    for kind in KINDS {
        let host = inode(format!("/proc/self/ns/{kind}").as_ref());
        let theirs = elsewhere.file(kind);
        let joined = match &theirs {
            Namespace::Path(path) => inode(path),
            other => unreachable!("{other:?}"),
        };
        assert_ne!(host, joined);
        let check = |choice: Namespace, expected: fn(&str, &str, &str) -> bool| {
            let text = format!("readlink /proc/self/ns/{kind}");
            let change = |spec: &mut RunSpec<'_>| set(&mut spec.namespaces, kind, choice.clone());
            let found = script_in(&tree, &text, change);
            assert!(
                expected(found.trim(), &host, &joined),
                "{kind} {choice:?} {found}"
            );
        };
        check(Namespace::Host, |found, host, _| found == host);
        check(Namespace::Private, |found, host, joined| {
            found != host && found != joined
        });
        check(theirs, |found, _, joined| found == joined);
    }
    let root = tree.root();
    let mut nowhere = spec(&root, &["true"]);
    nowhere.namespaces.ipc = Namespace::Path("/no/such".into());
    let error = outcome(nowhere).0.unwrap_err();
    assert_eq!(error.to_string(), "cannot open the namespace `/no/such`");
}

#[test]
fn priv_a_shared_host_name_is_not_changed() {
    let tree = Tree::new();
    let before = rustix::system::uname().nodename().to_owned();
    let found = script_in(&tree, "hostname", |spec| {
        spec.hostname = Some("sandbox".into());
        spec.namespaces.uts = Namespace::Host;
    });
    assert_eq!(found.trim(), before.to_str().unwrap());
    assert_eq!(rustix::system::uname().nodename(), before.as_c_str());
}

#[test]
fn priv_a_session_ends_where_processes_are_shared() {
    let tree = Tree::new();
    let root = tree.root();
    let name = format!("cooper-session-{}", std::process::id());
    let text = format!("(exec -a {name} sleep 1000) & sleep 1001 & exit 3");
    let mut spec = spec(&root, &["sh", "-c", &text]);
    spec.namespaces.pid = Namespace::Host;
    let started = Instant::now();
    let finished = run(spec, Stdin::Null, Output::Null, &Stop::new().unwrap()).unwrap();
    assert_eq!(format!("{:?}", finished.exit), "Code(3)");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(!is_running(&name));
}

#[test]
fn priv_the_root_changes_without_a_pivot() {
    let tree = Tree::new();
    let text = "test -d /proc/self && test ! -e /work && ls -d /..";
    let found = script_in(&tree, text, |spec| spec.root_change = RootChange::Chroot);
    assert_eq!(found, "/..\n");
}

fn maps(host: u32) -> IdMaps {
    let map = |outside| {
        IdMap::from_ranges(vec![IdRange {
            inside: 0,
            outside,
            count: 5000,
        }])
    };
    IdMaps {
        users: map(host),
        groups: map(2 * host),
    }
}

#[test]
fn priv_users_of_a_namespace_own_what_they_find_and_make() {
    let tree = Tree::new();
    let users = UserNamespace::new(maps(100_000)).unwrap();
    let mount = sys::mount::bind_detached(tree.root().as_fd(), sys::mount::Depth::One).unwrap();
    sys::mount::shift_owners(mount.as_fd(), users.handle.as_fd()).unwrap();
    let text = "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /made; mkdir /d; \
        stat -c '%u:%g %n' / /bin /dev /dev/null /dev/pts /dev/shm /etc/x /made; \
        test -w /etc/x && echo writable; echo out >/dev/stdout; grep CapEff /proc/self/status";
    let mut spec = RunSpec::new(
        RootSource::Mount(mount.as_fd()),
        super::args(&["sh", "-c", text]),
    );
    spec.env = vec![super::PATH.into()];
    spec.user_namespace = Some(users);
    spec.mounts.push(MountPlan {
        target: "/etc/x".into(),
        kind: MountKind::File {
            content: b"x".to_vec(),
            mode: 0o644,
            owner: (7, 8),
            access: Access::ReadWrite,
        },
    });
    let (exit, out, err) = outcome(spec);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{out}{err}");
    let words: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let lines: Vec<String> = words.iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        lines,
        [
            "0 100000 5000",
            "0 200000 5000",
            "0",
            "0:0 /",
            "0:0 /bin",
            "0:0 /dev",
            "0:0 /dev/null",
            "0:0 /dev/pts",
            "0:0 /dev/shm",
            "7:8 /etc/x",
            "0:0 /made",
            "writable",
            "out",
            "CapEff: 00000000800405fb",
        ],
        "{err}"
    );
    let made = std::fs::metadata(tree.0.join("made")).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&made);
    assert_eq!(owner, 0, "the owner on the disk is that of the namespace");
    assert!(!tree.0.join("etc").exists());
    let users = UserNamespace::new(maps(100_000)).unwrap();
    let mut unknown = RunSpec::new(RootSource::Mount(mount.as_fd()), super::args(&["true"]));
    unknown.user_namespace = Some(users);
    unknown.user.uid = 6000;
    let error = outcome(unknown).0.unwrap_err();
    let expected = "user 6000 is not mapped into this user namespace";
    assert!(error.to_string().starts_with(expected), "{error}");
}

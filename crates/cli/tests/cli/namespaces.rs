//! The namespaces of processes: flags of `run`, `from` and `build`, what a container remembers, and what the
//! configuration says.

use crate::stage::{Stage, said};

/// The flag of each kind, and the name of its file in `/proc/PID/ns`.
const KINDS: [(&str, &str); 4] = [
    ("--cgroupns", "cgroup"),
    ("--ipc", "ipc"),
    ("--pid", "pid"),
    ("--uts", "uts"),
];

fn ours(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_string_lossy().into_owned()
}

/// What a command prints of the namespace that its process is in.
const READ: [&str; 3] = ["ls", "-l", "/proc/self/ns"];

fn of_kind(listing: &str, kind: &str) -> String {
    let wanted = format!(" {kind} -> ");
    let line = listing.lines().find_map(|line| line.split_once(&wanted));
    line.map(|(_, link)| link.to_owned()).unwrap_or_default()
}

#[test]
fn priv_flags_choose_namespaces() {
    let stage = Stage::with_base("nsflags");
    stage.cooper(&["from", "--name", "plain", "base"]).ok();
    stage
        .cooper(&[
            "from",
            "--name",
            "shared",
            "--cgroupns",
            "host",
            "--ipc",
            "host",
            "--pid=host",
            "--uts",
            "host",
            "base",
        ])
        .ok();
    let run = |flags: &[&str], container: &str, kind: &str| {
        let words = [&["run"], flags, &[container], &READ].concat();
        of_kind(&stage.cooper(&words).ok(), kind)
    };
    for (flag, kind) in KINDS {
        let host = ours(kind);
        assert_eq!(run(&[flag, "host"], "plain", kind), host, "{flag}");
        assert_eq!(run(&[], "shared", kind), host, "{flag} of from");
        for word in ["private", "container", ""] {
            let found = run(&[flag, word], "shared", kind);
            assert!(
                found.starts_with(kind) && found != host,
                "{flag} {word:?}: {found}"
            );
        }
        // Of processes only a namespace below ours can be joined.
        if kind != "pid" {
            for prefix in ["", "ns:"] {
                let path = format!("{prefix}/proc/self/ns/{kind}");
                assert_eq!(run(&[flag, &path], "plain", kind), host, "{flag} {path}");
            }
        }
    }
    let build = stage.build(
        "FROM base\nRUN ls -l /proc/self/ns\n",
        &["--ipc=host", "--pid", "host"],
    );
    let listing = build.ok();
    assert_eq!(of_kind(&listing, "ipc"), ours("ipc"));
    assert_eq!(of_kind(&listing, "pid"), ours("pid"));
    assert_ne!(of_kind(&listing, "uts"), ours("uts"));
}

#[test]
fn priv_the_configuration_chooses_namespaces() {
    let stage = Stage::with_base("nsconf");
    stage.cooper(&["from", "--name", "before", "base"]).ok();
    let conf = "[containers]\nipcns = \"host\"\npidns = \"host\"\nutsns = \"host\"\ncgroupns = \"private\"\n";
    stage.write("containers.conf", conf);
    stage.cooper(&["from", "--name", "after", "base"]).ok();
    let built = stage
        .build("FROM base\nRUN ls -l /proc/self/ns\n", &[])
        .ok();
    for (name, container, shared) in [("before", "before", false), ("after", "after", true)] {
        let listing = stage
            .cooper(&[&["run", container][..], &READ].concat())
            .ok();
        for kind in ["ipc", "pid", "uts"] {
            assert_eq!(
                of_kind(&listing, kind) == ours(kind),
                shared,
                "{name} {kind}"
            );
        }
        assert_eq!(
            of_kind(&listing, "cgroup") != ours("cgroup"),
            shared,
            "{name}"
        );
    }
    assert_eq!(of_kind(&built, "ipc"), ours("ipc"));
    let listing = stage.cooper(&[&["run", "--ipc=private", "after"][..], &READ].concat());
    assert_ne!(of_kind(&listing.ok(), "ipc"), ours("ipc"));
}

#[test]
fn priv_bad_namespaces_are_refused() {
    let stage = Stage::with_base("nsbad");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
    };
    check(
        &["run", "--ipc", "/no/such", "c", "true"],
        "checking ipc namespace: faccessat /no/such: no such file or directory",
    );
    check(
        &["run", "--pid", "ns:foo", "c", "true"],
        "checking pid namespace: faccessat foo: no such file or directory",
    );
    check(
        &["from", "--cgroupns", "foo", "base"],
        "parsing namespace-related options: checking cgroup namespace: faccessat foo: no such file",
    );
    let said = stage.build("FROM base\n", &["--uts", "foo"]).fails(125);
    let expected = "Error: checking uts namespace: faccessat foo: no such file or directory";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn priv_a_shared_host_name_has_no_name_of_the_container() {
    let stage = Stage::with_base("nsuts");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let script = "cat /proc/sys/kernel/hostname; echo \"[$HOSTNAME]\"; cat /etc/hostname";
    let said = stage.cooper(&[
        "run",
        "--uts=host",
        "--hostname",
        "x",
        "c",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(said.ok(), format!("{name}\n[]"));
    let file = format!("FROM base\nRUN {script}\n");
    let said = stage.build(&file, &["--uts", "host"]).ok();
    assert!(said.contains(&format!("\n{name}\n[]\n")), "{said}");
}

#[test]
fn priv_terminals_and_roots_without_a_pivot() {
    let stage = Stage::with_base("nstty");
    stage.cooper(&["from", "--name", "c", "base"]).ok();
    let script = "test -t 0 && echo terminal || echo none";
    let check = |flags: &[&str], expected: &str| {
        let words = [&["run"], flags, &["c", "sh", "-c", script]].concat();
        let mut command = stage.cooper_command(&words);
        let said = said(command.stdin(std::process::Stdio::null()));
        assert_eq!(said.ok().trim_end(), expected, "{flags:?}");
    };
    check(&["-t"], "terminal");
    check(&["--terminal"], "terminal");
    check(&["--terminal=false"], "none");
    check(&[], "none");
    check(&["--no-pivot"], "none");
    stage.set("BUILDAH_NOPIVOT", "1");
    check(&[], "none");
    stage.build("FROM base\nRUN true\n", &[]).ok();
}

#[test]
fn peer_namespaces_are_remembered_for_each_other() {
    let stage = Stage::with_base("nspeer");
    let flags = [
        "--cgroupns",
        "private",
        "--ipc",
        "host",
        "--pid",
        "host",
        "--uts",
        "host",
    ];
    let from =
        |name: &'static str| [&["from", "--name", name][..], &flags, &["localhost/base"]].concat();
    stage.cooper(&from("ours")).ok();
    stage.buildah(&from("theirs")).ok();
    let options = |name: &str| {
        let words = ["inspect", "--format", "{{.NamespaceOptions}}", name];
        let seen = stage.cooper(&words).ok();
        assert_eq!(stage.buildah(&words).ok(), seen, "{name}");
        seen
    };
    assert_eq!(options("ours"), options("theirs"));
    let run = |container: &'static str| [&["run", container][..], &READ].concat();
    for listing in [
        stage.cooper(&run("theirs")).ok(),
        stage
            .buildah(&[
                "run",
                "--network",
                "host",
                "ours",
                "ls",
                "-l",
                "/proc/self/ns",
            ])
            .ok(),
    ] {
        for kind in ["ipc", "pid", "uts"] {
            assert_eq!(of_kind(&listing, kind), ours(kind), "{listing}");
        }
        assert_ne!(of_kind(&listing, "cgroup"), ours("cgroup"));
    }
}

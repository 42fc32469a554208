//! Control groups of the machine that the tests run on, whichever version it has. Needs groups that
//! root may make.

use std::path::{Path, PathBuf};

use cooper_runtime::{
    ControlGroup, Exit, Output, Refusal, Resources, RunError, RunSpec, Stdin, Stop, run,
};

use super::{Tree, outcome, spec};

/// Shell words that print a limit: the first version's file, or the second's.
fn shown(first: &str, second: &str) -> String {
    format!(
        "f=/sys/fs/cgroup/{first}; test -e $f || \
         f=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/{second}; cat $f"
    )
}

fn limited<'a>(root: &'a sys::Root, script: &str, resources: Resources) -> RunSpec<'a> {
    let mut spec = spec(root, &["sh", "-c", script]);
    spec.control_group = ControlGroup {
        resources,
        ..ControlGroup::default()
    };
    spec
}

/// Groups of ours and of this test that exist now.
fn groups(name: &str) -> Vec<PathBuf> {
    fn below(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(name) {
                    found.push(entry.path());
                }
                below(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), name, &mut found);
    found
}

fn ours() -> Vec<PathBuf> {
    groups(&format!("cooper-run-{}-", std::process::id()))
}

#[test]
fn priv_limits_are_those_that_were_asked_for() {
    let tree = Tree::new();
    let root = tree.root();
    let script = [
        shown("memory/memory.limit_in_bytes", "memory.max"),
        shown("cpu/cpu.shares", "cpu.weight"),
        shown("cpuset/cpuset.cpus", "cpuset.cpus"),
    ];
    let resources = Resources {
        memory: Some(64 << 20),
        cpu_shares: Some(512),
        cpuset_cpus: "0".to_owned(),
        ..Resources::default()
    };
    let (exit, out, err) = outcome(limited(&root, &script.join("; "), resources));
    assert_eq!(exit.unwrap(), Exit::Code(0), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "67108864");
    assert!(["512", "20"].contains(&lines[1]), "{out}");
    assert_eq!(lines[2], "0");
}

#[test]
fn priv_too_much_memory_ends_the_process() {
    let tree = Tree::new();
    let root = tree.root();
    let resources = Resources {
        memory: Some(16 << 20),
        memory_swap: Some(16 << 20),
        ..Resources::default()
    };
    let hungry = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo $?";
    let (exit, out, _) = outcome(limited(&root, hungry, resources));
    assert_eq!((exit.unwrap(), out.trim()), (Exit::Code(0), "137"));
}

#[test]
fn priv_groups_are_made_below_the_parent_and_removed() {
    let tree = Tree::new();
    let root = tree.root();
    let parent = format!("cooper-test-{}", std::process::id());
    for path in [format!("{parent}/below"), format!("/{parent}")] {
        let mut spec = spec(&root, &["cat", "/proc/self/cgroup"]);
        spec.control_group.parent = Some(PathBuf::from(&path));
        let (exit, out, err) = outcome(spec);
        assert_eq!(exit.unwrap(), Exit::Code(0), "{err}");
        let relative = path.trim_start_matches('/');
        assert!(out.contains(&format!("{relative}/cooper-run-")), "{out}");
        assert_eq!(groups(&parent), Vec::<PathBuf>::new());
    }
    // One that was there stays.
    let there = Path::new("/sys/fs/cgroup/memory");
    let there = if there.is_dir() {
        there
    } else {
        Path::new("/sys/fs/cgroup")
    };
    let there = there.join(&parent);
    std::fs::create_dir(&there).unwrap();
    let mut spec = spec(&root, &["true"]);
    spec.control_group.parent = Some(PathBuf::from(format!("/{parent}")));
    let (exit, ..) = outcome(spec);
    let left = groups(&parent);
    std::fs::remove_dir(&there).unwrap();
    assert_eq!(exit.unwrap(), Exit::Code(0));
    assert_eq!(left, [there]);
}

#[test]
fn priv_what_cannot_be_limited_is_said_and_leaves_nothing() {
    let tree = Tree::new();
    let root = tree.root();
    let impossible = || Resources {
        cpuset_cpus: "4000".to_owned(),
        memory: Some(1 << 30),
        ..Resources::default()
    };
    let (exit, ..) = outcome(limited(&root, "true", impossible()));
    let error = exit.unwrap_err();
    assert!(matches!(error, RunError::ControlGroup(_)), "{error:?}");
    let mut spec = limited(&root, "true", impossible());
    spec.control_group.refusal = Refusal::Told;
    let stop = Stop::new().unwrap();
    let finished = run(spec, Stdin::Null, Output::Null, &stop).unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    let told = finished.control_group.unwrap().to_string();
    assert!(
        told.starts_with("failed to write \"4000\": write /"),
        "{told}"
    );
    // Other tests have groups of their own at this moment, but not for long.
    for _ in 0..200 {
        if ours().is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}", ours());
}

//! What the processes of a container may use together: flags of `from` and `build`, the record that Buildah reads, and
//! the control groups, of which nothing stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::stage::Stage;

/// Prints the limit of memory, whichever version of control groups there is.
const LIMIT: &str = "f=/sys/fs/cgroup/memory/memory.limit_in_bytes; test -e $f || \
    f=/sys/fs/cgroup$(cat /proc/self/cgroup | busybox sed -n 's/^0:://p')/memory.max; cat $f";

/// Control groups of this machine whose names contain `part`.
fn groups(part: &str) -> Vec<PathBuf> {
    fn below(folder: &Path, part: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(part) {
                    found.push(entry.path());
                }
                below(&entry.path(), part, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), part, &mut found);
    found
}

#[test]
fn priv_limits_hold_for_runs_and_steps() {
    let stage = Stage::with_base("limits");
    stage
        .cooper(&[
            "from", "--name", "small", "--memory", "64m", "-c", "512", "base",
        ])
        .ok();
    let run = stage.cooper(&["run", "small", "sh", "-c", LIMIT]);
    assert_eq!(run.ok(), "67108864");
    let file = format!("FROM base\nRUN {LIMIT}\n");
    let built = stage.build(&file, &["-m", "32 MB", "--no-cache"]).ok();
    assert!(built.lines().any(|line| line == "33554432"), "{built}");
    // Too little is the end of the process, not of the program.
    stage
        .cooper(&[
            "from",
            "--name",
            "tiny",
            "-m",
            "16m",
            "--memory-swap",
            "16m",
            "base",
        ])
        .ok();
    let hungry = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null || echo $?";
    assert_eq!(
        stage.cooper(&["run", "tiny", "sh", "-c", hungry]).ok(),
        "137"
    );
}

#[test]
fn priv_a_parent_is_made_and_taken_away() {
    let stage = Stage::with_base("cgparent");
    let name = format!("cooper-cli-test-{}", std::process::id());
    stage
        .cooper(&["from", "--name", "c", "--cgroup-parent", &name, "base"])
        .ok();
    let seen = stage.cooper(&["run", "c", "cat", "/proc/self/cgroup"]).ok();
    assert!(seen.contains(&format!("/{name}/")), "{seen}");
    assert_eq!(groups(&name), Vec::<PathBuf>::new());
}

#[test]
fn priv_words_are_checked_as_buildah_checks_them() {
    let stage = Stage::with_base("limitwords");
    let check = |flags: &[&str], expected: &str| {
        let words = [&["from"], flags, &["base"]].concat();
        let said = stage.cooper(&words).fails(125);
        assert_eq!(said.trim_end(), format!("Error: {expected}"), "{flags:?}");
    };
    check(&["-m", "x"], "invalid value for memory: invalid size: 'x'");
    check(
        &["--memory", "-1"],
        "invalid value for memory: invalid size: '-1'",
    );
    check(
        &["--memory-swap", "x"],
        "invalid value for memory-swap: invalid size: 'x'",
    );
    check(
        &["--cpu-shares", "-1"],
        "invalid argument \"-1\" for \"-c, --cpu-shares\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax",
    );
    check(
        &["--cpu-quota", "x"],
        "invalid argument \"x\" for \"--cpu-quota\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    // What only the kernel refuses is said when a process is to start, and leaves nothing.
    stage
        .cooper(&["from", "--name", "odd", "--cpuset-cpus", "4000", "base"])
        .ok();
    let said = stage.cooper(&["run", "odd", "true"]).fails(125);
    assert!(
        said.contains("failed to write \"4000\": write /sys/fs/cgroup"),
        "{said}"
    );
    let said = stage.cooper(&["run", "--isolation", "chroot", "odd", "echo", "on"]);
    assert!(
        said.stderr
            .contains("the limits of the process do not hold"),
        "{said:?}"
    );
    assert_eq!(said.ok(), "on");
}

#[test]
fn priv_what_a_killed_run_leaves_goes_with_the_next() {
    let stage = Stage::with_base("limitkill");
    stage
        .cooper(&["from", "--name", "c", "-m", "64m", "base"])
        .ok();
    let mut first = stage.cooper_command(&["run", "c", "sleep", "60"]);
    let mut first = first.spawn().unwrap();
    let own = format!("cooper-run-{}-", first.id());
    let start = Instant::now();
    while groups(&own).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "no control group"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    stage.cooper(&["run", "c", "true"]).ok();
    // The kernel may still be ending the killed process when the next run looks.
    if !groups(&own).is_empty() {
        stage.cooper(&["run", "c", "true"]).ok();
    }
    assert_eq!(groups(&own), Vec::<PathBuf>::new());
}

#[test]
fn priv_groups_are_added() {
    let stage = Stage::with_base("groupadd");
    let id = |name: &str, user: &str| stage.cooper(&["run", "--user", user, name, "id"]);
    stage
        .cooper(&["from", "--name", "c", "--group-add", "77,5", "base"])
        .ok();
    assert_eq!(id("c", "7:8").ok(), "uid=7 gid=8 groups=5,8,77");
    stage
        .cooper(&["from", "--name", "named", "--group-add", "extra", "base"])
        .ok();
    let said = id("named", "7:8").fails(125);
    assert_eq!(
        said,
        "Error: strconv.ParseUint: parsing \"extra\": invalid syntax\n"
    );
    let flags = ["--group-add", "keep-groups", "--group-add", "5"];
    let said = stage.build("FROM base\nRUN id\n", &flags).fails(125);
    let expected =
        "the '--group-add keep-groups' option is not allowed with any other --group-add options";
    assert!(said.contains(expected), "{said}");
    let built = stage.build(
        "FROM base\nUSER 7:8\nRUN id\n",
        &["--group-add=9", "--no-cache"],
    );
    let built = built.ok();
    assert!(built.contains("groups=8,9"), "{built}");
}

#[test]
fn peer_buildah_goes_on_with_our_limits_and_we_with_its() {
    let stage = Stage::with_base("limitpeer");
    let _left = Left("cooper-peer-test");
    let flags = [
        "--memory",
        "64m",
        "--cpu-quota",
        "50000",
        "--cgroup-parent",
        "cooper-peer-test",
    ];
    let from = |name: &'static str| [&["from", "--name", name], &flags[..], &["base"]].concat();
    stage.cooper(&from("ours")).ok();
    stage.buildah(&from("theirs")).ok();
    let ours = stage.buildah(&["run", "--network", "host", "ours", "sh", "-c", LIMIT]);
    assert_eq!(ours.ok(), "67108864");
    let theirs = stage.cooper(&["run", "theirs", "sh", "-c", LIMIT]);
    assert_eq!(theirs.ok(), "67108864");
}

/// Control groups that Debian's runtime leaves, which go with the test.
struct Left(&'static str);

impl Drop for Left {
    fn drop(&mut self) {
        for group in groups(self.0) {
            let _ = std::fs::remove_dir(group);
        }
    }
}

//! What bad input gets: the words, the status, and a store as it was.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::stage::{Stage, text};

#[test]
fn command_lines_that_are_wrong() {
    let check = |words: &[&str], expected: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_cooper"))
            .args(words)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{words:?}: {stderr}");
        assert_eq!(
            stderr.lines().next().unwrap_or_default(),
            format!("Error: {expected}"),
            "{words:?}"
        );
    };
    check(&["nosuch"], "unknown command \"nosuch\" for \"cooper\"");
    check(&["images", "--nosuch"], "unknown flag: --nosuch");
    check(&["images", "-z"], "unknown shorthand flag: 'z' in -z");
    check(&["build", "--target"], "flag needs an argument: --target");
    check(
        &["images", "--quiet=maybe"],
        "invalid argument \"maybe\" for \"-q, --quiet\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    check(&["build", "a", "b"], "accepts at most 1 arg(s), received 2");
    check(&["rm", "--network"], "unknown flag: --network");
    check(&["--imagestore"], "flag needs an argument: --imagestore");
    check(
        &["commit", "--compression-format", "x", "y"],
        "cannot find compressor for \"x\"",
    );
    check(&["build", "--net"], "flag needs an argument: --network");
    check(
        &["build", "--loglevel", "x"],
        "invalid argument \"x\" for \"--loglevel\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    check(&["commit", "--cw", "x"], "--cw is not supported yet");
    check(&["mkcw", "x"], "the command \"mkcw\" is not supported yet");
    check(
        &["from"],
        "an image name (or \"scratch\") must be specified",
    );
    check(
        &["build", "--timestamp", "x"],
        "invalid argument \"x\" for \"--timestamp\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    check(
        &["build", "--platform", "linux/a/b/c", "-t", "x", "/"],
        "building system context: invalid platform syntax for --platform=\"linux/a/b/c\": \"linux/a/b/c\": cannot parse platform specifier (use OS/ARCH[/VARIANT])",
    );
    check(
        &["build", "-t", "Bad", "/"],
        "tag Bad: invalid reference format: repository name must be lowercase",
    );
    check(&["copy"], "requires at least 1 arg(s), only received 0");
    check(&["rmi"], "image name or ID must be specified");
    check(&["rm"], "container ID must be specified");
    check(&["commit"], "container ID must be specified");
    check(&["tag", "x"], "requires at least 2 arg(s), only received 1");
    check(&["push"], "at least a source image ID must be specified");
    check(&["pull"], "an image name must be specified");
    check(
        &["build", "--format", "x", "/var/empty-or-not"],
        "unrecognized image type \"x\"",
    );
}

#[test]
fn priv_a_wrong_file_lists_every_fault() {
    let stage = Stage::with_base("faults");
    let said = stage.build(
        "FROM base\nFOO x\nRUN true\nENV novalue\nCOPY --nope a b\n",
        &[],
    );
    let stderr = said.fails(125);
    for (place, words) in [
        (":2:1", "Unknown instruction: \"FOO\""),
        (":4:", "ENV must have two arguments"),
        (":5:", "COPY only supports"),
    ] {
        let found = stderr
            .lines()
            .any(|line| line.contains(place) && line.contains(words));
        assert!(found, "{place} {words} in:\n{stderr}");
    }
    assert!(
        stderr.contains("FOO x"),
        "the source line is shown:\n{stderr}"
    );
}

#[test]
fn priv_a_failed_step_names_itself() {
    let stage = Stage::with_base("failed");
    let said = stage.build("FROM base\nRUN true\nRUN echo bye; exit 42\n", &[]);
    assert!(said.stdout.contains("bye"), "{said:?}");
    let stderr = said.fails(42);
    assert!(
        stderr.contains("building at STEP \"RUN echo bye; exit 42\"")
            && stderr.contains("exit status 42"),
        "{stderr}"
    );
    assert!(stderr.contains("Containerfile:3"), "{stderr}");
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
    // The first process of a PID namespace cannot kill itself, its child can.
    let said = stage.build("FROM base\nRUN sh -c 'kill -9 $$' || exit $?\n", &[]);
    assert!(
        said.stderr
            .contains("building at STEP \"RUN sh -c 'kill -9 $$' || exit $?\""),
        "{said:?}"
    );
    assert_eq!(said.status, 137);
}

#[test]
fn priv_missing_things_are_named() {
    let stage = Stage::with_base("missing");
    let stderr = stage.build("FROM nosuch:1\nRUN true\n", &[]).fails(125);
    for tried in ["localhost/nosuch:1", "docker.io/library/nosuch:1"] {
        assert!(stderr.contains(tried), "{tried} in {stderr}");
    }
    let stderr = stage.build("FROM base\nCOPY /nofile /x\n", &[]).fails(125);
    assert!(
        stderr.contains("nofile") && stderr.contains("no such file or directory"),
        "{stderr}"
    );
    let stderr = stage
        .build("FROM base\nCOPY --from=nosuch a b\n", &[])
        .fails(125);
    assert!(
        stderr.contains("COPY --from=nosuch: no stage or image found with that name"),
        "{stderr}"
    );
    let stderr = stage.build("FROM base\n", &["--target", "nope"]).fails(125);
    assert!(
        stderr.contains("the target \"nope\" was not found in the provided Dockerfile"),
        "{stderr}"
    );
    let stderr = stage
        .build("FROM base\nADD https://example.invalid/x.git /x\n", &[])
        .fails(125);
    assert!(
        stderr.contains("Containerfile:2") && stderr.contains("not supported yet"),
        "{stderr}"
    );
    let stderr = stage.cooper(&["run", "nosuch", "ls"]).fails(125);
    assert!(
        stderr.contains("nosuch") && stderr.contains("container not known"),
        "{stderr}"
    );
    let stderr = stage.cooper(&["rmi", "nosuch"]).fails(125);
    assert!(stderr.contains("nosuch: image not known"), "{stderr}");
}

#[test]
fn priv_a_store_that_cannot_be_used_says_who_chose_it() {
    let stage = Stage::empty("unusable");
    let conf = stage.write("storage.conf", "[storage]\ndriver = \"btrfs\"\ngraphroot = \"/var/tmp/none\"\nrunroot = \"/var/tmp/none\"\n");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cooper"));
    let output = command
        .arg("images")
        .env("CONTAINERS_STORAGE_CONF", &conf)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr.contains("storage.conf:2") && stderr.contains("btrfs"),
        "{stderr}"
    );
    let flat = stage.write(
        "flat.conf",
        "RunRoot = \"/run/user/1000\"\nGraphDriverName = \"vfs\"\n",
    );
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cooper"));
    let output = command
        .arg("images")
        .env("CONTAINERS_STORAGE_CONF", &flat)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("flat.conf:1") && stderr.contains("old flat format"),
        "{stderr}"
    );
}

#[test]
fn priv_an_interrupt_ends_the_step() {
    let stage = Stage::with_base("interrupt");
    for (signal, status) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
    ] {
        let file = stage.write("Containerfile", "FROM base\nRUN echo started; sleep 1000\n");
        let base = stage.path("base");
        let mut child = stage
            .cooper_command(&["build", "-f", text(&file), text(&base)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("started\n") || line.contains("STEP") {
            line.clear();
            assert_ne!(
                std::io::BufRead::read_line(&mut stdout, &mut line).unwrap(),
                0,
                "the build ended early"
            );
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let start = Instant::now();
        let ended = child.wait().unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "the step is ended at once"
        );
        assert_eq!(ended.code(), Some(status));
        assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(stage.podman(&["images", "-q"]).ok().lines().count(), 1);
}

#[test]
fn priv_a_full_disk_leaves_the_store_as_it_was() {
    let stage = Stage::empty("full");
    // A file system of 24 MiB: the base fits, the step does not.
    let disk = stage.path("root");
    std::fs::create_dir_all(&disk).unwrap();
    let image = stage.path("disk.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(24 << 20)
        .unwrap();
    let mkfs = std::process::Command::new("mkfs.ext4")
        .args(["-q", "-F"])
        .arg(&image)
        .status();
    assert!(mkfs.expect("e2fsprogs is needed").success());
    let mounted = std::process::Command::new("mount")
        .args(["-o", "loop"])
        .arg(&image)
        .arg(&disk)
        .status()
        .unwrap();
    assert!(mounted.success(), "a loop device is needed");
    stage.write("small/hello", "hello\n");
    let busybox = stage.path("small/busybox");
    std::fs::copy("/bin/busybox", &busybox).unwrap();
    let file = stage.write("Containerfile", "FROM scratch\nCOPY . /\n");
    let small = stage.path("small");
    stage
        .cooper(&["build", "-t", "base", "-f", text(&file), text(&small)])
        .ok();
    let said = stage.build("FROM base\nRUN [\"/busybox\", \"dd\", \"if=/dev/zero\", \"of=/big\", \"bs=1M\", \"count=64\"]\n", &[]);
    assert_ne!(said.status, 0);
    let big = stage.path("context/big");
    std::fs::write(&big, vec![1; 48 << 20]).unwrap();
    let said = stage.build("FROM base\nCOPY big /big\n", &[]);
    assert!(
        said.stderr.contains("no space left on device") && said.stderr.contains("big"),
        "{said:?}"
    );
    assert_eq!(said.status, 125);
    assert_eq!(stage.buildah(&["images", "-q"]).ok().lines().count(), 1);
    let container = stage.cooper(&["from", "base"]).ok();
    assert_eq!(
        stage
            .cooper(&["run", &container, "/busybox", "cat", "/hello"])
            .ok(),
        "hello"
    );
}

#[test]
fn priv_what_is_not_there_is_said_as_buildah_says_it() {
    let stage = Stage::with_base("texts");
    let container = stage.cooper(&["from", "base"]).ok();
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
    };
    check(
        &["rm", "no1", "no2"],
        "removing container \"no1\": container not known\nError: removing container \"no2\": container not known\n",
    );
    check(
        &["inspect", "nosuch"],
        "Error: importing settings: nosuch: image not known",
    );
    check(
        &["rmi", "-a"],
        "image is in use by a container: consider listing external containers and force-removing image\n\n",
    );
    check(
        &["images", "--filter", "foo=1"],
        "Error: invalid image filter \"foo\": must be in the format \"filter=value or filter!=value\"",
    );
    check(
        &["images", "--filter", "foo"],
        "Error: invalid image filter \"foo\": must be in the format \"filter=value or filter!=value\"",
    );
    check(
        &["pull", "dir:/nosuch"],
        "manifest.json`: no such file or directory\n",
    );
    check(
        &["push", "--format", "x", "nosuch", "dir:/nosuch"],
        "Error: unknown format \"x\"",
    );
    stage.cooper(&["rm", &container]).ok();
}

//! What works without root: for a user with subordinate ids, for one without, and for a root that
//! lacks `CAP_SYS_ADMIN`, as in a pod.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::scratch::Scratch;

use crate::stage::{Said, Stage, said, shell_apart, text, write_base_tree};

/// The user's number and that of its group; nobody on the machine has it.
const ID: u32 = 17_017;
/// How long a process may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(20);

/// Puts the user into the files of `/etc`, in a mount namespace of its own, and becomes it.
const BECOME: &str = r#"
    for name in passwd group subuid subgid; do
        mount --bind "$1/etc/$name" "/etc/$name" || exit 90
    done
    if test -e "$1/tun"; then mount --bind "$1/tun" /dev/net/tun || exit 90; fi
    shift
    exec setpriv --reuid 17017 --regid 17017 --clear-groups "$@"
"#;

/// What the host lets the user map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubIds {
    Given,
    None,
}

/// A user of this machine for the time of a test, with a home of their own.
pub struct User {
    scratch: Scratch,
}

impl User {
    pub fn new(purpose: &str, ids: SubIds) -> Self {
        assert!(
            rustix::process::getuid().is_root(),
            "this test becomes another user and needs root"
        );
        let user = Self {
            scratch: Scratch::new(purpose).unwrap(),
        };
        let entry = |file: &str, line: String| {
            let old = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
            user.write(&format!("etc/{file}"), &format!("{old}{line}\n"));
        };
        entry("passwd", format!("tess:x:{ID}:{ID}::/nonexistent:/bin/sh"));
        entry("group", format!("tess:x:{ID}:"));
        for file in ["etc/subuid", "etc/subgid"] {
            user.write(
                file,
                match ids {
                    SubIds::Given => "tess:2000000:65536\n",
                    SubIds::None => "somebody:2000000:65536\n",
                },
            );
        }
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1000:1000\",\"nproc=5000:5000\"]\n";
        user.write("containers.conf", limits);
        for folder in ["home", "tmp"] {
            let path = user.path(folder);
            std::fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(ID), Some(ID)).unwrap();
        }
        let program = user.path("cooper");
        std::fs::copy(env!("CARGO_BIN_EXE_cooper"), &program).unwrap();
        user
    }

    /// A path in the test's folder; the user can write below `home` and `tmp` only.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// A program as the user starts it.
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = shell_apart(&[], BECOME);
        command.arg(self.scratch.path());
        self.environment(&mut command);
        command.arg(program).args(words);
        command
    }

    fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("SHELL", "/bin/sh")
            .env("USER", "tess")
            .current_dir("/");
    }

    fn cooper_command(&self, words: &[&str]) -> Command {
        self.command(text(&self.path("cooper")), words)
    }

    /// Runs our program.
    pub fn cooper(&self, words: &[&str]) -> Said {
        said(&mut self.cooper_command(words))
    }

    /// Runs Debian's Buildah.
    pub fn buildah(&self, words: &[&str]) -> Said {
        self.peer("buildah", words)
    }

    /// One of Debian's tools, with the driver that ours chooses: they do not find that it works.
    fn peer(&self, program: &str, words: &[&str]) -> Said {
        // Without it Podman leaves folders in /tmp.
        let session = format!(
            "XDG_RUNTIME_DIR={}/storage-run-{ID}",
            self.path("tmp").display()
        );
        let settings = ["STORAGE_DRIVER=overlay", &session, program];
        said(&mut self.command("env", &[settings.as_slice(), words].concat()))
    }

    /// A folder to build in, with this Containerfile and the tree of a busybox in `base`.
    pub fn context(&self, containerfile: &str) -> PathBuf {
        let context = self.path("context");
        if !context.exists() {
            write_base_tree(&context.join("base"));
        }
        self.write("context/Containerfile", containerfile);
        context
    }

    /// Lets the user open the device that connections of its own need, as most hosts do.
    pub fn give_tunnels(&self) {
        let device = self.path("tun");
        let words = ["-m", "666", text(&device), "c", "10", "200"];
        said(Command::new("mknod").args(words)).ok();
    }

    /// A working container made of two files, one of which belongs to somebody else.
    fn container(&self) -> String {
        let container = self.cooper(&["from", "scratch"]).ok();
        let mine = self.write("mine", "mine\n");
        let copy = |owner: &str, target: &str| {
            self.cooper(&["copy", "--chown", owner, &container, text(&mine), target])
                .ok();
        };
        copy("0:0", "/etc/mine");
        copy("33:42", "/etc/theirs");
        container
    }
}

/// What `stat` says about a file in a tree, in the namespace of the user.
const OWNERS: &str = "stat -c %u:%g $M/etc/mine $M/etc/theirs";

#[test]
fn priv_the_namespace_has_the_ids_of_the_user() {
    let user = User::new("ids", SubIds::Given);
    let map = user.cooper(&["unshare", "cat", "/proc/self/uid_map"]).ok();
    let lines: Vec<Vec<&str>> = map
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines, [["0", "17017", "1"], ["1", "2000000", "65536"]]);
    assert_eq!(user.cooper(&["unshare", "id", "-u"]).ok(), "0");
    user.cooper(&["unshare", "sh", "-c", "exit 7"]).fails(7);
    let said = user
        .cooper(&["unshare", "sh", "-c", "kill -TERM $$"])
        .fails(1);
    assert!(said.contains("msg=\"signal: terminated\""), "{said}");
    assert!(
        said.contains("msg=\"(Unable to determine exit status)\""),
        "{said}"
    );
    let said = user.cooper(&["unshare", "no-such-program"]).fails(1);
    assert!(
        said.contains(r#"exec: \"no-such-program\": executable file not found in $PATH"#),
        "{said}"
    );
    let said = said_without_shell(&user).fails(1);
    assert!(said.contains("msg=\"no command specified\""), "{said}");
}

fn said_without_shell(user: &User) -> Said {
    said(user.cooper_command(&["unshare"]).env_remove("SHELL"))
}

#[test]
fn priv_what_runs_in_the_namespace_knows_where_it_is() {
    let user = User::new("environment", SubIds::Given);
    let environment = user.cooper(&["unshare", "env"]).ok();
    for variable in [
        "_CONTAINERS_USERNS_CONFIGURED=done".to_owned(),
        "_CONTAINERS_ROOTLESS_UID=17017".to_owned(),
        "_CONTAINERS_ROOTLESS_GID=17017".to_owned(),
        "BUILDAH_ISOLATION=rootless".to_owned(),
        format!("TMPDIR={}", user.path("tmp").display()),
        format!(
            "XDG_RUNTIME_DIR={}/storage-run-17017",
            user.path("tmp").display()
        ),
    ] {
        assert!(
            environment.lines().any(|line| line == variable),
            "{variable} in {environment}"
        );
    }
    let program = user.path("cooper");
    let inner = [
        "unshare",
        text(&program),
        "unshare",
        "readlink",
        "/proc/self/ns/user",
    ];
    let script = format!(
        "readlink /proc/self/ns/user; {} {}",
        text(&program),
        inner.join(" ")
    );
    let nested = user.cooper(&["unshare", "sh", "-c", &script]).ok();
    let namespaces: Vec<&str> = nested.lines().collect();
    assert_eq!(namespaces.len(), 2, "{nested}");
    assert_eq!(
        namespaces[0], namespaces[1],
        "a namespace in a namespace is the same"
    );
}

#[test]
fn priv_signals_reach_the_process_in_the_namespace() {
    let user = User::new("signals", SubIds::Given);
    let ready = user.path("home/ready");
    let script = format!(
        "trap 'exit 9' TERM; : > {}; n=0; while [ $n -lt 400 ]; do sleep 0.05; n=$((n+1)); done",
        ready.display()
    );
    let mut command = user.cooper_command(&["unshare", "sh", "-c", &script]);
    let mut child = Ended(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let start = Instant::now();
    while !ready.exists() {
        assert!(start.elapsed() < PATIENCE, "the process has not begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(9));
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn priv_without_subordinate_ids_there_is_one() {
    let user = User::new("single", SubIds::None);
    let said = user.cooper(&["unshare", "cat", "/proc/self/uid_map"]);
    let words: Vec<&str> = said.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "17017", "1"], "{}", said.stderr);
    for warning in [
        r#"Reading allowed ID mappings: reading subuid mappings for user \"tess\" and subgid mappings for group \"tess\": no subuid ranges found for user \"tess\" in /etc/subuid"#,
        r#"Found no UID ranges set aside for user \"tess\" in /etc/subuid."#,
        r#"Found no GID ranges set aside for user \"tess\" in /etc/subgid."#,
    ] {
        assert!(said.stderr.contains(warning), "{}", said.stderr);
    }
}

#[test]
fn priv_an_owner_that_the_namespace_lacks_is_named() {
    let rich = User::new("rich", SubIds::Given);
    let container = rich.container();
    let archive = format!("oci-archive:{}/image.tar:x", rich.path("home").display());
    rich.cooper(&["commit", "-q", &container, &archive]).ok();
    let poor = User::new("poor", SubIds::None);
    let image = poor.path("image.tar");
    std::fs::copy(rich.path("home/image.tar"), &image).unwrap();
    std::fs::set_permissions(&image, Permissions::from_mode(0o644)).unwrap();
    let archive = format!("oci-archive:{}", image.display());
    let said = poor.cooper(&["pull", "-q", &archive]).fails(125);
    let expected = "potentially insufficient UIDs or GIDs available in user namespace (requested 33:42 for /etc/theirs): \
        Check /etc/subuid and /etc/subgid if configured locally and run \"podman system migrate\": lchown /etc/theirs: invalid argument";
    assert!(said.contains(expected), "{said}");
    let driver = [
        "--storage-driver",
        "vfs",
        "--storage-opt",
        "vfs.ignore_chown_errors=true",
    ];
    let pull = [driver.as_slice(), &["pull", "-q", &archive]].concat();
    poor.cooper(&pull).ok();
    let from = [driver.as_slice(), &["from", "-q", "x"]].concat();
    let container = poor.cooper(&from).ok();
    let variable = format!("M={container}");
    let look = ["unshare", "-m", &variable, "sh", "-c", OWNERS];
    let owners = poor.cooper(&[driver.as_slice(), &look].concat()).ok();
    assert_eq!(owners, "0:0\n0:0");
}

#[test]
fn priv_a_mount_needs_the_namespace_to_be_there() {
    let user = User::new("mount", SubIds::Given);
    let said = user.cooper(&["mount"]).fails(125);
    assert_eq!(
        said.trim_end(),
        "Error: cannot mount using driver  in rootless mode. You need to run it in a `buildah unshare` session"
    );
    let said = user
        .cooper(&["--storage-driver", "overlay", "mount"])
        .fails(125);
    assert!(
        said.contains("using driver overlay in rootless mode"),
        "{said}"
    );
    let container = user.container();
    let variable = format!("M={container}");
    let owners = user
        .cooper(&["unshare", "-m", &variable, "sh", "-c", OWNERS])
        .ok();
    assert_eq!(owners, "0:0\n33:42");
    let said = user
        .cooper(&["unshare", "-m", "A=nothing", "true"])
        .fails(125);
    assert_eq!(
        said.trim_end(),
        "Error: loading information about build container \"nothing\": container not known"
    );
    let script = format!(
        "M=$({0} mount {container}) && {OWNERS}",
        user.path("cooper").display()
    );
    assert_eq!(
        user.cooper(&["unshare", "sh", "-c", &script]).ok(),
        "0:0\n33:42"
    );
    let home = user.path("home/vfs");
    let places = [
        "--root",
        text(&home),
        "--runroot",
        text(&home),
        "--storage-driver",
        "vfs",
    ];
    let with = |words: &[&str]| user.cooper(&[places.as_slice(), words].concat());
    let container = with(&["from", "scratch"]).ok();
    let place = with(&["mount", &container]).ok();
    assert!(Path::new(&place).is_dir(), "{place}");
}

#[test]
fn priv_commands_that_need_no_rights_stay_outside() {
    let user = User::new("outside", SubIds::Given);
    let container = user.container();
    user.cooper(&["commit", "-q", &container, "made"]).ok();
    let outside = |words: &[&str]| {
        let program = user.path("cooper");
        // Without the programs that map ids no namespace can be entered.
        let inner = [["PATH=/nonexistent", text(&program)].as_slice(), words].concat();
        said(&mut user.command("env", &inner))
    };
    assert!(outside(&["images"]).ok().contains("localhost/made"));
    let names = outside(&["containers", "--format", "{{.ContainerName}}"]).ok();
    assert_eq!(names, container);
    outside(&["version"]).ok();
    outside(&["inspect", "--type", "image", "made"]).ok();
    outside(&["tag", "made", "again"]).ok();
    let said = outside(&["login", "--get-login", "registry.example.com"]).fails(125);
    assert!(
        said.contains("not logged into registry.example.com"),
        "{said}"
    );
    let said = outside(&["from", "scratch"]).fails(1);
    assert!(said.contains("finding newgidmap"), "{said}");
}

#[test]
fn priv_root_without_all_rights_makes_images() {
    let check = |missing: &str| {
        let stage = Stage::empty("pod");
        let run = |words: &[&str]| {
            let words = [["--storage-driver", "vfs"].as_slice(), words].concat();
            let inner = stage.cooper_command(&words);
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", missing, "--inh-caps", missing]);
            stage.surround(command.arg(inner.get_program()).args(inner.get_args()));
            said(&mut command)
        };
        let rootless = run(&["info", "--format", "{{.host.rootless}}"]).ok();
        assert_eq!(rootless, "true", "{missing}");
        let container = run(&["from", "scratch"]).ok();
        let file = stage.write("file", "text\n");
        run(&["copy", "--chown", "33:42", &container, text(&file), "/f"]).ok();
        run(&["commit", "-q", &container, "made"]).ok();
        let names = run(&["images", "--format", "{{.Name}}"]).ok();
        assert_eq!(names, "localhost/made", "{missing}");
    };
    check("-sys_admin");
    // No namespace can be made then: what takes no mount still works.
    check("-sys_admin,-setfcap");
}

#[test]
fn peer_without_root_the_tools_share_a_store() {
    let user = User::new("shared", SubIds::Given);
    let container = user.container();
    user.cooper(&["commit", "-q", &container, "ours"]).ok();
    assert!(user.buildah(&["images"]).ok().contains("localhost/ours"));
    let theirs = user.buildah(&["from", "ours"]).ok();
    let script = format!("M=$(buildah mount {theirs}) && {OWNERS} && rm $M/etc/mine");
    assert_eq!(
        user.buildah(&["unshare", "sh", "-c", &script]).ok(),
        "0:0\n33:42"
    );
    user.buildah(&["commit", "-q", &theirs, "theirs"]).ok();
    let again = user.cooper(&["from", "theirs"]).ok();
    let variable = format!("M={again}");
    let look = "ls $M/etc; stat -c %u:%g $M/etc/theirs";
    let found = user
        .cooper(&["unshare", "-m", &variable, "sh", "-c", look])
        .ok();
    assert_eq!(found, "theirs\n33:42");
    // In a namespace that another tool has made.
    let program = user.path("cooper");
    let script = format!("M=$({} mount {again}) && {look}", program.display());
    assert_eq!(
        user.buildah(&["unshare", "sh", "-c", &script]).ok(),
        "theirs\n33:42"
    );
    // Inside a namespace Podman keeps none of its own open, with a process that outlives the test.
    let list = [
        "podman",
        "--runtime",
        "runc",
        "images",
        "--format",
        "{{.Repository}}",
    ];
    let names = user.buildah(&[&["unshare"], &list[..]].concat()).ok();
    assert!(
        names.contains("localhost/ours") && names.contains("localhost/theirs"),
        "{names}"
    );
    for words in [["rm", "-a"].as_slice(), &["rmi", "-a"]] {
        user.cooper(words).ok();
    }
    assert_eq!(user.buildah(&["images", "-q"]).ok(), "");
}

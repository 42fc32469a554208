//! A scratch store for one test, and the programs that work on it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use testkit::scratch::{Scratch, mounts_below};

/// A store of its own with a small base image, removed at the end of the test.
pub struct Stage {
    scratch: Scratch,
    settings: Mutex<Vec<(String, String)>>,
}

/// Which of the stage's two stores a program works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The one with what the test made.
    Here,
    /// Another, empty at first.
    Elsewhere,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The standard output of a program that must succeed, without the last line end.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self.stdout.trim_end().to_owned()
    }

    /// The standard error of a program that must fail with `status`.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

impl Stage {
    /// A store without images. Panics unless we are root: these tests mount.
    pub fn empty(purpose: &str) -> Self {
        assert!(
            rustix::process::getuid().is_root(),
            "this test mounts and needs root"
        );
        let scratch = Scratch::new(purpose).expect("a folder below /var/tmp");
        let stage = Self {
            scratch,
            settings: Mutex::default(),
        };
        stage.write(
            "containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1000:1000\",\"nproc=5000:5000\"]\n",
        );
        stage
    }

    /// A store with `localhost/base`: a busybox.
    pub fn with_base(purpose: &str) -> Self {
        let stage = Self::empty(purpose);
        write_base_tree(&stage.path("base"));
        stage.write(
            "Containerfile.base",
            "FROM scratch\nCOPY . /\nCMD [\"/bin/sh\"]\n",
        );
        let file = stage.path("Containerfile.base");
        let context = stage.path("base");
        stage
            .cooper(&[
                "build",
                "-q",
                "-t",
                "base",
                "-f",
                text(&file),
                text(&context),
            ])
            .ok();
        stage
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a name below the folder"))
            .expect("its folder");
        std::fs::write(&path, content).expect("an input file");
        path
    }

    /// Our program with this store, not started yet.
    pub fn cooper_command(&self, words: &[&str]) -> Command {
        self.cooper_on(Store::Here, words)
    }

    /// Our program with one of the stores, not started yet.
    pub fn cooper_on(&self, store: Store, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        self.on_store(store, &mut command);
        // The host's own is none of a test's business.
        let cache = match store {
            Store::Here => "cache",
            Store::Elsewhere => "cache2",
        };
        command.arg("--blob-info-cache").arg(self.path(cache));
        command.args(words);
        command
    }

    /// Runs our program on the other store.
    pub fn cooper_elsewhere(&self, words: &[&str]) -> Said {
        said(&mut self.cooper_on(Store::Elsewhere, words))
    }

    /// Sets a variable of the environment of every program started from now on.
    pub fn set(&self, name: &str, value: impl Into<String>) {
        self.settings().push((name.to_owned(), value.into()));
    }

    /// Runs our program.
    pub fn cooper(&self, words: &[&str]) -> Said {
        said(&mut self.cooper_command(words))
    }

    /// Builds a Containerfile given as text, in a context folder that may hold files already.
    pub fn build(&self, containerfile: &str, words: &[&str]) -> Said {
        let context = self.path("context");
        std::fs::create_dir_all(&context).expect("a context folder");
        let file = self.write("Containerfile", containerfile);
        let mut all = vec!["build", "-f", text(&file)];
        all.extend(words);
        all.push(text(&context));
        said(&mut self.cooper_command(&all))
    }

    /// Runs Debian's Buildah on this store.
    pub fn buildah(&self, words: &[&str]) -> Said {
        self.buildah_on(Store::Here, words)
    }

    /// Runs Debian's Buildah on one of the stores.
    pub fn buildah_on(&self, store: Store, words: &[&str]) -> Said {
        let mut command = Command::new("buildah");
        self.on_store(store, &mut command);
        said(command.args(words))
    }

    /// Runs Debian's Podman on this store.
    pub fn podman(&self, words: &[&str]) -> Said {
        self.podman_on(Store::Here, words)
    }

    /// Runs Debian's Podman on one of the stores.
    pub fn podman_on(&self, store: Store, words: &[&str]) -> Said {
        let mut command = Command::new("podman");
        self.on_store(store, &mut command);
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        said(command.args(words))
    }

    /// Runs Debian's Skopeo; `IMAGE` in a word is written as `containers-storage:` of this store.
    pub fn skopeo(&self, words: &[&str]) -> Said {
        let store = format!(
            "containers-storage:[overlay@{}+{}]",
            self.path("root").display(),
            self.path("run").display()
        );
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace("STORE:", &store))
            .collect();
        let mut command = Command::new("skopeo");
        self.surround(&mut command);
        command.args(["--insecure-policy"]).args(words);
        said(&mut command)
    }

    /// Every mount below the test's folder except the store's mount on itself.
    pub fn leftover_mounts(&self) -> Vec<PathBuf> {
        let home = self.path("root/overlay");
        mounts_below(self.scratch.path())
            .into_iter()
            .filter(|at| *at != home)
            .collect()
    }

    fn on_store(&self, store: Store, command: &mut Command) {
        let (root, run) = match store {
            Store::Here => ("root", "run"),
            // Podman's run root has at most 50 characters.
            Store::Elsewhere => ("root2", "run2"),
        };
        command.arg("--root").arg(self.path(root));
        command.arg("--runroot").arg(self.path(run));
        command.args(["--storage-driver", "overlay"]);
        self.surround(command);
    }

    /// Sets a program's folder and environment.
    pub fn surround(&self, command: &mut Command) {
        command.current_dir(self.scratch.path());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("BUILDAH_RUNTIME", "runc");
        command.env("TMPDIR", self.scratch.path());
        for (name, value) in self.settings().iter() {
            command.env(name, value);
        }
    }

    fn settings(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the tree of `localhost/base` into the folder `at`: a busybox with a few of its names, and
/// two users.
pub fn write_base_tree(at: &Path) {
    let write = |name: &str, content: &str| {
        std::fs::write(at.join(name), content).expect("an input file");
    };
    for folder in ["bin", "etc"] {
        std::fs::create_dir_all(at.join(folder)).expect("its folder");
    }
    let bin = at.join("bin");
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static is needed");
    for name in [
        "sh", "cat", "echo", "ls", "true", "false", "sleep", "mkdir", "rm", "ln", "chmod", "chown",
        "id", "kill", "env", "mount", "ps", "touch", "stat", "mv", "dd", "seq", "wc", "test",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("a link to busybox");
    }
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    );
    write("etc/group", "root:x:0:\napp:x:1000:\nextra:x:2000:app\n");
}

/// A path as a word of a command line.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// A shell in a mount namespace of its own, with what `apart` names kept apart besides; words that are added are the
/// script's.
pub fn shell_apart(apart: &[&str], script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount").args(apart);
    command.args(["--propagation", "private", "sh", "-c", script, "sh"]);
    command
}

/// Runs a program to its end.
pub fn said(command: &mut Command) -> Said {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    ended(output)
}

/// Runs a program that reads `input`.
pub fn said_to(command: &mut Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    // A program that does not read all of it may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    ended(child.wait_with_output().expect("the program was started"))
}

/// What a program that ended said.
pub fn ended(output: Output) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    Said {
        status: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

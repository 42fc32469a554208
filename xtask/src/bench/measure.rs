//! The bench's world: two stores, a registry, a work folder, and runs that take turns.

use std::cell::{Ref, RefCell};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use testkit::registry::Registry;
use testkit::scratch::unmount_below;

use super::workloads::Workload;
use crate::{repository, shell};

/// Who does the work in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The release build of this checkout.
    Ours,
    /// Debian's Buildah.
    Peer,
    /// The workload's yardstick: what it does at the least, by simple tools.
    Yardstick,
}

/// One finished run.
#[derive(Debug)]
pub struct Run {
    side: Side,
    seconds: f64,
    peak_kib: u64,
}

/// Folders and programs of one bench; removed with everything in it when dropped.
pub struct Bench {
    folder: PathBuf,
    cooper: PathBuf,
    registry: RefCell<Option<Registry>>,
}

impl Bench {
    /// Builds the release binary and makes two stores, each with a small and a Debian base.
    pub fn prepare() -> Result<Self> {
        shell::run(shell::cargo().args(["build", "--release", "--package", "cooper-cli"]))?;
        let folder = PathBuf::from(format!("/var/tmp/cooper-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let bench = Self {
            folder,
            cooper: release_binary()?,
            registry: RefCell::new(None),
        };
        bench.write(
            "containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1000:1000\",\"nproc=5000:5000\"]\n",
        )?;
        bench.small_base()?;
        Ok(bench)
    }

    /// The folder for inputs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes an input file.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a name below the folder"))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// An invocation of `side` on its own store, to be completed with a command and its words.
    pub fn tool(&self, side: Side) -> Command {
        self.tool_on(side, store_of(side))
    }

    /// The same on the store called `store`.
    pub fn tool_on(&self, side: Side, store: &str) -> Command {
        let program = match side {
            Side::Ours => self.cooper.as_path(),
            Side::Peer | Side::Yardstick => Path::new("buildah"),
        };
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        command
            .arg("--root")
            .arg(self.folder.join(store).join("root"));
        command
            .arg("--runroot")
            .arg(self.folder.join(store).join("run"));
        command.args(["--storage-driver", "overlay"]);
        if side == Side::Ours {
            // The machine's own has nothing to learn from a bench.
            let cache = self.folder.join(store).join("cache");
            command.arg("--blob-info-cache").arg(cache);
        }
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.env("BUILDAH_RUNTIME", "runc");
        command
    }

    /// Makes the store called `store` empty.
    pub fn empty_store(&self, store: &str) -> Result<()> {
        let folder = self.folder.join(store);
        unmount_below(&folder);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    /// Puts an empty registry in place of the one of before.
    pub fn fresh_registry(&self) -> Result<()> {
        self.registry.replace(None);
        self.registry.replace(Some(Registry::open()?));
        Ok(())
    }

    /// The registry that the workload made.
    pub fn registry(&self) -> Ref<'_, Registry> {
        Ref::map(self.registry.borrow(), |registry| {
            registry.as_ref().expect("the workload made a registry")
        })
    }

    /// Ends the registry.
    pub fn no_registry(&self) {
        self.registry.replace(None);
    }

    /// Runs the workload in turns and returns every run.
    pub fn alternate(&self, workload: &Workload) -> Result<Vec<Run>> {
        let mut sides = vec![Side::Ours, Side::Peer];
        if workload.yardstick.is_some() {
            sides.push(Side::Yardstick);
        }
        (workload.prepare)(self)?;
        let mut runs = Vec::new();
        let mut peaks = vec![0; sides.len()];
        for round in 0..=workload.rounds {
            for (side, peak_kib) in sides.iter().zip(&mut peaks) {
                if let Some(before) = workload.before {
                    before(self, *side)?;
                }
                // Whoever syncs a file of its own would otherwise wait for what the other wrote.
                shell::run(&mut Command::new("sync"))?;
                let command = (workload.command)(self, *side);
                if round == 0 {
                    // Warms the caches and is not timed: `time` would be part of it.
                    *peak_kib = self.peak_memory(&command)?;
                } else {
                    runs.push(Run {
                        side: *side,
                        seconds: seconds(command)?,
                        peak_kib: *peak_kib,
                    });
                }
                if let Some(after) = workload.after {
                    after(self, *side)?;
                }
            }
        }
        (workload.clean)(self)?;
        Ok(runs)
    }

    /// Runs a command and returns the peak memory of its largest process in KiB.
    fn peak_memory(&self, command: &Command) -> Result<u64> {
        let report = self.folder.join("time");
        let mut timed = Command::new("/usr/bin/time");
        timed.arg("-f").arg("%M").arg("-o").arg(&report);
        timed.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            timed.current_dir(folder);
        }
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                timed.env(key, value);
            }
        }
        seconds(timed).context("a run under /usr/bin/time (Debian's package `time`)")?;
        let report = std::fs::read_to_string(&report)?;
        Ok(report.lines().last().unwrap_or_default().trim().parse()?)
    }

    /// Imports a busybox image as `localhost/base` into both stores.
    fn small_base(&self) -> Result<()> {
        let bin = self.folder.join("base/bin");
        std::fs::create_dir_all(&bin)?;
        std::fs::copy("/bin/busybox", bin.join("busybox"))
            .context("Debian's busybox-static is needed")?;
        for name in ["sh", "echo", "true", "cat", "mkdir"] {
            let _ = std::os::unix::fs::symlink("busybox", bin.join(name));
        }
        let file = self.write(
            "Containerfile.base",
            "FROM scratch\nCOPY . /\nCMD [\"/bin/sh\"]\n",
        )?;
        for side in [Side::Ours, Side::Peer] {
            shell::output(
                self.tool(side)
                    .args(["build", "-t", "base", "-f"])
                    .arg(&file)
                    .arg("base"),
            )?;
        }
        Ok(())
    }
}

/// Runs a command and returns how many seconds it took.
fn seconds(mut command: Command) -> Result<f64> {
    command.stdin(Stdio::null());
    let start = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(seconds)
}

impl Drop for Bench {
    fn drop(&mut self) {
        unmount_below(&self.folder);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The store that a side works on.
pub fn store_of(side: Side) -> &'static str {
    match side {
        Side::Ours => "ours",
        Side::Peer | Side::Yardstick => "peer",
    }
}

fn release_binary() -> Result<PathBuf> {
    let text =
        shell::output(shell::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo names no target directory")?;
    let host = shell::output(Command::new("rustc").current_dir(repository()).arg("-vV"))?;
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names no host")?;
    Ok(Path::new(target).join(host).join("release/cooper"))
}

/// The median wall time of one side, in seconds.
pub fn median(runs: &[Run], side: Side) -> f64 {
    let mut times: Vec<f64> = runs
        .iter()
        .filter(|run| run.side == side)
        .map(|run| run.seconds)
        .collect();
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 {
        times[middle]
    } else {
        (times[middle - 1] + times[middle]) / 2.0
    }
}

/// The largest peak memory of one side, in KiB.
pub fn peak(runs: &[Run], side: Side) -> u64 {
    runs.iter()
        .filter(|run| run.side == side)
        .map(|run| run.peak_kib)
        .max()
        .unwrap_or(0)
}

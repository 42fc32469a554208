//! What is measured: inputs, the command of each side, and the bars.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::measure::{Bench, Side};
use crate::shell;

/// One thing to measure.
pub struct Workload {
    /// Its word on the command line.
    pub name: &'static str,
    /// What it does, for the page.
    pub what: &'static str,
    /// Counted rounds.
    pub rounds: usize,
    /// The largest allowed ratio of our median to Buildah's.
    pub against_peer: f64,
    /// What else is measured.
    pub yardstick: Option<Yardstick>,
    /// Peak memory that we may not exceed, in MiB.
    pub memory: u64,
    /// Makes the inputs.
    pub prepare: fn(&Bench) -> Result<()>,
    /// Puts things back before each run, unmeasured.
    pub before: Option<fn(&Bench, Side) -> Result<()>>,
    /// The measured command.
    pub command: fn(&Bench, Side) -> Command,
    /// Looks after each run whether it did what it should, unmeasured.
    pub after: Option<fn(&Bench, Side) -> Result<()>>,
    /// Removes inputs and images.
    pub clean: fn(&Bench) -> Result<()>,
}

/// Another way to do the same.
#[derive(Clone, Copy)]
pub struct Yardstick {
    /// Its name on the page.
    pub name: &'static str,
    /// The largest allowed ratio of our median to its; `None`: it is there to compare only.
    pub bar: Option<f64>,
}

/// Peak memory of a build, in MiB.
const BUILD_MEMORY: u64 = 64;

const CP: Yardstick = Yardstick {
    name: "`cp -a`",
    bar: Some(1.5),
};

impl Workload {
    /// A build, measured against Buildah alone and with nothing to put back.
    pub const BUILD: Self = Self {
        name: "",
        what: "",
        rounds: 3,
        against_peer: 1.0,
        yardstick: None,
        memory: BUILD_MEMORY,
        prepare: |_| Ok(()),
        before: None,
        command: |bench, side| bench.tool(side),
        after: None,
        clean: |_| Ok(()),
    };
    /// A first COPY, measured against `cp -a` too.
    const COPY: Self = Self {
        against_peer: 1.0 / 2.0,
        yardstick: Some(CP),
        before: Some(forget_copies),
        ..Self::BUILD
    };
}

/// All workloads, lightest first.
pub fn all() -> Vec<Workload> {
    let lists = [steps(), copies(), super::wire::workloads()];
    lists.into_iter().flatten().collect()
}

/// What a command and a step cost, however small.
fn steps() -> Vec<Workload> {
    vec![
        Workload {
            name: "startup",
            what: "`images` on a store with one image",
            rounds: 15,
            against_peer: 1.0 / 4.0,
            command: |bench, side| words(bench.tool(side), &["images"]),
            ..Workload::BUILD
        },
        Workload {
            name: "cached50",
            what: "a build of 50 mixed steps (RUN, COPY, ENV, LABEL, WORKDIR), all cached",
            rounds: 5,
            against_peer: 1.0 / 50.0,
            prepare: prepare_cached50,
            command: |bench, side| build(bench, side, "cached50", &["--layers"]),
            clean: |bench| forget(bench, "cached50"),
            ..Workload::BUILD
        },
        Workload {
            name: "run30",
            what: "30 times `RUN echo N > /file`, with `--no-cache --layers`",
            against_peer: 1.0 / 20.0,
            prepare: |bench| {
                let runs: String = (0..30).map(|n| format!("RUN echo {n} > /file\n")).collect();
                context(bench, "run30", &format!("FROM localhost/base\n{runs}"))
            },
            command: |bench, side| build(bench, side, "run30", &["--no-cache", "--layers"]),
            clean: |bench| forget(bench, "run30"),
            ..Workload::BUILD
        },
        Workload {
            name: "tinyonbig",
            what: "one `RUN` on a Debian base (debootstrap, minbase), with `--no-cache --layers`",
            rounds: 5,
            against_peer: 1.0 / 8.0,
            prepare: prepare_debian,
            command: |bench, side| build(bench, side, "tinyonbig", &["--no-cache", "--layers"]),
            clean: |bench| forget(bench, "tinyonbig"),
            ..Workload::BUILD
        },
    ]
}

/// What much data costs.
fn copies() -> Vec<Workload> {
    vec![
        Workload {
            name: "copybig",
            what: "COPY of 1 GiB in 4 files onto the small base, with `--no-cache --layers`. A layer's name is one \
                   SHA-256 over its bytes in order, so one core's speed at that (about 0.6 s a GiB with SHA \
                   extensions) is a floor that `cp -a`, which leaves the bytes in the page cache, does not have",
            prepare: |bench| big_files(bench, "copybig"),
            command: |bench, side| copy(bench, side, "copybig"),
            clean: |bench| forget(bench, "copybig"),
            ..Workload::COPY
        },
        Workload {
            name: "copydisk",
            what: "the same until the data is on the disk: each side's command, then `sync -f`, measured together",
            prepare: |bench| big_files(bench, "copydisk"),
            command: |bench, side| until_on_disk(bench, &copy(bench, side, "copydisk")),
            clean: |bench| forget(bench, "copydisk"),
            ..Workload::COPY
        },
        Workload {
            name: "copysmall",
            what: "COPY of 50,000 files of 1 KiB in 500 directories, with `--no-cache --layers`",
            prepare: |bench| small_files(bench, "copysmall"),
            command: |bench, side| copy(bench, side, "copysmall"),
            clean: |bench| forget(bench, "copysmall"),
            ..Workload::COPY
        },
        Workload {
            name: "recopysmall",
            what: "the same COPY again, unchanged, with `--layers`",
            against_peer: 1.0 / 20.0,
            prepare: |bench| {
                small_files(bench, "recopysmall")?;
                warm(bench, "recopysmall")
            },
            command: |bench, side| build(bench, side, "recopysmall", &["--layers"]),
            clean: |bench| forget(bench, "recopysmall"),
            ..Workload::BUILD
        },
    ]
}

const COPY: &str = "FROM localhost/base\nCOPY data /data\n";

/// Adds words to a command.
pub fn words(mut command: Command, words: &[&str]) -> Command {
    command.args(words);
    command
}

/// A build of the context `name` as the image `name`.
pub fn build(bench: &Bench, side: Side, name: &str, flags: &[&str]) -> Command {
    let mut command = words(
        bench.tool(side),
        &["build", "--network", "host", "-t", name],
    );
    command.args(flags).arg(name);
    command
}

fn copy(bench: &Bench, side: Side, name: &str) -> Command {
    if side == Side::Yardstick {
        let mut command = Command::new("cp");
        command
            .current_dir(bench.folder())
            .arg("-a")
            .arg(format!("{name}/data"))
            .arg("copied");
        return command;
    }
    build(bench, side, name, &["--no-cache", "--layers"])
}

/// The command, and then the writing of all that its file system holds.
fn until_on_disk(bench: &Bench, command: &Command) -> Command {
    let mut both = Command::new("sh");
    both.args(["-c", "\"$@\" && sync -f .", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap_or(bench.folder()));
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            both.env(key, value);
        }
    }
    both
}

/// Writes the Containerfile of the context `name`.
pub fn context(bench: &Bench, name: &str, containerfile: &str) -> Result<()> {
    bench.write(&format!("{name}/Containerfile"), containerfile)?;
    Ok(())
}

fn warm(bench: &Bench, name: &str) -> Result<()> {
    // Files younger than the clock's grain are never trusted by a careful cache.
    std::thread::sleep(std::time::Duration::from_secs(3));
    for side in [Side::Ours, Side::Peer] {
        shell::output(&mut build(bench, side, name, &["--layers"]))?;
    }
    Ok(())
}

fn prepare_cached50(bench: &Bench) -> Result<()> {
    let mut text = String::from("FROM localhost/base\n");
    for n in 0..10 {
        text.push_str(&format!(
            "ENV E{n}={n}\nLABEL l{n}={n}\nWORKDIR /w{n}\nCOPY f{n} /f{n}\nRUN echo {n} > /r{n}\n"
        ));
        bench.write(&format!("cached50/f{n}"), &format!("{n}\n"))?;
    }
    context(bench, "cached50", &text)?;
    warm(bench, "cached50")
}

/// A Debian tree as a tar; it is kept for the next bench, as making it takes minutes.
pub fn debian_tar(bench: &Bench) -> Result<&'static Path> {
    let kept = Path::new("/var/tmp/cooper-bench-debian.tar");
    if !kept.exists() {
        let tree = bench.folder().join("debian");
        shell::output(
            Command::new("debootstrap")
                .args(["--variant=minbase", "bookworm"])
                .arg(&tree),
        )
        .context("a Debian base is made by debootstrap")?;
        let half = kept.with_extension("half");
        shell::run(
            Command::new("tar")
                .arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(&half)
                .arg("."),
        )?;
        fs::rename(half, kept)?;
        fs::remove_dir_all(&tree)?;
    }
    Ok(kept)
}

/// Makes `localhost/debian` in both stores.
fn prepare_debian(bench: &Bench) -> Result<()> {
    let kept = debian_tar(bench)?;
    context(bench, "debian", "FROM scratch\nADD debian.tar /\n")?;
    fs::copy(kept, bench.folder().join("debian/debian.tar"))?;
    for side in [Side::Ours, Side::Peer] {
        shell::output(&mut build(bench, side, "debian", &[]))?;
    }
    context(bench, "tinyonbig", "FROM localhost/debian\nRUN true\n")
}

fn big_files(bench: &Bench, name: &str) -> Result<()> {
    context(bench, name, COPY)?;
    let data = bench.folder().join(name).join("data");
    fs::create_dir_all(&data)?;
    let mut noise = Noise(1);
    for name in ["a", "b", "c", "d"] {
        noise.fill(&data.join(name), 256 << 20)?;
    }
    settle()
}

fn small_files(bench: &Bench, name: &str) -> Result<()> {
    context(bench, name, COPY)?;
    let mut noise = Noise(2);
    for folder in 0..500 {
        let folder = bench.folder().join(format!("{name}/data/d{folder:03}"));
        fs::create_dir_all(&folder)?;
        for file in 0..100 {
            noise.fill(&folder.join(format!("f{file:02}")), 1024)?;
        }
    }
    settle()
}

/// Writes what is dirty, so that no side pays for the inputs.
pub fn settle() -> Result<()> {
    shell::run(&mut Command::new("sync"))?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    Ok(())
}

/// Removes the side's result of the round before, so that the disk's state is alike.
fn forget_copies(bench: &Bench, side: Side) -> Result<()> {
    match side {
        Side::Yardstick => {
            let copied = bench.folder().join("copied");
            if copied.exists() {
                fs::remove_dir_all(copied)?;
            }
        }
        Side::Ours | Side::Peer => {
            for name in ["copybig", "copydisk", "copysmall"] {
                let _ = bench.tool(side).args(["rmi", "--force", name]).output();
            }
        }
    }
    Ok(())
}

fn forget(bench: &Bench, name: &str) -> Result<()> {
    for side in [Side::Ours, Side::Peer] {
        let _ = bench.tool(side).args(["rmi", "--force", name]).output();
    }
    for folder in [bench.folder().join(name), bench.folder().join("copied")] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Bytes that do not compress, the same in every run (xorshift).
pub struct Noise(pub u64);

impl Noise {
    /// Makes a file of so many bytes.
    pub fn fill(&mut self, path: &Path, length: usize) -> Result<()> {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for _ in 0..length / 8 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            file.write_all(&self.0.to_le_bytes())?;
        }
        file.flush()?;
        Ok(())
    }
}

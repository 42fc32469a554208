//! Our times against Debian's Buildah (and a yardstick where there is one), alternating in one run.
//!
//! What counts is the ratio of medians: both sides work on the same disk, minutes apart at the
//! most, on stores of their own. Peak memory is the largest single process's, as `time` reports
//! it. A bench is not a test; it fails only when a build fails.

mod measure;
mod wire;
mod workloads;

use std::fmt::Write as _;

use anyhow::{Result, bail};

use measure::{Bench, Side};

/// Runs the workloads named by `words`, or all, and writes their rows into BENCHMARKS.md; the others' rows stay.
pub fn run(words: &[String]) -> Result<()> {
    let all = workloads::all();
    for word in words {
        if !all.iter().any(|workload| workload.name == *word) {
            let names: Vec<&str> = all.iter().map(|workload| workload.name).collect();
            bail!(
                "there is no workload `{word}`; choose from {}",
                names.join(", ")
            );
        }
    }
    let bench = Bench::prepare()?;
    let path = crate::repository().join("BENCHMARKS.md");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut rows = Vec::new();
    for workload in &all {
        if words.is_empty() || words.iter().any(|word| word == workload.name) {
            eprintln!("==> {}", workload.name);
            let row = measure_one(&bench, workload)?;
            print!("{row}");
            rows.push(row);
        } else if let Some(row) = row_of(&before, workload.name) {
            rows.push(format!("{row}\n"));
        }
    }
    Ok(std::fs::write(path, page(&rows)?)?)
}

/// Finds a workload's row in a page.
fn row_of<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("| {name} | ");
    page.lines().find(|line| line.starts_with(&start))
}

fn measure_one(bench: &Bench, workload: &workloads::Workload) -> Result<String> {
    let runs = bench.alternate(workload)?;
    let ours = measure::median(&runs, Side::Ours);
    let peer = measure::median(&runs, Side::Peer);
    let peak = measure::peak(&runs, Side::Ours);
    let mut verdicts = vec![verdict(ours / peer, workload.against_peer)];
    let mut other = String::from("–");
    if let Some(yardstick) = workload.yardstick {
        let seconds = measure::median(&runs, Side::Yardstick);
        other = format!("{seconds:.3} s ({})", yardstick.name);
        verdicts.push(match yardstick.bar {
            Some(bar) => verdict(ours / seconds, bar),
            None => in_words(ours / seconds),
        });
    }
    if peak > workload.memory * 1024 {
        verdicts.push(format!("memory over {} MiB", workload.memory));
    }
    Ok(format!(
        "| {} | {ours:.3} s | {peer:.3} s | {other} | {:.1} MiB | {} |\n",
        workload.name,
        mebibytes(peak),
        verdicts.join("; ")
    ))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

fn in_words(ratio: f64) -> String {
    if ratio < 0.67 {
        format!("1/{:.1}", 1.0 / ratio)
    } else {
        format!("{ratio:.2}")
    }
}

fn verdict(ratio: f64, limit: f64) -> String {
    let shown = in_words(ratio);
    let wanted = if limit < 1.0 {
        format!("1/{:.0}", 1.0 / limit)
    } else {
        format!("{limit:.1}")
    };
    let met = if ratio <= limit { "met" } else { "MISSED" };
    format!("{shown} (bar {wanted}: {met})")
}

fn page(rows: &[String]) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let buildah = crate::shell::output(std::process::Command::new("buildah").arg("--version"))?;
    let mut text = format!(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench`: each workload runs on Cooper, on Debian's Buildah and, where there is one,\n\
         as its yardstick (the least that simple tools need for it, or another tool) in turn, on stores of their\n\
         own on one disk, with Debian's `docker-registry` on the loopback. Times are medians; what counts is their\n\
         ratio, ours to Buildah's and then to the yardstick's. Dirty pages are written before each run. Peak memory\n\
         is the largest process's, in a first run that is not timed. A run of some of the workloads leaves the other rows as they were.\n\n\
         Machine: {cores} cores, Linux {}; load averages at the end: {}. Against {}.\n\n\
         | workload | Cooper | Buildah | yardstick | peak memory | ratio |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        kernel.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        buildah.trim()
    );
    for row in rows {
        text.push_str(row);
    }
    text.push_str("\n## Workloads\n\n");
    for workload in workloads::all() {
        writeln!(text, "- `{}`: {}", workload.name, workload.what)?;
    }
    Ok(text)
}

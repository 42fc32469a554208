//! Everything that must hold before a change lands, in the order in which it fails fastest.

use anyhow::{Result, bail};

use crate::{layering, shell, tidy};

/// The tiers above the unit tests: each is a prefix of test names.
const TIERS: [&str; 3] = ["priv", "peer", "net"];

/// Runs the checks, then the unit tests, then each tier up to the one that `words` names.
pub fn run(words: &[String]) -> Result<()> {
    let last = match words.first().map(String::as_str) {
        None | Some("all") => TIERS.len(),
        Some("unit") => 0,
        Some(name) => match TIERS.iter().position(|tier| *tier == name) {
            Some(at) => at + 1,
            None => bail!("there is no tier `{name}`; choose unit, priv, peer, net or all"),
        },
    };
    layering::check()?;
    tidy::check()?;
    step("formatting", &["fmt", "--all", "--check"])?;
    step(
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    let mut unit = vec!["test", "--workspace", "--quiet", "--"];
    let skipped: Vec<String> = TIERS.iter().map(|tier| format!("{tier}_")).collect();
    unit.extend(
        skipped
            .iter()
            .flat_map(|prefix| ["--skip", prefix.as_str()]),
    );
    step("unit tests", &unit)?;
    for tier in &TIERS[..last] {
        // One thread: these tests share the machine's mount table and the disk.
        let filter = format!("{tier}_");
        step(
            tier,
            &["test", "--workspace", &filter, "--", "--test-threads=1"],
        )?;
    }
    Ok(())
}

fn step(name: &str, words: &[&str]) -> Result<()> {
    println!("==> {name}");
    shell::run(shell::cargo().args(words))
}

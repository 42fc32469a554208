//! `compare-images [--except PATH]… OURS THEIRS [OURS-AGAIN [THEIRS-AGAIN]]`: lists how two images
//! differ, each as an OCI layout. `--except` names a path that one builder is known to leave.
//!
//! With second runs of the two builders, what differs between two runs of one builder is left out:
//! logs, caches, random names and times that no two runs have alike. Exits with 1 when something is
//! left.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal"
)]

use std::path::Path;
use std::process::ExitCode;

use testkit::picture::{Picture, without_noise};

use cooper_testkit as testkit;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = Vec::new();
    let mut excepted = Vec::new();
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        if word == "--except" {
            excepted.extend(given.next());
        } else {
            words.push(word);
        }
    }
    let [ours, theirs, again @ ..] = words.as_slice() else {
        eprintln!(
            "usage: compare-images [--except PATH]… OURS THEIRS [OURS-AGAIN [THEIRS-AGAIN]], each an OCI layout"
        );
        return Ok(ExitCode::from(2));
    };
    let read = |layout: &String| Picture::of_layout(Path::new(layout));
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    let mut found = ours.differences(&theirs);
    let all = found.len();
    for (first, second) in [&ours, &theirs].into_iter().zip(again) {
        found = without_noise(found, &first.differences(&read(second)?));
    }
    found.retain(|difference| !excepted.contains(&difference.place));
    for difference in &found {
        println!("{difference}");
    }
    println!(
        "{} paths, {all} differences, {} left",
        ours.tree.len(),
        found.len()
    );
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

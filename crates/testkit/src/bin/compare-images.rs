//! `compare-images OURS THEIRS [OURS-AGAIN]`: lists how two images differ, both as OCI layouts.
//!
//! With a third layout, a second run of the first one's builder, what differs between those two
//! runs is left out: logs, caches and times that no two runs have alike. Exits with 1 when
//! something is left.

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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (ours, theirs, again) = match words.as_slice() {
        [ours, theirs] => (ours, theirs, None),
        [ours, theirs, again] => (ours, theirs, Some(again)),
        _ => {
            eprintln!("usage: compare-images OURS THEIRS [OURS-AGAIN], each an OCI layout");
            return Ok(ExitCode::from(2));
        }
    };
    let picture = Picture::of_layout(Path::new(ours))?;
    let mut found = picture.differences(&Picture::of_layout(Path::new(theirs))?);
    let all = found.len();
    if let Some(again) = again {
        found = without_noise(
            found,
            &picture.differences(&Picture::of_layout(Path::new(again))?),
        );
    }
    for difference in &found {
        println!("{difference}");
    }
    println!(
        "{} paths, {all} differences, {} left",
        picture.tree.len(),
        found.len()
    );
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

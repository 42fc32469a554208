//! Checks and chores of this repository, run as `cargo xtask NAME`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal"
)]

mod bench;
mod ci;
mod layering;
mod shell;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask NAME

  ci [unit|priv|peer|net|all]   formatting, lints, layering, tidy, then the tests up to that tier (all)
  layering                      the arrows between crates against the table in ARCHITECTURE.md
  tidy                          the house rules that a machine can see
  bench [WORKLOAD…]             our times against Debian's Buildah, in the same run
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match words.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match name {
        "ci" => ci::run(rest),
        "layering" => layering::check(),
        "tidy" => tidy::check(),
        "bench" => bench::run(rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies below the root")
        .to_owned()
}

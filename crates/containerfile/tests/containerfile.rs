//! The language as tables: text in, tree or message out.

#[path = "suite/errors.rs"]
mod errors;
#[path = "suite/expansion.rs"]
mod expansion;
#[path = "suite/heredocs.rs"]
mod heredocs;
#[path = "suite/ignore.rs"]
mod ignore;
#[path = "suite/kolla.rs"]
mod kolla;
#[path = "suite/lexing.rs"]
mod lexing;
#[path = "suite/properties.rs"]
mod properties;
#[path = "suite/steps.rs"]
mod steps;

use cooper_containerfile::{Parsed, Severity, Step, parse_str};

/// Returns the steps of the only stage of a text without errors.
fn steps(text: &str) -> Vec<Step> {
    let mut parsed = good(text);
    assert_eq!(parsed.containerfile.stages.len(), 1, "{text}");
    parsed.containerfile.stages.remove(0).steps
}

/// Returns the step that follows `FROM scratch`.
fn step(line: &str) -> Step {
    let mut steps = steps(&format!("FROM scratch\n{line}\n"));
    assert_eq!(steps.len(), 1, "{line}");
    steps.remove(0)
}

fn good(text: &str) -> Parsed {
    let parsed = parse_str("Containerfile", text);
    assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
    parsed
}

fn errors(text: &str) -> Vec<String> {
    let parsed = parse_str("NAME", text);
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error);
    errors.map(|found| found.message.clone()).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let parsed = parse_str("NAME", text);
    let found = parsed
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Warning);
    found.map(|found| found.message.clone()).collect()
}

//! House rules that a machine can see. Each finding names the file, the line and the rule.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{repository, shell};

/// Above this, before its tests, a file probably holds two subjects.
const LINES: usize = 800;

/// Words that mark something unfinished. Put together here so that this file does not trip.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("#[ig", "nore]"),
];

/// Fails with every finding.
pub fn check() -> Result<()> {
    let listing = shell::output(Command::new("git").current_dir(repository()).args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let mut findings = Vec::new();
    for name in listing.lines() {
        let path = repository().join(name);
        if !path.exists() {
            continue; // deleted, not yet committed
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        look_at(Path::new(name), &text, &mut findings);
    }
    if !findings.is_empty() {
        bail!("{} findings\n{}", findings.len(), findings.join("\n"));
    }
    Ok(())
}

fn look_at(name: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = name.display();
    let is_test = name.components().any(|part| part.as_os_str() == "tests");
    if !text.starts_with("//!") && !name.starts_with("fuzz") {
        findings.push(format!(
            "{shown}:1: a module opens with what it is for (`//!`)"
        ));
    }
    let body = text
        .find("#[cfg(test)]\nmod ")
        .map_or(text, |at| &text[..at]);
    if !is_test && body.lines().count() > LINES {
        findings.push(format!(
            "{shown}: {} lines before its tests, over {LINES}",
            body.lines().count()
        ));
    }
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        for word in UNFINISHED {
            if line.contains(word) {
                findings.push(format!("{shown}:{at}: `{word}` is left in"));
            }
        }
        let code = line.split("//").next().unwrap_or_default();
        let is_unsafe = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        if is_unsafe.iter().any(|word| code.contains(word))
            && !name.starts_with("crates/sys")
            && !name.starts_with("xtask")
        {
            findings.push(format!("{shown}:{at}: `unsafe` outside crates/sys"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        let mut findings = Vec::new();
        look_at(Path::new(name), text, &mut findings);
        let rules: Vec<&str> = findings.iter().map(String::as_str).collect();
        assert_eq!(rules.len(), expected.len(), "{rules:?}");
        for (found, wanted) in rules.iter().zip(expected) {
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn each_rule_finds_its_fault() {
        check("crates/x/src/lib.rs", "//! Head.\nfn f() {}\n", &[]);
        check("crates/x/src/lib.rs", "fn f() {}\n", &["opens with"]);
        check(
            "crates/x/src/lib.rs",
            concat!("//! Head.\nfn f() { to", "do!() }\n"),
            &["is left in"],
        );
        check(
            "crates/x/src/lib.rs",
            concat!("//! Head.\nuns", "afe fn f() {}\n"),
            &["outside crates/sys"],
        );
        check(
            "crates/sys/src/lib.rs",
            concat!("//! Head.\nuns", "afe fn f() {}\n"),
            &[],
        );
        let long = format!("//! Head.\n{}", "\n".repeat(LINES));
        check("crates/x/src/lib.rs", &long, &["lines before its tests"]);
        check("crates/x/tests/x.rs", &long, &[]);
    }
}

//! The arrows between our crates: which may use which. They point down only.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::shell;

/// Every allowed arrow, as drawn in ARCHITECTURE.md. Development dependencies are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("model", &[]),
    ("containerfile", &[]),
    ("config", &["model"]),
    ("archive", &["model", "sys"]),
    ("store", &["archive", "model", "sys"]),
    ("runtime", &["model", "sys"]),
    ("registry", &["model"]),
    ("trust", &["model"]),
    (
        "transfer",
        &[
            "archive", "config", "model", "registry", "store", "sys", "trust",
        ],
    ),
    (
        "builder",
        &[
            "archive",
            "containerfile",
            "model",
            "runtime",
            "store",
            "sys",
            "transfer",
        ],
    ),
    (
        "solve",
        &[
            "archive",
            "builder",
            "containerfile",
            "model",
            "runtime",
            "store",
            "sys",
            "transfer",
        ],
    ),
    (
        "cli",
        &[
            "archive",
            "builder",
            "config",
            "containerfile",
            "model",
            "registry",
            "runtime",
            "solve",
            "store",
            "sys",
            "transfer",
            "trust",
        ],
    ),
];

/// Tools that do not ship may use anything.
const TOOLS: &[&str] = &["testkit", "xtask"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Fails with every arrow that the table lacks.
pub fn check() -> Result<()> {
    let text =
        shell::output(shell::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read cargo's metadata")?;
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let name = bare(&package.name);
        if TOOLS.contains(&name) {
            continue;
        }
        let Some(may_use) = allowed.get(name) else {
            faults.push(format!("the crate `{name}` has no row in the table"));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some())
        {
            let used = bare(&dependency.name);
            if dependency.kind.is_none() && !may_use.contains(&used) {
                faults.push(format!("{name} → {used} is no allowed arrow"));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

fn bare(package: &str) -> &str {
    package.strip_prefix("cooper-").unwrap_or(package)
}

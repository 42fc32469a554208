//! A tree of files that people build: the 188 images of Kolla.

use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_containerfile::{Input, parse};

/// How many Containerfiles the tree must have at least for the test to mean something.
const LEAST: usize = 150;

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn dockerfiles(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).expect("the folder was just made") {
        let entry = entry.expect("the folder is readable");
        if entry.file_type().expect("the entry is there").is_dir() {
            dockerfiles(&entry.path(), found);
        } else if entry.file_name() == "Dockerfile" {
            found.push(entry.path());
        }
    }
}

#[test]
fn net_kolla_parses_without_a_finding() {
    let scratch = Scratch(PathBuf::from(format!(
        "/var/tmp/cooper-dev-containerfile/kolla-{}",
        std::process::id()
    )));
    let at = &scratch.0;
    std::fs::create_dir_all(at).unwrap();
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(at.join("venv")));
    run(Command::new(at.join("venv/bin/pip")).args(["-q", "install", "kolla", "docker"]));
    run(Command::new(at.join("venv/bin/kolla-build"))
        .args(["--base", "debian", "--template-only", "--work-dir"])
        .arg(at.join("work")));
    let mut files = Vec::new();
    dockerfiles(&at.join("work"), &mut files);
    assert!(files.len() >= LEAST, "only {} files", files.len());
    for file in files {
        let text = std::fs::read(&file).unwrap();
        let name = file.display().to_string();
        let parsed = parse(&[Input {
            name: &name,
            text: &text,
        }]);
        let shown: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|found| found.render(&parsed.sources))
            .collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
        assert_eq!(parsed.containerfile.stages.len(), 1, "{name}");
    }
}

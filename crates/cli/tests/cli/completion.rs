//! What shells are offered: by the script for Bash, and by the hidden command of Go's tools.

use std::path::Path;
use std::process::Command;

use testkit::scratch::Scratch;

use crate::stage::{Stage, said, text};

/// The words that Bash is offered for the last one of a command line, sorted.
fn in_bash(folder: &Path, words: &[&str]) -> Vec<String> {
    // The script looks the program up by its name.
    let program = folder.join("cooper");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cooper"), &program).unwrap();
    }
    let script = r#"
        PATH="$1:$PATH"; cd "$1"; shift
        source <(cooper completion bash)
        COMP_WORDS=(cooper "$@"); COMP_CWORD=$#; COMP_TYPE=9
        _clap_complete_cooper cooper "${COMP_WORDS[$#]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash", text(folder)]);
    let offered = said(command.args(words)).ok();
    let mut offered: Vec<String> = offered.lines().map(str::to_owned).collect();
    offered.sort();
    offered
}

#[test]
fn bash_completes_commands_flags_and_paths() {
    let scratch = Scratch::new("completion").unwrap();
    std::fs::create_dir(scratch.join("folder")).unwrap();
    std::fs::write(scratch.join("file"), "").unwrap();
    let check = |words: &[&str], expected: &[&str]| {
        assert_eq!(in_bash(scratch.path(), words), expected, "{words:?}");
    };
    check(&["vers"], &["version"]);
    check(&["source", ""], &["add", "create", "pull", "push"]);
    check(&["images", "--no-t"], &["--no-trunc"]);
    check(&["--progress", "p"], &["plain"]);
    check(&["completion", "z"], &["zsh"]);
    check(&["build", "--file", "f"], &["file", "folder/"]);
    check(&["unknown", "x", "y"], &[]);
}

#[test]
fn scripts_are_for_four_shells() {
    let cooper = |words: &[&str]| {
        said(
            Command::new(env!("CARGO_BIN_EXE_cooper"))
                .arg("completion")
                .args(words),
        )
    };
    for (shell, part) in [
        ("bash", "complete -o nospace"),
        ("zsh", "#compdef cooper"),
        ("fish", "complete --keep-order"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = cooper(&[shell]).ok();
        assert!(script.contains(part), "{script}");
        assert!(script.contains("COOPER_COMPLETE"), "{script}");
    }
    let stderr = cooper(&["tcsh"]).fails(125);
    assert_eq!(
        stderr,
        "Error: invalid argument \"tcsh\" for \"cooper completion\"\n"
    );
    assert!(cooper(&[]).ok().contains("cooper completion [flags]"));
}

#[test]
fn priv_names_of_the_store_are_completed() {
    let stage = Stage::with_base("completion");
    stage.cooper(&["from", "--name", "work", "base"]).ok();
    stage.write("work.txt", "");
    let at = ["root", "run"].map(|name| stage.path(name));
    let store = [
        "--root",
        text(&at[0]),
        "--runroot",
        text(&at[1]),
        "--storage-driver",
        "overlay",
    ];
    let check = |words: &[&str], expected: &[&str]| {
        let all = [&store[..], words].concat();
        let folder = stage.path("");
        assert_eq!(in_bash(&folder, &all), expected, "{words:?}");
    };
    check(&["rm", ""], &["work"]);
    check(&["rm", "--all", "w"], &["work"]);
    check(&["copy", "w"], &["work"]);
    check(&["copy", "work", "w"], &["work.txt"]);
    check(&["commit", "work", "b"], &["base:latest"]);
    check(&["rmi", "localhost/"], &["localhost/base:latest"]);
    check(&["push", "--creds", "u:p", "b"], &["base:latest"]);
    check(&["build", "--from", "b"], &["base:latest"]);
    check(&["inspect", ""], &["base:latest", "work"]);

    let go = |command: &str, words: &[&str]| {
        let all = [&[command], &store[..], words].concat();
        said(Command::new(env!("CARGO_BIN_EXE_cooper")).args(all)).ok()
    };
    let id = stage.cooper(&["images", "-q", "base"]).ok();
    assert_eq!(
        go("__complete", &["rmi", ""]),
        format!("base:latest\t{}\n:4", &id[..12])
    );
    assert_eq!(go("__completeNoDesc", &["rmi", "b"]), "base:latest\n:4");
    assert_eq!(go("__complete", &["copy", "work", ""]), ":0");
}

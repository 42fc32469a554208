//! The forms in which progress is told.

use crate::stage::Stage;

fn events(text: &str) -> Vec<serde_json::Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

fn words(text: &str) -> Vec<String> {
    let word = |event: serde_json::Value| event["event"].as_str().unwrap().to_owned();
    let mut words: Vec<String> = events(text).into_iter().map(word).collect();
    words.retain(|word| word != "detail");
    words.dedup();
    words
}

#[test]
fn priv_a_copy_is_told_as_json() {
    let stage = Stage::with_base("json-copy");
    let place = format!("dir:{}", stage.path("out").display());
    let said = stage.cooper(&["push", "--progress=json", "base", &place]);
    assert_eq!(
        words(&said.stderr),
        [
            "getting_signatures",
            "blobs_planned",
            "blob_started",
            "blob_done",
            "copying_config",
            "writing_manifest"
        ]
    );
    let told = events(&said.stderr);
    let started = told
        .iter()
        .find(|event| event["event"] == "blob_started")
        .unwrap();
    assert!(started["size"].as_u64().unwrap() > 0, "{started}");
    assert!(
        started["time"].as_str().unwrap().ends_with('Z'),
        "{started}"
    );
    assert_eq!(said.ok(), "");
    // Pulled again under another name, nothing but the ID is on standard output.
    let said = stage.cooper(&["pull", "--progress=rawjson", &place]);
    assert!(words(&said.stderr).contains(&"blob_done".to_owned()));
    assert_eq!(said.ok().lines().count(), 1);
}

#[test]
fn priv_a_build_is_told_as_json() {
    let stage = Stage::with_base("json-build");
    let file = "FROM base\nRUN echo hello; echo there >&2\n";
    let said = stage.build(file, &["--progress=json", "-t", "x"]);
    let told = events(&said.stderr);
    let texts = |stream: &str| -> String {
        let output = told.iter().filter(|event| event["event"] == "output");
        let of = output.filter(|event| event["stream"] == stream);
        of.map(|event| event["text"].as_str().unwrap()).collect()
    };
    assert_eq!(texts("stdout"), "hello\n");
    assert_eq!(texts("stderr"), "there\n");
    let words = words(&said.stderr);
    for word in ["step_started", "step_done", "committing", "image_done"] {
        assert!(words.iter().any(|told| told == word), "{word}: {words:?}");
    }
    assert_eq!(said.ok().lines().count(), 1);

    let said = stage.build("FROM base\nRUN exit 7\n", &["--progress=json"]);
    let last = events(&said.stderr).pop().unwrap();
    assert_eq!(last["event"], "failed");
    assert_eq!(last["status"], 7);
    assert!(
        last["text"].as_str().unwrap().contains("RUN exit 7"),
        "{last}"
    );
}

#[test]
fn priv_other_forms() {
    let stage = Stage::with_base("forms");
    let place = format!("dir:{}", stage.path("out").display());
    let said = stage.cooper(&["push", "--progress=quiet", "base", &place]);
    assert_eq!((said.stderr.as_str(), said.stdout.as_str()), ("", ""));
    said.ok();
    let said = stage.cooper(&["push", "--progress=tty", "base", &place]);
    let error = said.fails(125);
    assert!(
        error.contains("--progress=tty: standard error is not a terminal"),
        "{error}"
    );
    for form in ["auto", "plain"] {
        let said = stage.cooper(&["push", "--progress", form, "base", &place]);
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0], "Getting image source signatures");
        assert!(lines[1].starts_with("Copying blob sha256:"), "{lines:?}");
        assert!(lines[2].starts_with("Copying config sha256:"), "{lines:?}");
        assert_eq!(lines[3], "Writing manifest to image destination");
    }
}

#[test]
fn priv_a_terminal_gets_bars() {
    let stage = Stage::with_base("bars");
    let place = format!("dir:{}", stage.path("out").display());
    let push = stage.cooper_command(&["push", "base", &place]);
    let mut line = format!("'{}'", push.get_program().to_str().unwrap());
    for word in push.get_args() {
        line.push_str(&format!(" '{}'", word.to_str().unwrap()));
    }
    // `script` gives the program a terminal.
    let mut script = std::process::Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    for (name, value) in push.get_envs() {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Copied 1 blob ("), "{text}");
    assert!(
        text.contains("Writing manifest to image destination"),
        "{text}"
    );
    assert!(!text.contains("Copying blob sha256:"), "{text}");
}

//! Flags of `build`: what goes in, what comes out, and what is said of them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use crate::stage::{Stage, said, said_to, text};

const RUN: &str = "FROM base\nRUN echo made > /made && chmod 640 /made\n";

#[test]
fn priv_files_of_an_image_go_to_folders_and_archives() {
    let stage = Stage::with_base("outputs");
    let (folder, archive) = (stage.path("out/deep"), stage.path("out.tar"));
    let outputs = [
        "-t",
        "x",
        "-o",
        text(&folder),
        "--output",
        &format!("type=tar,dest={}", archive.display()),
    ];
    let told = stage.build(RUN, &outputs).ok();
    assert!(
        told.contains("Successfully tagged localhost/x:latest"),
        "{told}"
    );
    let made = |folder: &std::path::Path| std::fs::read_to_string(folder.join("made")).unwrap();
    assert_eq!(made(&folder), "made\n");
    let list = |archive: &[u8]| {
        let mut command = Command::new("tar");
        let listed = said_to_bytes(command.args(["-tvf", "-"]), archive);
        let line = listed.lines().find(|line| line.ends_with(" made"));
        line.unwrap_or_default()
            .get(..10)
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(list(&std::fs::read(archive).unwrap()), "-rw-r-----");
    let context = stage.path("context");
    let file = stage.path("Containerfile");
    let words = ["build", "-o", "-", "-f", text(&file), text(&context)];
    let output = stage.cooper_command(&words).output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        list(&output.stdout),
        "-rw-r-----",
        "nothing but the archive"
    );
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
}

/// Runs a program that reads bytes.
fn said_to_bytes(command: &mut Command, input: &[u8]) -> String {
    let piped = command.stdin(std::process::Stdio::piped());
    let mut child = piped.stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn priv_reports_go_to_files() {
    let stage = Stage::with_base("reports");
    let (log, metadata) = (stage.path("log"), stage.path("metadata"));
    let words = ["--logfile", text(&log), "--metadata-file", text(&metadata)];
    assert_eq!(stage.build(RUN, &words).ok(), "");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.starts_with("STEP 1/2: FROM base\n"), "{log}");
    let id = log.lines().last().unwrap();
    let metadata = std::fs::read_to_string(metadata).unwrap();
    for member in [
        format!("\"containerimage.config.digest\":\"sha256:{id}\""),
        "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"".to_owned(),
    ] {
        assert!(metadata.contains(&member), "{metadata}");
    }
}

#[test]
fn priv_flags_shape_the_image() {
    let stage = Stage::with_base("shaping");
    let parent = "FROM base\nLABEL old=1\n";
    let named = ["-t", "parent", "--annotation", "kept=1"];
    stage.build(parent, &named).ok();
    let show = |template: &str| {
        let words = ["inspect", "--type", "image", "--format", template, "x"];
        stage.cooper(&words).ok()
    };
    let check = |flags: &[&str], template: &str, expected: &str| {
        let words = [&["-t", "x", "-q"], flags].concat();
        stage.build("FROM parent\nENV A=1\n", &words).ok();
        assert_eq!(show(template), expected, "{flags:?}");
    };
    let labels = "{{index .OCIv1.Config.Labels \"old\"}}";
    check(&[], labels, "1");
    check(&["--inherit-labels=false"], labels, "");
    let annotations = "{{index .ImageAnnotations \"kept\"}}";
    check(&[], annotations, "1");
    check(&["--inherit-annotations=false"], annotations, "");
    check(&["--unsetannotation", "kept"], annotations, "");
    check(&["--annotation", "kept"], annotations, "");
    let file = stage.write("Containerfile", "FROM base\nRUN cat\n");
    let context = stage.path("context");
    let words = [
        "build",
        "--no-cache",
        "--stdin",
        "-f",
        text(&file),
        text(&context),
    ];
    let told = said_to(&mut stage.cooper_command(&words), "read by a step\n").ok();
    assert!(told.contains("\nread by a step\n"), "{told}");
    let said = stage.build(
        "FROM base AS unused\nRUN echo not needed\n\nFROM base\n",
        &["--skip-unused-stages=false"],
    );
    assert!(said.ok().contains("not needed\n"));
}

#[test]
fn priv_from_is_shown_with_its_words_expanded() {
    let stage = Stage::with_base("from-words");
    let file = "ARG X=base\nFROM   ${X}   as one\nFROM --platform=$BUILDPLATFORM one\nENV A=1\n";
    let told = stage.build(file, &["--jobs", "1"]).ok();
    assert!(
        told.starts_with("[1/2] STEP 1/1: FROM base AS one\n"),
        "{told}"
    );
}

#[test]
fn priv_names_are_told_the_newest_first() {
    let stage = Stage::with_base("name-order");
    let tagged = |names: &[&str]| -> Vec<String> {
        let flags: Vec<&str> = names.iter().flat_map(|name| ["-t", *name]).collect();
        let told = stage.build("FROM base\n", &flags).ok();
        let names = told.lines().filter_map(|line| {
            line.strip_prefix("Successfully tagged localhost/")?
                .strip_suffix(":latest")
        });
        names.map(str::to_owned).collect()
    };
    // As Buildah 1.39 has it; 1.28 adds further names in the order of the flags.
    assert_eq!(
        tagged(&["one", "two", "three"]),
        ["three", "two", "one", "base"]
    );
    assert_eq!(
        tagged(&["four", "two"]),
        ["two", "four", "three", "one", "base"]
    );
}

#[test]
fn priv_processed_files_and_their_includes() {
    let stage = Stage::with_base("cpp");
    stage.write("context/common", "RUN echo SAID\n");
    let file = stage.write("Containerfile.in", "FROM base\n#include \"common\"\n");
    let context = stage.path("context");
    let build = |flags: &[&str]| {
        let ends = ["-f", text(&file), text(&context)];
        stage.cooper(&[&["build"], flags, &ends].concat())
    };
    let told = build(&["--cpp-flag=-DSAID=hello"]).ok();
    assert!(told.contains("\nhello\n"), "{told}");
    std::fs::remove_file(stage.path("context/common")).unwrap();
    let said = build(&[]).fails(125);
    assert!(said.contains("preprocessing"), "{said}");
}

#[test]
fn priv_contexts_come_from_elsewhere() {
    let stage = Stage::with_base("elsewhere");
    let file = "FROM base\nCOPY f /f\nRUN cat /f\n";
    stage.write("tree/sub/f", "hello\n");
    stage.write("tree/sub/Containerfile", file);
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
        command.arg("-C").arg(stage.path("tree")).args(identity);
        said(command.args(words)).ok();
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "x"]);
    git(&["tag", "v1"]);
    git(&["clone", "-q", "--bare", ".", "../tree.git"]);
    let repository = format!("file://{}", stage.path("tree.git").display());
    let mut packing = Command::new("tar");
    let folder = stage.path("tree/sub");
    packing.args(["-czf", text(&stage.path("c.tgz"))]);
    said(packing.args(["-C", text(&folder), "."])).ok();
    let archive = std::fs::read(stage.path("c.tgz")).unwrap();
    let web = serve(vec![
        ("/c.tgz", archive),
        ("/File", file.as_bytes().to_vec()),
    ]);
    let check = |words: &[&str], expected: &str| {
        let said = stage.cooper(&[&["build", "--no-cache"], words].concat());
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains(expected), "{words:?}: {all}");
    };
    check(&[&format!("{repository}#v1:sub")], "\nhello\n");
    check(&[&format!("{repository}#:sub")], "\nhello\n");
    check(&[&format!("{repository}#nope:sub")], "Error: cloning");
    check(&[&format!("{repository}#v1:../..")], "of the repository");
    check(&[&format!("{web}/c.tgz")], "\nhello\n");
    check(&["-f", &format!("{web}/File"), text(&folder)], "\nhello\n");
    check(&[&format!("{web}/missing")], "invalid response status 404");
    let mut reading = stage.cooper_command(&["build", "-"]);
    let said = said_to(&mut reading, "FROM base\nRUN echo alone\n").ok();
    assert!(said.contains("\nalone\n"), "{said}");
    let left = std::fs::read_dir(stage.path("")).unwrap().flatten();
    let mut left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!left.any(|name| name.starts_with("cooper-context-")));
}

/// A web server on a port of its own for as long as the test runs.
pub fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body) = match found {
                Some((_, body)) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &b""[..]),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body);
        }
    });
    address
}

#[test]
fn priv_writable_images_in_run_are_thrown_away() {
    let stage = Stage::with_base("run-mounts");
    let container = stage.cooper(&["from", "base"]).ok();
    let check = |mount: &str, script: &str, status: i32, expected: &str| {
        let words = [
            "run", "--mount", mount, &container, "--", "sh", "-c", script,
        ];
        let said = stage.cooper(&words);
        assert_eq!(said.status, status, "{mount}: {said:?}");
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains(expected), "{mount}: {all}");
    };
    let image = "type=bind,from=base,target=/m";
    check(
        &format!("{image},rw"),
        "echo x > /m/new && cat /m/new",
        0,
        "x\n",
    );
    check(image, "ls /m; echo x > /m/new", 1, "Read-only");
    check(&format!("{image},rw"), "test ! -e /m/new", 0, "");
    check("type=secret,id=s", "echo fine", 0, "fine");
    check(
        "type=secret,id=s,required=true",
        "true",
        125,
        "secret required but no secret with id \"s\" found",
    );
    check(
        "type=ssh,required=true",
        "true",
        125,
        "ssh required but no ssh",
    );
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn priv_agents_are_offered_as_sockets_and_leave_nothing() {
    let stage = Stage::with_base("agents");
    let agent = stage.path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let file = "FROM base\n\
        RUN --mount=type=ssh,mode=0640,uid=1000 test -S $SSH_AUTH_SOCK && stat -c '%n %a %u' $SSH_AUTH_SOCK\n\
        RUN --mount=type=ssh,id=other test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit\n";
    let given = format!("default={}", agent.display());
    let told = stage.build(file, &["--ssh", &given]).ok();
    assert!(
        told.contains("/run/buildkit/ssh_agent.0 640 1000\n"),
        "{told}"
    );
    let required = "FROM base\nRUN --mount=type=ssh,required true\n";
    let said = stage.build(required, &[]).fails(125);
    assert!(
        said.contains("ssh required but no ssh with id \"default\" found"),
        "{said}"
    );
    let said = stage
        .build(file, &["--ssh", "default=/etc/passwd"])
        .fails(125);
    assert!(
        said.contains("keys from files are not supported yet"),
        "{said}"
    );
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn priv_logs_are_split_by_platform() {
    let stage = Stage::with_base("split-logs");
    let log = stage.path("log");
    let words = [
        "--platform",
        "linux/amd64,linux/arm64",
        "--logfile",
        text(&log),
        "--logsplit",
    ];
    stage.build("FROM scratch\nLABEL a=b\n", &words).ok();
    let read = |end: &str| std::fs::read_to_string(format!("{}{end}", log.display())).unwrap();
    for platform in ["linux/amd64", "linux/arm64"] {
        let tag = format!("[{platform}]");
        let begin = format!("{tag} STEP 1/2: FROM scratch\n{tag} STEP 2/2: LABEL a=b\n");
        let found = read(&format!("_{}", platform.replace('/', "_")));
        assert!(found.starts_with(&begin), "{found}");
        assert!(found.contains(&format!("\n{tag} COMMIT\n--> ")), "{found}");
        assert_eq!(found.matches('[').count(), 3, "{found}");
    }
    // The list is of both.
    assert_eq!(read("").trim().len(), 64);
}

#[test]
fn what_is_wrong_with_flags() {
    let check = |words: &[&str], expected: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        let said = said(command.args(["build"]).args(words).arg("/"));
        assert_eq!(said.status, 125, "{words:?}: {said:?}");
        let error = said.stderr.lines().last().unwrap_or_default();
        assert_eq!(error, format!("Error: {expected}"), "{words:?}");
    };
    for (words, expected) in [
        (
            vec!["--logsplit"],
            "cannot use --logsplit without --logfile",
        ),
        (
            vec!["--cache-ttl", "foo"],
            "unable to parse value provided \"foo\" as --cache-ttl: time: invalid duration \"foo\"",
        ),
        (
            vec!["--cache-from", "a:b"],
            "unable to parse value provided `[]` to --cache-from: repository must contain neither a tag nor digest: docker.io/library/a:b",
        ),
        (
            vec!["-o", "type=image,dest=x"],
            "invalid type \"image\" selected for build output options \"type=image,dest=x\"",
        ),
        (
            vec!["--manifest", "m", "-t", "m"],
            "the same name must not be specified for both '--tag' and '--manifest'",
        ),
    ] {
        check(&words, expected);
    }
}

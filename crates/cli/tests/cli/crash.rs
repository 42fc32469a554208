//! SIGKILL at any moment leaves a store that every tool opens, with all that was there before.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::stage::{Stage, text};

/// How many builds are killed.
const KILLS: u64 = 100;

#[test]
fn peer_a_hundred_kills() {
    let stage = Stage::with_base("kills");
    stage.write("context/data/a", &"a".repeat(200_000));
    stage.write("context/data/b", &"b".repeat(100_000));
    stage
        .build("FROM base\nRUN echo kept > /kept\n", &["-t", "kept"])
        .ok();
    let kept = export(&stage, "kept");
    let steps: String = (0..5)
        .map(|step| format!("COPY data /d{step}\nRUN echo {step} > /f{step} && cat /kept\n"))
        .collect();
    let file = stage.write(
        "Containerfile.kills",
        &format!("FROM localhost/kept\n{steps}"),
    );
    let context = stage.path("context");
    let build = [
        "build",
        "--no-cache",
        "-q",
        "-t",
        "killed",
        "-f",
        text(&file),
        text(&context),
    ];
    let start = Instant::now();
    stage.cooper(&build).ok();
    let whole = start.elapsed();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..KILLS {
        // xorshift: the moments are spread over the whole build, and a little beyond.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let share = u32::try_from(random % 1100).unwrap();
        let mut child = stage
            .cooper_command(&build)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * share / 1000);
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(
            stage.leftover_mounts(),
            Vec::<std::path::PathBuf>::new(),
            "round {round}"
        );
        if round % 10 == 0 {
            everybody_sees(&stage, "localhost/kept");
        }
        let listed = stage.cooper(&["images"]).ok();
        assert!(listed.contains("localhost/kept"), "round {round}");
    }
    assert_eq!(export(&stage, "kept"), kept);
    // A command that writes reaps what the kills have left.
    stage.cooper(&build).ok();
    stage.cooper(&["tag", "kept", "again"]).ok();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(orphans(&stage), Vec::<String>::new());
    assert_eq!(processes_in(&stage), Vec::<String>::new());
    let words = [
        "run",
        "--rm",
        "--network",
        "host",
        "localhost/killed",
        "cat",
        "/kept",
    ];
    assert_eq!(stage.podman(&words).ok(), "kept");
}

/// Every tool opens the store and finds the image there.
fn everybody_sees(stage: &Stage, image: &str) {
    assert!(stage.podman(&["images"]).ok().contains(image));
    assert!(stage.buildah(&["images"]).ok().contains(image));
    stage.skopeo(&["inspect", &format!("STORE:{image}")]).ok();
}

#[test]
fn priv_a_killed_run_or_commit_leaves_a_whole_container() {
    let stage = Stage::with_base("killed-scripts");
    let container = stage.cooper(&["from", "base"]).ok();
    stage
        .cooper(&["run", &container, "--", "sh", "-c", "echo kept > /kept"])
        .ok();
    for round in 0..20_u64 {
        // A number that no other process of the machine sleeps.
        let nap = format!("{}", 86_400 + std::process::id());
        let run = ["run", &container, "--", "sh", "-c", "sleep $0 & wait", &nap];
        kill_after(&stage, &run, Duration::from_millis(round * 7));
        let end = Instant::now() + Duration::from_secs(5);
        while !sleepers(&nap).is_empty() {
            assert!(Instant::now() < end, "round {round}: {:?}", sleepers(&nap));
            std::thread::sleep(Duration::from_millis(10));
        }
        let commit = ["commit", "-q", &container, "made"];
        kill_after(&stage, &commit, Duration::from_millis(round * 5));
        assert_eq!(
            stage.cooper(&["run", &container, "cat", "/kept"]).ok(),
            "kept",
            "round {round}"
        );
    }
    stage.cooper(&["commit", &container, "made"]).ok();
    stage
        .build("FROM localhost/made\nRUN cat /kept\n", &[])
        .ok();
    stage.cooper(&["rm", &container]).ok();
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
    assert_eq!(orphans(&stage), Vec::<String>::new());
}

#[test]
fn peer_killed_pulls_of_an_archive_leave_a_whole_store() {
    let stage = Stage::with_base("killed-pulls");
    stage.write("context/data", &"data".repeat(2_000_000));
    stage
        .build(
            "FROM base\nCOPY data /d\nRUN echo x > /x\n",
            &["-t", "made"],
        )
        .ok();
    let archive = stage.path("made.tar");
    let place = format!("oci-archive:{}", archive.display());
    stage.cooper(&["push", "-q", "localhost/made", &place]).ok();
    let kept = export(&stage, "base");
    stage.cooper(&["rmi", "made"]).ok();
    let start = Instant::now();
    let id = stage.cooper(&["pull", "-q", &place]).ok();
    let whole = start.elapsed();
    for round in 0..30_u32 {
        stage.cooper(&["rmi", "-f", &id]);
        kill_after(&stage, &["pull", "-q", &place], whole * round / 27);
        let listed = stage.cooper(&["images"]).ok();
        assert!(listed.contains("localhost/base"), "round {round}");
        if round % 10 == 0 {
            everybody_sees(&stage, "localhost/base");
        }
    }
    assert_eq!(export(&stage, "base"), kept);
    // A command that writes reaps what the kills have left, and the archive is whole.
    assert_eq!(stage.cooper(&["pull", "-q", &place]).ok(), id);
    let container = stage.cooper(&["from", &id]).ok();
    assert_eq!(stage.cooper(&["run", &container, "cat", "/x"]).ok(), "x");
    stage.cooper(&["rm", &container]).ok();
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
    assert_eq!(orphans(&stage), Vec::<String>::new());
    assert_eq!(processes_in(&stage), Vec::<String>::new());
}

/// Starts our program and kills it after a while.
fn kill_after(stage: &Stage, words: &[&str], after: Duration) {
    let mut child = stage
        .cooper_command(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

/// Processes that sleep for exactly `nap` seconds.
fn sleepers(nap: &str) -> Vec<String> {
    let line = format!("sleep\0{nap}\0").into_bytes();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|one| one == line))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The digests of an image's blobs, as Skopeo exports them.
fn export(stage: &Stage, image: &str) -> Vec<String> {
    let folder = stage.path("export");
    let _ = std::fs::remove_dir_all(&folder);
    stage
        .skopeo(&[
            "copy",
            "-q",
            &format!("STORE:localhost/{image}"),
            &format!("dir:{}", folder.display()),
        ])
        .ok();
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.push(std::fs::read_to_string(folder.join("manifest.json")).unwrap());
    names
}

/// Layer directories without a record, records' temporary files, and temporary folders.
fn orphans(stage: &Stage) -> Vec<String> {
    let records = std::fs::read_to_string(stage.path("root/overlay-layers/layers.json")).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(stage.path("root/overlay")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.len() == 64 && !records.contains(&format!("\"id\":\"{name}\"")) {
            found.push(name);
        }
    }
    for folder in [
        "root/overlay/tempdirs",
        "root/overlay-layers/tmp",
        "root/overlay-layers",
        "root/overlay-images",
    ] {
        for entry in std::fs::read_dir(stage.path(folder)).into_iter().flatten() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if name.starts_with("temp-dir-")
                || name.starts_with("lock-")
                || name.starts_with(".tmp-")
            {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found
}

/// Processes whose root or command line lies in the test's folder.
fn processes_in(stage: &Stage) -> Vec<String> {
    let folder = stage.path("");
    let folder = folder.to_string_lossy();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(folder.trim_end_matches('/')) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&line)));
        }
    }
    found
}

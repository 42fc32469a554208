//! Bills of materials of `commit` and `build`, with a busybox for a scanner.

use crate::stage::{Said, Stage, text};

/// A document of CycloneDX with components, each a name and a package URL.
fn document(components: &[(&str, &str)]) -> String {
    let entries = components
        .iter()
        .map(|(name, purl)| format!("{{\"name\":\"{name}\",\"purl\":\"{purl}\"}}"));
    let entries: Vec<String> = entries.collect();
    format!("{{\"components\":[{}]}}\n", entries.join(","))
}

/// The flags for a scanner that takes documents as it finds them.
fn flags(strategy: &'static str, commands: &[&'static str]) -> Vec<&'static str> {
    let mut flags = vec![
        "--sbom-scanner-image=localhost/base",
        "--sbom-merge-strategy",
        strategy,
    ];
    for command in commands {
        flags.extend(["--sbom-scanner-command", command]);
    }
    flags
}

const MERGE: &str = "merge-cyclonedx-by-component-name-and-version";
const OUTPUTS: [&str; 4] = [
    "--sbom-output=bill.json",
    "--sbom-image-output=/root/bill.json",
    "--sbom-purl-output=urls.json",
    "--sbom-image-purl-output=urls.json",
];

fn content(stage: &Stage, name: &str) -> String {
    std::fs::read_to_string(stage.path(name)).unwrap()
}

/// A file of an image that has a shell.
fn in_image(stage: &Stage, image: &str, file: &str) -> String {
    let container = stage.cooper(&["from", image]).ok();
    let read = stage.cooper(&["run", &container, "cat", file]);
    stage.cooper(&["rm", &container]).ok();
    read.ok()
}

fn layers(stage: &Stage, image: &str) -> usize {
    let format = "{{range .OCIv1.RootFS.DiffIDs}}{{.}} {{end}}";
    let listed = stage.cooper(&["inspect", "--format", format, image]).ok();
    listed.split_whitespace().count()
}

/// A stage with a container `work` whose root file system has two documents.
fn with_container(purpose: &str) -> Stage {
    let stage = Stage::with_base(purpose);
    stage
        .cooper(&["from", "--name", "work", "localhost/base"])
        .ok();
    for (name, components) in [
        ("one.json", [("a", "pkg:x/a"), ("b", "pkg:x/b")]),
        ("two.json", [("b", "pkg:x/b"), ("c", "pkg:x/c")]),
    ] {
        let file = stage.write(name, &document(&components));
        stage.cooper(&["copy", "work", text(&file), "/"]).ok();
    }
    stage
}

fn commit(stage: &Stage, flags: &[&str], image: &str) -> Said {
    stage.cooper(&[&["commit", "-q"], flags, &["work", image]].concat())
}

#[test]
fn priv_commit_puts_the_results_where_they_are_wanted() {
    let stage = with_container("sbomcommit");
    let scanner = flags(
        MERGE,
        &[
            "cat {ROOTFS}/one.json > {OUTPUT}",
            "/bin/busybox cp {ROOTFS}/two.json {OUTPUT}",
        ],
    );
    let all = [&scanner[..], &OUTPUTS].concat();
    commit(&stage, &all, "scanned").ok();
    let bill = document(&[("a", "pkg:x/a"), ("b", "pkg:x/b"), ("c", "pkg:x/c")]);
    let urls = "{\"image_contents\":{\"dependencies\":[\"pkg:x/a\",\"pkg:x/b\",\"pkg:x/c\"]}}\n";
    assert_eq!(content(&stage, "bill.json"), bill);
    assert_eq!(content(&stage, "urls.json"), urls);
    assert_eq!(
        in_image(&stage, "scanned", "/root/bill.json"),
        bill.trim_end()
    );
    assert_eq!(in_image(&stage, "scanned", "/urls.json"), urls.trim_end());
    assert_eq!(layers(&stage, "scanned"), 3);

    let squashed = [&all[..], &["--squash"]].concat();
    commit(&stage, &squashed, "squashed").ok();
    assert_eq!(layers(&stage, "squashed"), 1);
    assert_eq!(in_image(&stage, "squashed", "/urls.json"), urls.trim_end());
    // Nothing of the scanner stays.
    let containers = stage.cooper(&["containers", "--format", "{{.ContainerName}}"]);
    assert_eq!(containers.ok(), "work");
    assert_eq!(stage.leftover_mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn priv_scanners_that_fail_make_no_image() {
    let stage = with_container("sbomfails");
    let check = |strategy, command: &'static str, expected: &str| {
        let flags = flags(strategy, &[command]);
        let flags = [&flags[..], &["--sbom-output=bill.json"]].concat();
        let stderr = commit(&stage, &flags, "scanned").fails(125);
        assert!(stderr.contains("scanning rootfs to generate SBOM for container"));
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!stage.path("bill.json").exists());
        let names = stage.cooper(&["images", "--format", "{{.Name}}"]).ok();
        assert!(!names.contains("scanned"), "{names}");
    };
    check(
        "cat",
        "touch {ROOTFS}/new",
        "running scanning command [touch /.rootfs/new]: exit status 1",
    );
    check("cat", "true {ROOTFS}", "scan0.json");
    check("cat", "true", "no scanner command has {ROOTFS}");
    check(
        MERGE,
        "echo {ROOTFS} > {OUTPUT}",
        "merging scan results: scan result 0 is not a JSON document",
    );
    // A link does not lead out of what scanners write.
    check("cat", "ln -s {ROOTFS}/one.json {OUTPUT}", "scan0.json");
}

#[test]
fn priv_a_scanner_that_is_not_here_is_named() {
    let stage = with_container("sbommissing");
    let stderr = stage
        .cooper(&[
            "commit",
            "--pull=never",
            "--sbom=syft",
            "--sbom-output=x",
            "work",
            "scanned",
        ])
        .fails(125);
    assert!(
        stderr.contains(
            "creating temporary working container to run scanner: ghcr.io/anchore/syft: image not known"
        ),
        "{stderr}"
    );
}

#[test]
fn priv_builds_are_scanned_with_their_contexts() {
    let stage = Stage::with_base("sbombuild");
    stage.write("context/one.json", &document(&[("a", "pkg:x/a")]));
    stage.write("more/two.json", &document(&[("b", "pkg:x/b")]));
    let more = format!("--build-context=more={}", text(&stage.path("more")));
    let scanner = flags(
        MERGE,
        &[
            "/bin/busybox cp {ROOTFS}/in/three.json {OUTPUT}",
            "cat {CONTEXT}/*.json > {OUTPUT}",
        ],
    );
    let three = document(&[("c", "pkg:x/c")]);
    let file = format!(
        "FROM localhost/base\nRUN mkdir /in && echo '{}' > /in/three.json\n",
        three.trim_end()
    );
    let bill = document(&[("c", "pkg:x/c"), ("a", "pkg:x/a"), ("b", "pkg:x/b")]);
    for (how, count) in [("--layers=false", 3), ("--layers", 3), ("--squash", 1)] {
        let all = [&scanner[..], &OUTPUTS, &[how, &more, "-q", "-t", "scanned"]].concat();
        for _ in 0..2 {
            // The second time, steps are found; scanners run again.
            let _ = std::fs::remove_file(stage.path("bill.json"));
            stage.build(&file, &all).ok();
            assert_eq!(content(&stage, "bill.json"), bill, "{how}");
        }
        assert_eq!(layers(&stage, "scanned"), count, "{how}");
        let inside = in_image(&stage, "scanned", "/root/bill.json");
        assert_eq!(inside, bill.trim_end(), "{how}");
        stage.cooper(&["rmi", "-f", "scanned"]).ok();
    }
    // Without steps it is another image than the base, too.
    let copying = flags("cat", &["/bin/busybox cp {ROOTFS}/etc/group {OUTPUT}"]);
    let all = [&copying[..], &OUTPUTS, &["-q", "-t", "bare"]].concat();
    stage.build("FROM localhost/base\n", &all).ok();
    assert_eq!(layers(&stage, "bare"), 2);
    assert!(in_image(&stage, "bare", "/root/bill.json").starts_with("root:x:0"));
    assert_eq!(content(&stage, "urls.json"), "{\"image_contents\":{}}\n");
    let containers = stage.cooper(&["containers", "-q"]);
    assert_eq!(containers.ok(), "");
}

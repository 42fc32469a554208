//! Names: what is wrong with them, what short ones stand for, and digests.

use testkit::registry::Registry;

use super::setting::{PLAIN, at, digest, id, make, tiny};
use crate::stage::{Store, ended, text};

#[test]
fn peer_18_wrong_names_are_told_in_the_words_of_buildah() {
    let stage = tiny("wire18");
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        let found = stderr
            .lines()
            .any(|line| line == format!("Error: {expected}"));
        assert!(found, "{words:?}: {expected}\nin {stderr}");
    };
    check(
        &["pull", "Foo/bar"],
        "Invalid image name \"Foo/bar\", expected colon-separated transport:reference",
    );
    check(
        &["pull", "foo:ba r"],
        "parsing reference \"foo:ba r\": invalid reference format",
    );
    check(
        &["pull", ""],
        "parsing reference \"\": repository name must have at least one component",
    );
    check(
        &["pull", "nosuch:/x"],
        "parsing reference \"nosuch:/x\": invalid reference format",
    );
    check(
        &["pull", "ostree:x@/y"],
        "The transport \"ostree:\" is not supported in this build",
    );
    check(
        &["pull", "docker-archive:"],
        "docker-archive reference  isn't of the form <path>[:<reference>]",
    );
    check(
        &["push", "tiny", "docker-daemon:a"],
        "docker-daemon: reference a has neither a tag nor a digest",
    );
    check(
        &["push", "nosuch", "docker://r.example.com/x"],
        "pushing image \"nosuch\" to \"docker://r.example.com/x\": nosuch: image not known",
    );
    check(&["push"], "at least a source image ID must be specified");
    check(
        &["push", "a", "b", "c"],
        "Only two arguments are necessary to push: source and destination",
    );
}

#[test]
fn peer_19_local_names_win_but_aliases_win_more() {
    let (stage, registry) = (tiny("wire19"), Registry::open().unwrap());
    make(&stage, "foo", "FROM scratch\nLABEL which=localhost\n");
    make(
        &stage,
        "docker.io/library/foo",
        "FROM scratch\nLABEL which=docker.io\n",
    );
    let which = |container: &str| {
        stage
            .cooper(&["inspect", "--format", "{{.FromImage}}", container])
            .ok()
    };
    let container = stage.cooper(&["from", "--pull=never", "foo"]).ok();
    assert_eq!(which(&container), "localhost/foo:latest");
    let place = at(&registry.host(), "foo:latest");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let alias = format!("[aliases]\n\"foo\" = \"{}/foo\"\n", registry.host());
    stage.write("registries.conf", &alias);
    stage.cooper(&["pull", "-q", PLAIN, &place]).ok();
    let container = stage.cooper(&["from", "--pull=never", "foo"]).ok();
    assert_eq!(which(&container), format!("{}/foo:latest", registry.host()));
}

#[test]
fn peer_20_short_names_follow_registries_conf() {
    let (stage, registry) = (tiny("wire20"), Registry::open().unwrap());
    let other = Registry::open().unwrap();
    let place = at(&registry.host(), "short:latest");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let configure = |mode: &str| {
        let hosts = format!("\"{}\", \"{}\"", other.host(), registry.host());
        stage.write(
            "registries.conf",
            &format!("unqualified-search-registries = [{hosts}]\nshort-name-mode = \"{mode}\"\n"),
        );
    };
    let aliases = stage.path("aliases.conf");
    let pull = ["--short-name-alias-conf", text(&aliases), "pull", PLAIN];
    configure("enforcing");
    let words = [&pull[..], &["short"]].concat();
    let stderr = stage.cooper_elsewhere(&words).fails(125);
    let expected = "short-name resolution enforced but cannot prompt without a TTY";
    assert!(stderr.contains(expected), "{stderr}");

    configure("permissive");
    let missing = [&pull[..], &["nosuch"]].concat();
    let stderr = stage.cooper_elsewhere(&missing).fails(125);
    assert!(
        stderr.contains("2 errors occurred while pulling:\n * ") && stderr.contains(&other.host()),
        "{stderr}"
    );
    let said = stage.cooper_elsewhere(&words);
    let tried = [other.host(), registry.host()]
        .map(|host| format!("Trying to pull {host}/short:latest..."));
    for line in &tried {
        assert!(said.stderr.contains(line), "{line} in {}", said.stderr);
    }
    said.ok();
    assert!(!content_of(&aliases).contains("short"));

    // A terminal, with the second registry chosen.
    configure("enforcing");
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    let command = stage.cooper_on(Store::Elsewhere, &words);
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        line.push_str(&format!("'{}' ", word.to_str().unwrap()));
    }
    let mut script = std::process::Command::new("script");
    stage.surround(&mut script);
    script.args(["-qec", &line, "/dev/null"]);
    let mut child = script
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    // The answer is typed when the question is there; a key typed before may be lost.
    std::thread::sleep(std::time::Duration::from_millis(700));
    std::io::Write::write_all(&mut keys, b"\x1b[B").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    std::io::Write::write_all(&mut keys, b"\r").unwrap();
    let shown = ended(child.wait_with_output().unwrap());
    drop(keys);
    assert!(shown.stdout.contains("Please select an image"), "{shown:?}");
    shown.ok();
    let expected = format!(" = \"{}/short\"", registry.host());
    let recorded = content_of(&aliases);
    assert!(recorded.contains(&expected), "{expected} in {recorded}");
}

fn content_of(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn peer_21_digests_name_images() {
    let (stage, registry) = (tiny("wire21"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let digest = digest(&stage, &place);
    let name = format!("{}/a/tiny@{digest}", registry.host());
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &name]).ok();
    assert_eq!(pulled, id(&stage, "tiny"));
    let tagged = format!("{}/a/tiny:zz@{digest}", registry.host());
    stage
        .cooper_elsewhere(&["from", "--pull=never", &tagged])
        .ok();
    let stderr = stage
        .cooper_elsewhere(&["from", "--pull=never", &digest])
        .fails(125);
    assert!(
        stderr.contains(&format!("{digest}: image not known")),
        "{stderr}"
    );
    let both = at(&registry.host(), &format!("a/tiny:1@{digest}"));
    let stderr = stage.cooper(&["push", PLAIN, "tiny", &both]).fails(125);
    let expected = "Docker references with both a tag and digest are currently not supported";
    assert!(stderr.contains(expected), "{stderr}");
}

//! `images`, `tag` and `rmi`: what is listed, in which order and words, and what goes.

use crate::stage::{Said, Stage};

/// A store with `localhost/one`, and `localhost/two` on top of it, which is younger.
fn with_two(purpose: &str) -> Stage {
    let stage = Stage::empty(purpose);
    stage.write("context/f", "f\n");
    let made = |containerfile: &str, name: &str, time: &str| {
        stage
            .build(containerfile, &["-q", "--timestamp", time, "-t", name])
            .ok();
    };
    made("FROM scratch\nLABEL a.b=c\nCOPY f /\n", "one", "1700000000");
    made("FROM localhost/one\nLABEL a.b=d\n", "two", "1700000100");
    stage
}

fn id(stage: &Stage, name: &str) -> String {
    stage.cooper(&["images", "-q", "--no-trunc", name]).ok()
}

fn names(stage: &Stage) -> Vec<String> {
    let shown = stage
        .cooper(&["images", "-a", "--format", "{{.Name}}"])
        .ok();
    shown.lines().map(str::to_owned).collect()
}

#[test]
fn priv_filters_choose_images() {
    let stage = with_two("images-filters");
    stage.cooper(&["from", "--name", "c", "one"]).ok();
    stage.cooper(&["manifest", "create", "list"]).ok();
    let check = |filters: &[&str], expected: &[&str]| {
        let mut words = vec!["images", "--format", "{{.Name}}"];
        words.extend(filters.iter().flat_map(|filter| ["-f", filter]));
        let shown = stage.cooper(&words).ok();
        let shown: Vec<_> = shown
            .lines()
            .map(|name| name.trim_start_matches("localhost/"))
            .collect();
        assert_eq!(shown, expected, "{filters:?}");
    };
    check(&[], &["list", "two", "one"]);
    check(&[""], &["list", "two", "one"]);
    check(&["label=a.b"], &["two", "one"]);
    check(&["label=a.b=c"], &["one"]);
    check(&["label!=a.b=c"], &["list", "two"]);
    check(&["label=a*"], &["two", "one"]);
    check(&["label=a.b=c", "label=a.b=d"], &[]);
    check(&["reference=one"], &["one"]);
    check(&["reference=*o*"], &["two", "one"]);
    check(&["reference=localhost*"], &[]);
    check(&["reference=one", "reference=two"], &["two", "one"]);
    check(&["reference!=one"], &["list", "two"]);
    check(&["before=two"], &["one"]);
    check(&["since=one"], &["list", "two"]);
    check(&["after=one,manifest=false"], &["two"]);
    check(&["until=2023-11-14T22:14"], &["one"]);
    check(&["until=1h"], &["two", "one"]);
    check(&["containers=true"], &["one"]);
    check(&["containers=false"], &["list", "two"]);
    check(&["manifest=true"], &["list"]);
    check(&["dangling=true"], &[]);
    check(&["dangling=false"], &["list", "two", "one"]);
    check(&["readonly=true"], &[]);
    check(&["intermediate=false"], &["list", "two", "one"]);
    let one = id(&stage, "one");
    let start = one.trim_start_matches("sha256:");
    check(&[&format!("id={}", &start[..12])], &["one"]);
    let digest = stage
        .cooper(&["images", "--format", "{{.Digest}}", "one"])
        .ok();
    check(&[&format!("digest={}", &digest[..20])], &["one"]);
}

#[test]
fn priv_filters_are_checked() {
    let stage = with_two("images-bad-filters");
    let form = |text: &str| {
        format!(
            "invalid image filter \"{text}\": must be in the format \"filter=value or filter!=value\""
        )
    };
    let check = |filters: &[&str], expected: &str| {
        let mut words = vec!["images"];
        words.extend(filters.iter().flat_map(|filter| ["-f", filter]));
        let stderr = stage.cooper(&words).fails(125);
        let first = stderr.lines().next().unwrap_or_default();
        assert_eq!(first, format!("Error: {expected}"), "{filters:?}");
    };
    check(&["before"], &form("before"));
    check(&["nosuch=1"], &form("nosuch"));
    check(&["=x"], &form(""));
    check(
        &["before=nosuch"],
        "could not find local image for filter \"before\"=\"nosuch\": nosuch: image not known",
    );
    check(
        &["dangling=x"],
        "non-boolean value \"x\" for dangling filter: strconv.ParseBool: parsing \"x\": invalid syntax",
    );
    check(
        &["dangling=true", "dangling=false"],
        "specifying \"dangling\" filter more than once with different values is not supported",
    );
    check(
        &["intermediate=true"],
        "specifying \"intermediate\" filter more than once with different values is not supported",
    );
    check(&["digest=md5"], "invalid value \"md5\" for digest filter");
    check(
        &["containers=x"],
        "unsupported value \"x\" for containers filter",
    );
}

#[test]
fn priv_lists_have_the_units_and_orders_of_buildah() {
    let stage = with_two("images-forms");
    stage.cooper(&["tag", "one", "third", "fourth:2"]).ok();
    let shown = |words: &[&str]| {
        let words = [&["images"], words].concat();
        stage.cooper(&words).ok()
    };
    // The newest image first; of one image the newest name first.
    assert_eq!(
        shown(&["--format", "{{.Name}}:{{.Tag}}"]),
        "localhost/two:latest\nlocalhost/fourth:2\nlocalhost/third:latest\nlocalhost/one:latest"
    );
    let sizes = shown(&["--format", "{{.Size}}", "two"]);
    assert!(sizes.ends_with(" KB"), "{sizes}");
    // A line tells the names that the image had besides its own.
    assert_eq!(
        shown(&["--format", "{{.Name}}|{{.History}}", "one"])
            .lines()
            .last(),
        Some("localhost/one|localhost/third:latest, localhost/fourth:2")
    );
    // A whole name as the only reference is the only name shown.
    assert_eq!(
        shown(&[
            "-f",
            "reference=localhost/third:latest",
            "--format",
            "{{.Name}}"
        ]),
        "localhost/third"
    );
    assert_eq!(
        shown(&["--noheading", "--format", "table {{.Name}}", "two"]),
        "REPOSITORY\nlocalhost/two"
    );
    assert_eq!(shown(&["--format", "", "-q"]).lines().count(), 2);
    assert_eq!(
        shown(&[
            "--format",
            "{{.Name}}\\t{{.Created}} {{.CreatedAtRaw}}",
            "two"
        ]),
        "localhost/two   1700000100   2023-11-14 22:15:00 +0000 UTC"
    );
    // JSON is in the order of the store.
    let list: serde_json::Value = serde_json::from_str(&shown(&["--json"])).expect("JSON");
    assert_eq!(list[0]["names"][2], "localhost/one:latest");
    let check = |words: &[&str], expected: &str| {
        let stderr = stage.cooper(words).fails(125);
        let first = stderr.lines().next().unwrap_or_default();
        assert_eq!(first, format!("Error: {expected}"), "{words:?}");
    };
    // A name without its tag is the one with `latest`.
    check(&["images", "fourth"], "fourth: image not known");
    check(
        &["images", "-q", "--format", "x"],
        "quiet and format are mutually exclusive",
    );
    check(
        &["images", "--format", "{{.Nosuch}}"],
        "Template parsing error: template: image:1:2: executing \"image\" at <.Nosuch>: can't evaluate field Nosuch in type main.imageOutputParams",
    );
    // What is right before a wrong name is done.
    check(
        &["tag", "one", "good", "Bad"],
        "normalizing name \"Bad\": normalizing name \"Bad\": repository name must be lowercase",
    );
    assert!(names(&stage).contains(&"localhost/good".to_owned()));
}

#[test]
fn priv_names_and_images_go() {
    let stage = with_two("images-rmi");
    stage.cooper(&["tag", "two", "second"]).ok();
    let long = id(&stage, "two");
    let two = long.trim_start_matches("sha256:");
    let one = id(&stage, "one");
    let one = one.trim_start_matches("sha256:");
    let fails = |words: &[&str], errors: &[&str]| {
        let stderr = stage.cooper(words).fails(125);
        let noun = if errors.len() == 1 { "error" } else { "errors" };
        let list: String = errors
            .iter()
            .map(|error| format!("\t* {error}\n"))
            .collect();
        let expected = format!("Error: {} {noun} occurred:\n{list}\n", errors.len());
        assert!(stderr.starts_with(&expected), "{words:?}: {stderr}");
    };
    fails(
        &["rmi", &long],
        &[&format!(
            "unable to delete image \"{two}\" by ID with more than one tag ([localhost/second:latest localhost/two:latest]): please force removal"
        )],
    );
    // Everything is looked up before anything goes.
    fails(
        &["rmi", "second", "nosuch", "second"],
        &[
            "nosuch: image not known",
            "localhost/second:latest: tag not known",
        ],
    );
    // A digest finds the image, but is none of its names.
    let digest = stage
        .cooper(&["images", "--format", "{{.Digest}}", "two"])
        .ok();
    let by_digest = format!("localhost/two@{digest}");
    fails(
        &["rmi", &by_digest],
        &[&format!("{by_digest}: tag not known")],
    );
    // The image below has lost its name, but not its layers: it is not said to be gone.
    assert_eq!(
        stage.cooper(&["rmi", "one"]).ok(),
        "untagged: localhost/one:latest"
    );
    assert_eq!(
        stage.cooper(&["rmi", two, two]).ok(),
        format!("untagged: localhost/two:latest\n{two}")
    );
    assert!(names(&stage).is_empty());
    assert!(!one.is_empty());
}

#[test]
fn priv_what_only_it_was_built_on_goes_along() {
    let stage = Stage::empty("images-family");
    stage.write("context/f", "f\n");
    stage.cooper(&["from", "--name", "c", "scratch"]).ok();
    let below = stage.cooper(&["commit", "-q", "c"]).ok();
    stage.cooper(&["rm", "c"]).ok();
    let on_top = |name: &str| {
        stage.cooper(&["from", "--name", "d", &below]).ok();
        stage
            .cooper(&["config", "--label", &format!("name={name}"), "d"])
            .ok();
        stage.cooper(&["commit", "-q", "d", name]).ok();
        stage.cooper(&["rm", "d"]).ok();
    };
    on_top("left");
    on_top("right");
    let ids = |said: Said| said.ok().lines().count();
    // One more image is built on it.
    assert_eq!(ids(stage.cooper(&["rmi", "left"])), 2);
    assert_eq!(names(&stage), ["localhost/right", "<none>"]);
    let said = stage.cooper(&["rmi", "right"]).ok();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.ends_with(&below), "{said}");
    assert!(names(&stage).is_empty());
}

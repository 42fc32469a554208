//! registries.conf: the entries that a name finds, and what is said of bad ones.

use super::*;
use crate::test_world::{World, chain, world};
use model::Reference;

fn parse(text: &str) -> RegistriesConf {
    RegistriesConf::parse(text, Path::new("r.conf")).unwrap()
}

fn load(world: &World) -> RegistriesConf {
    RegistriesConf::load(&world.roots, MainFile::Found).unwrap()
}

const MIRRORS: &str = r#"
[[registry]]
prefix = "example.com/foo"
location = "internal.example.org/bar/"
insecure = true
[[registry.mirror]]
location = "mirror-1.example.org:5000/a"
[[registry.mirror]]
location = "mirror-2.example.org"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "mirror-3.example.org"
pull-from-mirror = "tag-only"

[[registry]]
location = "example.com"
blocked = true

[[registry]]
prefix = "*.wild.example.com"

[[registry]]
prefix = "*.moved.example.com"
location = "new.example.org/x"

[[registry]]
prefix = "digests.example.com"
location = "digests.example.com"
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror-1.example.org"

[[registry]]
prefix = "tagged.example.com/a:special"
location = "other.example.org/a:special"

[[registry]]
prefix = "evaded.example.com"
location = "example.com/sub"
[[registry.mirror]]
location = "example.com/quux"
"#;

#[test]
fn references_are_located() {
    let conf = parse(MIRRORS);
    let check = |text: &str, purpose: Use, expected: &[&str]| {
        let reference = Reference::parse_normalized(text).unwrap();
        let found: Vec<String> = match conf.endpoints(&reference, purpose) {
            Ok(places) => places.iter().map(shown).collect(),
            Err(error) => vec![chain(&error)],
        };
        assert_eq!(found, expected, "{text}");
    };
    let digest = format!("@sha256:{}", "0".repeat(64));
    check(
        "example.com/foo/x:1",
        Use::Pull,
        &[
            "mirror-1.example.org:5000/a/x:1 mirror",
            "mirror-3.example.org/x:1 mirror",
            "internal.example.org/bar/x:1 insecure",
        ],
    );
    check(
        &format!("example.com/foo/x{digest}"),
        Use::Pull,
        &[
            &format!("mirror-1.example.org:5000/a/x{digest} mirror"),
            &format!("mirror-2.example.org/x{digest} insecure mirror"),
            &format!("internal.example.org/bar/x{digest} insecure"),
        ],
    );
    check(
        "example.com/foo/x:1",
        Use::Push,
        &["example.com/foo/x:1 insecure"],
    );
    let blocked = "registry example.com is blocked in one of [\"r.conf\"]";
    check("example.com/bar:1", Use::Pull, &[blocked]);
    check("example.com/bar:1", Use::Push, &[blocked]);
    check(
        "a.wild.example.com/x:1",
        Use::Pull,
        &["a.wild.example.com/x:1"],
    );
    check(
        "a.moved.example.com/y:1",
        Use::Pull,
        &["new.example.org/x/y:1"],
    );
    check(
        "digests.example.com/x:1",
        Use::Pull,
        &["digests.example.com/x:1"],
    );
    check(
        &format!("digests.example.com/x{digest}"),
        Use::Pull,
        &[
            &format!("mirror-1.example.org/x{digest} mirror"),
            &format!("digests.example.com/x{digest}"),
        ],
    );
    check(
        "tagged.example.com/a:special",
        Use::Pull,
        &["other.example.org/a:special"],
    );
    check(
        "tagged.example.com/a:1",
        Use::Pull,
        &["tagged.example.com/a:1"],
    );
    check("evaded.example.com/a:1", Use::Pull, &[blocked]);
    check(
        "unknown.example.com/a:1",
        Use::Pull,
        &["unknown.example.com/a:1"],
    );
}

fn shown(place: &Located) -> String {
    let insecure = if place.insecure { " insecure" } else { "" };
    let mirror = if place.role == Role::Mirror {
        " mirror"
    } else {
        ""
    };
    format!("{}{insecure}{mirror}", place.reference)
}

#[test]
fn a_name_that_is_made_must_be_one() {
    let check = |location: &str, expected: &str| {
        let conf = parse(&format!(
            "[[registry]]\nprefix = \"example.com/foo\"\nlocation = \"{location}\"\n"
        ));
        let reference = Reference::parse_normalized("example.com/foo:1").unwrap();
        let error = conf.endpoints(&reference, Use::Pull).unwrap_err();
        assert_eq!(chain(&error), expected);
    };
    check(
        "docker.io",
        "rewriting reference: repository name must be canonical: docker.io:1 (r.conf:3)",
    );
    check(
        "h.example.com/UP",
        "rewriting reference: h.example.com/UP:1: invalid reference format: repository name must be lowercase",
    );
}

#[test]
fn hosts_are_insecure_or_blocked() {
    let conf = parse(
        "[[registry]]\nlocation = \"h:5000\"\ninsecure = true\n[[registry]]\nlocation=\"b\"\nblocked=true\n",
    );
    assert!(conf.is_insecure("h:5000").unwrap());
    assert!(!conf.is_insecure("h").unwrap());
    assert!(conf.is_insecure("b").is_err());
}

#[test]
fn mistakes_are_named_with_their_place() {
    let check = |text: &str, expected: &str| {
        let error = RegistriesConf::parse(text, Path::new("f.conf")).unwrap_err();
        assert_eq!(
            chain(&error),
            format!("loading registries configuration \"f.conf\": {expected}"),
            "{text}"
        );
    };
    check(
        "short-name-mode = \"bogus\"",
        "invalid short-name mode: \"bogus\" (f.conf:1)",
    );
    check(
        "[registries.search]\nregistries = [\"docker.io\"]",
        "registries.conf must be in v2 format but is in v1 (f.conf:2)",
    );
    check(
        "unqualified-search-registries = [\"https://q\"]",
        "invalid location 'https://q': URI schemes are not supported (f.conf:1)",
    );
    check(
        "unqualified-search-registries = \"q\"",
        "f.conf:1: `unqualified-search-registries` must be a list of strings, not a string",
    );
    check(
        "[[registry]]\ninsecure = true",
        "invalid condition: both location and prefix are unset (f.conf:1)",
    );
    check(
        "[[registry]]\nprefix = \"a.example.com\"",
        "invalid condition: location is unset and prefix is not in the format: *.example.com (f.conf:2)",
    );
    check(
        "[[registry]]\nprefix = \"*.example.com/a\"\nlocation = \"b\"",
        "Wildcarded prefix should be in the format: *.example.com. Current prefix \"*.example.com/a\" is incorrectly formatted (f.conf:2)",
    );
    check(
        "[[registry]]\nprefix = \"example.com/*\"\nlocation = \"b\"",
        "Wildcarded prefix should be in the format: *.example.com. Current prefix \"example.com/*\" is incorrectly formatted (f.conf:2)",
    );
    check(
        "[[registry]]\nlocation = \"a\"\npull-from-mirror = \"all\"",
        "pull-from-mirror must not be set for a non-mirror registry \"a\" (f.conf:3)",
    );
    check(
        "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true",
        "invalid condition: mirror location is unset (f.conf:3)",
    );
    check(
        "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"m\"\npull-from-mirror = \"zz\"",
        "unsupported pull-from-mirror value \"zz\" for mirror \"m\" (f.conf:5)",
    );
    check(
        "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"q\"\npull-from-mirror = \"all\"",
        "cannot set mirror usage mirror-by-digest-only for the registry (\"a\") and pull-from-mirror for per-mirror (\"q\") at the same time (f.conf:6)",
    );
    check(
        "[[registry]]\nprefix = \"a\"\nlocation = \"y\"\ninsecure = true\n[[registry]]\nprefix = \"b\"\nlocation = \"y\"",
        "registry 'y' is defined multiple times with conflicting 'insecure' setting (f.conf:4, f.conf:6)",
    );
    check(
        "[aliases]\n\"a/b:c\" = \"quay.io/x\"\nx = \"y\"",
        "validating short-name aliases: invalid short name \"a/b:c\": must not contain tag (f.conf:2)\ninvalid alias \"y\": must contain registry and repository (f.conf:3)",
    );
    check(
        "[[registry]]\nlocation = 7",
        "f.conf:2: `location` must be a string, not an integer",
    );
}

#[test]
fn unknown_keys_are_warned_about() {
    let conf = parse(
        "short-name-mod = \"x\"\n[[registry]]\nlocation = \"a\"\ninsecur = true\n[[registry.mirror]]\nlocation = \"b\"\nblocked = true\n",
    );
    let warnings: Vec<String> = conf.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "r.conf:1: unknown setting `short-name-mod` is ignored; did you mean `short-name-mode`?",
            "r.conf:4: unknown setting `insecur` is ignored; did you mean `insecure`?",
            "r.conf:7: unknown setting `blocked` is ignored",
        ]
    );
}

#[test]
fn drop_ins_add_and_replace() {
    let world = world(
        0,
        &[
            (
                "etc/registries.conf",
                "unqualified-search-registries = [\"one.example.com\"]\n[aliases]\na = \"quay.io/a\"\nb = \"quay.io/b\"\n[[registry]]\nlocation = \"x\"\ninsecure = true\n[[registry]]\nlocation = \"y\"\n",
            ),
            ("usr/registries.conf", "short-name-mode = \"disabled\"\n"),
            (
                "etc/registries.conf.d/shortnames.conf",
                "[aliases]\nmasked = \"quay.io/m\"\n",
            ),
            ("user/registries.conf.d/shortnames.conf", ""),
            (
                "usr/registries.conf.d/10-a.conf",
                "unqualified-search-registries = [\"two.example.com\"]\nshort-name-mode = \"enforcing\"\ncredential-helpers = [\"pass\"]\n[aliases]\na = \"\"\nc = \"quay.io/c\"\n[[registry]]\nlocation = \"x\"\nblocked = true\n",
            ),
        ],
    );
    let conf = load(&world);
    assert_eq!(conf.search(), ["two.example.com"]);
    assert!(
        conf.search_file()
            .unwrap()
            .ends_with("usr/registries.conf.d/10-a.conf")
    );
    assert_eq!(conf.short_name_mode(), ShortNameMode::Enforcing);
    assert_eq!(conf.credential_helpers(), ["pass"]);
    let aliases: Vec<String> = conf
        .aliases()
        .iter()
        .map(|(name, alias)| format!("{name}={:?}", alias.value))
        .collect();
    assert_eq!(
        aliases,
        ["a=None", "b=Some(quay.io/b)", "c=Some(quay.io/c)"]
    );
    let x = conf.registry("x/image").unwrap();
    assert!(x.blocked.value && !x.insecure.value);
    assert!(conf.registry("y").is_some());
    let sources: Vec<PathBuf> = conf.sources();
    assert_eq!(sources.len(), 6, "{sources:?}");
    let shown: Vec<String> = conf
        .effective()
        .iter()
        .filter(|setting| setting.name.ends_with("blocked") || setting.name.ends_with("mode"))
        .map(|one| world.relative(&format!("{} = {} ({})", one.name, one.value, one.place)))
        .collect();
    assert_eq!(
        shown,
        [
            "short-name-mode = \"enforcing\" (usr/registries.conf.d/10-a.conf:2)",
            "registry.x.blocked = true (usr/registries.conf.d/10-a.conf:9)",
            "registry.y.blocked = false (default)",
        ]
    );
}

#[test]
fn which_files_are_read() {
    let mut world = world(
        0,
        &[
            ("etc/registries.conf", "short-name-mode = \"enforcing\"\n"),
            (
                "etc/registries.conf.d/a.conf",
                "unqualified-search-registries = [\"a\"]\n",
            ),
            ("only.conf", "short-name-mode = \"disabled\"\n"),
            ("last.conf", "credential-helpers = [\"x\"]\n"),
        ],
    );
    let only = world.path("only.conf");
    let named = RegistriesConf::load(&world.roots, MainFile::Named(&only)).unwrap();
    assert_eq!(named.short_name_mode(), ShortNameMode::Disabled);
    assert_eq!(named.search(), ["a"]);
    let missing = world.path("missing.conf");
    assert!(RegistriesConf::load(&world.roots, MainFile::Named(&missing)).is_err());
    world.set("CONTAINERS_REGISTRIES_CONF", &only.display().to_string());
    let last = world.path("last.conf").display().to_string();
    world.set("CONTAINERS_REGISTRIES_CONF_OVERRIDE", &last);
    let conf = load(&world);
    assert_eq!(conf.short_name_mode(), ShortNameMode::Disabled);
    assert!(conf.search().is_empty());
    assert_eq!(conf.credential_helpers(), ["x"]);
    world.set("CONTAINERS_REGISTRIES_CONF", "/nonexistent");
    assert!(RegistriesConf::load(&world.roots, MainFile::Found).is_err());
}

#[test]
fn a_host_without_files_has_defaults() {
    let conf = load(&world(0, &[]));
    assert_eq!(conf.search_file(), None);
    assert_eq!(conf.short_name_mode(), ShortNameMode::Permissive);
    assert_eq!(conf.credential_helpers(), [AUTH_FILES_HELPER]);
}

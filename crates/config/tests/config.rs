//! The same files read by us and by Debian's skopeo.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_config::{AUTH_FILES_HELPER, AuthFiles, AuthFlag, RegistriesConf, SearchRoots, Use};
use model::Reference;
use model::Secret;

/// What skopeo says, with its status.
fn skopeo(words: &[&str], home: &Path) -> (bool, String) {
    let output = Command::new("skopeo")
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .output()
        .expect("skopeo is installed");
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(said).unwrap().replace("\\\"", "\"");
    (output.status.success(), text)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn auth_files(file: &Path) -> AuthFiles {
    let roots = SearchRoots::new(Path::new("/nonexistent"), 0, BTreeMap::new());
    let helpers = vec![AUTH_FILES_HELPER.to_owned()];
    AuthFiles::find(
        &roots,
        &AuthFlag::File(file.into()),
        helpers,
        Path::new("/"),
    )
}

#[test]
fn peer_the_same_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "auth.json",
        r#"{"auths":{
            "h:1":{"auth":"aG9zdDpw"},
            "h:1/a":{"auth":"bnM6cA=="},
            "h:1/a/b":{"auth":"cmVwbzpw"},
            "https://index.docker.io/v1/":{"auth":"aHViOnA="},
            "http://url.example.com:5000/v2/":{"auth":"dXJsOnA="},
            "path.example.com/only":{"auth":"cGF0aDpw"},
            "empty.example.com":{},
            "odd.example.com":{"auth":"bm9jb2xvbg=="}
        }}"#,
    );
    let files = auth_files(&file);
    for key in [
        "h:1",
        "h:1/a",
        "h:1/ab",
        "h:1/a/b",
        "h:1/a/b/c",
        "h:1/a/c",
        "h:2",
        "docker.io",
        "docker.io/library/x",
        "registry-1.docker.io",
        "url.example.com:5000",
        "url.example.com:5000/x",
        "url.example.com",
        "path.example.com",
        "path.example.com/only",
        "path.example.com/only/x",
        "empty.example.com",
        "odd.example.com",
    ] {
        let words = [
            "login",
            "--get-login",
            "--authfile",
            file.to_str().unwrap(),
            key,
        ];
        let (good, said) = skopeo(&words, dir.path());
        let theirs = good.then(|| said.trim().lines().last().unwrap_or_default().to_owned());
        let ours = files.lookup_key(key).unwrap().found;
        assert_eq!(ours.map(|found| found.user), theirs, "{key}: {said}");
    }
}

#[test]
fn peer_what_we_keep_is_found_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/auth.json");
    let files = auth_files(&file);
    for (key, user) in [("h:1", "ann"), ("h:1/ns", "bob"), ("docker.io", "eve")] {
        files.store(key, user, &Secret::new("p:w")).unwrap();
    }
    let path = file.to_str().unwrap();
    for (key, user) in [("h:1", "ann"), ("h:1/ns/x", "bob"), ("docker.io", "eve")] {
        let (_, said) = skopeo(
            &["login", "--get-login", "--authfile", path, key],
            dir.path(),
        );
        assert_eq!(said.trim(), user);
    }
    let ours = std::fs::read(&file).unwrap();
    let (good, said) = skopeo(&["logout", "--authfile", path, "h:1/none"], dir.path());
    assert!(!good, "{said}");
    assert_eq!(
        String::from_utf8_lossy(&std::fs::read(&file).unwrap()),
        String::from_utf8_lossy(&ours),
        "skopeo writes the same bytes"
    );
    let (good, said) = skopeo(&["logout", "--authfile", path, "h:1/ns"], dir.path());
    assert!(good, "{said}");
    assert_eq!(
        files.lookup_key("h:1/ns").unwrap().found.unwrap().user,
        "ann"
    );
}

/// Hosts at which nobody listens: what fails says where it was tried.
const MIRRORS: &str = r#"
[[registry]]
prefix = "127.0.0.1:1/foo"
location = "127.0.0.1:2/bar"
[[registry.mirror]]
location = "127.0.0.1:3/a"
[[registry.mirror]]
location = "127.0.0.1:4"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "127.0.0.1:5"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "127.0.0.1:1/foo/deeper"
location = "127.0.0.1:1/moved"

[[registry]]
location = "127.0.0.1:6"
mirror-by-digest-only = true
[[registry.mirror]]
location = "127.0.0.1:7/x/y"

[[registry]]
location = "127.0.0.1:8"
blocked = true
"#;

#[test]
fn peer_the_same_places_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "r.conf", MIRRORS);
    let conf = RegistriesConf::parse(MIRRORS, &file).unwrap();
    let digest = format!("@sha256:{}", "0".repeat(64));
    for name in [
        "127.0.0.1:1/foo/x:1".to_owned(),
        format!("127.0.0.1:1/foo/x{digest}"),
        "127.0.0.1:1/foo/deeper/x:1".to_owned(),
        "127.0.0.1:1/foobar:1".to_owned(),
        "127.0.0.1:6/x:1".to_owned(),
        format!("127.0.0.1:6/x{digest}"),
        "127.0.0.1:8/x:1".to_owned(),
    ] {
        let place = format!("docker://{name}");
        let words = [
            "--registries-conf",
            file.to_str().unwrap(),
            "inspect",
            &place,
        ];
        let (_, said) = skopeo(&words, dir.path());
        let reference = Reference::parse_normalized(&name).unwrap();
        match conf.endpoints(&reference, Use::Pull) {
            Err(error) => {
                let text = error.to_string();
                let start = text.split(" in one of").next().unwrap();
                assert!(said.contains(start), "{name}: {text}: {said}");
            }
            Ok(places) => {
                let mut rest = said.as_str();
                for place in &places {
                    let ping = format!("https://{}/v2/", place.reference.domain());
                    let at = rest.find(&ping);
                    let at = at.unwrap_or_else(|| panic!("{name}: {ping}: {said}"));
                    if places.len() > 1 {
                        assert!(rest[..at].contains(&place.reference.to_string()), "{said}");
                    }
                    rest = &rest[at + ping.len()..];
                }
                assert!(!rest.contains("https://"), "{name}: {places:?}: {said}");
            }
        }
    }
}

#[test]
fn peer_mistakes_are_told_in_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    for text in [
        "short-name-mode = \"bogus\"",
        "unqualified-search-registries = [\"https://q\"]",
        "[[registry]]\ninsecure = true",
        "[[registry]]\nprefix = \"a.example.com\"",
        "[[registry]]\nprefix = \"*.example.com/a\"\nlocation = \"b\"",
        "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true",
        "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"m\"\npull-from-mirror = \"zz\"",
        "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"q\"\npull-from-mirror = \"all\"",
        "[[registry]]\nprefix = \"a\"\nlocation = \"y\"\ninsecure = true\n[[registry]]\nprefix = \"b\"\nlocation = \"y\"",
        "[[registry]]\nprefix = \"a\"\nlocation = \"y\"\nblocked = true\n[[registry]]\nprefix = \"b\"\nlocation = \"y\"",
        "[aliases]\n\"a/b:c\" = \"quay.io/x\"",
        "[aliases]\nx = \"y\"",
        "[aliases]\nx = \"quay.io/y:1\"",
        "[aliases]\n\"quay.io/x\" = \"quay.io/y\"",
    ] {
        let file = write(dir.path(), "bad.conf", text);
        let ours = RegistriesConf::parse(text, &file).unwrap_err();
        let causes = std::iter::successors(Some(&ours as &dyn Error), |error| (**error).source());
        let ours: Vec<String> = causes.map(ToString::to_string).collect();
        let ours = ours.join(": ");
        let place = ours.rfind(" (").unwrap_or(ours.len());
        let words = [
            "--registries-conf",
            file.to_str().unwrap(),
            "inspect",
            "docker://127.0.0.1:1/x",
        ];
        let (_, said) = skopeo(&words, dir.path());
        assert!(said.contains(&ours[..place]), "{}\n{said}", &ours[..place]);
        assert!(ours[place..].contains("bad.conf:"), "{ours}");
    }
}

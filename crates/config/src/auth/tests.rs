//! What is read from and written to auth files.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::test_world::{World, world};

const CANARY: &str = "canary-5ecre7";

fn files(world: &World) -> AuthFiles {
    let helpers = vec![AUTH_FILES_HELPER.to_owned()];
    AuthFiles::find(&world.roots, &AuthFlag::Unset, helpers, Path::new("/"))
}

/// The user's file alone, as if it had been named.
fn named(world: &World) -> AuthFiles {
    let flag = AuthFlag::File(world.path("user/auth.json"));
    let helpers = vec![AUTH_FILES_HELPER.to_owned()];
    AuthFiles::find(&world.roots, &flag, helpers, Path::new("/"))
}

/// Writes a helper that keeps what it is given in a file beside it.
fn install(world: &mut World, name: &str) {
    let dir = world.path("bin");
    std::fs::create_dir_all(&dir).unwrap();
    let script = "#!/bin/sh\nkept=\"$0.kept\"\nread -r line\nprintf '%s|%s\\n' \"$1\" \"$line\" >>\"$0.log\"\ncase \"$1\" in\nstore) printf '%s' \"$line\" >\"$kept\" ;;\nget) if [ -f \"$kept\" ]; then cat \"$kept\"; else echo 'credentials not found in native keychain'; exit 1; fi ;;\nerase) if [ -f \"$kept\" ]; then rm \"$kept\"; else echo 'credentials not found in native keychain'; exit 1; fi ;;\nlist) echo '{\"h\":\"u\"}' ;;\nesac\n";
    let path = dir.join(format!("docker-credential-{name}"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let value = format!("{}:/usr/bin:/bin", dir.display());
    world.set("PATH", &value);
}

fn auth(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

fn shown(world: &World, result: Result<Lookup, AuthError>) -> String {
    let text = match result {
        Ok(Lookup {
            found: Some(found), ..
        }) => {
            let token = found.identity_token.map(|token| token.expose().to_owned());
            format!(
                "{}:{} {token:?} {}",
                found.user,
                found.password.expose(),
                found.from
            )
        }
        Ok(lookup) => lookup.to_string(),
        Err(error) => error.to_string(),
    };
    world.relative(&text)
}

#[test]
fn the_most_specific_entry_counts() {
    let text = format!(
        r#"{{"auths":{{"h:5000":{{"auth":"{}"}},"h:5000/a":{{"auth":"{}"}},"h:5000/a/b":{{"auth":"{}","identitytoken":"tok"}},"https://index.docker.io/v1/":{{"auth":"{}"}},"<token>":{{}},"t":{{"auth":"{}"}}}}}}"#,
        auth("u", "host"),
        auth("u", "ns:with:colons"),
        auth("u", "repo"),
        auth("hub", "p\0\0"),
        auth("<token>", "x"),
    );
    let world = world(0, &[("user/auth.json", &text)]);
    let files = files(&world);
    let check = |key: &str, expected: &str| {
        assert_eq!(shown(&world, files.lookup_key(key)), expected, "{key}");
    };
    check(
        "h:5000/a/b",
        "u:repo Some(\"tok\") entry \"h:5000/a/b\" of user/auth.json",
    );
    check(
        "h:5000/a/b/c",
        "u:repo Some(\"tok\") entry \"h:5000/a/b\" of user/auth.json",
    );
    check(
        "h:5000/a/c",
        "u:ns:with:colons None entry \"h:5000/a\" of user/auth.json",
    );
    check(
        "h:5000/ab",
        "u:host None entry \"h:5000\" of user/auth.json",
    );
    check("h:5000", "u:host None entry \"h:5000\" of user/auth.json");
    check(
        "docker.io/library/x",
        "hub:p None entry \"https://index.docker.io/v1/\" of user/auth.json",
    );
    check("t", "<token>:x None entry \"t\" of user/auth.json");
    check(
        "other/x",
        "no credentials were found; no key matches in user/auth.json; not there: run/containers/auth.json, home/.docker/config.json, home/.dockercfg",
    );
    check("https://h", "key https://h contains http[s]:// prefix");
    check(
        "h/a:b",
        "key h/a:b contains a ':' character after host[:port]",
    );
}

#[test]
fn files_are_asked_in_order() {
    let entry = |name: &str| format!(r#"{{"auths":{{"h":{{"auth":"{}"}}}}}}"#, auth(name, "p"));
    let legacy = format!(
        r#"{{"https://h/v1/":{{"auth":"{}"}}}}"#,
        auth("legacy", "p")
    );
    let mut world = world(
        0,
        &[
            ("run/containers/auth.json", &entry("run")),
            ("user/auth.json", &entry("user")),
            ("home/.docker/config.json", &entry("docker")),
            ("home/.dockercfg", &legacy),
            ("named.json", &entry("named")),
            ("dc/config.json", &entry("dc")),
        ],
    );
    for (file, user) in [
        ("run/containers/auth.json", "run"),
        ("user/auth.json", "user"),
        ("home/.docker/config.json", "docker"),
        ("home/.dockercfg", "legacy"),
    ] {
        let found = files(&world).lookup_key("h/x").unwrap().found.unwrap();
        assert_eq!(found.user, user);
        std::fs::remove_file(world.path(file)).unwrap();
    }
    std::fs::write(world.path("user/auth.json"), entry("user")).unwrap();
    let user = |world: &World, flag: AuthFlag| {
        let helpers = vec![AUTH_FILES_HELPER.to_owned()];
        let files = AuthFiles::find(&world.roots, &flag, helpers, &world.path(""));
        files.lookup_key("h").unwrap().found.map(|found| found.user)
    };
    let dc = world.path("dc").display().to_string();
    world.set("DOCKER_CONFIG", &dc);
    assert_eq!(user(&world, AuthFlag::Unset).as_deref(), Some("dc"));
    let named = world.path("named.json").display().to_string();
    world.set("REGISTRY_AUTH_FILE", &named);
    assert_eq!(user(&world, AuthFlag::Unset).as_deref(), Some("named"));
    let flag = AuthFlag::File("dc/config.json".into());
    assert_eq!(user(&world, flag).as_deref(), Some("dc"));
    let missing = AuthFlag::File("missing.json".into());
    assert_eq!(user(&world, missing.clone()), None);
    let missing = AuthFiles::find(&world.roots, &missing, Vec::new(), &world.path(""));
    let error = missing.check_flag().unwrap_err();
    assert_eq!(
        world.relative(&error.to_string()),
        "credential file is not accessible: faccessat missing.json"
    );
}

#[test]
fn a_session_directory_that_is_gone_is_told() {
    let mut world = world(0, &[]);
    world.set("XDG_RUNTIME_DIR", "/nonexistent");
    let files = files(&world);
    assert_eq!(
        files.warnings,
        [
            "\"/nonexistent\" directory set by $XDG_RUNTIME_DIR does not exist. Either create the directory or unset $XDG_RUNTIME_DIR.: faccessat /nonexistent: no such file or directory: Trying to pull image in the event that it is a public image."
        ]
    );
    assert!(files.lookup_key("h").unwrap().found.is_none());
    assert!(matches!(
        files.store("h", "u", &Secret::new("p")),
        Err(AuthError::NoRuntimeDir { .. })
    ));
}

#[test]
fn bad_files_are_named_without_their_secrets() {
    let check = |text: &str, expected: &str| {
        let world = world(0, &[("user/auth.json", text)]);
        let result = files(&world).lookup_key("h");
        let debug = format!("{result:?}");
        assert!(!debug.contains(CANARY), "{debug}");
        assert_eq!(shown(&world, result), expected, "{text}");
    };
    let reading = |problem: &str| {
        format!(
            "reading JSON file \"user/auth.json\": unmarshaling JSON at \"user/auth.json\": {problem}"
        )
    };
    check(
        "",
        &reading("unexpected end of JSON input (user/auth.json:1)"),
    );
    check(
        "{\n\"auths\": nope}",
        &reading("invalid JSON at column 11 (user/auth.json:2)"),
    );
    check("[]", &reading("it is no object"));
    check(
        &format!(r#"{{"auths":{{"h":"{CANARY}"}}}}"#),
        &reading("entry \"h\" is no object"),
    );
    check(
        &format!(r#"{{"auths":{{"h":{{"auth":["{CANARY}"]}}}}}}"#),
        &reading("`auth` of entry \"h\" is no string"),
    );
    check(
        &format!(r#"{{"auths":"{CANARY}"}}"#),
        &reading("`auths` is no object"),
    );
    check(
        &format!(r#"{{"credHelpers":{{"h":{{"x":"{CANARY}"}}}}}}"#),
        &reading("`credHelpers` is no object of strings"),
    );
    check(
        &format!(r#"{{"auths":{{"h":{{"auth":"!{CANARY}"}}}}}}"#),
        "illegal base64 data at input byte 0 (entry \"h\" of user/auth.json)",
    );
    let world = world(
        0,
        &[(
            "user/auth.json",
            &format!(r#"{{"auths":{{"h":{{"auth":"{}"}}}}}}"#, {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(CANARY)
            }),
        )],
    );
    let lookup = files(&world).lookup_key("h").unwrap();
    assert!(lookup.found.is_none());
    assert_eq!(
        world.relative(&lookup.warnings[0]),
        "Error parsing the \"auth\" field of a credential entry \"h\" in \"user/auth.json\", missing colon"
    );
}

#[test]
fn what_is_found_does_not_show_itself() {
    let text = format!(
        r#"{{"auths":{{"h":{{"auth":"{}","identitytoken":"{CANARY}"}}}}}}"#,
        auth("u", CANARY)
    );
    let world = world(0, &[("user/auth.json", &text)]);
    let lookup = files(&world).lookup_key("h").unwrap();
    let shown = format!("{lookup:?} {lookup:#?} {lookup}");
    assert!(!shown.contains(CANARY) && !shown.contains(&auth("u", CANARY)));
    let file = AuthFile::parse(text.as_bytes(), Path::new("f"), AuthFormat::Current).unwrap();
    assert!(!format!("{file:?}").contains(CANARY));
}

#[test]
fn a_login_is_written_as_buildah_writes_it() {
    let world = world(0, &[]);
    let files = files(&world);
    let path = world.path("run/containers/auth.json");
    let stored = files.store("h:5000", "u", &Secret::new("p")).unwrap();
    assert_eq!(stored.to_string(), path.display().to_string());
    files
        .store("a.example.com/ns", "v", &Secret::new("q"))
        .unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\n\t\"auths\": {{\n\t\t\"a.example.com/ns\": {{\n\t\t\t\"auth\": \"{}\"\n\t\t}},\n\t\t\"h:5000\": {{\n\t\t\t\"auth\": \"{}\"\n\t\t}}\n\t}}\n}}",
            auth("v", "q"),
            auth("u", "p")
        )
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(files.erase("a.example.com").unwrap(), Erased::Nothing);
    assert_eq!(files.erase("a.example.com/ns").unwrap(), Erased::Removed);
    files.erase_all().unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\n\t\"auths\": {}\n}"
    );
}

#[test]
fn what_is_not_understood_survives_a_login() {
    let text =
        r#"{"HttpHeaders":{"X":"1"},"auths":{"other":{"auth":"dTpw","email":"e"}},"zzz":[1,2]}"#;
    let mut world = world(0, &[("dc/config.json", text)]);
    let dc = world.path("dc").display().to_string();
    world.set("DOCKER_CONFIG", &dc);
    let files = files(&world);
    files.store("docker.io", "u", &Secret::new("p")).unwrap();
    let text = std::fs::read_to_string(world.path("dc/config.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["HttpHeaders"]["X"], "1");
    assert_eq!(value["zzz"][1], 2);
    assert_eq!(value["auths"]["other"]["email"], "e");
    assert_eq!(
        value["auths"]["https://index.docker.io/v1/"]["auth"],
        "dTpw"
    );
    assert_eq!(
        files
            .store("h/ns", "u", &Secret::new("p"))
            .unwrap_err()
            .to_string(),
        "Credentials cannot be recorded in Docker-compatible format with namespaced key \"h/ns\""
    );
}

#[test]
fn helpers_of_a_file_keep_credentials() {
    let mut world = world(0, &[("user/auth.json", r#"{"credHelpers":{"h":"mine"}}"#)]);
    install(&mut world, "mine");
    let files = named(&world);
    assert!(files.lookup_key("h/x").unwrap().found.is_none());
    let stored = files.store("h", "u", &Secret::new(CANARY)).unwrap();
    assert_eq!(stored.to_string(), "credential helper: mine");
    let found = files.lookup_key("h/x").unwrap();
    assert_eq!(found.found.as_ref().unwrap().password.expose(), CANARY);
    assert_eq!(
        world.relative(&found.to_string()),
        "the credentials are credential helper mine, asked for \"h\", named in user/auth.json"
    );
    let log = std::fs::read_to_string(world.path("bin/docker-credential-mine.log")).unwrap();
    assert_eq!(
        log,
        format!(
            "get|h\nstore|{{\"ServerURL\":\"h\",\"Username\":\"u\",\"Secret\":\"{CANARY}\"}}\nget|h\n"
        )
    );
    assert_eq!(files.erase("h").unwrap(), Erased::Removed);
    assert_eq!(files.erase("h").unwrap(), Erased::Nothing);
    assert_eq!(
        files
            .store("h/ns", "u", &Secret::new("p"))
            .map(drop)
            .map_err(|e| e.to_string()),
        Ok(())
    );
}

#[test]
fn the_store_of_docker_is_asked() {
    let text = r#"{"auths":{"docker.io":{},"plain":{"auth":"dTpw"}},"credsStore":"desk"}"#;
    let mut world = world(0, &[("user/auth.json", text)]);
    let lookup = files(&world).lookup_key("docker.io/library/x").unwrap();
    assert!(lookup.found.is_none());
    assert_eq!(
        world.relative(&lookup.warnings[0]),
        "user/auth.json: `credsStore` names docker-credential-desk, which is not in $PATH"
    );
    install(&mut world, "desk");
    let files = named(&world);
    files.store("docker.io", "u", &Secret::new("p")).unwrap();
    let log = std::fs::read_to_string(world.path("bin/docker-credential-desk.log")).unwrap();
    assert!(log.contains("https://index.docker.io/v1/"), "{log}");
    let found = files
        .lookup_key("docker.io/library/x")
        .unwrap()
        .found
        .unwrap();
    assert_eq!(found.user, "u");
    let text = std::fs::read_to_string(world.path("user/auth.json")).unwrap();
    assert!(text.contains("\"docker.io\": {}"), "{text}");
    let plain = files.lookup_key("plain").unwrap().found.unwrap();
    assert!(matches!(plain.from, Provenance::Entry { .. }));
    files.erase_all().unwrap();
    assert!(files.lookup_key("docker.io").unwrap().found.is_none());
}

#[test]
fn helpers_of_registries_conf_have_their_order() {
    let text = format!(r#"{{"auths":{{"h":{{"auth":"{}"}}}}}}"#, auth("file", "p"));
    let mut world = world(0, &[("user/auth.json", &text)]);
    install(&mut world, "mine");
    let lookup = |world: &World, helpers: &[&str]| {
        let helpers = helpers.iter().map(ToString::to_string).collect();
        AuthFiles::find(&world.roots, &AuthFlag::Unset, helpers, Path::new("/")).lookup_key("h")
    };
    let kept = r#"{"ServerURL":"h","Username":"<token>","Secret":"tok"}"#;
    let found = lookup(&world, &["mine", AUTH_FILES_HELPER])
        .unwrap()
        .found
        .unwrap();
    assert_eq!(found.user, "file");
    std::fs::write(world.path("bin/docker-credential-mine.kept"), kept).unwrap();
    let found = lookup(&world, &["mine", AUTH_FILES_HELPER])
        .unwrap()
        .found
        .unwrap();
    assert_eq!(found.identity_token.unwrap().expose(), "tok");
    assert_eq!(
        lookup(&world, &["gone"]).unwrap_err().to_string(),
        "error getting credentials - err: exec: \"docker-credential-gone\": executable file not found in $PATH, out: ``"
    );
    std::fs::write(world.path("bin/docker-credential-mine.kept"), CANARY).unwrap();
    let error = lookup(&world, &["mine"]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY));
    assert!(lookup(&world, &["../evil"]).is_err());
}

proptest! {
    /// Whatever the bytes, parsing ends, and no error shows what was written there.
    #[test]
    fn no_bytes_make_an_error_tell(before in "[{}\\[\\]\",:a-z\\\\ ]{0,24}", after in "[{}\\[\\]\",:a-z\\\\ ]{0,24}") {
        let text = format!("{before}{CANARY}{after}");
        if let Err(error) = AuthFile::parse(text.as_bytes(), Path::new("f"), AuthFormat::Current) {
            let shown = format!("{error} {error:?}");
            // A key is a host, which may be shown; here every entry's name could be the canary.
            prop_assert!(!shown.contains(CANARY) || shown.contains("entry"), "{shown}");
        }
    }

    /// Of the keys that are a beginning of the name, the longest is taken.
    #[test]
    fn the_longest_key_wins(depth in 1_usize..6, present in proptest::collection::vec(any::<bool>(), 6)) {
        let parts = ["h", "a", "b", "c", "d", "e"];
        let name = |length: usize| parts[..length].join("/");
        let entries: Vec<String> = (1..=6)
            .filter(|length| present[length - 1])
            .map(|length| format!(r#""{}":{{"auth":"{}"}}"#, name(length), auth(&length.to_string(), "p")))
            .collect();
        let text = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
        let file = AuthFile::parse(text.as_bytes(), Path::new("f"), AuthFormat::Current).unwrap();
        let expected = (1..=depth).rev().find(|length| present[length - 1]);
        let found = file.entry(&name(depth)).unwrap().and_then(|entry| entry.found);
        prop_assert_eq!(found.map(|found| found.user), expected.map(|length| length.to_string()));
    }
}

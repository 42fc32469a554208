//! containers.conf: where values come from, and what is said of bad ones.

use super::*;
use crate::test_world::{World, chain, world};

fn load(world: &World) -> ContainersConf {
    ContainersConf::load(&world.roots).unwrap()
}

#[test]
fn values_know_their_lines() {
    let world = world(
        0,
        &[
            (
                "etc/containers.conf",
                "[containers]\nDNS_servers = [\"1.1.1.1\"]\nshm_size = \"1g\"\n[engine]\nretry = 7\n[engine.runtimes]\nmine = [\"/opt/mine\"]\n",
            ),
            ("usr/containers.conf", "[engine]\nretry = 9\n"),
            (
                "etc/containers.conf.d/10-a.conf",
                "[containers]\ndns_servers = [\"2.2.2.2\", {append=true}]\n[engine]\ncompression_level = 4\n",
            ),
            (
                "user/containers.conf.d/20-b.conf",
                "[containers]\ndns_servers = [\"3.3.3.3\"]\n",
            ),
        ],
    );
    let conf = load(&world);
    assert_eq!(
        conf.containers.dns_servers.value,
        ["1.1.1.1", "2.2.2.2", "3.3.3.3"]
    );
    assert_eq!(conf.engine.retry.value, 7);
    assert_eq!(conf.engine.compression_level.value, Some(4));
    assert_eq!(conf.runtimes["mine"].value, ["/opt/mine"]);
    assert!(conf.runtimes.contains_key("crun"));
    let shown: Vec<String> = conf
        .effective()
        .iter()
        .filter(|one| one.place != Place::Default)
        .map(|one| world.relative(&format!("{} = {} ({})", one.name, one.value, one.place)))
        .collect();
    assert_eq!(
        shown,
        [
            "containers.dns_servers = [\"1.1.1.1\", \"2.2.2.2\", \"3.3.3.3\"] (user/containers.conf.d/20-b.conf:2)",
            "containers.shm_size = \"1g\" (etc/containers.conf:3)",
            "engine.compression_level = 4 (etc/containers.conf.d/10-a.conf:4)",
            "engine.retry = 7 (etc/containers.conf:5)",
            "engine.runtimes.mine = [\"/opt/mine\"] (etc/containers.conf:7)",
        ]
    );
}

#[test]
fn lists_may_extend_the_defaults() {
    let check = |text: &str, expected: &[&str]| {
        let text = format!("[containers]\ndefault_capabilities = {text}");
        let conf = ContainersConf::parse(&text, Path::new("c.conf")).unwrap();
        let all = conf.containers.default_capabilities.value;
        assert_eq!(all[all.len() - expected.len()..], *expected);
        assert_eq!(all.len() > expected.len(), text.contains("true"));
    };
    check("[\"SYS_PTRACE\"]", &["SYS_PTRACE"]);
    check("[\"SYS_PTRACE\", {append=true}]", &["SYS_PTRACE"]);
    check("[\"SYS_PTRACE\", {append=false}]", &["SYS_PTRACE"]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let check = |text: &str, expected: &str| {
        let error = ContainersConf::parse(text, Path::new("bad.conf")).unwrap_err();
        assert_eq!(chain(&error), expected, "{text}");
    };
    let decode = "parsing containers.conf: decode configuration \"bad.conf\": ";
    check(
        "[engine]\nretry = \"many\"",
        &format!(
            "{decode}bad.conf:2: `engine.retry` must be an integer from 0 to 4294967295, not a string"
        ),
    );
    check(
        "[engine]\nretry = -1",
        &format!(
            "{decode}bad.conf:2: `engine.retry` must be an integer from 0 to 4294967295, not an integer"
        ),
    );
    check(
        "[containers]\ninit = 1",
        &format!("{decode}bad.conf:2: `containers.init` must be true or false, not an integer"),
    );
    check(
        "[containers]\ndefault_ulimits = [\"x\"]",
        "validating containers config: unrecognized ulimit x: invalid ulimit argument: x (bad.conf:2)",
    );
    check(
        "[engine]\npull_policy = \"x\"",
        "validating engine configs: invalid pull type from containers.conf \"x\": unsupported pull policy \"x\" (bad.conf:2)",
    );
    check(
        "[engine]\nenv = [\"x\"]",
        "invalid environment variable \"x\" from containers.conf, valid configuration is KEY=value pair (bad.conf:2)",
    );
    check(
        "[containers]\numask = \"99\"",
        "validating containers config: not a valid umask 99 (bad.conf:2)",
    );
    let syntax = ContainersConf::parse("[engine\n", Path::new("bad.conf")).unwrap_err();
    assert!(chain(&syntax).starts_with(&format!("{decode}bad.conf:1: ")));
    let mut world = world(0, &[]);
    world.set("CONTAINERS_CONF", "/nonexist");
    assert!(
        chain(&ContainersConf::load(&world.roots).unwrap_err())
            .starts_with("parsing containers.conf: open /nonexist: ")
    );
}

#[test]
fn unknown_keys_have_a_nearest_one() {
    let conf = ContainersConf::parse(
        "[engine]\nretries = 1\n[containers]\ndns_server = []\nlog_driver = \"none\"\n[engine.volume_plugins]\nx = \"/y\"\n[whatever]\nzzzzz = 1\n",
        Path::new("c.conf"),
    )
    .unwrap();
    let warnings: Vec<String> = conf.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "c.conf:2: unknown setting `engine.retries` is ignored; did you mean `engine.retry`?",
            "c.conf:4: unknown setting `containers.dns_server` is ignored; did you mean `containers.dns_servers`?",
            "c.conf:9: unknown setting `whatever.zzzzz` is ignored",
        ]
    );
}

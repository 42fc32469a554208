//! The networks of processes: what flags ask for, what a container remembers, what files it finds, and what is
//! left of them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use runtime::network::ipam::bolt;

use crate::rootless::{SubIds, User};
use crate::stage::{Stage, text};

/// Where connections are written down while they last.
const RECORDS: &str = "/run/cooper/networks";
/// The addresses that all tools give out.
const DATABASE: &str = "/run/containers/networks/ipam.db";
/// The namespace of a process.
const NAMESPACE: &str = "ls -l /proc/self/ns/net";
const PATIENCE: Duration = Duration::from_secs(20);

fn namespace(listing: &str) -> String {
    let link = listing.split_once(" -> ").map(|(_, link)| link.trim());
    link.unwrap_or_default().to_owned()
}

fn hosts_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/net").unwrap();
    link.to_string_lossy().into_owned()
}

/// The addresses under which a hosts file has the container `name`.
fn addresses_of<'a>(hosts: &'a str, name: &str) -> Vec<&'a str> {
    let lines = hosts.lines().map(|line| line.split_whitespace());
    let own = lines.filter(|words| words.clone().skip(1).any(|word| word == name));
    own.filter_map(|mut words| words.next()).collect()
}

/// Who has an address of the network.
fn holders(network: &str) -> Vec<String> {
    let root = bolt::read(&std::fs::read(DATABASE).unwrap()).unwrap();
    let Some(network) = root.buckets.get(network.as_bytes()) else {
        return Vec::new();
    };
    let ids = network.buckets[&b"ids"[..]].values.keys();
    ids.map(|id| String::from_utf8_lossy(id).into_owned())
        .collect()
}

/// A network of its own for a test, as containers.conf has it; returns its name and its device.
fn own_network(stage: &Stage, third: u32) -> (String, String) {
    let number = std::process::id() % 200 + 20;
    let (name, device) = (format!("cooper{number}"), format!("cpc{number}n{third}"));
    let networks = stage.path("networks");
    std::fs::create_dir_all(&networks).unwrap();
    let network = format!(
        "{{\"name\": \"{name}\", \"id\": \"{}\", \"driver\": \"bridge\", \"network_interface\": \"{device}\", \
         \"subnets\": [{{\"subnet\": \"10.{number}.{third}.0/24\"}}]}}",
        "d".repeat(64)
    );
    std::fs::write(networks.join(format!("{name}.json")), network).unwrap();
    let conf = format!(
        "[network]\nnetwork_config_dir = {:?}\ndefault_network = {name:?}\n",
        text(&networks)
    );
    let conf = stage.write("networks.conf", &conf);
    stage.set("CONTAINERS_CONF", text(&conf));
    (name, device)
}

#[test]
fn priv_steps_of_a_build_share_a_connection() {
    let stage = Stage::with_base("netbuild");
    let file = format!(
        "FROM base\nRUN {NAMESPACE}\nRUN {NAMESPACE} && cat /etc/resolv.conf\n\
         RUN --network=host {NAMESPACE}\nRUN --network=none {NAMESPACE}\n"
    );
    let said = stage.build(&file, &["--network", "slirp4netns"]).ok();
    let links = said.lines().filter(|line| line.contains(" -> net:["));
    let seen: Vec<String> = links.map(namespace).collect();
    let [first, second, host, none] = seen.as_slice() else {
        panic!("{said}")
    };
    assert_eq!(first, second);
    assert_eq!(*host, hosts_namespace());
    assert!(none != host && none != first && first != host, "{said}");
    assert!(said.contains("nameserver 10.0.2.3\n"), "{said}");
}

#[test]
fn priv_words_for_networks() {
    let stage = Stage::with_base("networds");
    let (name, _) = own_network(&stage, 1);
    stage.cooper(&["from", "--name", "box", "base"]).ok();
    let run = |flags: &[&str]| {
        let words = [&["run"], flags, &["box", "sh", "-c", NAMESPACE]].concat();
        namespace(&stage.cooper(&words).ok())
    };
    let host = hosts_namespace();
    for flags in [
        &[][..],
        &["--network", "host"],
        &["--net=default"],
        &["--network", "ns:/proc/self/ns/net"],
        &["--network=/proc/self/ns/net"],
        &["--isolation", "chroot"],
        &["--cni-config-dir", "/nowhere"],
    ] {
        assert_eq!(run(flags), host, "{flags:?}");
    }
    for word in [
        "none",
        "private",
        "",
        &name,
        "slirp4netns:mtu=1500",
        "pasta",
    ] {
        assert_ne!(run(&["--network", word]), host, "{word:?}");
    }
    let fails = |word: &str, expected: &str| {
        let words = ["run", "--network", word, "box", "true"];
        let said = stage.cooper(&words).fails(125);
        assert!(said.contains(expected), "{word}: {said}");
    };
    let not_found = |word: &str| {
        format!(
            "Error: setup network: unable to find network with name or ID {word}: network not found\n"
        )
    };
    fails("bogus", &not_found("bogus"));
    fails("container:x", &not_found("container:x"));
    fails(
        "slirp4netns:foo=1",
        "Error: setup network: unknown option for slirp4netns: \"foo=1\"\n",
    );
    fails(
        "/nowhere",
        "Error: checking network namespace: faccessat /nowhere: no such file or directory\n",
    );
    // What the configuration asks for, and what a container remembers.
    let conf = std::fs::read_to_string(stage.path("networks.conf")).unwrap();
    let conf = stage.write(
        "networks.conf",
        &format!("{conf}[containers]\nnetns = \"private\"\n"),
    );
    stage.set("CONTAINERS_CONF", text(&conf));
    assert_ne!(run(&[]), host);
    assert_eq!(run(&["--network", "host"]), host);
    stage
        .cooper(&["from", "--name", "shared", "--network", "host", "base"])
        .ok();
    let said = stage.cooper(&["run", "shared", "sh", "-c", NAMESPACE]).ok();
    assert_eq!(namespace(&said), host);
}

#[test]
fn priv_a_user_has_networks_of_its_own() {
    let user = User::new("usernets", SubIds::Given);
    user.give_tunnels();
    let context = user.context("FROM scratch\nCOPY base /\n");
    user.cooper(&["build", "-t", "made", text(&context)]).ok();
    user.cooper(&["from", "--name", "box", "made"]).ok();
    let run = |word: &str| {
        let words = ["run", "--network", word, "--hostname", "machine", "box"];
        user.cooper(&[&words[..], &["cat", "/etc/hosts", "/etc/resolv.conf"]].concat())
    };
    for (word, server) in [
        ("private", "169.254.1.1"),
        ("pasta", "169.254.1.1"),
        ("slirp4netns", "10.0.2.3"),
    ] {
        let files = run(word).ok();
        assert!(
            files.contains(&format!("nameserver {server}\n")),
            "{word}: {files}"
        );
        assert_eq!(addresses_of(&files, "machine").len(), 1, "{word}: {files}");
    }
    let refused = run("podman").fails(125);
    assert!(
        refused.contains("setup network: cannot use networks as rootless"),
        "{refused}"
    );
}

#[test]
fn priv_what_a_killed_run_leaves_is_taken_back() {
    let stage = Stage::with_base("netkilled");
    let (network, device) = own_network(&stage, 2);
    stage.cooper(&["from", "--name", "box", "base"]).ok();
    for (word, mark) in [(network.as_str(), device.as_str()), ("pasta", "\"helper\"")] {
        let mut run = stage
            .cooper_command(&[
                "run",
                "--network",
                word,
                "box",
                "sh",
                "-c",
                "echo on; sleep 60",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What it prints says that it is connected.
        let mut byte = [0];
        std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut byte).unwrap();
        let records = std::fs::read_dir(RECORDS).unwrap().flatten();
        let is_ours = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.contains(mark)
        };
        let left: Vec<_> = records
            .map(|entry| entry.path())
            .filter(|path| is_ours(path))
            .collect();
        assert!(!left.is_empty(), "{word}");
        assert_eq!(holders(&network).len(), usize::from(word != "pasta"));
        run.kill().unwrap();
        run.wait().unwrap();
        stage
            .cooper(&["run", "--network", "slirp4netns", "box", "true"])
            .ok();
        // Records of other tests that run now may be among them.
        let since = Instant::now();
        while left.iter().all(|path| path.exists()) {
            assert!(since.elapsed() < PATIENCE, "{word}: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let device = Path::new("/sys/class/net").join(&device);
        assert!(!device.exists(), "{word}");
        assert_eq!(holders(&network), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn peer_networks_are_remembered_as_buildah_does() {
    let stage = Stage::with_base("netpeers");
    for (index, word) in [
        "none",
        "host",
        "private",
        "",
        "bogus",
        "slirp4netns:mtu=1500",
        "/proc/self/ns/net",
    ]
    .into_iter()
    .enumerate()
    {
        let (ours, theirs) = (format!("ours{index}"), format!("theirs{index}"));
        let from = |name: &str| {
            let flag = format!("--network={word}");
            ["from", "--name", name, &flag, "localhost/base"].map(str::to_owned)
        };
        let words = |list: &[String; 5]| list.clone();
        let list = words(&from(&ours));
        stage.cooper(&list.each_ref().map(String::as_str)).ok();
        let list = words(&from(&theirs));
        stage.buildah(&list.each_ref().map(String::as_str)).ok();
        let remembered = |name: &str| {
            let format = "{{.NamespaceOptions}} {{.ConfigureNetwork}}";
            let words = ["inspect", "--format", format, name];
            let seen = stage.cooper(&words).ok();
            assert_eq!(stage.buildah(&words).ok(), seen, "{word}");
            seen
        };
        assert_eq!(remembered(&ours), remembered(&theirs), "{word:?}");
    }
    let host = hosts_namespace();
    for container in ["ours0", "theirs0", "ours1", "theirs1", "ours6", "theirs6"] {
        let words = ["run", container, "sh", "-c", NAMESPACE];
        let seen = namespace(&stage.cooper(&words).ok());
        assert_eq!(seen == host, !container.ends_with('0'), "{container}");
        if !container.ends_with('6') {
            let seen = namespace(&stage.buildah(&words).ok());
            assert_eq!(seen == host, !container.ends_with('0'), "{container}");
        }
    }
}

#[test]
fn peer_addresses_are_shared_with_buildah() {
    let stage = Stage::with_base("netaddresses");
    // In a store that somebody else has made, Debian's Buildah looks for CNI.
    stage.write("root/defaultNetworkBackend", "netavark");
    stage
        .cooper(&["from", "--name", "box", "localhost/base"])
        .ok();
    let flags = ["run", "--network", "podman", "--hostname", "machine", "box"];
    let words = |script: &'static str| [&flags[..], &["sh", "-c", script]].concat();
    let read = words("cat /etc/hosts");
    let mut seen = Vec::new();
    for round in 0..4 {
        let ours = stage.cooper(&read).ok();
        let theirs = stage.buildah(&read).ok();
        for hosts in [&ours, &theirs] {
            let own = addresses_of(hosts, "machine");
            assert_eq!(own, addresses_of(hosts, "box"), "{hosts}");
            let [address] = own.as_slice() else {
                panic!("{hosts}")
            };
            assert!(address.starts_with("10.88."), "{hosts}");
            assert!(
                !seen.contains(&(*address).to_owned()),
                "round {round}: {hosts}"
            );
            seen.push((*address).to_owned());
        }
        let host = addresses_of(&ours, "host.containers.internal");
        assert_eq!(host, addresses_of(&theirs, "host.containers.internal"));
    }
    // Both have written the database in turn; nothing of either is left in it.
    let left = holders("podman");
    assert!(!left.iter().any(|id| id.starts_with("cooper-")), "{left:?}");
    let resolv = words("cat /etc/resolv.conf");
    assert_eq!(stage.cooper(&resolv).ok(), stage.buildah(&resolv).ok());
}

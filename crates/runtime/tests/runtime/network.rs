//! Runs that are connected by the host's programs, on their way to a server of the host. Needs
//! netavark, pasta and slirp4netns, and for pasta a default route.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooper_runtime::network::{Connector, Facts, Link, Mode, Settings, View, connect, reap};
use cooper_runtime::{Exit, RunSpec};
use serde_json::json;

use super::{Tree, outcome, spec};

/// Rules of the firewall are shared by all tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A network of the test's own, with places of its own; nothing of it is left at the end.
struct Place {
    _alone: MutexGuard<'static, ()>,
    folder: PathBuf,
    bridge: String,
    subnet: String,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let number = std::process::id() % 200 + 20;
        let alone = ONE_AT_A_TIME.lock();
        let place = Self {
            _alone: alone.unwrap_or_else(PoisonError::into_inner),
            folder: std::env::temp_dir().join(format!("cooper-network-{number}-{count}")),
            bridge: format!("cpr{number}x{count}"),
            subnet: format!("10.{number}.{count}.0/24"),
        };
        let _ = std::fs::remove_dir_all(&place.folder);
        std::fs::create_dir_all(place.folder.join("networks")).unwrap();
        place
    }

    fn settings(&self) -> Settings {
        let network = json!({
            "name": "own", "id": "c".repeat(64), "driver": "bridge",
            "network_interface": self.bridge, "subnets": [{"subnet": self.subnet}],
            "ipam_options": {"driver": "host-local"},
        });
        let networks = self.folder.join("networks");
        std::fs::write(networks.join("own.json"), network.to_string()).unwrap();
        Settings {
            connector: Connector::Root,
            helper_dirs: vec!["/usr/libexec/podman".into(), "/usr/lib/podman".into()],
            program_dirs: vec!["/usr/bin".into()],
            definitions: networks,
            default_network: "own".to_owned(),
            default_subnet: "10.88.0.0/16".to_owned(),
            run_dir: self.folder.join("run"),
            records: self.folder.join("records"),
            firewall_driver: String::new(),
            dns_port: 0,
            plugin_dirs: Vec::new(),
            pasta_options: Vec::new(),
            slirp4netns: None,
            slirp4netns_options: Vec::new(),
        }
    }

    /// Checks that nothing is written down and no device is left.
    fn assert_clean(&self) {
        let records = std::fs::read_dir(self.folder.join("records")).unwrap();
        assert_eq!(records.count(), 0);
        assert!(!Path::new("/sys/class/net").join(&self.bridge).exists());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "delete", &self.bridge])
            .stderr(std::process::Stdio::null())
            .status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server that answers every request with the same word; returns its port.
fn server(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    port
}

fn facts(link: &Link) -> Facts {
    match link.view() {
        View::Connected(facts) => facts.clone(),
        other => panic!("{other:?}"),
    }
}

fn output(link: &Link, script: &str) -> String {
    let tree = Tree::new();
    let root = tree.root();
    let spec = RunSpec {
        network: link.network(),
        ..spec(&root, &["sh", "-c", script])
    };
    let (exit, out, err) = outcome(spec);
    assert_eq!(exit.expect("starts"), Exit::Code(0), "{script}\n{out}{err}");
    out
}

/// What the server says. (A static busybox cannot look up names, which its wget always does; older
/// pastas do not carry on with a connection that one side has closed.)
fn fetch(link: &Link, host: &str, port: u16) -> String {
    let request = "(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1)";
    let answer = output(
        link,
        &format!("{request} | busybox timeout 10 busybox nc {host} {port}"),
    );
    answer.rsplit('\n').next().unwrap_or_default().to_owned()
}

#[test]
fn priv_slirp4netns_leads_to_the_host() {
    let place = Place::new();
    let mode: Mode = "slirp4netns:allow_host_loopback=true".parse().unwrap();
    let link = connect(&mode, &place.settings()).expect("connects");
    let facts = facts(&link);
    assert_eq!(format!("{:?}", facts.addresses), "[10.0.2.100]");
    assert_eq!(format!("{:?}", facts.resolvers), "[10.0.2.3]");
    assert_eq!(fetch(&link, "10.0.2.2", server("127.0.0.1")), "hello");
    assert!(output(&link, "ip addr").contains("tap0"));
    link.close().expect("closes");
    place.assert_clean();
}

#[test]
fn priv_pasta_leads_to_the_host() {
    let place = Place::new();
    let port = server("127.0.0.1");
    let mode = Mode::Pasta(vec!["--map-gw".to_owned()]);
    let link = connect(&mode, &place.settings()).expect("connects");
    let facts = facts(&link);
    assert_eq!(facts.addresses.len(), 1, "{facts:?}");
    assert_eq!(format!("{:?}", facts.resolvers), "[169.254.1.1]");
    let gateway = output(
        &link,
        "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'",
    );
    assert_eq!(fetch(&link, gateway.trim(), port), "hello");
    link.close().expect("closes");
    place.assert_clean();
}

#[test]
fn priv_netavark_connects_to_a_network_of_the_host() {
    let place = Place::new();
    let settings = place.settings();
    let port = server("0.0.0.0");
    let gateway = place.subnet.replace("0/24", "1");
    let first = connect(&Mode::Private, &settings).expect("connects");
    let second = connect(&Mode::Named(vec!["c".repeat(12)]), &settings).expect("connects");
    for (link, last) in [(&first, "2"), (&second, "3")] {
        let address = place.subnet.replace("0/24", last);
        let facts = facts(link);
        assert_eq!(format!("{:?}", facts.addresses), format!("[{address}]"));
        assert!(output(link, "ip addr").contains(&address));
    }
    assert_eq!(fetch(&first, &gateway, port), "hello");
    first.close().expect("closes");
    // Not before: a bridge has the least hardware address of its ports, so it may change when one leaves, and who has
    // talked to it would go on with the old one for a while.
    assert_eq!(fetch(&second, &gateway, port), "hello");
    drop(second);
    place.assert_clean();
    let third = connect(&Mode::Private, &settings).expect("connects");
    let facts = facts(&third);
    assert_eq!(
        facts.addresses[0].to_string(),
        place.subnet.replace("0/24", "4")
    );
    third.close().expect("closes");
    place.assert_clean();
}

#[test]
fn priv_a_namespace_is_joined() {
    let place = Place::new();
    let made = connect(&Mode::Slirp4netns(Vec::new()), &place.settings()).expect("connects");
    let Link::Made(_) = &made else {
        panic!("{made:?}")
    };
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let link = connect(&Mode::Path("/proc/self/ns/net".into()), &place.settings()).expect("opens");
    assert_eq!(
        output(&link, "readlink /proc/self/ns/net").trim(),
        own.to_str().unwrap()
    );
    assert_ne!(
        output(&made, "readlink /proc/self/ns/net").trim(),
        own.to_str().unwrap()
    );
}

#[test]
fn priv_what_cannot_be_connected_is_named() {
    let place = Place::new();
    let check = |word: &str, change: &dyn Fn(&mut Settings), expected: &str| {
        let mut settings = place.settings();
        change(&mut settings);
        let mode: Mode = word.parse().unwrap();
        let text = match connect(&mode, &settings) {
            Ok(link) => format!("{link:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{word}: {text}");
    };
    let same = |_: &mut Settings| {};
    check(
        "bogus",
        &same,
        "unable to find network with name or ID bogus: network not found",
    );
    check(
        "own,bogus",
        &same,
        "unable to find network with name or ID bogus",
    );
    check(
        "slirp4netns:foo=1",
        &same,
        "unknown option for slirp4netns: \"foo=1\"",
    );
    check(
        "slirp4netns:outbound_addr=nowhere",
        &same,
        "slirp4netns failed with",
    );
    check(
        "pasta:--nonsense",
        &same,
        "unrecognized option '--nonsense'",
    );
    check(
        "/nowhere",
        &same,
        "cannot open the network namespace /nowhere",
    );
    let as_user = |settings: &mut Settings| settings.connector = Connector::UserWithPasta;
    check("own", &as_user, "cannot use networks as rootless");
    let bare = |settings: &mut Settings| {
        settings.helper_dirs.clear();
        settings.program_dirs.clear();
    };
    check("own", &bare, "could not find \"netavark\" in one of []");
    check(
        "pasta",
        &bare,
        "could not find pasta, the network namespace can't be configured",
    );
    place.assert_clean();
}

#[test]
fn priv_what_a_killed_process_left_is_taken_back() {
    let place = Place::new();
    let settings = place.settings();
    let made = connect(&Mode::Private, &settings).expect("connects");
    // As the kernel would leave it: the record is there, but nobody holds it.
    let path = std::fs::read_dir(&settings.records)
        .unwrap()
        .next()
        .unwrap();
    let path = path.unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    let address = facts(&made).addresses[0];
    reap(&settings).expect("leaves it alone");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    made.close().expect("closes");
    let mut helper = Command::new("sleep").arg("1000").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", helper.id())).unwrap();
    let started: u64 = stat.split_whitespace().nth(21).unwrap().parse().unwrap();
    let mut left: serde_json::Value = serde_json::from_str(&text).unwrap();
    left["helper"] = json!({"pid": helper.id(), "started": started});
    std::fs::write(&path, left.to_string()).unwrap();
    let container = left["container"].as_str().unwrap().to_owned();
    let database = settings.run_dir.join("ipam.db");
    let networks = [cooper_runtime::network::definition::Definition::parse(
        &std::fs::read(settings.definitions.join("own.json")).unwrap(),
    )
    .unwrap()];
    let given = cooper_runtime::network::ipam::allocate(&database, &networks, &container).unwrap();
    assert_ne!(given[0][0], address);
    reap(&settings).expect("takes everything back");
    assert!(!helper.wait().unwrap().success());
    place.assert_clean();
    let bytes = std::fs::read(&database).unwrap();
    let root = cooper_runtime::network::ipam::bolt::read(&bytes).unwrap();
    assert!(
        root.buckets[&b"own"[..]].buckets[&b"ids"[..]]
            .values
            .is_empty()
    );
}

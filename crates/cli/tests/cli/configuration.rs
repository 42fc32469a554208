//! The host's configuration as a user meets it: what a step gets of it, and the questions of `login`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use testkit::registry::Registry;

use crate::stage::{Stage, text};

#[test]
fn priv_a_step_has_what_containers_conf_says() {
    let stage = Stage::with_base("config");
    let volume = stage.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "from the host\n").unwrap();
    let conf = format!(
        "[containers]\ndefault_ulimits = [\"nofile=77:88\"]\ndefault_capabilities = [\"CHOWN\"]\n\
        dns_servers = [\"192.0.2.1\"]\ndns_searches = [\"example.com\"]\nshm_size = \"3m\"\n\
        base_hosts_file = \"none\"\nvolumes = [\"{}:/volume:ro\", \"/proc:/proc\"]\n",
        volume.display()
    );
    let conf = stage.write("own.conf", &conf);
    stage.set("CONTAINERS_CONF", text(&conf));
    let file = "FROM base\nRUN ulimit -n; cat /volume/f /etc/resolv.conf /etc/hosts; \
        cat /proc/self/status /proc/mounts\n";
    let said = stage.build(file, &["--no-cache"]).ok();
    for expected in [
        "77\n",
        "from the host\n",
        "search example.com\nnameserver 192.0.2.1\n",
        "127.0.0.1\tlocalhost\n",
        "CapBnd:\t0000000000000001\n",
        "size=3072k",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // A flag takes the place of the configuration.
    let file = "FROM base\nRUN ulimit -n\n";
    let said = stage.build(file, &["--no-cache", "--ulimit", "nofile=55:66"]);
    let said = said.ok();
    assert!(said.contains("55\n"), "{said}");
}

#[test]
fn priv_mistakes_in_containers_conf_end_every_command() {
    let stage = Stage::empty("configbad");
    let check = |conf: &str, words: &[&str], status: i32, expected: &str| {
        let conf = stage.write("own.conf", conf);
        let mut command = stage.cooper_command(words);
        let said = crate::stage::said(command.env("CONTAINERS_CONF", conf));
        assert_eq!(said.status, status, "{said:?}");
        assert!(said.stderr.contains(expected), "{said:?}");
    };
    check(
        "[engine]\nretry = true\n",
        &["version"],
        1,
        "own.conf:2: `engine.retry` must be an integer from 0 to 4294967295, not a boolean",
    );
    check(
        "[engine]\nretrie = 1\n",
        &["version"],
        0,
        "own.conf:2: unknown setting `engine.retrie` is ignored; did you mean `engine.retry`?",
    );
    check(
        "[containers]\nipcns = \"private\"\nuserns = \"auto\"\n",
        &["version"],
        0,
        "own.conf:3: this value of `containers.userns` is not supported yet",
    );
}

#[test]
fn priv_what_is_wrong_with_storage_conf_is_said_once() {
    let stage = Stage::with_base("storageonce");
    let conf = stage.write("storage.conf", "[storage]\ndrivr = \"vfs\"\n");
    stage.set("CONTAINERS_STORAGE_CONF", text(&conf));
    let place = format!("oci:{}", stage.path("pushed").display());
    let said = stage.cooper(&["push", "-q", "base", &place]);
    assert_eq!(said.stderr.matches("storage.drivr").count(), 1, "{said:?}");
    said.ok();
}

/// A terminal: what we write is typed there, what we read is seen there.
struct Screen {
    ours: File,
    theirs: OwnedFd,
    seen: String,
    /// How much of it was waited for.
    passed: usize,
}

impl Screen {
    fn new() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = rustix::fs::open(
            name.as_c_str(),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        Self {
            ours: ours.into(),
            theirs,
            seen: String::new(),
            passed: 0,
        }
    }

    fn end(&self) -> OwnedFd {
        self.theirs.try_clone().unwrap()
    }

    /// Waits until a text is seen behind the one that was waited for before; fails when nothing comes for long.
    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        loop {
            if let Some(at) = self.seen[self.passed..].find(text) {
                self.passed += at + text.len();
                return;
            }
            let mut ready = [PollFd::new(&self.ours, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            };
            let count = poll(&mut ready, Some(&limit)).unwrap();
            assert!(count > 0, "{text} does not come: {}", self.seen);
            let count = self.ours.read(&mut bytes).unwrap();
            self.seen
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }

    fn write(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn peer_login_asks_without_showing_the_password() {
    let stage = Stage::empty("prompt");
    stage.set("HOME", text(&stage.path("home")));
    let runtime_dir = stage.path("xdg");
    std::fs::create_dir(&runtime_dir).unwrap();
    stage.set("XDG_RUNTIME_DIR", text(&runtime_dir));
    let registry = Registry::with_passwords(&[("u1", "pw1")]).unwrap();
    let host = registry.host();
    let mut screen = Screen::new();
    let start = |screen: &Screen| {
        let mut command = stage.cooper_command(&["login", "--tls-verify=false", &host]);
        command.stdin(screen.end()).stdout(screen.end());
        command.stderr(screen.end()).spawn().unwrap()
    };
    let mut child = start(&screen);
    screen.wait_for("Username: ");
    screen.write("u1\n");
    screen.wait_for("Password: ");
    screen.write("wrong\x15pwx\x7f1\r");
    screen.wait_for("Login Succeeded!");
    assert!(child.wait().unwrap().success());
    assert!(!screen.seen.contains("pw"), "{}", screen.seen);

    // Credentials that no longer hold are asked for again.
    let file = runtime_dir.join("containers/auth.json");
    let stale = std::fs::read_to_string(&file)
        .unwrap()
        .replace("dTE6cHcx", "dTE6b2xk");
    std::fs::write(&file, stale).unwrap();
    let mut child = start(&screen);
    screen.wait_for(&format!(
        "Authenticating with existing credentials for {host}"
    ));
    screen.wait_for("Existing credentials are invalid, please enter valid username and password");
    screen.wait_for("Username (u1): ");
    screen.write("\n");
    screen.wait_for("Password: ");
    screen.write("\x03");
    screen.wait_for("reading password: interrupted");
    assert_eq!(child.wait().unwrap().code(), Some(125));
}

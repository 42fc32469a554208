//! Bad networks: what was moved once is not moved again.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use testkit::proxy::{Fault, FaultProxy, Rule};
use testkit::registry::Registry;

use super::setting::{PLAIN, at, big, empty, id, make, noise, raw};
use crate::stage::{Store, text};

/// What the proxy lets pass on one connection.
const CUT: u64 = 50_000_000;

/// Debian's registry forgets an upload whose PATCH was cut: what was sent until the first cut is sent
/// twice. That is within the five percent as long as it happens to one of the layers only.
#[test]
fn peer_done_a_gibibyte_passes_a_network_that_cuts() {
    let stage = empty("wiregib");
    let block = noise(7, 64 << 20);
    std::fs::create_dir_all(stage.path("context")).unwrap();
    for number in 0..16 {
        // Gzip's window is far smaller than a block: the same block again does not compress.
        std::fs::write(stage.path(&format!("context/f{number:02}")), &block).unwrap();
    }
    make(
        &stage,
        "gib",
        "FROM scratch\nCOPY f0[0-3] /\nCOPY f0[4-7] /\nCOPY f0[89] f1[01] /\nCOPY f1[2-5] /\n",
    );
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "gib:1");
    proxy.cut_every(CUT);
    stage.cooper(&["push", "-q", PLAIN, "gib", &place]).ok();
    let up = proxy.traffic().up;
    proxy.reset();
    let manifest = raw(&stage, &at(&registry.host(), "gib:1"));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    let size: u64 = layers
        .iter()
        .filter_map(|layer| layer["size"].as_u64())
        .sum();
    assert!(size > 1 << 30, "{size}");
    proxy.cut_every(CUT);
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    let down = proxy.traffic().down;
    assert_eq!(pulled, id(&stage, "gib"));
    for (way, bytes) in [("up", up), ("down", down)] {
        assert!(
            bytes < size + size / 20,
            "{way}: {bytes} bytes for {size}, {:.1} % more",
            (bytes as f64 / size as f64 - 1.0) * 100.0
        );
    }
}

#[test]
fn peer_done_a_cut_upload_goes_on() {
    let stage = big("wirecutup", 8 << 20);
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "big:1");
    // What is sent again goes in pieces that are smaller than what was cut.
    proxy.rule(Rule::new("PATCH", "/blobs/uploads/", Fault::CutUp(3 << 20)));
    let said = stage.cooper(&["push", "-q", PLAIN, "--retry", "0", "big", &place]);
    said.ok();
    let cut = proxy.requests().into_iter().filter(|seen| seen.status == 0);
    assert_eq!(cut.count(), 1);
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    assert_eq!(pulled, id(&stage, "big"));
}

/// What the sockets of a process that dies may hold, unread.
const ON_ITS_WAY: u64 = 16 << 20;

/// A process that does not outlive the test.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // A file may be gone by now.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(metadata) => found.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    found
}

#[test]
fn priv_a_killed_push_does_not_stand_in_the_way() {
    let stage = big("wirekillpush", 96 << 20);
    let out = stage.path("out");
    stage.set("TMPDIR", text(&out));
    for place in [
        "dir:@/place",
        "oci:@/place:t",
        "oci-archive:@/place:t",
        "docker-archive:@/place",
        "static-registry:@/place:a/big:1",
    ] {
        std::fs::create_dir_all(&out).unwrap();
        let place = place.replace('@', text(&out));
        let mut push = stage.cooper_command(&["push", "-q", "big", &place]);
        let mut running = Running(push.spawn().unwrap());
        let start = Instant::now();
        while files(&out).iter().map(|(_, size)| size).sum::<u64>() < 8 << 20 {
            assert!(start.elapsed() < Duration::from_secs(60), "{place}");
            std::thread::sleep(Duration::from_millis(2));
        }
        running.kill();
        let half = stage.cooper_elsewhere(&["pull", "-q", &place]);
        assert_eq!(half.status, 125, "{place}: nothing is published");
        stage.cooper(&["push", "-q", "big", &place]).ok();
        let left: Vec<_> = files(&out)
            .into_iter()
            .filter(|(path, _)| text(path).contains("/.cooper-"))
            .collect();
        assert_eq!(left, Vec::new(), "{place}");
        let pulled = stage.cooper_elsewhere(&["pull", "-q", &place]).ok();
        assert_eq!(pulled, id(&stage, "big"), "{place}");
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn peer_done_a_killed_pull_goes_on_in_the_next_run() {
    let stage = big("wirekill", 96 << 20);
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "big:1");
    stage.cooper(&["push", "-q", PLAIN, "big", &place]).ok();
    proxy.reset();
    let size = 96 << 20;
    // Slow enough that little is on its way when the process dies.
    proxy.rule(Rule::new("GET", "/blobs/", Fault::Drip(80 << 20)));
    let mut pull = stage.cooper_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place]);
    let mut running = Running(pull.spawn().unwrap());
    let start = Instant::now();
    while proxy.traffic().down < 48 << 20 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?}",
            proxy.traffic()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill();
    let before = proxy.traffic().down;
    assert!(before < size, "the pull was over already");
    assert_eq!(
        stage.cooper_elsewhere(&["images", "-q"]).ok(),
        "",
        "nothing is published"
    );
    let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
    assert_eq!(pulled, id(&stage, "big"));
    let all = proxy.traffic().down;
    assert!(all < size + ON_ITS_WAY, "{before}, then {all} of {size}");
    assert!(proxy.requests().iter().any(|seen| seen.range.is_some()));
}

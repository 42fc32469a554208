//! Images that a build fetches beside its stages, or leaves where they are.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::proxy::{Fault, FaultProxy, Rule, status};
use testkit::registry::Registry;

use super::setting::{PLAIN, at, big, raw};
use crate::stage::{Said, Stage, Store, said, text};

/// How many bytes the far image's layer has.
const SIZE: usize = 4 << 20;

/// A registry with `big:1` behind a proxy, and a store without it.
struct Far {
    stage: Stage,
    proxy: FaultProxy,
    /// The digest of the image's layer.
    layer: String,
    _registry: Registry,
}

impl Far {
    fn new(purpose: &str) -> Self {
        let (stage, registry) = (big(purpose, SIZE), Registry::open().unwrap());
        let place = at(&registry.host(), "big:1");
        stage.cooper(&["push", "-q", PLAIN, "big", &place]).ok();
        stage.write("context/h.txt", "hello\n");
        let layer = raw(&stage, &place)["layers"][0]["digest"].clone();
        Self {
            stage,
            proxy: FaultProxy::start(&registry.host()).unwrap(),
            layer: layer.as_str().expect("a digest").to_owned(),
            _registry: registry,
        }
    }

    /// Lets layers come in so many seconds.
    fn slow(&self, seconds: u64) {
        let rate = Fault::Drip(SIZE as u64 / seconds);
        self.proxy.rule(Rule::new("GET", &self.layer, rate));
    }

    /// Builds in the store without the image; `BIG` in the file is its name.
    fn build(&self, file: &str, words: &[&str]) -> Said {
        let name = format!("{}/big:1", self.proxy.host());
        let file = self
            .stage
            .write("Containerfile", &file.replace("BIG", &name));
        let context = self.stage.path("context");
        let mut all = vec!["build", PLAIN, "-f", text(&file)];
        all.extend(words);
        all.push(text(&context));
        said(&mut self.stage.cooper_on(Store::Elsewhere, &all))
    }

    /// How often the layer was asked for.
    fn fetches(&self) -> usize {
        self.proxy.count("GET", &self.layer)
    }
}

#[test]
fn peer_done_stages_run_while_the_base_of_another_comes() {
    let far = Far::new("wirefetchbase");
    far.slow(3);
    let file = "FROM BIG AS far\nFROM scratch AS near\nCOPY h.txt /\nFROM far\nCOPY --from=near /h.txt /\n";
    let said = far.build(file, &["--jobs", "1", "--progress=json", "-t", "x"]);
    let events: Vec<Value> = said
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let first = |name: &str, stage: Option<u64>| {
        let mut found = events.iter();
        let found = found.position(|event| {
            event["event"] == name && stage.is_none_or(|stage| event["at"]["stage"] == stage)
        });
        found.unwrap_or_else(|| panic!("no {name} in {events:#?}"))
    };
    said.ok();
    assert!(first("step_done", Some(1)) < first("blob_done", None));
    assert!(first("writing_manifest", None) < first("step_started", Some(0)));
    assert_eq!(far.fetches(), 1);
}

#[test]
fn peer_done_what_no_step_reads_stays_where_it_is() {
    let far = Far::new("wirefetchnone");
    let file = "FROM BIG AS unused\nFROM scratch\nCOPY h.txt /\nCOPY --from=BIG /noise /other\n";
    far.build(file, &["-q", "-t", "x"]).ok();
    assert_eq!(far.fetches(), 1);
    let name = format!("{}/big:1", far.proxy.host());
    far.stage.cooper_elsewhere(&["rmi", &name]).ok();

    // Its content is known, and so is every step.
    far.build(file, &["-q", "-t", "x"]).ok();
    assert_eq!(far.fetches(), 1);
    let images = far.stage.cooper_elsewhere(&["images", "-n"]).ok();
    assert_eq!(images.lines().count(), 1, "{images}");

    // A step before it is another one.
    far.stage.write("context/h.txt", "others\n");
    far.build(file, &["-q", "-t", "x"]).ok();
    assert_eq!(far.fetches(), 2);
    let container = far.stage.cooper_elsewhere(&["from", "x"]).ok();
    let mount = far.stage.cooper_elsewhere(&["mount", &container]).ok();
    let copied = std::fs::metadata(std::path::Path::new(&mount).join("other")).unwrap();
    assert_eq!(copied.len(), SIZE as u64);
    far.stage.cooper_elsewhere(&["umount", &container]).ok();
}

#[test]
fn peer_done_a_base_whose_layers_cannot_be_had_fails_its_instruction() {
    let far = Far::new("wirefetchfail");
    far.proxy.rule(Rule::new("GET", &far.layer, status(404)));
    let error = far.build("FROM BIG\nCOPY h.txt /\n", &["-t", "x"]).stderr;
    let name = format!("{}/big:1", far.proxy.host());
    let expected = format!(
        "building at STEP \"FROM {name}\": creating build container for base image \"{name}\": \
         unable to copy from source docker://{name}: "
    );
    assert!(error.contains(&expected), "{error}");
    let read = format!("FROM scratch\nCOPY --from={name} /noise /\n");
    let error = far.build(&read, &["-t", "x"]).stderr;
    let expected = format!("COPY --from={name}: no stage or image found with that name: ");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn peer_done_a_step_that_fails_ends_what_is_being_fetched() {
    let far = Far::new("wirefetchend");
    far.slow(60);
    let file = "FROM BIG AS far\nFROM scratch AS near\nCOPY nothing /\nFROM far\nCOPY --from=near /h.txt /\n";
    let begun = Instant::now();
    let error = far.build(file, &["-t", "x"]).stderr;
    assert!(error.contains("COPY nothing /"), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

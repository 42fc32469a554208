//! `build --cache-to` and `--cache-from`: results that machines share through a registry.

use std::path::{Path, PathBuf};

use testkit::registry::{Registry, Request};

use crate::stage::{Said, Stage, Store, said, text};

const FILE: &str = "FROM base AS one\nARG A=1\nCOPY f /f\nRUN echo $A > /a && cat /proc/sys/kernel/random/uuid > /once\nENV V=$A\n\n\
    FROM base\nCOPY --from=one /once /once\nRUN cat /once /once > /twice\nLABEL l=x\n";

/// Two machines with the same base, and a registry.
struct Machines {
    stage: Stage,
    registry: Registry,
}

impl Machines {
    fn new(purpose: &str) -> Self {
        Self::with(purpose, Registry::open().unwrap())
    }

    fn with(purpose: &str, registry: Registry) -> Self {
        let stage = Stage::with_base(purpose);
        let archive = format!("oci-archive:{}", stage.path("base.tar").display());
        stage.cooper(&["push", "-q", "base", &archive]).ok();
        // Both have it from there: its digest enters annotations.
        stage.cooper(&["rmi", "-a", "-f"]).ok();
        for store in [Store::Here, Store::Elsewhere] {
            let run = |words: &[&str]| said(&mut stage.cooper_on(store, words)).ok();
            let pulled = run(&["pull", "-q", &archive]);
            run(&["tag", &last_line(&pulled), "base"]);
        }
        stage.write("context/f", "1\n");
        Self { stage, registry }
    }

    fn repository(&self) -> String {
        format!("{}/team/cache", self.registry.host())
    }

    fn build(&self, store: Store, file: &str, words: &[&str]) -> Said {
        let path = self.stage.write("Containerfile", file);
        let context = self.stage.path("context");
        let mut all = vec!["build", "--layers", "--tls-verify=false", "-f", text(&path)];
        all.extend(words);
        all.push(text(&context));
        said(&mut self.stage.cooper_on(store, &all))
    }

    /// Builds where nothing was built before, and puts everything into the registry.
    fn fill(&self, file: &str) -> String {
        let to = self.repository();
        let said = self.build(Store::Here, file, &["--cache-to", &to, "-t", "x"]);
        let said = said.ok();
        assert!(
            said.contains(&format!("--> Pushing cache [{to}]:")),
            "{said}"
        );
        last_line(&said)
    }

    fn elsewhere(&self, file: &str, words: &[&str]) -> Said {
        let from = self.repository();
        let words = [&["--cache-from", &from, "--explain", "-t", "x"], words].concat();
        self.build(Store::Elsewhere, file, &words)
    }

    /// The files of the registry below `place`.
    fn files(&self, place: &str) -> Vec<PathBuf> {
        let below = self.registry.folder().join("data/docker/registry/v2");
        let mut found = Vec::new();
        let mut todo = vec![below.join(place)];
        while let Some(at) = todo.pop() {
            if at.is_dir() {
                todo.extend(
                    std::fs::read_dir(at)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            } else {
                found.push(at);
            }
        }
        found
    }
}

fn last_line(said: &str) -> String {
    said.lines().last().unwrap_or_default().to_owned()
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

/// What was asked of a registry since `before`: GET and HEAD of manifests, GET of blobs.
fn asked(registry: &Registry, before: usize) -> (usize, usize) {
    let requests = registry.requests();
    let count = |wanted: &dyn Fn(&Request) -> bool| {
        requests[before..]
            .iter()
            .filter(|request| wanted(request))
            .count()
    };
    (
        count(&|request| request.target.contains("/manifests/")),
        count(&|request| request.method == "GET" && request.target.contains("/blobs/")),
    )
}

#[test]
fn peer_another_machine_has_the_same_image_without_performing_a_step() {
    let machines = Machines::new("cache-shared");
    let id = machines.fill(FILE);
    let before = machines.registry.requests().len();
    let to = machines.repository();
    let said = machines.elsewhere(FILE, &["--cache-to", &to]);
    assert_eq!(said.stderr, "", "no step is explained, no warning told");
    let said = said.ok();
    assert_eq!(last_line(&said), id);
    let steps: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("Cache pulled"))
        .collect();
    assert_eq!(steps.len(), 6, "four steps and two stages' ends: {said}");
    assert!(
        steps
            .iter()
            .all(|line| line.starts_with(&format!("--> Cache pulled from remote {to}:"))),
        "{said}"
    );
    assert_eq!(count(&said, "Pushing cache"), 0, "{said}");
    // A stage has two steps: at most one request for each, one for what is brought, one for the image; and the config of both.
    let (manifests, blobs) = asked(&machines.registry, before);
    assert!(manifests <= 2 * (2 + 1 + 1), "{manifests} manifests");
    assert!(blobs <= 2 * (2 + 2), "{blobs} blobs");
    // The base was there; what was brought is no image of its own.
    let images = machines
        .stage
        .cooper_elsewhere(&["images", "-a", "-q", "--no-trunc"])
        .ok();
    assert_eq!(
        images.lines().count(),
        3,
        "base, a stage, the result: {images}"
    );
    // From now on it is here.
    let before = machines.registry.requests().len();
    let again = machines.elsewhere(FILE, &[]).ok();
    assert_eq!((last_line(&again), count(&again, "Cache pulled")), (id, 0));
    assert_eq!(asked(&machines.registry, before), (0, 0));
}

#[test]
fn peer_a_changed_input_is_found_nowhere() {
    let machines = Machines::new("cache-changed");
    let id = machines.fill(FILE);
    for (words, content, why) in [
        (
            &["--build-arg", "A=2"][..],
            "1\n",
            "never built before, and in no cache",
        ),
        (&[], "2\n", "`f` has changed"),
        (&["--no-cache"], "1\n", "the cache is not used"),
        (&["--cache-ttl", "0s"], "1\n", "the cache is not used"),
        (&["--cache-ttl", "1ns"], "1\n", "too old"),
    ] {
        machines.stage.write("context/f", content);
        machines.stage.cooper_elsewhere(&["rmi", "-f", "x"]);
        let said = machines.elsewhere(FILE, words);
        assert!(said.stderr.contains(why), "{words:?}: {}", said.stderr);
        assert!(!said.stderr.contains("warning"), "{}", said.stderr);
        let text = said.ok();
        assert_ne!(last_line(&text), id, "{words:?}");
    }
}

#[test]
fn peer_the_first_steps_are_shared_when_later_ones_differ() {
    let machines = Machines::new("cache-prefix");
    machines.fill(
        "FROM base\nCOPY f /f\nRUN cat /proc/sys/kernel/random/uuid > /once\nRUN echo a > /a\n",
    );
    let file =
        "FROM base\nCOPY f /f\nRUN cat /proc/sys/kernel/random/uuid > /once\nRUN echo b > /b\n";
    let to = machines.repository();
    let said = machines.elsewhere(file, &["--cache-to", &to]).ok();
    assert_eq!(count(&said, "Cache pulled"), 2, "{said}");
    assert_eq!(count(&said, "Pushing cache"), 1, "{said}");
    // Now the first machine finds what the second has added.
    let from = ["--cache-from", &*to, "-t", "y"];
    let back = machines.build(Store::Here, file, &from).ok();
    assert_eq!(
        (last_line(&back), count(&back, "Cache pulled")),
        (last_line(&said), 1)
    );
}

#[test]
fn peer_lost_and_false_entries_cost_a_warning_and_the_work() {
    let machines = Machines::new("cache-false");
    let file =
        "FROM base\nCOPY f /f\nRUN cat /proc/sys/kernel/random/uuid > /once\nRUN echo $A > /a\n";
    let id = machines.fill(file);
    // The blobs of layers are the largest files, those of the base among them.
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let small: Vec<PathBuf> = machines
        .files("blobs")
        .into_iter()
        .filter(|path| size(path) < 4096)
        .collect();
    let is_layer = |path: &PathBuf| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
    let layers: Vec<PathBuf> = small.into_iter().filter(is_layer).collect();
    assert_eq!(layers.len(), 3);
    let kept: Vec<Vec<u8>> = layers
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for (content, name) in [
        (None, "lost"),
        (Some(&kept[0][..10]), "cut"),
        (Some(&kept[0]), "exchanged"),
    ] {
        for (at, path) in layers.iter().enumerate() {
            match content {
                None => std::fs::remove_file(path).unwrap(),
                // Every blob gets another one's bytes, or too few.
                Some(content) if content.len() == 10 => std::fs::write(path, content).unwrap(),
                Some(_) => std::fs::write(path, &kept[(at + 1) % kept.len()]).unwrap(),
            }
        }
        machines.stage.cooper_elsewhere(&["rmi", "-f", "x"]);
        let said = machines.elsewhere(file, &[]);
        assert!(
            said.stderr.contains("is not used: "),
            "{name}: {}",
            said.stderr
        );
        assert_ne!(last_line(&said.ok()), id, "{name}");
        for (path, content) in layers.iter().zip(&kept) {
            std::fs::write(path, content).unwrap();
        }
    }
    machines.stage.cooper_elsewhere(&["rmi", "-f", "x"]);
    assert_eq!(
        last_line(&machines.elsewhere(file, &["--cache-ttl", "24h"]).ok()),
        id
    );
}

#[test]
fn peer_an_entry_under_a_foreign_key_is_not_believed() {
    let machines = Machines::new("cache-lying");
    let to = machines.repository();
    machines.fill("FROM base\nRUN echo false > /result\n");
    let tags = |registry: &Registry| -> Vec<String> {
        let list = [
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{}/team/cache", registry.host()),
        ];
        let tags = machines.stage.skopeo(&list).ok();
        let words = tags.split('"').map(str::to_owned);
        words.filter(|word| word.len() == 64).collect()
    };
    let lying = tags(&machines.registry);
    machines.fill("FROM base\nRUN echo true > /result\n");
    for tag in tags(&machines.registry)
        .iter()
        .filter(|tag| !lying.contains(tag))
    {
        for source in &lying {
            let copy = [
                "copy",
                "-q",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ];
            let places = [
                format!("docker://{to}:{source}"),
                format!("docker://{to}:{tag}"),
            ];
            let words = [&copy[..], &[&*places[0], &*places[1]]].concat();
            machines.stage.skopeo(&words).ok();
        }
    }
    let file = "FROM base\nRUN echo true > /result\n";
    let said = machines.elsewhere(file, &[]).ok();
    assert_eq!(count(&said, "Cache pulled"), 0, "{said}");
    let container = machines.stage.cooper_elsewhere(&["from", "x"]).ok();
    let result = machines
        .stage
        .cooper_elsewhere(&["run", &container, "cat", "/result"])
        .ok();
    assert_eq!(result, "true");
}

#[test]
fn peer_a_registry_that_is_away_fails_a_push_and_not_a_look_up() {
    let machines = Machines::new("cache-away");
    let file = "FROM base\nRUN true\nRUN echo a > /a\n";
    let away = "127.0.0.1:1/team/cache";
    let from = machines.build(Store::Here, file, &["--cache-from", away]);
    assert_eq!(count(&from.stderr, "is not used"), 1, "{}", from.stderr);
    from.ok();
    let to = ["--cache-to", away, "--retry", "0"];
    let said = machines.build(Store::Here, file, &to).fails(125);
    assert!(
        said.contains("failed pushing cache to \"docker://127.0.0.1:1/team/cache:")
            && said.contains("connection refused"),
        "{said}"
    );
    // Without layers neither is asked.
    let both = ["--layers=false", "--cache-from", away, "--cache-to", away];
    let said = machines.build(Store::Here, file, &both);
    assert!(!said.stderr.contains("not used"), "{}", said.stderr);
    said.ok();
}

#[test]
fn peer_several_repositories_platforms_and_credentials() {
    let registry = Registry::with_passwords(&[("u", "p")]).unwrap();
    let machines = Machines::with("cache-several", registry);
    let host = machines.registry.host();
    let auth = machines.stage.path("auth.json");
    let login = [
        "login",
        "--tls-verify=false",
        "--authfile",
        text(&auth),
        "-u",
        "u",
        "-p",
        "p",
        &host,
    ];
    machines.stage.cooper(&login).ok();
    let (a, b) = (format!("{host}/a"), format!("{host}/b"));
    let file = "FROM scratch\nCOPY f /f\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n";
    let words = [
        "--authfile",
        text(&auth),
        "--platform",
        "linux/amd64,linux/arm64",
        "--manifest",
        "l",
    ];
    let to = [&words[..], &["--cache-to", &a, "--cache-to", &b]].concat();
    let said = machines.build(Store::Here, file, &to).ok();
    assert!(
        said.contains(&format!("--> Pushing cache [{a} {b}]:")),
        "{said}"
    );
    let nothing = format!("{host}/nothing");
    let from = [&words[..], &["--cache-from", &nothing, "--cache-from", &b]].concat();
    let said = machines.build(Store::Elsewhere, file, &from);
    assert_eq!(said.stderr, "");
    let said = said.ok();
    assert!(
        said.contains(&format!("--> Cache pulled from remote {b}:")),
        "{said}"
    );
    let denied = ["--cache-to", &a, "--authfile", "/dev/null", "--retry", "0"];
    machines.build(Store::Elsewhere, file, &denied).fails(125);
}

//! The rules of the cache as pairs: a change that must be performed again, a change that must
//! not. Files become stages as in a build; the machine is a table of recorded keys.

use crate::bound::{BoundCopy, BoundDirs, BoundOp, BoundRun, CopySource, Input};
use crate::cancel::Cancel;
use crate::error::{PlanError, StepError, StepFault};
use crate::graph::Graph;
use crate::key::{KeyContext, Keyed, StepKey, base_key};
use crate::request::RunSettings;
use crate::stage::{Change, Content, Found, HasLayer, Stands, Telling, Work, run_stage};
use crate::target::{
    BaseImage, Directory, ImageSettings, Images, NamedContext, Presence, Target, UnusedStages,
};
use model::{ImageConfig, ImageId, LayerId, ManifestFormat, MissReason, Platform, Timestamp};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// One situation of a build.
#[derive(Clone)]
struct Setting {
    file: String,
    args: Vec<(String, String)>,
    /// Path in a context → content digest.
    sources: BTreeMap<String, String>,
    /// Image name → number of its layer; ONBUILD triggers.
    images: BTreeMap<String, (u8, Vec<String>)>,
    contexts: Vec<String>,
    platform: Platform,
    times: &'static str,
    run: RunSettings,
    target: Option<String>,
    format: ManifestFormat,
    labels: Vec<(String, String)>,
}

impl Setting {
    fn new(steps: &str) -> Self {
        let text = if steps.contains("FROM ") {
            steps.to_owned()
        } else {
            format!("FROM base\n{steps}")
        };
        Self {
            file: text,
            args: Vec::new(),
            sources: BTreeMap::new(),
            images: BTreeMap::from([
                ("base".to_owned(), (1, Vec::new())),
                ("other".to_owned(), (2, Vec::new())),
            ]),
            contexts: Vec::new(),
            platform: Platform::new("linux", "amd64"),
            times: "",
            run: RunSettings::default(),
            target: None,
            format: ManifestFormat::Oci,
            labels: Vec::new(),
        }
    }

    fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.push((name.to_owned(), value.to_owned()));
        self
    }

    fn source(mut self, path: &str, content: &str) -> Self {
        self.sources.insert(path.to_owned(), content.to_owned());
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn target(&self) -> Target {
        let parsed = containerfile::parse_str("Containerfile", &self.file);
        assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        let directory = |path: &str| Directory {
            path: PathBuf::from(path),
            ignore: None,
        };
        let context = |name: &String| (name.clone(), NamedContext::Directory(directory(name)));
        let mut target = Target {
            name: None,
            file: Arc::new(parsed),
            context: directory("/ctx"),
            contexts: self.contexts.iter().map(context).collect(),
            args: crate::scope::ArgValues::default(),
            platform: self.platform.clone(),
            build_platform: Platform::new("linux", "amd64"),
            stage: self.target.clone(),
            unused_stages: UnusedStages::Skipped,
            base: None,
            env: Vec::new(),
            labels: self.labels.clone(),
            image: ImageSettings::new(self.format),
        };
        target.args.given = self.args.iter().cloned().collect();
        target
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no image")]
struct NoImage;

impl Images for Setting {
    type Error = NoImage;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, NoImage> {
        let (number, triggers) = self.images.get(name).ok_or(NoImage)?;
        let mut config = ImageConfig::for_platform(platform);
        config.config.on_build.clone_from(triggers);
        config.config.env = vec!["PATH=/bin".to_owned(), "BASE=1".to_owned()];
        Ok(BaseImage {
            presence: Presence::Stored,
            id: ImageId::from_bytes([*number; 32]),
            name: format!("localhost/{name}:latest"),
            digest: None,
            config,
            annotations: BTreeMap::new(),
            top_layer: Some(LayerId::from_bytes([*number; 32])),
        })
    }

    fn fetch(&self, image: &BaseImage, _cancel: &Cancel) -> Result<BaseImage, NoImage> {
        Ok(image.clone())
    }
}

/// What a machine without a machine knows.
#[derive(Default)]
struct Recorded(BTreeSet<StepKey>);

struct FakeWork<'a> {
    setting: &'a Setting,
    recorded: &'a mut Recorded,
    /// Keys of the stages by node, in place of their layers.
    stages: &'a BTreeMap<usize, String>,
    graph: &'a Graph,
    performed: Vec<String>,
    hits: usize,
}

impl FakeWork<'_> {
    fn input(&self, input: Input, path: &str) -> String {
        match input {
            Input::Stage(node) => self.stages[&node].clone(),
            Input::Image(index) => self.graph.images[index].image.id.to_string(),
            Input::Directory(index) => {
                let context = self.graph.directories[index].path.display().to_string();
                let named = format!("{context}:{path}");
                let sources = &self.setting.sources;
                sources
                    .get(&named)
                    .or_else(|| sources.get(path))
                    .cloned()
                    .unwrap_or_default()
            }
        }
    }
}

impl Work for FakeWork<'_> {
    fn run_content(&mut self, run: &BoundRun) -> Result<Content, StepError> {
        let digest = |mount: &crate::bound::BoundMount| {
            let path = crate::mounts::source_path(&mount.mount);
            let digest = mount
                .from
                .map(|from| self.input(from, path))
                .unwrap_or_default();
            (mount.text.clone(), digest)
        };
        Ok(Content {
            digests: run.mounts.iter().map(digest).collect(),
            word: String::new(),
        })
    }

    fn copy_content(&mut self, copy: &BoundCopy) -> Result<Content, StepError> {
        let digest = |source: &CopySource| match source {
            CopySource::Path(path) => format!("{path}={}", self.input(copy.from, path)),
            CopySource::Inline(file) => format!("{}={}", file.name, file.body),
            CopySource::Url { url, .. } => url.clone(),
        };
        let all: Vec<String> = copy.sources.iter().map(digest).collect();
        Ok(Content {
            digests: vec![("sources".to_owned(), all.join(","))],
            word: "file:x".to_owned(),
        })
    }

    fn look_up(&mut self, keyed: &Keyed, _: Stands) -> Result<Found, StepError> {
        if self.recorded.0.contains(&keyed.key) {
            self.hits += 1;
            return Ok(Found::Hit(Change {
                created: Timestamp::UNIX_EPOCH,
                layer: HasLayer::Yes,
            }));
        }
        Ok(Found::Miss(Some(MissReason::NeverBuilt)))
    }

    fn make_dirs(&mut self, dirs: &BoundDirs) -> Result<(), StepError> {
        self.performed
            .push(format!("mkdir {}", dirs.paths.join(" ")));
        Ok(())
    }

    fn perform(&mut self, op: &BoundOp) -> Result<Change, StepError> {
        self.performed.push(match op {
            BoundOp::Run(_) => "RUN".to_owned(),
            BoundOp::Copy(_) => "COPY".to_owned(),
            BoundOp::Config | BoundOp::Dirs(_) => "nothing".to_owned(),
        });
        Ok(Change {
            created: Timestamp::UNIX_EPOCH,
            layer: HasLayer::Yes,
        })
    }

    fn end_dirs(&mut self) -> Result<Change, StepError> {
        Ok(Change {
            created: Timestamp::UNIX_EPOCH,
            layer: HasLayer::Yes,
        })
    }

    fn record(&mut self, keyed: &Keyed, _: &Change) -> Result<(), StepError> {
        self.recorded.0.insert(keyed.key);
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn was_there(&mut self, _: StepKey) -> bool {
        false
    }
}

#[derive(Default)]
struct LastKey(RefCell<Option<StepKey>>);

impl Telling for LastKey {
    fn started(&self, _: usize) {}
    fn cached(&self, _: usize, _: StepKey) {}
    fn missed(&self, _: usize, _: MissReason) {}
    fn done(&self, _: usize, key: StepKey) {
        self.0.replace(Some(key));
    }
    fn pulled(&self, _: usize, _: &str) {}
    fn pushing(&self, _: usize, _: StepKey) {}
}

/// Builds a setting and returns what had to be performed.
fn build(setting: &Setting, recorded: &mut Recorded) -> Vec<String> {
    let graph = Graph::plan(&[setting.target()], setting).expect("plan");
    let mut stages = BTreeMap::new();
    let mut performed = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let base = match node.stage.base {
            crate::bound::BoundBase::Scratch => None,
            crate::bound::BoundBase::From(Input::Image(image)) => graph.images[image]
                .image
                .top_layer
                .as_ref()
                .map(ToString::to_string),
            crate::bound::BoundBase::From(Input::Stage(node)) => stages.get(&node).cloned(),
            crate::bound::BoundBase::From(Input::Directory(_)) => None,
        };
        let context = KeyContext {
            platform: node.stage.platform.to_string(),
            times: setting.times.to_owned(),
            run_settings: setting.run.counted(),
        };
        let mut work = FakeWork {
            setting,
            recorded,
            stages: &stages,
            graph: &graph,
            performed: Vec::new(),
            hits: 0,
        };
        let last = LastKey::default();
        run_stage(
            &node.stage,
            base_key(base.as_deref()),
            &context,
            &mut work,
            &last,
        )
        .expect("stage");
        performed.append(&mut work.performed);
        let key = last.0.borrow().map(|key| key.to_string());
        stages.insert(index, key.or(base).unwrap_or_default());
    }
    performed
}

/// `after` following `before` must perform exactly `expected`.
#[track_caller]
fn check(before: &Setting, after: &Setting, expected: &[&str]) {
    let mut recorded = Recorded::default();
    build(before, &mut recorded);
    assert!(build(before, &mut recorded).is_empty(), "the same again");
    assert_eq!(build(after, &mut recorded), expected, "{}", after.file);
}

fn s(steps: &str) -> Setting {
    Setting::new(steps)
}

#[test]
fn what_a_process_can_read_is_missed() {
    let run = &["RUN"];
    check(&s("RUN a\n"), &s("RUN b\n"), run);
    check(&s("RUN a\n"), &s("RUN [\"a\"]\n"), run);
    check(
        &s("RUN a\n"),
        &s("SHELL [\"/bin/ash\",\"-c\"]\nRUN a\n"),
        run,
    );
    check(&s("ENV A=1\nRUN a\n"), &s("ENV A=2\nRUN a\n"), run);
    check(&s("RUN a\n"), &s("ENV A=1\nRUN a\n"), run);
    check(
        &s("ARG A\nRUN a\n").arg("A", "1"),
        &s("ARG A\nRUN a\n").arg("A", "2"),
        run,
    );
    check(&s("ARG A=1\nRUN a\n"), &s("ARG A=2\nRUN a\n"), run);
    check(
        &s("ARG A\nENV V=$A\nRUN a\n").arg("A", "1"),
        &s("ARG A\nENV V=$A\nRUN a\n").arg("A", "2"),
        run,
    );
    check(&s("USER 1\nRUN a\n"), &s("USER 2\nRUN a\n"), run);
    check(&s("RUN a\n"), &s("RUN --network=none a\n"), run);
    check(&s("RUN <<E\na\nE\n"), &s("RUN <<E\nb\nE\n"), run);
    check(&s("RUN cat <<E\na\nE\n"), &s("RUN cat <<E\nb\nE\n"), run);
    check(&s("FROM base\nRUN a\n"), &s("FROM other\nRUN a\n"), run);
    let arm = |s: Setting| s.with(|s| s.platform = Platform::new("linux", "arm64"));
    check(&s("RUN a\n"), &arm(s("RUN a\n")), run);
    check(
        &s("RUN a\n"),
        &s("RUN a\n").with(|s| s.times = "Fixed(0)"),
        run,
    );
    check(
        &s("RUN a\n"),
        &s("RUN a\n").with(|s| s.run.network = runtime::network::Mode::None),
        run,
    );
    check(
        &s("WORKDIR /a\nRUN a\n"),
        &s("WORKDIR /b\nRUN a\n"),
        &["mkdir /b", "RUN"],
    );
}

#[test]
fn what_no_process_reads_is_found() {
    let none: &[&str] = &[];
    check(&s("LABEL a=1\nRUN a\n"), &s("LABEL a=2\nRUN a\n"), none);
    check(&s("RUN a\n"), &s("CMD x\nEXPOSE 80\nRUN a\n"), none);
    check(&s("RUN a\n"), &s("RUN a\nENV B=1\n"), none);
    check(
        &s("ARG A\nCOPY a /a\n").arg("A", "1"),
        &s("ARG A\nCOPY a /a\n").arg("A", "2"),
        none,
    );
    check(
        &s("RUN a\n").arg("A", "1"),
        &s("RUN a\n").arg("A", "2"),
        none,
    );
    check(
        &s("RUN a\n").arg("HTTP_PROXY", "1"),
        &s("RUN a\n").arg("HTTP_PROXY", "2"),
        none,
    );
    check(&s("ENV A=1\nCOPY a /a\n"), &s("ENV A=2\nCOPY a /a\n"), none);
    check(&s("ARG D=/a\nCOPY a $D\n"), &s("COPY a /a\n"), none);
    check(&s("RUN a\n"), &s("# comment\nRUN a\n"), none);
    check(&s("RUN a\n"), &s("FROM base AS x\nRUN a\n"), none);
    check(
        &s("RUN a\n"),
        &s("RUN a\n").with(|s| s.format = ManifestFormat::Docker),
        none,
    );
    check(
        &s("RUN a\n"),
        &s("RUN a\n").with(|s| s.labels.push(("l".into(), "1".into()))),
        none,
    );
    check(
        &s("RUN a\n"),
        &s("RUN a\n").with(|s| s.run.shm_size = 1),
        none,
    );
    let secret = |s: Setting, value: &[u8]| {
        let value = builder::run::SecretBytes(value.to_vec());
        s.with(|s| {
            s.run.given.secrets.insert("t".to_owned(), value);
        })
    };
    let text = "RUN --mount=type=secret,id=t a\n";
    check(&secret(s(text), b"1"), &secret(s(text), b"2"), none);
}

#[test]
fn copies_are_keyed_by_content() {
    let copy = &["COPY"];
    let none: &[&str] = &[];
    check(
        &s("COPY a /a\n").source("a", "1"),
        &s("COPY a /a\n").source("a", "2"),
        copy,
    );
    check(
        &s("COPY a /a\n").source("a", "1"),
        &s("COPY a /a\n").source("a", "1").source("b", "9"),
        none,
    );
    check(&s("COPY a /a\n"), &s("COPY a /b\n"), copy);
    check(&s("COPY a /a\n"), &s("COPY --chown=1 a /a\n"), copy);
    check(&s("COPY a /a\n"), &s("COPY --chmod=600 a /a\n"), copy);
    check(&s("COPY a /a\n"), &s("COPY --parents a /a\n"), copy);
    check(&s("COPY a /a\n"), &s("ADD a /a\n"), copy);
    check(
        &s("COPY a b\n"),
        &s("WORKDIR /w\nCOPY a b\n"),
        &["mkdir /w", "COPY"],
    );
    check(&s("COPY a /a\n"), &s("FROM other\nCOPY a /a\n"), copy);
    check(&s("COPY <<E /a\n1\nE\n"), &s("COPY <<E /a\n2\nE\n"), copy);
    check(
        &s("ARG A\nCOPY <<E /a\n$A\nE\n").arg("A", "1"),
        &s("ARG A\nCOPY <<E /a\n$A\nE\n").arg("A", "2"),
        copy,
    );
    check(
        &s("ARG A\nCOPY <<\"E\" /a\n$A\nE\n").arg("A", "1"),
        &s("ARG A\nCOPY <<\"E\" /a\n$A\nE\n").arg("A", "2"),
        none,
    );
    check(
        &s("RUN a\nCOPY a /a\nRUN b\n").source("a", "1"),
        &s("RUN a\nCOPY a /a\nRUN b\n").source("a", "2"),
        &["COPY", "RUN"],
    );
}

#[test]
fn linked_copies_do_not_depend_on_what_lies_below() {
    check(
        &s("COPY --link a /a\n"),
        &s("FROM other\nCOPY --link a /a\n"),
        &[],
    );
    check(
        &s("RUN a\nCOPY --link a /a\n"),
        &s("RUN b\nCOPY --link a /a\n"),
        &["RUN"],
    );
    check(
        &s("COPY --link a /a\nRUN x\n").source("a", "1"),
        &s("COPY --link a /a\nRUN x\n").source("a", "2"),
        &["COPY", "RUN"],
    );
    check(
        &s("WORKDIR /w\nCOPY --link a /a\n"),
        &s("WORKDIR /x\nCOPY --link a /a\n"),
        &["mkdir /x"],
    );
}

#[test]
fn mounts_are_keyed_by_what_they_show() {
    let run = &["RUN"];
    let none: &[&str] = &[];
    let ctx = "RUN --mount=source=src,target=/m a\n";
    check(&s(ctx).source("src", "1"), &s(ctx).source("src", "2"), run);
    check(
        &s(ctx).source("src", "1"),
        &s(ctx).source("src", "1").source("other", "2"),
        none,
    );
    let image = |name: &str| s(&format!("RUN --mount=from={name},target=/m a\n"));
    check(&image("base"), &image("other"), run);
    let same_name = image("other").with(|s| {
        s.images.insert("other".to_owned(), (9, Vec::new()));
    });
    check(&image("other"), &same_name, run);
    let stage = |step: &str| {
        s(&format!(
            "FROM base AS b\nRUN {step}\nFROM base\nRUN --mount=from=b,target=/m a\n"
        ))
    };
    check(&stage("x"), &stage("y"), &["RUN", "RUN"]);
    let named = |content: &str| {
        s("RUN --mount=from=n,source=/f,target=/m a\n")
            .source("n:/f", content)
            .with(|s| s.contexts.push("n".to_owned()))
    };
    check(&named("1"), &named("2"), run);
    check(&named("1"), &named("1").source("/f", "7"), none);
    let cache = |options: &str| s(&format!("RUN --mount=type=cache,target=/c{options} a\n"));
    check(&cache(""), &cache(",id=x"), run);
    check(&cache(",id=x"), &cache(",id=x"), none);
}

#[test]
fn stages_carry_changes_on() {
    let two = |first: &str| {
        s(&format!(
            "FROM base AS one\n{first}\nFROM base\nCOPY --from=one /x /x\n"
        ))
    };
    check(&two("RUN a"), &two("RUN b"), &["RUN", "COPY"]);
    check(&two("RUN a"), &two("RUN a"), &[]);
    let on = |first: &str| s(&format!("FROM base AS one\n{first}\nFROM one\nRUN x\n"));
    check(&on("RUN a"), &on("RUN b"), &["RUN", "RUN"]);
    let unused = |step: &str| s(&format!("FROM base AS u\nRUN {step}\nFROM base\nRUN x\n"));
    check(&unused("a"), &unused("b"), &[]);
}

#[path = "plan_tests.rs"]
mod plan_tests;

//! A store of its own with a busybox base, and builds in it from text.

use cooper_solve::request::{BuildTimes, FileTimes};
use cooper_solve::{
    BaseImage, BuildError, BuildRequest, BuiltImage, Cancel, Directory, ImageSettings, Images,
    Layering, LookUp, Presence, RunSettings, Target, build,
};
use model::{
    Event, History, ImageConfig, ImageId, ManifestFormat, Platform, Reference, Reporter, Timestamp,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use store::{Store, StoreOptions};

pub struct World {
    dir: PathBuf,
    pub store: Store,
    events: Log,
    jobs: Mutex<usize>,
    format: Mutex<ManifestFormat>,
    secrets: Mutex<BTreeMap<String, builder::run::SecretBytes>>,
    cancel: Cancel,
}

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Reporter for Log {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Finds bases in a store as the commands do.
struct InStore<'a>(&'a Store);

impl Images for InStore<'_> {
    type Error = transfer::LookupError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, Self::Error> {
        let rules = transfer::NameRules::default();
        let found = transfer::lookup(self.0, name, &rules, Some(platform))?;
        let base = builder::container::BaseImage::load(self.0, &found.image.id, name).unwrap();
        Ok(BaseImage {
            presence: Presence::Stored,
            config: base.inherited().unwrap(),
            id: base.id,
            name: base.name,
            digest: Some(base.digest),
            annotations: base.annotations,
            top_layer: base.layer,
        })
    }

    fn fetch(&self, image: &BaseImage, _cancel: &Cancel) -> Result<BaseImage, Self::Error> {
        Ok(image.clone())
    }
}

pub fn layers() -> Layering {
    Layering::PerStep {
        look_up: LookUp::Use { max_age: None },
    }
}

pub fn no_cache() -> Layering {
    Layering::PerStep {
        look_up: LookUp::Refresh,
    }
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

impl World {
    pub fn new(name: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "needs root: builds mount overlays and run processes"
        );
        let dir = PathBuf::from(format!(
            "/var/tmp/cooper-dev-solve/{name}-{}",
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("ctx")).unwrap();
        let options = StoreOptions::new(dir.join("root"), dir.join("run"))
            .with_driver(store::DriverName::Overlay);
        let store = Store::open(options).unwrap();
        let world = Self {
            dir,
            store,
            events: Log::default(),
            jobs: Mutex::new(1),
            format: Mutex::new(ManifestFormat::Oci),
            secrets: Mutex::default(),
            cancel: Cancel::new(),
        };
        world.import_base();
        world
    }

    /// Milliseconds of each step of the last build.
    pub fn step_times(&self) -> Vec<u64> {
        let time = |event: &Event| match event {
            Event::StepDone { millis, .. } => Some(*millis),
            _ => None,
        };
        self.events().iter().filter_map(time).collect()
    }

    /// Busybox with its commands, `/etc/passwd` and a root that others' tools accept.
    fn import_base(&self) {
        let tree = self.dir.join("base");
        for name in ["bin", "etc", "tmp", "root"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
        for name in [
            "sh", "cat", "echo", "ls", "id", "sleep", "true", "false", "test", "rm",
        ] {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:7:7::/:/bin/sh\n",
        )
        .unwrap();
        let tar = self.dir.join("base.tar");
        let status = std::process::Command::new("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(&tree)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        let layer = self
            .store
            .import_layer(None, fs::File::open(&tar).unwrap(), None)
            .unwrap();
        let layers = builder::commit::layers_of(&self.store, Some(&layer.id)).unwrap();
        let mut config = ImageConfig::for_platform(&Platform::host());
        config.config.env = vec!["PATH=/bin".to_owned()];
        config.config.cmd = vec!["/bin/sh".to_owned()];
        let created = Timestamp::from_unix(1_600_000_000).unwrap();
        let parts = builder::image::ImageParts {
            config,
            layers: &layers,
            history: vec![History {
                created: Some(created),
                created_by: "base".to_owned(),
                ..History::default()
            }],
            created,
            annotations: BTreeMap::new(),
            format: ManifestFormat::Oci,
            container: None,
            parent: None,
        };
        let names = vec!["localhost/base:latest".to_owned()];
        builder::commit::put_image(&self.store, parts, Some(&layer.id), names).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.join("ctx").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read_context(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("ctx").join(name)).unwrap()
    }

    pub fn jobs(&self, jobs: usize) {
        *self.jobs.lock().unwrap() = jobs;
    }

    pub fn format(&self, format: ManifestFormat) {
        *self.format.lock().unwrap() = format;
    }

    pub fn secret(&self, name: &str, value: &[u8]) {
        let value = builder::run::SecretBytes(value.to_vec());
        self.secrets.lock().unwrap().insert(name.to_owned(), value);
    }

    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    pub fn target(&self, text: &str, args: &[(&str, &str)]) -> Target {
        let parsed = containerfile::parse_str("Containerfile", text);
        assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        let mut target = Target {
            name: None,
            file: Arc::new(parsed),
            context: Directory {
                path: self.dir.join("ctx"),
                ignore: None,
            },
            contexts: BTreeMap::new(),
            args: cooper_solve::scope::ArgValues::default(),
            platform: Platform::host(),
            build_platform: Platform::host(),
            stage: None,
            unused_stages: cooper_solve::target::UnusedStages::Skipped,
            base: None,
            env: Vec::new(),
            labels: Vec::new(),
            image: ImageSettings::new(*self.format.lock().unwrap()),
        };
        for (name, value) in args {
            target
                .args
                .given
                .insert((*name).to_owned(), (*value).to_owned());
        }
        target
    }

    pub fn build(&self, text: &str, layering: Layering) -> Result<BuiltImage, BuildError> {
        self.build_with(text, layering, &[])
    }

    pub fn build_named(&self, text: &str, name: &str) -> Result<BuiltImage, BuildError> {
        self.build_changed(text, layers(), &|target, _| {
            let name = Reference::parse_local(name).unwrap().with_default_tag();
            target.image.names.push(name);
        })
    }

    pub fn build_with(
        &self,
        text: &str,
        layering: Layering,
        args: &[(&str, &str)],
    ) -> Result<BuiltImage, BuildError> {
        let target = self.target(text, args);
        let times = BuildTimes {
            files: FileTimes::Keep,
            created: None,
        };
        self.run(target, layering, times)
    }

    pub fn build_changed(
        &self,
        text: &str,
        layering: Layering,
        change: &dyn Fn(&mut Target, &mut BuildTimes),
    ) -> Result<BuiltImage, BuildError> {
        let mut target = self.target(text, &[]);
        let mut times = BuildTimes {
            files: FileTimes::Keep,
            created: None,
        };
        change(&mut target, &mut times);
        self.run(target, layering, times)
    }

    fn run(
        &self,
        target: Target,
        layers: Layering,
        times: BuildTimes,
    ) -> Result<BuiltImage, BuildError> {
        let images = self.build_all(vec![target], layers, times)?;
        Ok(images.into_iter().next().unwrap())
    }

    pub fn build_all(
        &self,
        targets: Vec<Target>,
        layers: Layering,
        times: BuildTimes,
    ) -> Result<Vec<BuiltImage>, BuildError> {
        self.events.0.lock().unwrap().clear();
        let images = InStore(&self.store);
        let request = BuildRequest {
            targets,
            layers,
            stages: cooper_solve::StageImages::AsNeeded,
            jobs: NonZeroUsize::new(*self.jobs.lock().unwrap()).unwrap(),
            times,
            run: RunSettings {
                given: cooper_solve::mounts::Given {
                    secrets: self.secrets.lock().unwrap().clone(),
                    ..cooper_solve::mounts::Given::default()
                },
                ..RunSettings::default()
            },
            downloads: &Web,
            caches: cooper_solve::RemoteCaches::default(),
            clock: &SystemTime::now,
            cancel: self.cancel.clone(),
        };
        let outcome = build(&request, &self.store, &images, &self.events)?;
        Ok(outcome.images)
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }

    pub fn misses(&self) -> Vec<String> {
        let events = self.events();
        events
            .iter()
            .filter_map(|event| match event {
                Event::StepMissed { why, .. } => Some(format!("{why:?}")),
                _ => None,
            })
            .collect()
    }

    /// How many steps had to be performed in the last build.
    pub fn ran(&self) -> usize {
        self.misses().len()
    }

    /// How many performed steps of the last build have `words` in them.
    pub fn performed_steps(&self, words: &str) -> usize {
        let events = self.events();
        let texts: Vec<(usize, usize, &String)> = events
            .iter()
            .filter_map(|event| match event {
                Event::StepStarted { at, text } => Some((at.stage, at.step, text)),
                _ => None,
            })
            .collect();
        let performed = |event: &&Event| {
            let Event::StepMissed { at, .. } = event else {
                return false;
            };
            texts.iter().any(|(stage, step, text)| {
                (*stage, *step) == (at.stage, at.step) && text.contains(words)
            })
        };
        events.iter().filter(performed).count()
    }

    /// Whether a stage ran its first step before another had ended its own.
    pub fn overlapped(&self, one: usize, other: usize) -> bool {
        let events = self.events();
        let started = |stage| {
            events.iter().position(
                |e| matches!(e, Event::StepStarted { at, .. } if (at.stage, at.step) == (stage, 2)),
            )
        };
        let done = |stage| {
            events.iter().position(
                |e| matches!(e, Event::StepDone { at, .. } if (at.stage, at.step) == (stage, 2)),
            )
        };
        started(one) < done(other) && started(other) < done(one)
    }

    pub fn config(&self, id: &ImageId) -> ImageConfig {
        ImageConfig::parse(&self.store.image_config(id).unwrap()).unwrap()
    }

    pub fn remove_untagged(&self) {
        for image in self.store.images().unwrap().iter() {
            if image.names.is_empty() {
                self.store.delete_image(&image.id).unwrap();
            }
        }
    }

    pub fn layer_count(&self) -> usize {
        self.store.layers().unwrap().iter().count()
    }

    /// Returns the text of a file of an image; of a directory nothing.
    pub fn read(&self, id: &ImageId, path: &str) -> String {
        let images = self.store.images().unwrap();
        let layer = images.get(id).unwrap().layer.clone();
        let root = self.store.read_only_root(layer.as_ref()).unwrap();
        if path.ends_with("/.") {
            root.root()
                .open_dir(Path::new(path))
                .unwrap_or_else(|e| panic!("{path}: {e}"));
            return String::new();
        }
        let mut text = String::new();
        let mut file = root
            .root()
            .open_file(Path::new(path))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        file.read_to_string(&mut text).unwrap();
        text
    }

    pub fn has(&self, id: &ImageId, path: &str) -> bool {
        let images = self.store.images().unwrap();
        let layer = images.get(id).unwrap().layer.clone();
        let root = self.store.read_only_root(layer.as_ref()).unwrap();
        root.root().stat_nofollow(Path::new(path)).is_ok()
    }

    /// Bytes of the store's records and names of the index.
    pub fn state(&self) -> Vec<(PathBuf, SystemTime)> {
        let mut all = Vec::new();
        for dir in ["overlay-layers", "overlay-images", "cooper"] {
            list(&self.dir.join("root").join(dir), &mut all);
        }
        all.retain(|(path, _)| !path.to_string_lossy().ends_with(".lock"));
        all.sort();
        all
    }

    /// Nothing staged, nothing mounted, no layer that no image has.
    pub fn assert_clean(&self) {
        let mut owned = std::collections::BTreeSet::new();
        for image in self.store.images().unwrap().iter() {
            for layer in image
                .layer
                .iter()
                .flat_map(|l| self.store.chain(l).unwrap())
            {
                owned.insert(layer.id.clone());
            }
        }
        for layer in self.store.layers().unwrap().iter() {
            assert!(
                owned.contains(&layer.id),
                "layer {} belongs to no image",
                layer.id
            );
        }
        let staged = self.dir.join("root/overlay/tempdirs");
        let left: Vec<_> = fs::read_dir(&staged)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.dir.to_string_lossy().into_owned();
        assert!(!mounts.contains(&ours), "something of {ours} is mounted");
    }
}

fn list(dir: &Path, all: &mut Vec<(PathBuf, SystemTime)>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            list(&entry.path(), all);
        } else {
            all.push((entry.path(), meta.modified().unwrap()));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Debian's Buildah on the same store.
pub mod peer {
    use super::World;
    use std::process::Command;

    fn tool(world: &World, name: &str) -> Command {
        let conf = world.dir.join("containers.conf");
        std::fs::write(
            &conf,
            "[engine]\nruntime = \"runc\"\n[containers]\nnetns = \"host\"\n",
        )
        .unwrap();
        let mut command = Command::new(name);
        command
            .env("CONTAINERS_CONF", conf)
            .env("BUILDAH_RUNTIME", "runc")
            .env("BUILDAH_ISOLATION", "chroot")
            .arg("--root")
            .arg(world.dir.join("root"))
            .arg("--runroot")
            .arg(world.dir.join("run"))
            .args(["--storage-driver", "overlay"]);
        command
    }

    /// Builds with Buildah, and returns its standard output; the image is `localhost/peer`.
    pub fn build(world: &World, text: &str, flags: &[&str]) -> String {
        let file = world.dir.join("Containerfile.peer");
        std::fs::write(&file, text).unwrap();
        let output = tool(world, "buildah")
            .args(["bud", "--pull-never", "-t", "localhost/peer"])
            .args(flags)
            .arg("-f")
            .arg(&file)
            .arg(world.dir.join("ctx"))
            .output()
            .expect("buildah is installed");
        assert!(
            output.status.success(),
            "buildah: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a tool on the store and returns its standard output.
    pub fn run(world: &World, name: &str, args: &[&str]) -> String {
        let output = tool(world, name)
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            output.status.success(),
            "{name} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A web whose files hold their own addresses; those that end in `missing` are not there.
struct Web;

impl cooper_solve::Downloads for Web {
    fn fetch(
        &self,
        url: &str,
        out: &mut std::fs::File,
    ) -> Result<Option<SystemTime>, cooper_solve::DownloadError> {
        if url.ends_with("missing") {
            return Err("404 Not Found".into());
        }
        std::io::Write::write_all(out, url.as_bytes())?;
        Ok(Some(
            SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000),
        ))
    }
}

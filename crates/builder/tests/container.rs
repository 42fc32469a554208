//! Working containers on a real store: run, configure, commit, remove; and the same containers and
//! images in the hands of Debian's Buildah and Podman.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use cooper_builder::change::{AddHistory, ConfigChange};
use cooper_builder::commit::{
    AfterCommit, CommitRequest, Committed, KeepHistory, Squash, commit, commit_to,
};
use cooper_builder::container::{
    BaseImage, FromRequest, WorkingContainer, remove_container, run_history,
};
use cooper_builder::run::{
    Access, BindMount, CacheMount, Command, EtcFiles, HostAddress, HostFile, HostsFile, Isolation,
    MountSource, Ownership, ResolvConf, RunMount, RunPlace, RunRequest, SecretBytes, SecretMount,
    Sharing, StepError, TmpfsMount, VolumeMount, capability_names, run,
};
use cooper_builder::state::RunOptions;
use model::{ManifestFormat, Platform, Timestamp};
use runtime::{Output, Stdin, Stop, Stream};
use serde_json::Value;
use store::{DriverName, Store, StoreOptions};
use sys::Root;

const BASE: &str = "/var/tmp/cooper-dev-builder";

/// A store of its own that goes away with the test.
struct World {
    dir: PathBuf,
    store: Store,
}

impl World {
    fn new() -> Self {
        Self::with_driver(DriverName::Overlay)
    }

    fn with_driver(driver: DriverName) -> Self {
        assert!(rustix::process::getuid().is_root(), "this test needs root");
        std::fs::create_dir_all(BASE).expect("base directory");
        let dir = tempfile::Builder::new()
            .prefix("world-")
            .tempdir_in(BASE)
            .expect("dir")
            .keep();
        let options = StoreOptions::new(dir.join("root"), dir.join("run")).with_driver(driver);
        let store = Store::open(options).expect("store");
        Self { dir, store }
    }

    fn from(&self, base: Option<&Committed>, name: Option<&str>) -> WorkingContainer {
        let base = base
            .map(|image| BaseImage::load(&self.store, &image.id, image.id.as_str()).expect("base"));
        WorkingContainer::create(&self.store, &from_request(base, name)).expect("container")
    }

    /// An image with busybox and two accounts.
    fn busybox(&self) -> Committed {
        let container = self.from(None, None);
        {
            let root = container.root().expect("root");
            fill_busybox(root.root());
        }
        let request = CommitRequest {
            after: AfterCommit::Remove,
            ..CommitRequest::new(vec!["localhost/bb:1".to_owned()], now())
        };
        commit(container, &request).expect("commit").0
    }

    fn run(
        &self,
        container: &WorkingContainer,
        request: &RunRequest<'_>,
    ) -> (String, Result<(), StepError>) {
        let root = container.root().expect("root");
        let caches = self.dir.join("caches");
        let place = RunPlace {
            root: &root,
            store: &self.store,
            caches: &caches,
            networks: &runtime::network::Pool::default(),
        };
        let mut text = Vec::new();
        let mut relay = |_: Stream, bytes: &[u8]| text.extend_from_slice(bytes);
        let stop = Stop::new().expect("stop");
        let result = run(
            place,
            request,
            Stdin::Null,
            Output::Relay(&mut relay),
            &stop,
        );
        (
            String::from_utf8_lossy(&text).into_owned(),
            result.map(|_| ()),
        )
    }

    fn sh(&self, container: &WorkingContainer, script: &str) -> String {
        let (text, result) = self.run(container, &shell(script));
        result.unwrap_or_else(|error| panic!("{script}: {error:?}\n{text}"));
        text
    }

    /// Paths and modes in the container's own layer.
    fn changes(&self, container: &WorkingContainer) -> Vec<String> {
        let layer = self
            .dir
            .join("root/overlay")
            .join(container.layer().as_str())
            .join("diff");
        let mut found = Vec::new();
        let mut todo = vec![layer.clone()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).expect("list") {
                let path = entry.expect("entry").path();
                let meta = std::fs::symlink_metadata(&path).expect("stat");
                if meta.is_dir() {
                    todo.push(path.clone());
                }
                let name = path
                    .strip_prefix(&layer)
                    .expect("below")
                    .display()
                    .to_string();
                found.push(format!(
                    "{name} {:o} {}:{}",
                    meta.mode() & 0o7777,
                    meta.uid(),
                    meta.gid()
                ));
            }
        }
        found.sort();
        found
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> (String, bool) {
        let conf = self.dir.join("containers.conf");
        std::fs::write(&conf, "[engine]\ncgroup_manager = \"cgroupfs\"\n").expect("conf");
        let output = Process::new(program)
            .env("CONTAINERS_CONF", conf)
            .env("BUILDAH_RUNTIME", "runc")
            .arg("--root")
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .args(["--storage-driver", "overlay"])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("Debian's {program} is needed: {error}"));
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (text, output.status.success())
    }

    fn buildah(&self, arguments: &[&str]) -> String {
        let (text, success) = self.tool("buildah", arguments);
        assert!(success, "buildah {arguments:?}: {text}");
        text
    }

    /// The config of an image as a value.
    fn config(&self, image: &str) -> Value {
        let images = self.store.images().expect("images");
        let record = images.find(image).expect("lookup").expect("image");
        let bytes = self.store.image_config(&record.id).expect("config");
        serde_json::from_slice(&bytes).expect("json")
    }

    fn mounts_below(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let dir = self.dir.display().to_string();
        let mut below: Vec<String> = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(4))
            .filter(|path| path.starts_with(&dir))
            // containers/storage keeps its home mounted on itself.
            .filter(|path| !path.ends_with("/root/overlay"))
            .map(str::to_owned)
            .collect();
        below.sort();
        below
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for path in self.mounts_below().iter().rev() {
            let _ = sys::mount::unmount(Path::new(path));
        }
        let _ = sys::mount::unmount(&self.dir.join("root/overlay"));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix(1_700_000_000).expect("in range")
}

fn from_request(base: Option<BaseImage>, name: Option<&str>) -> FromRequest {
    FromRequest {
        base,
        name: name.map(str::to_owned),
        suffix: None,
        format: ManifestFormat::Oci,
        platform: Platform::host(),
        run_options: RunOptions::defaults(),
        isolation: Isolation::default(),
        namespaces: cooper_builder::namespaces::NamespaceOptions::default(),
        network: None,
        id_mapping: cooper_builder::namespaces::IdMappingOptions::default(),
        capabilities: capability_names(runtime::CapabilitySet::DEFAULT),
        group_add: Vec::new(),
        now: now(),
    }
}

fn fill_busybox(root: &Root) {
    let base = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(root))
    ));
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "run"] {
        std::fs::create_dir(base.join(dir)).expect("dir");
    }
    std::fs::copy("/usr/bin/busybox", base.join("bin/busybox"))
        .expect("busybox-static must be installed");
    for name in [
        "sh", "cat", "id", "env", "ls", "stat", "mkdir", "rm", "sleep", "touch", "kill", "pwd",
        "hostname",
    ] {
        symlink("busybox", base.join("bin").join(name)).expect("link");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
    std::fs::write(base.join("etc/passwd"), passwd).expect("passwd");
    std::fs::write(
        base.join("etc/group"),
        "root:x:0:\napp:x:1001:\nextra:x:2000:app\n",
    )
    .expect("group");
}

fn shell(script: &str) -> RunRequest<'static> {
    let mut request = RunRequest::new(Command::Shell {
        shell: Vec::new(),
        script: script.to_owned(),
    });
    request.hostname = "box".to_owned();
    request
}

#[test]
fn priv_users_and_environment_are_the_images() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    assert_eq!(container.name(), "bb-working-container");
    let check = |user: &str, expected: &str| {
        let request = RunRequest {
            user: user.to_owned(),
            ..shell("id; echo $HOME $HOSTNAME")
        };
        let (text, result) = world.run(&container, &request);
        let text = match result {
            Ok(()) => text,
            Err(error) => error.to_string(),
        };
        assert_eq!(text.trim_end(), expected, "{user}");
    };
    check("", "uid=0(root) gid=0(root) groups=0(root)\n/root box");
    check(
        "app",
        "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)\n/home/app box",
    );
    check(
        "1000",
        "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)\n/home/app box",
    );
    check(
        "app:extra",
        "uid=1000(app) gid=2000(extra) groups=2000(extra)\n/home/app box",
    );
    check("77", "uid=77 gid=0(root) groups=0(root)\n/ box");
    check(
        "nosuch",
        "determining run uid: user: unknown user error looking up user \"nosuch\"",
    );
    assert_eq!(world.changes(&container), Vec::<String>::new());
}

/// A directory of the host with one file, writable for everybody.
fn host_directory(world: &World) -> PathBuf {
    let host = world.dir.join("host");
    std::fs::create_dir_all(host.join("certs")).expect("dir");
    std::fs::write(host.join("certs/ca.pem"), "CA").expect("file");
    std::fs::set_permissions(host.join("certs"), std::fs::Permissions::from_mode(0o777))
        .expect("mode");
    host
}

/// A step that has every kind of mount.
fn step_with_everything<'a>(host: &Path, context: &'a Root) -> RunRequest<'a> {
    let mut request = shell(
        "cat /etc/hosts /etc/resolv.conf /run/.containerenv /ssl/ca.pem /run/secrets/s; echo $TOKEN; \
         echo x > /ctx/certs/new && cat /ctx/certs/new; touch /ro/x 2>&1; touch /t/x /c/x; \
         pwd; stat -c %a:%u /c; echo data > out",
    );
    request.working_dir = PathBuf::from("/deep/work");
    request.user = "app".to_owned();
    request.etc = EtcFiles {
        hosts: Some(HostsFile {
            base: "1.2.3.4\tfoo localhost box\n".to_owned(),
            host: HostAddress::None,
            ..HostsFile::default()
        }),
        resolv_conf: Some(ResolvConf {
            host: "nameserver 9.9.9.9\n".to_owned(),
            ..ResolvConf::default()
        }),
        hostname: None,
        container_env: Some("engine\n".to_owned()),
    };
    request.host_files = vec![HostFile {
        source: host.join("certs"),
        target: "/ssl".into(),
        access: Access::ReadOnly,
    }];
    let bind = |target: &str, access| {
        RunMount::Bind(BindMount {
            access,
            ..BindMount::new(MountSource::Host(context), "/".into(), target.into())
        })
    };
    request.mounts = vec![
        bind("/ctx", Access::ThrowAway),
        bind("/ro", Access::ReadOnly),
        RunMount::Tmpfs(TmpfsMount {
            target: "/t".into(),
            access: Access::ReadWrite,
            ..TmpfsMount::default()
        }),
        RunMount::Cache(CacheMount {
            id: "c".to_owned(),
            target: "/c".into(),
            sharing: Sharing::Locked,
            mode: 0o750,
            uid: 1000,
            gid: 0,
            access: Access::ReadWrite,
            ownership: Ownership::Kept,
            from: Some((MountSource::Host(context), "certs".into())),
        }),
        RunMount::Secret(SecretMount {
            value: SecretBytes(b"hush\n".to_vec()),
            target: Some("/run/secrets/s".into()),
            env: Some("TOKEN".to_owned()),
            mode: 0o400,
            uid: 1000,
            gid: 0,
        }),
    ];
    request
}

#[test]
fn priv_a_step_leaves_only_what_it_wrote() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    let host = host_directory(&world);
    let context = Root::open(&host).expect("context");
    let request = step_with_everything(&host, &context);
    let (text, result) = world.run(&container, &request);
    result.unwrap_or_else(|error| panic!("{error:?}: {text}"));
    assert_eq!(
        text,
        "1.2.3.4\tfoo localhost box\nnameserver 9.9.9.9\nengine\nCAhush\nhush\nx\n\
         touch: /ro/x: Read-only file system\n/deep/work\n750:1000\n"
    );
    assert!(!host.join("certs/new").exists());
    let cache = std::fs::read_dir(world.dir.join("caches")).expect("caches");
    let cache = cache
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.is_dir());
    let cache = cache.expect("the cache stays");
    assert!(cache.join("x").exists() && cache.join("ca.pem").exists());
    let changes = world.changes(&container);
    let files: Vec<&str> = changes.iter().map(String::as_str).collect();
    assert_eq!(
        files
            .iter()
            .filter(|line| line.starts_with("deep"))
            .collect::<Vec<_>>(),
        [
            &"deep 755 1000:1001",
            &"deep/work 755 1000:1001",
            &"deep/work/out 644 1000:1001"
        ]
    );
    // Directories in which places were made are copied up, and unchanged.
    assert!(
        files
            .iter()
            .all(|line| line.starts_with("deep") || line.ends_with("755 0:0")),
        "{files:?}"
    );
    assert_eq!(world.mounts_below(), Vec::<String>::new());
}

#[test]
fn priv_failures_carry_status_and_signal() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    let check = |command: Command, status: Option<i32>, text: &str| {
        let mut request = RunRequest::new(command);
        request.hostname = "box".to_owned();
        let (_, result) = world.run(&container, &request);
        let error = result.expect_err("fails");
        assert_eq!(
            (error.exit_status(), error.to_string().as_str()),
            (status, text)
        );
    };
    let script = |text: &str| Command::Shell {
        shell: Vec::new(),
        script: text.to_owned(),
    };
    check(script("exit 7"), Some(7), "exit status 7");
    check(
        script("sh -c 'kill -9 $$'; exit $?"),
        Some(137),
        "exit status 137",
    );
    check(
        Command::Exec(vec!["nosuch".to_owned()]),
        Some(127),
        "exec: \"nosuch\": executable file not found in $PATH",
    );
    let mut request = shell("true");
    request.mounts = vec![RunMount::Volume(VolumeMount {
        source: world.dir.join("missing"),
        target: "/x".into(),
        ..VolumeMount::default()
    })];
    let (_, result) = world.run(&container, &request);
    assert!(
        matches!(result, Err(StepError::VolumeSource { .. })),
        "{result:?}"
    );
    assert_eq!(world.mounts_below(), Vec::<String>::new());
}

#[test]
fn priv_writes_to_an_images_bind_mount_are_thrown_away() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    let layer = BaseImage::load(&world.store, &image.id, "x")
        .expect("base")
        .layer;
    let mut stack = world.store.stack(layer.as_ref()).expect("stack");
    let tree = stack.root().expect("root");
    let source = MountSource::Detached(tree.root());
    let mut request = shell("cat /src/passwd; echo x > /src/passwd; cat /src/passwd; touch /ro/y");
    let bind = |path: &str, target: &str, access| {
        RunMount::Bind(BindMount {
            access,
            ..BindMount::new(source, path.into(), target.into())
        })
    };
    request.mounts = vec![
        bind("/etc", "/src", Access::ThrowAway),
        bind("etc", "/ro", Access::ReadOnly),
    ];
    let (text, result) = world.run(&container, &request);
    assert!(
        matches!(result, Err(StepError::Status { status: 1 })),
        "{result:?}"
    );
    assert!(text.starts_with("root:x:0:0"), "{text}");
    assert!(
        text.ends_with("\nx\ntouch: /ro/y: Read-only file system\n"),
        "{text}"
    );
    request.mounts = vec![bind("/nosuch", "/src", Access::ReadOnly)];
    let (_, result) = world.run(&container, &request);
    assert!(
        matches!(result, Err(StepError::BindSource { .. })),
        "{result:?}"
    );
}

#[test]
fn priv_a_container_goes_on_after_its_commit() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), Some("work"));
    world.sh(&container, "echo one > /one");
    let names = |name: &str| vec![format!("localhost/{name}:latest")];
    let (first, container) =
        commit(container, &CommitRequest::new(names("a"), now())).expect("first");
    let container = container.expect("goes on");
    assert_eq!(world.sh(&container, "cat /one; echo two > /two"), "one\n");
    // What another process sees is what is in the file.
    let container = WorkingContainer::open(&world.store, container.id().short()).expect("open");
    let (second, container) =
        commit(container, &CommitRequest::new(names("b"), now())).expect("second");
    let layers = |image: &Committed| image.manifest.manifest().layers.len();
    // The container stays on its base: a second image has no more layers than the first.
    assert_eq!((layers(&first), layers(&second)), (2, 2));
    let squash = CommitRequest {
        squash: Squash::Yes,
        ..CommitRequest::new(names("c"), now())
    };
    let (third, container) = commit(container.expect("goes on"), &squash).expect("squashed");
    assert_eq!(layers(&third), 1);
    let history = world.config("localhost/c:latest")["history"].clone();
    assert_eq!(history.as_array().map(Vec::len), Some(1));
    let bare = CommitRequest {
        history: KeepHistory::No,
        ..CommitRequest::new(names("d"), now())
    };
    let (_, container) = commit(container.expect("goes on"), &bare).expect("without history");
    assert_eq!(world.config("localhost/d:latest").get("history"), None);
    let fresh = world.from(Some(&third), None);
    assert_eq!(world.sh(&fresh, "cat /one /two"), "one\ntwo\n");
    let id = container.expect("goes on").id().clone();
    assert_eq!(remove_container(&world.store, "work").expect("removed"), id);
    let error = WorkingContainer::open(&world.store, "work").expect_err("gone");
    assert_eq!(
        error.to_string(),
        "reading build container \"work\": container not known"
    );
}

#[test]
fn priv_names_of_containers_are_unique() {
    let world = World::new();
    let image = world.busybox();
    let names: Vec<String> = (0..3)
        .map(|_| world.from(Some(&image), None).name().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "bb-working-container",
            "bb-working-container-1",
            "bb-working-container-2"
        ]
    );
    let base = BaseImage::load(&world.store, &image.id, "bb").expect("base");
    let error = WorkingContainer::create(&world.store, &from_request(Some(base), Some(&names[0])))
        .expect_err("taken");
    let text = error.to_string();
    assert!(
        text.starts_with(
            "creating container: the container name \"bb-working-container\" is already in use by "
        ),
        "{text}"
    );
    assert!(text.ends_with("You have to remove that container to be able to reuse that name: that name is already in use"), "{text}");
    assert_eq!(WorkingContainer::list(&world.store).expect("list").len(), 3);
}

#[test]
fn priv_a_mounted_container_can_be_committed() {
    let world = World::new();
    let image = world.busybox();
    let mut container = world.from(Some(&image), None);
    let path = container.mount().expect("mount");
    std::fs::write(path.join("by-hand"), "x").expect("write");
    let names = vec!["localhost/m:latest".to_owned()];
    let (committed, container) =
        commit(container, &CommitRequest::new(names, now())).expect("commit");
    assert_eq!(committed.manifest.manifest().layers.len(), 2);
    assert!(path.join("by-hand").exists());
    let mut container = container.expect("goes on");
    assert_eq!(container.mounted_at().expect("mounts"), Some(path));
    container.unmount().expect("unmount");
    assert_eq!(container.mounted_at().expect("mounts"), None);
    container.delete().expect("delete");
    assert_eq!(world.mounts_below(), Vec::<String>::new());
}

/// Leaves out what differs from run to run.
fn masked(mut config: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    if ["created", "container", "parent", "diff_ids"].contains(&key.as_str()) {
                        *value = Value::from("*");
                    } else {
                        walk(value);
                    }
                }
                // Ours writes neither the empty list nor an empty map.
                map.retain(|_, value| {
                    *value != serde_json::json!({}) && *value != serde_json::json!([])
                });
            }
            Value::Array(list) => list.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut config);
    config
}

/// Every flag of `config`, as Buildah is told.
const FLAGS: &[&str] = &[
    "--entrypoint",
    "[\"/e\",\"x\"]",
    "--cmd",
    "a \"b c\"",
    "--env",
    "A=1",
    "--env",
    "B=x $A",
    "--label",
    "L=v",
    "--author",
    "me",
    "--created-by",
    "cb",
    "--port",
    "80",
    "--port",
    "53/udp",
    "--user",
    "app",
    "--volume",
    "/v",
    "--workingdir",
    "/w",
    "--shell",
    "/bin/ash -c",
    "--stop-signal",
    "TERM",
    "--healthcheck",
    "CMD-SHELL true",
    "--healthcheck-interval",
    "5s",
    "--healthcheck-retries",
    "4",
    "--onbuild",
    "RUN x",
    "--annotation",
    "an=1",
    "--comment",
    "com",
    "--hostname",
    "hh",
    "--domainname",
    "dd",
    "--arch",
    "arm64",
    "--variant",
    "v8",
    "--history-comment",
    "hc ",
    "--os-version",
    "5",
    "--os-feature",
    "f1",
];

/// The same as [`FLAGS`].
fn every_change() -> ConfigChange {
    let words = |items: &[&str]| {
        items
            .iter()
            .map(|&item| item.to_owned())
            .collect::<Vec<_>>()
    };
    ConfigChange {
        entrypoint: Some("[\"/e\",\"x\"]".into()),
        cmd: Some("a \"b c\"".into()),
        env: words(&["A=1", "B=x $A"]),
        labels: words(&["L=v"]),
        author: Some("me".into()),
        created_by: Some("cb".into()),
        ports: words(&["80", "53/udp"]),
        user: Some("app".into()),
        volumes: words(&["/v"]),
        working_dir: Some("/w".into()),
        shell: Some("/bin/ash -c".into()),
        stop_signal: Some("TERM".into()),
        healthcheck: Some("CMD-SHELL true".into()),
        healthcheck_interval: Some("5s".into()),
        healthcheck_retries: Some(4),
        on_build: words(&["RUN x"]),
        annotations: words(&["an=1"]),
        comment: Some("com".into()),
        hostname: Some("hh".into()),
        domainname: Some("dd".into()),
        architecture: Some("arm64".into()),
        variant: Some("v8".into()),
        history_comment: Some("hc ".into()),
        os_version: Some("5".into()),
        os_features: words(&["f1"]),
        ..ConfigChange::default()
    }
}

#[test]
fn peer_config_and_history_are_those_of_buildah() {
    let world = World::new();
    let image = world.busybox();
    for (add_history, format) in [
        (AddHistory::No, ManifestFormat::Oci),
        (AddHistory::Yes, ManifestFormat::Docker),
    ] {
        let theirs = world.buildah(&["from", "localhost/bb:1"]).trim().to_owned();
        let ran = ["sh", "-c", "true"];
        if add_history == AddHistory::Yes {
            let mut arguments = vec!["run", "--isolation", "chroot", "--add-history", &theirs];
            arguments.extend(ran);
            world.buildah(&arguments);
        }
        let mut arguments = vec!["config"];
        arguments.extend((add_history == AddHistory::Yes).then_some("--add-history"));
        arguments.extend(FLAGS);
        arguments.push(&theirs);
        let said = world.buildah(&arguments);
        let name = if format == ManifestFormat::Oci {
            "oci"
        } else {
            "docker"
        };
        world.buildah(&[
            "commit",
            "-q",
            "--format",
            name,
            &theirs,
            "localhost/theirs:1",
        ]);

        let mut ours = world.from(Some(&image), None);
        if add_history == AddHistory::Yes {
            let ran = ran.map(str::to_owned);
            ours.add_history(&run_history(&[], &ran), now())
                .expect("history");
        }
        let change = ConfigChange {
            add_history,
            ..every_change()
        };
        let warnings = ours.configure(&change, now()).expect("configured");
        for warning in &warnings {
            assert!(
                said.contains(&warning.to_string().replace('"', "\\\"")),
                "{warning}\n{said}"
            );
        }
        assert_eq!(said.matches("level=").count(), warnings.len());
        let request = CommitRequest {
            format: Some(format),
            identity: Some("1.28.2".to_owned()),
            after: AfterCommit::Remove,
            ..CommitRequest::new(vec!["localhost/ours:1".to_owned()], now())
        };
        let (committed, _) = commit(ours, &request).expect("commit");
        let expected = masked(world.config("localhost/theirs:1"));
        similar_asserts::assert_eq!(masked(world.config("localhost/ours:1")), expected);
        let annotations = world.buildah(&["inspect", "--type", "image", "localhost/theirs:1"]);
        let annotations: Value = serde_json::from_str(&annotations).expect("inspect");
        let ours = serde_json::to_value(&committed.manifest.manifest().annotations).expect("map");
        if format == ManifestFormat::Oci {
            assert_eq!(ours, annotations["ImageAnnotations"]);
        }
    }
}

#[test]
fn peer_buildah_uses_our_containers() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), Some("ours"));
    world.sh(&container, "echo one > /one");
    let (text, _) = world.tool("buildah", &["containers", "--json"]);
    let listed: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(listed[0]["containername"], "ours");
    assert_eq!(listed[0]["builder"], true);
    assert_eq!(listed[0]["imagename"], "localhost/bb:1");
    world.buildah(&[
        "run",
        "--isolation",
        "chroot",
        "ours",
        "sh",
        "-c",
        "cat /one > /two",
    ]);
    let path = world.buildah(&["mount", "ours"]).trim().to_owned();
    assert_eq!(
        std::fs::read_to_string(Path::new(&path).join("two")).expect("two"),
        "one\n"
    );
    world.buildah(&["umount", "ours"]);
    world.buildah(&["config", "--env", "E=1", "--label", "by=buildah", "ours"]);
    let container = WorkingContainer::open(&world.store, "ours").expect("open");
    assert_eq!(container.config.config.env, ["E=1"]);
    world.buildah(&["commit", "-q", "ours", "localhost/theirs:1"]);
    let (_, container) = commit(
        container,
        &CommitRequest::new(vec!["localhost/ours:1".to_owned()], now()),
    )
    .expect("commit");
    // After a commit by us the container stands on the new layer: theirs must still fit.
    world.buildah(&["commit", "-q", "ours", "localhost/after:1"]);
    let (text, success) = world.tool(
        "podman",
        &["images", "--format", "{{.Repository}}:{{.Tag}}"],
    );
    assert!(success, "{text}");
    for name in ["bb", "theirs", "ours", "after"] {
        assert!(
            text.contains(&format!("localhost/{name}:1")),
            "{name}: {text}"
        );
    }
    let inspected: Value =
        serde_json::from_str(&world.buildah(&["inspect", "ours"])).expect("inspect");
    let mine = container
        .expect("goes on")
        .inspect()
        .expect("inspect")
        .to_text()
        .expect("text");
    let mut mine: Value = serde_json::from_str(&mine).expect("json");
    // Debian's Buildah does not show it yet.
    mine.as_object_mut().expect("object").remove("GroupAdd");
    similar_asserts::assert_eq!(masked(mine), masked(inspected));
    world.buildah(&["rm", "ours"]);
    assert!(
        WorkingContainer::list(&world.store)
            .expect("list")
            .is_empty()
    );
}

#[test]
fn peer_we_use_buildahs_containers() {
    let world = World::new();
    world.busybox();
    let name = world.buildah(&["from", "localhost/bb:1"]).trim().to_owned();
    world.buildah(&[
        "run",
        "--isolation",
        "chroot",
        &name,
        "sh",
        "-c",
        "echo one > /one",
    ]);
    let before = world.buildah(&["inspect", &name]);
    let mut container = WorkingContainer::open(&world.store, &name).expect("open");
    let mine = container
        .inspect()
        .expect("inspect")
        .to_text()
        .expect("text");
    assert_eq!(lines_without_order(&mine), lines_without_order(&before));
    let file = |world: &World| -> Value {
        let container = WorkingContainer::open(&world.store, &name).expect("open");
        serde_json::from_slice(&container.state.to_bytes().expect("bytes")).expect("json")
    };
    let raw = file(&world);
    container.save().expect("saved");
    let saved = file(&world);
    for (key, value) in raw.as_object().expect("object") {
        if key != "ociv1" && key != "docker" {
            assert_eq!(saved.get(key), Some(value), "{key}");
        }
    }
    assert_eq!(world.sh(&container, "cat /one; echo two > /two"), "one\n");
    container
        .configure(
            &ConfigChange {
                user: Some("app".into()),
                ..ConfigChange::default()
            },
            now(),
        )
        .expect("configured");
    let text = world.buildah(&[
        "run",
        "--isolation",
        "chroot",
        &name,
        "sh",
        "-c",
        "id -u; cat /two",
    ]);
    assert_eq!(text, "1000\ntwo\n");
    let request = CommitRequest {
        after: AfterCommit::Remove,
        ..CommitRequest::new(vec!["localhost/ours:1".to_owned()], now())
    };
    commit(container, &request).expect("commit");
    let shown = world.buildah(&["inspect", "--type", "image", "localhost/ours:1"]);
    let images = world.store.images().expect("images");
    let id = images
        .by_name("localhost/ours:1")
        .expect("image")
        .id
        .clone();
    let mine = BaseImage::load(&world.store, &id, "localhost/ours:1").expect("image");
    let mine = mine.inspect().expect("inspect").to_text().expect("text");
    assert_eq!(lines_without_order(&mine), lines_without_order(&shown));
    assert!(!world.buildah(&["containers", "-q"]).contains(&name));
}

/// The printed lines, sorted: the order of platform fields differs between versions of Buildah.
fn lines_without_order(text: &str) -> Vec<String> {
    // Debian's Buildah does not show the groups yet.
    let lines = text.lines().filter(|line| !line.contains("\"GroupAdd\""));
    let mut lines: Vec<String> = lines
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn peer_stores_pass_podmans_eyes_after_a_failed_step() {
    let world = World::new();
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    let (_, result) = world.run(&container, &shell("touch /half; exit 3"));
    assert!(result.is_err());
    let (text, success) = world.tool(
        "podman",
        &[
            "ps",
            "--all",
            "--external",
            "--format",
            "{{.Names}} {{.Command}}",
        ],
    );
    assert!(success, "{text}");
    assert!(text.contains("bb-working-container buildah"), "{text}");
    std::io::stdout().flush().expect("flush");
}

#[test]
fn priv_a_store_of_full_copies_works_as_well() {
    let world = World::with_driver(DriverName::Vfs);
    let image = world.busybox();
    let container = world.from(Some(&image), None);
    world.sh(&container, "echo one > /one; rm /etc/group");
    let names = vec!["localhost/a:latest".to_owned()];
    let (first, container) = commit(container, &CommitRequest::new(names, now())).expect("commit");
    assert_eq!(first.manifest.manifest().layers.len(), 2);
    let container = container.expect("goes on");
    assert_eq!(world.sh(&container, "cat /one; ls /etc"), "one\npasswd\n");
    let fresh = world.from(Some(&first), None);
    assert_eq!(world.sh(&fresh, "cat /one; ls /etc"), "one\npasswd\n");
}

#[test]
fn priv_steps_run_at_the_same_time() {
    let world = World::new();
    let image = world.busybox();
    let steps = 4;
    let rounds = 5;
    std::thread::scope(|scope| {
        for _ in 0..steps {
            scope.spawn(|| {
                let container = world.from(Some(&image), None);
                for _ in 0..rounds {
                    // Without the lock two of them would read the same number.
                    let mut request = shell("n=$(cat /c/n || echo 0); echo $((n + 1)) > /c/n");
                    request.mounts = vec![RunMount::Cache(CacheMount {
                        id: "counter".to_owned(),
                        target: "/c".into(),
                        sharing: Sharing::Locked,
                        mode: 0o755,
                        uid: 0,
                        gid: 0,
                        access: Access::ReadWrite,
                        ownership: Ownership::Kept,
                        from: None,
                    })];
                    let (text, result) = world.run(&container, &request);
                    result.unwrap_or_else(|error| panic!("{error:?}: {text}"));
                }
            });
        }
    });
    let caches = std::fs::read_dir(world.dir.join("caches")).expect("caches");
    let count = caches
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("n")).ok())
        .next();
    assert_eq!(count, Some(format!("{}\n", steps * rounds)));
    assert_eq!(world.mounts_below(), Vec::<String>::new());
}

/// Hears nothing.
struct Silent;

impl model::Reporter for Silent {
    fn event(&self, _event: model::Event) {}
}

#[test]
fn priv_a_commit_to_another_place_leaves_no_image() {
    let world = World::new();
    world.busybox();
    let rules = transfer::NameRules::default();
    let base = BaseImage::lookup(&world.store, "bb:1", &rules, None).expect("found");
    assert_eq!(base.name, "localhost/bb:1");
    let container =
        WorkingContainer::create(&world.store, &from_request(Some(base), None)).expect("container");
    world.sh(&container, "echo one > /one");
    let place = format!("oci:{}:tag", world.dir.join("layout").display());
    let destination = transfer::TransportRef::parse(&place).expect("place");
    let request = CommitRequest {
        after: AfterCommit::Remove,
        ..CommitRequest::new(Vec::new(), now())
    };
    let options = transfer::CopyOptions::default();
    let made = commit_to(container, &request, &destination, &options, &Silent).expect("copied");
    assert_eq!(made.copied.manifest.manifest().layers.len(), 2);
    assert!(made.container.is_none());
    assert_eq!(world.store.images().expect("images").iter().count(), 1);
    assert_eq!(world.store.layers().expect("layers").iter().count(), 1);
    let error = BaseImage::lookup(&world.store, "nosuch", &rules, None).expect_err("missing");
    assert_eq!(error.to_string(), "nosuch: image not known");
}

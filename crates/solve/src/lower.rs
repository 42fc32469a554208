//! From a bound RUN to the request that `builder` carries out.
//!
//! Sources of mounts become open trees here. What a step may write into a stage, an image or a
//! context goes into an upper layer that is dropped after the step.

use crate::bound::{BoundMount, BoundRun};
use crate::engine::{Engine, Tree};
use crate::error::StepError;
use crate::mounts::{Mounts, root_source, writes_into_layers};
use crate::request::StepInput;
use crate::result::NodeResult;
use crate::scheduler::Needs;
use builder::run::{
    Access, Command, Environment, MountSource, RunMount, RunPlace, RunRequest, SecretBytes,
    SecretMount,
};
use containerfile::{RunForm, RunNetwork};
use model::Event;
use model::event::{OutputStream, StepPosition};
use runtime::network::Mode;
use runtime::{Namespace, Output, Stdin, Stream, UserNamespace};
use std::path::PathBuf;
use store::{RootMount, Stack};

/// Where the program of a here-document is seen (BuildKit's place).
const PIPES: &str = "/dev/pipes";
/// Permission bits of such a program.
const PROGRAM_MODE: u32 = 0o755;
/// Name of the machine when times are fixed, so that nothing of this run shows.
const FIXED_HOSTNAME: &str = "sandbox";
/// Digits of a step's key that its machine is called by.
const HOSTNAME_DIGITS: usize = 12;

/// Where and as what a RUN runs.
pub(crate) struct RunHere<'a> {
    pub(crate) engine: &'a Engine<'a>,
    pub(crate) needs: &'a Needs<NodeResult>,
    /// For its output.
    pub(crate) at: &'a StepPosition,
    /// Its key, in hexadecimal digits.
    pub(crate) key: &'a str,
}

/// An open source of a mount.
enum Source<'a> {
    Tree(Tree<'a>),
    /// With an upper layer that is dropped.
    Scratch(Box<Stack>),
}

impl RunHere<'_> {
    /// Runs the step in `root`.
    pub(crate) fn run(
        &self,
        run: &BoundRun,
        root: &RootMount,
        users: Option<UserNamespace>,
    ) -> Result<(), StepError> {
        let mut sources = self.sources(run)?;
        let mut making = Mounts::new(&self.engine.request.run.given);
        let mut mounts = Vec::new();
        for (bound, source) in run.mounts.iter().zip(&mut sources) {
            let source = match source {
                Some(Source::Scratch(stack)) => Some(root_source(stack.root()?)),
                Some(Source::Tree(tree)) => Some(self.tree_source(tree)),
                None => None,
            };
            mounts.extend(making.make(&bound.mount, source, Access::ThrowAway));
        }
        let request = RunRequest {
            user_namespace: users,
            ..self.request(run, mounts)
        };
        self.perform(&request, root)
    }

    fn perform(&self, request: &RunRequest<'_>, root: &RootMount) -> Result<(), StepError> {
        let engine = self.engine;
        let caches = engine.state_dir.join("caches");
        let place = RunPlace {
            root,
            store: engine.store,
            caches: &caches,
            networks: &engine.request.run.networks,
        };
        let mut relay = |stream: Stream, bytes: &[u8]| {
            engine.reporter.event(Event::Output {
                at: self.at.clone(),
                stream: match stream {
                    Stream::Stdout => OutputStream::Stdout,
                    Stream::Stderr => OutputStream::Stderr,
                },
                bytes: bytes.to_vec(),
            });
        };
        let output = Output::Relay(&mut relay);
        let isolation = engine.request.run.isolation;
        let stdin = match engine.request.run.input {
            StepInput::Empty => Stdin::Null,
            StepInput::Callers => Stdin::Inherit,
        };
        let ended = builder::run::run(place, request, stdin, output, &engine.stop);
        let report = match ended {
            // Told to end, it did: that it failed is no news.
            Err(_) if engine.stop.is_ending() => return Err(StepError::Cancelled),
            other => other.map_err(|error| StepError::of_run(error, isolation))?,
        };
        for lowered in &report.lowered {
            engine.reporter.event(Event::Detail {
                text: format!("limit lowered: {lowered:?}"),
            });
        }
        if let Some(text) = report.not_limited() {
            engine.reporter.event(Event::Warning { text });
        }
        if let Some(error) = &report.left_behind {
            engine.reporter.event(Event::Warning {
                text: format!("a mount point stays in the layer: {error}"),
            });
        }
        Ok(())
    }

    fn request<'m>(&self, run: &BoundRun, mounts: Vec<RunMount<'m>>) -> RunRequest<'m> {
        let settings = &self.engine.request.run;
        let entry = |(name, value): &(String, String)| format!("{name}={value}");
        let hostname = match (&settings.hostname, self.engine.request.times.created) {
            _ if settings.namespaces.uts != Namespace::Private => String::new(),
            (Some(name), _) => name.clone(),
            (None, Some(_)) => FIXED_HOSTNAME.to_owned(),
            (None, None) => self.key.chars().take(HOSTNAME_DIGITS).collect(),
        };
        let mut etc = settings.etc.clone();
        if etc.hostname.is_some() {
            etc.hostname = Some(format!("{hostname}\n"));
        }
        let mut all: Vec<RunMount<'m>> = settings
            .volumes
            .iter()
            .cloned()
            .map(RunMount::Volume)
            .collect();
        all.extend(mounts);
        let (command, program) = command(run);
        all.extend(program.map(RunMount::Secret));
        RunRequest {
            environment: Environment {
                image: run.env.iter().map(entry).collect(),
                args: run.args.iter().map(entry).collect(),
                proxies: run.proxies.iter().map(entry).collect(),
                secrets: Vec::new(),
            },
            user: run.user.clone(),
            working_dir: PathBuf::from(&run.workdir),
            network: match run.network {
                RunNetwork::Default => settings.network.clone(),
                RunNetwork::Host => Mode::Host,
                RunNetwork::None => Mode::None,
            },
            namespaces: settings.namespaces.clone(),
            root_change: settings.root_change,
            mounts: all,
            etc,
            host_files: settings.host_files.clone(),
            hostname,
            limits: settings.limits.clone(),
            control_group: settings.control_group.clone(),
            volumes: run.volumes.iter().map(PathBuf::from).collect(),
            volume_changes: settings.volume_changes,
            groups: settings.groups.clone(),
            shm_size: settings.shm_size,
            capabilities: settings.capabilities,
            seccomp: settings.seccomp.clone(),
            privileges: settings.privileges,
            devices: settings.devices.clone(),
            ..RunRequest::new(command)
        }
    }

    /// Opens the sources of the mounts that have one.
    fn sources(&self, run: &BoundRun) -> Result<Vec<Option<Source<'_>>>, StepError> {
        let open = |mount: &BoundMount| {
            let Some(from) = mount.from else {
                return Ok(None);
            };
            if writes_into_layers(mount)
                && let Some(layer) = self.engine.layer_of(from, self.needs)
            {
                let stack = self.engine.store.stack(layer.as_ref())?;
                return Ok(Some(Source::Scratch(Box::new(stack))));
            }
            Ok(Some(Source::Tree(self.engine.tree(from, self.needs)?)))
        };
        run.mounts.iter().map(open).collect()
    }

    fn tree_source<'m>(&self, tree: &'m Tree<'_>) -> MountSource<'m> {
        match tree {
            Tree::Context { context, .. } => MountSource::Host(&context.root),
            Tree::Layer { mount, .. } => root_source(mount),
            Tree::Downloaded(files) => MountSource::Host(&files.root),
            Tree::Live(root) => match self.engine.store.driver() {
                store::DriverName::Overlay => MountSource::Detached(root),
                store::DriverName::Vfs => MountSource::Host(root),
            },
        }
    }
}

/// Returns the command, and the program that it starts when that is in the instruction.
fn command(run: &BoundRun) -> (Command, Option<SecretMount>) {
    let shell = |script: String| Command::Shell {
        shell: run.shell.clone(),
        script,
    };
    match &run.form {
        RunForm::Exec(words) => (Command::Exec(words.clone()), None),
        RunForm::Shell(text) => (shell(text.clone()), None),
        RunForm::Script(heredoc) if heredoc.is_program() => {
            let path = PathBuf::from(PIPES).join(&heredoc.name);
            let program = path.to_string_lossy().into_owned();
            // A file that only this step sees and that is in memory: what a secret is, too.
            let file = SecretMount {
                value: SecretBytes(heredoc.content().into_bytes()),
                target: Some(path),
                env: None,
                mode: PROGRAM_MODE,
                uid: 0,
                gid: 0,
            };
            (Command::Exec(vec![program]), Some(file))
        }
        RunForm::Script(heredoc) => (shell(heredoc.content()), None),
    }
}

//! What a build is told, apart from its targets: how to cache, run, time and stop.

use crate::cancel::Cancel;
use crate::download::Downloads;
use crate::mounts::Given;
use crate::remote::RemoteCaches;
use crate::target::Target;
use builder::run::{AddedGroups, EtcFiles, HostFile, Isolation, VolumeChanges, VolumeMount};
use model::{ImageId, Timestamp};
use runtime::network::{Mode, Pool};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A whole build.
pub struct BuildRequest<'a> {
    /// The images to build.
    pub targets: Vec<Target>,
    /// How steps become layers.
    pub layers: Layering,
    /// What stays of stages that are not asked for.
    pub stages: StageImages,
    /// How many stages may run at once.
    pub jobs: NonZeroUsize,
    /// What times are written.
    pub times: BuildTimes,
    /// What every RUN gets.
    pub run: RunSettings,
    /// Fetches files of the web.
    pub downloads: &'a dyn Downloads,
    /// Results of other machines, and for them; of use with layers only.
    pub caches: RemoteCaches<'a>,
    /// Returns the present time.
    pub clock: &'a (dyn Fn() -> SystemTime + Sync),
    /// Ends the build from outside.
    pub cancel: Cancel,
}

/// `--layers` and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layering {
    /// One layer for each stage; nothing is looked up or recorded.
    AtEnd,
    /// One layer for each step that touches files.
    PerStep {
        /// Whether earlier results count.
        look_up: LookUp,
    },
}

/// `--save-stages` and `--stage-labels`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StageImages {
    /// With layers for each step the images that hold them, otherwise nothing.
    #[default]
    AsNeeded,
    /// An image of each stage.
    Saved,
    /// An image of each stage; those and the result say which stage they are and what it stands on.
    Labelled,
}

/// Whether what was built before is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// It is, unless it is older than this.
    Use {
        /// `--cache-ttl`.
        max_age: Option<Duration>,
    },
    /// `--no-cache`: everything is performed, and replaces what was recorded.
    Refresh,
}

/// What becomes of the times of files in new layers.
///
/// The type of `archive`, under a name of its own because callers above do not use that crate.
pub type FileTimes = archive::Times;

/// Times in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildTimes {
    /// Times of files in new layers.
    pub files: FileTimes,
    /// `created` of image and history; the present time without it.
    pub created: Option<Timestamp>,
}

/// What every RUN reads on its standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepInput {
    /// Nothing.
    #[default]
    Empty,
    /// What the caller has there (`--stdin`); steps that run at once share it.
    Callers,
}

/// What every RUN gets.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Standard input.
    pub input: StepInput,
    /// How processes are kept apart from the host.
    pub isolation: Isolation,
    /// What `--network=default` means.
    pub network: Mode,
    /// Where networks come from.
    pub networks: Arc<Pool>,
    /// The other namespaces.
    pub namespaces: runtime::Namespaces,
    /// The users that exist for a process, with what they are called on the host; those of the host
    /// without it.
    pub users: Option<runtime::IdMaps>,
    /// How the root becomes that of a process.
    pub root_change: runtime::RootChange,
    /// `--volume`.
    pub volumes: Vec<VolumeMount>,
    /// What becomes of changes in the volumes of images.
    pub volume_changes: VolumeChanges,
    /// Files of the host that every step sees.
    pub host_files: Vec<HostFile>,
    /// `--secret` and `--ssh`.
    pub given: Given,
    /// Generated files. `/etc/hostname`, when it is one of them, holds the machine's name
    /// whatever the text here.
    pub etc: EtcFiles,
    /// Name of the machine; taken from the step's key without it.
    pub hostname: Option<String>,
    /// `--ulimit`.
    pub limits: Vec<runtime::Limit>,
    /// What the processes of one step may use together.
    pub control_group: runtime::ControlGroup,
    /// `--group-add`.
    pub groups: AddedGroups,
    /// `--shm-size` in bytes.
    pub shm_size: u64,
    /// `--cap-add`, `--cap-drop` and the host's settings.
    pub capabilities: runtime::CapabilitySet,
    /// Which system calls are possible.
    pub seccomp: runtime::SeccompChoice,
    /// Whether set-user-id programs work.
    pub privileges: runtime::Privileges,
    /// `--device`.
    pub devices: Vec<runtime::Device>,
}

impl Default for RunSettings {
    /// The settings of a build without switches: the host's network, nothing mounted.
    fn default() -> Self {
        let plain = builder::run::RunRequest::new(builder::run::Command::Exec(Vec::new()));
        Self {
            input: StepInput::Empty,
            isolation: Isolation::default(),
            network: plain.network,
            networks: Arc::default(),
            namespaces: plain.namespaces,
            users: None,
            root_change: plain.root_change,
            volumes: Vec::new(),
            volume_changes: plain.volume_changes,
            host_files: Vec::new(),
            given: Given::default(),
            etc: plain.etc,
            hostname: None,
            limits: plain.limits,
            control_group: plain.control_group,
            groups: plain.groups,
            shm_size: plain.shm_size,
            capabilities: plain.capabilities,
            seccomp: plain.seccomp,
            privileges: plain.privileges,
            devices: plain.devices,
        }
    }
}

impl RunSettings {
    /// Returns what counts for the result of a step, by name.
    #[must_use]
    pub(crate) fn counted(&self) -> Vec<(String, String)> {
        let Self {
            input: _,     // nobody knows what it will be
            isolation: _, // one launcher serves all; what a step sees is the same
            network,
            networks: _,    // how one is made, not what it is
            namespaces: _,  // what a step sees of other processes is no input
            users: _,       // in the image everybody is who they are in the process
            root_change: _, // the root is the same
            volumes,
            volume_changes,
            host_files: _, // certificates and the like: differ between hosts, as proxies do
            given: _,      // must not leave a trace
            etc: _,        // addresses of the host
            hostname: _,   // a name for people
            limits: _,     // end a process, do not change what it makes
            control_group: _, // likewise
            groups,
            shm_size: _, // likewise
            capabilities,
            seccomp,
            privileges,
            devices,
        } = self;
        vec![
            ("default network".to_owned(), format!("{network:?}")),
            ("volumes".to_owned(), format!("{volumes:?}")),
            (
                "changes of volumes".to_owned(),
                format!("{volume_changes:?}"),
            ),
            ("capabilities".to_owned(), format!("{capabilities:?}")),
            ("system calls".to_owned(), format!("{seccomp:?}")),
            ("privileges".to_owned(), format!("{privileges:?}")),
            ("devices".to_owned(), format!("{devices:?}")),
            ("groups".to_owned(), format!("{groups:?}")),
        ]
    }
}

/// What a build came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One for each target.
    pub images: Vec<BuiltImage>,
}

/// An image that was built or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its identifier.
    pub id: ImageId,
    /// The names that it has now.
    pub names: Vec<String>,
    /// Arguments that were given but not declared.
    pub not_consumed: Vec<String>,
}

//! What a `run` is asked to do, as values.

use std::path::PathBuf;

use runtime::network;
use runtime::{
    Capability, CapabilitySet, ControlGroup, Device, Limit, Namespaces, Privileges, RootChange,
    SeccompChoice, UnknownCapability, UserNamespace,
};
use sys::Root;
use sys::mount::{Depth, Propagation};

use super::env::Environment;
use super::files::{EtcFiles, SecretBytes};
use super::ownership::Ownership;

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments, looked up in the container's `PATH`.
    Exec(Vec<String>),
    /// A text for a shell; an empty `shell` means `/bin/sh -c`.
    Shell {
        /// The shell with its flags.
        shell: Vec<String>,
        /// The text.
        script: String,
    },
}

impl Command {
    /// Returns the arguments of the process.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Exec(arguments) => arguments.clone(),
            Self::Shell { shell, script } => {
                let mut arguments = shell.clone();
                if arguments.is_empty() {
                    arguments = vec!["/bin/sh".to_owned(), "-c".to_owned()];
                }
                arguments.push(script.clone());
                arguments
            }
        }
    }
}

/// Whether the process may write through a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// It may not.
    #[default]
    ReadOnly,
    /// It may, and what it writes stays in the source.
    ReadWrite,
    /// It may, and what it writes is gone after the step.
    ThrowAway,
}

/// A tree of which something is mounted.
#[derive(Debug, Clone, Copy)]
pub enum MountSource<'a> {
    /// A directory of the host: a context, or the visible mount of a container.
    Host(&'a Root),
    /// The root of a mount that is attached nowhere: an image or a stage. It can be mounted
    /// [`Access::ThrowAway`] only if the caller has put an upper layer on it that is dropped
    /// afterwards; writes go there.
    Detached(&'a Root),
}

/// One mount of a step.
#[derive(Debug, Clone)]
pub enum RunMount<'a> {
    /// A part of a tree.
    Bind(BindMount<'a>),
    /// A directory of the host as `--volume` gives it.
    Volume(VolumeMount),
    /// A directory that survives builds.
    Cache(CacheMount<'a>),
    /// An empty directory in memory.
    Tmpfs(TmpfsMount),
    /// A file whose content nobody else sees.
    Secret(SecretMount),
    /// A socket that leads to an SSH agent of the host.
    Agent(AgentMount),
}

/// `--mount type=bind`.
#[derive(Debug, Clone)]
pub struct BindMount<'a> {
    /// The tree.
    pub source: MountSource<'a>,
    /// What of the tree, resolved inside it; `/` or empty for all.
    pub path: PathBuf,
    /// Where, in the container; a relative path starts at the working directory.
    pub target: PathBuf,
    /// Whether and how it can be written.
    pub access: Access,
    /// Further restrictions.
    pub restrict: Restrict,
    /// Whether mounts below it come along, of the host.
    pub depth: Depth,
    /// How later mounts of the host spread.
    pub propagation: Propagation,
    /// Whose the files are.
    pub ownership: Ownership,
}

impl<'a> BindMount<'a> {
    /// Returns a read-only mount of `path` of a tree, with the mounts below it.
    #[must_use]
    pub fn new(source: MountSource<'a>, path: PathBuf, target: PathBuf) -> Self {
        Self {
            source,
            path,
            target,
            access: Access::ReadOnly,
            restrict: Restrict::default(),
            depth: Depth::Recursive,
            propagation: Propagation::Private,
            ownership: Ownership::Kept,
        }
    }
}

/// `-v SOURCE:TARGET[:OPTIONS]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeMount {
    /// Directory or file of the host.
    pub source: PathBuf,
    /// Where, in the container.
    pub target: PathBuf,
    /// Whether and how it can be written.
    pub access: Access,
    /// Further restrictions.
    pub restrict: Restrict,
    /// How later mounts of the host spread.
    pub propagation: Propagation,
    /// Whose the files are.
    pub ownership: Ownership,
    /// Where what is written with [`Access::ThrowAway`] goes instead of being dropped.
    pub upper: Option<UpperDirs>,
}

/// The directories of an overlay that outlive the process, on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperDirs {
    /// What is written.
    pub upper: PathBuf,
    /// An empty directory for the kernel.
    pub work: PathBuf,
}

/// What a mount forbids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restrict {
    /// Set-user-ID bits count for nothing.
    pub nosuid: bool,
    /// Device files cannot be opened.
    pub nodev: bool,
    /// Programs cannot be started.
    pub noexec: bool,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step after the other.
    Locked,
    /// One step each; another one gets a cache of its own.
    Private,
}

impl From<containerfile::CacheSharing> for Sharing {
    fn from(word: containerfile::CacheSharing) -> Self {
        match word {
            containerfile::CacheSharing::Shared => Self::Shared,
            containerfile::CacheSharing::Locked => Self::Locked,
            containerfile::CacheSharing::Private => Self::Private,
        }
    }
}

/// `--mount type=cache`.
#[derive(Debug, Clone)]
pub struct CacheMount<'a> {
    /// Name of the cache.
    pub id: String,
    /// Where, in the container.
    pub target: PathBuf,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// Mode of its directory when it is made.
    pub mode: u32,
    /// Owner of its directory when it is made.
    pub uid: u32,
    /// Group of its directory when it is made.
    pub gid: u32,
    /// [`Access::ReadOnly`] or [`Access::ReadWrite`].
    pub access: Access,
    /// Whose the files are.
    pub ownership: Ownership,
    /// First content: a directory of a tree, copied when the cache is made.
    pub from: Option<(MountSource<'a>, PathBuf)>,
}

/// `--mount type=tmpfs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Where, in the container.
    pub target: PathBuf,
    /// Largest size in bytes; half of the memory by default.
    pub size: Option<u64>,
    /// Mode of the directory; by default that of the directory that is copied, or 1777.
    pub mode: Option<u32>,
    /// [`Access::ReadOnly`] or [`Access::ReadWrite`].
    pub access: Access,
    /// Whether it begins with a copy of what the container has there.
    pub copy_up: bool,
}

/// `--mount type=secret`, with its value: the caller has looked it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// The value.
    pub value: SecretBytes,
    /// The file, absolute or relative to the working directory; none for a variable only.
    pub target: Option<PathBuf>,
    /// The variable that holds it.
    pub env: Option<String>,
    /// Mode of the file.
    pub mode: u32,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
}

/// `--mount type=ssh`, with the agent: the caller has looked it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMount {
    /// The socket of the host's agent. Only requests that use keys pass.
    pub agent: PathBuf,
    /// The socket, absolute or relative to the working directory.
    pub target: PathBuf,
    /// Mode of the socket.
    pub mode: u32,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
}

/// A file or directory of the host that every step sees and no image contains, as
/// certificates of the site or settings of a package manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// [`Access::ReadOnly`], or [`Access::ThrowAway`] for programs that insist on writing there.
    pub access: Access,
}

/// Adds capabilities to `base` and takes others away; `all` means every one.
///
/// # Errors
/// When a name is unknown.
pub fn capability_set(
    base: CapabilitySet,
    add: &[String],
    drop: &[String],
) -> Result<CapabilitySet, UnknownCapability> {
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    let mut set = if drop.iter().any(is_all) {
        CapabilitySet::EMPTY
    } else {
        base
    };
    if add.iter().any(is_all) {
        set = CapabilitySet::all();
    }
    for name in add.iter().filter(|name| !is_all(name)) {
        set = set.with(name.parse()?);
    }
    for name in drop.iter().filter(|name| !is_all(name)) {
        set = set.without(name.parse()?);
    }
    Ok(set)
}

/// Returns the names of a set, `CAP_…`, sorted, as a container's state has them.
#[must_use]
pub fn capability_names(set: CapabilitySet) -> Vec<String> {
    let mut names: Vec<String> = Capability::ALL
        .iter()
        .filter(|&&capability| set.contains(capability))
        .map(|capability| capability.name().to_owned())
        .collect();
    names.sort();
    names
}

/// What becomes of what a process changes in the volumes of its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VolumeChanges {
    /// It stays in the container.
    #[default]
    Kept,
    /// It is gone after the process, as with Docker's first builder (`--compat-volumes`).
    Dropped,
}

/// `--group-add`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddedGroups {
    /// These, besides those that the image's accounts give the user.
    Ids(Vec<u32>),
    /// Those of the caller instead of all others (`keep-groups`).
    Callers,
}

impl Default for AddedGroups {
    fn default() -> Self {
        Self::Ids(Vec::new())
    }
}

/// One step to run.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// What is started.
    pub command: Command,
    /// Variables.
    pub environment: Environment,
    /// Value of `TERM` when the process gets a terminal.
    pub term: Option<String>,
    /// The user as USER has it; empty for root.
    pub user: String,
    /// Working directory, absolute; made when it is missing, and then kept.
    pub working_dir: PathBuf,
    /// The network.
    pub network: network::Mode,
    /// The other namespaces.
    pub namespaces: Namespaces,
    /// The users that exist for the process, to whom the files of the root belong on the host; those of
    /// the host without it.
    pub user_namespace: Option<UserNamespace>,
    /// How the root becomes that of the process.
    pub root_change: RootChange,
    /// Mounts besides the usual ones.
    pub mounts: Vec<RunMount<'a>>,
    /// Absolute paths of the volumes of the image: directories, made where they are missing.
    pub volumes: Vec<PathBuf>,
    /// What becomes of what the process changes in them.
    pub volume_changes: VolumeChanges,
    /// Generated files.
    pub etc: EtcFiles,
    /// Files of the host for every step.
    pub host_files: Vec<HostFile>,
    /// Name of the machine that the process sees; empty where that is shared.
    pub hostname: String,
    /// Limits.
    pub limits: Vec<Limit>,
    /// What the processes may use together.
    pub control_group: ControlGroup,
    /// Groups that the user is in besides those of the image.
    pub groups: AddedGroups,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Capabilities.
    pub capabilities: CapabilitySet,
    /// Which system calls are possible.
    pub seccomp: SeccompChoice,
    /// Whether set-user-id programs work.
    pub privileges: Privileges,
    /// Device nodes besides the usual ones.
    pub devices: Vec<Device>,
}

impl RunRequest<'_> {
    /// Returns a request with the defaults of a build step: as root in `/`, the host's network,
    /// nothing mounted.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self {
            command,
            environment: Environment::default(),
            term: None,
            user: String::new(),
            working_dir: PathBuf::from("/"),
            network: network::Mode::Host,
            namespaces: Namespaces::default(),
            user_namespace: None,
            root_change: RootChange::Pivot,
            mounts: Vec::new(),
            volumes: Vec::new(),
            volume_changes: VolumeChanges::Kept,
            etc: EtcFiles::default(),
            host_files: Vec::new(),
            hostname: String::new(),
            limits: Vec::new(),
            control_group: ControlGroup::default(),
            groups: AddedGroups::default(),
            shm_size: runtime::DEFAULT_SHM_SIZE,
            capabilities: CapabilitySet::DEFAULT,
            seccomp: SeccompChoice::Default,
            privileges: Privileges::MayGain,
            devices: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_taken_away() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let check = |add: &str, drop: &str| {
            capability_set(CapabilitySet::DEFAULT, &words(add), &words(drop)).expect("known")
        };
        assert_eq!(check("", ""), CapabilitySet::DEFAULT);
        assert_eq!(check("", "all"), CapabilitySet::EMPTY);
        assert_eq!(check("all", ""), CapabilitySet::all());
        let set = check("CAP_SYS_ADMIN net_raw", "chown");
        assert!(set.contains(runtime::Capability::SysAdmin));
        assert!(set.contains(runtime::Capability::NetRaw));
        assert!(!set.contains(runtime::Capability::Chown));
        assert!(capability_set(CapabilitySet::DEFAULT, &words("nope"), &[]).is_err());
    }

    #[test]
    fn shell_commands_get_a_shell() {
        let shell = |words: &[&str]| Command::Shell {
            shell: words.iter().map(|&word| word.to_owned()).collect(),
            script: "x y".to_owned(),
        };
        assert_eq!(shell(&[]).arguments(), ["/bin/sh", "-c", "x y"]);
        assert_eq!(
            shell(&["/bin/ash", "-ec"]).arguments(),
            ["/bin/ash", "-ec", "x y"]
        );
    }
}

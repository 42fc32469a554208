//! Runs one process in a prepared root file system: the machinery of RUN.
//!
//! [`run`] takes a root (a detached mount or a directory), what to execute and what to mount, and
//! gives back how the process ended. The container is what Buildah makes with an OCI runtime: new
//! mount, process, IPC and host-name namespaces unless others are asked for, the usual `/proc`, `/dev` and `/sys`, masked
//! paths, a small set of capabilities and Podman's system call filter. No helper process is
//! started, but for a network that is neither the host's nor none (see [`network`]).
//!
//! In a user namespace, an unprivileged pod's too, the same container is made with what is allowed
//! there: device nodes are the host's, and where a new `/proc` or `/sys` is refused the one around us
//! is mounted.
//!
//! A control group is made for a run that is limited, and only then. A user namespace is made by the
//! caller, with the owners of the files in the root. Nothing is looked up in the image: users are
//! numbers, and the working directory exists. Names, environment and files such as `/etc/hosts` are
//! the caller's.

mod capability;
mod control_group;
mod devices;
mod flags;
mod limit;
mod namespaces;
pub mod network;
mod owners;
mod plan;
mod points;
mod run;
pub mod seccomp;
mod spec;
mod stop;
mod surroundings;

pub use capability::{Capability, CapabilitySet, UnknownCapability};
pub use control_group::{ControlGroup, ControlGroupError, Refusal, Resources};
pub use limit::{LimitError, Lowered, parse_limit, resource_name};
pub use run::{Finished, RunError, run};
pub use spec::{
    Access, DEFAULT_MASKED, DEFAULT_READ_ONLY, DEFAULT_SHM_SIZE, Device, DeviceKind, Groups,
    MountKind, MountPlan, Namespace, Namespaces, Network, Output, RootSource, RunSpec,
    SeccompChoice, Stdin, Stream, User, UserNamespace,
};
pub use stop::Stop;
pub use sys::idmap::{IdMap, IdMaps, IdRange};
pub use sys::launch::{Exit, Limit, Privileges, RootChange};
pub use sys::mount::{Depth, MountFlags};

//! Why a step was not run, or failed.

use std::io;
use std::path::PathBuf;

use crate::passwd::AccountError;

use super::cache::CacheError;

/// Why a step was not run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The process returned a status other than 0. Scripts match this text.
    #[error("exit status {status}")]
    Status {
        /// The status.
        status: i32,
    },
    /// A signal ended the process.
    #[error("process killed by signal {signal}")]
    Signal {
        /// Its number.
        signal: i32,
    },
    /// USER names nobody.
    #[error(transparent)]
    User(#[from] AccountError),
    /// Its network cannot be made.
    #[error("setup network")]
    Network(#[source] runtime::network::NetworkError),
    /// The working directory cannot be used or made.
    #[error("cannot use `{path}` as the working directory")]
    WorkingDir {
        /// Inside the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory of a volume of the image cannot be made or copied.
    #[error("cannot prepare the volume `{path}`")]
    Volume {
        /// Inside the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The user namespace cannot be given to the process.
    #[error("cannot use the user namespace")]
    UserNamespace(#[source] io::Error),
    /// The source of a bind mount cannot be used.
    #[error("cannot mount `{path}` of its source")]
    BindSource {
        /// Inside the source.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file or directory of the host cannot be mounted.
    #[error("cannot mount `{path}` of the host")]
    VolumeSource {
        /// On the host.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What the container has at the place of a file system in memory cannot be copied there.
    #[error("cannot fill the tmpfs at `{path}`")]
    CopyUp {
        /// Inside the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The owner of a folder of the host is not changed.
    #[error(
        "chowning host path {path:?} is not allowed. You can manually `chown -R {uid}:{gid} {}`",
        path.display()
    )]
    Protected {
        /// On the host.
        path: PathBuf,
        /// Who would get it.
        uid: u32,
        /// The group that would get it.
        gid: u32,
    },
    /// An SSH agent cannot be offered to the step.
    #[error("cannot offer the SSH agent at `{path}`")]
    Agent {
        /// Its socket on the host.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The process could not be run.
    #[error(transparent)]
    Run(#[from] runtime::RunError),
}

impl StepError {
    /// Returns the exit status that a program that ran the step passes on: the process's own, 128
    /// and the signal's number, 127 or 126 as a shell has it for a program that cannot be started,
    /// and none for everything that went wrong before.
    #[must_use]
    pub fn exit_status(&self) -> Option<i32> {
        match self {
            Self::Status { status } => Some(*status),
            Self::Signal { signal } => Some(128 + signal),
            Self::Run(runtime::RunError::NotFound { .. } | runtime::RunError::NotInPath { .. }) => {
                Some(127)
            }
            Self::Run(runtime::RunError::PermissionDenied { .. }) => Some(126),
            _ => None,
        }
    }
}

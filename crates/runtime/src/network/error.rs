//! Why a network could not be made.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::OptionError;
use super::definition::DefinitionError;
use super::ipam::IpamError;

/// Why a network could not be made, or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Networks of the host need root.
    #[error("cannot use networks as rootless")]
    NamedAsUser,
    /// A network is not there, or cannot be understood.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// No address can be given out.
    #[error("IPAM error")]
    Ipam(#[from] IpamError),
    /// An option cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A helper program is not installed.
    #[error(
        "could not find {program:?} in one of {folders:?}: install it, set helper_binaries_dir in the [engine] \
         section of containers.conf, or choose the network host"
    )]
    NoHelper {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        folders: Vec<PathBuf>,
    },
    /// A program is not installed.
    #[error(
        "could not find {program}, the network namespace can't be configured: install it or choose the network host"
    )]
    NoProgram {
        /// The program.
        program: &'static str,
    },
    /// A program could not be started.
    #[error("failed to start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program that should go on has ended.
    #[error("{program} failed with {status}:\n{said}")]
    Ended {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        said: String,
    },
    /// netavark failed.
    #[error("netavark: {said}")]
    Netavark {
        /// What it said.
        said: String,
    },
    /// netavark did something, but its answer cannot be read.
    #[error("cannot understand the answer of netavark")]
    Answer(#[source] serde_json::Error),
    /// A namespace to join cannot be opened.
    #[error("cannot open the network namespace {}", path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No namespace can be made or looked into.
    #[error("cannot make a network namespace")]
    Namespace {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The lock of the host's networks cannot be taken.
    #[error("cannot lock the networks of this host: {}", path.display())]
    Lock {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It cannot be written down what a killed process leaves.
    #[error("cannot keep a record in {}", folder.display())]
    Record {
        /// Where the records are.
        folder: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

//! What can go wrong while a bill of materials is made.

use std::io;
use std::path::PathBuf;

use store::StoreError;

use super::merge::MergeError;
use crate::container::ContainerError;
use crate::run::StepError;

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No command names something to look at.
    #[error("no scanner command has {{ROOTFS}}, or {{CONTEXT}} with a build context")]
    NothingToScan,
    /// There is no place for what scanners write.
    #[error("cannot make a directory for scan results in `{}`", path.display())]
    Temporary {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The scanner's image cannot be used.
    #[error("creating temporary working container to run scanner")]
    Image(#[source] ContainerError),
    /// A scanner failed. Scripts match this text.
    #[error("running scanning command [{command}]")]
    Command {
        /// Its words.
        command: String,
        /// The cause.
        source: StepError,
    },
    /// A scanner has not written what it was asked for.
    #[error("cannot read the scan result `{}`", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A scanner has written too much.
    #[error("a scan result has more than {limit} bytes")]
    TooLarge {
        /// How many it may have.
        limit: u64,
    },
    /// Results cannot be put together.
    #[error("merging scan results")]
    Merge(#[from] MergeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

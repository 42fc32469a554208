//! Safe Linux calls: confined directories, locks, mounts, user namespaces, copies, and the launch of
//! one process.
//!
//! The only crate with `unsafe` code. It knows nothing of images, layers or builds: it turns
//! kernel interfaces into functions that cannot be misused by accident and returns
//! [`std::io::Error`] with the errno kept. It reads no environment and prints nothing.

pub mod copy;
pub mod idmap;
pub mod launch;
pub mod lock;
pub mod making;
pub mod mount;
pub mod netns;
pub mod overlay;
pub mod probe;
mod root;
pub mod userns;
pub mod xattr;

pub use idmap::IdMap;
pub use lock::FileLock;
pub use probe::Probe;
pub use root::{Made, Root, remove_made, reopen};

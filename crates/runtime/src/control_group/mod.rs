//! Control groups: what the processes of a run may use together.
//!
//! A group is made before the process starts, which enters it first of all, and is removed after
//! the run. What a program that was killed left behind is removed by the next one: a group in use
//! is locked, and the lock ends with its owner. Both versions are served, each as far as this
//! process may write there; which controllers a machine has and gives on is not changed beyond
//! what a run asks for. Devices are not limited here, and no manager (systemd) is asked.

mod group;
mod hierarchy;
mod setting;

use std::io;
use std::path::PathBuf;

pub(crate) use group::{Group, sweep_usual};

/// Limits of the processes of a run together. What is not set is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Period of the scheduler that the quota is for, in microseconds.
    pub cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Weight against other groups where processors are short, on the scale of version one: 2 to
    /// 262144, 1024 by default.
    pub cpu_shares: Option<u64>,
    /// Processors, as `0-2,4`; empty for all.
    pub cpuset_cpus: String,
    /// Memory nodes, as `0,1`; empty for all.
    pub cpuset_mems: String,
}

/// The control group of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlGroup {
    /// The group below which one is made: absolute from the root of the tree, or else from this
    /// process's own group. Missing ones are made, and removed with the run.
    pub parent: Option<PathBuf>,
    /// What is limited.
    pub resources: Resources,
    /// What follows when it cannot be done.
    pub refusal: Refusal,
}

impl ControlGroup {
    /// Says whether nothing is asked for, so that no group is made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.resources == Resources::default()
    }
}

/// What follows when a control group cannot be made as asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refusal {
    /// The run is not begun.
    #[default]
    Fatal,
    /// The run goes on without it, and [`crate::Finished`] says so.
    Told,
}

/// What could not be done about a control group.
#[derive(Debug, thiserror::Error)]
pub enum ControlGroupError {
    /// The second version limits swap as what is left of the sum.
    #[error("swap cannot be limited without a limit of memory")]
    SwapAlone,
    /// The sum is too small.
    #[error("the limit of memory and swap, {sum} bytes, is below that of memory, {memory} bytes")]
    SwapBelowMemory {
        /// Of memory.
        memory: u64,
        /// Of both.
        sum: u64,
    },
    /// A file of the kernel that tells of control groups cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No mounted tree of control groups has the controller.
    #[error("no control groups are mounted here that limit {controller}")]
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// A group cannot be made.
    #[error("cannot make the control group {path}")]
    Make {
        /// Its directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The groups above do not give the controller on, and may not be told to.
    #[error(
        "cannot limit {controller} in the control group {path}: a group above does not give it on"
    )]
    NotGivenOn {
        /// Its name.
        controller: &'static str,
        /// Directory of the group.
        path: PathBuf,
        /// What the kernel answered when it was told to.
        source: io::Error,
    },
    /// The kernel does not accept a limit.
    #[error("failed to write {value:?}: write {path}")]
    Write {
        /// What was written.
        value: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A group stays after its run.
    #[error("cannot remove the control group {path}")]
    Remove {
        /// Its directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

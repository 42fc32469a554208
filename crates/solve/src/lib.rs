//! Turns requested targets into one graph and brings every node to a result with the least work.
//!
//! ```text
//! Target ─┐          ┌ base config ┐
//! Target ─┼─ Graph ──┤ bind        ├── BoundStage ── StepKey ── look up ┬ hit: adopt the layer
//! Target ─┘          └ names       ┘        │                           └ miss: perform, record
//!                                       Scheduler (stages at once)          │
//!                                           └────────── publish, commit ◀───┘
//! ```
//! In the order of a build:
//! - [`target`]: what is asked for; [`request`]: how.
//! - [`scope`], [`bind`], [`bound`]: from written to bound, pure.
//! - `file_plan`, `planner`, `foresee`, `plan`: from the stages of a file to the [`graph`] of all targets.
//! - [`key`]: what counts for a result; [`cache`]: the index from keys to results; [`remote`]: those of other machines;
//!   `reason`: why there was none.
//! - [`scheduler`]: the life of the graph; [`stage`]: the life of a step.
//! - `engine`: what all nodes share; `fetch`: the images among them; `inputs`, `lower`, `hashing`, `work`: one stage on
//!   the machine; `ahead`: its keys beforehand.
//! - `commit`, `scan`: from results to images; `offers`, `push`: to other machines; `tell`: to the user.
//! - `build`: all of it.
//!
//! It prints nothing, reads no environment and no clock of its own; progress goes to a
//! [`model::Reporter`]. It has no second way to copy, run or commit: `builder` does that.

mod ahead;
pub mod bind;
pub mod bound;
mod build;
pub mod cache;
pub mod cancel;
mod commit;
mod download;
mod engine;
pub mod error;
mod fetch;
mod file_plan;
mod foresee;
pub mod graph;
mod hashing;
mod inputs;
pub mod key;
mod lower;
pub mod mounts;
mod offers;
mod plan;
mod planner;
mod push;
mod reason;
pub mod remote;
pub mod request;
mod result;
mod scan;
pub mod scheduler;
pub mod scope;
pub mod stage;
pub mod target;
mod tell;
mod work;

pub use build::build;
pub use cache::Cache;
pub use cancel::Cancel;
pub use download::{Downloaded, Downloads, WebFile, web_source};
pub use error::{BuildError, DownloadError, Location, PlanError, ScanError, StepError, StepFault};
pub use graph::Graph;
pub use key::StepKey;
pub use remote::{RemoteCache, RemoteCaches, RemoteError, RemoteImage};
pub use request::{
    BuildRequest, BuildTimes, BuiltImage, Layering, LookUp, Outcome, RunSettings, StageImages,
};
pub use target::{
    BaseImage, Directory, ImageSettings, Images, NamedContext, Presence, Scanner, Target,
};

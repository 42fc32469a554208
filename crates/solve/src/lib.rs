//! Turns requested targets into one graph and brings every node to a result with the least work.
//!
//! ```text
//! Target ─┐          ┌ base config ┐
//! Target ─┼─ Graph ──┤ bind        ├── BoundStage ── StepKey ── look up ┬ hit: adopt the layer
//! Target ─┘          └ names       ┘        │                           └ miss: perform, record
//!                                       Scheduler (stages at once)          │
//!                                           └────────── publish, commit ◀───┘
//! ```
//! - [`target`]: what is asked for; [`graph`]: which stages that needs, in which order.
//! - `plan`, [`bind`], [`scope`]: from written to bound, pure.
//! - [`key`]: what counts for a result; [`cache`]: the index from keys to results; [`remote`]: those of other machines.
//! - [`stage`]: the life of a step; [`scheduler`]: the life of the graph.
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
mod foresee;
pub mod graph;
pub mod key;
mod lower;
pub mod mounts;
mod offers;
mod plan;
mod reason;
pub mod remote;
pub mod request;
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
pub use download::{DownloadError, Downloaded, Downloads, WebFile, web_source};
pub use error::{BuildError, Location, PlanError, StepError, StepFault};
pub use graph::Graph;
pub use key::StepKey;
pub use remote::{RemoteCache, RemoteCaches, RemoteError, RemoteImage};
pub use request::{BuildRequest, BuildTimes, BuiltImage, Layering, LookUp, Outcome, RunSettings};
pub use scan::{ScanError, Scanner};
pub use target::{BaseImage, Directory, ImageSettings, Images, NamedContext, Presence, Target};

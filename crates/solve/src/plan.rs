//! From targets to the graph: which stages are needed, what each of them takes, in which order.
//!
//! ```text
//! Target ──expand FROM──▶ base: context? stage? image? ──bind──▶ Node ──▶ outputs
//!                             │                          │
//!                             └── planned first ◀── COPY --from, RUN --mount from, --after
//! ```
//! A stage is planned when something needs it: its base first, then its own steps, whose names
//! lead to further stages. So a stage that nothing needs is never looked at, a circle is met
//! while it is walked, and a base's triggers are known before their references are followed.
//! Stages of different targets that are equal in every word and input are one node.
//!
//! Nothing is built here, and nothing is read but the configurations of images.

use crate::error::PlanError;
use crate::file_plan::FilePlan;
use crate::graph::Graph;
use crate::planner::Planner;
use crate::target::{Images, Target};

impl Graph {
    /// Makes the graph of `targets`, reading the configurations of the images they stand on.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn plan<I: Images>(targets: &[Target], images: &I) -> Result<Self, PlanError> {
        let mut planner = Planner::new(images);
        for index in 0..targets.len() {
            let file = FilePlan::new(targets, index)?;
            images.foresee(&file.foreseen());
            let output = file.plan(&mut planner)?;
            planner.graph.outputs.push(output);
        }
        Ok(planner.graph)
    }
}

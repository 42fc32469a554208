//! One working container: create, copy into, run in, configure, mount and commit.
//!
//! What `from`, `run`, `copy`, `config`, `mount` and `commit` do, and what a build does with its
//! stages. Nothing here prints, reads the environment or knows a Containerfile: requests carry
//! values, results and warnings are values.

pub mod change;
pub mod commit;
pub mod container;
pub mod copy;
mod duration;
pub mod image;
pub mod inspect;
pub mod linked;
pub mod namespaces;
pub mod passwd;
pub mod run;
pub mod sbom;
pub mod state;
mod words;

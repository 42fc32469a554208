//! Pure edits on configs and manifests, shared by the `config` command, Containerfile steps and commit.
//!
//! Nothing here decides what an instruction means; callers bring parsed values.

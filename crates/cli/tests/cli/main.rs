//! The program as a user starts it: its output, its statuses, what it leaves behind, and how it
//! gets on with Debian's tools on one store.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod build;
mod build_flags;
mod completion;
mod configuration;
mod containers;
mod crash;
mod errors;
mod images;
mod lists;
mod namespaces;
mod networks;
mod peers;
mod pods;
mod progress;
mod remote_cache;
mod resources;
mod rootless;
mod sbom;
mod scripted;
mod sources;
mod stage;
mod user_maps;
mod volumes;
mod wire;

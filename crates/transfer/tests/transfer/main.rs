//! Copies between places: against hand-made and hostile images, between stores, and with Debian's tools at the other end.

#![expect(clippy::unwrap_used, reason = "what a test prepares must be there")]

mod copies;
mod daemon;
mod encryption;
mod hostile;
mod keyless;
mod names;
mod peer;
mod registries;
mod schema1;
mod served;
mod signatures;
mod stores;
mod support;
mod tarball;

//! Layers in and out: round trips, hostile streams, and Debian's tools as judges.
//!
//! `priv_` tests make devices, owners and `trusted.*` attributes and need root; `peer_` tests need Buildah and Skopeo
//! as well. They fail, rather than pass silently, where they cannot run.

#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking that it failed"
)]

mod arriving;
mod chunked;
mod compress;
mod extraction;
mod hostile;
mod peer;
mod properties;
mod support;
mod trees;

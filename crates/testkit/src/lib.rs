//! Development only: fixtures, comparison of images, and scratch folders that clean up.
//!
//! [`picture`] reads an image out of an OCI layout into plain values and lists how two of them
//! differ; it is what says whether two builders made the same image. The other side of the wire is
//! real: [`registry`] is Debian's `docker-registry`, [`daemon`] its Docker, [`web`] its nginx; what
//! Debian has not is made here: [`token`] servers, the services of [`sigstore`], and the [`proxy`]
//! that spoils what passes.

pub mod authority;
pub mod curl;
pub mod daemon;
pub mod http;
pub mod picture;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod scratch;
pub mod sigstore;
pub mod token;
pub mod tunnel;
pub mod web;

//! Development only: fixtures, comparison of images, and scratch folders that clean up.
//!
//! [`picture`] reads an image out of an OCI layout into plain values and lists how two of them
//! differ; it is what says whether two builders made the same image.

pub mod picture;
pub mod scratch;

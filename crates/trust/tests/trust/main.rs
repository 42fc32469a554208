//! The crate as its users see it.

#![allow(clippy::unwrap_used)]

mod encryption;
mod openssl;
mod policies;
mod sigstore;
mod simple;
mod support;

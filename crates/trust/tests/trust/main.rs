//! The crate as its users see it.

#![allow(clippy::unwrap_used)]

mod encryption;
mod id_tokens;
mod openssl;
mod policies;
mod sigstore;
mod simple;
mod support;

//! The distribution protocol with one registry.

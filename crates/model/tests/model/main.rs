//! The nouns against tables, against random values, and against what Debian's Buildah writes.

mod configs;
mod peer;
mod references;

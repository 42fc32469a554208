//! Development only: fixtures, a pinned world, the image validator and comparison with the peers.

//! Layers as bytes: tar in and out, whiteouts, compression, tar-split and confined extraction.

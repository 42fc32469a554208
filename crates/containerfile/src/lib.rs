//! Containerfile and ignore-file text in, typed steps with spans and diagnostics out.

//! Whether an image may be used.

//! One working container: create, copy into, run in, configure, mount and commit.

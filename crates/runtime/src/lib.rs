//! Runs one process in a prepared root file system.

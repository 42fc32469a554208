//! Safe Linux calls: confined directories, mounts, namespaces, locks, and the launch of one process.

//! The host's container configuration files, found, merged and validated as values with their origin.

//! The cooper command line.

fn main() {}

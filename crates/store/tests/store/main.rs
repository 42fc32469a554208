//! The store on a real disk: as root (`priv_`), and next to Debian's tools (`peer_`).

mod lists;
mod open;
mod peer;
mod scratch;
mod stack;

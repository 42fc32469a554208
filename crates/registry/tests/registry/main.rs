//! The client against servers on loopback whose answers the tests decide, and against Debian's `docker-registry`.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod certificates;
mod contact;
mod downloads;
mod fixture;
mod listing;
mod peer;
mod proxies;
mod scouting;
mod server;
mod tokens;
mod uploads;

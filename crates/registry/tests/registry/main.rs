//! The client against servers on loopback whose answers the tests decide, and against Debian's `docker-registry`.

mod certificates;
mod contact;
mod downloads;
mod fixture;
mod listing;
mod peer;
mod proxies;
mod server;
mod tokens;
mod uploads;

//! The program as a user starts it: its output, its statuses, what it leaves behind, and how it
//! gets on with Debian's tools on one store.

mod build;
mod crash;
mod errors;
mod peers;
mod scripted;
mod stage;

//! The end-to-end list of the wire: registries, transports, names, credentials, policy, lists.
//!
//! Each test is called after its line in the list of acceptance checks (`peer_17_…`). The other side
//! is always real: Debian's `docker-registry` 2.8, Skopeo 1.9, Podman 4.3, Buildah 1.28 and Docker
//! 20.10. Where those are older than what the list was written against, the test says how its
//! condition differs. Both stores are overlay stores, as all other tests use.
//!
//! Not here, as it is not part of the program yet: line 43 (working without root, `unshare`, chroot
//! isolation).

mod bad_input;
mod building;
mod credentials;
mod encryption;
mod fetching;
mod formats;
mod lists;
mod misc;
mod names;
mod policy;
mod protocol;
mod pulling;
mod resuming;
mod served;
pub mod setting;
mod transports;

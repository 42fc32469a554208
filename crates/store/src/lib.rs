//! The containers/storage state on disk, shared with Podman, Buildah, Skopeo and CRI-O.
//!
//! A [`Store`] is opened lazily: nothing is read, locked or mounted before a method needs it.
//! Reading gives snapshots ([`Layers`], [`Images`], [`Containers`]); writing follows one rule:
//! content first, then records, then names, and no lock is held while content is copied,
//! hashed or unpacked. What a crash leaves behind is removed by [`Store::reap`] or by any
//! other tool.
//!
//! Deliberately absent: pulling, naming policy, image configs (bytes in, bytes out), and the
//! drivers btrfs and zfs, image stores split off with `imagestore`, transient stores, quotas
//! and composefs, all of which are refused with a message.

mod commit;
mod container;
mod container_root;
#[cfg(test)]
mod crash;
mod delete;
mod driver;
mod error;
mod fault;
mod ident;
mod image;
mod import;
mod item;
mod journal;
mod json;
mod ledger;
mod list;
mod locks;
mod mounts;
mod options;
mod placing;
mod probe;
mod publish;
mod reap;
mod record;
mod root;
mod scratch;
mod shift;
mod snapshot;
mod stack;
mod store;
mod table;
mod tempdir;
mod trash;
mod view;

pub use commit::CommittedLayer;
pub use container::{ContainerDirs, NewContainer};
pub use delete::{Deleted, Removal, Removed, WhenMounted};
pub use error::{Result, StoreError};
pub use image::{Item, NewImage};
pub use import::{LayerSource, UnpackedLayer};
pub use item::MAX_ITEM_SIZE;
pub use list::{Artifacts, List, ListLock};
pub use options::{DriverChoice, DriverName, Privilege, StoreOptions};
pub use probe::ProbeReport;
pub use reap::Reaped;
pub use record::{
    BlobCompression, ContainerRecord, IdRange, ImageRecord, Items, LayerRecord, MountRecord,
    RecordTime,
};
pub use root::{RootMount, RootSource};
pub use scratch::Scratch;
pub use snapshot::{Containers, Images, Layers};
pub use stack::{FrozenDigest, FrozenTree, Stack};
pub use store::Store;

/// Most layers stacked on each other: what the kernel and containers/storage allow.
pub const MAX_DEPTH: usize = 500;

//! Which sources are archives.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::Root;

use super::CopyError;
use super::path::{join, os};
use super::plan::{Listing, Locate, Payload};

/// Opens the one entry of a listing.
pub(super) fn open_entry(root: &Root, listing: &Listing, locate: &Locate) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let (path, flags) = match locate {
        Locate::Path(path) => (path.clone(), flags),
        Locate::Name => {
            let path = join(&listing.path, listing.name(&listing.entries[0]));
            (path, flags | OFlags::NOFOLLOW)
        }
    };
    root.open_with(Path::new(os(&path)), flags, Mode::empty())
}

/// Returns whether the one entry of a listing is a tar archive with at least one member.
pub(super) fn is_archive(
    root: &Root,
    listing: &Listing,
    locate: &Locate,
) -> Result<bool, CopyError> {
    let entry = &listing.entries[0];
    if !matches!(entry.payload, Payload::File { .. }) || entry.stamp.size == 0 {
        return Ok(false);
    }
    open_entry(root, listing, locate)
        .and_then(|file| archive::is_archive(File::from(file)))
        .map_err(|source| CopyError::Source {
            action: "read",
            path: listing.shown(entry),
            source,
        })
}

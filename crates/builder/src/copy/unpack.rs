//! Unpacks the local archives of an ADD into the destination.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use archive::tar::Kind;
use archive::{ArchiveOptions, Limits, Modes};
use containerfile::ChmodTarget;
use sys::Root;

use super::archived::open_entry;
use super::path::os;
use super::place::Place;
use super::plan::{Listing, Locate, Payload, Stamp};
use super::walk::stat_fd;
use super::writer::{Applied, Writer};
use super::{Chown, CopyError};

/// Reads a file and digests what was read.
struct Digesting {
    file: File,
    hasher: blake3::Hasher,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        Ok(got)
    }
}

/// Unpacks an archive into the destination directory.
///
/// `--chown` and `--chmod` apply to all members (containerfile-semantics 9.7); without them owners
/// and modes are the archive's.
pub(super) fn unpack(
    writer: &Writer<'_>,
    root: &Root,
    listing: &Listing,
    locate: &Locate,
    place: &Place,
) -> Result<Applied, CopyError> {
    let entry = &listing.entries[0];
    let path = || listing.shown(entry);
    let failed = |action| {
        move |source| CopyError::Source {
            action,
            path: path(),
            source,
        }
    };
    let owner = match (&writer.gathered.chown, writer.named_owner) {
        (Some(Chown::Ids { uid, gid }), _) => Some((*uid, *gid)),
        (_, named) => named,
    };
    let chmod = writer.gathered.chmod.as_ref();
    let changed = |mode, kind| {
        let target = match kind {
            Kind::Directory => ChmodTarget::Directory,
            _ => ChmodTarget::File,
        };
        chmod.map_or(mode, |chmod| chmod.apply(mode, target))
    };
    let options = ArchiveOptions {
        owner,
        modes: Modes::Changed(&changed),
        privilege: writer.gathered.privilege,
        limits: Limits::default(),
    };
    let file = open_entry(root, listing, locate).map_err(failed("open"))?;
    let mut source = Digesting {
        file: file.into(),
        hasher: blake3::Hasher::new(),
    };
    let dest = Path::new(os(&place.dir));
    let entries =
        archive::extract_archive(&mut source, writer.target, dest, &options).map_err(|source| {
            CopyError::Unpack {
                path: path(),
                source,
            }
        })?;
    // The digest is of the whole file, also of what follows the archive's end.
    io::copy(&mut source, &mut io::sink()).map_err(failed("read"))?;
    let stat = stat_fd(source.file.as_fd()).map_err(failed("read the metadata of"))?;
    let digest = source.hasher.finalize();
    match entry.payload {
        Payload::File {
            digest: planned, ..
        } if planned == *digest.as_bytes() && Stamp::of(&stat).size == entry.stamp.size => {
            Ok(Applied {
                entries,
                bytes: entry.stamp.size,
            })
        }
        _ => Err(CopyError::Changed { path: path() }),
    }
}

//! `oci-archive:`: an OCI layout as one tar file.
//!
//! Reading finds blobs in the file as it is. Writing makes the layout in a temporary directory, since the size of a
//! compressed blob must stand before its bytes.

use std::path::{Path, PathBuf};

use archive::tar::{Header, Kind, Writer};
use model::{ImageId, RawIndex};
use trust::{ClaimKind, Signature};

use crate::archive_file::{ArchiveFile, copy_file};
use crate::error::{IoContext as _, Result, TransferError};
use crate::files::Output;
use crate::layout::{self, LayoutSink, Naming};
use crate::signatures::SignaturesError;
use crate::sink::{Finished, Incoming, Landed, Lanes, Role, Sink, Wish};
use crate::source::{Library, Offered};
use crate::transport::Pick;
use crate::unfinished;

/// Opens an entry of an archive.
pub(crate) fn open<'a>(
    label: &str,
    path: &Path,
    pick: &Pick,
    temporary: &Path,
) -> Result<Library<'a>> {
    let archive = ArchiveFile::open(path, temporary)?;
    layout::open(label, Box::new(archive), pick, Naming::Archive)
}

/// An archive being written.
pub(crate) struct OciArchiveSink {
    path: PathBuf,
    // Vanishes with the layout in it.
    _directory: unfinished::Directory,
    root: PathBuf,
    layout: LayoutSink,
}

impl OciArchiveSink {
    pub(crate) fn create(place: &str, path: &Path, pick: &Pick, temporary: &Path) -> Result<Self> {
        unfinished::reap(temporary);
        let directory = unfinished::Directory::create(temporary)?;
        // The directory itself is locked, and a layout being written locks its own.
        let root = directory.path().join("layout");
        let layout = LayoutSink::create(place, &root, pick)?;
        Ok(Self {
            path: path.to_owned(),
            _directory: directory,
            root,
            layout,
        })
    }

    /// Writes the layout's files in the order of a directory walk, without anything that depends on when or by whom.
    fn pack(&self) -> Result<()> {
        let root = &self.root;
        let failed = |source| TransferError::ArchiveWrite {
            path: self.path.clone(),
            source,
        };
        let blobs = root.join("blobs/sha256");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&blobs).at("read the directory", &blobs)? {
            let name = entry.at("read the directory", &blobs)?.file_name();
            names.push(format!("blobs/sha256/{}", name.to_string_lossy()));
        }
        names.sort();
        names.extend(["index.json", "oci-layout"].map(str::to_owned));
        let mut writer = Writer::new(Output::create(&self.path)?);
        for directory in ["blobs/", "blobs/sha256/"] {
            let header = Header {
                mode: 0o755,
                ..Header::new(directory, Kind::Directory)
            };
            writer.start(&header).map_err(failed)?;
        }
        for name in names {
            let path = root.join(&name);
            let size = path.metadata().at("look at", &path)?.len();
            let header = Header {
                mode: 0o644,
                size,
                ..Header::new(name, Kind::File)
            };
            writer.start(&header).map_err(failed)?;
            copy_file(&path, |bytes| writer.data(bytes).map_err(failed))?;
        }
        writer.finish().map_err(failed)?.finish()
    }
}

impl Sink for OciArchiveSink {
    fn wish(&self) -> Wish {
        self.layout.wish()
    }

    fn lanes(&self) -> Lanes {
        self.layout.lanes()
    }

    fn takes_artifacts(&self) -> bool {
        self.layout.takes_artifacts()
    }

    fn reuse(&self, index: usize, offered: &Offered) -> Result<Option<Landed>> {
        self.layout.reuse(index, offered)
    }

    fn put_layer(&self, index: usize, layer: Incoming<'_>) -> Result<Landed> {
        self.layout.put_layer(index, layer)
    }

    fn leaves_foreign(&self) -> bool {
        self.layout.leaves_foreign()
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        self.layout.finish(finished)?;
        if finished.role == Role::Single {
            self.pack()?;
        }
        Ok(None)
    }

    fn check_signatures(&self, kinds: &[ClaimKind]) -> std::result::Result<(), SignaturesError> {
        self.layout.check_signatures(kinds)
    }

    fn finish_list(&self, list: &RawIndex, signatures: &[Signature]) -> Result<()> {
        self.layout.finish_list(list, signatures)?;
        self.pack()
    }
}

//! Bills of materials of images that are being made: the scanner's image is brought here, the scanner runs, and its results
//! go into the image and into files of the host.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use builder::commit::AddedFile;
use builder::sbom::{Bill, ScanPlace};
use model::event::OutputStream;
use runtime::{Stop, Stream};
use solve::{ScanError, Scanner};
use store::{RootMount, Store};
use sys::Root;
use tempfile::TempDir;

use super::pulling::{self, Puller, Ways};
use crate::args::sbom::{Outputs, SbomRequest};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Makes the bills of materials of one command.
pub struct Bills {
    request: SbomRequest,
    store: Store,
    ways: Ways,
    contexts: Vec<PathBuf>,
    ui: Ui,
    told: Told,
    cwd: PathBuf,
    // What is put into images lies here until the command ends.
    folder: TempDir,
    last: Mutex<Option<Bill>>,
}

impl fmt::Debug for Bills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bills").field(&self.request).finish()
    }
}

impl Bills {
    /// Prepares for `request`. Scanners see `contexts` besides the image.
    pub fn new(
        request: SbomRequest,
        contexts: Vec<PathBuf>,
        (store, ways): (&Store, &Ways),
        told: Told,
        (world, ui): (&World, &Ui),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("cooper-sbom")
            .tempdir_in(world.big_temporary())
            .context("cannot make a directory for scan results")?;
        Ok(Self {
            request,
            store: store.clone(),
            ways: ways.clone(),
            contexts,
            ui: ui.clone(),
            told,
            cwd: world.cwd.clone(),
            folder,
            last: Mutex::default(),
        })
    }

    /// Scans a root file system. Returns the files that its image is to have.
    pub fn make(&self, root: &RootMount, stop: &Stop) -> Result<Vec<AddedFile>> {
        let bill = self.bill(root, stop)?;
        let SbomRequest {
            document, packages, ..
        } = &self.request;
        let files = [
            self.for_image("document", &bill.document, document)?,
            self.for_image("packages", &bill.packages, packages)?,
        ];
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(bill);
        Ok(files.into_iter().flatten().collect())
    }

    fn bill(&self, root: &RootMount, stop: &Stop) -> Result<Bill> {
        let scanner = &self.request.scanner;
        let puller = Puller {
            store: &self.store,
            ways: &self.ways,
            reporter: &CopyLines::new(&self.ui, self.told),
        };
        let image = puller
            .pull_one(&scanner.image)
            .and_then(|pulled| pulling::base_image(&self.store, &pulled))
            .context("creating temporary working container to run scanner")?;
        let contexts = self
            .contexts
            .iter()
            .map(|path| Root::open(path).with_context(|| format!("open {}", path.display())))
            .collect::<Result<Vec<_>>>()?;
        let place = ScanPlace {
            store: &self.store,
            image: &image,
            root,
            contexts: &contexts,
            temporary: self.folder.path(),
        };
        let mut said = |stream: Stream, bytes: &[u8]| {
            let stream = match stream {
                Stream::Stdout => OutputStream::Stdout,
                Stream::Stderr => OutputStream::Stderr,
            };
            self.ui.pass(stream, bytes);
        };
        Ok(builder::sbom::scan(scanner, place, &mut said, stop)?)
    }

    fn for_image(&self, name: &str, bytes: &[u8], outputs: &Outputs) -> Result<Option<AddedFile>> {
        let Some(target) = &outputs.in_image else {
            return Ok(None);
        };
        let source = self.folder.path().join(name);
        write(&source, bytes)?;
        Ok(Some(AddedFile {
            source,
            target: Path::new("/").join(target),
        }))
    }

    /// Writes the results of the last image to the files of the host that the flags name.
    pub fn save(&self) -> Result<()> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bill) = &*last else {
            return Ok(());
        };
        let SbomRequest {
            document, packages, ..
        } = &self.request;
        for (outputs, bytes) in [(document, &bill.document), (packages, &bill.packages)] {
            if let Some(file) = &outputs.file {
                write(&self.cwd.join(file), bytes)?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

impl Scanner for Bills {
    fn scan(&self, root: &RootMount, stop: &Stop) -> Result<Vec<AddedFile>, ScanError> {
        self.make(root, stop).map_err(Into::into)
    }
}

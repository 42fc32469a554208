//! The tree of a build stage while it grows: published layers below, frozen trees above
//! them, one writable tree on top.
//!
//! ```text
//!            upper      written by COPY and RUN through `root()`
//!   frozen N            freeze() turned an upper into this; being hashed in a thread
//!   ...                 all in G/overlay/tempdirs/temp-dir-N, its lock held
//!   frozen 1
//!   base                published layers, overlay/ID/diff
//! ```
//! An upper whose files are still being filled may be hashed meanwhile ([`Stack::digest_arriving`]);
//! the frozen tree then only has to confirm that digest.
//!
//! Nothing here has a record or a final place; `Store::publish_stack` gives both. Dropping a
//! stack removes its trees, and after a crash any tool does.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Early, Flavour, LayerDigest, Supply, Times, TreeOptions};
use model::{DiffId, LayerId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use sys::Root;
use sys::overlay::{Durability, OverlaySpec, Shift, XattrFlavour};

use crate::MAX_DEPTH;
use crate::driver::{RootAttributes, vfs};
use crate::error::{IoContext as _, Result, StoreError};
use crate::locks::private_dir;
use crate::options::DriverName;
use crate::root::{RootMount, fresh_dir};
use crate::shift;
use crate::store::Store;
use crate::tempdir::{TempDir, remove_tree};

/// How many lowers a hashing thread opens one by one; more are looked at through one mount.
const MAX_OPEN_LOWERS: usize = 8;

/// The growing tree of one build stage.
#[derive(Debug)]
pub struct Stack {
    store: Store,
    base: Option<LayerId>,
    // Invariant: nearest first; empty without a base.
    base_dirs: Vec<PathBuf>,
    // Invariant: oldest first; all inside `trees`.
    frozen: Vec<PathBuf>,
    upper: PathBuf,
    work: Option<PathBuf>,
    attributes: RootAttributes,
    mount: Option<RootMount>,
    // Invariant: of the upper as it is; whoever can write into it takes it away first.
    early: Option<EarlyTree>,
    trees: Arc<TempDir>,
    splits: Arc<TempDir>,
}

/// What was hashed of an upper while it was filled.
#[derive(Debug)]
struct EarlyTree {
    digest: Early,
    split: PathBuf,
    times: Times,
}

/// A tree that will not change any more. It may be sent to another thread for hashing.
#[derive(Debug)]
pub struct FrozenTree {
    tree: PathBuf,
    // Invariant: nearest first.
    lowers: Vec<PathBuf>,
    // What the kernel left of the upper's mount; removed by the thread that hashes.
    work: Option<PathBuf>,
    early: Option<EarlyTree>,
    driver: DriverName,
    flavour: XattrFlavour,
    trees: Arc<TempDir>,
    splits: Arc<TempDir>,
}

/// A frozen tree with its digest and tar-split, ready for publishing.
#[derive(Debug)]
pub struct FrozenDigest {
    pub(crate) digest: LayerDigest,
    pub(crate) split: PathBuf,
    pub(crate) tree: PathBuf,
    pub(crate) _splits: Arc<TempDir>,
}

impl FrozenDigest {
    /// Returns the DiffID, size and owners of the layer.
    #[must_use]
    pub fn digest(&self) -> &LayerDigest {
        &self.digest
    }

    /// Returns the digest of the layer's uncompressed archive.
    #[must_use]
    pub fn diff_id(&self) -> &DiffId {
        &self.digest.diff_id
    }
}

/// A stack's parts, for publishing.
pub(crate) struct Parts {
    pub(crate) base: Option<LayerId>,
    pub(crate) frozen: Vec<PathBuf>,
    pub(crate) attributes: RootAttributes,
    pub(crate) trees: Arc<TempDir>,
    pub(crate) splits: Arc<TempDir>,
}

impl Store {
    /// Starts a stack on a published layer, or on nothing.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`]; [`StoreError::Io`] when its directory cannot be made.
    pub fn stack(&self, base: Option<&LayerId>) -> Result<Stack> {
        let trees = Arc::new(self.inner.tree_temp()?);
        let splits = Arc::new(self.inner.file_temp()?);
        let mut stack = Stack {
            store: self.clone(),
            base: None,
            base_dirs: Vec::new(),
            frozen: Vec::new(),
            upper: PathBuf::new(),
            work: None,
            attributes: RootAttributes::base(),
            mount: None,
            early: None,
            trees,
            splits,
        };
        stack.start(base)?;
        Ok(stack)
    }
}

impl Stack {
    /// Returns the published layer at the bottom, if any.
    #[must_use]
    pub fn base(&self) -> Option<&LayerId> {
        self.base.as_ref()
    }

    /// Returns how many frozen trees lie on the base.
    #[must_use]
    pub fn frozen_count(&self) -> usize {
        self.frozen.len()
    }

    /// Returns the root file system with everything so far, writable. It is mounted by the
    /// first call and stays until the next change of the stack.
    ///
    /// # Errors
    /// [`StoreError::TooDeep`]; [`StoreError::Io`] when the mount fails.
    pub fn root(&mut self) -> Result<&RootMount> {
        self.early = None;
        if self.mount.is_none() {
            self.mount = Some(self.mount()?);
        }
        Ok(self.mount.as_ref().expect("mounted just now"))
    }

    /// Returns the root file system for a process in the user namespace `namespace`: what belongs to
    /// an id of the image is its own. `root` is what its root is called here. Nothing else may use the stack while it lives.
    ///
    /// # Errors
    /// As [`Stack::root`].
    pub fn shifted_root(
        &mut self,
        namespace: BorrowedFd<'_>,
        root: (u32, u32),
    ) -> Result<RootMount> {
        self.early = None;
        self.mount = None;
        let trees = Arc::clone(&self.trees);
        if self.store.inner.driver == DriverName::Vfs {
            return Ok(RootMount::of(shift::bind(&self.upper, namespace)?).keeping(trees));
        }
        let both = Shift {
            lowers: Some(namespace),
            upper: Some(namespace),
            worker: Some(root),
        };
        RootMount::shifted(&self.overlay()?, both, Some(trees))
    }

    /// Hashes what was written since the last freeze while `supply` fills the last of its files,
    /// through a root that was asked for before. The digest counts only when the upper is frozen
    /// next and is then what was hashed, with the same `times`; otherwise it is hashed again.
    ///
    /// Returns whether there is such a digest. Without one, `supply` may not have been asked for
    /// everything: the driver may know no other way than hashing afterwards, and a tree that cannot
    /// be hashed is reported by [`FrozenTree::digest`].
    ///
    /// # Errors
    /// [`StoreError::Io`] when the layers below or the place of the tar-split cannot be opened.
    pub fn digest_arriving(
        &mut self,
        times: Times,
        supply: &mut (dyn Supply + Send),
    ) -> Result<bool> {
        self.early = None;
        if self.store.inner.driver == DriverName::Vfs {
            return Ok(false);
        }
        let flavour = self.store.inner.flavour();
        let lowers = LowerRoots::open(&self.lowers(), flavour)?;
        let root = Root::open(&self.upper).at("open", &self.upper)?;
        let split = self.splits.next("addition");
        let file = create_split(&split)?;
        let options = tree_options(flavour, times);
        let digest = archive::digest_arriving(&root, lowers.roots(), &options, &file, supply);
        if let Ok(digest) = digest {
            file.sync_data().at("sync", &split)?;
            self.early = Some(EarlyTree {
                digest,
                split,
                times,
            });
        }
        Ok(self.early.is_some())
    }

    /// Makes what was written since the last freeze a tree of its own and puts an empty one
    /// on top. The tree is hashed by [`FrozenTree::digest`], in another thread if wanted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn freeze(&mut self) -> Result<FrozenTree> {
        self.mount = None;
        remove_sockets(&self.upper)?;
        self.attributes.apply(&self.upper)?;
        let lowers = self.lowers();
        let tree = std::mem::take(&mut self.upper);
        self.frozen.push(tree.clone());
        self.new_upper()?;
        Ok(FrozenTree {
            tree,
            lowers,
            work: self.work.take(),
            early: self.early.take(),
            driver: self.store.inner.driver,
            flavour: self.store.inner.flavour(),
            trees: Arc::clone(&self.trees),
            splits: Arc::clone(&self.splits),
        })
    }

    /// Throws away what was written since the last freeze.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn reset(&mut self) -> Result<()> {
        self.mount = None;
        self.early = None;
        remove_tree(&self.upper)?;
        self.remove_work()?;
        self.new_upper()
    }

    /// Goes on from a published layer: a step's recorded result takes the place of doing the
    /// step. Trees frozen before are dropped, since the layer's chain holds their content.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`], for instance when the layer was removed meanwhile; the
    /// stack is as before then.
    pub fn adopt(&mut self, layer: &LayerId) -> Result<()> {
        self.store.layers()?.require(layer)?;
        self.start(Some(layer))
    }

    fn start(&mut self, base: Option<&LayerId>) -> Result<()> {
        let inner = &*self.store.inner;
        let (dirs, attributes) = match base {
            None => (Vec::new(), RootAttributes::base()),
            Some(layer) => {
                self.store.layers()?.require(layer)?;
                let dirs = match inner.driver {
                    DriverName::Overlay => inner.lower_dirs(layer)?,
                    DriverName::Vfs => vec![inner.home_of(layer)?.join(layer)],
                };
                let attributes = RootAttributes::of(&dirs[0])?;
                (dirs, attributes)
            }
        };
        self.mount = None;
        self.early = None;
        for tree in self.frozen.drain(..) {
            remove_tree(&tree)?;
        }
        if !self.upper.as_os_str().is_empty() {
            remove_tree(&self.upper)?;
        }
        self.remove_work()?;
        self.base = base.cloned();
        self.base_dirs = dirs;
        self.attributes = attributes;
        self.new_upper()
    }

    fn new_upper(&mut self) -> Result<()> {
        self.upper = self.trees.next("tree");
        match (self.store.inner.driver, self.lowers().first()) {
            (DriverName::Vfs, Some(below)) => vfs::copy_tree(below, &self.upper, vfs::Marks::Drop),
            _ => fresh_dir(&self.upper, self.attributes),
        }
    }

    fn remove_work(&mut self) -> Result<()> {
        self.work.take().map_or(Ok(()), |work| remove_tree(&work))
    }

    /// Everything below the upper, nearest first.
    fn lowers(&self) -> Vec<PathBuf> {
        self.frozen
            .iter()
            .rev()
            .chain(&self.base_dirs)
            .cloned()
            .collect()
    }

    fn mount(&mut self) -> Result<RootMount> {
        if self.store.inner.driver == DriverName::Vfs {
            return RootMount::directory(&self.upper, Some(Arc::clone(&self.trees)));
        }
        let trees = Some(Arc::clone(&self.trees));
        RootMount::mount(&self.overlay()?, trees)
    }

    /// What to stack, with a new work directory.
    fn overlay(&mut self) -> Result<OverlaySpec> {
        let mut lowers = self.lowers();
        if lowers.len() > MAX_DEPTH {
            return Err(StoreError::TooDeep {
                parent: self
                    .base
                    .as_ref()
                    .map_or_else(String::new, LayerId::to_string),
                depth: lowers.len(),
                limit: MAX_DEPTH,
            });
        }
        if lowers.is_empty() {
            let empty = self.trees.next("empty");
            private_dir(&empty)?;
            lowers.push(empty);
        }
        self.remove_work()?;
        let work = self.trees.next("work");
        private_dir(&work)?;
        self.work = Some(work.clone());
        Ok(OverlaySpec {
            lowers,
            upper: Some(self.upper.clone()),
            work: Some(work),
            xattrs: self.store.inner.flavour(),
            durability: Durability::Volatile,
        })
    }

    pub(crate) fn into_parts(mut self) -> Parts {
        self.mount = None;
        Parts {
            base: self.base.take(),
            frozen: std::mem::take(&mut self.frozen),
            attributes: self.attributes,
            trees: Arc::clone(&self.trees),
            splits: Arc::clone(&self.splits),
        }
    }
}

impl FrozenTree {
    /// Hashes the tree as a layer and writes its tar-split. With `times` other than
    /// [`Times::Keep`] the times on disk are changed too, so that disk and archive agree.
    ///
    /// # Errors
    /// [`StoreError::Hash`] when the tree cannot be read or archived.
    pub fn digest(&self, times: Times) -> Result<FrozenDigest> {
        if let Some(work) = &self.work {
            remove_tree(work)?;
        }
        if let Some(digest) = self.confirmed(times)? {
            return Ok(digest);
        }
        let split = self.splits.next("addition");
        let digest = match self.driver {
            DriverName::Overlay => {
                let lowers = LowerRoots::open(&self.lowers, self.flavour)?;
                digest_upper(&self.tree, lowers.roots(), self.flavour, times, &split)?
            }
            DriverName::Vfs => {
                let change = self.trees.next("change");
                vfs::change(
                    self.lowers.first().map(PathBuf::as_path),
                    &self.tree,
                    &change,
                )?;
                let digest = digest_upper(&change, &[], XattrFlavour::User, times, &split)?;
                remove_tree(&change)?;
                digest
            }
        };
        Ok(self.digested(digest, split))
    }

    /// Returns the digest that was made before the tree was frozen, if it is the tree's.
    fn confirmed(&self, times: Times) -> Result<Option<FrozenDigest>> {
        let Some(early) = self.early.as_ref().filter(|early| early.times == times) else {
            return Ok(None);
        };
        let lowers = LowerRoots::open(&self.lowers, self.flavour)?;
        let root = Root::open(&self.tree).at("open", &self.tree)?;
        let options = tree_options(self.flavour, times);
        let confirmed = early.digest.confirm(&root, lowers.roots(), &options);
        let confirmed = confirmed.map_err(|source| StoreError::Hash {
            tree: self.tree.clone(),
            source,
        })?;
        if confirmed.is_some() && times != Times::Keep {
            set_times(&self.tree, times)?;
        }
        Ok(confirmed.map(|digest| self.digested(digest, early.split.clone())))
    }

    fn digested(&self, digest: LayerDigest, split: PathBuf) -> FrozenDigest {
        FrozenDigest {
            digest,
            split,
            tree: self.tree.clone(),
            _splits: Arc::clone(&self.splits),
        }
    }

    /// Returns whether a digest was made before the tree was frozen; [`FrozenTree::digest`] then
    /// reads no contents again if the tree is still what was hashed.
    #[must_use]
    pub fn is_digested_early(&self) -> bool {
        self.early.is_some()
    }

    /// Returns the tree's directory, in the form of the store's driver.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.tree
    }
}

/// Lowers of a tree as handles: each by itself, or many through one read-only mount, so that
/// deep stacks hashed in parallel do not run out of descriptors.
#[derive(Debug)]
pub(crate) enum LowerRoots {
    Each(Vec<Root>),
    Merged { roots: [Root; 1], _mount: RootMount },
}

impl LowerRoots {
    pub(crate) fn open(dirs: &[PathBuf], flavour: XattrFlavour) -> Result<Self> {
        if dirs.len() <= MAX_OPEN_LOWERS {
            let roots = dirs
                .iter()
                .map(|dir| Root::open(dir).at("open", dir))
                .collect::<Result<Vec<_>>>()?;
            return Ok(Self::Each(roots));
        }
        let spec = OverlaySpec {
            lowers: dirs.to_vec(),
            upper: None,
            work: None,
            xattrs: flavour,
            durability: Durability::Synced,
        };
        let mount = RootMount::mount(&spec, None)?;
        let root = mount.root().try_clone().at("open", &dirs[0])?;
        Ok(Self::Merged {
            roots: [root],
            _mount: mount,
        })
    }

    pub(crate) fn roots(&self) -> &[Root] {
        match self {
            Self::Each(roots) => roots,
            Self::Merged { roots, .. } => roots,
        }
    }
}

/// Hashes an upper directory, writing its tar-split to the new file `split`, synced.
pub(crate) fn digest_upper(
    tree: &Path,
    lowers: &[Root],
    flavour: XattrFlavour,
    times: Times,
    split: &Path,
) -> Result<LayerDigest> {
    if times != Times::Keep {
        set_times(tree, times)?;
    }
    let root = Root::open(tree).at("open", tree)?;
    let options = tree_options(flavour, times);
    let file = create_split(split)?;
    let digest = archive::digest_tree(root.as_fd(), lowers, &options, &file).map_err(|source| {
        StoreError::Hash {
            tree: tree.to_path_buf(),
            source,
        }
    })?;
    file.sync_data().at("sync", split)?;
    Ok(digest)
}

fn tree_options(flavour: XattrFlavour, times: Times) -> TreeOptions {
    TreeOptions {
        times,
        ..TreeOptions::new(match flavour {
            XattrFlavour::Trusted => Flavour::OverlayTrusted,
            XattrFlavour::User => Flavour::OverlayUser,
        })
    }
}

fn create_split(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)
}

/// Calls `visit` for everything in a tree, the inside of a directory before itself.
fn walk(
    dir: &rustix::fd::OwnedFd,
    depth: usize,
    visit: &mut dyn FnMut(
        &rustix::fd::OwnedFd,
        &std::ffi::CStr,
        FileType,
    ) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    if depth > archive::MAX_DEPTH {
        return Err(rustix::io::Errno::LOOP);
    }
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(
                rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode,
            ),
            kind => kind,
        };
        if kind == FileType::Directory {
            let sub = rustix::fs::openat(dir, name, dir_flags(), Mode::empty())?;
            walk(&sub, depth + 1, visit)?;
        }
        visit(dir, name, kind)?;
    }
    Ok(())
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Removes sockets: no archive holds them, and a tree that does not equal its archive fails
/// other tools' checks.
pub(crate) fn remove_sockets(tree: &Path) -> Result<()> {
    let dir = rustix::fs::open(tree, dir_flags(), Mode::empty()).at("open", tree)?;
    walk(&dir, 0, &mut |dir, name, kind| match kind {
        FileType::Socket => rustix::fs::unlinkat(dir, name, AtFlags::empty()),
        _ => Ok(()),
    })
    .at("remove the sockets of", tree)
}

/// Gives everything in a tree the time that its archive will have.
fn set_times(tree: &Path, times: Times) -> Result<()> {
    let dir = rustix::fs::open(tree, dir_flags(), Mode::empty()).at("open", tree)?;
    walk(&dir, 0, &mut |dir, name, _| {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let seconds = match times {
            Times::Keep => return Ok(()),
            Times::Fixed(seconds) => seconds,
            Times::Clamp(limit) if stat.st_mtime as i64 <= limit => return Ok(()),
            Times::Clamp(limit) => limit,
        };
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let stamps = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(dir, name, &stamps, AtFlags::SYMLINK_NOFOLLOW)
    })
    .at("set the times of", tree)
}

/// Opens a file for reading, naming it in the error.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    File::open(path).at("open", path)
}

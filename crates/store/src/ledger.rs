//! One kind of record with its files, its lock and what was last read of it.
//!
//! Reading takes the read lock, compares the token and the files' times, and hands out a
//! shared snapshot. Writing works on a copy which becomes the snapshot when it is saved.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{IoContext as _, Result};
use crate::json::{self, Durability, MAX_STATE_SIZE};
use crate::locks::{Access, Held, Rank, Token, private_dir};
use crate::record::Record;
use crate::table::Table;

/// Which of the two files of a kind a record lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum File {
    /// `layers.json`, `images.json`, `containers.json`, `mountpoints.json`.
    Stable,
    /// `volatile-layers.json`, `volatile-containers.json`: not synced, for containers that
    /// need not survive a reboot. Tools before containers/storage 1.45 do not read it.
    Volatile,
}

/// The records of both files.
#[derive(Clone, Debug)]
pub(crate) struct Tables<R> {
    pub(crate) stable: Table<R>,
    pub(crate) volatile: Table<R>,
}

impl<R> Default for Tables<R> {
    fn default() -> Self {
        Self {
            stable: Table::default(),
            volatile: Table::default(),
        }
    }
}

impl<R: Record> Tables<R> {
    /// All records; those of the stable file first, which is also their precedence.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.stable.iter().chain(self.volatile.iter())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<R>> {
        self.stable.get(key).or_else(|| self.volatile.get(key))
    }

    pub(crate) fn file_of(&self, key: &str) -> Option<File> {
        if self.stable.get(key).is_some() {
            Some(File::Stable)
        } else {
            self.volatile.get(key).map(|_| File::Volatile)
        }
    }

    fn table(&mut self, file: File) -> &mut Table<R> {
        match file {
            File::Stable => &mut self.stable,
            File::Volatile => &mut self.volatile,
        }
    }
}

/// Size, time and inode of a state file: an edit without a token is noticed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        size: meta.len(),
        inode: meta.ino(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    })
}

#[derive(Debug)]
struct Loaded<R> {
    token: Token,
    stamps: [Option<Stamp>; 2],
    tables: Arc<Tables<R>>,
}

/// Where one kind of record is kept.
#[derive(Debug)]
pub(crate) struct Ledger<R> {
    stable: PathBuf,
    volatile: Option<PathBuf>,
    lock: PathBuf,
    rank: Rank,
    durability: Durability,
    loaded: Mutex<Option<Loaded<R>>>,
}

impl<R: Record> Ledger<R> {
    pub(crate) fn new(dir: &Path, kind: &str, rank: Rank) -> Self {
        Self {
            stable: dir.join(format!("{kind}.json")),
            volatile: None,
            lock: dir.join(format!("{kind}.lock")),
            rank,
            durability: Durability::Data,
            loaded: Mutex::new(None),
        }
    }

    /// Adds the volatile file of the kind.
    pub(crate) fn with_volatile(mut self) -> Self {
        let name = self
            .stable
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.volatile = Some(self.stable.with_file_name(format!("volatile-{name}")));
        self
    }

    /// Says that the files live in the run root, lost at a reboot anyway.
    pub(crate) fn without_sync(mut self) -> Self {
        self.durability = Durability::Process;
        self
    }

    /// Tells whether the volatile file exists, that is, whether the store was last used by
    /// tools that know it.
    pub(crate) fn has_volatile_file(&self) -> bool {
        self.volatile.as_ref().is_some_and(|path| path.exists())
    }

    /// Returns a snapshot that was true at some moment during the call.
    pub(crate) fn snapshot(&self) -> Result<Arc<Tables<R>>> {
        if !self.lock.exists() {
            // Nobody ever wrote here: reading must not create a store.
            return Ok(Arc::default());
        }
        let held = Held::take(&self.lock, self.rank, Access::Read)?;
        self.load(&held)
    }

    /// Takes the read lock and returns it with the snapshot, for consistent views over
    /// several kinds.
    pub(crate) fn read(&self) -> Result<(Option<Held>, Arc<Tables<R>>)> {
        if !self.lock.exists() {
            return Ok((None, Arc::default()));
        }
        let held = Held::take(&self.lock, self.rank, Access::Read)?;
        let tables = self.load(&held)?;
        Ok((Some(held), tables))
    }

    /// Takes the write lock and reloads if somebody else wrote.
    pub(crate) fn write(&self) -> Result<Writing<'_, R>> {
        if let Some(dir) = self.lock.parent() {
            private_dir(dir)?;
        }
        let held = Held::take(&self.lock, self.rank, Access::Write)?;
        let tables = self.load(&held)?;
        Ok(Writing {
            ledger: self,
            tables: (*tables).clone(),
            changed: BTreeSet::new(),
            held,
        })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [
            stamp(&self.stable),
            self.volatile.as_deref().and_then(stamp),
        ]
    }

    fn load(&self, held: &Held) -> Result<Arc<Tables<R>>> {
        let token = held.token()?;
        let stamps = self.stamps();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*loaded
            && known.token == token
            && known.stamps == stamps
        {
            return Ok(Arc::clone(&known.tables));
        }
        let parse = |path: &Path| -> Result<Table<R>> {
            match json::read_optional(path, MAX_STATE_SIZE)? {
                Some(bytes) => Table::parse(&bytes, path),
                None => Ok(Table::default()),
            }
        };
        let tables = Arc::new(Tables {
            stable: parse(&self.stable)?,
            volatile: match &self.volatile {
                Some(path) => parse(path)?,
                None => Table::default(),
            },
        });
        *loaded = Some(Loaded {
            token,
            stamps,
            tables: Arc::clone(&tables),
        });
        Ok(tables)
    }
}

/// The write lock of one kind, with the records as they will be saved.
///
/// Dropping it without [`Writing::save`] forgets the changes.
#[derive(Debug)]
pub(crate) struct Writing<'a, R: Record> {
    ledger: &'a Ledger<R>,
    tables: Tables<R>,
    changed: BTreeSet<File>,
    held: Held,
}

impl<R: Record> Writing<'_, R> {
    pub(crate) fn tables(&self) -> &Tables<R> {
        &self.tables
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<R>> {
        self.tables.get(key)
    }

    pub(crate) fn push(&mut self, file: File, record: R) {
        self.tables.table(file).push(record);
        self.changed.insert(file);
    }

    /// Changes a record in whichever file it lives; tells whether it exists.
    pub(crate) fn update(&mut self, key: &str, change: impl FnOnce(&mut R)) -> bool {
        match self.tables.file_of(key) {
            Some(file) => {
                self.changed.insert(file);
                self.tables.table(file).update(key, change)
            }
            None => false,
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let mut removed = false;
        while let Some(file) = self.tables.file_of(key) {
            removed |= self.tables.table(file).remove(key);
            self.changed.insert(file);
        }
        removed
    }

    /// Saves what changed: the token first, so that a crash in between costs others a
    /// reload instead of hiding our change from them, then each file once.
    pub(crate) fn save(self) -> Result<()> {
        self.save_and_keep().map(drop)
    }

    /// As [`Writing::save`], returning the lock so that the caller decides when it ends.
    pub(crate) fn save_and_keep(self) -> Result<Held> {
        let Self {
            ledger,
            tables,
            changed,
            held,
        } = self;
        if changed.is_empty() {
            return Ok(held);
        }
        // Forget first: if a write fails, the next reader must look at the files.
        *ledger.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let token = held.touch()?;
        for file in changed {
            let (path, table, durability) = match file {
                File::Stable => (Some(&ledger.stable), &tables.stable, ledger.durability),
                File::Volatile => (
                    ledger.volatile.as_ref(),
                    &tables.volatile,
                    Durability::Process,
                ),
            };
            let path = path.expect("a record is put into the volatile file only if there is one");
            json::replace(path, &table.to_bytes(path)?, durability)?;
        }
        let stamps = ledger.stamps();
        *ledger.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Loaded {
            token,
            stamps,
            tables: Arc::new(tables),
        });
        Ok(held)
    }
}

/// Makes an empty lock file of mode 0644 where there is none.
pub(crate) fn create_lock_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o644)
        .open(path)
        .map(drop)
        .at("create", path)
}

//! The file format of Bolt, as far as a small database needs it: the whole tree is read into
//! memory, changed there, and written to pages that the tree on the disk does not use.
//!
//! A Bolt file is an array of pages. Pages 0 and 1 each hold a *meta*: where the root bucket is, how
//! many pages there are, which page lists the free ones, and a number that grows with every
//! transaction; the valid meta with the greater number counts. A bucket is a B+tree whose leaves
//! hold keys with values or with further buckets; a small bucket lies inside its parent's leaf.
//!
//! A crash between the writing of the pages and that of the meta leaves the tree as it was. Each
//! bucket is written as one leaf, as long as it needs to be, which Bolt splits when it next writes.
//! Whoever opens the file holds an exclusive `flock(2)`, which is Bolt's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Largest database that is read, in bytes.
pub const MAX_SIZE: u64 = 64 << 20;
/// Deepest nesting of pages and buckets.
const MAX_DEPTH: usize = 32;
/// Most keys of one bucket that is written: the format counts them in 16 bits.
const MAX_KEYS: usize = u16::MAX as usize;
/// How long another program may hold the lock.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the lock is tried, which is as often as Bolt does.
const TRY_AGAIN: Duration = Duration::from_millis(50);

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes before the content of a page, and of an element of a leaf or a branch.
const HEADER: usize = 16;
/// Bytes of a meta before its checksum.
const META: usize = 56;
/// Bytes of a bucket's value before what it holds inline.
const BUCKET: usize = 16;
const BRANCH_PAGE: u16 = 0x01;
const LEAF_PAGE: u16 = 0x02;
const META_PAGE: u16 = 0x04;
const FREE_PAGE: u16 = 0x10;
const BUCKET_ELEMENT: u32 = 0x01;
/// Page number of a list of free pages that was not written.
const NO_FREE_LIST: u64 = u64::MAX;
/// Page size of a database that is made here, in bytes; any that is allowed can be read anywhere.
const NEW_PAGE_SIZE: usize = 4096;
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1 << 9..=1 << 16;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoltError {
    /// The kernel refused something.
    #[error("cannot {doing} the database {}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else did not let go of it.
    #[error("the database {} is locked by another program for more than {} seconds", path.display(), PATIENCE.as_secs())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than the limit.
    #[error("the database {} is larger than {MAX_SIZE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not what the format allows.
    #[error("the database {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Damage,
    },
    /// A bucket has more keys than can be written.
    #[error("a bucket of the database has more than {MAX_KEYS} keys")]
    TooManyKeys,
}

/// What is wrong with the bytes of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Neither meta is valid.
    #[error("it has no valid meta page")]
    Meta,
    /// A page is of the wrong kind or leads out of the file.
    #[error("page {0} is not what it should be")]
    Page(u64),
    /// A page is reached twice, or too deep.
    #[error("page {0} is reached in a circle or too deep")]
    Circle(u64),
}

/// A bucket in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    sequence: u64,
    /// Keys with values.
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys with further buckets; a key is never in both.
    pub buckets: BTreeMap<Vec<u8>, Bucket>,
}

impl Bucket {
    /// Returns the bucket of a name, made when it is missing; a value of that name is replaced.
    pub fn bucket(&mut self, name: &[u8]) -> &mut Bucket {
        self.values.remove(name);
        self.buckets.entry(name.to_vec()).or_default()
    }
}

/// What a meta page says.
#[derive(Debug, Clone, Copy)]
struct Meta {
    page_size: usize,
    flags: u32,
    root: u64,
    sequence: u64,
    free_list: u64,
    pages: u64,
    transaction: u64,
}

/// An open database; others wait until it is dropped.
#[derive(Debug)]
pub struct Database {
    file: File,
    path: PathBuf,
    meta: Meta,
    used: BTreeSet<u64>,
    /// What is in it.
    pub root: Bucket,
}

impl Database {
    /// Opens `path`, made (0600) when it is missing, and reads all of it.
    ///
    /// # Errors
    /// When it cannot be opened or locked, is too large, or damaged.
    pub fn open(path: &Path) -> Result<Self, BoltError> {
        let failed = |doing| {
            let path = path.to_owned();
            move |source| BoltError::Io {
                doing,
                path,
                source,
            }
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path).map_err(failed("open"))?;
        lock(&file, path)?;
        let mut size = file.metadata().map_err(failed("read"))?.len();
        if size == 0 {
            let empty = empty_file(NEW_PAGE_SIZE);
            file.write_all_at(&empty, 0).map_err(failed("make"))?;
            file.sync_data().map_err(failed("make"))?;
            size = empty.len() as u64;
        }
        if size > MAX_SIZE {
            let path = path.to_owned();
            return Err(BoltError::TooLarge { path });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(failed("read"))?;
        let (meta, root, used) = parse(&bytes).map_err(|source| BoltError::Damaged {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            meta,
            used,
            root,
        })
    }

    /// Writes what [`Database::root`] holds now.
    ///
    /// # Errors
    /// When it cannot be written, or a bucket is too large.
    pub fn save(self) -> Result<(), BoltError> {
        let mut writer = Writer {
            page_size: self.meta.page_size,
            taken: self.used,
            pages: self.meta.pages,
            images: Vec::new(),
            fresh: BTreeSet::new(),
        };
        let root = writer.bucket(&self.root)?;
        let free_list = writer.free_list();
        let meta = Meta {
            root,
            sequence: self.root.sequence,
            free_list,
            pages: writer.pages,
            transaction: self.meta.transaction.wrapping_add(1),
            ..self.meta
        };
        let size = meta.page_size as u64;
        let write = || -> io::Result<()> {
            if self.file.metadata()?.len() < meta.pages * size {
                self.file.set_len(meta.pages * size)?;
            }
            for (page, image) in &writer.images {
                self.file.write_all_at(image, page * size)?;
            }
            self.file.sync_data()?;
            let (page, image) = meta_page(&meta);
            self.file.write_all_at(&image, page * size)?;
            self.file.sync_data()
        };
        write().map_err(|source| BoltError::Io {
            doing: "write",
            path: self.path,
            source,
        })
    }
}

fn lock(file: &File, path: &Path) -> Result<(), BoltError> {
    let since = Instant::now();
    loop {
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if since.elapsed() > PATIENCE => {
                let path = path.to_owned();
                return Err(BoltError::Locked { path });
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(TRY_AGAIN),
            Err(errno) => {
                return Err(BoltError::Io {
                    doing: "lock",
                    path: path.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
}

/// Reads a database; for fuzzing, what became of its root bucket.
///
/// # Errors
/// When the bytes are not of the format.
pub fn read(bytes: &[u8]) -> Result<Bucket, Damage> {
    parse(bytes).map(|(_, root, _)| root)
}

fn parse(bytes: &[u8]) -> Result<(Meta, Bucket, BTreeSet<u64>), Damage> {
    let meta = meta_of(bytes).ok_or(Damage::Meta)?;
    let mut reader = Reader {
        bytes,
        meta,
        used: BTreeSet::from([0, 1]),
    };
    let mut root = Bucket {
        sequence: meta.sequence,
        ..Bucket::default()
    };
    reader.tree(meta.root, &mut root, 0)?;
    if meta.free_list != NO_FREE_LIST {
        reader.page(meta.free_list)?;
    }
    Ok((meta, root, reader.used))
}

/// Finds the meta that counts. The size of pages is in it, so the second is looked for at all.
fn meta_of(bytes: &[u8]) -> Option<Meta> {
    let first = meta_at(bytes, 0);
    let second = match first {
        Some(meta) => meta_at(bytes, meta.page_size),
        None => (9..=16).find_map(|shift| {
            meta_at(bytes, 1 << shift).filter(|meta| meta.page_size == 1 << shift)
        }),
    };
    [first, second]
        .into_iter()
        .flatten()
        .max_by_key(|meta| meta.transaction)
}

fn meta_at(bytes: &[u8], offset: usize) -> Option<Meta> {
    let page = bytes.get(offset..)?;
    let meta = page.get(HEADER..HEADER + META)?;
    let known = long(page, HEADER + META)?;
    let is_meta = half(page, 8)? & META_PAGE != 0
        && word(meta, 0)? == MAGIC
        && word(meta, 4)? == VERSION
        && PAGE_SIZES.contains(&word(meta, 8)?)
        && word(meta, 8)?.is_power_of_two()
        && fnv(meta) == known;
    is_meta.then_some(Meta {
        page_size: word(meta, 8)? as usize,
        flags: word(meta, 12)?,
        root: long(meta, 16)?,
        sequence: long(meta, 24)?,
        free_list: long(meta, 32)?,
        pages: long(meta, 40)?,
        transaction: long(meta, 48)?,
    })
}

/// Reads a tree of pages.
struct Reader<'a> {
    bytes: &'a [u8],
    meta: Meta,
    used: BTreeSet<u64>,
}

impl<'a> Reader<'a> {
    /// Returns a page with what runs over into the next ones.
    fn page(&mut self, number: u64) -> Result<&'a [u8], Damage> {
        let wrong = Damage::Page(number);
        let size = self.meta.page_size as u64;
        if number < 2 || number >= self.meta.pages {
            return Err(wrong);
        }
        let start = number.checked_mul(size).ok_or(wrong)?;
        let page = usize::try_from(start)
            .ok()
            .and_then(|start| self.bytes.get(start..))
            .ok_or(wrong)?;
        let count = u64::from(word(page, 12).ok_or(wrong)?) + 1;
        let length = usize::try_from(count * size).map_err(|_| wrong)?;
        let page = page.get(..length).ok_or(wrong)?;
        if long(page, 0) != Some(number) || number + count > self.meta.pages {
            return Err(wrong);
        }
        for page in number..number + count {
            if !self.used.insert(page) {
                return Err(Damage::Circle(page));
            }
        }
        Ok(page)
    }

    fn tree(&mut self, number: u64, into: &mut Bucket, depth: usize) -> Result<(), Damage> {
        if depth > MAX_DEPTH {
            return Err(Damage::Circle(number));
        }
        let page = self.page(number)?;
        let wrong = Damage::Page(number);
        match half(page, 8).ok_or(wrong)? {
            LEAF_PAGE => self.leaf(page, number, into, depth),
            BRANCH_PAGE => {
                let count = usize::from(half(page, 10).ok_or(wrong)?);
                for index in 0..count {
                    let below = long(page, HEADER * (index + 1) + 8).ok_or(wrong)?;
                    self.tree(below, into, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(wrong),
        }
    }

    /// Reads a leaf that lies in `page`; `number` is for messages.
    fn leaf(
        &mut self,
        page: &'a [u8],
        number: u64,
        into: &mut Bucket,
        depth: usize,
    ) -> Result<(), Damage> {
        let wrong = Damage::Page(number);
        let count = usize::from(half(page, 10).ok_or(wrong)?);
        for index in 0..count {
            let at = HEADER * (index + 1);
            let field = |nth: usize| word(page, at + 4 * nth).ok_or(wrong);
            let (flags, start) = (field(0)?, at + field(1)? as usize);
            let (key_size, value_size) = (field(2)? as usize, field(3)? as usize);
            let key = page.get(start..start + key_size).ok_or(wrong)?;
            let value_at = start + key_size;
            let value = page.get(value_at..value_at + value_size).ok_or(wrong)?;
            if flags & BUCKET_ELEMENT == 0 {
                into.values.insert(key.to_vec(), value.to_vec());
            } else {
                let below = self.bucket(value, number, depth)?;
                into.buckets.insert(key.to_vec(), below);
            }
        }
        Ok(())
    }

    fn bucket(&mut self, value: &'a [u8], number: u64, depth: usize) -> Result<Bucket, Damage> {
        if depth > MAX_DEPTH {
            return Err(Damage::Circle(number));
        }
        let wrong = Damage::Page(number);
        let root = long(value, 0).ok_or(wrong)?;
        let mut bucket = Bucket {
            sequence: long(value, 8).ok_or(wrong)?,
            ..Bucket::default()
        };
        if root == 0 {
            let inline = value.get(BUCKET..).ok_or(wrong)?;
            self.leaf(inline, number, &mut bucket, depth + 1)?;
        } else {
            self.tree(root, &mut bucket, depth + 1)?;
        }
        Ok(bucket)
    }
}

/// Lays out a tree on pages that nothing on the disk uses.
struct Writer {
    page_size: usize,
    /// Pages that the tree on the disk uses, and those given out.
    taken: BTreeSet<u64>,
    /// How many pages there are.
    pages: u64,
    images: Vec<(u64, Vec<u8>)>,
    /// Pages of the new tree.
    fresh: BTreeSet<u64>,
}

impl Writer {
    /// Finds a run of free pages for `length` bytes.
    fn place(&mut self, length: usize) -> (u64, u64) {
        let count = length.div_ceil(self.page_size).max(1) as u64;
        let is_free =
            |start: &u64| (*start..*start + count).all(|page| !self.taken.contains(&page));
        let found = (2..self.pages.saturating_sub(count - 1)).find(is_free);
        let start = found.unwrap_or(self.pages);
        self.pages = self.pages.max(start + count);
        self.taken.extend(start..start + count);
        self.fresh.extend(start..start + count);
        (start, count)
    }

    fn add(&mut self, (page, count): (u64, u64), mut image: Vec<u8>) {
        image[..8].copy_from_slice(&page.to_le_bytes());
        let overflow = u32::try_from(count - 1).unwrap_or(u32::MAX);
        image[12..HEADER].copy_from_slice(&overflow.to_le_bytes());
        self.images.push((page, image));
    }

    /// Writes a bucket with those in it and returns its page.
    fn bucket(&mut self, bucket: &Bucket) -> Result<u64, BoltError> {
        let mut entries: BTreeMap<&[u8], (u32, Vec<u8>)> = BTreeMap::new();
        for (key, value) in &bucket.values {
            entries.insert(key, (0, value.clone()));
        }
        for (name, below) in &bucket.buckets {
            let mut value = self.bucket(below)?.to_le_bytes().to_vec();
            value.extend(below.sequence.to_le_bytes());
            entries.insert(name, (BUCKET_ELEMENT, value));
        }
        let count = entries.len();
        let short = u16::try_from(count).map_err(|_| BoltError::TooManyKeys)?;
        let mut image = vec![0; HEADER * (count + 1)];
        image[8..10].copy_from_slice(&LEAF_PAGE.to_le_bytes());
        image[10..12].copy_from_slice(&short.to_le_bytes());
        for (index, (key, (flags, value))) in entries.into_iter().enumerate() {
            let at = HEADER * (index + 1);
            let fields = [flags as usize, image.len() - at, key.len(), value.len()];
            for (nth, field) in fields.into_iter().enumerate() {
                let field = u32::try_from(field).map_err(|_| BoltError::TooManyKeys)?;
                image[at + 4 * nth..][..4].copy_from_slice(&field.to_le_bytes());
            }
            image.extend(key);
            image.extend(value);
        }
        let place = self.place(image.len());
        self.add(place, image);
        Ok(place.0)
    }

    /// Writes the list of the pages that the new tree leaves free, and returns its page.
    fn free_list(&mut self) -> u64 {
        // Room for every page that there can be then, and for the count where it is a long one.
        let most = usize::try_from(self.pages).unwrap_or(0);
        let place = self.place(HEADER + 8 * (most + 2));
        let free: Vec<u64> = (2..self.pages)
            .filter(|page| !self.fresh.contains(page))
            .collect();
        let mut image = vec![0; HEADER];
        image[8..10].copy_from_slice(&FREE_PAGE.to_le_bytes());
        match u16::try_from(free.len()) {
            Ok(short) if short < u16::MAX => image[10..12].copy_from_slice(&short.to_le_bytes()),
            _ => {
                image[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
                image.extend((free.len() as u64).to_le_bytes());
            }
        }
        image.extend(free.iter().flat_map(|page| page.to_le_bytes()));
        self.add(place, image);
        place.0
    }
}

/// A database without buckets, as Bolt makes it.
fn empty_file(page_size: usize) -> Vec<u8> {
    let mut file = vec![0; page_size * 4];
    for transaction in 0..2 {
        let meta = Meta {
            page_size,
            flags: 0,
            root: 3,
            sequence: 0,
            free_list: 2,
            pages: 4,
            transaction,
        };
        let (page, image) = meta_page(&meta);
        let start = usize::try_from(page).unwrap_or(0) * page_size;
        file[start..start + image.len()].copy_from_slice(&image);
    }
    for (page, flags) in [(2_u64, FREE_PAGE), (3, LEAF_PAGE)] {
        let start = usize::try_from(page).unwrap_or(0) * page_size;
        file[start..start + 8].copy_from_slice(&page.to_le_bytes());
        file[start + 8..start + 10].copy_from_slice(&flags.to_le_bytes());
    }
    file
}

/// A meta as bytes, with the page that its transaction belongs to.
fn meta_page(meta: &Meta) -> (u64, Vec<u8>) {
    let page = meta.transaction % 2;
    let mut image = vec![0; HEADER];
    image[..8].copy_from_slice(&page.to_le_bytes());
    image[8..10].copy_from_slice(&META_PAGE.to_le_bytes());
    let size = u32::try_from(meta.page_size).unwrap_or(0);
    for field in [MAGIC, VERSION, size, meta.flags] {
        image.extend(field.to_le_bytes());
    }
    for field in [
        meta.root,
        meta.sequence,
        meta.free_list,
        meta.pages,
        meta.transaction,
    ] {
        image.extend(field.to_le_bytes());
    }
    let sum = fnv(&image[HEADER..]);
    image.extend(sum.to_le_bytes());
    (page, image)
}

/// The 64-bit FNV-1a hash.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let name = format!("cooper-bolt-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a folder");
        dir
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let dir = scratch("again");
        let path = dir.join("db");
        let mut expected = Bucket::default();
        // Grows over several pages, then shrinks; every state survives a reopening.
        for round in 0_u32..40 {
            let mut database = Database::open(&path).expect("opens");
            assert_eq!(database.root, expected, "round {round}");
            for bucket in [&mut database.root, &mut expected] {
                let network = bucket.bucket(b"podman");
                for key in 0..round * 20 {
                    let key = key.to_be_bytes().to_vec();
                    network.bucket(b"ids").values.insert(key, vec![7; 40]);
                }
                let subnet = network.bucket(b"10.88.0.0/16");
                subnet.values.insert(b"lastIP".to_vec(), vec![10, 88, 0, 2]);
                if round > 30 {
                    network.bucket(b"ids").values.retain(|key, _| key[3] > 250);
                }
            }
            database.save().expect("saves");
        }
        let pages = std::fs::metadata(&path).expect("file").len() / 4096;
        assert!(pages < 200, "pages are used again: {pages}");
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_torn_meta_leaves_the_state_before() {
        let dir = scratch("torn");
        let path = dir.join("db");
        let mut database = Database::open(&path).expect("opens");
        database.root.values.insert(b"k".to_vec(), b"1".to_vec());
        database.save().expect("saves");
        let mut database = Database::open(&path).expect("opens");
        assert_eq!(database.meta.transaction, 2);
        database.root.values.insert(b"k".to_vec(), b"2".to_vec());
        database.save().expect("saves");
        let mut bytes = std::fs::read(&path).expect("bytes");
        // Transaction 3 is in page 1.
        bytes[4096 + 30] ^= 1;
        assert_eq!(read(&bytes).expect("reads").values[&b"k"[..]], b"1");
        bytes[30] ^= 1;
        assert_eq!(read(&bytes), Err(Damage::Meta));
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn no_bytes_make_the_reader_fall() {
        let dir = scratch("bytes");
        let path = dir.join("db");
        let mut database = Database::open(&path).expect("opens");
        let network = database.root.bucket(b"podman");
        let ids = network.bucket(b"ids");
        ids.values
            .insert(b"c".to_vec(), b"[\"10.88.0.2\"]".to_vec());
        database.save().expect("saves");
        let bytes = std::fs::read(&path).expect("bytes");
        for at in 4096 * 2..bytes.len() {
            let mut broken = bytes.clone();
            for value in [0, 1, 0xFF] {
                broken[at] = value;
                let _ = read(&broken);
            }
        }
        for end in 0..bytes.len() {
            let _ = read(&bytes[..end]);
        }
        std::fs::remove_dir_all(dir).expect("removed");
    }
}

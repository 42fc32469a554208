//! Remembers the digests of a context's files between builds.
//!
//! One file per context. A file's stamp (device, inode, size, both times) names its state; a stamp
//! is recorded only when its times are [`SETTLED_AFTER`] older than the moment hashing began, so
//! that any change during or after the reading has a later change time. The one writer that this
//! cannot see is a program that stores through a shared mapping into a page that was dirty before.
//!
//! ```text
//! 0   magic    8 bytes  "coopmemo"
//! 8   version  u32      VERSION           (all numbers little-endian)
//! 12  record   u32      RECORD
//! 16  count    u64
//! 24  check    32 bytes BLAKE3 of all records
//! 56  records, sorted by (device, inode):
//!     dev u64, ino u64, size u64, mtime i64, ctime i64, mtime_ns u32, ctime_ns u32,
//!     digest 32 bytes, attributes u8 (1 = has some that are carried), age u8, 0 × 6
//! ```
//! A file that is damaged in any way counts as empty. It is a cache: deleting it costs time only.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, RwLock};
use std::time::Duration;

use super::CopyError;
use super::plan::{FileTime, Stamp};

/// How much older than the beginning of hashing a file's times must be to be believed.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Most records of one memo file; more are not kept.
const MAX_RECORDS: usize = 4 << 20;
/// A record that this many saves did not need is dropped.
const MAX_AGE: u8 = 16;

const MAGIC: &[u8; 8] = b"coopmemo";
const VERSION: u32 = 1;
const HEADER: usize = 56;
const RECORD: usize = 88;

/// What is known of one state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub digest: [u8; 32],
    pub attributes: Attributes,
}

/// Whether a file has extended attributes that a copy carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attributes {
    Without,
    With,
}

/// The digests of one context's files, loaded when the first is asked for.
#[derive(Debug)]
pub struct Memo {
    path: PathBuf,
    loaded: OnceLock<Loaded>,
    fresh: RwLock<HashMap<(u64, u64), (Stamp, Known)>>,
}

#[derive(Debug, Default)]
struct Loaded {
    /// The records as in the file.
    records: Vec<u8>,
    /// One bit per record: it was asked for.
    used: Vec<AtomicU64>,
}

impl Memo {
    /// Returns the memo of the context at `context`, kept in a file below `state_dir`.
    ///
    /// Nothing is read yet.
    #[must_use]
    pub fn for_context(state_dir: &Path, context: &Path) -> Self {
        let name = blake3::hash(context.as_os_str().as_encoded_bytes()).to_hex();
        Self::at(state_dir.join("files").join(&name.as_str()[..32]))
    }

    /// Returns the memo in the file `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            loaded: OnceLock::new(),
            fresh: RwLock::default(),
        }
    }

    pub(super) fn look_up(&self, stamp: &Stamp) -> Option<Known> {
        let loaded = self.loaded.get_or_init(|| Loaded::read(&self.path));
        loaded.look_up(stamp).or_else(|| {
            let fresh = self
                .fresh
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let (seen, known) = fresh.get(&(stamp.dev, stamp.ino))?;
            (seen == stamp).then_some(*known)
        })
    }

    /// Takes digests whose stamps have settled.
    pub(super) fn learn(&self, learned: Vec<(Stamp, Known)>) {
        let mut fresh = self
            .fresh
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        fresh.extend(
            learned
                .into_iter()
                .map(|(stamp, known)| ((stamp.dev, stamp.ino), (stamp, known))),
        );
    }

    /// Writes what was learned, replacing the file in one step; does nothing when that is nothing.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is then still there.
    pub fn save(&self) -> Result<(), CopyError> {
        let fresh = self
            .fresh
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if fresh.is_empty() {
            return Ok(());
        }
        let loaded = self.loaded.get_or_init(|| Loaded::read(&self.path));
        let mut records: Vec<[u8; RECORD]> = loaded
            .records
            .chunks_exact(RECORD)
            .enumerate()
            .filter_map(|(index, record)| {
                let mut record: [u8; RECORD] = record.try_into().ok()?;
                record[AGE] = if loaded.is_used(index) {
                    0
                } else {
                    record[AGE].saturating_add(1)
                };
                (record[AGE] < MAX_AGE && !fresh.contains_key(&key(&record))).then_some(record)
            })
            .chain(fresh.values().map(|(stamp, known)| encode(stamp, known)))
            .collect();
        records.truncate(MAX_RECORDS);
        records.sort_unstable_by_key(|record| key(record));
        replace(&self.path, &records).map_err(|source| CopyError::Memo {
            path: self.path.clone(),
            source,
        })
    }
}

const AGE: usize = 81;

impl Loaded {
    fn read(path: &Path) -> Self {
        read_records(path)
            .map(|records| {
                let words = (records.len() / RECORD).div_ceil(64);
                Self {
                    records,
                    used: (0..words).map(|_| AtomicU64::new(0)).collect(),
                }
            })
            .unwrap_or_default()
    }

    fn record(&self, index: usize) -> &[u8] {
        &self.records[index * RECORD..(index + 1) * RECORD]
    }

    fn look_up(&self, stamp: &Stamp) -> Option<Known> {
        let want = (stamp.dev, stamp.ino);
        let (mut low, mut high) = (0, self.records.len() / RECORD);
        while low < high {
            let middle = usize::midpoint(low, high);
            if key(self.record(middle)) < want {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.records.len() / RECORD {
            return None;
        }
        let (seen, known) = decode(self.record(low))?;
        if seen != *stamp {
            return None;
        }
        self.used[low / 64].fetch_or(1 << (low % 64), Ordering::Relaxed);
        Some(known)
    }

    fn is_used(&self, index: usize) -> bool {
        self.used[index / 64].load(Ordering::Relaxed) & (1 << (index % 64)) != 0
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

fn short(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

fn key(record: &[u8]) -> (u64, u64) {
    (number(record, 0), number(record, 8))
}

fn encode(stamp: &Stamp, known: &Known) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &stamp.dev.to_le_bytes());
    put(8, &stamp.ino.to_le_bytes());
    put(16, &stamp.size.to_le_bytes());
    put(24, &stamp.mtime.seconds.to_le_bytes());
    put(32, &stamp.ctime.seconds.to_le_bytes());
    put(40, &stamp.mtime.nanos.to_le_bytes());
    put(44, &stamp.ctime.nanos.to_le_bytes());
    put(48, &known.digest);
    put(80, &[u8::from(known.attributes == Attributes::With)]);
    record
}

fn decode(record: &[u8]) -> Option<(Stamp, Known)> {
    let time = |at, nanos| FileTime {
        seconds: number(record, at).cast_signed(),
        nanos: short(record, nanos),
    };
    let stamp = Stamp {
        dev: number(record, 0),
        ino: number(record, 8),
        size: number(record, 16),
        mtime: time(24, 40),
        ctime: time(32, 44),
    };
    let attributes = if record[80] == 0 {
        Attributes::Without
    } else {
        Attributes::With
    };
    Some((
        stamp,
        Known {
            digest: record[48..80].try_into().ok()?,
            attributes,
        },
    ))
}

/// Returns the records of a sound file, `None` for any other.
fn read_records(path: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let count = usize::try_from(number(&header, 16)).ok()?;
    let sound = header.starts_with(MAGIC)
        && short(&header, 8) == VERSION
        && short(&header, 12) as usize == RECORD
        && count <= MAX_RECORDS;
    if !sound {
        return None;
    }
    let mut records = Vec::new();
    // One byte more is asked for, so that a longer file is seen.
    file.take((count * RECORD) as u64 + 1)
        .read_to_end(&mut records)
        .ok()?;
    let sorted = || {
        records
            .chunks_exact(RECORD)
            .is_sorted_by(|a, b| key(a) < key(b))
    };
    let whole = records.len() == count * RECORD
        && blake3::hash(&records).as_bytes()[..] == header[24..56]
        && sorted();
    whole.then_some(records)
}

fn replace(path: &Path, records: &[[u8; RECORD]]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let bytes = records.as_flattened();
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&u32::try_from(RECORD).unwrap_or(0).to_le_bytes());
    header[16..24].copy_from_slice(&(records.len() as u64).to_le_bytes());
    header[24..56].copy_from_slice(blake3::hash(bytes).as_bytes());
    let mut file = tempfile::Builder::new().prefix(".memo-").tempfile_in(dir)?;
    file.write_all(&header)?;
    file.write_all(bytes)?;
    // Not synced: the check in the header finds a file that a crash cut off.
    file.persist(path).map_err(|err| err.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ino: u64) -> Stamp {
        let time = |seconds| FileTime { seconds, nanos: 5 };
        Stamp {
            dev: 1,
            ino,
            size: 10,
            mtime: time(-3),
            ctime: time(100),
        }
    }

    fn known(byte: u8) -> Known {
        Known {
            digest: [byte; 32],
            attributes: Attributes::With,
        }
    }

    fn saved(dir: &Path, inodes: std::ops::Range<u64>) -> PathBuf {
        let path = dir.join("sub/memo");
        let memo = Memo::at(path.clone());
        memo.learn(inodes.map(|ino| (stamp(ino), known(7))).collect());
        memo.save().unwrap();
        path
    }

    #[test]
    fn remembers_exactly_the_same_stamp() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = saved(dir.path(), 10..200);
        let memo = Memo::at(path.clone());
        for ino in 10..200 {
            assert_eq!(memo.look_up(&stamp(ino)), Some(known(7)));
        }
        for other in [
            stamp(9),
            stamp(200),
            Stamp {
                dev: 2,
                ..stamp(10)
            },
            Stamp {
                size: 11,
                ..stamp(10)
            },
            Stamp {
                mtime: FileTime {
                    seconds: -3,
                    nanos: 6,
                },
                ..stamp(10)
            },
            Stamp {
                ctime: FileTime {
                    seconds: 101,
                    nanos: 5,
                },
                ..stamp(10)
            },
        ] {
            assert_eq!(memo.look_up(&other), None, "{other:?}");
        }
        memo.learn(vec![(
            Stamp {
                size: 11,
                ..stamp(10)
            },
            known(8),
        )]);
        memo.save().unwrap();
        let memo = Memo::at(path);
        assert_eq!(memo.look_up(&stamp(10)), None);
        assert_eq!(
            memo.look_up(&Stamp {
                size: 11,
                ..stamp(10)
            }),
            Some(known(8))
        );
        assert_eq!(memo.look_up(&stamp(11)), Some(known(7)));
    }

    #[test]
    fn a_damaged_file_is_empty() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = saved(dir.path(), 0..20);
        let good = std::fs::read(&path).unwrap();
        assert!(Memo::at(path.clone()).look_up(&stamp(3)).is_some());
        let mut cases: Vec<Vec<u8>> = (0..good.len())
            .step_by(7)
            .map(|at| {
                let mut bytes = good.clone();
                bytes[at] ^= 0x10;
                bytes
            })
            .collect();
        cases.extend([
            vec![],
            good[..good.len() - 1].to_vec(),
            [&good[..], b"x"].concat(),
        ]);
        for bytes in cases {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Memo::at(path.clone()).look_up(&stamp(3)), None);
        }
    }

    #[test]
    fn records_that_nobody_needs_are_dropped() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = saved(dir.path(), 0..2);
        for round in 0..u64::from(MAX_AGE) {
            let memo = Memo::at(path.clone());
            assert!(memo.look_up(&stamp(0)).is_some());
            memo.learn(vec![(stamp(100 + round), known(1))]);
            memo.save().unwrap();
        }
        let memo = Memo::at(path);
        assert!(memo.look_up(&stamp(0)).is_some());
        assert!(memo.look_up(&stamp(1)).is_none());
    }
}

//! `blob-info-cache-v1.sqlite`: the file in which the Go tools keep what they know of blobs, with their tables and their
//! forms of values.
//!
//! Nothing here fails a copy. A file that is not there is made by the first write; one that cannot be used (garbage, no
//! permission, locked for too long) is left alone for the rest of the process. Rows that make no sense are passed over.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use archive::Compression;
use model::{DiffId, Digest, Reference, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use super::{Fact, Form, Place};
use crate::manifest_update::CHUNKED_PREFIX;

/// The file's name.
const NAME: &str = "blob-info-cache-v1.sqlite";
/// What is to be in the file.
const SCHEMA: &str = include_str!("schema.sql");
/// What the Go tools make last: with it in the file they look for nothing else.
const LAST_MADE: &str = "DigestSpecificVariantCompressors";

/// The longest value or query, in bytes.
const VALUE_MAX: i32 = 1 << 20;
/// The most forms of one layer that are read.
const FORMS_MAX: u32 = 32;
/// The most repositories that are read for one blob.
const PLACES_MAX: u32 = 8;
/// How long other processes may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How old the record of a place may become, in days, before it is written anew.
const FRESH_DAYS: f64 = 1.0;

/// How the Go tools call registries as a whole.
const TRANSPORT: &str = "docker";
const UNCOMPRESSED: &str = "uncompressed";
const ZSTD_CHUNKED: &str = "zstd:chunked";
/// What follows the prefix in the annotation with the digest of a blob's table of contents.
const CONTENTS_DIGEST: &str = "manifest-checksum";

const READ_FORMS: &str = "\
    SELECT anyDigest, compressor, specificVariantCompressor, specificVariantAnnotations, \
        (SELECT max(julianday(time)) FROM KnownLocations \
         WHERE transport = ?2 AND scope = ?3 AND KnownLocations.digest = anyDigest) AS seen \
    FROM DigestUncompressedPairs \
    JOIN DigestCompressors ON DigestCompressors.digest = anyDigest \
    LEFT JOIN DigestSpecificVariantCompressors ON DigestSpecificVariantCompressors.digest = anyDigest \
    WHERE uncompressedDigest = ?1 ORDER BY seen DESC, anyDigest LIMIT ?4";
const READ_PLACES: &str = "\
    SELECT location FROM KnownLocations WHERE transport = ?1 AND scope = ?2 AND digest = ?3 \
    ORDER BY location = ?4 DESC, julianday(time) DESC LIMIT ?5";

// Nothing is written where nothing changes, which spares the disk a synchronisation.
const WRITE_PAIR: &str = "\
    INSERT INTO DigestUncompressedPairs(anyDigest, uncompressedDigest) VALUES (?1, ?2) \
    ON CONFLICT(anyDigest) DO UPDATE SET uncompressedDigest = excluded.uncompressedDigest \
    WHERE uncompressedDigest <> excluded.uncompressedDigest";
const WRITE_COMPRESSOR: &str = "\
    INSERT INTO DigestCompressors(digest, compressor) VALUES (?1, ?2) \
    ON CONFLICT(digest) DO UPDATE SET compressor = excluded.compressor \
    WHERE compressor <> excluded.compressor";
const WRITE_VARIANT: &str = "\
    INSERT INTO DigestSpecificVariantCompressors\
        (digest, specificVariantCompressor, specificVariantAnnotations) VALUES (?1, ?2, ?3) \
    ON CONFLICT(digest) DO UPDATE SET specificVariantCompressor = excluded.specificVariantCompressor, \
        specificVariantAnnotations = excluded.specificVariantAnnotations \
    WHERE specificVariantAnnotations <> excluded.specificVariantAnnotations";
const WRITE_CONTENTS: &str = "\
    INSERT INTO DigestTOCUncompressedPairs(tocDigest, uncompressedDigest) VALUES (?1, ?2) \
    ON CONFLICT(tocDigest) DO UPDATE SET uncompressedDigest = excluded.uncompressedDigest \
    WHERE uncompressedDigest <> excluded.uncompressedDigest";
const WRITE_PLACE: &str = "\
    INSERT INTO KnownLocations(transport, scope, digest, location, time) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT(transport, scope, digest, location) DO UPDATE SET time = excluded.time \
    WHERE ifnull(julianday(time), 0) < julianday(excluded.time) - ?6";

/// The file, opened when it is first needed.
pub(super) struct CacheFile {
    path: PathBuf,
    now: SystemTime,
    link: Link,
    writable: bool,
}

enum Link {
    Unopened,
    Open(Connection),
    Unusable,
}

impl CacheFile {
    /// Names the file in a directory; `now` is when what is written was seen.
    pub(super) fn in_directory(directory: &Path, now: SystemTime) -> Self {
        Self {
            path: directory.join(NAME),
            now,
            link: Link::Unopened,
            writable: true,
        }
    }

    /// Returns the compressed blobs with a layer's content; those that were last seen at the registry come first.
    pub(super) fn forms(&mut self, diff: &DiffId, host: &str) -> Vec<Form> {
        let wanted = params![diff.0.as_str(), TRANSPORT, host, FORMS_MAX];
        self.rows(READ_FORMS, wanted, form_of)
    }

    /// Returns repositories of a registry in which a blob was seen: the one called `own` if it is among them, then those
    /// where it was seen last.
    pub(super) fn places(&mut self, blob: &Digest, host: &str, own: &str) -> Vec<String> {
        let own = format!("{host}/{own}");
        let wanted = params![TRANSPORT, host, blob.as_str(), own, PLACES_MAX];
        self.rows(READ_PLACES, wanted, |row| {
            let name = Reference::parse_normalized(&row.get::<_, String>(0).ok()?).ok()?;
            let whole = name.tag().is_none() && name.digest().is_none();
            (whole && name.domain() == host).then(|| name.path().to_owned())
        })
    }

    /// Writes facts down, all or none.
    pub(super) fn write(&mut self, facts: &[Fact]) {
        let time = written_time(self.now);
        let write = |connection: &mut Connection| {
            // What a loss of power may take from a cache is not worth a further synchronisation.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // Like the Go tools: whoever began to write never has to wait for a reader in the middle.
            let all = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            ensure_schema(&all)?;
            for fact in facts {
                match fact {
                    Fact::Became { diff, form } => write_form(&all, diff, form)?,
                    Fact::Seen { blob, place } => write_place(&all, blob, place, &time)?,
                }
            }
            all.commit()
        };
        if !self.writable {
            return;
        }
        self.open_to_write();
        if let Link::Open(connection) = &mut self.link {
            self.writable = write(connection).is_ok();
        }
    }

    fn rows<T>(
        &mut self,
        query: &str,
        wanted: &[&dyn rusqlite::ToSql],
        read: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Vec<T> {
        if matches!(self.link, Link::Unopened) && self.path.exists() {
            self.open(OpenFlags::empty());
        }
        let Link::Open(connection) = &self.link else {
            return Vec::new();
        };
        let all = || -> rusqlite::Result<Vec<T>> {
            let mut query = connection.prepare(query)?;
            let rows = query.query_map(wanted, |row| Ok(read(row)))?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        };
        match all() {
            Ok(found) => found,
            Err(error) => {
                // An older file lacks tables, which the first write adds.
                if error.sqlite_error_code() != Some(ErrorCode::Unknown) {
                    self.link = Link::Unusable;
                }
                Vec::new()
            }
        }
    }

    fn open_to_write(&mut self) {
        if !matches!(self.link, Link::Unopened) {
            return;
        }
        if let Some(parent) = self.path.parent() {
            // What is wrong with it will show when the file is opened.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        }
        self.open(OpenFlags::SQLITE_OPEN_CREATE);
    }

    fn open(&mut self, besides: OpenFlags) {
        let usual = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, usual | besides).and_then(|opened| {
            opened.busy_timeout(PATIENCE)?;
            opened.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX)?;
            // Whoever wrote the file has no functions to run here.
            opened.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            Ok(opened)
        });
        self.link = opened.map_or(Link::Unusable, Link::Open);
    }
}

fn form_of(row: &Row<'_>) -> Option<Form> {
    let text = |column: usize| row.get_ref(column).ok()?.as_str().ok();
    let compression = match text(1)? {
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        _ => return None,
    };
    let annotations = match text(2) {
        Some(ZSTD_CHUNKED) => {
            let bytes = row.get_ref(3).ok()?.as_bytes().ok()?;
            let mut all: BTreeMap<String, String> = serde_json::from_slice(bytes).ok()?;
            all.retain(|key, _| key.starts_with(CHUNKED_PREFIX));
            all
        }
        _ => BTreeMap::new(),
    };
    Some(Form {
        blob: text(0)?.parse().ok()?,
        size: None,
        compression,
        annotations,
    })
}

fn ensure_schema(all: &Transaction<'_>) -> rusqlite::Result<()> {
    let query = "SELECT 1 FROM sqlite_schema WHERE name = ?1";
    if all.prepare(query)?.exists([LAST_MADE])? {
        return Ok(());
    }
    all.execute_batch(SCHEMA)
}

fn write_form(all: &Transaction<'_>, diff: &DiffId, form: &Form) -> rusqlite::Result<()> {
    let (blob, content) = (form.blob.as_str(), diff.0.as_str());
    let compressor = match form.compression {
        Compression::None => UNCOMPRESSED,
        Compression::Gzip => "gzip",
        Compression::Bzip2 => "bzip2",
        Compression::Xz => "Xz",
        Compression::Zstd => "zstd",
    };
    all.execute(WRITE_PAIR, [blob, content])?;
    all.execute(WRITE_COMPRESSOR, [content, UNCOMPRESSED])?;
    all.execute(WRITE_COMPRESSOR, [blob, compressor])?;
    let Some(contents) = form
        .annotations
        .get(&format!("{CHUNKED_PREFIX}{CONTENTS_DIGEST}"))
    else {
        return Ok(());
    };
    if let Ok(annotations) = serde_json::to_vec(&form.annotations) {
        all.execute(WRITE_VARIANT, params![blob, ZSTD_CHUNKED, annotations])?;
        all.execute(WRITE_CONTENTS, [contents.as_str(), content])?;
    }
    Ok(())
}

fn write_place(
    all: &Transaction<'_>,
    blob: &Digest,
    place: &Place,
    time: &str,
) -> rusqlite::Result<()> {
    let Place { host, repository } = place;
    let location = format!("{host}/{repository}");
    let known = params![TRANSPORT, host, blob.as_str(), location, time, FRESH_DAYS];
    all.execute(WRITE_PLACE, known).map(|_| ())
}

/// A moment as the Go tools write it here: `2006-01-02 15:04:05.999999999-07:00`.
fn written_time(now: SystemTime) -> String {
    let now = Timestamp::from_system_time(now).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_string().replace('T', " ").replace('Z', "+00:00")
}

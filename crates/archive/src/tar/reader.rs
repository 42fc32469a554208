//! Reading members, with every byte that is not data kept for tar-split.
//!
//! The rules are those of Go's `archive/tar`, because a store's tools compare what they read with what we read: PAX
//! records beat the block, a GNU long name beats both, an empty record changes nothing, a global header is no default
//! for later members and cuts off extended headers before it.

use std::io::{BufRead, ErrorKind};

use super::block::{self, Block, Dialect};
use super::pax::{self, Records};
use super::sparse::{self, Fragment};
use super::{
    BLOCK, Header, Kind, MAX_NAME, MAX_SPECIAL_HEADERS, MAX_SPECIAL_SIZE, MAX_TRAILER, TarError,
    padding,
};

/// A member that [`Reader::next_entry`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The header with all extensions applied.
    pub header: Header,
    /// Size in bytes of the data in the stream.
    pub stored: u64,
    /// Where the stored data belongs, when the member is sparse: offset and length of each piece, in order.
    pub fragments: Option<Vec<(u64, u64)>>,
    /// Offset of the member's own header block in the stream.
    pub offset: u64,
}

/// What extended headers in front of a member say about it.
#[derive(Default)]
struct Pending {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Reads a tar stream member by member.
///
/// Between two members the data is fetched with [`Reader::chunk`] and [`Reader::consume`]; what is not fetched is
/// skipped. The bytes around the data collect in [`Reader::raw`].
pub struct Reader<R> {
    source: R,
    offset: u64,
    left: u64,
    pad: usize,
    raw: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Starts at the beginning of a stream.
    pub fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            left: 0,
            pad: 0,
            raw: Vec::new(),
            ended: false,
        }
    }

    /// Returns the bytes read so far that are not data: headers, padding, end-of-archive blocks. The caller empties
    /// it; it grows by at most a few MiB per member otherwise.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Returns how many bytes of the stream were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives the source back.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Moves to the next member; `None` is the end of the archive.
    ///
    /// # Errors
    /// [`TarError`]; the reader cannot go on after one.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let mut pending = Pending::default();
        for _ in 0..=MAX_SPECIAL_HEADERS {
            let offset = self.offset;
            let Some((block, dialect)) = self.header_block()? else {
                self.ended = true;
                return Ok(None);
            };
            let header = parse_block(&block, dialect).ok_or(TarError::Header { offset })?;
            match header.kind {
                Kind::Other(b'x') => pending.records = self.records(&header, offset)?,
                Kind::Other(b'g') => {
                    self.records(&header, offset)?;
                    pending = Pending::default();
                }
                Kind::Other(b'L') => pending.name = Some(self.long_name(&header)?),
                Kind::Other(b'K') => pending.link = Some(self.long_name(&header)?),
                _ => {
                    return self
                        .member(header, &block, dialect, pending, offset)
                        .map(Some);
                }
            }
        }
        let (size, limit) = (MAX_SPECIAL_HEADERS as u64 + 1, MAX_SPECIAL_HEADERS as u64);
        Err(TarError::Limit {
            what: "a number of extended headers",
            size,
            limit,
            offset: self.offset,
        })
    }

    /// Returns the next piece of the member's stored data, empty at its end. Follow with [`Reader::consume`].
    ///
    /// # Errors
    /// [`TarError::Read`], [`TarError::Truncated`].
    pub fn chunk(&mut self) -> Result<&[u8], TarError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let bytes = fill(&mut self.source)?;
        if bytes.is_empty() {
            return Err(TarError::Truncated { offset });
        }
        let len = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&bytes[..len])
    }

    /// Marks bytes of the last [`Reader::chunk`] as done.
    pub fn consume(&mut self, len: usize) {
        let len = len.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.source.consume(len);
        self.left -= len as u64;
        self.offset += len as u64;
    }

    /// Reads what follows the end of the archive, all of it, and hands it to `sink` in pieces.
    ///
    /// # Errors
    /// [`TarError::Limit`] when there is more than [`MAX_TRAILER`], [`TarError::Read`], and what `sink` returns.
    pub fn trailer<E: From<TarError>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut total = 0;
        loop {
            let bytes = fill(&mut self.source)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let len = bytes.len();
            total += len as u64;
            check_limit(
                "the data behind the archive",
                total,
                MAX_TRAILER,
                self.offset,
            )?;
            sink(bytes)?;
            self.source.consume(len);
            self.offset += len as u64;
        }
    }

    fn member(
        &mut self,
        mut header: Header,
        block: &Block,
        dialect: Dialect,
        pending: Pending,
        offset: u64,
    ) -> Result<Entry, TarError> {
        let was_old = block[block::TYPE] == 0;
        apply_records(&mut header, &pending.records).ok_or(TarError::Pax { offset })?;
        if let Some(name) = pending.name.filter(|name| !name.is_empty()) {
            header.name = name;
        }
        if let Some(link) = pending.link.filter(|link| !link.is_empty()) {
            header.link = link;
        }
        if was_old {
            header.kind = Kind::from_byte(0, &header.name);
        }
        check_limit("a name", header.name.len() as u64, MAX_NAME as u64, offset)?;
        check_limit(
            "a link target",
            header.link.len() as u64,
            MAX_NAME as u64,
            offset,
        )?;
        self.left = header.data_size();
        self.pad = padding(self.left);
        let fragments = self.fragments(&mut header, block, dialect, &pending.records, offset)?;
        Ok(Entry {
            header,
            stored: self.left,
            fragments,
            offset,
        })
    }

    fn fragments(
        &mut self,
        header: &mut Header,
        block: &Block,
        dialect: Dialect,
        records: &Records,
        offset: u64,
    ) -> Result<Option<Vec<(u64, u64)>>, TarError> {
        let bad = |header: &Header| TarError::Sparse {
            name: super::lossy(&header.name),
        };
        let map = if header.kind == Kind::GnuSparse {
            if dialect != Dialect::Gnu {
                return Err(TarError::Header { offset });
            }
            header.size = sparse::real_size(block).ok_or_else(|| bad(header))?;
            let mut map: Vec<Fragment> = Vec::new();
            let mut more = sparse::read_old(&mut map, block).ok_or_else(|| bad(header))?;
            while more {
                // The map's blocks stand before the data and do not count as data.
                let mut next: Block = [0; BLOCK];
                self.exact(&mut next)?;
                more = sparse::read_old_more(&mut map, &next).ok_or_else(|| bad(header))?;
            }
            map
        } else {
            match sparse::version(records) {
                None => return Ok(None),
                Some(version) => {
                    sparse::apply(header, records).ok_or_else(|| bad(header))?;
                    match version {
                        sparse::Version::V0 => {
                            sparse::read_0x1(records).ok_or_else(|| bad(header))?
                        }
                        sparse::Version::V1 => self.read_1x0(header)?,
                    }
                }
            }
        };
        if header.kind.is_header_only() || !sparse::is_valid(&map, header.size, self.left) {
            return Err(bad(header));
        }
        Ok(Some(map))
    }

    /// Format 1.0 has the map as text lines in front of the data, in whole blocks.
    fn read_1x0(&mut self, header: &Header) -> Result<Vec<Fragment>, TarError> {
        let mut text = sparse::TextMap::default();
        while !text.is_complete() {
            let mut block: Block = [0; BLOCK];
            if self.left < BLOCK as u64 {
                return Err(TarError::Sparse {
                    name: super::lossy(&header.name),
                });
            }
            self.exact(&mut block)?;
            self.left -= BLOCK as u64;
            text.push(&block).ok_or_else(|| TarError::Sparse {
                name: super::lossy(&header.name),
            })?;
        }
        Ok(text.into_fragments())
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        while self.left > 0 {
            let len = self.chunk()?.len();
            self.consume(len);
        }
        // A stream may end inside the last padding.
        let mut block: Block = [0; BLOCK];
        let pad = std::mem::take(&mut self.pad);
        self.up_to(&mut block[..pad])?;
        Ok(())
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<(Block, Dialect)>, TarError> {
        let offset = self.offset;
        let mut block: Block = [0; BLOCK];
        match self.up_to(&mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => {
                return Err(TarError::Truncated {
                    offset: self.offset,
                });
            }
        }
        if block == [0; BLOCK] {
            return match self.up_to(&mut block)? {
                0 => Ok(None),
                BLOCK if block == [0; BLOCK] => Ok(None),
                BLOCK => Err(TarError::Header {
                    offset: offset + BLOCK as u64,
                }),
                _ => Err(TarError::Truncated {
                    offset: self.offset,
                }),
            };
        }
        let dialect = block::dialect(&block).ok_or(TarError::Header { offset })?;
        Ok(Some((block, dialect)))
    }

    fn records(&mut self, header: &Header, offset: u64) -> Result<Records, TarError> {
        let text = self.special(header)?;
        pax::parse(&text).ok_or(TarError::Pax { offset })
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        Ok(block::parse_string(&self.special(header)?).to_vec())
    }

    /// Reads the data of an extended header with its padding.
    fn special(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        check_limit(
            "an extended header",
            header.size,
            MAX_SPECIAL_SIZE,
            self.offset,
        )?;
        let mut data = vec![0; usize::try_from(header.size).unwrap_or(0)];
        self.exact(&mut data)?;
        let mut block: Block = [0; BLOCK];
        self.up_to(&mut block[..padding(header.size)])?;
        Ok(data)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        if self.up_to(buffer)? < buffer.len() {
            return Err(TarError::Truncated {
                offset: self.offset,
            });
        }
        Ok(())
    }

    /// Fills `buffer` as far as the stream goes and keeps the bytes as raw ones.
    fn up_to(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut done = 0;
        while done < buffer.len() {
            let bytes = fill(&mut self.source)?;
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len().min(buffer.len() - done);
            buffer[done..done + len].copy_from_slice(&bytes[..len]);
            self.source.consume(len);
            done += len;
        }
        self.raw.extend_from_slice(&buffer[..done]);
        self.offset += done as u64;
        Ok(done)
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8], TarError> {
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::Read(error)),
        }
    }
    // Asked twice because the borrow checker does not let a loop return what it may also retry; the second call
    // finds the buffer full.
    source.fill_buf().map_err(TarError::Read)
}

fn check_limit(what: &'static str, size: u64, limit: u64, offset: u64) -> Result<(), TarError> {
    if size > limit {
        Err(TarError::Limit {
            what,
            size,
            limit,
            offset,
        })
    } else {
        Ok(())
    }
}

/// Whether a header block belongs to a member that only describes the next one, and how many bytes follow it then.
/// `None` when the block is no header.
pub(crate) fn special_size(block: &Block) -> Option<Option<u64>> {
    let header = parse_block(block, block::dialect(block)?)?;
    let special = matches!(header.kind, Kind::Other(b'x' | b'g' | b'L' | b'K'));
    Some(special.then_some(header.size))
}

fn parse_block(block: &Block, dialect: Dialect) -> Option<Header> {
    let text = |field: block::Field| block::parse_string(&block[field]).to_vec();
    let number = |field: block::Field| block::parse_numeric(&block[field]);
    let mut header = Header::new(text(block::NAME), Kind::File);
    header.link = text(block::LINK);
    header.size = u64::try_from(number(block::SIZE)?).ok()?;
    header.mode = number(block::MODE)?;
    header.uid = number(block::UID)?;
    header.gid = number(block::GID)?;
    header.mtime.seconds = number(block::MTIME)?;
    if dialect != Dialect::V7 {
        header.uname = text(block::UNAME);
        header.gname = text(block::GNAME);
        header.dev_major = number(block::DEV_MAJOR)?;
        header.dev_minor = number(block::DEV_MINOR)?;
        let prefix = match dialect {
            Dialect::Ustar => text(block::PREFIX),
            Dialect::Star => text(block::STAR_PREFIX),
            // Go before 1.8 wrote a prefix into GNU headers; times that are no numbers give it away.
            Dialect::Gnu
                if [block::GNU_ATIME, block::GNU_CTIME]
                    .into_iter()
                    .any(|field| block[field.start] != 0 && number(field).is_none()) =>
            {
                Some(text(block::PREFIX))
                    .filter(|prefix| prefix.is_ascii())
                    .unwrap_or_default()
            }
            Dialect::Gnu | Dialect::V7 => Vec::new(),
        };
        if !prefix.is_empty() {
            header.name = [&prefix[..], b"/", &header.name].concat();
        }
    }
    header.kind = Kind::from_byte(block[block::TYPE], &header.name);
    Some(header)
}

fn apply_records(header: &mut Header, records: &Records) -> Option<()> {
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(pax::XATTR) {
            if !name.is_empty() {
                header.xattrs.push((name.to_vec(), value.clone()));
            }
            continue;
        }
        let Ok(key) = std::str::from_utf8(key) else {
            continue;
        };
        // An empty record keeps what the block says.
        if value.is_empty() {
            continue;
        }
        match key {
            pax::PATH => header.name.clone_from(value),
            pax::LINKPATH => header.link.clone_from(value),
            pax::UNAME => header.uname.clone_from(value),
            pax::GNAME => header.gname.clone_from(value),
            pax::UID => header.uid = pax::parse_integer(value)?,
            pax::GID => header.gid = pax::parse_integer(value)?,
            pax::MTIME => header.mtime = pax::parse_time(value)?,
            pax::SIZE => header.size = u64::try_from(pax::parse_integer(value)?).ok()?,
            _ => {}
        }
    }
    Some(())
}

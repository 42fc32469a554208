//! Writing members byte for byte as Go's `archive/tar` does for a header without a format of its own: USTAR where
//! everything fits, else PAX with its records sorted by key.

use std::io::Write;

use super::block::{self, Block};
use super::pax::{self, Records};
use super::{BLOCK, Header, Kind, MAX_SPECIAL_SIZE, TarError, clean_name, lossy, padding};

const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Appends the header of a member to `out`: the extended header when one is needed, and the block itself.
///
/// Data, padded to whole blocks, is to follow when [`Header::data_size`] is not zero.
///
/// # Errors
/// [`TarError::Encode`] when no format holds a field, [`TarError::Limit`] when the extended header would be larger
/// than readers accept.
pub fn encode_header(header: &Header, out: &mut Vec<u8>) -> Result<(), TarError> {
    let refuse = |field| TarError::Encode {
        name: lossy(&header.name),
        field,
    };
    let mut records = Records::new();
    let mut ustar = true;
    let split = split_ustar(&header.name);
    let texts = [
        (&header.name, block::NAME, pax::PATH, split.is_some()),
        (&header.link, block::LINK, pax::LINKPATH, false),
        (&header.uname, block::UNAME, pax::UNAME, false),
        (&header.gname, block::GNAME, pax::GNAME, false),
    ];
    for (text, field, key, splits) in texts {
        if !is_ascii(text) || text.len() > field.len() {
            ustar &= splits;
            records.insert(key.into(), text.clone());
        }
    }
    let size = i64::try_from(header.size).map_err(|_| refuse("size"))?;
    let numbers = [
        (header.uid, block::UID, pax::UID),
        (header.gid, block::GID, pax::GID),
        (size, block::SIZE, pax::SIZE),
        (header.mtime.seconds, block::MTIME, pax::MTIME),
    ];
    for (number, field, key) in numbers {
        if !block::fits_octal(field.len(), number) {
            ustar = false;
            records.insert(key.into(), number.to_string().into());
        }
    }
    let bare = [
        (header.mode, block::MODE, "mode"),
        (header.dev_major, block::DEV_MAJOR, "device number"),
        (header.dev_minor, block::DEV_MINOR, "device number"),
    ];
    for (number, field, what) in bare {
        if !block::fits_octal(field.len(), number) {
            return Err(refuse(what));
        }
    }
    if header.name.ends_with(b"/")
        && matches!(
            header.kind,
            Kind::File | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo
        )
    {
        return Err(refuse("trailing slash"));
    }
    for (name, value) in &header.xattrs {
        ustar = false;
        records.insert([pax::XATTR, name].concat(), value.clone());
    }
    if records
        .iter()
        .any(|(key, value)| !pax::is_valid(key, value))
    {
        return Err(refuse("name or attribute"));
    }
    if ustar {
        let (prefix, name) = split.unwrap_or((&[], &header.name));
        let mut block = template(header, name, size);
        block::format_string(&mut block[block::PREFIX], prefix);
        finish_block(&mut block);
        out.extend_from_slice(&block);
    } else {
        push_extended(&header.name, &records, out)?;
        let mut block = template(header, &header.name, size);
        finish_block(&mut block);
        out.extend_from_slice(&block);
    }
    Ok(())
}

fn template(header: &Header, name: &[u8], size: i64) -> Block {
    let mut block: Block = [0; BLOCK];
    block[block::TYPE] = header.kind.byte();
    block::format_string(&mut block[block::NAME], &to_ascii(name));
    block::format_string(&mut block[block::LINK], &to_ascii(&header.link));
    block::format_string(&mut block[block::UNAME], &to_ascii(&header.uname));
    block::format_string(&mut block[block::GNAME], &to_ascii(&header.gname));
    for (field, number) in [
        (block::MODE, header.mode),
        (block::UID, header.uid),
        (block::GID, header.gid),
        (block::SIZE, size),
        (block::MTIME, header.mtime.seconds),
        (block::DEV_MAJOR, header.dev_major),
        (block::DEV_MINOR, header.dev_minor),
    ] {
        block::format_octal(&mut block[field], number);
    }
    block
}

fn finish_block(block: &mut Block) {
    block[block::MAGIC].copy_from_slice(b"ustar\0");
    block[block::VERSION].copy_from_slice(b"00");
    block::set_checksum(block);
}

fn push_extended(name: &[u8], records: &Records, out: &mut Vec<u8>) -> Result<(), TarError> {
    let mut data = Vec::new();
    for (key, value) in records {
        pax::push_record(&mut data, key, value);
    }
    if data.len() as u64 > MAX_SPECIAL_SIZE {
        let size = data.len() as u64;
        return Err(TarError::Limit {
            what: "an extended header",
            size,
            limit: MAX_SPECIAL_SIZE,
            offset: 0,
        });
    }
    let cut = name
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let mut joined = name[..cut].to_vec();
    if cut > 0 {
        joined.push(b'/');
    }
    joined.extend_from_slice(b"PaxHeaders.0/");
    joined.extend_from_slice(&name[cut..]);
    let mut own_name = to_ascii(&clean_name(&joined)).into_owned();
    own_name.truncate(block::NAME.len());
    while own_name.last() == Some(&b'/') {
        own_name.pop();
    }
    let mut block: Block = [0; BLOCK];
    block[block::TYPE] = b'x';
    block::format_string(&mut block[block::NAME], &own_name);
    for field in [block::MODE, block::UID, block::GID, block::MTIME] {
        block::format_octal(&mut block[field], 0);
    }
    block::format_octal(
        &mut block[block::SIZE],
        i64::try_from(data.len()).unwrap_or(0),
    );
    finish_block(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&data);
    out.extend_from_slice(&ZEROS[..padding(data.len() as u64)]);
    Ok(())
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte != 0 && byte.is_ascii())
}

/// Drops what is not ASCII, as Go does for the fields that a pax record overrides.
fn to_ascii(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if is_ascii(text) {
        text.into()
    } else {
        text.iter()
            .copied()
            .filter(|byte| *byte != 0 && byte.is_ascii())
            .collect::<Vec<u8>>()
            .into()
    }
}

/// Splits a long name at a slash so that both halves fit the fields of USTAR.
fn split_ustar(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = name.len();
    if len <= block::NAME.len() || !is_ascii(name) {
        return None;
    }
    if len > block::PREFIX.len() + 1 {
        len = block::PREFIX.len() + 1;
    } else if name[len - 1] == b'/' {
        len -= 1;
    }
    let slash = name[..len].iter().rposition(|byte| *byte == b'/')?;
    let rest = name.len() - slash - 1;
    if slash == 0 || rest > block::NAME.len() || rest == 0 || slash > block::PREFIX.len() {
        return None;
    }
    Some((&name[..slash], &name[slash + 1..]))
}

/// Writes a tar stream, member by member.
pub struct Writer<W: Write> {
    out: W,
    name: Vec<u8>,
    size: u64,
    left: u64,
    scratch: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a stream.
    pub fn new(out: W) -> Self {
        Self {
            out,
            name: Vec::new(),
            size: 0,
            left: 0,
            scratch: Vec::new(),
        }
    }

    /// Ends the member before and writes the header of the next.
    ///
    /// # Errors
    /// Those of [`encode_header`], [`TarError::Data`] when data of the member before is missing, [`TarError::Write`].
    pub fn start(&mut self, header: &Header) -> Result<(), TarError> {
        self.end_member()?;
        self.scratch.clear();
        encode_header(header, &mut self.scratch)?;
        self.out.write_all(&self.scratch).map_err(TarError::Write)?;
        self.name.clone_from(&header.name);
        self.size = header.data_size();
        self.left = self.size;
        Ok(())
    }

    /// Writes data of the current member.
    ///
    /// # Errors
    /// [`TarError::Data`] when there is more than the header announced, [`TarError::Write`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| self.data_error())?;
        self.out.write_all(bytes).map_err(TarError::Write)
    }

    /// Writes the end-of-archive blocks and gives the stream back.
    ///
    /// # Errors
    /// [`TarError::Data`] when data of the last member is missing, [`TarError::Write`].
    pub fn finish(mut self) -> Result<W, TarError> {
        self.end_member()?;
        self.out
            .write_all(&[ZEROS, ZEROS].concat())
            .map_err(TarError::Write)?;
        Ok(self.out)
    }

    fn end_member(&mut self) -> Result<(), TarError> {
        if self.left > 0 {
            return Err(self.data_error());
        }
        self.out
            .write_all(&ZEROS[..padding(self.size)])
            .map_err(TarError::Write)?;
        self.size = 0;
        Ok(())
    }

    fn data_error(&self) -> TarError {
        TarError::Data {
            name: lossy(&self.name),
            size: self.size,
        }
    }
}

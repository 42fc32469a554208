//! A tar stream that is handed over piece by piece, told apart into headers, data and the rest.

use std::io;

use crate::tar::{
    BLOCK, Entry, MAX_SPECIAL_HEADERS, MAX_SPECIAL_SIZE, Reader, TarError, padding, special_size,
};

/// The most bytes that may stand before the data of one member.
const HEAD_MAX: usize = (MAX_SPECIAL_HEADERS + 2) * (MAX_SPECIAL_SIZE as usize + 2 * BLOCK);

/// Takes what a stream consists of, in order.
pub(super) trait Parts {
    /// Bytes that are not data.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// A member, whose headers were told before. Its data follows if it has any.
    fn member(&mut self, entry: Entry) -> io::Result<()>;
    /// Data of the member.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The member's data is complete; also told when there is none.
    fn end(&mut self) -> io::Result<()>;
}

/// Where in a stream we are.
pub(super) struct Scanner {
    state: State,
    offset: u64,
}

enum State {
    /// In headers: what has come of them, where the last one begins, and how many bytes are needed to go on.
    Head {
        bytes: Vec<u8>,
        last: usize,
        need: usize,
    },
    /// In data, of which so much is missing, with so much padding behind it.
    Data { left: u64, pad: usize },
    /// In padding.
    Pad(usize),
    /// Behind the end of the archive.
    Trailer,
}

/// What the headers so far amount to.
enum Parsed {
    Member(Box<Entry>),
    End,
    Incomplete,
}

impl State {
    fn head() -> Self {
        State::Head {
            bytes: Vec::new(),
            last: 0,
            need: BLOCK,
        }
    }
}

fn invalid(error: TarError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::head(),
            offset: 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn feed(&mut self, mut bytes: &[u8], parts: &mut impl Parts) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.step(bytes, parts)?;
            self.offset += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Says that the stream has ended.
    pub(super) fn finish(self, parts: &mut impl Parts) -> io::Result<()> {
        let offset = self.offset;
        match self.state {
            State::Trailer | State::Pad(_) => Ok(()),
            State::Head { bytes, .. } if bytes.is_empty() => Ok(()),
            // A single block of zeros ends an archive that nothing follows.
            State::Head { bytes, .. } if bytes.iter().all(|byte| *byte == 0) => parts.raw(&bytes),
            State::Head { .. } | State::Data { .. } => Err(invalid(TarError::Truncated { offset })),
        }
    }

    /// Takes some of the bytes and says how many.
    fn step(&mut self, bytes: &[u8], parts: &mut impl Parts) -> io::Result<usize> {
        match &mut self.state {
            State::Trailer => {
                parts.raw(bytes)?;
                Ok(bytes.len())
            }
            State::Pad(left) => {
                let count = bytes.len().min(*left);
                parts.raw(&bytes[..count])?;
                *left -= count;
                if *left == 0 {
                    self.state = State::head();
                }
                Ok(count)
            }
            State::Data { left, pad } => {
                let count = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                parts.data(&bytes[..count])?;
                *left -= count as u64;
                if *left == 0 {
                    let pad = *pad;
                    parts.end()?;
                    self.state = after(pad);
                }
                Ok(count)
            }
            State::Head {
                bytes: head, need, ..
            } => {
                let count = bytes.len().min(*need - head.len());
                head.extend_from_slice(&bytes[..count]);
                if head.len() == *need {
                    self.head_is_full(parts)?;
                }
                Ok(count)
            }
        }
    }

    fn head_is_full(&mut self, parts: &mut impl Parts) -> io::Result<()> {
        let State::Head { bytes, last, need } = &mut self.state else {
            return Ok(());
        };
        let block = bytes[*last..].first_chunk::<BLOCK>();
        if let Some(Some(size)) = block
            .filter(|_| bytes.len() == *last + BLOCK)
            .and_then(special_size)
        {
            // What describes the next member stands before that one's own header.
            let limit = || {
                invalid(TarError::Limit {
                    what: "an extended header",
                    size,
                    limit: MAX_SPECIAL_SIZE,
                    offset: self.offset,
                })
            };
            let size = usize::try_from(size)
                .ok()
                .filter(|size| *size as u64 <= MAX_SPECIAL_SIZE);
            let size = size.ok_or_else(limit)?;
            *last += BLOCK + size + padding(size as u64);
            *need = *last + BLOCK;
            return Ok(());
        }
        match parse(bytes)? {
            Parsed::Incomplete if bytes.len() < HEAD_MAX => *need += BLOCK,
            Parsed::Incomplete => {
                let offset = self.offset;
                return Err(invalid(TarError::Header { offset }));
            }
            Parsed::End => {
                parts.raw(bytes)?;
                self.state = State::Trailer;
            }
            Parsed::Member(entry) => {
                parts.raw(bytes)?;
                let left = entry.stored;
                let pad = padding(left);
                parts.member(*entry)?;
                self.state = if left == 0 {
                    parts.end()?;
                    after(pad)
                } else {
                    State::Data { left, pad }
                };
            }
        }
        Ok(())
    }
}

fn after(pad: usize) -> State {
    match pad {
        0 => State::head(),
        pad => State::Pad(pad),
    }
}

fn parse(head: &[u8]) -> io::Result<Parsed> {
    let mut reader = Reader::new(head);
    match reader.next_entry() {
        Ok(Some(entry)) => Ok(Parsed::Member(Box::new(entry))),
        // Two blocks of zeros are an end, and so is a stream that ends, which this one has not.
        Ok(None) if head.len() >= 2 * BLOCK && head.ends_with(&[0; 2 * BLOCK]) => Ok(Parsed::End),
        Ok(None) | Err(TarError::Truncated { .. }) => Ok(Parsed::Incomplete),
        Err(error) => Err(invalid(error)),
    }
}

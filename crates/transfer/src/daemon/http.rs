//! The little of HTTP/1.1 that one request over a Unix socket needs.
//!
//! A connection serves one request. Heads are limited in size; bodies are counted by their length, in chunks, or end
//! with the connection. Redirects, compression and keeping connections open are missing: a Docker daemon needs none of
//! them.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The most bytes of a reply's head, and of the line before a chunk.
const HEAD_MAX: u64 = 64 << 10;
/// The most bytes of a body that is a message.
const MESSAGE_MAX: u64 = 1 << 20;
/// How much is sent in one chunk.
const CHUNK: usize = 64 << 10;

/// Why a request failed before there was an answer to it.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens there.
    #[error("cannot connect to `{path}`", path = path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The request did not get through.
    #[error("cannot send the request")]
    Send(#[source] io::Error),
    /// No whole answer came.
    #[error("cannot read the reply")]
    Receive(#[source] io::Error),
    /// The answer is no HTTP.
    #[error("the reply is not HTTP: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
}

type Result<T> = std::result::Result<T, HttpError>;

/// Sends a request without a body.
pub(super) fn get(socket: &Path, target: &str) -> Result<Reply> {
    let mut stream = connect(socket)?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
    )
    .map_err(HttpError::Send)?;
    Reply::read(stream)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).map_err(|source| HttpError::Connect {
        path: socket.to_owned(),
        source,
    })
}

/// A request whose body is still being written.
pub(super) struct Upload {
    stream: BufWriter<Chunked>,
    // A second handle for the reply, which may come before the body is through.
    reply: UnixStream,
}

struct Chunked(UnixStream);

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            // An empty chunk would end the body.
            return Ok(0);
        }
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Upload {
    /// Begins a request.
    pub(super) fn post(socket: &Path, target: &str, content_type: &str) -> Result<Self> {
        let mut stream = connect(socket)?;
        let reply = stream.try_clone().map_err(HttpError::Send)?;
        write!(
            stream,
            "POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )
        .map_err(HttpError::Send)?;
        Ok(Self {
            stream: BufWriter::with_capacity(CHUNK, Chunked(stream)),
            reply,
        })
    }

    /// Ends the body and waits for the answer.
    pub(super) fn finish(self) -> Result<Reply> {
        let mut stream = self
            .stream
            .into_inner()
            .map_err(|err| HttpError::Send(err.into_error()))?
            .0;
        // Whoever did not want all of it may have answered already.
        let ended = stream.write_all(b"0\r\n\r\n");
        match (Reply::read(self.reply), ended) {
            (Ok(reply), _) => Ok(reply),
            (Err(_), Err(error)) => Err(HttpError::Send(error)),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// Returns the answer that came although the body did not get through.
    pub(super) fn answer(&self) -> Option<Reply> {
        Reply::read(self.reply.try_clone().ok()?).ok()
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// An answer with its body still to be read.
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    Counted(io::Take<BufReader<UnixStream>>),
    Chunks {
        source: BufReader<UnixStream>,
        left: u64,
        ended: bool,
    },
    Rest(BufReader<UnixStream>),
}

impl Reply {
    fn read(stream: UnixStream) -> Result<Self> {
        let mut source = BufReader::with_capacity(CHUNK, stream);
        let mut status;
        let mut headers;
        loop {
            (status, headers) = head(&mut source)?;
            // 100 Continue and its like precede the answer.
            if status >= 200 {
                break;
            }
        }
        let value = |name: &str| header(&headers, name);
        let chunked = value("transfer-encoding")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("chunked"));
        let body = match value("content-length") {
            _ if chunked => Body::Chunks {
                source,
                left: 0,
                ended: false,
            },
            None => Body::Rest(source),
            Some(length) => {
                let what = "its length is no number";
                let length = length
                    .trim()
                    .parse()
                    .map_err(|_| HttpError::Malformed { what })?;
                Body::Counted(source.take(length))
            }
        };
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as a message of limited length.
    pub(super) fn message(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.take(MESSAGE_MAX)
            .read_to_end(&mut bytes)
            .map_err(HttpError::Receive)?;
        Ok(bytes)
    }
}

impl Read for Reply {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match &mut self.body {
            Body::Rest(source) => source.read(buffer),
            Body::Counted(source) => match source.read(buffer)? {
                0 if source.limit() > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            },
            Body::Chunks { ended: true, .. } => Ok(0),
            Body::Chunks {
                source,
                left,
                ended,
            } => {
                if *left == 0 {
                    *left = chunk_size(source)?;
                    *ended = *left == 0;
                    if *ended {
                        return Ok(0);
                    }
                }
                let room = buffer
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = source.read(&mut buffer[..room])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                if *left == 0 && line(source, &mut HEAD_MAX.clone())? != Some(String::new()) {
                    return Err(malformed_chunk());
                }
                Ok(count)
            }
        }
    }
}

fn malformed_chunk() -> io::Error {
    let what = "a chunk has no proper size";
    io::Error::new(io::ErrorKind::InvalidData, HttpError::Malformed { what })
}

/// Reads the line before a chunk; after the last one, what follows the body.
fn chunk_size(source: &mut impl BufRead) -> io::Result<u64> {
    let mut room = HEAD_MAX;
    let Some(text) = line(source, &mut room)? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let digits = text.split(';').next().unwrap_or_default().trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed_chunk());
    }
    let size = u64::from_str_radix(digits, 16).map_err(|_| malformed_chunk())?;
    if size == 0 {
        while line(source, &mut room)?.is_some_and(|text| !text.is_empty()) {}
    }
    Ok(size)
}

/// Reads a line without its end; `None` where the stream ends. `room` is how many bytes may still come.
fn line(source: &mut impl BufRead, room: &mut u64) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let count = source.take(*room).read_until(b'\n', &mut bytes)? as u64;
    *room -= count;
    if count == 0 {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn head(source: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let malformed = |what| HttpError::Malformed { what };
    let mut room = HEAD_MAX;
    let first = line(source, &mut room)
        .map_err(HttpError::Receive)?
        .ok_or_else(|| malformed("it is empty"))?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .filter(|status| (100..1000).contains(status))
        .ok_or_else(|| malformed("it has no status"))?;
    let mut headers = Vec::new();
    loop {
        let text = line(source, &mut room)
            .map_err(HttpError::Receive)?
            .ok_or_else(|| malformed("its head does not end"))?;
        if text.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| malformed("a header has no name"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one connection with these bytes and says what became of the reply.
    fn answered(bytes: &[u8]) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        let mut reply = match Reply::read(ours) {
            Ok(reply) => reply,
            Err(error) => return format!("! {error}"),
        };
        let mut body = String::new();
        match reply.read_to_string(&mut body) {
            Ok(_) => format!("{} {body}", reply.status),
            Err(error) => format!("{} ! {error}", reply.status),
        }
    }

    #[test]
    fn replies_are_read_in_every_form_and_refused_when_malformed() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000));
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", "200 ab"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
                "200 ! unexpected end of file",
            ),
            ("HTTP/1.0 404 No\r\n\r\nto the end", "404 to the end"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nmore",
                "201 abc0123456789",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
                "200 ! unexpected end of file",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
                "200 ! the reply is not HTTP: a chunk has no proper size",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
                "200 ! the reply is not HTTP: a chunk has no proper size",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                "200 ! the reply is not HTTP: a chunk has no proper size",
            ),
            ("", "! the reply is not HTTP: it is empty"),
            ("SSH-2.0-x\r\n", "! the reply is not HTTP: it has no status"),
            (
                "HTTP/1.1 2 x\r\n",
                "! the reply is not HTTP: it has no status",
            ),
            ("HTTP/1.1 200 OK\r\nx", "! cannot read the reply"),
            (
                "HTTP/1.1 200 OK\r\n",
                "! the reply is not HTTP: its head does not end",
            ),
            (
                "HTTP/1.1 200 OK\r\nx\r\n\r\n",
                "! the reply is not HTTP: a header has no name",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "! the reply is not HTTP: its length is no number",
            ),
            (&long, "! cannot read the reply"),
        ] {
            let shown = &bytes[..bytes.len().min(80)];
            assert_eq!(answered(bytes.as_bytes()), expected, "{shown:?}");
        }
    }
}

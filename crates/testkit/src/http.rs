//! As much of HTTP/1.1 as servers of tests need: heads, body framing, and a listener.
//!
//! Not a general server: what a test sends is trusted to be short and well-formed.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The most bytes that a head may have.
const HEAD_LIMIT: usize = 256 * 1024;

/// The first line and the headers of a request or an answer.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The first line, without its end.
    pub first: String,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; nothing when the other side closed before its first byte.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        let mut total = 0;
        loop {
            let mut line = String::new();
            let count = from.read_line(&mut line)?;
            total += count;
            if count == 0 && lines.is_empty() {
                return Ok(None);
            }
            if count == 0 || total > HEAD_LIMIT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let first = lines.remove(0);
        let headers = lines
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Ok(Some(Self { first, headers }))
    }

    /// The bytes of the head.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// Puts a header in place of every one of its name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers
            .retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let word = self.first.split(' ').nth(1).unwrap_or_default();
        word.parse().unwrap_or(0)
    }

    /// How the body of a request is bounded.
    pub fn request_body(&self) -> Framing {
        self.framing(Framing::Length(0))
    }

    /// How the body of an answer to a request of `method` is bounded.
    pub fn answer_body(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        self.framing(Framing::UntilClose)
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Framing::Chunked;
        }
        self.header("content-length")
            .and_then(|value| value.parse().ok())
            .map_or(otherwise, Framing::Length)
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After a chunk of no bytes.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Hands the bytes of a body as they came, chunk marks included, to `each`.
pub fn pump(
    from: &mut impl BufRead,
    framing: Framing,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    match framing {
        Framing::Length(length) => pump_some(from, length, each),
        Framing::UntilClose => loop {
            let bytes = from.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            each(bytes)?;
            let count = bytes.len();
            from.consume(count);
        },
        Framing::Chunked => loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            each(line.as_bytes())?;
            // The mark of the last chunk is followed by an empty line, as trailers are not sent.
            pump_some(from, size + 2, each)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

fn pump_some(
    from: &mut impl BufRead,
    length: u64,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        each(&bytes[..count])?;
        from.consume(count);
        left -= count as u64;
    }
    Ok(())
}

/// Reads a body whole, without chunk marks.
pub fn read_body(from: &mut impl BufRead, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if framing == Framing::Chunked {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size =
                u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            from.take(size).read_to_end(&mut body)?;
            from.read_line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    pump(from, framing, &mut |bytes| {
        body.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(body)
}

/// Writes an answer with a body of known length.
pub fn answer(
    to: &mut impl Write,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = Head {
        first: format!("HTTP/1.1 {status} {}", reason(status)),
        headers: Vec::new(),
    };
    for (name, value) in headers {
        head.headers.push(((*name).to_owned(), (*value).to_owned()));
    }
    head.set("Content-Length", &body.len().to_string());
    to.write_all(&[&head.bytes(), body].concat())?;
    to.flush()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// A listener on the loopback; each connection gets a thread. Closed when dropped.
pub struct Listener {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on a free port and hands every connection to `serve`.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let closing = Arc::new(AtomicBool::new(false));
        let serve = Arc::new(serve);
        let accepting = std::thread::spawn({
            let closing = Arc::clone(&closing);
            move || {
                for stream in listener.incoming() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Ok(stream) = stream {
                        let serve = Arc::clone(&serve);
                        std::thread::spawn(move || serve(stream));
                    }
                }
            }
        });
        Ok(Self {
            address,
            closing,
            accepting: Some(accepting),
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Becomes true when the listener closes; for threads that wait.
    pub fn closing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closing)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Ok(stream) = TcpStream::connect(self.address) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_where_bodies_end() {
        let check = |head: &str, method: &str, expected: Framing| {
            let head = Head::read(&mut head.as_bytes()).unwrap().unwrap();
            let found = if head.first.starts_with("HTTP") {
                head.answer_body(method)
            } else {
                head.request_body()
            };
            assert_eq!(found, expected, "{head:?}");
        };
        check("GET / HTTP/1.1\r\n\r\n", "", Framing::Length(0));
        check(
            "PUT / HTTP/1.1\r\nContent-Length: 7\r\n\r\n",
            "",
            Framing::Length(7),
        );
        check("HTTP/1.1 200 OK\r\n\r\n", "GET", Framing::UntilClose);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            "HEAD",
            Framing::Length(0),
        );
        check("HTTP/1.1 204 No\r\n\r\n", "GET", Framing::Length(0));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET",
            Framing::Chunked,
        );
    }

    #[test]
    fn chunks_pass_with_or_without_their_marks() {
        let sent = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext".as_slice();
        let mut passed = Vec::new();
        let mut from = sent;
        pump(&mut from, Framing::Chunked, &mut |bytes| {
            passed.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(passed, &sent[..sent.len() - 4]);
        assert_eq!(from, b"next");
        let mut from = sent;
        assert_eq!(read_body(&mut from, Framing::Chunked).unwrap(), b"abcde");
        assert_eq!(from, b"next");
    }
}

//! A server on loopback whose answers a test decides, request by request, down to the bytes of the connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// One request with the connection that it came on.
pub struct Exchange<'a> {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case; values of the same name in a row.
    pub headers: BTreeMap<String, Vec<String>>,
    stream: &'a mut BufReader<Box<dyn Stream>>,
    body_left: BodyLeft,
    keep: bool,
}

enum BodyLeft {
    Sized(u64),
    Chunked,
    Nothing,
}

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What a request was, for a test to look at afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, Vec<String>>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.first()?.as_str())
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

type Handler = dyn Fn(&mut Exchange<'_>) + Send + Sync;

pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves plain HTTP.
    pub fn http(handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(handler))
    }

    /// Serves HTTP in TLS.
    pub fn https(
        config: ServerConfig,
        handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(Arc::new(config)), Arc::new(handler))
    }

    fn start(tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (for_thread, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let (handler, seen, tls) =
                    (Arc::clone(&handler), Arc::clone(&for_thread), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &*handler, &seen));
            }
        });
        Self {
            address,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests so far as `METHOD target`, without pings.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.seen().iter().map(Seen::line).collect::<Vec<_>>();
        lines
            .into_iter()
            .filter(|line| line != "GET /v2/")
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
    seen: &Mutex<Vec<Seen>>,
) {
    let socket = stream.try_clone().expect("a socket can be duplicated");
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => match ServerConnection::new(config) {
            Ok(connection) => Box::new(StreamOwned::new(connection, stream)),
            Err(_) => return,
        },
    };
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    loop {
        let Some(mut exchange) = read_head(&mut stream) else {
            // What is no HTTP, such as the first bytes of TLS, is told so.
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            break;
        };
        seen.lock().unwrap().push(Seen {
            method: exchange.method.clone(),
            target: exchange.target.clone(),
            headers: exchange.headers.clone(),
        });
        handler(&mut exchange);
        if !exchange.keep {
            break;
        }
    }
    let _ = stream.get_mut().flush();
    let _ = socket.shutdown(Shutdown::Both);
}

fn read_line(stream: &mut BufReader<Box<dyn Stream>>) -> Option<String> {
    let mut line = String::new();
    let got = stream.read_line(&mut line).ok()?;
    (got > 0).then(|| line.trim_end().to_owned())
}

fn read_head(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Exchange<'_>> {
    let line = read_line(stream)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }
    let first = |name: &str| headers.get(name).and_then(|values| values.first());
    let body_left = if first("transfer-encoding").is_some() {
        BodyLeft::Chunked
    } else {
        first("content-length").map_or(BodyLeft::Nothing, |text| {
            BodyLeft::Sized(text.parse().unwrap_or(0))
        })
    };
    Some(Exchange {
        method,
        target,
        headers,
        stream,
        body_left,
        keep: true,
    })
}

impl Exchange<'_> {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.first()?.as_str())
    }

    /// Reads the whole body, as far as it comes.
    pub fn body(&mut self) -> Vec<u8> {
        self.body_up_to(u64::MAX)
    }

    /// Reads the body up to a number of bytes.
    pub fn body_up_to(&mut self, limit: u64) -> Vec<u8> {
        let mut body = Vec::new();
        match std::mem::replace(&mut self.body_left, BodyLeft::Nothing) {
            BodyLeft::Nothing => {}
            BodyLeft::Sized(size) => {
                let _ = (&mut *self.stream)
                    .take(size.min(limit))
                    .read_to_end(&mut body);
            }
            BodyLeft::Chunked => loop {
                let length =
                    read_line(self.stream).and_then(|line| u64::from_str_radix(&line, 16).ok());
                let Some(length @ 1..) = length else {
                    let _ = read_line(self.stream);
                    break;
                };
                let _ = (&mut *self.stream)
                    .take(length.min(limit - body.len() as u64))
                    .read_to_end(&mut body);
                if body.len() as u64 >= limit {
                    break;
                }
                let _ = read_line(self.stream);
            },
        }
        body
    }

    /// Sends bytes as they are. Returns whether the other side still listens.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream
            .get_mut()
            .write_all(bytes)
            .and_then(|()| self.stream.get_mut().flush())
            .is_ok()
    }

    /// Sends a status line and headers, `Content-Length` being the caller's.
    pub fn head(&mut self, status: &str, headers: &[(&str, &str)]) -> bool {
        let mut text = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.raw(text.as_bytes())
    }

    /// Sends a complete reply; first takes what is left of the request.
    pub fn reply(&mut self, status: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.body();
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Content-Length") && !status.starts_with("204")
        {
            headers.push(("Content-Length", &length));
        }
        if self.head(status, &headers) && self.method != "HEAD" {
            self.raw(body);
        }
    }

    /// Closes the connection after this exchange.
    pub fn close(&mut self) {
        self.keep = false;
    }
}

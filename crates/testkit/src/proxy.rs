//! A proxy before a registry that does what bad networks and bad registries do.
//!
//! It passes plain HTTP on, request by request, counts every byte of its clients' connections,
//! and by its rules answers itself, cuts, drips, stalls, or lies.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::http::{Framing, Head, Listener, answer, pump};

/// What happens to a request that a rule is for.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The proxy answers by itself: status, headers, body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// The connection ends after so many bytes of the answer's body.
    CutDown(u64),
    /// The connection ends after so many bytes of the request's body.
    CutUp(u64),
    /// The answer's body comes at so many bytes a second.
    Drip(u64),
    /// Nothing more comes after so many bytes of the answer's body; the connection stays.
    Stall(u64),
    /// The answer's `Content-Length` is off by this.
    LieLength(i64),
    /// The answer gets this header, in place of one of that name.
    Header(String, String),
    /// The byte at this offset of the answer's body is another one.
    Flip(u64),
    /// The answer has this body.
    Body(Vec<u8>),
}

/// A fault, and which requests get it.
#[derive(Debug, Clone)]
pub struct Rule {
    method: String,
    part: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

impl Rule {
    /// Every request of `method` (empty: any) whose target contains `part` gets `fault`.
    pub fn new(method: &str, part: &str, fault: Fault) -> Self {
        Self {
            method: method.to_owned(),
            part: part.to_owned(),
            skip: 0,
            times: usize::MAX,
            fault,
        }
    }

    /// Only the first `times` of those requests get it.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// The first `skip` of those requests do not get it.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    fn takes(&mut self, head: &Head) -> bool {
        let right = (self.method.is_empty() || self.method == head.method())
            && head.target().contains(&self.part);
        if !right || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// A status with no words, as overloaded machines give.
pub fn status(status: u16) -> Fault {
    Fault::Answer(status, Vec::new(), Vec::new())
}

/// A request that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// GET, HEAD, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
}

/// Bytes on all connections of clients so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the registry.
    pub down: u64,
    /// To the registry.
    pub up: u64,
}

/// A running proxy, closed when dropped.
pub struct FaultProxy {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    closing: Mutex<Option<Arc<AtomicBool>>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    cut_every: AtomicU64,
    down: AtomicU64,
    up: AtomicU64,
}

impl FaultProxy {
    /// Stands before the plain HTTP server at `upstream` (`host:port`).
    pub fn start(upstream: &str) -> Result<Self> {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            closing: Mutex::new(None),
            rules: Mutex::new(Vec::new()),
            seen: Mutex::new(Vec::new()),
            cut_every: AtomicU64::new(u64::MAX),
            down: AtomicU64::new(0),
            up: AtomicU64::new(0),
        });
        let listener = Listener::start({
            let shared = Arc::clone(&shared);
            // An error is a connection that ended early: this is what the proxy is for.
            move |stream| drop(Connection::serve(&shared, stream))
        })?;
        *lock(&shared.closing) = Some(listener.closing());
        Ok(Self { listener, shared })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.listener.host()
    }

    /// Adds a rule. Each request gets the first rule that takes it.
    pub fn rule(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Ends every connection that carried so many bytes in one direction.
    pub fn cut_every(&self, bytes: u64) {
        self.shared.cut_every.store(bytes, Ordering::SeqCst);
    }

    /// Removes all rules, and forgets what was seen and counted.
    pub fn reset(&self) {
        lock(&self.shared.rules).clear();
        lock(&self.shared.seen).clear();
        self.shared.cut_every.store(u64::MAX, Ordering::SeqCst);
        self.shared.down.store(0, Ordering::SeqCst);
        self.shared.up.store(0, Ordering::SeqCst);
    }

    /// Every request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many requests of `method` (empty: any) had `part` in their targets.
    pub fn count(&self, method: &str, part: &str) -> usize {
        lock(&self.shared.seen)
            .iter()
            .filter(|seen| method.is_empty() || seen.method == method)
            .filter(|seen| seen.target.contains(part))
            .count()
    }

    /// What passed so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            down: self.shared.down.load(Ordering::SeqCst),
            up: self.shared.up.load(Ordering::SeqCst),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's connection and its partner to the registry.
struct Connection<'a> {
    shared: &'a Shared,
    client: TcpStream,
    registry: Option<TcpStream>,
    down: u64,
    up: u64,
}

impl<'a> Connection<'a> {
    fn serve(shared: &'a Shared, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut from = BufReader::with_capacity(64 * 1024, client.try_clone()?);
        let mut connection = Self {
            shared,
            client,
            registry: None,
            down: 0,
            up: 0,
        };
        let ended = connection.serve_all(&mut from);
        let _ = connection.client.shutdown(Shutdown::Both);
        if let Some(registry) = &connection.registry {
            let _ = registry.shutdown(Shutdown::Both);
        }
        ended
    }

    fn serve_all(&mut self, from: &mut BufReader<TcpStream>) -> io::Result<()> {
        let mut answers = None;
        while let Some(head) = Head::read(from)? {
            let fault = {
                let mut rules = lock(&self.shared.rules);
                rules
                    .iter_mut()
                    .find_map(|rule| rule.takes(&head).then(|| rule.fault.clone()))
            };
            let number = self.note(&head);
            self.count_up(head.bytes().len())?;
            if let Some(Fault::Answer(status, headers, body)) = &fault {
                pump(from, head.request_body(), &mut |bytes| {
                    self.count_up(bytes.len())
                })?;
                let headers: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                self.answered(number, *status);
                answer(&mut self.client, *status, &headers, body)?;
                continue;
            }
            if self.registry.is_none() {
                let registry = TcpStream::connect(&self.shared.upstream)?;
                registry.set_nodelay(true)?;
                answers = Some(BufReader::with_capacity(64 * 1024, registry.try_clone()?));
                self.registry = Some(registry);
            }
            self.send(from, &head, fault.as_ref())?;
            let Some(answers) = &mut answers else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            if !self.receive(answers, &head, fault, number)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Passes a request on.
    fn send(
        &mut self,
        from: &mut impl BufRead,
        head: &Head,
        fault: Option<&Fault>,
    ) -> io::Result<()> {
        let Some(mut registry) = self
            .registry
            .as_ref()
            .map(TcpStream::try_clone)
            .transpose()?
        else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let cut = match fault {
            Some(Fault::CutUp(bytes)) => *bytes,
            _ => u64::MAX,
        };
        registry.write_all(&head.bytes())?;
        let mut passed = 0;
        pump(from, head.request_body(), &mut |bytes| {
            let limit = self.left_up().min(cut - passed);
            let count = bytes
                .len()
                .min(usize::try_from(limit).unwrap_or(usize::MAX));
            passed += count as u64;
            registry.write_all(&bytes[..count])?;
            self.count_up(count)?;
            if count < bytes.len() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Ok(())
        })
    }

    /// Passes an answer back; false when the connection ends with it.
    fn receive(
        &mut self,
        answers: &mut impl BufRead,
        asked: &Head,
        fault: Option<Fault>,
        number: usize,
    ) -> io::Result<bool> {
        let Some(mut head) = Head::read(answers)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let framing = head.answer_body(asked.method());
        self.answered(number, head.status());
        let mut shaping = Shaping::of(fault, &mut head);
        let bytes = head.bytes();
        self.pass_down(&bytes)?;
        if let Some(body) = shaping.body.take() {
            pump(answers, framing, &mut |_| Ok(()))?;
            self.pass_down(&body)?;
            return Ok(true);
        }
        pump(answers, framing, &mut |bytes| shaping.pass(self, bytes))?;
        let closes = head
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(framing != Framing::UntilClose && !closes && !shaping.lies)
    }

    fn note(&self, head: &Head) -> usize {
        let mut seen = lock(&self.shared.seen);
        seen.push(Seen {
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            range: head.header("range").map(str::to_owned),
            authorization: head.header("authorization").map(str::to_owned),
            status: 0,
        });
        seen.len() - 1
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(seen) = lock(&self.shared.seen).get_mut(number) {
            seen.status = status;
        }
    }

    fn left_up(&self) -> u64 {
        let limit = self.shared.cut_every.load(Ordering::SeqCst);
        limit.saturating_sub(self.up)
    }

    fn count_up(&mut self, count: usize) -> io::Result<()> {
        self.up += count as u64;
        self.shared.up.fetch_add(count as u64, Ordering::SeqCst);
        if self.left_up() == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn pass_down(&mut self, bytes: &[u8]) -> io::Result<()> {
        let limit = self.shared.cut_every.load(Ordering::SeqCst);
        let left = limit.saturating_sub(self.down);
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.client.write_all(&bytes[..count])?;
        self.down += count as u64;
        self.shared.down.fetch_add(count as u64, Ordering::SeqCst);
        if count < bytes.len() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// What is done to the body of one answer.
struct Shaping {
    cut: u64,
    stall: u64,
    flip: Option<u64>,
    drip: Option<u64>,
    body: Option<Vec<u8>>,
    lies: bool,
    passed: u64,
}

impl Shaping {
    /// Reads the fault, and does to the head what it says.
    fn of(fault: Option<Fault>, head: &mut Head) -> Self {
        let mut shaping = Self {
            cut: u64::MAX,
            stall: u64::MAX,
            flip: None,
            drip: None,
            body: None,
            lies: false,
            passed: 0,
        };
        match fault {
            Some(Fault::CutDown(bytes)) => shaping.cut = bytes,
            Some(Fault::Stall(bytes)) => shaping.stall = bytes,
            Some(Fault::Flip(offset)) => shaping.flip = Some(offset),
            Some(Fault::Drip(rate)) => shaping.drip = Some(rate.max(1)),
            Some(Fault::Header(name, value)) => head.set(&name, &value),
            Some(Fault::Body(body)) => {
                head.headers
                    .retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
                head.set("Content-Length", &body.len().to_string());
                shaping.body = Some(body);
            }
            Some(Fault::LieLength(by)) => {
                let length = head
                    .header("content-length")
                    .and_then(|value| value.parse().ok());
                let length: u64 = length.unwrap_or(0);
                head.set(
                    "Content-Length",
                    &length.saturating_add_signed(by).to_string(),
                );
                shaping.lies = true;
            }
            Some(Fault::Answer(..) | Fault::CutUp(_)) | None => {}
        }
        shaping
    }

    fn pass(&mut self, connection: &mut Connection<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut own;
        let mut bytes = bytes;
        let start = self.passed;
        if let Some(at) = self.flip
            && (start..start + bytes.len() as u64).contains(&at)
        {
            own = bytes.to_vec();
            let index = usize::try_from(at - start).unwrap_or(0);
            own[index] ^= 1;
            bytes = &own;
        }
        let limit = self.cut.min(self.stall) - start;
        let count = bytes
            .len()
            .min(usize::try_from(limit).unwrap_or(usize::MAX));
        self.passed += count as u64;
        self.send(connection, &bytes[..count])?;
        if self.passed >= self.cut {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.passed >= self.stall {
            wait_for_end(connection);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn send(&self, connection: &mut Connection<'_>, bytes: &[u8]) -> io::Result<()> {
        let Some(rate) = self.drip else {
            return connection.pass_down(bytes);
        };
        // Twenty drops a second at the least.
        let drop = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
        for part in bytes.chunks(drop) {
            connection.pass_down(part)?;
            let nanoseconds = part.len() as u64 * 1_000_000_000 / rate;
            std::thread::sleep(Duration::from_nanos(nanoseconds));
        }
        Ok(())
    }
}

/// Waits until the proxy closes or the client leaves.
fn wait_for_end(connection: &Connection<'_>) {
    let closing = lock(&connection.shared.closing).clone();
    let _ = connection
        .client
        .set_read_timeout(Some(Duration::from_millis(100)));
    let mut byte = [0];
    while !closing
        .as_ref()
        .is_some_and(|closing| closing.load(Ordering::SeqCst))
    {
        match connection.client.peek(&mut byte) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curl;
    use crate::http::read_body;

    /// A server whose every answer is what the request's body was, or 100000 bytes.
    fn echo() -> Listener {
        Listener::start(|stream| {
            let mut from = BufReader::new(&stream);
            while let Ok(Some(head)) = Head::read(&mut from) {
                let mut body = read_body(&mut from, head.request_body()).unwrap_or_default();
                if body.is_empty() {
                    body = vec![b'x'; 100_000];
                }
                if answer(&mut &stream, 200, &[], &body).is_err() {
                    return;
                }
            }
        })
        .unwrap()
    }

    fn with(rule: Rule) -> (Listener, FaultProxy, String) {
        let server = echo();
        let proxy = FaultProxy::start(&server.host()).unwrap();
        proxy.rule(rule);
        let url = format!("http://{}/blobs/x", proxy.host());
        (server, proxy, url)
    }

    #[test]
    fn what_has_no_rule_passes_and_is_counted() {
        let (_server, proxy, url) = with(Rule::new("GET", "/manifests/", status(500)));
        assert_eq!(curl::body(&[&url, &url]).unwrap().len(), 200_000);
        assert_eq!(curl::body(&["-d", "hello", &url]).unwrap(), b"hello");
        let traffic = proxy.traffic();
        assert!((200_005..201_000).contains(&traffic.down), "{traffic:?}");
        assert!((5..1000).contains(&traffic.up), "{traffic:?}");
        assert_eq!(proxy.count("GET", "/blobs/"), 2);
        assert_eq!(proxy.requests()[2].status, 200);
    }

    #[test]
    fn the_first_requests_are_refused() {
        let headers = vec![("Retry-After".to_owned(), "1".to_owned())];
        let fault = Fault::Answer(429, headers, b"{}".to_vec());
        let (_server, _proxy, url) = with(Rule::new("", "/blobs/", fault).after(1).times(2));
        for expected in ["200", "429", "429", "200"] {
            assert_eq!(curl::status(&[&url]).unwrap(), expected);
        }
    }

    #[test]
    fn answers_are_cut_changed_and_lied_about() {
        let (_server, proxy, url) = with(Rule::new("", "", Fault::CutDown(70_000)).times(1));
        assert!(curl::body(&[&url]).is_err());
        assert!((70_000..71_000).contains(&proxy.traffic().down));
        let (_server, _proxy, url) = with(Rule::new("", "", Fault::Flip(99_999)));
        let body = curl::body(&[&url]).unwrap();
        assert_eq!(
            (body.len(), body[0], body[99_999]),
            (100_000, b'x', b'x' ^ 1)
        );
        let (_server, _proxy, url) = with(Rule::new("", "", Fault::Body(b"other".to_vec())));
        assert_eq!(curl::body(&[&url]).unwrap(), b"other");
        let (_server, _proxy, url) = with(Rule::new("", "", Fault::LieLength(10)));
        assert!(curl::body(&[&url]).is_err(), "ten bytes never come");
        let (_server, _proxy, url) = with(Rule::new("", "", Fault::LieLength(-10)));
        assert_eq!(curl::body(&[&url]).unwrap().len(), 99_990);
    }

    #[test]
    fn requests_are_cut() {
        let (_server, proxy, url) = with(Rule::new("POST", "", Fault::CutUp(3)).times(1));
        assert!(curl::body(&["-d", "hello", &url]).is_err());
        assert_eq!(curl::body(&["-d", "hello", &url]).unwrap(), b"hello");
        assert_eq!(proxy.requests()[0].status, 0);
    }

    #[test]
    fn connections_bear_so_much_and_no_more() {
        let server = echo();
        let proxy = FaultProxy::start(&server.host()).unwrap();
        proxy.cut_every(150_000);
        let url = format!("http://{}/", proxy.host());
        assert!(curl::body(&[&url, &url]).is_err(), "the second is cut");
        assert_eq!(proxy.traffic().down, 150_000);
        let body = "y".repeat(160_000);
        let file = crate::scratch::Scratch::new("proxy").unwrap();
        std::fs::write(file.join("body"), body).unwrap();
        let data = format!("@{}", file.join("body").display());
        proxy.reset();
        proxy.cut_every(150_000);
        assert!(curl::body(&["--data-binary", &data, &url]).is_err());
        assert_eq!(proxy.traffic().up, 150_000);
    }

    #[test]
    fn a_stalled_answer_stays_open() {
        let (_server, proxy, url) = with(Rule::new("", "", Fault::Stall(1000)));
        let start = std::time::Instant::now();
        assert!(curl::body(&["-m", "1", &url]).is_err());
        assert!(start.elapsed() > Duration::from_millis(900));
        assert!(proxy.traffic().down < 2000);
        let (_server, _proxy, url) = with(Rule::new("", "", Fault::Drip(200_000)));
        let start = std::time::Instant::now();
        assert_eq!(curl::body(&[&url]).unwrap().len(), 100_000);
        assert!(start.elapsed() > Duration::from_millis(400));
    }
}

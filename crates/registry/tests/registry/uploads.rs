//! Uploads: the requests they are made of, cuts, registries that remember and registries that forget.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cooper_registry::{Access, BodySource, NewBlob, RegistryError, Uploaded};
use model::Digest;

use crate::fixture::{Setup, content, words};
use crate::server::{Exchange, Server};

/// What happens to the next request with content.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The connection ends after so many bytes.
    Cut(u64),
    /// A reply before the content was read.
    Early(&'static str),
    /// Nothing is read or answered for a while.
    Stall,
    /// The content is taken, the reply is lost.
    LoseReply,
}

#[derive(Clone, Copy, PartialEq)]
enum Memory {
    /// Tells its offset after a cut.
    Keeps,
    /// Forgets an upload that was cut.
    Forgets,
    /// Tells more than it was sent.
    Boasts,
}

/// A registry that takes one upload at a time into `stored`.
struct Taker {
    server: Server,
    stored: Arc<Mutex<Vec<u8>>>,
}

impl Taker {
    fn new(memory: Memory, faults: &[Fault]) -> Self {
        let faults = Mutex::new(faults.to_vec());
        let stored: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (taken, session) = (Arc::clone(&stored), Mutex::new(0));
        let server = Server::http(move |exchange| {
            let mut stored = taken.lock().unwrap();
            let mut session = session.lock().unwrap();
            let here = format!("/up/{session}?_state=a%2Fb&x=1");
            let mine = exchange
                .target
                .starts_with(&format!("/up/{session}?_state=a%2Fb&x=1"));
            let next = || {
                let mut faults = faults.lock().unwrap();
                if faults.is_empty() {
                    Fault::None
                } else {
                    faults.remove(0)
                }
            };
            match exchange.method.as_str() {
                "GET" if exchange.target == "/v2/" => exchange.reply("200 OK", &[], b""),
                "HEAD" if exchange.path().ends_with(Digest::sha256(&stored).as_str()) => {
                    exchange.reply(
                        "200 OK",
                        &[("Content-Length", &stored.len().to_string())],
                        b"",
                    );
                }
                "HEAD" => exchange.reply("404 Not Found", &[], b""),
                "POST" => {
                    assert_eq!(exchange.header("content-length"), Some("0"));
                    *session += 1;
                    stored.clear();
                    exchange.reply(
                        "202 Accepted",
                        &[("Location", &format!("/up/{session}?_state=a%2Fb&x=1"))],
                        b"",
                    );
                }
                "PATCH" if mine => {
                    patch(exchange, &mut stored, next(), &here, memory, &mut session);
                }
                "GET" if mine => {
                    let has = stored.len()
                        + if memory == Memory::Boasts {
                            1_000_000_000
                        } else {
                            0
                        };
                    exchange.reply(
                        "204 No Content",
                        &[
                            ("Location", &here),
                            ("Range", &format!("0-{}", has.saturating_sub(1))),
                        ],
                        b"",
                    );
                }
                "PUT" if mine => {
                    let digest = Digest::sha256(&stored).to_string().replace(':', "%3A");
                    if !exchange.target.ends_with(&format!("&digest={digest}")) {
                        exchange.reply(
                            "400 Bad Request",
                            &[],
                            b"{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}",
                        );
                    } else if next() == Fault::LoseReply {
                        *session += 1;
                        exchange.close();
                    } else {
                        exchange.reply("201 Created", &[], b"");
                    }
                }
                _ => exchange.reply(
                    "404 Not Found",
                    &[],
                    b"{\"errors\":[{\"code\":\"BLOB_UPLOAD_UNKNOWN\"}]}",
                ),
            }
        });
        Self { server, stored }
    }

    /// Uploads content of which everything is known.
    fn take(&self, blob: &[u8], digest: &Digest) -> Result<Uploaded, RegistryError> {
        let setup = Setup::new(&self.server.host());
        self.upload(&setup, &known(blob, digest), &mut &*blob)
    }

    fn upload(
        &self,
        setup: &Setup,
        blob: &NewBlob,
        body: &mut dyn BodySource,
    ) -> Result<Uploaded, RegistryError> {
        setup.repository(Access::Push).upload(blob, body)
    }
}

fn patch(
    exchange: &mut Exchange<'_>,
    stored: &mut Vec<u8>,
    fault: Fault,
    here: &str,
    memory: Memory,
    session: &mut i32,
) {
    assert_eq!(
        exchange.header("content-type"),
        Some("application/octet-stream")
    );
    if let Some(range) = exchange.header("content-range") {
        assert!(
            range.starts_with(&format!("{}-", stored.len())),
            "{range} {}",
            stored.len()
        );
    }
    match fault {
        Fault::None | Fault::LoseReply => {
            stored.extend(exchange.body());
            exchange.reply(
                "202 Accepted",
                &[
                    ("Location", here),
                    ("Range", &format!("0-{}", stored.len().saturating_sub(1))),
                ],
                b"",
            );
        }
        Fault::Cut(after) => {
            stored.extend(exchange.body_up_to(after));
            if memory == Memory::Forgets {
                *session += 1;
            }
            exchange.close();
        }
        Fault::Early(status) => {
            let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"full\"}]}";
            let length = body.len().to_string();
            exchange.head(
                status,
                &[("Content-Length", &length), ("Connection", "close")],
            );
            exchange.raw(body.as_bytes());
            // As servers do that want their reply to be read: what still comes is thrown away for a while.
            exchange.body_up_to(50_000_000);
            exchange.close();
        }
        Fault::Stall => {
            std::thread::sleep(Duration::from_secs(2));
            exchange.close();
        }
    }
}

fn known(blob: &[u8], digest: &Digest) -> NewBlob {
    NewBlob {
        digest: Some(digest.clone()),
        size: Some(blob.len() as u64),
    }
}

/// The lines of a log with the digest and the number of the upload shortened.
fn short(taker: &Taker, digest: &Digest) -> Vec<String> {
    let escaped = digest.as_str().replace(':', "%3A");
    let lines = taker.server.lines().into_iter();
    lines
        .map(|line| {
            line.replace(&escaped, "D")
                .replace("?_state=a%2Fb&x=1", "?S")
                .replace("/v2/a/tiny/blobs/uploads/", "NEW")
        })
        .collect()
}

const LENGTH: usize = 5_000_000;

#[test]
fn a_blob_is_one_request_with_content() {
    let (blob, digest) = content(LENGTH);
    for (size, length) in [(Some(LENGTH as u64), Some("5000000")), (None, None)] {
        for digest_known in [true, false] {
            let taker = Taker::new(Memory::Keeps, &[]);
            let setup = Setup::new(&taker.server.host());
            let new = NewBlob {
                digest: digest_known.then(|| digest.clone()),
                size,
            };
            let uploaded = taker.upload(&setup, &new, &mut &blob[..]).unwrap();
            assert_eq!(
                (uploaded.digest, uploaded.size),
                (digest.clone(), LENGTH as u64)
            );
            assert!(*taker.stored.lock().unwrap() == blob);
            assert_eq!(
                short(&taker, &digest),
                ["POST NEW", "PATCH /up/1?S", "PUT /up/1?S&digest=D"]
            );
            let patch = taker
                .server
                .seen()
                .into_iter()
                .find(|seen| seen.method == "PATCH")
                .unwrap();
            assert_eq!(patch.header("content-length"), length);
            assert_eq!(patch.header("content-range"), None);
            assert_eq!(setup.told(), Vec::<String>::new());
        }
    }
}

#[test]
fn an_empty_blob_is_uploaded() {
    let digest = Digest::sha256(b"");
    for size in [Some(0), None] {
        let taker = Taker::new(Memory::Keeps, &[]);
        let new = NewBlob { digest: None, size };
        let uploaded = taker
            .upload(&Setup::new(&taker.server.host()), &new, &mut &b""[..])
            .unwrap();
        assert_eq!((uploaded.digest, uploaded.size), (digest.clone(), 0));
    }
}

#[test]
fn a_cut_upload_goes_on_from_the_registrys_offset() {
    let (blob, digest) = content(LENGTH);
    for new in [
        known(&blob, &digest),
        NewBlob {
            digest: None,
            size: Some(LENGTH as u64),
        },
        NewBlob::default(),
    ] {
        let taker = Taker::new(
            Memory::Keeps,
            &[Fault::Cut(2_000_000), Fault::Cut(0), Fault::Cut(1_000_000)],
        );
        let setup = Setup::new(&taker.server.host());
        let uploaded = taker.upload(&setup, &new, &mut &blob[..]).unwrap();
        assert_eq!(uploaded.digest, digest);
        assert!(*taker.stored.lock().unwrap() == blob);
        let expected = [
            "POST NEW",
            "PATCH /up/1?S",
            "GET /up/1?S",
            "PATCH /up/1?S",
            "GET /up/1?S",
            "PATCH /up/1?S",
            "GET /up/1?S",
            "PATCH /up/1?S",
            "PUT /up/1?S&digest=D",
        ];
        assert_eq!(short(&taker, &digest), expected);
        let ranges: Vec<_> = taker
            .server
            .seen()
            .iter()
            .filter_map(|seen| seen.header("content-range").map(str::to_owned))
            .collect();
        let known_size = new.size.is_some();
        assert_eq!(
            ranges,
            if known_size {
                vec!["2000000-4999999", "2000000-4999999", "3000000-4999999"]
            } else {
                vec![]
            }
        );
        assert_eq!(setup.told().len(), 3);
        assert!(
            setup.told()[2].ends_with("going on at byte 3000000…"),
            "{:?}",
            setup.told()
        );
    }
}

#[test]
fn a_registry_that_forgets_gets_pieces() {
    let (blob, digest) = content(LENGTH);
    let taker = Taker::new(Memory::Forgets, &[Fault::Cut(4_000_000)]);
    let setup = Setup::new(&taker.server.host());
    let repository = setup.repository(Access::Push);
    repository
        .upload(&known(&blob, &digest), &mut &blob[..])
        .unwrap();
    assert!(*taker.stored.lock().unwrap() == blob);
    let lines = short(&taker, &digest);
    assert_eq!(
        &lines[..4],
        ["POST NEW", "PATCH /up/1?S", "GET /up/1?S", "POST NEW"]
    );
    let pieces: Vec<_> = taker
        .server
        .seen()
        .into_iter()
        .filter(|seen| seen.header("content-range").is_some())
        .collect();
    assert!(pieces.len() >= 3, "{lines:?}");
    assert!(
        pieces
            .iter()
            .all(|piece| piece.header("connection") == Some("close"))
    );
    // The other uploads to the same registry know it from the start.
    repository
        .upload(&known(&blob, &digest), &mut &blob[..])
        .unwrap();
    assert_eq!(short(&taker, &digest).len() - lines.len(), 2 + pieces.len());
}

#[test]
fn requests_that_are_too_large_become_smaller() {
    let (blob, digest) = content(40_000_000);
    let taker = Taker::new(Memory::Keeps, &[Fault::Early("413 Too Large")]);
    let setup = Setup::new(&taker.server.host());
    setup
        .repository(Access::Push)
        .upload(&known(&blob, &digest), &mut &blob[..])
        .unwrap();
    assert!(*taker.stored.lock().unwrap() == blob);
    let lengths: Vec<_> = taker
        .server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-length").unwrap().to_owned())
        .collect();
    assert_eq!(lengths, ["40000000", "16777216", "16777216", "6445568"]);
}

#[test]
fn uploads_end_with_the_reason() {
    let (blob, digest) = content(LENGTH);
    let check = |memory: Memory, faults: &[Fault], expected: &str, retryable: bool| {
        let taker = Taker::new(memory, faults);
        let started = Instant::now();
        let error = taker.take(&blob, &digest).unwrap_err();
        assert!(
            words(&error).starts_with(expected),
            "{faults:?} {}",
            words(&error)
        );
        assert_eq!(error.is_retryable(), retryable, "{}", words(&error));
        assert!(started.elapsed() < Duration::from_secs(20));
    };
    check(
        Memory::Keeps,
        &[Fault::Early("403 Forbidden")],
        "uploading layer chunked: denied: full",
        false,
    );
    check(
        Memory::Keeps,
        &[Fault::Cut(0); 9],
        "uploading layer chunked: cut 6 times without progress, at byte 0: Patch \"http",
        true,
    );
    check(
        Memory::Forgets,
        &[Fault::Cut(100); 9],
        "uploading layer chunked: cut 6 times without progress, at byte 0: Patch \"http",
        true,
    );
    check(
        Memory::Boasts,
        &[Fault::Cut(100)],
        "uploading layer chunked: the registry has 1000000100 bytes of an upload of which",
        false,
    );
    let wrong = content(7).1;
    let taker = Taker::new(Memory::Keeps, &[]);
    let error = taker.take(&blob, &wrong).unwrap_err();
    let expected = format!(
        "uploading layer to http://{}/up/1: provided digest did not match uploaded content",
        taker.server.host()
    );
    assert_eq!(words(&error), expected);
}

#[test]
fn a_large_upload_is_refused_before_it_was_sent() {
    // More than fits into the buffers of both sides, so that the refusal meets content under way.
    let (blob, digest) = content(60_000_000);
    let taker = Taker::new(Memory::Keeps, &[Fault::Early("403 Forbidden")]);
    let error = taker.take(&blob, &digest).unwrap_err();
    assert_eq!(words(&error), "uploading layer chunked: denied: full");
}

#[test]
fn a_stalled_upload_goes_on() {
    let (blob, digest) = content(60_000_000);
    let taker = Taker::new(Memory::Keeps, &[Fault::Stall]);
    let setup = Setup::new(&taker.server.host());
    taker
        .upload(&setup, &known(&blob, &digest), &mut &blob[..])
        .unwrap();
    assert!(*taker.stored.lock().unwrap() == blob);
    assert!(
        setup.told()[0].contains("no byte for 0.6 s"),
        "{:?}",
        setup.told()
    );
}

#[test]
fn a_lost_last_reply_is_no_failure() {
    let (blob, digest) = content(LENGTH);
    let taker = Taker::new(Memory::Keeps, &[Fault::None, Fault::LoseReply]);
    taker.take(&blob, &digest).unwrap();
    let lines = taker.server.lines();
    assert!(lines.last().unwrap().starts_with("HEAD "), "{lines:?}");
}

/// Content that is not what it was announced to be, or can be read once only.
struct Odd {
    bytes: Vec<u8>,
    fails_at: Option<usize>,
    opened: bool,
}

impl BodySource for Odd {
    fn open(&mut self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        if std::mem::replace(&mut self.opened, true) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "can be read once",
            ));
        }
        assert_eq!(offset, 0);
        match self.fails_at {
            None => Ok(Box::new(&self.bytes[..])),
            Some(at) => Ok(Box::new(self.bytes[..at].chain(Broken))),
        }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("disk on fire"))
    }
}

#[test]
fn wrong_content_is_not_uploaded() {
    let (bytes, digest) = content(LENGTH);
    let check =
        |announced: Option<u64>, fails_at: Option<usize>, faults: &[Fault], expected: &str| {
            let taker = Taker::new(Memory::Keeps, faults);
            let new = NewBlob {
                digest: Some(digest.clone()),
                size: announced,
            };
            let mut body = Odd {
                bytes: bytes.clone(),
                fails_at,
                opened: false,
            };
            let error = taker
                .upload(&Setup::new(&taker.server.host()), &new, &mut body)
                .unwrap_err();
            assert_eq!(
                words(&error),
                format!("uploading layer chunked: {expected}")
            );
            assert!(
                !taker
                    .server
                    .lines()
                    .iter()
                    .any(|line| line.starts_with("PUT"))
            );
        };
    let length = LENGTH as u64;
    check(
        Some(length + 1),
        None,
        &[],
        "content has a wrong size: expected 5000001 bytes, got 5000000",
    );
    check(
        Some(length - 1),
        None,
        &[],
        "content has a wrong size: expected 4999999 bytes, got 5000000",
    );
    check(
        Some(length),
        Some(3_000_000),
        &[],
        "cannot read the content to upload at byte 2883584: disk on fire",
    );
    check(
        None,
        Some(3_000_000),
        &[],
        "cannot read the content to upload at byte 2883584: disk on fire",
    );
    check(
        None,
        None,
        &[Fault::Cut(1000)],
        "cannot read the content to upload at byte 1000: can be read once",
    );
}

#[test]
fn blobs_are_mounted_or_not() {
    let check = |status: &'static str, expected: bool, requests: &[&str]| {
        let server = Server::http(move |exchange| match exchange.method.as_str() {
            "GET" => exchange.reply("200 OK", &[], b""),
            "POST" => exchange.reply(status, &[("Location", "/up/9?x=y")], b""),
            _ => exchange.reply("204 No Content", &[], b""),
        });
        let digest = Digest::sha256(b"x");
        let mounted = Setup::new(&server.host())
            .repository(Access::Push)
            .mount(&digest, "b/other")
            .unwrap();
        assert_eq!(mounted, expected);
        let lines: Vec<_> = server
            .lines()
            .iter()
            .map(|line| line.replace(digest.hex(), "D"))
            .collect();
        assert_eq!(lines, requests);
    };
    let post = "POST /v2/a/tiny/blobs/uploads/?from=b%2Fother&mount=sha256%3AD";
    check("201 Created", true, &[post]);
    check("202 Accepted", false, &[post, "DELETE /up/9?x=y"]);
}

//! Several uploads at once to a registry of which nothing is known yet.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cooper_registry::{Access, NewBlob, Repository};
use model::Digest;

use crate::fixture::{Setup, content};
use crate::server::{Exchange, Server};

/// How long anything may take, on a machine that has much else to do.
const WAIT: Duration = Duration::from_secs(60);

/// What a registry does with the first request that brings content.
type First = dyn Fn(&mut Exchange<'_>, &Crowd) + Send + Sync;

/// What came to a registry that takes many uploads at once and remembers none that was cut.
#[derive(Default)]
struct Crowd {
    uploads: AtomicUsize,
    /// Requests with content that have begun.
    patches: AtomicUsize,
    finished: AtomicUsize,
    bytes: AtomicU64,
    /// What was wrong.
    wrong: Mutex<Vec<String>>,
}

impl Crowd {
    fn server(self: &Arc<Self>, first: Arc<First>) -> Server {
        let crowd = Arc::clone(self);
        Server::http(move |exchange| crowd.answer(exchange, &*first))
    }

    fn answer(&self, exchange: &mut Exchange<'_>, first: &First) {
        let here = exchange.path().to_owned();
        match exchange.method.as_str() {
            "POST" => {
                let number = self.uploads.fetch_add(1, Ordering::SeqCst);
                let location = format!("/up/{number}");
                exchange.reply("202 Accepted", &[("Location", &location)], b"");
            }
            "PATCH" if self.patches.fetch_add(1, Ordering::SeqCst) == 0 => first(exchange, self),
            "PATCH" => self.take(exchange),
            "PUT" => {
                self.finished.fetch_add(1, Ordering::SeqCst);
                exchange.reply("201 Created", &[], b"");
            }
            "GET" if here == "/v2/" => exchange.reply("200 OK", &[], b""),
            _ => exchange.reply("404 Not Found", &[], b""),
        }
    }

    fn take(&self, exchange: &mut Exchange<'_>) {
        let here = exchange.path().to_owned();
        self.bytes
            .fetch_add(exchange.body().len() as u64, Ordering::SeqCst);
        exchange.reply("202 Accepted", &[("Location", &here)], b"");
    }

    /// Waits until a counter has got somewhere.
    fn wait(&self, counter: &AtomicUsize, least: usize) {
        let start = Instant::now();
        while counter.load(Ordering::SeqCst) < least {
            if start.elapsed() > WAIT {
                let text = format!("{} of {least}", counter.load(Ordering::SeqCst));
                self.wrong.lock().unwrap().push(text);
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}

fn upload(repository: &Repository, (blob, digest): &(Vec<u8>, Digest), size_known: bool) {
    let new = NewBlob {
        digest: Some(digest.clone()),
        size: size_known.then_some(blob.len() as u64),
    };
    repository.upload(&new, &mut &blob[..]).unwrap();
}

#[test]
fn a_cut_meets_one_upload_only() {
    const LENGTH: usize = 12_000_000;
    const CUT: u64 = 6_000_000;
    let crowd = Arc::new(Crowd::default());
    let server = crowd.server(Arc::new(|exchange, crowd| {
        let got = exchange.body_up_to(CUT).len() as u64;
        crowd.bytes.fetch_add(got, Ordering::SeqCst);
        // Time enough for the others to begin, if they did.
        std::thread::sleep(Duration::from_millis(300));
        if crowd.patches.load(Ordering::SeqCst) != 1 {
            crowd.wrong.lock().unwrap().push("not alone".to_owned());
        }
        exchange.close();
    }));
    let repository = Setup::new(&server.host()).repository(Access::Push);
    let blob = content(LENGTH);
    std::thread::scope(|scope| {
        for size_known in [true, false, true] {
            let (repository, blob) = (&repository, &blob);
            scope.spawn(move || upload(repository, blob, size_known));
        }
    });
    assert_eq!(crowd.wrong(), Vec::<String>::new());
    let bytes = crowd.bytes.load(Ordering::SeqCst);
    assert_eq!(bytes, CUT + 3 * LENGTH as u64);
    let seen = server.seen();
    let mut patches = seen.iter().filter(|seen| seen.method == "PATCH").skip(1);
    assert!(patches.all(|piece| piece.header("connection") == Some("close")));
}

#[test]
fn small_uploads_wait_for_nobody() {
    for size_known in [true, false] {
        let crowd = Arc::new(Crowd::default());
        let server = crowd.server(Arc::new(|exchange, crowd| {
            crowd.wait(&crowd.finished, 1);
            crowd.take(exchange);
        }));
        let repository = Setup::new(&server.host()).repository(Access::Push);
        let (large, small) = (content(3_000_000), content(1_000_000));
        std::thread::scope(|scope| {
            scope.spawn(|| upload(&repository, &large, true));
            crowd.wait(&crowd.patches, 1);
            upload(&repository, &small, size_known);
        });
        assert_eq!(crowd.wrong(), Vec::<String>::new());
    }
}

#[test]
fn the_others_follow_once_enough_has_come_through() {
    const LENGTH: usize = 135_000_000;
    let crowd = Arc::new(Crowd::default());
    let server = crowd.server(Arc::new(|exchange, crowd| {
        let here = exchange.path().to_owned();
        exchange.body_up_to(LENGTH as u64);
        crowd.wait(&crowd.finished, 1);
        exchange.reply("202 Accepted", &[("Location", &here)], b"");
    }));
    let repository = Setup::new(&server.host()).repository(Access::Push);
    let (first, second) = (content(LENGTH), content(5_000_000));
    std::thread::scope(|scope| {
        scope.spawn(|| upload(&repository, &first, true));
        crowd.wait(&crowd.patches, 1);
        upload(&repository, &second, false);
    });
    assert_eq!(crowd.wrong(), Vec::<String>::new());
}

//! Downloads that are cut, continued, lied about, kept and resumed.

use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use cooper_registry::{Access, Partials, RegistryError};
use model::Digest;
use testkit::scratch::Scratch;

use crate::fixture::{Setup, content, words};
use crate::server::{Exchange, Server};

/// How one answer to a request for a blob behaves.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// As asked.
    Good,
    /// As asked, but the connection ends after so many bytes.
    Cut(usize),
    /// Everything from the start, whatever was asked.
    Whole,
    /// From the start, cut after so many bytes.
    WholeCut(usize),
    /// As asked, without a length, until the connection ends.
    Unsized,
    /// In chunks, and so many bytes too many.
    Longer(usize),
    /// A range that is off by one.
    WrongRange,
    /// As asked, then silence.
    Stall(usize),
    /// As asked, in small pieces with pauses that add up to more than the stall limit.
    Drip,
    /// A status.
    Status(&'static str),
    /// As asked, with one bit changed.
    Flip,
    /// The right content, with a length that is off by one.
    ShortLength,
}

fn range_start(exchange: &Exchange<'_>) -> Option<usize> {
    exchange
        .header("range")?
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

fn partial_head(exchange: &mut Exchange<'_>, start: Option<usize>, total: usize) {
    let Some(start) = start else {
        exchange.head("200 OK", &[("Content-Length", &total.to_string())]);
        return;
    };
    let range = format!("bytes {start}-{}/{total}", total - 1);
    exchange.head(
        "206 Partial Content",
        &[
            ("Content-Length", &(total - start).to_string()),
            ("Content-Range", &range),
        ],
    );
}

fn answer(exchange: &mut Exchange<'_>, blob: &[u8], turn: Turn) {
    let start = range_start(exchange);
    let rest = &blob[start.unwrap_or(0)..];
    match turn {
        Turn::Good => {
            partial_head(exchange, start, blob.len());
            exchange.raw(rest);
        }
        Turn::Cut(after) => {
            partial_head(exchange, start, blob.len());
            exchange.raw(&rest[..after.min(rest.len())]);
            exchange.close();
        }
        Turn::Whole => exchange.reply("200 OK", &[], blob),
        Turn::WholeCut(after) => {
            partial_head(exchange, None, blob.len());
            exchange.raw(&blob[..after]);
            exchange.close();
        }
        Turn::Unsized => {
            exchange.head("200 OK", &[("Connection", "close")]);
            exchange.raw(rest);
            exchange.close();
        }
        Turn::Longer(by) => {
            exchange.head("200 OK", &[("Transfer-Encoding", "chunked")]);
            exchange.raw(format!("{:x}\r\n", blob.len() + by).as_bytes());
            exchange.raw(blob);
            exchange.raw(&vec![0; by]);
            exchange.raw(b"\r\n0\r\n\r\n");
        }
        Turn::WrongRange => {
            let start = start.unwrap_or(0) + 1;
            partial_head(exchange, Some(start), blob.len());
            exchange.raw(&blob[start..]);
        }
        Turn::Stall(after) => {
            partial_head(exchange, start, blob.len());
            exchange.raw(&rest[..after]);
            std::thread::sleep(Duration::from_secs(2));
            exchange.close();
        }
        Turn::Drip => {
            partial_head(exchange, start, blob.len());
            for piece in rest.chunks(rest.len().div_ceil(8)) {
                exchange.raw(piece);
                std::thread::sleep(Duration::from_millis(150));
            }
        }
        Turn::Status(status) => exchange.reply(status, &[], b""),
        Turn::Flip => {
            let mut wrong = rest.to_vec();
            wrong[rest.len() / 2] ^= 1;
            partial_head(exchange, start, blob.len());
            exchange.raw(&wrong);
        }
        Turn::ShortLength => exchange.reply("200 OK", &[], &blob[..blob.len() - 1]),
    }
}

/// A registry with one blob that takes its turns, the last one again and again.
fn serve(blob: Vec<u8>, turns: Vec<Turn>) -> Server {
    let turns = Mutex::new(turns);
    Server::http(move |exchange| {
        if exchange.target == "/v2/" {
            exchange.reply("200 OK", &[], b"");
            return;
        }
        let turn = {
            let mut turns = turns.lock().unwrap();
            if turns.len() > 1 {
                turns.remove(0)
            } else {
                turns[0]
            }
        };
        answer(exchange, &blob, turn);
    })
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    let seen = server
        .seen()
        .into_iter()
        .filter(|seen| seen.target != "/v2/");
    seen.map(|seen| seen.header("range").map(str::to_owned))
        .collect()
}

fn fail(error: &std::io::Error) -> &RegistryError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("reading fails with the registry's error")
}

const LENGTH: usize = 3_000_000;

/// Downloads with each way of knowing the size; `expected`: the error's end, or the ranges asked for.
fn check(turns: &[Turn], expected: Result<&[&str], &str>) {
    let (blob, digest) = content(LENGTH);
    for size in [Some(LENGTH as u64), None] {
        let server = serve(blob.clone(), turns.to_vec());
        let setup = Setup::new(&server.host());
        let mut bytes = Vec::new();
        let outcome = setup
            .repository(Access::Pull)
            .download(&digest, size, None)
            .map_err(|error| words(&error))
            .and_then(|mut download| {
                download
                    .read_to_end(&mut bytes)
                    .map_err(|error| words(fail(&error)))
            });
        match (outcome, expected) {
            (Ok(_), Ok(asked)) => {
                assert!(bytes == blob, "{turns:?}");
                let found = ranges(&server);
                let found: Vec<&str> = found
                    .iter()
                    .map(|range| range.as_deref().unwrap_or(""))
                    .collect();
                assert_eq!(found, asked, "{turns:?}");
                assert_eq!(setup.told().len(), asked.len() - 1, "{:?}", setup.told());
            }
            (Err(text), Err(end)) => {
                let start = format!("fetching blob {digest} from {}/a/tiny: ", server.host());
                assert!(
                    text.starts_with(&start) && text.ends_with(end),
                    "{turns:?} {text}"
                );
            }
            (found, _) => panic!("{turns:?}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn cut_downloads_go_on_where_they_were() {
    check(&[Turn::Good], Ok(&[""]));
    check(
        &[Turn::Cut(1_000_000), Turn::Good],
        Ok(&["", "bytes=1000000-"]),
    );
    check(&[Turn::Cut(0), Turn::Good], Ok(&["", ""]));
    check(
        &[Turn::Cut(1), Turn::Cut(1_000_000), Turn::Cut(5), Turn::Good],
        Ok(&["", "bytes=1-", "bytes=1000001-", "bytes=1000006-"]),
    );
    let many = [Turn::Cut(300_000); 11];
    let starts: Vec<String> = (0..10)
        .map(|number| format!("bytes={}-", number * 300_000))
        .collect();
    let mut asked: Vec<&str> = starts.iter().map(String::as_str).collect();
    asked[0] = "";
    check(&many, Ok(&asked));
    check(
        &[Turn::Cut(1_000_000), Turn::Status("503 Busy"), Turn::Good],
        Ok(&["", "bytes=1000000-", "bytes=1000000-"]),
    );
    check(
        &[Turn::Stall(1_000_000), Turn::Good],
        Ok(&["", "bytes=1000000-"]),
    );
}

#[test]
fn servers_without_ranges_are_put_up_with() {
    check(
        &[Turn::Cut(1_000_000), Turn::Whole],
        Ok(&["", "bytes=1000000-"]),
    );
    check(
        &[
            Turn::Cut(1_000_000),
            Turn::WholeCut(500_000),
            Turn::WholeCut(2_000_000),
            Turn::Whole,
        ],
        Ok(&["", "bytes=1000000-", "bytes=1000000-", "bytes=2000000-"]),
    );
    check(&[Turn::Unsized], Ok(&[""]));
    check(&[Turn::Drip], Ok(&[""]));
}

#[test]
fn downloads_that_do_not_move_on_end() {
    let cut = "cut 5 times without progress, at byte 1000000: Get \"http://HOST/v2/a/tiny/blobs/DIGEST\": unexpected EOF";
    let (_, digest) = content(LENGTH);
    let end = cut.split_once("http").unwrap().0;
    let (blob, _) = content(LENGTH);
    let server = serve(blob, vec![Turn::Cut(1_000_000), Turn::Cut(0)]);
    let mut download = Setup::new(&server.host())
        .repository(Access::Pull)
        .download(&digest, None, None)
        .unwrap();
    let error = download.read_to_end(&mut Vec::new()).unwrap_err();
    let text = words(fail(&error));
    assert!(text.contains(end) && fail(&error).is_retryable(), "{text}");
    assert_eq!(ranges(&server).len(), 6);
    // After its error a download stays broken.
    assert!(download.read(&mut [0; 8]).is_err());
}

#[test]
fn lies_are_noticed() {
    check(
        &[Turn::Cut(1_000_000), Turn::WrongRange],
        Err(
            "the continued download starts at a wrong place: wanted byte 1000000, got \"bytes 1000001-2999999/3000000\"",
        ),
    );
    check(
        &[Turn::Cut(1_000_000), Turn::Status("404 Gone")],
        Err("StatusCode: 404, \"\""),
    );
    check(
        &[Turn::Cut(1_000_000), Turn::Status("416 No")],
        Err("the continued download starts at a wrong place: wanted byte 1000000, got \"\""),
    );
    check(
        &[Turn::Status("206 Partial Content")],
        Err("the continued download starts at a wrong place: wanted byte 0, got \"\""),
    );
    check(
        &[Turn::Status("500 Broken")],
        Err("received unexpected HTTP status: 500 Broken"),
    );
    let (mut blob, digest) = content(LENGTH);
    blob[LENGTH / 2] ^= 1;
    let wrong = format!(
        "content does not match its digest: expected {digest}, got {}",
        Digest::sha256(&blob)
    );
    check(&[Turn::Flip], Err(&wrong));
}

#[test]
fn sizes_are_checked() {
    let (blob, digest) = content(LENGTH);
    let check = |turn: Turn, size: u64, expected: &str| {
        let server = serve(blob.clone(), vec![turn]);
        let outcome = Setup::new(&server.host())
            .repository(Access::Pull)
            .download(&digest, Some(size), None)
            .map_err(|error| words(&error))
            .and_then(|mut download| {
                download
                    .read_to_end(&mut Vec::new())
                    .map_err(|error| words(fail(&error)))
            });
        let text = outcome.unwrap_err();
        assert!(text.ends_with(expected), "{turn:?} {text}");
    };
    let length = LENGTH as u64;
    check(
        Turn::Good,
        length + 1,
        "content has a wrong size: expected 3000001 bytes, got 3000000",
    );
    check(
        Turn::Good,
        length - 1,
        "content has a wrong size: expected 2999999 bytes, got 3000000",
    );
    check(
        Turn::ShortLength,
        length,
        "content has a wrong size: expected 3000000 bytes, got 2999999",
    );
    check(
        Turn::Longer(0),
        length - 1,
        "expected 2999999 bytes, got 3000000",
    );
    check(
        Turn::Unsized,
        length - 1,
        "expected 2999999 bytes, got 3000000",
    );
    // Bytes behind the end are refused even when those before it are right.
    let server = serve(blob.clone(), vec![Turn::Longer(7)]);
    let mut download = Setup::new(&server.host())
        .repository(Access::Pull)
        .download(&digest, Some(length), None)
        .unwrap();
    let error = download.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(
        words(fail(&error)).contains("content has a wrong size: expected 3000000 bytes, got"),
        "{}",
        words(fail(&error))
    );
}

#[test]
fn an_empty_blob_is_a_blob() {
    for size in [Some(0), None] {
        let server = serve(Vec::new(), vec![Turn::Good]);
        let mut download = Setup::new(&server.host())
            .repository(Access::Pull)
            .download(&Digest::sha256(b""), size, None)
            .unwrap();
        assert_eq!(download.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}

/// Downloads into a folder of partial blobs; returns the content or the error, and the ranges asked for.
fn with_partials(
    partials: &Partials,
    turns: &[Turn],
    size: Option<u64>,
) -> (Result<Vec<u8>, String>, Vec<Option<String>>) {
    let (blob, digest) = content(LENGTH);
    let server = serve(blob, turns.to_vec());
    let mut bytes = Vec::new();
    let mut download = Setup::new(&server.host())
        .repository(Access::Pull)
        .download(&digest, size, Some(partials))
        .unwrap();
    let outcome = download
        .read_to_end(&mut bytes)
        .map_err(|error| words(fail(&error)));
    (outcome.map(|_| bytes), ranges(&server))
}

fn file_of(scratch: &Scratch) -> std::path::PathBuf {
    scratch
        .join("kept")
        .join(content(LENGTH).1.as_str().replace(':', "-"))
}

const FAILS: [Turn; 2] = [Turn::Cut(1_000_000), Turn::Status("404 Gone")];

#[test]
fn what_was_downloaded_is_kept_for_the_next_run() {
    let scratch = Scratch::new("registry-partial").unwrap();
    let partials = Partials::new(&scratch.join("kept"));
    let (blob, digest) = content(LENGTH);
    for size in [Some(LENGTH as u64), None] {
        assert!(with_partials(&partials, &FAILS, size).0.is_err());
        assert_eq!(
            std::fs::metadata(file_of(&scratch)).unwrap().len(),
            1_000_000
        );
        // A second failure adds to it, a server without ranges does no harm.
        let (outcome, asked) = with_partials(
            &partials,
            &[Turn::WholeCut(1_500_000), Turn::Status("404 Gone")],
            size,
        );
        assert!(
            outcome.is_err() && asked[0].as_deref() == Some("bytes=1000000-"),
            "{asked:?}"
        );
        let (outcome, asked) = with_partials(&partials, &[Turn::Good], size);
        assert!(outcome.unwrap() == blob);
        assert_eq!(asked, [Some("bytes=1500000-".to_owned())]);
        // The whole blob is there: the registry is asked for nothing, or for what is behind the end.
        let (outcome, asked) = with_partials(&partials, &[Turn::Status("416 No")], size);
        match size {
            Some(_) => assert!(outcome.unwrap() == blob && asked.is_empty()),
            None => assert!(outcome.is_err()),
        }
        partials.forget(&digest);
        assert_eq!(std::fs::read_dir(scratch.join("kept")).unwrap().count(), 0);
    }
}

#[test]
fn a_damaged_part_is_not_used() {
    let (blob, _) = content(LENGTH);
    let check = |damage: &dyn Fn(&std::path::Path), expected: Option<&str>| {
        let scratch = Scratch::new("registry-damage").unwrap();
        let partials = Partials::new(&scratch.join("kept"));
        assert!(with_partials(&partials, &FAILS, None).0.is_err());
        damage(&file_of(&scratch));
        let (outcome, asked) = with_partials(&partials, &[Turn::Good], Some(LENGTH as u64));
        assert!(outcome.unwrap() == blob);
        assert_eq!(asked, [expected.map(str::to_owned)]);
    };
    let mark = |path: &std::path::Path| {
        path.with_file_name(format!(
            "{}.mark",
            path.file_name().unwrap().to_str().unwrap()
        ))
    };
    let change = |path: &std::path::Path, bytes: &[u8]| std::fs::write(path, bytes).unwrap();
    check(&|_| {}, Some("bytes=1000000-"));
    check(&|path| change(path, &[0; 1_000_000]), None);
    check(&|path| change(path, &content(999_999).0), None);
    check(&|path| change(path, b""), None);
    check(&|path| std::fs::remove_file(mark(path)).unwrap(), None);
    check(&|path| change(&mark(path), b"nonsense"), None);
    check(&|path| change(&mark(path), &[b'9'; 1000]), None);
    check(&|path| std::fs::remove_file(path).unwrap(), None);
    // Bytes behind the mark were not vouched for.
    check(
        &|path| change(path, &content(1_000_008).0),
        Some("bytes=1000000-"),
    );
    // A mark whose bytes are right is believed whoever wrote it; the digest of the whole decides in the end.
    let longer = |path: &std::path::Path| {
        let (bytes, digest) = content(LENGTH + 8);
        change(path, &bytes);
        change(
            &mark(path),
            format!("{:020} {digest}\n", bytes.len()).as_bytes(),
        );
    };
    check(&longer, None);
}

#[test]
fn a_wrong_part_with_a_right_mark_costs_one_attempt() {
    let scratch = Scratch::new("registry-wrong").unwrap();
    let partials = Partials::new(&scratch.join("kept"));
    assert!(with_partials(&partials, &FAILS, None).0.is_err());
    let path = file_of(&scratch);
    let wrong = vec![7; 1_000_000];
    std::fs::write(&path, &wrong).unwrap();
    let mark = format!("{:020} {}\n", wrong.len(), Digest::sha256(&wrong));
    std::fs::write(
        path.with_file_name(format!(
            "{}.mark",
            path.file_name().unwrap().to_str().unwrap()
        )),
        mark,
    )
    .unwrap();
    let (outcome, _) = with_partials(&partials, &[Turn::Good], None);
    assert!(
        outcome
            .unwrap_err()
            .contains("content does not match its digest")
    );
    let (outcome, asked) = with_partials(&partials, &[Turn::Good], None);
    assert!(outcome.is_ok() && asked == [None]);
}

#[test]
fn settled_downloads_leave_nothing_and_dropped_ones_leave_their_part() {
    let scratch = Scratch::new("registry-settle").unwrap();
    let partials = Partials::new(&scratch.join("kept"));
    let (blob, digest) = content(LENGTH);
    let server = serve(blob.clone(), vec![Turn::Good]);
    let repository = Setup::new(&server.host()).repository(Access::Pull);
    let begin = || {
        repository
            .download(&digest, Some(LENGTH as u64), Some(&partials))
            .unwrap()
    };
    let mut download = begin();
    download.read_to_end(&mut Vec::new()).unwrap();
    assert!(file_of(&scratch).exists());
    download.settle();
    assert!(!file_of(&scratch).exists());
    let mut download = begin();
    download.read_exact(&mut [0; 100_000]).unwrap();
    // While one download has the part, another one of the same blob does without.
    let mut bytes = Vec::new();
    begin().read_to_end(&mut bytes).unwrap();
    assert!(bytes == blob);
    drop(download);
    let kept = || std::fs::metadata(file_of(&scratch)).is_ok_and(|data| data.len() > 0);
    assert!(kept());
    let small = content(1000);
    let server = serve(small.0, vec![Turn::Good]);
    let repository = Setup::new(&server.host()).repository(Access::Pull);
    repository
        .download(&small.1, Some(1000), Some(&partials))
        .unwrap()
        .read_to_end(&mut Vec::new())
        .unwrap();
    assert_eq!(
        std::fs::read_dir(scratch.join("kept")).unwrap().count(),
        2,
        "small blobs are not worth keeping"
    );
}

#[test]
fn parts_are_reaped_by_age() {
    let scratch = Scratch::new("registry-reap").unwrap();
    let partials = Partials::new(&scratch.join("kept"));
    assert!(
        partials
            .reap(Duration::ZERO, SystemTime::now())
            .unwrap()
            .is_empty()
    );
    assert!(with_partials(&partials, &FAILS, None).0.is_err());
    let foreign = scratch.join("kept/notes.txt");
    std::fs::write(&foreign, "mine").unwrap();
    let day = Duration::from_secs(24 * 3600);
    assert!(partials.reap(day, SystemTime::now()).unwrap().is_empty());
    let later = SystemTime::now() + 2 * day;
    let held = std::fs::File::open(file_of(&scratch)).unwrap();
    held.lock().unwrap();
    assert!(
        partials.reap(day, later).unwrap().is_empty(),
        "what is in use stays"
    );
    drop(held);
    assert!(!partials.reap(day, later).unwrap().is_empty());
    let left: Vec<_> = std::fs::read_dir(scratch.join("kept"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [foreign]);
}

#[test]
fn a_folder_that_cannot_be_written_keeps_nobody_from_downloading() {
    let scratch = Scratch::new("registry-nofolder").unwrap();
    std::fs::write(scratch.join("kept"), "a file").unwrap();
    let (outcome, _) = with_partials(
        &Partials::new(&scratch.join("kept")),
        &[Turn::Cut(1_000_000), Turn::Good],
        None,
    );
    assert!(outcome.unwrap() == content(LENGTH).0);
}

#[test]
fn external_blobs_are_fetched_from_their_addresses() {
    let (blob, digest) = content(LENGTH);
    let store = serve(blob.clone(), vec![Turn::Cut(1_000_000), Turn::Good]);
    let empty = Server::http(|exchange| exchange.reply("404 Not Found", &[], b"no"));
    let setup = Setup::new("registry.example.com").basic("u", "p");
    let repository = setup.repository(Access::Pull);
    let address = |server: &Server| format!("http://{}/layer", server.host());
    let urls = [
        "file:///etc/passwd".to_owned(),
        address(&empty),
        address(&store),
    ];
    let mut bytes = Vec::new();
    repository
        .download_from(&urls, &digest, None, None)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert!(bytes == blob);
    let error = repository
        .download_from(&urls[..2], &digest, None, None)
        .err()
        .unwrap();
    assert_eq!(
        words(&error),
        format!(
            "fetching blob {digest} from registry.example.com/a/tiny: failed fetching external blob from all urls: StatusCode: 404, \"no\""
        )
    );
    assert!(
        store
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[test]
fn dropping_a_download_ends_it_at_once() {
    let scratch = Scratch::new("registry-drop").unwrap();
    let partials = Partials::new(&scratch.join("kept"));
    let (blob, digest) = content(LENGTH);
    // (how the reply behaves, how much is read before the drop)
    for (turns, read) in [
        (vec![Turn::Good], 0),
        (vec![Turn::Stall(1_000_000)], 1_000_000),
        (vec![Turn::Cut(1_000_000), Turn::Stall(0)], 1_000_000),
    ] {
        let server = serve(blob.clone(), turns);
        let mut setup = Setup::new(&server.host());
        setup.options.retry.first_delay = Duration::from_secs(60);
        setup.options.retry.max_delay = Duration::from_secs(60);
        let repository = setup.repository(Access::Pull);
        let begin = || {
            repository
                .download(&digest, Some(LENGTH as u64), Some(&partials))
                .unwrap()
        };
        let mut download = begin();
        download.read_exact(&mut vec![0; read]).unwrap();
        let started = std::time::Instant::now();
        drop(download);
        assert!(started.elapsed() < Duration::from_secs(20));
        // What was kept is unlocked again.
        let held = std::fs::File::open(file_of(&scratch)).unwrap();
        held.try_lock().unwrap();
        assert!(held.metadata().unwrap().len() >= read as u64);
        partials.forget(&digest);
        drop(held);
        partials.forget(&digest);
    }
}

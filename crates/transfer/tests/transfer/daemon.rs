//! `docker-daemon:`: a real daemon, and made-up ones that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use cooper_transfer::CopyOptions;
use model::ManifestFormat;
use testkit::daemon::Daemon;

use crate::support::{Image, Scratch, failure};

/// Answers one connection after the other with these bytes and hands over the first lines of the requests.
fn fake(scratch: &Scratch, replies: Vec<Vec<u8>>) -> (PathBuf, Receiver<String>) {
    let socket = scratch.path("fake.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let (told, requests) = channel();
    std::thread::spawn(move || {
        for reply in replies {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let line = serve(&stream, &reply);
            let _ = told.send(line);
        }
    });
    (socket, requests)
}

fn serve(mut stream: &UnixStream, reply: &[u8]) -> String {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut chunked = false;
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding");
        line.clear();
    }
    // A daemon that refuses does so before it has read everything.
    if chunked && reply.starts_with(b"HTTP/1.1 200") {
        let mut body = Vec::new();
        let mut piece = [0; 4096];
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            match reader.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => body.extend_from_slice(&piece[..count]),
            }
        }
    }
    let _ = stream.write_all(reply);
    first.trim().to_owned()
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn options(scratch: &Scratch, socket: PathBuf) -> CopyOptions {
    CopyOptions {
        docker_socket: socket,
        ..scratch.options()
    }
}

#[test]
fn daemons_that_refuse_or_lie_are_quoted() {
    let scratch = Scratch::new();
    let noise: Vec<u8> = (0..2_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    Image::new(ManifestFormat::Docker, "linux/amd64", &[&noise])
        .write_layout(&scratch.path("a"), None);
    let ping = || reply("200 OK", "Api-Version: 1.41\r\n", b"OK");
    let (push, pull) = (
        ("oci:@/a", "docker-daemon:x:1"),
        ("docker-daemon:x:1", "dir:@/out"),
    );
    for ((from, to), second, expected) in [
        (
            pull,
            reply("404 Not Found", "", br#"{"message":"No such image: x:1"}"#),
            "cannot read `docker-daemon:x:1`: Error response from daemon: No such image: x:1",
        ),
        (
            pull,
            reply("500 No", "", b"<html>\x1b[31m"),
            "Error response from daemon: status 500: <html> [31m",
        ),
        (pull, reply("200 OK", "", b"no archive"), "as an archive"),
        (
            pull,
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec(),
            "unexpected end",
        ),
        (
            pull,
            b"garbage\r\n".to_vec(),
            "the reply is not HTTP: it has no status",
        ),
        (pull, Vec::new(), "the reply is not HTTP: it is empty"),
        (
            push,
            reply(
                "200 OK",
                "",
                br#"{"stream":"a"}{"errorDetail":{"message":"no space"},"error":"x"}"#,
            ),
            "cannot write `docker-daemon:x:1`: Error response from daemon: no space",
        ),
        (
            push,
            reply("507 Full", "", br#"{"message":"the disk is full"}"#),
            "Error response from daemon: the disk is full",
        ),
    ] {
        let (socket, requests) = fake(&scratch, vec![ping(), second]);
        let error = failure(scratch.copy_with(from, to, None, &options(&scratch, socket)));
        assert!(error.contains(expected), "{from}: {error}");
        assert_eq!(requests.recv().unwrap(), "GET /_ping HTTP/1.1");
        let asked = requests.recv().unwrap();
        let wanted = match from {
            "oci:@/a" => "POST /v1.41/images/load?quiet=1 HTTP/1.1",
            _ => "GET /v1.41/images/get?names=x%3A1 HTTP/1.1",
        };
        assert_eq!(asked, wanted);
    }
    let nowhere = options(&scratch, scratch.path("nowhere.sock"));
    let error = failure(scratch.copy_with(push.0, push.1, None, &nowhere));
    assert!(error.contains("cannot connect to"), "{error}");
}

#[test]
fn destinations_need_a_tag() {
    let scratch = Scratch::new();
    Image::new(ManifestFormat::Docker, "linux/amd64", &[b"x"])
        .write_layout(&scratch.path("a"), None);
    let digest = format!("sha256:{}", "a".repeat(64));
    for text in [digest.clone(), format!("x@{digest}")] {
        let error = failure(scratch.copy("oci:@/a", &format!("docker-daemon:{text}"), None));
        let expected =
            format!("Invalid destination docker-daemon:{text}: a destination must be a name:tag");
        assert_eq!(error, expected);
    }
}

#[test]
fn peer_priv_what_goes_into_a_daemon_comes_out() {
    let daemon = Daemon::start().unwrap();
    let scratch = Scratch::new();
    let image = Image::new(
        ManifestFormat::Docker,
        "linux/amd64",
        &[b"one", b"two", b"one"],
    );
    image.write_layout(&scratch.path("a"), None);
    let options = options(&scratch, daemon.socket());
    let copy = |from: &str, to: &str| scratch.copy_with(from, to, None, &options);
    let sent = copy("oci:@/a", "docker-daemon:foo/bar:v2").unwrap();
    let id = sent.manifest.manifest().config.digest.clone();
    let inspected = daemon
        .docker(&[
            "image",
            "inspect",
            "--format",
            "{{.Id}} {{.RootFS.Layers}}",
            "foo/bar:v2",
        ])
        .unwrap();
    let inspected = String::from_utf8(inspected.stdout).unwrap();
    let layers: Vec<String> = image
        .config
        .rootfs
        .diff_ids
        .iter()
        .map(|id| id.0.to_string())
        .collect();
    assert_eq!(inspected.trim(), format!("{id} [{}]", layers.join(" ")));
    for from in [
        "docker-daemon:foo/bar:v2".to_owned(),
        format!("docker-daemon:{id}"),
    ] {
        let back = copy(&from, "dir:@/back").unwrap();
        assert_eq!(back.manifest.manifest().config.digest, id, "{from}");
    }
    let error = failure(copy("docker-daemon:nope:1", "dir:@/no"));
    assert!(error.contains("Error response from daemon"), "{error}");
    assert!(error.contains("nope:1"), "{error}");
}

//! COPY and ADD on directories: destination rules, metadata, filters, hostile trees, the memo, and
//! the same table against Debian's Buildah.
//!
//! A tree is written as lines: `d DIR [MODE]`, `f FILE [MODE] [=CONTENT]`, `l LINK TARGET`,
//! `p FIFO`, `s SOCKET`, `h NAME FIRST`. Modes are left out when they are 755 and 644.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use containerfile::{Chmod, IgnoreRules};
use cooper_builder::copy::{
    Applied, Chown, CopyError, CopyKind, CopyRequest, Destination, Gathered, Ignore, Layout, Memo,
    Origin, Source, SourceTree, Times, apply, gather,
};
use rustix::fs::{CWD, FileType, Mode};
use sys::Root;

#[path = "copy/digesting.rs"]
mod digesting;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let base = Path::new("/var/tmp/cooper-dev-builder");
        std::fs::create_dir_all(base).unwrap();
        Self(
            tempfile::Builder::new()
                .prefix("copy-")
                .tempdir_in(base)
                .unwrap()
                .keep(),
        )
    }

    fn sub(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Tests leave directories without rights behind.
        let _ = Command::new("chmod")
            .args(["-R", "u+rwx"])
            .arg(&self.0)
            .output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(base: &Path, lines: &[&str]) {
    let mut modes = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        let path = base.join(words.next().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rest: Vec<&str> = words.collect();
        let mode = rest
            .iter()
            .find_map(|word| u32::from_str_radix(word, 8).ok());
        match kind {
            "d" => std::fs::create_dir_all(&path).unwrap(),
            "f" => {
                let content = rest.iter().find_map(|word| word.strip_prefix('='));
                std::fs::write(&path, content.unwrap_or("")).unwrap();
            }
            "l" => {
                symlink(rest[0], &path).unwrap();
                continue;
            }
            "p" | "s" => {
                let kind = if kind == "p" {
                    FileType::Fifo
                } else {
                    FileType::Socket
                };
                rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), 0).unwrap();
            }
            "h" => std::fs::hard_link(base.join(rest[0]), &path).unwrap(),
            other => panic!("unknown kind {other}"),
        }
        let default = if kind == "d" { 0o755 } else { 0o644 };
        if kind != "h" {
            modes.push((path, mode.unwrap_or(default)));
        }
    }
    // The innermost first: what a directory holds is made before it is closed.
    for (path, mode) in modes.iter().rev() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// Writes a tree down in the same lines, sorted.
fn dump(base: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = HashMap::new();
    let mut stack = vec![base.to_owned()];
    let mut all = Vec::new();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if std::fs::symlink_metadata(&path).unwrap().is_dir() {
                stack.push(path.clone());
            }
            all.push(path);
        }
    }
    all.sort();
    for path in all {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path
            .strip_prefix(base)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let kind = meta.file_type();
        let mut line = String::new();
        let first = seen
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| name.clone())
            .clone();
        let (letter, default) = match () {
            () if kind.is_dir() => ('d', 0o755),
            () if kind.is_symlink() => ('l', 0o777),
            () if kind.is_fifo() => ('p', 0o644),
            () if kind.is_socket() => ('s', 0o644),
            () if first != name => ('h', meta.mode() & 0o7777),
            () => ('f', 0o644),
        };
        write!(line, "{letter} {name}").unwrap();
        if letter == 'h' {
            write!(line, " {first}").unwrap();
        }
        if meta.mode() & 0o7777 != default {
            write!(line, " {:o}", meta.mode() & 0o7777).unwrap();
        }
        if letter == 'l' {
            write!(line, " {}", std::fs::read_link(&path).unwrap().display()).unwrap();
        }
        if letter == 'f' && meta.len() > 0 {
            write!(
                line,
                " ={}",
                String::from_utf8_lossy(&std::fs::read(&path).unwrap())
            )
            .unwrap();
        }
        lines.push(line);
    }
    lines
}

fn me() -> Chown {
    Chown::Ids {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

/// Names the whole chain of causes.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        write!(text, ": {err}").unwrap();
        cause = err.source();
    }
    text
}

/// A request in the words of a Containerfile, without the tree.
struct Words {
    request: CopyRequest<'static>,
    origin: Origin,
}

fn words(line: &str) -> Words {
    let mut parts = line.split(' ');
    let kind = match parts.next() {
        Some("COPY") => CopyKind::Copy,
        _ => CopyKind::Add,
    };
    let mut request = CopyRequest {
        kind,
        tree: None,
        sources: Vec::new(),
        destination: OsString::new(),
        cwd: PathBuf::from("/"),
        excludes: IgnoreRules::default(),
        chown: Some(me()),
        chmod: None,
        layout: Layout::Flat,
        onto: Destination::Existing,
        times: Times::Kept {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        },
        privilege: archive::Privilege::Full,
    };
    let mut origin = Origin::Context;
    let mut excludes = Vec::new();
    let mut places = Vec::new();
    for part in parts {
        match part.split_once('=') {
            Some(("--chmod", mode)) => request.chmod = Some(Chmod::parse(mode).unwrap()),
            Some(("--chown", owner)) => request.chown = Some(owner.parse().unwrap()),
            Some(("--exclude", pattern)) => excludes.push(pattern.to_owned()),
            Some(("--cwd", cwd)) => request.cwd = PathBuf::from(cwd),
            _ if part == "--packed" => request.kind = CopyKind::AddPacked,
            _ if part == "--parents" => request.layout = Layout::Parents,
            _ if part == "--link" => request.onto = Destination::Fresh,
            _ if part == "--from" => origin = Origin::Image,
            _ if part == "--host" => origin = Origin::Host,
            _ => places.push(part),
        }
    }
    request.excludes = IgnoreRules::from_excludes(excludes.iter().map(String::as_str)).unwrap();
    request.destination = places.pop().unwrap().into();
    request.sources = places
        .iter()
        .map(|place| match place.strip_prefix("<<") {
            Some(name) => Source::Inline {
                name: name.into(),
                content: b"inline",
            },
            None => Source::Path(place.into()),
        })
        .collect();
    Words { request, origin }
}

fn gather_words(
    line: &str,
    context: &Path,
    ignore: Option<&str>,
    memo: Option<&Memo>,
) -> Result<Gathered, CopyError> {
    let Words {
        mut request,
        origin,
    } = words(line);
    let root = Root::open(context).unwrap();
    let rules = ignore.map(|text| IgnoreRules::parse(text.as_bytes()).unwrap());
    let ignore = rules.as_ref().map(|rules| Ignore {
        rules,
        file: Path::new("/ctx/.dockerignore"),
    });
    request.tree = Some(SourceTree {
        root: &root,
        shown: Path::new("/ctx"),
        origin,
        ignore,
    });
    gather(&request, memo)
}

fn copy(
    line: &str,
    context: &Path,
    target: &Path,
    ignore: Option<&str>,
) -> Result<Applied, CopyError> {
    let gathered = gather_words(line, context, ignore, None)?;
    apply(&gathered, &Root::open(target).unwrap())
}

/// What Buildah 1.28 does with the same case.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    /// The same.
    Same,
    /// It is known to differ (containerfile-semantics 19), or does not have the feature.
    Differs,
}

struct Case {
    context: &'static [&'static str],
    root: &'static [&'static str],
    line: &'static str,
    expected: Result<&'static [&'static str], &'static str>,
    peer: Peer,
}

const fn case(
    context: &'static [&'static str],
    root: &'static [&'static str],
    line: &'static str,
    expected: Result<&'static [&'static str], &'static str>,
    peer: Peer,
) -> Case {
    Case {
        context,
        root,
        line,
        expected,
        peer,
    }
}

const FILE: &[&str] = &["f a 640 =A"];
const FILES: &[&str] = &["f a =A", "f b =B", "f c.txt =C"];
const DIR: &[&str] = &["d d 700", "f d/x =X", "d d/sub 711", "f d/sub/y 600 =Y"];
const NOT_DIR: &str = "destination /t already exists but is not a directory";

/// The matrix of containerfile-semantics 9.3 and 9.4, and what 9.2, 9.5 to 9.9 add.
#[rustfmt::skip]
const CASES: &[Case] = &[
    // One file.
    case(FILE, &[], "COPY a /t", Ok(&["f t 640 =A"]), Peer::Same),
    case(FILE, &[], "COPY a /t/", Ok(&["d t", "f t/a 640 =A"]), Peer::Same),
    case(FILE, &[], "COPY a /t/.", Ok(&["d t", "f t/a 640 =A"]), Peer::Differs),
    case(FILE, &[], "COPY a /", Ok(&["f a 640 =A"]), Peer::Same),
    case(FILE, &[], "COPY a .", Ok(&["f a 640 =A"]), Peer::Same),
    case(FILE, &[], "COPY --cwd=/w/x a .", Ok(&["d w", "d w/x", "f w/x/a 640 =A"]), Peer::Differs),
    case(FILE, &[], "COPY --cwd=/w a b", Ok(&["d w", "f w/b 640 =A"]), Peer::Differs),
    case(FILE, &[], "COPY a /p/q/t", Ok(&["d p", "d p/q", "f p/q/t 640 =A"]), Peer::Same),
    case(FILE, &["d t 750"], "COPY a /t", Ok(&["d t 750", "f t/a 640 =A"]), Peer::Same),
    case(FILE, &["f t 600 =old"], "COPY a /t", Ok(&["f t 640 =A"]), Peer::Same),
    case(FILE, &["f t =old"], "COPY a /t/", Err("destination /t/ already exists but is not a directory"), Peer::Same),
    case(FILE, &["f p =old"], "COPY a /p/t", Err("cannot make directory `/p/t`: a parent of it is not a directory"), Peer::Differs),
    case(FILE, &["f t =old", "h u t"], "COPY a /t", Ok(&["f t 640 =A", "f u =old"]), Peer::Same),
    case(FILE, &["p t"], "COPY a /t", Ok(&["f t 640 =A"]), Peer::Differs),
    // One directory.
    case(DIR, &[], "COPY d /t", Ok(&["d t", "d t/sub 711", "f t/sub/y 600 =Y", "f t/x =X"]), Peer::Same),
    case(DIR, &[], "COPY d /t/", Ok(&["d t", "d t/sub 711", "f t/sub/y 600 =Y", "f t/x =X"]), Peer::Same),
    case(DIR, &[], "COPY d/ /", Ok(&["d sub 711", "f sub/y 600 =Y", "f x =X"]), Peer::Same),
    case(DIR, &["d t 700", "f t/x =old", "f t/z =Z", "f t/sub/y =old", "f t/sub/z =Z"], "COPY d /t", Ok(&["d t 700", "d t/sub 711", "f t/sub/y 600 =Y", "f t/sub/z =Z", "f t/x =X", "f t/z =Z"]), Peer::Same),
    case(DIR, &["f t"], "COPY d /t", Err(NOT_DIR), Peer::Same),
    case(DIR, &["d t/x", "f t/x/old"], "COPY d /t", Ok(&["d t", "d t/sub 711", "f t/sub/y 600 =Y", "f t/x =X"]), Peer::Same),
    case(DIR, &["f t/sub"], "COPY d /t", Err("cannot put a directory over `/t/sub`, which is not a directory"), Peer::Differs),
    case(&["d d"], &[], "COPY d /t", Ok(&["d t"]), Peer::Same),
    case(&["d d", "d d/e 700"], &[], "COPY d /t", Ok(&["d t", "d t/e 700"]), Peer::Same),
    case(FILES, &[], "COPY . /t", Ok(&["d t", "f t/a =A", "f t/b =B", "f t/c.txt =C"]), Peer::Same),
    case(FILES, &[], "COPY ../../.. /t", Ok(&["d t", "f t/a =A", "f t/b =B", "f t/c.txt =C"]), Peer::Differs),
    // Several.
    case(FILES, &[], "COPY a b /t/", Ok(&["d t", "f t/a =A", "f t/b =B"]), Peer::Same),
    case(FILES, &[], "COPY a b /t", Ok(&["d t", "f t/a =A", "f t/b =B"]), Peer::Same),
    case(FILES, &["f t"], "COPY a b /t", Err(NOT_DIR), Peer::Same),
    case(&["f a =A", "f d/a =D"], &[], "COPY a d/a /t/", Ok(&["d t", "f t/a =D"]), Peer::Same),
    case(&["f d/x =1", "f e/x =2", "f e/y =3"], &[], "COPY d e /t/", Ok(&["d t", "f t/x =2", "f t/y =3"]), Peer::Same),
    // Patterns.
    case(FILES, &[], "COPY *.txt /t", Ok(&["f t =C"]), Peer::Same),
    case(FILES, &[], "COPY [ab] /t/", Ok(&["d t", "f t/a =A", "f t/b =B"]), Peer::Same),
    case(FILES, &[], "COPY ? /t", Ok(&["d t", "f t/a =A", "f t/b =B"]), Peer::Differs),
    case(&["f d/1/x =1", "f d/2/y =2", "f z =Z"], &[], "COPY d/* /t/", Ok(&["d t", "f t/x =1", "f t/y =2"]), Peer::Same),
    case(&["f x.c =0", "f s/x.c =1", "f s/t/y.c =2"], &[], "COPY **/*.c /t/", Ok(&["d t", "f t/x.c =1", "f t/y.c =2"]), Peer::Differs),
    case(FILES, &[], "COPY *.go /t/", Err("checking on sources under \"/ctx\": no items matching glob \"/ctx/*.go\": no such file or directory"),
    Peer::Same),
    case(FILES, &[], "COPY [a /t/", Err("cannot read pattern \"[a\": syntax error in pattern"), Peer::Same),
    case(&["f a*b =star", "f axb =x"], &[], "COPY a\\*b /t", Ok(&["f t =star"]), Peer::Differs),
    // What is not there.
    case(FILES, &[], "COPY nofile /t", Err("checking on sources under \"/ctx\": copier: stat: \"/nofile\": no such file or directory"),
    Peer::Same),
    case(FILES, &[], "COPY a/b /t", Err("checking on sources under \"/ctx\": copier: stat: \"/a/b\": no such file or directory"),
    Peer::Same),
    // Links in the source.
    case(&["f a =A", "l s a"], &[], "COPY s /t/", Ok(&["d t", "f t/s =A"]), Peer::Same),
    case(&["f d/x =X", "l s d"], &[], "COPY s /t", Ok(&["d t", "f t/x =X"]), Peer::Same),
    case(&["f a =A", "l s /a"], &[], "COPY s /t", Ok(&["f t =A"]), Peer::Same),
    case(&["l s /etc/hostname"], &[], "COPY s /t", Err("checking on sources under \"/ctx\": copier: stat: \"/s\": no such file or directory"), Peer::Same),
    case(&["l s ../../../../etc/hostname"], &[], "COPY s /t", Err("checking on sources under \"/ctx\": copier: stat: \"/s\": no such file or directory"), Peer::Same),
    case(&["l d/s ../../../x", "l d/u nowhere"], &[], "COPY d /t", Ok(&["d t", "l t/s ../../../x", "l t/u nowhere"]), Peer::Same),
    case(&["f e/x =X", "l d e"], &[], "COPY d/x /t", Ok(&["f t =X"]), Peer::Same),
    // Special files and hard links.
    case(&["p d/p"], &[], "COPY d /t", Ok(&["d t", "p t/p"]), Peer::Same),
    case(&["s d/s"], &[], "COPY d /t", Ok(&["d t", "s t/s"]), Peer::Differs),
    case(&["f d/a =A", "h d/b d/a", "h d/e/c d/a"], &[], "COPY d /t", Ok(&["d t", "f t/a =A", "h t/b t/a", "d t/e", "h t/e/c t/a"]), Peer::Same),
    case(&["f a =A", "h b a"], &[], "COPY a b /t/", Ok(&["d t", "f t/a =A", "f t/b =A"]), Peer::Same),
    // Modes.
    case(&["f a 4755"], &[], "COPY a /t", Ok(&["f t 755"]), Peer::Differs),
    case(&["f a 4755"], &[], "COPY --host a /t", Ok(&["f t 4755"]), Peer::Same),
    case(&["f a 6755"], &[], "COPY --from a /t", Ok(&["f t 6755"]), Peer::Differs),
    case(&["f a 755"], &[], "COPY --chmod=4711 a /t", Ok(&["f t 4711"]), Peer::Same),
    case(DIR, &[], "COPY --chmod=0700 d /t", Ok(&["d t", "d t/sub 700", "f t/sub/y 700 =Y", "f t/x 700 =X"]), Peer::Same),
    case(DIR, &[], "COPY --chmod=u=rwX,go=rX d /t", Ok(&["d t", "d t/sub", "f t/sub/y =Y", "f t/x =X"]), Peer::Differs),
    case(&["d d 555", "f d/e/x 400", "d d/e 500"], &[], "COPY d /t", Ok(&["d t", "d t/e 500", "f t/e/x 400"]), Peer::Same),
    // Links at the destination.
    case(FILE, &["d real 700", "l t real"], "COPY a /t", Ok(&["d real 700", "f real/a 640 =A", "l t real"]), Peer::Same),
    case(FILE, &["d real 700", "l t /real"], "COPY a /t/n", Ok(&["d real 700", "f real/n 640 =A", "l t /real"]), Peer::Same),
    case(DIR, &["d real", "l t real"], "COPY d /t", Ok(&["d real", "d real/sub 711", "f real/sub/y 600 =Y", "f real/x =X", "l t real"]), Peer::Same),
    case(DIR, &["d real", "d t", "l t/sub ../real"], "COPY d /t", Ok(&["d real 711", "f real/y 600 =Y", "d t", "l t/sub ../real", "f t/x =X"]), Peer::Differs),
    case(FILE, &["f u =U", "l t u"], "COPY a /t", Ok(&["f t 640 =A", "f u =U"]), Peer::Same),
    case(FILE, &["l t /new/u"], "COPY a /t", Ok(&["d new", "f new/u 640 =A", "l t /new/u"]), Peer::Differs),
    case(FILE, &["l t u", "l u v"], "COPY a /t", Ok(&["l t u", "l u v", "f v 640 =A"]), Peer::Differs),
    case(FILE, &["l t ../../../../../u"], "COPY a /t/", Ok(&["l t ../../../../../u", "d u", "f u/a 640 =A"]), Peer::Same),
    case(FILE, &["l t t"], "COPY a /t", Err("destination `/t` passes through more than 40 symbolic links"), Peer::Differs),
    case(FILE, &["l t t"], "COPY a /t/", Err("destination `/t` passes through more than 40 symbolic links"), Peer::Differs),
    // A fresh destination.
    case(FILE, &["d real", "l t real"], "COPY --link a /t/", Ok(&["d real", "d t", "f t/a 640 =A"]), Peer::Differs),
    case(FILE, &["d real", "l t real"], "COPY --link a /t/n", Ok(&["d real", "d t", "f t/n 640 =A"]), Peer::Differs),
    case(FILE, &["d t 700", "f t/old"], "COPY --link a /t/n", Ok(&["d t 700", "f t/n 640 =A", "f t/old"]), Peer::Differs),
    case(DIR, &["d real", "l t/sub ../real"], "COPY --link d /t", Ok(&["d real", "d t", "d t/sub 711", "f t/sub/y 600 =Y", "f t/x =X"]), Peer::Differs),
    // --parents.
    case(&["f a/b/c.txt =C"], &[], "COPY --parents a/b/c.txt /x/", Ok(&["d x", "d x/a", "d x/a/b", "f x/a/b/c.txt =C"]), Peer::Differs),
    case(&["d x 700", "d x/a 710", "d x/a/y 711", "f x/a/y/1.txt =1", "f x/a/y/2.txt =2"], &[], "COPY --parents x/a/./y/*.txt /t", Ok(&["d t", "d t/y 711", "f t/y/1.txt =1", "f t/y/2.txt =2"]), Peer::Differs),
    case(&["d a/b 700", "f a/b/x =X"], &[], "COPY --parents a/b /t", Ok(&["d t", "d t/a", "d t/a/b 700", "f t/a/b/x =X"]), Peer::Differs),
    case(&["f a/1/x =1", "f a/2/x =2"], &[], "COPY --parents a/*/x /t", Ok(&["d t", "d t/a", "d t/a/1", "f t/a/1/x =1", "d t/a/2", "f t/a/2/x =2"]), Peer::Differs),
    case(FILE, &[], "COPY --parents a /t", Ok(&["d t", "f t/a 640 =A"]), Peer::Differs),
    // --exclude.
    case(&["f d/a.o", "f d/b.c =B", "f d/e/a.o", "f d/e/c.c"], &[], "COPY --exclude=*.o d /t", Ok(&["d t", "f t/b.c =B", "d t/e", "f t/e/a.o", "f t/e/c.c"]), Peer::Differs),
    case(&["f d/a.o", "f d/b.c =B", "f d/e/a.o"], &[], "COPY --exclude=**/*.o d /t", Ok(&["d t", "f t/b.c =B", "d t/e"]), Peer::Differs),
    case(&["f d/a.o"], &[], "COPY --exclude=* d /t", Err("no items matching glob \"/ctx/d\" copied (1 filtered out): no such file or directory"), Peer::Differs),
    case(FILES, &[], "COPY --exclude=a a b /t/", Err("no items matching glob \"/ctx/a\" copied (1 filtered out): no such file or directory"), Peer::Differs),
    // Heredocs.
    case(&[], &[], "COPY <<X /t", Ok(&["f t =inline"]), Peer::Differs),
    case(&[], &[], "COPY --chmod=600 <<X <<Y /t/", Ok(&["d t", "f t/X 600 =inline", "f t/Y 600 =inline"]), Peer::Differs),
    case(FILES, &[], "COPY <<a a /t/", Ok(&["d t", "f t/a =A"]), Peer::Differs),
    // Not supported, or wrong.
    case(FILES, &[], "COPY https://x/y /t", Err("source can't be a URL for COPY"), Peer::Differs),
    case(FILES, &[], "ADD https://x/y /t", Err("adding `https://x/y` is not supported yet: URL sources cannot be fetched"), Peer::Differs),
    case(FILES, &[], "ADD https://x/y.git /t", Err("adding `https://x/y.git` is not supported yet: git sources cannot be fetched"), Peer::Differs),
    case(FILES, &[], "ADD a /t", Ok(&["f t =A"]), Peer::Same),
];

#[test]
fn the_matrix() {
    let mut differences = Vec::new();
    for case in CASES {
        let at = Scratch::new();
        let (context, target) = (at.sub("context"), at.sub("target"));
        make(&context, case.context);
        make(&target, case.root);
        let got = copy(case.line, &context, &target, None)
            .map(|_| dump(&target))
            .map_err(|err| chain(&err));
        let expected = case.expected.map(|lines| {
            let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            lines.sort_by(|a, b| a[2..].split(' ').next().cmp(&b[2..].split(' ').next()));
            lines
        });
        let expected = expected.map_err(ToOwned::to_owned);
        if got != expected {
            differences.push(format!(
                "{} on {:?}:\n  got      {got:?}\n  expected {expected:?}",
                case.line, case.root
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn ignore_rules() {
    const TREE: &[&str] = &[
        "f a =A",
        "f a.log",
        "d dd 700",
        "f dd/x",
        "d dd/s 700",
        "f dd/s/2 =2",
        "f dd/s/3",
        "f k/y =Y",
    ];
    for (rules, line, expected) in [
        (
            "*.log\ndd",
            "COPY . /t",
            Ok(&["d t", "f t/a =A", "d t/k", "f t/k/y =Y"][..]),
        ),
        (
            "dd\n!dd/s/2",
            "COPY dd /t",
            Ok(&["d t", "d t/s", "f t/s/2 =2"]),
        ),
        (
            "dd\n!dd/s/2\nk\na*",
            "COPY . /t",
            Ok(&["d t", "d t/dd", "d t/dd/s", "f t/dd/s/2 =2"]),
        ),
        ("dd/**", "COPY dd /t", Ok(&["d t"])),
        ("**", "COPY . /t", Ok(&["d t"])),
        (
            "dd\n!dd/nothing",
            "COPY . /t",
            Ok(&["d t", "f t/a =A", "f t/a.log", "d t/k", "f t/k/y =Y"]),
        ),
        ("*.log", "COPY a* /t/", Ok(&["d t", "f t/a =A"])),
        (
            "*.log",
            "COPY a.log /t",
            Err(
                "no items matching glob \"/ctx/a.log\" copied (1 filtered out using /ctx/.dockerignore): no such file or directory",
            ),
        ),
        (
            "a*",
            "COPY a* /t/",
            Err(
                "no items matching glob \"/ctx/a*\" copied (2 filtered out using /ctx/.dockerignore): no such file or directory",
            ),
        ),
        (
            "dd",
            "COPY dd /t",
            Err(
                "no items matching glob \"/ctx/dd\" copied (1 filtered out using /ctx/.dockerignore): no such file or directory",
            ),
        ),
    ] {
        let at = Scratch::new();
        let (context, target) = (at.sub("context"), at.sub("target"));
        make(&context, TREE);
        let got = copy(line, &context, &target, Some(rules))
            .map(|_| dump(&target))
            .map_err(|err| chain(&err));
        let expected =
            expected.map(|lines| lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(got, expected.map_err(ToOwned::to_owned), "{rules:?} {line}");
    }
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn time(path: &Path) -> (i64, i64) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.mtime(), meta.mtime_nsec())
}

#[test]
fn times_and_attributes() {
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    make(
        &context,
        &["f d/x =X", "d d/sub", "f d/sub/y =Y", "l d/l x", "p d/p"],
    );
    let set = |path: &str, name: &str| {
        let file = std::fs::File::open(context.join(path)).unwrap();
        rustix::fs::fsetxattr(&file, name, b"v", rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("d/x", "user.one");
    set("d/x", "user.overlay.two");
    set("d/sub", "user.three");
    let old = [
        ("d/x", 11),
        ("d/sub/y", -5),
        ("d/l", 13),
        ("d/p", 14),
        ("d/sub", 15),
        ("d", 16),
    ];
    for (path, seconds) in old {
        set_time(&context.join(path), seconds, 123_456_789);
    }
    copy("COPY d /t", &context, &target, None).unwrap();
    for (path, seconds) in old {
        let copied = target.join(path.replacen('d', "t", 1));
        if path == "d" {
            assert!(time(&copied).0 > 1_600_000_000, "the top directory is new");
        } else {
            assert_eq!(time(&copied), (seconds, 123_456_789), "{path}");
        }
    }
    let names = |path: &str| {
        let root = Root::open(&target).unwrap();
        let handle = root.resolve(Path::new(path)).unwrap();
        sys::xattr::Node::Handle(std::os::fd::AsFd::as_fd(&handle))
            .list()
            .unwrap()
    };
    assert_eq!(names("t/x"), ["user.one"]);
    assert_eq!(names("t/sub"), ["user.three"]);
    assert_eq!(names("t/sub/y"), [""; 0]);

    let gathered = {
        let root = Root::open(&context).unwrap();
        let mut request = words("COPY <<H d /u/").request;
        request.times = Times::Fixed(77);
        request.tree = Some(SourceTree {
            root: &root,
            shown: Path::new("/ctx"),
            origin: Origin::Context,
            ignore: None,
        });
        gather(&request, None).unwrap()
    };
    apply(&gathered, &Root::open(&target).unwrap()).unwrap();
    for path in ["u", "u/x", "u/H", "u/sub", "u/sub/y", "u/l", "u/p"] {
        assert_eq!(time(&target.join(path)), (77, 0), "{path}");
    }
    copy("COPY <<H /h", &context, &target, None).unwrap();
    assert_eq!(time(&target.join("h")), (1_000_000_000, 0));
}

#[test]
fn names_are_bytes() {
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    let names: [&[u8]; 6] = [
        b"new\nline",
        b"blank blank",
        b"\xff\xfe",
        b"-dash",
        b"tab\t",
        b".wh.name",
    ];
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        std::fs::create_dir_all(context.join("d").join(name)).unwrap();
        std::fs::write(context.join("d").join(name).join(name), name.as_bytes()).unwrap();
        symlink(name, context.join("d").join(name).join("link")).unwrap();
    }
    copy("COPY d /t", &context, &target, None).unwrap();
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        let dir = target.join("t").join(name);
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), name.as_bytes());
        assert_eq!(std::fs::read_link(dir.join("link")).unwrap(), name);
    }
}

#[test]
fn deep_trees_and_the_limit() {
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    let deep = ["x"; 1500].join("/");
    // Deeper than one path can name.
    let build = |base: &Path, levels: usize| {
        let mut dir = rustix::fs::open(base, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&dir, "x", Mode::from_raw_mode(0o755)).unwrap();
            dir = rustix::fs::openat(&dir, "x", rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
        }
    };
    build(&context, 1500);
    let applied = copy("COPY . /t", &context, &target, None).unwrap();
    assert_eq!(applied.entries, 1500);
    assert!(
        Root::open(&target)
            .unwrap()
            .resolve(Path::new(&format!("t/{deep}")))
            .is_ok()
    );
    let beyond = at.sub("beyond");
    build(&beyond, 2100);
    let err = copy("COPY . /u", &beyond, &target, None).unwrap_err();
    assert!(
        matches!(err, CopyError::TooMany { limit: 4095, .. }),
        "{err}"
    );
}

#[test]
fn large_sparse_and_empty_files() {
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    let sizes = [
        0,
        1,
        4096,
        128 << 10,
        (128 << 10) + 1,
        512 << 10,
        (1 << 20) + 7,
        3 << 20,
    ];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        std::fs::write(context.join(size.to_string()), bytes).unwrap();
    }
    let sparse = std::fs::File::create(context.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 64 << 20).unwrap();
    copy("COPY . /t", &context, &target, None).unwrap();
    for size in sizes {
        let name = size.to_string();
        assert!(
            std::fs::read(context.join(&name)).unwrap()
                == std::fs::read(target.join("t").join(&name)).unwrap()
        );
    }
    let meta = std::fs::metadata(target.join("t/sparse")).unwrap();
    assert_eq!(meta.len(), (64 << 20) + 3);
    assert!(meta.blocks() * 512 < 1 << 20, "holes were filled");
}

#[test]
fn the_digest_covers_content_and_not_times() {
    type Change = fn(&Path);
    let base = ["d d", "f d/x =X", "f d/y =Y", "l d/l x", "d d/e"];
    let digest = |line: &str, change: Change| {
        let at = Scratch::new();
        let context = at.sub("context");
        make(&context, &base);
        change(&context);
        gather_words(line, &context, None, None)
            .unwrap()
            .history_word()
    };
    let same = digest("COPY d /t", |_| {});
    assert!(same.starts_with("dir:") && same.len() == 68, "{same}");
    let hits: [(&str, Change); 4] = [
        ("another destination", |_| {}),
        ("times", |dir| set_time(&dir.join("d/x"), 5, 5)),
        ("the same file made anew", |dir| {
            std::fs::remove_file(dir.join("d/x")).unwrap();
            make(dir, &["f d/x =X"]);
        }),
        ("mode of the source directory", |dir| {
            make(dir, &["d d 700"]);
        }),
    ];
    for (what, change) in hits {
        assert_eq!(digest("COPY d /other/", change), same, "{what}");
    }
    let misses: [(&str, Change); 10] = [
        ("content", |dir| make(dir, &["f d/x =Z"])),
        ("size", |dir| make(dir, &["f d/x =XX"])),
        ("mode", |dir| make(dir, &["f d/x 600 =X"])),
        ("mode of a directory", |dir| make(dir, &["d d/e 700"])),
        ("name", |dir| {
            std::fs::rename(dir.join("d/x"), dir.join("d/z")).unwrap();
        }),
        ("new entry", |dir| make(dir, &["d d/new"])),
        ("link target", |dir| {
            std::fs::remove_file(dir.join("d/l")).unwrap();
            make(dir, &["l d/l y"]);
        }),
        ("type", |dir| {
            std::fs::remove_dir(dir.join("d/e")).unwrap();
            make(dir, &["f d/e"]);
        }),
        ("hard link", |dir| {
            make(dir, &["f d/y =X"]);
            std::fs::remove_file(dir.join("d/y")).unwrap();
            make(dir, &["h d/y d/x"]);
        }),
        ("attribute", |dir| {
            let file = std::fs::File::open(dir.join("d/x")).unwrap();
            rustix::fs::fsetxattr(&file, "user.a", b"v", rustix::fs::XattrFlags::empty()).unwrap();
        }),
    ];
    for (what, change) in misses {
        assert_ne!(digest("COPY d /t", change), same, "{what}");
    }
    for line in [
        "COPY --chmod=700 d /t",
        "COPY --chown=5 d /t",
        "COPY --chown=user d /t",
        "COPY d d /t",
        "COPY --exclude=y d /t",
    ] {
        assert_ne!(digest(line, |_| {}), same, "{line}");
    }
    assert!(digest("COPY d/x /t", |_| {}).starts_with("file:"));
    assert!(digest("COPY <<X /t", |_| {}).starts_with("file:"));
    assert!(digest("COPY d/x d/y /t/", |_| {}).starts_with("multi:"));
    assert!(digest("COPY d/[xy] /t/", |_| {}).starts_with("multi:"));
}

/// Waits until what was just written is old enough to be remembered.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn the_memo_is_never_wrong() {
    let at = Scratch::new();
    let context = at.sub("context");
    let state = at.sub("state");
    make(&context, &["f d/x =one", "f d/y =two"]);
    let digest = |memo: Option<&Memo>| {
        gather_words("COPY d /t", &context, None, memo)
            .unwrap()
            .digest()
    };
    let fresh = || Memo::for_context(&state, &context);
    let files = || walk_files(&state);

    // Racy: nothing is remembered.
    let memo = fresh();
    let first = digest(Some(&memo));
    memo.save().unwrap();
    assert_eq!(
        files(),
        0,
        "files that were just written must not be remembered"
    );

    settle();
    let memo = fresh();
    assert_eq!(digest(Some(&memo)), first);
    memo.save().unwrap();
    assert_eq!(files(), 1);
    assert_eq!(digest(Some(&fresh())), first);

    // Same size, same modification time, other content.
    let kept = std::fs::metadata(context.join("d/x"))
        .unwrap()
        .modified()
        .unwrap();
    std::fs::write(context.join("d/x"), "uno").unwrap();
    std::fs::File::options()
        .write(true)
        .open(context.join("d/x"))
        .unwrap()
        .set_modified(kept)
        .unwrap();
    let changed = digest(Some(&fresh()));
    assert_ne!(changed, first);
    assert_eq!(changed, digest(None));
    // Back again, and another inode under the same name.
    std::fs::write(context.join("new"), "one").unwrap();
    std::fs::rename(context.join("new"), context.join("d/x")).unwrap();
    assert_eq!(digest(Some(&fresh())), first);
}

fn walk_files(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { walk_files(&path) } else { 1 })
        .sum()
}

#[test]
fn attributes_survive_the_memo() {
    let at = Scratch::new();
    let context = at.sub("context");
    make(&context, &["f d/x =X"]);
    let file = std::fs::File::open(context.join("d/x")).unwrap();
    rustix::fs::fsetxattr(&file, "user.a", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    settle();
    let memo = Memo::at(at.0.join("memo"));
    let first = gather_words("COPY d /t", &context, None, Some(&memo)).unwrap();
    memo.save().unwrap();
    let memo = Memo::at(at.0.join("memo"));
    let second = gather_words("COPY d /t", &context, None, Some(&memo)).unwrap();
    assert_eq!(first.digest(), second.digest());
    let target = at.sub("target");
    apply(&second, &Root::open(&target).unwrap()).unwrap();
    let copied = std::fs::File::open(target.join("t/x")).unwrap();
    let mut value = [0; 8];
    assert_eq!(rustix::fs::fgetxattr(&copied, "user.a", &mut value), Ok(1));
}

#[test]
fn a_source_that_changes_is_refused() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("content", |dir| {
            std::fs::write(dir.join("d/x"), "YYY").unwrap();
        }),
        ("length", |dir| {
            std::fs::write(dir.join("d/x"), "Y").unwrap();
        }),
        ("gone", |dir| std::fs::remove_file(dir.join("d/x")).unwrap()),
        ("link", |dir| {
            std::fs::remove_file(dir.join("d/x")).unwrap();
            symlink("/etc/hostname", dir.join("d/x")).unwrap();
        }),
        ("directory link", |dir| {
            std::fs::rename(dir.join("d"), dir.join("e")).unwrap();
            symlink("/etc", dir.join("d")).unwrap();
        }),
    ];
    for big in [false, true] {
        for (what, change) in changes {
            let at = Scratch::new();
            let (context, target) = (at.sub("context"), at.sub("target"));
            make(&context, &["f d/x =XXX"]);
            if big {
                std::fs::write(context.join("d/x"), vec![b'X'; 1 << 20]).unwrap();
            }
            let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
            change(&context);
            let err = apply(&gathered, &Root::open(&target).unwrap()).unwrap_err();
            let fits = matches!(err, CopyError::Changed { .. } | CopyError::Source { .. });
            assert!(fits, "{what}: {}", chain(&err));
        }
    }
}

#[test]
fn a_tree_that_is_swapped_under_us_never_leaks() {
    let at = Scratch::new();
    let context = at.sub("context");
    let outside = at.sub("outside");
    std::fs::write(outside.join("canary"), "CANARY").unwrap();
    make(&context, &["f d/s/canary =inside", "f d/f =inside"]);
    symlink(&outside, context.join("evil")).unwrap();
    symlink(outside.join("canary"), context.join("evil-file")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let exchange = |a: &str, b: &str| {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, context.join(a), CWD, context.join(b), flags).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (a, b) in [("d/s", "evil"), ("d/f", "evil-file")] {
                    exchange(a, b);
                    exchange(a, b);
                }
            }
        });
        for round in 0..300 {
            let target = at.sub(&format!("target{round}"));
            let line = [
                "COPY d /t",
                "COPY d/s /t",
                "COPY d/f /t",
                "COPY d/s/canary /t",
                "COPY d/*/canary /t",
            ][round % 5];
            // Some rounds fail because the tree changes; none may bring the canary in.
            let _ = copy(line, &context, &target, None);
            for entry in dump(&target) {
                assert!(!entry.contains("CANARY"), "{line}: {entry}");
            }
            std::fs::remove_dir_all(target).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_destination_that_is_swapped_under_us_never_leaks() {
    let at = Scratch::new();
    let (context, target, outside) = (at.sub("context"), at.sub("target"), at.sub("outside"));
    make(&context, &["f d/x =X", "d d/s", "f d/s/y =Y", "p d/s/p"]);
    make(&outside, &["f canary =safe 600"]);
    make(&target, &["d t/s"]);
    symlink(&outside, target.join("evil")).unwrap();
    symlink("../../../../../../../../etc", target.join("climb")).unwrap();
    let before = dump(&outside);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for name in ["t/s", "t"] {
                    let _ = rustix::fs::renameat_with(
                        CWD,
                        target.join(name),
                        CWD,
                        target.join("evil"),
                        flags,
                    );
                    let _ = rustix::fs::renameat_with(
                        CWD,
                        target.join(name),
                        CWD,
                        target.join("evil"),
                        flags,
                    );
                }
            }
        });
        for round in 0..300 {
            let _ = copy(
                ["COPY d /t", "COPY d/x /t/s/", "COPY d/x /t"][round % 3],
                &context,
                &target,
                None,
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(dump(&outside), before);
    assert!(!Path::new("/etc/x").exists() && !Path::new("/etc/y").exists());
}

#[test]
fn owners_come_from_the_container() {
    let Chown::Ids { uid, gid } = me() else {
        unreachable!()
    };
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    make(&context, &["f a =A"]);
    make(&target, &["d etc"]);
    std::fs::write(
        target.join("etc/passwd"),
        format!("me:x:{uid}:{gid}::/:/bin/sh\n"),
    )
    .unwrap();
    std::fs::write(target.join("etc/group"), format!("us:x:{gid}:\n")).unwrap();
    for owner in ["me", "me:us", "me:", &format!("{uid}:us")] {
        copy(
            &format!("COPY --chown={owner} a /p/t"),
            &context,
            &target,
            None,
        )
        .unwrap();
        let meta = std::fs::metadata(target.join("p/t")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{owner}");
    }
    let err = copy("COPY --chown=nobody-here a /t", &context, &target, None).unwrap_err();
    assert_eq!(
        chain(&err),
        "looking up UID/GID for \"nobody-here\": determining run uid: user: unknown user error looking up user \"nobody-here\""
    );
}

fn need_root() {
    assert!(rustix::process::geteuid().is_root(), "this tier needs root");
}

fn null_device() -> u64 {
    rustix::fs::makedev(1, 3)
}

/// A directory `d` with all that only root can make.
fn make_owned(context: &Path) {
    make(context, &["f d/x 4755 =X", "d d/s", "l d/l x", "p d/p"]);
    for path in ["d/x", "d/s", "d/l", "d/p"] {
        std::os::unix::fs::lchown(context.join(path), Some(1234), Some(2345)).unwrap();
    }
    std::fs::set_permissions(context.join("d/x"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = std::fs::File::open(context.join("d/x")).unwrap();
    rustix::fs::fsetxattr(
        &file,
        "security.capability",
        &capability,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    rustix::fs::mknodat(
        CWD,
        context.join("d/null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        null_device(),
    )
    .unwrap();
}

/// Owners of a copy of that directory and of what is in it.
fn owners(to: &Path) -> Vec<(u32, u32)> {
    ["", "x", "s", "l", "p"]
        .map(|name| std::fs::symlink_metadata(to.join(name)).unwrap())
        .map(|meta| (meta.uid(), meta.gid()))
        .to_vec()
}

#[test]
fn priv_owners_devices_and_capabilities() {
    need_root();
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    make_owned(&context);
    for (line, top, inside, mode) in [
        ("COPY --chown=0 d /p/t", (0, 0), (0, 0), 0o755),
        ("COPY --chown=7:8 d /p/t", (7, 8), (7, 8), 0o755),
    ] {
        std::fs::create_dir_all(&target).unwrap();
        copy(line, &context, &target, None).unwrap();
        let to = target.join("p/t");
        assert_eq!(owners(&to), [top, inside, inside, inside, inside], "{line}");
        let parent = std::fs::metadata(target.join("p")).unwrap();
        assert_eq!(
            (parent.uid(), parent.gid(), parent.mode() & 0o7777),
            (top.0, top.1, 0o755),
            "{line}"
        );
        assert_eq!(
            std::fs::metadata(to.join("x")).unwrap().mode() & 0o7777,
            mode
        );
        let mut value = [0; 64];
        let copied = std::fs::File::open(to.join("x")).unwrap();
        assert_eq!(
            rustix::fs::fgetxattr(&copied, "security.capability", &mut value),
            Ok(20),
            "{line}"
        );
        assert_eq!(
            std::fs::metadata(to.join("null")).unwrap().rdev(),
            null_device()
        );
        std::fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn priv_origins_decide_about_owners_and_set_ids() {
    need_root();
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    make_owned(&context);
    // From an image the numbers and set-ID bits stay, from a context they do not.
    for (from, owner, mode) in [("--from", (1234, 2345), 0o4755), ("--cwd=/", (0, 0), 0o755)] {
        std::fs::create_dir_all(&target).unwrap();
        let Words {
            mut request,
            origin,
        } = words(&format!("COPY {from} d /t"));
        let root = Root::open(&context).unwrap();
        request.chown = None;
        request.tree = Some(SourceTree {
            root: &root,
            shown: Path::new("/ctx"),
            origin,
            ignore: None,
        });
        apply(
            &gather(&request, None).unwrap(),
            &Root::open(&target).unwrap(),
        )
        .unwrap();
        let to = target.join("t");
        assert_eq!(owners(&to), [(0, 0), owner, owner, owner, owner], "{from}");
        assert_eq!(
            std::fs::metadata(to.join("x")).unwrap().mode() & 0o7777,
            mode
        );
        std::fs::remove_dir_all(&target).unwrap();
    }
    std::fs::create_dir_all(&target).unwrap();
    rustix::fs::mknodat(
        CWD,
        context.join("d/wh"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    let err = copy("COPY d /t", &context, &target, None).unwrap_err();
    assert!(matches!(err, CopyError::WhiteoutDevice { .. }), "{err}");
}

/// One member of an archive: type byte, name, link target, mode, content.
type Member<'a> = (u8, &'a str, &'a str, u32, &'a str);

/// Writes a tar archive by hand (POSIX.1-1988 ustar), owned by 0:0 like the tests' files when root.
fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let Chown::Ids { uid, gid } = me() else {
        unreachable!()
    };
    let mut out = Vec::new();
    for (kind, name, target, mode, content) in members {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, format!("{uid:07o}").as_bytes());
        put(116, format!("{gid:07o}").as_bytes());
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, b"00000000017");
        put(148, b"        ");
        put(156, &[*kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

fn compressed(bytes: &[u8], kind: archive::Compression) -> Vec<u8> {
    let mut encoder = archive::Encoder::new(Vec::new(), kind, None).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap().out
}

const MEMBERS: &[Member<'_>] = &[
    (b'5', "d/", "", 0o750, ""),
    (b'0', "d/x", "", 0o640, "X"),
    (b'2', "d/l", "x", 0o777, ""),
    (b'1', "d/h", "d/x", 0o640, ""),
    (b'0', "d/.wh.y", "", 0o644, ""),
];
const UNPACKED: &[&str] = &[
    "d t",
    "d t/d 750",
    "f t/d/.wh.y",
    "f t/d/h 640 =X",
    "l t/d/l x",
    "h t/d/x t/d/h",
];

#[test]
fn archives_are_unpacked_by_content() {
    let plain = tar(MEMBERS);
    let empty = vec![0; 1024];
    let kept = |_: &[u8]| vec!["f t".to_owned()];
    let unpacked = |_: &[u8]| UNPACKED.iter().map(ToString::to_string).collect::<Vec<_>>();
    let gzip = |bytes: &[u8]| compressed(bytes, archive::Compression::Gzip);
    let zstd = |bytes: &[u8]| compressed(bytes, archive::Compression::Zstd);
    type Expect<'a> = &'a dyn Fn(&[u8]) -> Vec<String>;
    let cases: [(&str, Vec<u8>, Expect<'_>); 8] = [
        ("ADD a /t", plain.clone(), &unpacked),
        ("ADD a /t/", gzip(&plain), &unpacked),
        ("ADD a /t", zstd(&plain), &unpacked),
        ("ADD --chmod=700 --parents ./a /t", gzip(&plain), &|_| {
            [
                "d t",
                "d t/d 700",
                "f t/d/.wh.y 700",
                "f t/d/h 700 =X",
                "l t/d/l x",
                "h t/d/x t/d/h",
            ]
            .map(str::to_owned)
            .to_vec()
        }),
        ("COPY a /t", plain.clone(), &kept),
        ("ADDPACKED a /t", plain.clone(), &kept),
        ("ADD a /t", empty, &kept),
        ("ADD a /t", gzip(b"no archive"), &kept),
    ];
    for (line, bytes, expected) in cases {
        let at = Scratch::new();
        let (context, target) = (at.sub("context"), at.sub("target"));
        std::fs::write(context.join("a"), &bytes).unwrap();
        std::fs::set_permissions(context.join("a"), std::fs::Permissions::from_mode(0o644))
            .unwrap();
        let line = line.replace("ADDPACKED", "ADD --packed");
        copy(&line, &context, &target, None).unwrap();
        let is_kept = expected(&bytes) == ["f t"];
        if is_kept {
            assert_eq!(std::fs::read(target.join("t")).unwrap(), bytes, "{line}");
        } else {
            assert_eq!(dump(&target), expected(&bytes), "{line}");
            assert_eq!(time(&target.join("t/d")), (15, 0), "{line}");
        }
    }
}

#[test]
fn archives_obey_the_rules_of_the_destination() {
    let at = Scratch::new();
    let context = at.sub("context");
    std::fs::write(context.join("a.tar"), tar(&[(b'0', "m", "", 0o644, "M")])).unwrap();
    std::fs::write(
        context.join("bad.tar"),
        tar(&[
            (b'0', "ok", "", 0o644, ""),
            (b'0', "../../out", "", 0o644, ""),
        ]),
    )
    .unwrap();
    make(&context, &["f f =F", "l l a.tar"]);
    for (line, root, expected) in [
        (
            "ADD a.tar f /t",
            &[][..],
            Ok(&["d t", "f t/f =F", "f t/m =M"][..]),
        ),
        ("ADD l /t", &[], Ok(&["d t", "f t/m =M"])),
        (
            "ADD a.tar /t",
            &["d t 700", "f t/m =old", "f t/z"],
            Ok(&["d t 700", "f t/m =M", "f t/z"]),
        ),
        (
            "ADD a.tar /t",
            &["d real", "l t real"],
            Ok(&["d real", "f real/m =M", "l t real"]),
        ),
        ("ADD a.tar /t", &["f t"], Err(NOT_DIR)),
        (
            "ADD bad.tar /t",
            &[],
            Err("cannot unpack `/bad.tar`: entry `../../out` would leave the root"),
        ),
        (
            "ADD --chmod=u+x a.tar /t",
            &[],
            Ok(&["d t", "f t/m 744 =M"]),
        ),
    ] {
        let target = at.sub("target");
        make(&target, root);
        let got = copy(line, &context, &target, None)
            .map(|_| dump(&target))
            .map_err(|err| chain(&err));
        let expected =
            expected.map(|lines| lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            got,
            expected.map_err(ToOwned::to_owned),
            "{line} on {root:?}"
        );
        std::fs::remove_dir_all(target).unwrap();
    }
    assert!(!at.0.join("out").exists() && !at.0.parent().unwrap().join("out").exists());
}

/// An overlay over `lower`, and its upper directory.
fn overlay(at: &Scratch) -> (Root, PathBuf) {
    let upper = at.sub("upper");
    let spec = sys::overlay::OverlaySpec {
        lowers: vec![at.sub("lower")],
        upper: Some(upper.clone()),
        work: Some(at.sub("work")),
        xattrs: sys::overlay::XattrFlavour::Trusted,
        durability: sys::overlay::Durability::Volatile,
    };
    (
        Root::from_fd(sys::overlay::mount_detached(&spec).unwrap()),
        upper,
    )
}

#[test]
fn priv_copies_through_an_overlay() {
    need_root();
    let at = Scratch::new();
    let context = at.sub("context");
    make(
        &context,
        &["f d/x =X", "f d/sub/y =Y", "f d/gone/new =N", "l d/l x"],
    );
    make(
        &at.sub("lower"),
        &[
            "d t 700",
            "f t/x/old",
            "f t/keep =K",
            "l t/l nowhere",
            "f t/gone/old",
            "f etc/f =E",
        ],
    );
    let (root, upper) = overlay(&at);
    let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
    rustix::fs::unlinkat(&root, "t/gone/old", rustix::fs::AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(&root, "t/gone", rustix::fs::AtFlags::REMOVEDIR).unwrap();
    apply(&gathered, &root).unwrap();
    let read =
        |path: &str| std::io::read_to_string(root.open_file(Path::new(path)).unwrap()).unwrap();
    for (path, content) in [
        ("t/x", "X"),
        ("t/sub/y", "Y"),
        ("t/gone/new", "N"),
        ("t/keep", "K"),
        ("t/l", "X"),
        ("etc/f", "E"),
    ] {
        assert_eq!(read(path), content, "{path}");
    }
    assert!(
        root.resolve(Path::new("t/gone/old")).is_err(),
        "what was deleted stays deleted"
    );
    // Only what was copied is in the upper directory.
    assert_eq!(
        dump(&upper),
        [
            "d t 700",
            "d t/gone",
            "f t/gone/new =N",
            "l t/l x",
            "d t/sub",
            "f t/sub/y =Y",
            "f t/x =X"
        ]
    );
    let again = gather_words("COPY --from d/sub /u", &context, None, None).unwrap();
    apply(&again, &root).unwrap();
    assert_eq!(read("u/y"), "Y");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Node {
        Dir(u32),
        File(u32, Vec<u8>),
        Link(String),
        Fifo,
        Hard(usize),
    }

    fn node() -> impl Strategy<Value = (Vec<String>, Node, i64)> {
        let name = "[a-d\u{e9}]{1,2}";
        let kind = prop_oneof![
            (0_u32..8).prop_map(|bits| Node::Dir(0o700 | bits)),
            (0_u32..0o777, proptest::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(mode, bytes)| Node::File(mode, bytes)),
            "[a-d/.]{1,6}".prop_map(Node::Link),
            Just(Node::Fifo),
            (0_usize..20).prop_map(Node::Hard),
        ];
        (
            proptest::collection::vec(name, 1..4),
            kind,
            0_i64..2_000_000_000,
        )
    }

    /// Makes what can be made; names that are taken are left alone.
    fn build(base: &Path, nodes: &[(Vec<String>, Node, i64)]) {
        let mut files: Vec<PathBuf> = Vec::new();
        for (path, node, seconds) in nodes {
            let path = path
                .iter()
                .fold(base.to_owned(), |path, name| path.join(name));
            let _ = std::fs::create_dir_all(path.parent().unwrap());
            let real = path.parent().unwrap().canonicalize();
            if path.symlink_metadata().is_ok()
                || !real.is_ok_and(|real| real.starts_with(base) && real.is_dir())
            {
                continue;
            }
            match node {
                Node::Dir(mode) => {
                    std::fs::create_dir(&path).unwrap();
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode))
                        .unwrap();
                }
                Node::File(mode, bytes) => {
                    std::fs::write(&path, bytes).unwrap();
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | 0o400))
                        .unwrap();
                    files.push(path.clone());
                }
                Node::Link(target) => symlink(target, &path).unwrap(),
                Node::Fifo => {
                    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
                        .unwrap();
                }
                Node::Hard(at) => {
                    if let Some(first) = files.get(*at) {
                        std::fs::hard_link(first, &path).unwrap();
                    }
                    continue;
                }
            }
            set_time(&path, *seconds, *seconds % 1_000_000_000);
        }
    }

    fn times(base: &Path) -> Vec<(String, (i64, i64))> {
        dump(base)
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .map(|name| (name.clone(), time(&base.join(&name))))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_is_copied_exactly(nodes in proptest::collection::vec(node(), 0..40)) {
            let at = Scratch::new();
            let (context, target) = (at.sub("context"), at.sub("target"));
            build(&context, &nodes);
            copy("COPY --host . /t", &context, &target, None).unwrap();
            prop_assert_eq!(dump(&context), dump(&target.join("t")));
            prop_assert_eq!(times(&context), times(&target.join("t")));
            let digest = |dir: &Path| gather_words("COPY --host . /t", dir, None, None).unwrap().digest();
            prop_assert_eq!(digest(&context), digest(&target.join("t")));
        }
    }
}

/// Runs Debian's Buildah on a store of its own.
struct Buildah<'a>(&'a Path);

impl Buildah<'_> {
    fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("buildah")
            .arg("--root")
            .arg(self.0.join("store"))
            .arg("--runroot")
            .arg(self.0.join("run"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .output()
            .expect("Debian's buildah must be installed for the peer tier");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}

#[test]
fn peer_buildah_agrees_with_the_matrix() {
    need_root();
    let at = Scratch::new();
    let buildah = Buildah(&at.0);
    let mut differences = Vec::new();
    for (number, case) in CASES
        .iter()
        .enumerate()
        .filter(|(_, case)| case.peer == Peer::Same)
    {
        let context = at.sub(&format!("context{number}"));
        make(&context, case.context);
        let container = buildah.run(&["from", "scratch"]).unwrap();
        let mounted = PathBuf::from(buildah.run(&["mount", &container]).unwrap());
        make(&mounted, case.root);
        let mut words: Vec<&str> = case.line.split(' ').collect();
        let command = words.remove(0).to_lowercase();
        words.retain(|word| *word != "--host");
        let flags = words
            .iter()
            .take_while(|word| word.starts_with("--"))
            .count();
        let mut args = vec![command.as_str(), "--contextdir", context.to_str().unwrap()];
        args.extend(&words[..flags]);
        args.push(&container);
        let (destination, sources) = words[flags..].split_last().unwrap();
        let sources: Vec<String> = sources
            .iter()
            .map(|source| format!("{}/{source}", context.display()))
            .collect();
        args.extend(sources.iter().map(String::as_str));
        args.push(destination);
        let got = buildah.run(&args).map(|_| dump(&mounted));
        buildah.run(&["umount", &container]).unwrap();
        buildah.run(&["rm", &container]).unwrap();
        let same = match (&got, case.expected) {
            (Ok(got), Ok(expected)) => {
                let mut expected = expected.to_vec();
                expected.sort_by(|a, b| a[2..].split(' ').next().cmp(&b[2..].split(' ').next()));
                *got == expected
            }
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            differences.push(format!(
                "{} on {:?}: buildah {got:?}, table {:?}",
                case.line, case.root, case.expected
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn peer_buildah_unpacks_the_same() {
    need_root();
    let at = Scratch::new();
    let buildah = Buildah(&at.0);
    let archive = at.0.join("a.tar");
    std::fs::write(&archive, tar(MEMBERS)).unwrap();
    let container = buildah.run(&["from", "scratch"]).unwrap();
    let mounted = PathBuf::from(buildah.run(&["mount", &container]).unwrap());
    buildah
        .run(&["add", &container, archive.to_str().unwrap(), "/t"])
        .unwrap();
    let got = dump(&mounted);
    buildah.run(&["umount", &container]).unwrap();
    buildah.run(&["rm", &container]).unwrap();
    assert_eq!(got, UNPACKED);
}

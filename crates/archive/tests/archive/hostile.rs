//! Streams that mean harm. Each ends in a clear error or extracts safely, and what lies beside the root never changes.

use std::fs;
use std::os::unix::fs::symlink as make_symlink;
use std::path::{Path, PathBuf};

use cooper_archive::tar::{Header, Kind};
use cooper_archive::{
    ArchiveOptions, Compression, Encoder, Flavour, LayerOptions, Limits, Modes, OwnerChange,
    Privilege, extract_archive, extract_layer,
};

use crate::support::{
    dir, file, hard_link, layer_options, member, need_root, root, scratch, symlink, tar, view,
};

/// A root with a canary beside it, and a link in the root that leads to the canary.
struct Scene {
    dir: tempfile::TempDir,
    before: String,
}

impl Scene {
    fn new() -> Self {
        let dir = scratch();
        let canary = dir.path().join("canary");
        fs::create_dir_all(canary.join("sub")).unwrap();
        fs::write(canary.join("file"), "untouched").unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let before = view(&canary);
        Self { dir, before }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn check_canary(&self, what: &str) {
        assert_eq!(view(&self.dir.path().join("canary")), self.before, "{what}");
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["canary", "root"], "{what}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

const SAFE: &str = "";

/// Extracts as a layer (overlay flavour for rootless stores, which needs no rights but for whiteouts). `expected` is
/// part of the error, or [`SAFE`].
fn check_layer(blob: &[u8], expected: &str) {
    let scene = Scene::new();
    let result = extract_layer(
        blob,
        &root(&scene.root()),
        &layer_options(Flavour::OverlayUser),
        Vec::new(),
    );
    judge(
        &scene,
        result.map(|_| ()).map_err(|error| chain(&error)),
        expected,
    );
}

fn check_archive(blob: &[u8], expected: &str, prepare: fn(&Path)) {
    let scene = Scene::new();
    prepare(&scene.root());
    let options = ArchiveOptions {
        owner: None,
        modes: Modes::Kept,
        privilege: Privilege::Full,
        limits: Limits::default(),
    };
    let result = extract_archive(blob, &root(&scene.root()), Path::new(""), &options);
    judge(
        &scene,
        result.map(|_| ()).map_err(|error| chain(&error)),
        expected,
    );
}

fn judge(scene: &Scene, result: Result<(), String>, expected: &str) {
    scene.check_canary(expected);
    match result {
        Ok(()) => assert_eq!(SAFE, expected, "extracted: {}", view(&scene.root())),
        Err(error) => assert!(
            expected != SAFE && error.contains(expected),
            "`{error}` instead of `{expected}`"
        ),
    }
}

fn check_both(members: &[(Header, Vec<u8>)], layer: &str, archive: &str) {
    check_layer(&tar(members), layer);
    check_archive(&tar(members), archive, |_| {});
}

#[test]
fn names_stay_inside() {
    for (name, expected) in [
        ("../canary/file", "would leave the root"),
        ("a/../../canary/file", "would leave the root"),
        ("..", "would leave the root"),
        ("./../x", "would leave the root"),
        ("/../canary/file", SAFE),
        ("/etc/absolute", SAFE),
        ("//x", SAFE),
        ("a/../b", SAFE),
        ("", "the root something other"),
        (".", "the root something other"),
        ("./.", "the root something other"),
    ] {
        check_both(&[file(name, "evil")], expected, expected);
    }
    let long = format!("{}/f", "x".repeat(300));
    check_both(
        &[file(&long, "x")],
        "File name too long",
        "File name too long",
    );
    let longer = "d/".repeat(3000);
    check_both(
        &[dir(&longer)],
        "a name of 6000 is larger than the limit of 4096",
        "a name of 6000",
    );
}

#[test]
fn links_lead_nowhere_outside() {
    let out = "../canary";
    // A parent that is a link: resolved inside the root, where `../canary` is `/canary`.
    check_both(&[symlink("l", out), file("l/file", "evil")], SAFE, SAFE);
    check_both(
        &[symlink("l", "/"), file("l/canary/file", "evil")],
        SAFE,
        SAFE,
    );
    check_both(
        &[
            symlink("l", "../../../../../.."),
            dir("l/sub"),
            file("l/sub/f", "x"),
        ],
        SAFE,
        SAFE,
    );
    check_both(
        &[symlink("a", "b"), symlink("b", "a"), file("a/x", "evil")],
        "Too many levels",
        "Too many levels",
    );
    check_both(
        &[symlink("l", "/proc/self/root"), file("l/x", "evil")],
        SAFE,
        SAFE,
    );
    // Metadata through a link: a second entry of the same name, or a hard link to the link.
    check_both(&[symlink("l", out), dir("l")], "appears twice", SAFE);
    check_both(
        &[symlink("l", "../canary/file"), file("l", "evil")],
        "appears twice",
        SAFE,
    );
    check_both(
        &[symlink("l", "../canary/file"), hard_link("h", "l")],
        SAFE,
        SAFE,
    );
    // A hard link to the link is the link again, and replaced as such.
    let twice = vec![
        symlink("l", "../canary/file"),
        hard_link("h", "l"),
        file("h", "evil"),
    ];
    check_both(&twice, "appears twice", SAFE);
    for target in ["../canary/file", "..", "../../etc/passwd"] {
        check_both(
            &[hard_link("h", target)],
            "would leave the root",
            "would leave the root",
        );
    }
    for target in ["/canary/file", "missing", "h", "", "/"] {
        check_both(&[hard_link("h", target)], "has no target", "has no target");
    }
    check_both(
        &[dir("d"), hard_link("h", "d")],
        "has no target",
        "has no target",
    );
    check_both(
        &[symlink("l", out), hard_link("h", "l/file")],
        "has no target",
        "has no target",
    );
}

#[test]
fn links_that_are_there_already_are_not_followed() {
    fn with_links(at: &Path) {
        make_symlink("../canary/file", at.join("file")).unwrap();
        make_symlink("../canary", at.join("dir")).unwrap();
        make_symlink("../canary/new", at.join("dangling")).unwrap();
    }
    for members in [
        vec![file("file", "evil")],
        vec![dir("dir")],
        vec![file("dangling", "evil")],
        vec![file("dir/file", "evil")],
        vec![symlink("dir", "/elsewhere")],
        vec![member_of("file", Kind::Fifo)],
    ] {
        check_archive(&tar(&members), SAFE, with_links);
    }
    let hard = vec![hard_link("h", "dir/file")];
    check_archive(&tar(&hard), "has no target", with_links);
}

fn member_of(name: &str, kind: Kind) -> (Header, Vec<u8>) {
    (member(name, kind), Vec::new())
}

#[test]
fn whiteouts_hide_names_only() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "d/.wh...",
        ".wh..wh.plnk",
        ".wh..wh.aufs",
        ".wh.x/f",
        "d/.wh..wh..opq/f",
    ] {
        check_layer(&tar(&[dir("d"), file(name, "")]), "not a valid whiteout");
        check_archive(&tar(&[dir("d"), file(name, "")]), SAFE, |_| {});
    }
    check_layer(&tar(&[file(".wh.x", "content")]), "not a valid whiteout");
    check_layer(&tar(&[dir(".wh.x")]), "not a valid whiteout");
    check_layer(
        &tar(&[file("f", ""), file("f/.wh.x", "")]),
        "Not a directory",
    );
    check_layer(
        &tar(&[symlink("l", "../canary"), file("l/.wh..wh..opq", "")]),
        SAFE,
    );
}

#[test]
fn priv_removals_do_not_leave_a_full_tree() {
    need_root();
    for members in [
        vec![symlink("l", "../canary"), file("l/.wh.file", "")],
        vec![symlink("l", "../canary"), file("l/.wh..wh..opq", "")],
        vec![symlink("l", "/"), file("l/.wh..wh..opq", "")],
        vec![file("old/.wh.file", "")],
        vec![file("old/.wh..wh..opq", "")],
        vec![file(".wh.old", "")],
    ] {
        for flavour in [Flavour::Vfs, Flavour::OverlayTrusted] {
            let scene = Scene::new();
            if flavour == Flavour::Vfs {
                make_symlink("../canary", scene.root().join("old")).unwrap();
            }
            let result = extract_layer(
                &tar(&members)[..],
                &root(&scene.root()),
                &layer_options(flavour),
                Vec::new(),
            );
            judge(
                &scene,
                result.map(|_| ()).map_err(|error| chain(&error)),
                SAFE,
            );
        }
    }
}

#[test]
fn duplicates_and_conflicts_are_refused_in_layers() {
    check_both(&[file("f", "1"), file("./f", "2")], "appears twice", SAFE);
    check_both(&[file("f", "1"), file("/f", "2")], "appears twice", SAFE);
    check_both(&[dir("d"), dir("d/")], "appears twice", SAFE);
    check_both(
        &[file("a/b", "1"), file("a", "2")],
        "conflicts with an earlier one",
        SAFE,
    );
    check_both(
        &[file("a", "1"), file("a/b", "2")],
        "Not a directory",
        "Not a directory",
    );
    check_both(
        &[
            dir("x"),
            symlink("l", "x"),
            file("x/f", "1"),
            file("l/f", "2"),
        ],
        "conflicts",
        SAFE,
    );
    check_both(
        &[member_of("p", Kind::Fifo), file("p", "x")],
        "appears twice",
        SAFE,
    );
}

#[test]
fn odd_types_are_refused() {
    for byte in [b'V', b'M', b'D', b'9', 0xff] {
        check_both(
            &[member_of("f", Kind::Other(byte))],
            "is not supported",
            "is not supported",
        );
    }
    let mut owner = member("f", Kind::File);
    owner.uid = i64::from(u32::MAX);
    check_both(
        &[(owner.clone(), Vec::new())],
        "outside the range of IDs",
        "outside the range of IDs",
    );
    owner.uid = -1;
    check_both(
        &[(owner, Vec::new())],
        "outside the range of IDs",
        "outside the range of IDs",
    );
}

#[test]
fn overlay_marks_of_strangers_are_left_out() {
    let mut header = member("d", Kind::Directory);
    header.xattrs = vec![
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"user.fine".to_vec(), b"1".to_vec()),
    ];
    let scene = Scene::new();
    let blob = tar(&[(header, Vec::new())]);
    extract_layer(
        &blob[..],
        &root(&scene.root()),
        &layer_options(Flavour::OverlayUser),
        Vec::new(),
    )
    .unwrap();
    let view = view(&scene.root());
    assert!(
        view.contains("user.fine=1") && !view.contains("overlay"),
        "{view}"
    );
}

#[test]
fn broken_streams_end_in_an_error() {
    let good = tar(&[file("f", &"data".repeat(1000)), dir("d")]);
    for cut in [1, 511, 513, 2000] {
        check_layer(&good[..cut], "ends unexpectedly");
        check_archive(&good[..cut], "ends unexpectedly", |_| {});
    }
    let mut garbage = good.clone();
    garbage[0] ^= 1;
    check_layer(&garbage, "invalid tar header at byte 0");
    check_layer(b"not a tar at all", "ends unexpectedly");
    check_layer(&[b'x'; 4096], "invalid tar header at byte 0");
    check_layer(&[], SAFE);
    for kind in [Compression::Gzip, Compression::Zstd] {
        let mut encoder = Encoder::new(Vec::new(), kind, None).unwrap();
        std::io::Write::write_all(&mut encoder, &good).unwrap();
        let packed = encoder.finish().unwrap().out;
        check_layer(&packed, SAFE);
        // Cut where the tar is complete already: the blob's end still counts.
        for cut in [packed.len() - 1, packed.len() / 2, 12] {
            check_layer(&packed[..cut], "cannot read the compressed archive");
        }
        check_layer(
            &[&packed[..], b"trailing garbage"].concat(),
            "cannot read the compressed archive",
        );
    }
    let magics: [&[u8]; 4] = [
        &[0x1f, 0x8b, 8],
        b"BZh9",
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    for magic in magics {
        check_layer(
            &[magic, &[0xaa; 300]].concat(),
            "cannot read the compressed archive",
        );
    }
}

/// A block with a right checksum and whatever size it claims.
fn block(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut bytes = tar(&[file(name, "")])[..512].to_vec();
    bytes[156] = kind;
    bytes[124..124 + size.len()].copy_from_slice(size);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn sizes_that_lie_are_bounded() {
    for kind in [b'x', b'g', b'L', b'K'] {
        check_layer(
            &block("h", kind, b"77777777777\0"),
            "an extended header of 8589934591 is larger",
        );
    }
    check_layer(&block("f", b'0', b"77777777777\0"), "ends unexpectedly");
    check_layer(
        &block(
            "f",
            b'0',
            &[
                0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        "ends unexpectedly",
    );
    check_layer(&block("f", b'0', &[0xff; 12]), "invalid tar header");
    check_layer(&block("f", b'0', b"9xyz"), "invalid tar header");
    let empty = block("h", b'L', b"00000000000\0");
    check_layer(&empty.repeat(40), "a number of extended headers");
    let records: [&[u8]; 6] = [
        b"9999999999999999999 a=b\n",
        b"5 a=b",
        b"6 a=bX",
        b" a=b\n",
        b"9 path=\0\n",
        b"12 size=-1\n\n\n",
    ];
    for record in records {
        let mut stream = block("h", b'x', format!("{:011o}\0", record.len()).as_bytes());
        stream.extend_from_slice(record);
        stream.resize(1024, 0);
        stream.extend_from_slice(&tar(&[file("f", "")]));
        check_layer(&stream, "invalid pax record");
    }
    let mut trailer = tar(&[file("f", "")]);
    trailer.resize(trailer.len() + (65 << 20), 0);
    check_layer(&trailer, "the data behind the archive");
}

#[test]
fn bombs_are_refused_by_limits() {
    let mut encoder = Encoder::new(Vec::new(), Compression::Zstd, None).unwrap();
    std::io::Write::write_all(&mut encoder, &tar(&[file("f", &"\0".repeat(50 << 20))])).unwrap();
    let bomb = encoder.finish().unwrap().out;
    let limits = Limits {
        entries: 10,
        size: Some(1 << 20),
    };
    let options = LayerOptions {
        flavour: Flavour::OverlayUser,
        privilege: Privilege::Full,
        owners: OwnerChange::Required,
        limits,
    };
    let check = |blob: &[u8], expected: &str| {
        let scene = Scene::new();
        let result = extract_layer(blob, &root(&scene.root()), &options, Vec::new());
        judge(
            &scene,
            result.map(|_| ()).map_err(|error| chain(&error)),
            expected,
        );
    };
    check(&bomb, "larger than the limit of 1048576 bytes");
    let many: Vec<_> = (0..11).map(|index| file(&index.to_string(), "")).collect();
    check(&tar(&many), "larger than the limit of 10 entries");
    check(&tar(&many[..10]), SAFE);
}

#[test]
fn sparse_members_are_refused_in_layers() {
    check_layer(
        &[block("f", b'S', b"00000000000\0"), vec![0; 1024]].concat(),
        "invalid tar header",
    );
    let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n";
    let mut stream = block("h", b'x', format!("{:011o}\0", records.len()).as_bytes());
    stream.extend_from_slice(records);
    stream.resize(1024, 0);
    let mut map = b"1\n0\n4\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"data");
    stream.extend_from_slice(&tar(&[file("f", std::str::from_utf8(&map).unwrap())]));
    check_layer(&stream, "is not supported in a layer");
    // The map claims a piece behind the file's end.
    map[..8].copy_from_slice(b"1\n999\n4\n");
    let mut bad = stream[..1024].to_vec();
    bad.extend_from_slice(&tar(&[file("f", std::str::from_utf8(&map).unwrap())]));
    check_archive(&stream, SAFE, |_| {});
    check_archive(&bad, "invalid sparse map", |_| {});
}

#[test]
fn priv_devices_are_made_as_told() {
    need_root();
    let mut device = member("null", Kind::CharDevice);
    (device.dev_major, device.dev_minor) = (1, 3);
    device.mode = 0o6666;
    let scene = Scene::new();
    let blob = tar(&[(device, Vec::new()), member_of("p", Kind::Fifo)]);
    extract_layer(
        &blob[..],
        &root(&scene.root()),
        &layer_options(Flavour::OverlayTrusted),
        Vec::new(),
    )
    .unwrap();
    let view = view(&scene.root());
    assert!(
        view.starts_with("null 26666 0:0 1600000000 259\np 10644"),
        "{view}"
    );
}

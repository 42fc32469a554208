//! Layers and archives onto disk, as they are meant.

use std::fs;
use std::io::Write;
use std::path::Path;

use cooper_archive::tar::{Kind, Time};
use cooper_archive::{
    ArchiveOptions, Compression, Encoder, Flavour, Limits, Modes, Privilege, TreeOptions,
    VerifiedReader, detect, extract_archive, is_archive, regenerate,
};
use model::Digest;

use crate::support::{
    archive, dir, extract, file, hard_link, layer_options, member, need_root, root, scratch,
    subdir, symlink, tar, view,
};

#[test]
fn a_layer_comes_back_from_disk_with_the_same_digest() {
    let tmp = scratch();
    let mut late = dir("d");
    late.0.mtime = Time {
        seconds: 1_000_000_000,
        nanoseconds: 0,
    };
    let mut suid = file("d/suid", "x");
    suid.0.mode = 0o4755;
    suid.0.xattrs = vec![
        (b"user.a".to_vec(), Vec::new()),
        (b"user.b".to_vec(), b"\0\xff".to_vec()),
    ];
    let mut fifo = (member("fifo", Kind::Fifo), Vec::new());
    fifo.0.mode = 0o622;
    let members = [
        late,
        suid,
        file("d/x", &"y".repeat(100_000)),
        fifo,
        hard_link("hard", "d/x"),
        symlink("link", "../../x"),
    ];
    let blob = with_type_bits(&members);
    let (extracted, split) = extract(&blob, tmp.path(), Flavour::OverlayUser).unwrap();
    assert_eq!(extracted.blob_digest, Digest::sha256(&blob));
    assert_eq!(extracted.digest.diff_id.0, extracted.blob_digest);
    assert_eq!(
        (extracted.blob_size, extracted.digest.size),
        (blob.len() as u64, blob.len() as u64)
    );
    let (digest, again, _) = archive(tmp.path(), &[], &TreeOptions::new(Flavour::OverlayUser));
    assert_eq!(digest, extracted.digest, "{}", view(tmp.path()));
    for split in [split, again] {
        let mut bytes = Vec::new();
        assert_eq!(
            regenerate(&split[..], &[&root(tmp.path())], &mut bytes).unwrap(),
            blob.len() as u64
        );
        assert!(bytes == blob);
    }
}

/// The mode field with the type in it, as trees are written.
pub fn with_type_bits(members: &[(cooper_archive::tar::Header, Vec<u8>)]) -> Vec<u8> {
    let mut members = members.to_vec();
    for (header, _) in &mut members {
        header.mode |= match header.kind {
            Kind::Directory => 0o40000,
            Kind::Symlink => 0o120_777,
            Kind::Fifo => 0o10000,
            _ => 0o100_000,
        };
        if header.kind == Kind::Directory && !header.name.ends_with(b"/") {
            header.name.push(b'/');
        }
    }
    tar(&members)
}

#[test]
fn every_compression_is_detected_and_read_with_several_members() {
    let plain = tar(&[file("f", &"data".repeat(50_000))]);
    let (front, back) = plain.split_at(70_000);
    let gzip = |bytes: &[u8], kind| {
        let mut encoder = Encoder::new(Vec::new(), kind, None).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().out
    };
    let tool = |program: &str, bytes: &[u8]| {
        let tmp = scratch();
        fs::write(tmp.path().join("f"), bytes).unwrap();
        let output = std::process::Command::new(program)
            .arg("-c")
            .arg(tmp.path().join("f"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    };
    for (kind, blob) in [
        (Compression::None, plain.clone()),
        (
            Compression::Gzip,
            [
                gzip(front, Compression::Gzip),
                gzip(back, Compression::Gzip),
            ]
            .concat(),
        ),
        (
            Compression::Zstd,
            [
                gzip(front, Compression::Zstd),
                gzip(back, Compression::Zstd),
            ]
            .concat(),
        ),
        (
            Compression::Xz,
            [tool("xz", front), tool("xz", back)].concat(),
        ),
        (
            Compression::Bzip2,
            [tool("bzip2", front), tool("bzip2", back)].concat(),
        ),
    ] {
        assert_eq!(detect(&blob), kind);
        let tmp = scratch();
        let (extracted, _) = extract(&blob, tmp.path(), Flavour::OverlayUser).unwrap();
        assert_eq!(extracted.compression, kind);
        assert_eq!(extracted.blob_digest, Digest::sha256(&blob));
        assert_eq!(extracted.blob_size, blob.len() as u64);
        assert_eq!(extracted.digest.diff_id.0, Digest::sha256(&plain));
        assert_eq!(fs::read(tmp.path().join("f")).unwrap().len(), 200_000);
        assert!(is_archive(&blob[..]).unwrap());
    }
    assert!(!is_archive(&[0; 1024][..]).unwrap());
    assert!(!is_archive(&b"#!/bin/sh\n"[..]).unwrap());
    assert_eq!(
        gzip(&plain, Compression::Gzip),
        gzip(&plain, Compression::Gzip)
    );
}

#[test]
fn a_blob_that_is_not_the_announced_one_is_refused() {
    let blob = tar(&[file("f", "data")]);
    let digest = Digest::sha256(&blob);
    let size = blob.len() as u64;
    for (digest, size, expected) in [
        (digest.clone(), Some(size), ""),
        (digest.clone(), None, ""),
        (digest.clone(), Some(size - 1), "longer than the expected"),
        (digest.clone(), Some(size + 1), "bytes instead of"),
        (Digest::sha256(b"other"), Some(size), "has the digest"),
    ] {
        let tmp = scratch();
        let reader = VerifiedReader::new(&blob[..], digest, size);
        let options = layer_options(Flavour::OverlayUser);
        match cooper_archive::extract_layer(reader, &root(tmp.path()), &options, Vec::new()) {
            Ok(_) => assert_eq!(expected, ""),
            Err(error) => {
                let source = std::error::Error::source(&error).unwrap().to_string();
                assert!(
                    !expected.is_empty() && source.contains(expected),
                    "{source}"
                );
            }
        }
    }
}

#[test]
fn priv_removals_take_the_store_s_flavour() {
    need_root();
    let blob = tar(&[
        dir("d"),
        file("d/new", "n"),
        file("d/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        file(".wh.again", ""),
        dir("again"),
        file("again/x", ""),
        dir("first"),
        file(".wh.first", ""),
    ]);
    let check = |flavour: Flavour, expected: &str| {
        let tmp = scratch();
        if flavour == Flavour::Vfs {
            for name in ["d", "d/sub", "gone", "gone/deep", "again", "first"] {
                subdir(tmp.path(), name);
                fs::write(tmp.path().join(name).join("old"), "").unwrap();
            }
            fs::write(tmp.path().join("stays"), "").unwrap();
        }
        let (extracted, split) = extract(&blob, tmp.path(), flavour).unwrap();
        let words = |line: &str| {
            let mut words = line.split(' ');
            let (name, mode) = (
                words.next().unwrap().to_owned(),
                words.next().unwrap().to_owned(),
            );
            let mark = words.find(|word| word.contains("overlay")).unwrap_or("");
            format!("{name} {mode} {mark}").trim().to_owned()
        };
        let seen: Vec<_> = view(tmp.path()).lines().map(words).collect();
        assert_eq!(seen.join("\n"), expected.trim(), "{flavour:?}");
        let mut bytes = Vec::new();
        regenerate(&split[..], &[&root(tmp.path())], &mut bytes).unwrap();
        assert_eq!(Digest::sha256(&bytes), extracted.digest.diff_id.0);
    };
    check(
        Flavour::OverlayTrusted,
        "again 40755 trusted.overlay.opaque=y\nagain/x 100644\nd 40755 trusted.overlay.opaque=y\nd/new 100644\n\
         first 40755 trusted.overlay.opaque=y\ngone 20000",
    );
    check(
        Flavour::OverlayUser,
        "again 40755 user.overlay.opaque=y\nagain/x 100644\nd 40755 user.overlay.opaque=y\nd/new 100644\n\
         first 40755 user.overlay.opaque=y\ngone 20000",
    );
    check(
        Flavour::Vfs,
        "again 40755\nagain/x 100644\nd 40755\nd/new 100644\nfirst 40755\nstays 100644",
    );
}

fn unpack(blob: &[u8], into: &Path, dest: &str, owner: Option<(u32, u32)>, mode: Option<u32>) {
    let options = ArchiveOptions {
        owner,
        modes: mode.map_or(Modes::Kept, Modes::All),
        privilege: Privilege::Full,
        limits: Limits::default(),
    };
    extract_archive(blob, &root(into), Path::new(dest), &options).unwrap();
}

#[test]
fn archives_merge_directories_and_replace_files() {
    let tmp = scratch();
    subdir(tmp.path(), "opt");
    subdir(tmp.path(), "opt/d");
    subdir(tmp.path(), "opt/was-dir");
    subdir(tmp.path(), "usr");
    for name in ["opt/d/old", "opt/d/f", "opt/was-dir/x"] {
        fs::write(tmp.path().join(name), "old").unwrap();
    }
    std::os::unix::fs::symlink("/usr", tmp.path().join("opt/lib")).unwrap();
    let mut this = dir("./");
    this.0.mode = 0o700;
    let members = [
        this,
        dir("d"),
        file("d/f", "new"),
        file("was-dir", "new"),
        file("lib/x", "through an absolute link"),
        file(".wh.name", "ordinary"),
        file("made/up/parents", ""),
        hard_link("d/hard", "d/f"),
        hard_link("d/f", "d/f"),
    ];
    unpack(&tar(&members), tmp.path(), "/opt", None, None);
    let read = |name: &str| fs::read_to_string(tmp.path().join(name)).unwrap();
    assert_eq!(read("opt/d/old"), "old");
    assert_eq!(read("opt/d/hard"), "new");
    assert_eq!(read("opt/was-dir"), "new");
    assert_eq!(read("usr/x"), "through an absolute link");
    assert_eq!(read("opt/.wh.name"), "ordinary");
    let text = view(tmp.path());
    assert!(
        text.contains("opt 40700")
            && text.contains("opt/made/up 40755")
            && text.contains("links=2"),
        "{text}"
    );
    // Once more over itself.
    unpack(&tar(&members), tmp.path(), "/opt", None, None);
    assert_eq!(
        view(tmp.path()).replace("\n", "").len(),
        text.replace("\n", "").len()
    );
}

#[test]
fn priv_owner_and_mode_of_an_archive_can_be_given() {
    need_root();
    let tmp = scratch();
    unpack(
        &tar(&[dir("d"), file("d/f", ""), symlink("l", "d")]),
        tmp.path(),
        "",
        Some((12, 34)),
        Some(0o750),
    );
    let text = view(tmp.path());
    assert!(
        text.contains("d 40750 12:34") && text.contains("d/f 100750 12:34"),
        "{text}"
    );
    assert!(text.contains("l 120777 12:34"), "{text}");
}

//! zstd:chunked: whole for everybody, in parts for who knows the table of contents.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};

use cooper_archive::tar::{Header, Kind, Time, Writer};
use cooper_archive::{Compression, Cores, Encoder, decode};
use proptest::prelude::*;
use serde::Deserialize;
use zstd_chunked::{MetadataReferences, Stream};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Toc {
    version: u32,
    entries: Vec<TocEntry>,
    tar_split_digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct TocEntry {
    r#type: String,
    name: String,
    link_name: String,
    mode: i64,
    size: u64,
    uid: i64,
    modtime: String,
    dev_major: i64,
    xattrs: BTreeMap<String, String>,
    digest: String,
    offset: u64,
    end_offset: u64,
    chunk_size: u64,
    chunk_offset: u64,
    chunk_digest: String,
    chunk_type: String,
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) as u8).max(1)
    })
    .take(size)
    .collect()
}

/// An archive of these members; sizes are those of the contents.
fn tar(members: &[(Header, Vec<u8>)], trailer: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, content) in members {
        let header = Header {
            size: content.len() as u64,
            ..header.clone()
        };
        writer.start(&header).unwrap();
        writer.data(content).unwrap();
    }
    [&writer.finish().unwrap(), trailer].concat()
}

fn file(name: &str) -> Header {
    Header {
        mode: 0o644,
        uid: 7,
        mtime: Time {
            seconds: 1_600_000_000,
            nanoseconds: 0,
        },
        ..Header::new(name, Kind::File)
    }
}

/// An archive with a member of every kind.
fn everything() -> Vec<u8> {
    let mixed = [
        vec![0; 5000],
        noise(1, 400_000),
        vec![0; 1_000_000],
        noise(2, 10),
        vec![0; 20],
    ]
    .concat();
    let long = "n".repeat(300);
    let members = [
        (Header::new("dir/", Kind::Directory), vec![]),
        (file("dir/empty"), vec![]),
        (file("dir/small"), b"small".to_vec()),
        (file(&long), noise(3, 512)),
        (file("dir/mixed"), mixed),
        (file("zeros"), vec![0; 9_000_000]),
        (file("same"), vec![b'x'; 9_000_000]),
        (
            Header {
                link: b"dir/small".to_vec(),
                ..Header::new("hard", Kind::HardLink)
            },
            vec![],
        ),
        (
            Header {
                link: b"../else".to_vec(),
                ..Header::new("soft", Kind::Symlink)
            },
            vec![],
        ),
        (
            Header {
                dev_major: 5,
                ..Header::new("tty", Kind::CharDevice)
            },
            vec![],
        ),
        (Header::new("pipe", Kind::Fifo), vec![]),
        (
            Header {
                xattrs: vec![(b"user.x".to_vec(), vec![0, 255])],
                ..file("with-xattr")
            },
            b"y".to_vec(),
        ),
    ];
    tar(&members, &[0; 8192])
}

fn encode(
    input: &[u8],
    cores: &Cores,
    step: usize,
) -> std::io::Result<(Vec<u8>, BTreeMap<String, String>)> {
    let mut encoder = Encoder::chunked_with_cores(Vec::new(), None, cores)?;
    for piece in input.chunks(step) {
        encoder.write_all(piece)?;
    }
    let encoded = encoder.finish()?;
    Ok((encoded.out, encoded.annotations))
}

fn unpacked(frames: &[u8]) -> Vec<u8> {
    let (kind, mut reader) = decode(BufReader::new(frames)).unwrap();
    assert_eq!(kind, Compression::Zstd);
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    out
}

fn part(blob: &[u8], range: &std::ops::Range<u64>) -> Vec<u8> {
    blob[range.start as usize..range.end as usize].to_vec()
}

/// Reads a blob as the `zstd-chunked` crate does and returns the table of contents.
fn taken_apart(blob: &[u8], annotations: &BTreeMap<String, String>, input: &[u8]) -> Toc {
    let told = MetadataReferences::from_oci(|key| annotations.get(key)).unwrap();
    let found = MetadataReferences::from_footer(blob).unwrap();
    assert_eq!(told.manifest.range, found.manifest.range);
    assert_eq!(told.tarsplit.range, found.tarsplit.range);
    let (table, split) = (
        part(blob, &told.manifest.range),
        part(blob, &told.tarsplit.range),
    );
    let digest = model::Digest::sha256(&table).to_string();
    assert_eq!(told.manifest.digest, Some(digest));
    let plain = unpacked(&table);
    assert_eq!(plain.len() as u64, told.manifest.uncompressed_size);
    assert_eq!(
        unpacked(&split).len() as u64,
        told.tarsplit.uncompressed_size
    );

    let stream = Stream::new_from_frames(&table, &split).unwrap();
    let mut again = Vec::new();
    stream
        .write_to(&mut again, |reference| {
            let bytes = unpacked(&part(blob, &reference.range));
            assert_eq!(bytes.len() as u64, reference.size);
            assert_eq!(model::Digest::sha256(&bytes).to_string(), reference.digest);
            Ok(bytes)
        })
        .unwrap();
    assert!(again == input, "the parts make the whole");
    let toc: Toc = serde_json::from_slice(&plain).unwrap();
    assert_eq!(toc.version, 1);
    assert_eq!(
        toc.tar_split_digest,
        model::Digest::sha256(&split).to_string()
    );
    toc
}

/// Fetches every chunk by itself, as a partial pull does.
fn check_chunks(blob: &[u8], toc: &Toc) {
    for (index, entry) in toc.entries.iter().enumerate() {
        if entry.chunk_digest.is_empty() {
            continue;
        }
        let next = toc
            .entries
            .get(index + 1)
            .filter(|next| next.r#type == "chunk");
        let first = toc.entries[..=index]
            .iter()
            .rev()
            .find(|one| one.r#type == "reg");
        let end = next.map_or_else(|| first.unwrap().end_offset, |next| next.offset);
        let bytes = unpacked(&part(blob, &(entry.offset..end)));
        assert_eq!(bytes.len() as u64, entry.chunk_size);
        assert_eq!(
            model::Digest::sha256(&bytes).to_string(),
            entry.chunk_digest
        );
        let zeros = bytes.iter().all(|byte| *byte == 0);
        assert_eq!(zeros, entry.chunk_type == "zeros");
        if let Some(next) = next {
            assert_eq!(next.chunk_offset, entry.chunk_offset + entry.chunk_size);
        }
    }
}

#[test]
fn a_layer_is_readable_whole_and_in_parts() {
    let input = everything();
    let (blob, annotations) = encode(&input, &Cores::new(2), 1 << 16).unwrap();
    assert!(unpacked(&blob) == input);
    let toc = taken_apart(&blob, &annotations, &input);
    check_chunks(&blob, &toc);
    let find = |name: &str| toc.entries.iter().find(|entry| entry.name == name).unwrap();
    for (name, kind) in [
        ("dir/", "dir"),
        ("dir/empty", "reg"),
        ("hard", "hardlink"),
        ("soft", "symlink"),
        ("tty", "char"),
        ("pipe", "fifo"),
        ("zeros", "reg"),
    ] {
        assert_eq!(find(name).r#type, kind, "{name}");
    }
    assert_eq!(find("soft").link_name, "../else");
    assert_eq!(find("tty").dev_major, 5);
    assert_eq!(find("dir/empty").digest, "");
    assert_eq!(find("with-xattr").xattrs["user.x"], "AP8=");
    let small = find("dir/small");
    assert_eq!(
        (small.mode, small.size, small.uid, &*small.modtime),
        (0o644, 5, 7, "2020-09-13T12:26:40Z")
    );
    let chunks = |name: &str| {
        toc.entries
            .iter()
            .filter(|entry| entry.name == name)
            .count()
    };
    assert_eq!(chunks("zeros"), 1, "one hole");
    assert_eq!(chunks("same"), 3, "4 MiB are the most of a chunk");
    assert!(chunks("dir/mixed") > 4);
    assert_eq!(find("dir/mixed").chunk_type, "zeros");
}

#[test]
fn bytes_depend_on_nothing_but_the_input() {
    let input = everything();
    let reference = encode(&input, &Cores::new(1), 1 << 20).unwrap();
    for (threads, step) in [(2, 511), (16, 100_000_000)] {
        let again = encode(&input, &Cores::new(threads), step).unwrap();
        assert!(again == reference, "{threads} {step}");
    }
}

#[test]
fn archives_of_every_ending_are_kept_whole() {
    let members = [(file("f"), b"content".to_vec())];
    let whole = tar(&members, b"");
    for (name, input) in [
        ("nothing", vec![]),
        ("no end", whole[..whole.len() - 1024].to_vec()),
        ("half an end", whole[..whole.len() - 512].to_vec()),
        ("no padding", whole[..512 + 7].to_vec()),
        ("more behind", [&whole[..], b"behind the end"].concat()),
    ] {
        let (blob, annotations) = encode(&input, &Cores::new(1), 100).unwrap();
        assert!(unpacked(&blob) == input, "{name}");
        taken_apart(&blob, &annotations, &input);
    }
}

#[test]
fn what_cannot_be_described_is_refused() {
    let whole = tar(&[(file("f"), vec![7; 2000])], b"");
    let odd = |header: Header| tar(&[(header, vec![])], b"");
    let mut sparse = odd(file("s"));
    sparse[156] = b'S';
    for (name, input, expected) in [
        (
            "no archive",
            vec![b'x'; 600],
            "invalid tar header at byte 0",
        ),
        (
            "cut in a header",
            whole[..100].to_vec(),
            "ends unexpectedly",
        ),
        ("cut in data", whole[..1000].to_vec(), "ends unexpectedly"),
        (
            "no UTF-8",
            odd(Header {
                name: vec![0xff],
                ..file("x")
            }),
            "no UTF-8",
        ),
        (
            "unknown",
            odd(Header::new("u", Kind::Other(b'7'))),
            "unknown type",
        ),
    ] {
        let error = encode(&input, &Cores::new(1), 64).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    assert!(encode(&sparse, &Cores::new(1), 64).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spoiled_archives_are_refused_or_kept_whole(
        places in proptest::collection::vec((0_usize..6_000, any::<u8>()), 0..6),
        end in 0_usize..6_000,
        step in 1_usize..3_000,
    ) {
        let members = [
            (file(&"p".repeat(200)), vec![1; 900]),
            (file("g"), vec![0; 1500]),
        ];
        let mut input = tar(&members, b"");
        for (at, byte) in places {
            let length = input.len();
            input[at % length] = byte;
        }
        input.truncate(end.max(10));
        if let Ok((blob, _)) = encode(&input, &Cores::all(), step) {
            prop_assert!(unpacked(&blob) == input);
        }
    }
}

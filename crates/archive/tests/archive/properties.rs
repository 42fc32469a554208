//! Laws over arbitrary members, trees and bytes.

use std::collections::BTreeMap;

use cooper_archive::tar::{Header, Kind, Reader, Time, Writer, clean_name};
use cooper_archive::{Flavour, TarSplitReader, TreeOptions, regenerate};
use proptest::prelude::*;

use crate::extraction::with_type_bits;
use crate::support::{archive, extract, member, root, scratch};

fn name() -> impl Strategy<Value = Vec<u8>> {
    // Any byte but NUL and the slash, in up to four parts: long ones, foreign ones, and ones that look like paths.
    let part = prop_oneof![
        "[a-c]{1,3}".prop_map(String::into_bytes),
        "[x-z]{60,120}".prop_map(String::into_bytes),
        prop::collection::vec(
            (1_u8..=255).prop_filter("slash", |byte| *byte != b'/'),
            1..20
        ),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b'/'))
}

fn any_header() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let numbers = (
        0_i64..0o7_777_777,
        any::<u32>(),
        -(1_i64 << 34)..(1_i64 << 34),
        0_i64..4096,
    );
    let kinds = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::CharDevice)
    ];
    let data = prop::collection::vec(any::<u8>(), 0..2000);
    let xattrs = prop::collection::btree_map(
        "user\\.[a-z]{1,20}",
        prop::collection::vec(any::<u8>(), 0..50),
        0..3,
    );
    (name(), kinds, numbers, data, xattrs, name()).prop_map(
        |(name, kind, (mode, id, seconds, major), data, xattrs, link)| {
            let mut header = Header::new(name, kind);
            header.mode = mode & 0o777_7777;
            header.uid = id.into();
            header.gid = (id >> 3).into();
            header.mtime = Time {
                seconds,
                nanoseconds: 0,
            };
            header.xattrs = xattrs
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value))
                .collect();
            match kind {
                Kind::File => header.size = data.len() as u64,
                Kind::Symlink | Kind::HardLink => header.link = link,
                Kind::CharDevice => header.dev_major = major,
                _ => {}
            }
            let data = if kind == Kind::File { data } else { Vec::new() };
            (header, data)
        },
    )
}

/// A tree as a map of paths to contents; the order of the map is the order of the walk where names sort like paths.
fn tree() -> impl Strategy<Value = BTreeMap<String, Option<Vec<u8>>>> {
    let path = "[a-d](/[a-d]){0,3}";
    let content = prop::collection::vec(any::<u8>(), 0..3000);
    prop::collection::btree_map(path, content, 0..20).prop_map(|files| {
        let mut tree = BTreeMap::new();
        for (path, content) in files {
            let parts: Vec<&str> = path.split('/').collect();
            for end in 1..parts.len() {
                tree.insert(parts[..end].join("/"), None);
            }
            tree.entry(path).or_insert(Some(content));
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(members in prop::collection::vec(any_header(), 0..6)) {
        let mut writer = Writer::new(Vec::new());
        for (header, data) in &members {
            writer.start(header).unwrap();
            writer.data(data).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..]);
        for (header, data) in &members {
            let entry = reader.next_entry().unwrap().unwrap();
            prop_assert_eq!(&entry.header, header);
            let mut read = Vec::new();
            loop {
                let chunk = reader.chunk().unwrap();
                let len = chunk.len();
                if len == 0 { break; }
                read.extend_from_slice(chunk);
                reader.consume(len);
            }
            prop_assert_eq!(&read, data);
        }
        prop_assert!(reader.next_entry().unwrap().is_none());
        prop_assert_eq!(reader.offset(), bytes.len() as u64);
    }

    #[test]
    fn a_tree_survives_extraction_and_regeneration(tree in tree()) {
        let members: Vec<_> = tree.iter().map(|(path, content)| {
            let mut header = member(path, if content.is_some() { Kind::File } else { Kind::Directory });
            header.size = content.as_ref().map_or(0, Vec::len) as u64;
            (header, content.clone().unwrap_or_default())
        }).collect();
        let blob = with_type_bits(&members);
        let tmp = scratch();
        let (extracted, split) = extract(&blob, tmp.path(), Flavour::OverlayUser).unwrap();
        let (digest, ..) = archive(tmp.path(), &[], &TreeOptions::new(Flavour::OverlayUser));
        prop_assert_eq!(&digest, &extracted.digest);
        let mut again = Vec::new();
        regenerate(&split[..], &[&root(tmp.path())], &mut again).unwrap();
        prop_assert_eq!(again, blob);
    }

    #[test]
    fn foreign_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in 0_usize..600, byte: u8) {
        let mut tar = with_type_bits(&[(member("d", Kind::Directory), Vec::new()), crate::support::file("d/f", "data")]);
        tar[at] = byte;
        tar.extend_from_slice(&bytes);
        let mut reader = Reader::new(&tar[..]);
        while let Ok(Some(_)) = reader.next_entry() {}
        let mut segments = TarSplitReader::new(&bytes[..]);
        while let Ok(Some(_)) = segments.next_segment() {}
    }

    #[test]
    fn cleaning_is_idempotent(name in name(), dots in "[./a]{0,12}") {
        for name in [name, dots.into_bytes()] {
            let clean = clean_name(&name);
            prop_assert_eq!(clean_name(&clean), clean.clone());
            prop_assert!(!clean.windows(2).any(|pair| pair == b"//"));
        }
    }
}

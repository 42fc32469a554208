//! A tree that is digested while its files are filled has the digest that it has afterwards.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cooper_archive::{
    Early, Expected, Flavour, Supply, Times, TreeError, TreeOptions, digest_arriving, digest_tree,
};
use proptest::prelude::*;
use sys::copy::Passage;

use crate::support::{root, scratch};

const MTIME: i64 = 1_500_000_000;
const MODE: u32 = 0o640;

/// Contents by inode number; each is written in pieces, and passes as it is written.
#[derive(Default)]
struct Contents {
    files: HashMap<u64, (PathBuf, Vec<u8>)>,
    /// How many bytes of each file come; `None` for all of them.
    cut: Option<usize>,
}

impl Contents {
    /// Makes an empty file whose content will come.
    fn promise(&mut self, path: &Path, content: &[u8]) {
        let file = File::create_new(path).unwrap();
        let inode = file.metadata().unwrap().ino();
        self.files.insert(inode, (path.into(), content.into()));
    }
}

impl Supply for Contents {
    fn expected(&self, inode: u64) -> Option<Expected> {
        let (_, content) = self.files.get(&inode)?;
        Some(Expected {
            size: content.len() as u64,
            mode: MODE,
            mtime: MTIME,
        })
    }

    fn supply(&mut self, inode: u64, passage: &mut dyn Passage) -> io::Result<()> {
        let (path, content) = self.files.remove(&inode).unwrap();
        let file = File::options().write(true).open(&path)?;
        let mut left = &content[..self.cut.unwrap_or(content.len())];
        let mut at = 0;
        while !left.is_empty() {
            let room = passage.room()?;
            let len = room.len().min(left.len()).min(1000);
            room[..len].copy_from_slice(&left[..len]);
            file.write_all_at(&room[..len], at)?;
            passage.passed(len)?;
            left = &left[len..];
            at += len as u64;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
        set_mtime(&path, MTIME);
        Ok(())
    }
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: 5,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &times,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
}

fn arrive(
    tree: &Path,
    contents: &mut Contents,
    options: &TreeOptions,
) -> Result<(Early, Vec<u8>), TreeError> {
    let mut split = Vec::new();
    let early = digest_arriving(root(tree).as_fd(), &[], options, &mut split, contents)?;
    Ok((early, split))
}

/// Confirms an early digest and compares it with the ordinary one.
fn check_equal(tree: &Path, early: (Early, Vec<u8>), options: &TreeOptions) {
    let mut split = Vec::new();
    let ordinary = digest_tree(root(tree), &[], options, &mut split).unwrap();
    let (early, early_split) = early;
    let confirmed = early.confirm(root(tree), &[], options).unwrap();
    assert_eq!(confirmed, Some(ordinary));
    assert!(early_split == split, "the tar-splits differ");
}

/// A tree of every sort of thing, in which some contents are still to come.
fn mixed(tree: &Path) -> Contents {
    let mut contents = Contents::default();
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    fs::write(tree.join("a/ready"), "was there before").unwrap();
    fs::write(tree.join("a/nothing"), "").unwrap();
    contents.promise(&tree.join("a/large"), &vec![7; 1_300_000]);
    contents.promise(&tree.join("a/b/odd"), &[1; 513]);
    contents.promise(&tree.join("z"), b"last");
    fs::hard_link(tree.join("a/large"), tree.join("second-name")).unwrap();
    symlink("a/large", tree.join("link")).unwrap();
    let named = File::open(tree.join("a/b/odd")).unwrap();
    rustix::fs::fsetxattr(&named, "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    contents
}

#[test]
fn what_arrives_is_digested_as_if_it_had_been_there() {
    for times in [Times::Keep, Times::Fixed(12), Times::Clamp(MTIME - 10)] {
        let tmp = scratch();
        let mut contents = mixed(tmp.path());
        let options = TreeOptions {
            times,
            ..TreeOptions::new(Flavour::OverlayUser)
        };
        let early = arrive(tmp.path(), &mut contents, &options).unwrap();
        assert!(contents.files.is_empty());
        check_equal(tmp.path(), early, &options);
    }
}

#[test]
fn a_tree_that_changed_afterwards_is_not_confirmed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 9] = [
        ("a byte of what arrived", |tree| {
            let file = File::options().write(true).open(tree.join("a/large"));
            file.unwrap().write_all_at(b"!", 70_000).unwrap();
            set_mtime(&tree.join("a/large"), MTIME);
        }),
        ("a byte of what was there", |tree| {
            fs::write(tree.join("a/ready"), "WAS there before").unwrap();
        }),
        ("longer", |tree| {
            let file = File::options().append(true).open(tree.join("z")).unwrap();
            file.set_len(5).unwrap();
        }),
        ("a mode", |tree| {
            fs::set_permissions(tree.join("z"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("another file in its place", |tree| {
            fs::copy(tree.join("z"), tree.join("new")).unwrap();
            set_mtime(&tree.join("new"), MTIME);
            fs::set_permissions(tree.join("new"), fs::Permissions::from_mode(0o640)).unwrap();
            fs::rename(tree.join("new"), tree.join("z")).unwrap();
        }),
        ("one more", |tree| {
            fs::write(tree.join("a/more"), "").unwrap();
        }),
        ("one less", |tree| {
            fs::remove_dir(tree.join("empty")).unwrap();
        }),
        ("a link", |tree| {
            fs::remove_file(tree.join("link")).unwrap();
            symlink("a/ready", tree.join("link")).unwrap();
        }),
        ("a time", |tree| set_mtime(&tree.join("a"), 3)),
    ];
    for (what, change) in changes {
        let tmp = scratch();
        let options = TreeOptions::new(Flavour::OverlayUser);
        let (early, _) = arrive(tmp.path(), &mut mixed(tmp.path()), &options).unwrap();
        // Older kernels give changes within one tick the same time.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(tmp.path());
        let confirmed = early.confirm(root(tmp.path()), &[], &options).unwrap();
        assert_eq!(confirmed, None, "{what}");
    }
}

#[test]
fn a_content_that_does_not_come_whole_ends_the_digest() {
    let tmp = scratch();
    let mut contents = Contents {
        cut: Some(3),
        ..mixed(tmp.path())
    };
    let options = TreeOptions::new(Flavour::Plain);
    let error = arrive(tmp.path(), &mut contents, &options).unwrap_err();
    assert_eq!(error.to_string(), "cannot fill `/a/b/odd` of the tree");
}

/// Paths with their contents, and whether each comes late.
fn tree() -> impl Strategy<Value = BTreeMap<String, (Vec<u8>, bool)>> {
    let path = "[a-c](/[d-f]){0,2}";
    let content = prop::collection::vec(any::<u8>(), 1..4000);
    prop::collection::btree_map(path, (content, any::<bool>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_part_of_a_tree_may_arrive_late(files in tree()) {
        let tmp = scratch();
        let mut contents = Contents::default();
        for (path, (content, late)) in &files {
            let path = tmp.path().join(path);
            // A file may be where another path has a directory.
            if path.exists() || fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            if *late {
                contents.promise(&path, content);
            } else {
                fs::write(&path, content).unwrap();
            }
        }
        let options = TreeOptions::new(Flavour::OverlayUser);
        let early = arrive(tmp.path(), &mut contents, &options).unwrap();
        check_equal(tmp.path(), early, &options);
    }
}

//! Layers that are hashed while large files are copied have the digest that they have afterwards.

use super::*;

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use archive::{Early, Flavour, Supply, TreeOptions, digest_arriving, digest_tree};
use cooper_builder::copy::apply_digesting;
use proptest::prelude::*;
use sys::copy::Passage;

/// Enough for hashing while copying to be worth it.
const LARGE: usize = 17 << 20;

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 31 + at / 4096 + seed) % 251).unwrap())
        .collect()
}

fn write_large(path: &Path, seed: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes(LARGE, seed)).unwrap();
}

/// Counts what is supplied.
struct Counted<'a> {
    supply: &'a mut (dyn Supply + Send),
    asked: usize,
}

impl Supply for Counted<'_> {
    fn expected(&self, inode: u64) -> Option<archive::Expected> {
        self.supply.expected(inode)
    }

    fn supply(&mut self, inode: u64, passage: &mut dyn Passage) -> std::io::Result<()> {
        self.asked += 1;
        self.supply.supply(inode, passage)
    }
}

/// A copy whose layer was hashed meanwhile.
struct Digested {
    early: Option<Early>,
    split: Vec<u8>,
    asked: usize,
    options: TreeOptions,
}

impl Digested {
    /// Copies into `root`, whose changes arrive in `upper`.
    fn copy(gathered: &Gathered, root: &Root, upper: &Path, flavour: Flavour) -> Self {
        let mut digested = Self {
            early: None,
            split: Vec::new(),
            asked: 0,
            options: TreeOptions::new(flavour),
        };
        apply_digesting(gathered, root, &mut |supply| {
            let mut counted = Counted { supply, asked: 0 };
            let tree = Root::open(upper).unwrap();
            let (options, split) = (&digested.options, &mut digested.split);
            let early = digest_arriving(tree.as_fd(), &[], options, split, &mut counted).unwrap();
            digested.early = Some(early);
            digested.asked = counted.asked;
        })
        .unwrap();
        digested
    }

    /// Compares the early digest with the one of the finished tree.
    fn check(&self, upper: &Path) {
        let tree = Root::open(upper).unwrap();
        let mut split = Vec::new();
        let ordinary = digest_tree(&tree, &[], &self.options, &mut split).unwrap();
        let early = self.early.as_ref().expect("nothing was hashed early");
        let confirmed = early.confirm(&tree, &[], &self.options).unwrap();
        assert_eq!(confirmed, Some(ordinary));
        assert!(self.split == split, "the tar-splits differ");
    }
}

/// A context with two large files and everything else that a copy can meet.
fn context(at: &Scratch) -> PathBuf {
    let context = at.sub("context");
    make(
        &context,
        &[
            "f d/small =S",
            "d d/empty 750",
            "d d/shut 500",
            "l d/link sub/z",
            "p d/fifo",
            "f d/none",
            "f one/only =1",
        ],
    );
    write_large(&context.join("d/sub/z"), 1);
    write_large(&context.join("d/a"), 2);
    std::fs::hard_link(context.join("d/a"), context.join("d/sub/second-name")).unwrap();
    std::fs::hard_link(context.join("d/sub/z"), context.join("d/a-name-before")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o444);
    std::fs::set_permissions(context.join("d/a"), mode).unwrap();
    let file = std::fs::File::open(context.join("d/sub/z")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&file, "user.note", b"kept", flags).unwrap();
    let holes = std::fs::File::create(context.join("d/holes")).unwrap();
    holes.write_all_at(b"middle", 5 << 20).unwrap();
    holes.set_len(9 << 20).unwrap();
    set_time(&context.join("d/sub/z"), 1_234_567_890, 987);
    context
}

/// Lines of a copy, with how many contents are supplied (late files by inode).
const LINES: [(&str, usize); 11] = [
    ("COPY d /t", 3),
    ("COPY d/a d/small d/holes <<note /t/u/", 2),
    ("COPY d/sub/z d/a d/a /t/u/", 1),
    ("COPY d/holes d/sub/z /t/", 2),
    ("COPY d/a /renamed", 1),
    ("COPY --chmod=4711 d /t", 3),
    ("COPY --parents d/./sub d/sub /t/", 2),
    ("COPY one d /t", 3),
    ("COPY d one /t", 0),
    ("COPY --link d /old/linked", 3),
    ("COPY d/link /t/followed", 1),
];

#[test]
fn hashing_while_copying_changes_nothing() {
    let at = Scratch::new();
    let context = context(&at);
    for (index, (line, asked)) in LINES.into_iter().enumerate() {
        let root = [
            "f t/a =old",
            "f t/keep",
            "d t/sub 700",
            "l old other",
            "d other",
        ];
        let (early, plain) = (
            at.sub(&format!("early-{index}")),
            at.sub(&format!("plain-{index}")),
        );
        make(&early, &root);
        make(&plain, &root);
        let gathered = gather_words(line, &context, None, None).unwrap();
        let into = Root::open(&early).unwrap();
        if asked == 0 {
            apply_digesting(&gathered, &into, &mut |_| panic!("{line}: not worth it")).unwrap();
        } else {
            let digested = Digested::copy(&gathered, &into, &early, Flavour::Plain);
            assert_eq!(digested.asked, asked, "{line}");
            digested.check(&early);
        }
        let applied = apply(&gathered, &Root::open(&plain).unwrap()).unwrap();
        assert!(applied.bytes > 0);
        similar_asserts::assert_eq!(dump(&early), dump(&plain), "{line}");
    }
}

#[test]
fn files_that_settled_and_files_that_did_not_are_hashed_alike() {
    let at = Scratch::new();
    let context = at.sub("context");
    write_large(&context.join("d/x"), 3);
    let memo = Memo::at(at.0.join("memo"));
    for round in ["racy", "settled"] {
        let gathered = gather_words("COPY d /t", &context, None, Some(&memo)).unwrap();
        let target = at.sub(round);
        let root = Root::open(&target).unwrap();
        Digested::copy(&gathered, &root, &target, Flavour::Plain).check(&target);
        assert!(std::fs::read(target.join("t/x")).unwrap() == bytes(LARGE, 3));
        settle();
    }
}

#[test]
fn a_source_that_changes_while_it_is_hashed_is_refused() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("content", |dir| {
            let file = std::fs::File::options().write(true).open(dir.join("d/x"));
            file.unwrap().write_all_at(b"!", 9 << 20).unwrap();
        }),
        ("shorter", |dir| {
            let file = std::fs::File::options().write(true).open(dir.join("d/x"));
            file.unwrap().set_len(2 << 20).unwrap();
        }),
        ("gone", |dir| std::fs::remove_file(dir.join("d/x")).unwrap()),
        ("link", |dir| {
            std::fs::remove_file(dir.join("d/x")).unwrap();
            symlink("/etc/hostname", dir.join("d/x")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let at = Scratch::new();
        let (context, target) = (at.sub("context"), at.sub("target"));
        write_large(&context.join("d/x"), 4);
        let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
        let root = Root::open(&target).unwrap();
        let outcome = apply_digesting(&gathered, &root, &mut |supply| {
            change(&context);
            let options = TreeOptions::new(Flavour::Plain);
            let digest = digest_arriving(&root, &[], &options, Vec::new(), supply);
            assert!(digest.is_err(), "{what}");
        });
        let err = outcome.unwrap_err();
        assert!(
            matches!(err, CopyError::Changed { .. }),
            "{what}: {}",
            chain(&err)
        );
    }
}

/// Ends after some bytes, as a full disk does.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_digest_that_ends_early_leaves_a_whole_copy() {
    let at = Scratch::new();
    let context = context(&at);
    let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
    let plain = at.sub("plain");
    apply(&gathered, &Root::open(&plain).unwrap()).unwrap();
    for room in [None, Some(0), Some(40)] {
        let target = at.sub(&format!("target-{room:?}"));
        let root = Root::open(&target).unwrap();
        apply_digesting(&gathered, &root, &mut |supply| {
            if let Some(room) = room {
                let options = TreeOptions::new(Flavour::Plain);
                let digest = digest_arriving(&root, &[], &options, Full(room), supply);
                digest.unwrap_err();
            }
        })
        .unwrap();
        similar_asserts::assert_eq!(dump(&target), dump(&plain), "{room:?}");
    }
}

#[test]
fn a_name_that_two_files_take_through_a_link_has_one_of_them() {
    let at = Scratch::new();
    let (context, target) = (at.sub("context"), at.sub("target"));
    write_large(&context.join("d/one/x"), 5);
    write_large(&context.join("d/two/x"), 6);
    make(&target, &["d t/one", "l t/two one"]);
    let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
    let root = Root::open(&target).unwrap();
    Digested::copy(&gathered, &root, &target, Flavour::Plain).check(&target);
    let found = std::fs::read(target.join("t/one/x")).unwrap();
    assert!(found == bytes(LARGE, 5) || found == bytes(LARGE, 6));
}

#[test]
fn priv_inode_numbers_agree_through_an_overlay() {
    need_root();
    let at = Scratch::new();
    let context = context(&at);
    make(
        &at.sub("lower"),
        &["d t 700", "f t/a =old", "d t/sub/below", "f other"],
    );
    let (root, upper) = overlay(&at);
    let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
    let digested = Digested::copy(&gathered, &root, &upper, Flavour::OverlayTrusted);
    assert_eq!(digested.asked, 3);
    digested.check(&upper);
    drop(root);
    digested.check(&upper);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_hashed_the_same(
        files in prop::collection::btree_map(
            "[a-c](/[d-f]){0,2}",
            (prop_oneof![Just(0_usize), 1..5000_usize, (1_usize << 20)..(3 << 20)], 0_u32..0o1000),
            1..8,
        ),
    ) {
        let at = Scratch::new();
        let context = at.sub("context");
        write_large(&context.join("d/large"), 7);
        for (path, (len, mode)) in &files {
            let path = context.join("d").join(path);
            if path.exists() || std::fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            std::fs::write(&path, bytes(*len, 8)).unwrap();
            let mode = std::fs::Permissions::from_mode(mode | 0o400);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        let gathered = gather_words("COPY d /t", &context, None, None).unwrap();
        let (early, plain) = (at.sub("early"), at.sub("plain"));
        let root = Root::open(&early).unwrap();
        Digested::copy(&gathered, &root, &early, Flavour::Plain).check(&early);
        apply(&gathered, &Root::open(&plain).unwrap()).unwrap();
        prop_assert_eq!(dump(&early), dump(&plain));
    }
}

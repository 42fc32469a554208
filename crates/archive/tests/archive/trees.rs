//! Trees as layers.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use cooper_archive::tar::Reader;
use cooper_archive::{Flavour, Times, TreeError, TreeOptions, digest_tree, regenerate};

use crate::support::{archive, need_root, root, scratch, subdir};

fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8_lossy(&entry.header.name).into_owned());
    }
    names
}

fn run(program: &str, args: &[&str]) {
    assert!(
        std::process::Command::new(program)
            .args(args)
            .status()
            .unwrap()
            .success(),
        "{program} {args:?}"
    );
}

fn whiteout(path: &Path) {
    run("mknod", &[path.to_str().unwrap(), "c", "0", "0"]);
}

fn opaque(path: &Path) {
    run(
        "setfattr",
        &[
            "-n",
            "trusted.overlay.opaque",
            "-v",
            "y",
            path.to_str().unwrap(),
        ],
    );
}

#[test]
fn order_is_lexical_within_each_directory() {
    let tmp = scratch();
    for dir in ["b", "b-b", "a"] {
        subdir(tmp.path(), dir);
        fs::write(tmp.path().join(dir).join("x"), dir).unwrap();
    }
    fs::hard_link(tmp.path().join("b/x"), tmp.path().join("a/y")).unwrap();
    let (_, split, bytes) = archive(tmp.path(), &[], &TreeOptions::new(Flavour::Plain));
    assert_eq!(
        names(&bytes),
        ["a/", "a/x", "a/y", "b/", "b/x", "b-b/", "b-b/x"]
    );
    let mut again = Vec::new();
    regenerate(&split[..], &[&root(tmp.path())], &mut again).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn excludes_and_times_change_the_stream() {
    let tmp = scratch();
    subdir(tmp.path(), "etc");
    fs::write(tmp.path().join("etc/hosts"), "").unwrap();
    fs::write(tmp.path().join("etc/keep"), "").unwrap();
    let mut options = TreeOptions::new(Flavour::Plain);
    options.excludes = vec!["etc/hosts".into()];
    options.times = Times::Fixed(7);
    let (_, _, bytes) = archive(tmp.path(), &[], &options);
    assert_eq!(names(&bytes), ["etc/", "etc/keep"]);
    let entry = Reader::new(&bytes[..]).next_entry().unwrap().unwrap();
    assert_eq!(entry.header.mtime.seconds, 7);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
    fs::File::open(tmp.path().join("etc"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    options.times = Times::Clamp(7);
    let (_, _, bytes) = archive(tmp.path(), &[], &options);
    let mut reader = Reader::new(&bytes[..]);
    assert_eq!(
        reader.next_entry().unwrap().unwrap().header.mtime.seconds,
        5
    );
    assert_eq!(
        reader.next_entry().unwrap().unwrap().header.mtime.seconds,
        7
    );
}

#[test]
fn sockets_are_skipped_and_large_files_span_chunks() {
    let tmp = scratch();
    let _socket = std::os::unix::net::UnixListener::bind(tmp.path().join("socket")).unwrap();
    fs::write(tmp.path().join("large"), vec![7_u8; 3_000_001]).unwrap();
    symlink("../x", tmp.path().join("link")).unwrap();
    let (digest, split, bytes) = archive(tmp.path(), &[], &TreeOptions::new(Flavour::Plain));
    assert_eq!(names(&bytes), ["large", "link"]);
    assert!(
        digest
            .uids
            .contains(&fs::metadata(tmp.path()).unwrap().uid())
    );
    let mut again = Vec::new();
    regenerate(&split[..], &[&root(tmp.path())], &mut again).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn a_changed_file_is_found_when_regenerating() {
    let tmp = scratch();
    fs::write(tmp.path().join("f"), "one").unwrap();
    let (_, split, _) = archive(tmp.path(), &[], &TreeOptions::new(Flavour::Plain));
    fs::write(tmp.path().join("f"), "two").unwrap();
    let error = regenerate(&split[..], &[&root(tmp.path())], Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`f` of the layer is not the file that was archived"
    );
}

#[test]
fn nesting_has_a_limit() {
    let tmp = scratch();
    let mut dir = rustix::fs::open(
        tmp.path(),
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..cooper_archive::MAX_DEPTH + 2 {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
        dir = rustix::fs::openat(
            &dir,
            "d",
            rustix::fs::OFlags::PATH,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let error = digest_tree(
        root(tmp.path()),
        &[],
        &TreeOptions::new(Flavour::Plain),
        Vec::new(),
    )
    .unwrap_err();
    assert!(matches!(error, TreeError::TooDeep { .. }), "{error}");
}

#[test]
fn an_output_that_fails_ends_the_walk() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let tmp = scratch();
    fs::write(tmp.path().join("f"), vec![1_u8; 20 << 20]).unwrap();
    let error = digest_tree(
        root(tmp.path()),
        &[],
        &TreeOptions::new(Flavour::Plain),
        Full,
    )
    .unwrap_err();
    assert!(matches!(error, TreeError::Output(_)), "{error}");
}

#[test]
fn priv_whiteouts_and_opaque_marks_are_written_as_names() {
    need_root();
    let tmp = scratch();
    let lower = subdir(tmp.path(), "lower");
    subdir(&lower, "both");
    subdir(&lower, "gone");
    let bottom = subdir(tmp.path(), "bottom");
    subdir(&bottom, "hidden");
    whiteout(&lower.join("hidden"));
    let upper = subdir(tmp.path(), "upper");
    for dir in ["both", "only-here", "hidden"] {
        opaque(&subdir(&upper, dir));
    }
    whiteout(&upper.join("gone"));
    let (digest, ..) = archive(&upper, &[], &TreeOptions::new(Flavour::OverlayTrusted));
    assert_eq!(digest.uids.len(), 1);
    let (_, _, bytes) = archive(
        &upper,
        &[&lower, &bottom],
        &TreeOptions::new(Flavour::OverlayTrusted),
    );
    assert_eq!(
        names(&bytes),
        [
            "both/",
            "both/.wh..wh..opq",
            ".wh.gone",
            "hidden/",
            "only-here/"
        ]
    );
    let (_, _, bytes) = archive(
        &upper,
        &[&lower, &bottom],
        &TreeOptions::new(Flavour::Plain),
    );
    assert_eq!(names(&bytes), ["both/", "gone", "hidden/", "only-here/"]);
}

#[test]
fn vfs_layers_are_differences() {
    let tmp = scratch();
    let parent = subdir(tmp.path(), "parent");
    let tree = subdir(tmp.path(), "tree");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for top in [&parent, &tree] {
        for dir in ["same", "deep", "deep/er", "gone"] {
            subdir(top, dir);
        }
        for name in ["same/f", "deep/f", "deep/er/f", "gone/f", "mode"] {
            fs::write(top.join(name), name).unwrap();
            fs::File::open(top.join(name))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
    }
    fs::remove_dir_all(tree.join("gone")).unwrap();
    fs::remove_file(tree.join("deep/f")).unwrap();
    fs::write(tree.join("deep/er/f"), "other").unwrap();
    fs::set_permissions(
        tree.join("mode"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    fs::write(tree.join("deep-new"), "").unwrap();
    let (_, _, bytes) = archive(&tree, &[&parent], &TreeOptions::new(Flavour::Vfs));
    assert_eq!(
        names(&bytes),
        [
            "deep/",
            "deep-new",
            "deep/er/",
            "deep/er/f",
            "deep/.wh.f",
            ".wh.gone",
            "mode"
        ]
    );
    let (_, _, bytes) = archive(&parent, &[&parent], &TreeOptions::new(Flavour::Vfs));
    assert_eq!(bytes, [0; 1024]);
}

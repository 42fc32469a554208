//! Scratch directories, hand-made tar streams, and a printed view of a tree to compare.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cooper_archive::tar::{Header, Kind, Time, Writer};
use cooper_archive::{
    ExtractError, Extracted, Flavour, LayerDigest, LayerOptions, Limits, OwnerChange, Privilege,
    TreeOptions, digest_tree, extract_layer, write_tree,
};
use sys::Root;
use sys::xattr::Node;

/// Fails where the tests of this tier cannot run.
pub fn need_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
}

/// A scratch directory that goes away with the value, on a disk file system (overlay marks need attributes).
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("cooper-archive-")
        .tempdir_in("/var/tmp")
        .unwrap()
}

pub fn root(path: &Path) -> Root {
    Root::open(path).unwrap()
}

pub fn subdir(parent: &Path, name: &str) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// The owner that tests without root can set.
pub fn me() -> (i64, i64) {
    (
        rustix::process::geteuid().as_raw().into(),
        rustix::process::getegid().as_raw().into(),
    )
}

pub fn member(name: &str, kind: Kind) -> Header {
    let mut header = Header::new(name, kind);
    (header.uid, header.gid) = me();
    header.mode = if kind == Kind::Directory {
        0o755
    } else {
        0o644
    };
    header.mtime = Time {
        seconds: 1_600_000_000,
        nanoseconds: 0,
    };
    header
}

pub fn dir(name: &str) -> (Header, Vec<u8>) {
    (member(name, Kind::Directory), Vec::new())
}

pub fn file(name: &str, data: &str) -> (Header, Vec<u8>) {
    let mut header = member(name, Kind::File);
    header.size = data.len() as u64;
    (header, data.into())
}

pub fn symlink(name: &str, target: &str) -> (Header, Vec<u8>) {
    let mut header = member(name, Kind::Symlink);
    header.link = target.into();
    (header, Vec::new())
}

pub fn hard_link(name: &str, target: &str) -> (Header, Vec<u8>) {
    let mut header = member(name, Kind::HardLink);
    header.link = target.into();
    (header, Vec::new())
}

pub fn tar(members: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, data) in members {
        writer.start(header).unwrap();
        writer.data(data).unwrap();
    }
    writer.finish().unwrap()
}

pub fn layer_options(flavour: Flavour) -> LayerOptions {
    LayerOptions {
        flavour,
        privilege: Privilege::Full,
        owners: OwnerChange::Required,
        limits: Limits::default(),
    }
}

/// Extracts a layer and returns what was learned with its split.
pub fn extract(
    blob: &[u8],
    into: &Path,
    flavour: Flavour,
) -> Result<(Extracted, Vec<u8>), ExtractError> {
    let mut split = Vec::new();
    let extracted = extract_layer(blob, &root(into), &layer_options(flavour), &mut split)?;
    Ok((extracted, split))
}

/// Digest, split and bytes of a tree.
pub fn archive(
    tree: &Path,
    lowers: &[&Path],
    options: &TreeOptions,
) -> (LayerDigest, Vec<u8>, Vec<u8>) {
    let lowers: Vec<Root> = lowers.iter().map(|lower| root(lower)).collect();
    let (mut split, mut bytes) = (Vec::new(), Vec::new());
    let digest = digest_tree(root(tree), &lowers, options, &mut split).unwrap();
    write_tree(root(tree), &lowers, options, &mut bytes).unwrap();
    assert_eq!(digest.size, bytes.len() as u64);
    assert_eq!(digest.diff_id.0, model::Digest::sha256(&bytes));
    (digest, split, bytes)
}

/// One line per entry: everything that a layer can set, and contents of small files.
pub fn view(path: &Path) -> String {
    let mut out = String::new();
    view_into(path, path, &mut out);
    out
}

fn view_into(top: &Path, path: &Path, out: &mut String) {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for path in names {
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        let shown = path
            .strip_prefix(top)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .escape_ascii();
        write!(
            out,
            "{shown} {:o} {}:{} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime()
        )
        .unwrap();
        if kind.is_symlink() {
            write!(out, " -> {}", fs::read_link(&path).unwrap().display()).unwrap();
        } else if kind.is_file() {
            let mut content = Vec::new();
            fs::File::open(&path)
                .unwrap()
                .read_to_end(&mut content)
                .unwrap();
            write!(
                out,
                " links={} {}",
                stat.nlink(),
                model::Digest::sha256(&content)
            )
            .unwrap();
        } else if kind.is_char_device() || kind.is_block_device() {
            write!(out, " {}", stat.rdev()).unwrap();
        }
        let parent = root(path.parent().unwrap());
        let node = Node::At(parent.as_fd(), path.file_name().unwrap());
        let mut names = node.list().unwrap();
        names.sort();
        for name in names {
            let value = node.get(&name).unwrap().unwrap_or_default();
            // Blanks stand between attributes only.
            let value = value.escape_ascii().to_string().replace(' ', "\\x20");
            write!(out, " {}={value}", name.display()).unwrap();
        }
        out.push('\n');
        if kind.is_dir() {
            view_into(top, &path, out);
        }
    }
}

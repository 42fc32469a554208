//! What changed between two full trees: the vfs driver keeps no other record of a layer.
//!
//! The rules are those of Go's storage library: an entry counts as changed when its type, mode, owner, device, link
//! target, attributes, modification second or size differ; a directory is listed when anything below it changed, so
//! that every parent has an entry in the layer; the list is sorted by whole path.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use sys::Root;
use sys::xattr::Node;

use crate::tar::Xattrs;
use crate::view::TreeError;
use crate::walk::{MAX_DEPTH, is_archived, names_of, open_dir_flags};

/// Path relative to the tree, and whether it was removed.
pub(crate) type Change = (Vec<u8>, bool);

/// Lists the changes from `parent` to `tree`.
pub(crate) fn changes(parent: &Root, tree: &Root) -> Result<Vec<Change>, TreeError> {
    let mut list = Vec::new();
    let mut path = Vec::new();
    let open = |root: &Root| {
        rustix::fs::openat(root, c".", open_dir_flags(), Mode::empty())
            .map_err(|errno| failed(&[], errno.into()))
    };
    compare(Some(&open(parent)?), &open(tree)?, &mut path, &mut list, 0)?;
    list.sort();
    Ok(list)
}

/// Compares two directories; returns whether anything in them differs. Without an old one everything is new.
fn compare(
    old: Option<&OwnedFd>,
    new: &OwnedFd,
    path: &mut Vec<u8>,
    list: &mut Vec<Change>,
    depth: usize,
) -> Result<bool, TreeError> {
    if depth > MAX_DEPTH {
        return Err(TreeError::TooDeep {
            path: shown(path),
            limit: MAX_DEPTH,
        });
    }
    let before = list.len();
    let base = path.len();
    let names = names_of(new.as_fd()).map_err(|error| failed(path, error))?;
    for name in &names {
        enter(path, name);
        let stat = stat(new.as_fd(), name).map_err(|error| failed(path, error))?;
        let old_stat = old.and_then(|dir| self::stat(dir.as_fd(), name).ok());
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut changed = match (old, &old_stat) {
            (Some(old), Some(old_stat)) => differs(old.as_fd(), old_stat, new.as_fd(), &stat, name)
                .map_err(|error| failed(path, error))?,
            _ => true,
        };
        if kind == FileType::Directory {
            let open = |dir: BorrowedFd<'_>| {
                rustix::fs::openat(dir, name.as_c_str(), open_dir_flags(), Mode::empty())
            };
            let inner = open(new.as_fd()).map_err(|errno| failed(path, errno.into()))?;
            let old_inner = match (old, &old_stat) {
                (Some(old), Some(stat))
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory =>
                {
                    Some(open(old.as_fd()).map_err(|errno| failed(path, errno.into()))?)
                }
                _ => None,
            };
            changed |= compare(old_inner.as_ref(), &inner, path, list, depth + 1)?;
        }
        if changed && kind != FileType::Socket {
            list.push((path.clone(), false));
        }
        path.truncate(base);
    }
    if let Some(old) = old {
        for name in names_of(old.as_fd()).map_err(|error| failed(path, error))? {
            if names.binary_search(&name).is_err() {
                enter(path, &name);
                list.push((path.clone(), true));
                path.truncate(base);
            }
        }
    }
    Ok(list.len() > before)
}

fn differs(
    old: BorrowedFd<'_>,
    a: &Stat,
    new: BorrowedFd<'_>,
    b: &Stat,
    name: &CStr,
) -> io::Result<bool> {
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev) {
        return Ok(true);
    }
    let kind = FileType::from_raw_mode(b.st_mode);
    // A directory's own time and size change with its content, which is compared by itself.
    if kind != FileType::Directory && (a.st_mtime, a.st_size) != (b.st_mtime, b.st_size) {
        return Ok(true);
    }
    if kind == FileType::Symlink {
        let target = |dir: BorrowedFd<'_>| rustix::fs::readlinkat(dir, name, Vec::new());
        return Ok(target(old)? != target(new)?);
    }
    Ok(xattrs(old, name)? != xattrs(new, name)?)
}

fn xattrs(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Xattrs> {
    let node = Node::At(dir, OsStr::from_bytes(name.to_bytes()));
    let mut found = Vec::new();
    for attribute in node
        .list()?
        .iter()
        .filter(|attribute| is_archived(attribute.as_bytes()))
    {
        if let Some(value) = node.get(attribute)? {
            found.push((attribute.as_bytes().to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Errno::into)
}

fn enter(path: &mut Vec<u8>, name: &CStr) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
}

fn shown(path: &[u8]) -> std::path::PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

fn failed(path: &[u8], source: io::Error) -> TreeError {
    TreeError::Access {
        action: "compare",
        path: shown(path),
        source,
    }
}

//! Whole trees: copying one, finding what a copy changed, and applying such a change.
//!
//! A change is itself a tree in the form of an overlay's upper directory (whiteouts are
//! devices 0:0, opaque directories carry `user.overlay.opaque`), made of hard links, so that
//! one code hashes and packs layers of both drivers. Every step works on directory handles
//! and names; no symbolic link of a tree is ever followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use sys::idmap::IdMaps;
use sys::xattr::Node;

use crate::error::{IoContext as _, Result};

/// Deepest directory handled; one descriptor per tree and level is open.
const MAX_TREE_DEPTH: usize = 300;

/// The mark of an opaque directory in a change.
const OPAQUE: &str = "user.overlay.opaque";
/// What the name of a removed entry begins with where a change cannot hold overlayfs's own marks.
const REMOVED: &[u8] = b".wh.";

/// What becomes of the overlay's own attributes in a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Opaque marks are copied: the tree is an upper directory.
    Keep,
    /// None are copied: the tree is whole.
    Drop,
}

type Io<T> = std::result::Result<T, io::Error>;

fn open_dir_path(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

fn open_dir_at(dir: BorrowedFd<'_>, name: &CStr) -> Io<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

fn stat_at(dir: BorrowedFd<'_>, name: &CStr) -> Io<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Marks `name` as removed in a change: as overlayfs does, or, where the change lies on an overlay
/// file system, which has no such nodes, as archives do.
fn mark_removed(change: BorrowedFd<'_>, name: &CStr) -> Io<()> {
    match rustix::fs::mknodat(change, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => {
            let mark = [REMOVED, name.to_bytes()].concat();
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(change, mark, flags, Mode::empty())?;
            Ok(())
        }
        other => Ok(other?),
    }
}

/// The name that an entry of a change marks as removed, in the way of archives.
fn removed_by(entry: &CStr) -> Option<CString> {
    let name = entry.to_bytes().strip_prefix(REMOVED)?;
    CString::new(name).ok().filter(|name| !name.is_empty())
}

fn names(dir: BorrowedFd<'_>) -> Io<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn deeper(depth: usize) -> Io<usize> {
    if depth >= MAX_TREE_DEPTH {
        return Err(io::Error::other(format!(
            "directories are nested more than {MAX_TREE_DEPTH} deep"
        )));
    }
    Ok(depth + 1)
}

fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Copies owner, attributes, mode and times, in the order in which none undoes another.
fn copy_metadata(
    from: Node<'_>,
    to_dir: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    marks: Marks,
) -> Io<()> {
    let owner = Some(rustix::fs::Uid::from_raw(stat.st_uid));
    let group = Some(rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to_dir, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    let to = Node::At(to_dir, os(name));
    for attribute in from.list()? {
        let bytes = attribute.as_bytes();
        let own = bytes.starts_with(b"user.overlay.") || bytes.starts_with(b"trusted.overlay.");
        if own && (marks == Marks::Drop || !bytes.ends_with(b".overlay.opaque")) {
            continue;
        }
        let Some(value) = from.get(&attribute)? else {
            continue;
        };
        if let Err(err) = to.set(&attribute, &value) {
            // Only these belong to a layer; the rest is the host's (labels, ACLs) and may
            // be refused to us.
            if own || bytes.starts_with(b"user.") || attribute == "security.capability" {
                return Err(err);
            }
        }
    }
    if kind(stat) != FileType::Symlink {
        rustix::fs::chmodat(
            to_dir,
            name,
            Mode::from_raw_mode(stat.st_mode),
            AtFlags::empty(),
        )?;
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime as _,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime as _,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    };
    Ok(rustix::fs::utimensat(
        to_dir,
        name,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// What is known of a file, with the owner that it has where ids are mapped.
fn owned_by(mut stat: Stat, ids: &IdMaps) -> Io<Stat> {
    if ids.is_empty() {
        return Ok(stat);
    }
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    for (kind, id, map) in [("user", uid, &ids.users), ("group", gid, &ids.groups)] {
        if !map.contains(id) {
            return Err(io::Error::other(format!(
                "the {kind} {id} of a file cannot be mapped to one of the host"
            )));
        }
    }
    (stat.st_uid, stat.st_gid) = ids.outside((uid, gid));
    Ok(stat)
}

struct Copy<'a> {
    to_root: BorrowedFd<'a>,
    /// Where the first name of a file with several names was put.
    linked: HashMap<(u64, u64), PathBuf>,
    marks: Marks,
    ids: &'a IdMaps,
}

/// Copies the tree `from` to the new directory `to`, sharing blocks where possible.
pub(crate) fn copy_tree(from: &Path, to: &Path, marks: Marks) -> Result<()> {
    copy_tree_shifted(from, to, marks, &IdMaps::default())
}

/// As [`copy_tree`], with the owners of a container with mapped ids.
pub(crate) fn copy_tree_shifted(from: &Path, to: &Path, marks: Marks, ids: &IdMaps) -> Result<()> {
    let from_dir = open_dir_path(from)?;
    std::fs::create_dir(to).at("create the directory", to)?;
    let to_dir = open_dir_path(to)?;
    let mut copy = Copy {
        to_root: to_dir.as_fd(),
        linked: HashMap::new(),
        marks,
        ids,
    };
    copy.directory(from_dir.as_fd(), to_dir.as_fd(), Path::new(""), 0)
        .at("copy", from)?;
    let stat = rustix::fs::fstat(&from_dir).at("examine", from)?;
    let name = CString::new(to.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .at("name", to)?;
    let stat = owned_by(stat, ids).at("copy", from)?;
    copy_metadata(Node::Open(from_dir.as_fd()), CWD, &name, &stat, marks).at("copy", from)
}

impl Copy<'_> {
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Io<()> {
        let depth = deeper(depth)?;
        for name in names(from)? {
            let Some(stat) = stat_at(from, &name)? else {
                continue;
            };
            let path = path.join(os(&name));
            if stat.st_nlink > 1 && kind(&stat) != FileType::Directory {
                if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                    rustix::fs::linkat(self.to_root, first, to, &name, AtFlags::empty())?;
                    continue;
                }
                self.linked.insert((stat.st_dev, stat.st_ino), path.clone());
            }
            match kind(&stat) {
                FileType::Directory => {
                    rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                    let from_sub = open_dir_at(from, &name)?;
                    let to_sub = open_dir_at(to, &name)?;
                    self.directory(from_sub.as_fd(), to_sub.as_fd(), &path, depth)?;
                }
                FileType::RegularFile => copy_file(from, to, &name, &stat)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                    rustix::fs::symlinkat(target, to, &name)?;
                }
                // A socket is the trace of a process, not content; archives skip it too.
                FileType::Socket => continue,
                special => {
                    rustix::fs::mknodat(to, &name, special, Mode::RUSR, stat.st_rdev)?;
                }
            }
            let stat = owned_by(stat, self.ids)?;
            copy_metadata(Node::At(from, os(&name)), to, &name, &stat, self.marks)?;
        }
        Ok(())
    }
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Io<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, read, Mode::empty())?;
    let target = rustix::fs::openat(to, name, write, Mode::RUSR | Mode::WUSR)?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    sys::copy::copy_file_data(source.as_fd(), target.as_fd(), length).map(drop)
}

/// Writes to the new directory `out` what `upper` changed in respect of `lower`, as hard
/// links to `upper`'s files. Without `lower`, everything is new.
pub(crate) fn change(lower: Option<&Path>, upper: &Path, out: &Path) -> Result<()> {
    let upper_dir = open_dir_path(upper)?;
    let lower_dir = lower.map(open_dir_path).transpose()?;
    std::fs::create_dir(out).at("create the directory", out)?;
    let out_dir = open_dir_path(out)?;
    change_dir(
        lower_dir.as_ref().map(OwnedFd::as_fd),
        upper_dir.as_fd(),
        out_dir.as_fd(),
        0,
    )
    .at("compare", upper)
    .map(drop)
}

/// Tells whether anything was written to `out`.
fn change_dir(
    lower: Option<BorrowedFd<'_>>,
    upper: BorrowedFd<'_>,
    out: BorrowedFd<'_>,
    depth: usize,
) -> Io<bool> {
    let depth = deeper(depth)?;
    let mut changed = false;
    for name in names(upper)? {
        let Some(new) = stat_at(upper, &name)? else {
            continue;
        };
        let old = match lower {
            Some(lower) => stat_at(lower, &name)?,
            None => None,
        };
        if kind(&new) == FileType::Directory {
            let old_dir = match (&old, lower) {
                (Some(old), Some(lower)) if kind(old) == FileType::Directory => {
                    Some(open_dir_at(lower, &name)?)
                }
                _ => None,
            };
            let same = old.as_ref().is_some_and(|old| same_directory(old, &new));
            rustix::fs::mkdirat(out, &name, Mode::RWXU)?;
            let new_dir = open_dir_at(upper, &name)?;
            let out_dir = open_dir_at(out, &name)?;
            let old_fd = old_dir.as_ref().map(OwnedFd::as_fd);
            let inside = change_dir(old_fd, new_dir.as_fd(), out_dir.as_fd(), depth)?;
            drop(out_dir);
            if same && !inside && old_dir.is_some() {
                rustix::fs::unlinkat(out, &name, AtFlags::REMOVEDIR)?;
            } else {
                copy_metadata(Node::At(upper, os(&name)), out, &name, &new, Marks::Drop)?;
                changed = true;
            }
        } else {
            let unchanged = match (&old, lower) {
                (Some(old), Some(lower)) => same_file(lower, old, upper, &new, &name)?,
                _ => false,
            };
            if !unchanged && kind(&new) != FileType::Socket {
                rustix::fs::linkat(upper, &name, out, &name, AtFlags::empty())?;
                changed = true;
            }
        }
    }
    if let Some(lower) = lower {
        for name in names(lower)? {
            if stat_at(upper, &name)?.is_none() {
                mark_removed(out, &name)?;
                changed = true;
            }
        }
    }
    Ok(changed)
}

fn same_directory(old: &Stat, new: &Stat) -> bool {
    old.st_mode == new.st_mode && old.st_uid == new.st_uid && old.st_gid == new.st_gid
}

/// Tells whether a file is as it was copied: by its metadata with times in nanoseconds, as
/// containers/storage does.
fn same_file(
    lower: BorrowedFd<'_>,
    old: &Stat,
    upper: BorrowedFd<'_>,
    new: &Stat,
    name: &CStr,
) -> Io<bool> {
    let alike = old.st_mode == new.st_mode
        && old.st_uid == new.st_uid
        && old.st_gid == new.st_gid
        && old.st_rdev == new.st_rdev
        && old.st_size == new.st_size
        && old.st_mtime == new.st_mtime
        && old.st_mtime_nsec == new.st_mtime_nsec;
    if !alike {
        return Ok(false);
    }
    if kind(new) == FileType::Symlink {
        let target = |dir| rustix::fs::readlinkat(dir, name, Vec::new());
        return Ok(target(lower)? == target(upper)?);
    }
    let (before, after) = (Node::At(lower, os(name)), Node::At(upper, os(name)));
    let capability = OsStr::new("security.capability");
    Ok(before.get(capability)? == after.get(capability)?)
}

/// Applies a change to the tree `target`, moving the change's files into it.
pub(crate) fn apply(change: &Path, target: &Path) -> Result<()> {
    let change_dir = open_dir_path(change)?;
    let target_dir = open_dir_path(target)?;
    apply_dir(change_dir.as_fd(), target_dir.as_fd(), 0).at("apply", change)
}

fn apply_dir(change: BorrowedFd<'_>, target: BorrowedFd<'_>, depth: usize) -> Io<()> {
    let depth = deeper(depth)?;
    let names = names(change)?;
    // First, as the change may have something else in the place of what it removes.
    for removed in names.iter().filter_map(|name| removed_by(name)) {
        let old = stat_at(target, &removed)?;
        remove_at(target, &removed, old.as_ref(), depth)?;
    }
    for name in names.iter().filter(|name| removed_by(name).is_none()) {
        let Some(new) = stat_at(change, name)? else {
            continue;
        };
        let old = stat_at(target, name)?;
        if is_whiteout(&new) {
            remove_at(target, name, old.as_ref(), depth)?;
            continue;
        }
        if kind(&new) != FileType::Directory {
            remove_at(target, name, old.as_ref(), depth)?;
            rustix::fs::renameat(change, name, target, name)?;
            continue;
        }
        let change_sub = open_dir_at(change, name)?;
        let opaque = Node::Open(change_sub.as_fd())
            .get(OsStr::new(OPAQUE))?
            .is_some();
        let keeps = !opaque
            && old
                .as_ref()
                .is_some_and(|old| kind(old) == FileType::Directory);
        if !keeps {
            remove_at(target, name, old.as_ref(), depth)?;
            rustix::fs::mkdirat(target, name, Mode::RWXU)?;
        }
        let target_sub = open_dir_at(target, name)?;
        apply_dir(change_sub.as_fd(), target_sub.as_fd(), depth)?;
        drop(target_sub);
        copy_metadata(
            Node::Open(change_sub.as_fd()),
            target,
            name,
            &new,
            Marks::Drop,
        )?;
    }
    Ok(())
}

fn remove_at(dir: BorrowedFd<'_>, name: &CStr, stat: Option<&Stat>, depth: usize) -> Io<()> {
    let Some(stat) = stat else { return Ok(()) };
    if kind(stat) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?);
    }
    let depth = deeper(depth)?;
    let sub = open_dir_at(dir, name)?;
    for inner in names(sub.as_fd())? {
        let stat = stat_at(sub.as_fd(), &inner)?;
        remove_at(sub.as_fd(), &inner, stat.as_ref(), depth)?;
    }
    drop(sub);
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(root: &Path, entries: &[(&str, Option<&str>)]) {
        for (path, content) in entries {
            let path = root.join(path);
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => fs::create_dir_all(path).unwrap(),
            }
        }
    }

    fn listing(root: &Path) -> Vec<String> {
        fn walk(root: &Path, dir: &Path, out: &mut Vec<String>) {
            let mut entries: Vec<_> = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            entries.sort();
            for path in entries {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    out.push(format!("{name}/"));
                    walk(root, &path, out);
                } else if meta.is_file() {
                    out.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
                } else {
                    out.push(format!("{name}!"));
                }
            }
        }
        let mut out = Vec::new();
        walk(root, root, &mut out);
        out
    }

    #[test]
    fn a_change_applied_to_the_original_gives_the_result() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("base")).unwrap();
        tree(
            &path("base"),
            &[
                ("keep", None),
                ("keep/a", Some("a")),
                ("gone", None),
                ("gone/b", Some("b")),
                ("edit", Some("old")),
                ("file-to-dir", Some("x")),
                ("dir-to-file", None),
                ("dir-to-file/c", Some("c")),
            ],
        );
        fs::hard_link(path("base/edit"), path("base/edit2")).unwrap();
        std::os::unix::fs::symlink("keep/a", path("base/link")).unwrap();
        copy_tree(&path("base"), &path("upper"), Marks::Drop).unwrap();
        assert_eq!(listing(&path("base")), listing(&path("upper")));
        fs::remove_dir_all(path("upper/gone")).unwrap();
        fs::write(path("upper/edit"), "new content").unwrap();
        fs::remove_file(path("upper/file-to-dir")).unwrap();
        tree(
            &path("upper"),
            &[("file-to-dir", None), ("file-to-dir/d", Some("d"))],
        );
        fs::remove_dir_all(path("upper/dir-to-file")).unwrap();
        fs::write(path("upper/dir-to-file"), "f").unwrap();

        change(Some(&path("base")), &path("upper"), &path("change")).unwrap();
        assert_eq!(
            listing(&path("change")),
            [
                "dir-to-file=f",
                "edit=new content",
                "edit2=new content",
                "file-to-dir/",
                "file-to-dir/d=d",
                "gone!",
            ]
        );
        copy_tree(&path("base"), &path("again"), Marks::Drop).unwrap();
        apply(&path("change"), &path("again")).unwrap();
        assert_eq!(listing(&path("again")), listing(&path("upper")));
    }

    #[test]
    fn marks_of_archives_remove_too() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["change", "target"] {
            fs::create_dir(path(name)).unwrap();
        }
        tree(
            &path("target"),
            &[
                ("gone", None),
                ("gone/b", Some("b")),
                ("+new", Some("old")),
                ("keep", Some("k")),
            ],
        );
        tree(
            &path("change"),
            &[
                (".wh.gone", Some("")),
                (".wh.never", Some("")),
                (".wh.+new", Some("")),
                ("+new", Some("new")),
            ],
        );
        apply(&path("change"), &path("target")).unwrap();
        assert_eq!(listing(&path("target")), ["+new=new", "keep=k"]);
    }
}

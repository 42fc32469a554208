//! Extended attributes of things that are held by handle.
//!
//! The classic calls do not take `O_PATH` descriptors or a directory with a name, so these go
//! through `/proc/self/fd`. A missing attribute and a file system without attributes are answers
//! here, not errors.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Largest value and largest list of names, in bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
pub const XATTR_MAX: usize = 65536;
/// First guess at a size; most lists and values fit, which saves the asking call.
const GUESS: usize = 256;

/// What carries the attributes.
#[derive(Debug, Clone, Copy)]
pub enum Node<'a> {
    /// A descriptor opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// Any descriptor, `O_PATH` too; of a symbolic link, the link itself.
    Handle(BorrowedFd<'a>),
    /// An entry of a directory; a symbolic link is not followed.
    At(BorrowedFd<'a>, &'a OsStr),
}

enum Way<'a> {
    Fd(BorrowedFd<'a>),
    Follow(CString),
    Link(CString),
}

impl<'a> Node<'a> {
    fn way(self) -> io::Result<Way<'a>> {
        Ok(match self {
            Self::Open(fd) => Way::Fd(fd),
            Self::Handle(fd) => {
                Way::Follow(CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))?)
            }
            Self::At(dir, name) => {
                let name = name.as_bytes();
                if name.is_empty() || name.contains(&b'/') || name == b".." {
                    return Err(Errno::INVAL.into());
                }
                let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
                path.extend_from_slice(name);
                Way::Link(CString::new(path)?)
            }
        })
    }

    /// Returns the value of `name`, or `None` when it is not set or not supported.
    ///
    /// # Errors
    /// The kernel's error otherwise.
    pub fn get(self, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let way = self.way()?;
        let call = |buffer: &mut [u8]| match &way {
            Way::Fd(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Way::Follow(path) => rustix::fs::getxattr(path, name, buffer),
            Way::Link(path) => rustix::fs::lgetxattr(path, name, buffer),
        };
        match sized(call) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Returns the names of all attributes that the caller may see, in the kernel's order.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn list(self) -> io::Result<Vec<OsString>> {
        let way = self.way()?;
        let call = |buffer: &mut [u8]| match &way {
            Way::Fd(fd) => rustix::fs::flistxattr(fd, buffer),
            Way::Follow(path) => rustix::fs::listxattr(path, buffer),
            Way::Link(path) => rustix::fs::llistxattr(path, buffer),
        };
        let names = match sized(call) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(err) => return Err(err.into()),
        };
        let split = names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        Ok(split
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect())
    }

    /// Sets `name` to `value`, replacing an older one.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set(self, name: &OsStr, value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self.way()? {
            Way::Fd(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            Way::Follow(path) => rustix::fs::setxattr(&path, name, value, flags),
            Way::Link(path) => rustix::fs::lsetxattr(&path, name, value, flags),
        }?)
    }

    /// Removes `name`; that it was not set is fine.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn remove(self, name: &OsStr) -> io::Result<()> {
        let done = match self.way()? {
            Way::Fd(fd) => rustix::fs::fremovexattr(fd, name),
            Way::Follow(path) => rustix::fs::removexattr(&path, name),
            Way::Link(path) => rustix::fs::lremovexattr(&path, name),
        };
        match done {
            Err(Errno::NODATA) => Ok(()),
            other => Ok(other?),
        }
    }
}

fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; GUESS];
    match call(&mut small) {
        Ok(n) => return Ok(small[..n].to_vec()),
        Err(Errno::RANGE) => {}
        Err(err) => return Err(err),
    }
    let mut large = vec![0; XATTR_MAX];
    let n = call(&mut large)?;
    large.truncate(n);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};

    struct Scratch(PathBuf);
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_three_ways_see_the_same() {
        let at = Scratch(format!("/var/tmp/cooper-dev-sys/xattr-{}", std::process::id()).into());
        std::fs::create_dir_all(&at.0).unwrap();
        let file = File::create_new(at.0.join("f")).unwrap();
        std::os::unix::fs::symlink("f", at.0.join("link")).unwrap();
        let root = Root::open(&at.0).unwrap();
        let handle = root.resolve(Path::new("f")).unwrap();
        let name = OsStr::new("user.long");
        let nodes = [
            Node::Open(file.as_fd()),
            Node::Handle(handle.as_fd()),
            Node::At(root.as_fd(), OsStr::new("f")),
        ];
        for (i, node) in nodes.into_iter().enumerate() {
            let value = vec![u8::try_from(i).unwrap(); 1000];
            node.set(name, &value).unwrap();
            for other in nodes {
                assert_eq!(other.get(name).unwrap().as_ref(), Some(&value));
                assert_eq!(other.list().unwrap(), ["user.long"]);
                assert_eq!(other.get(OsStr::new("user.none")).unwrap(), None);
            }
            node.remove(name).unwrap();
            node.remove(name).unwrap();
            assert_eq!(node.list().unwrap(), [""; 0]);
        }
        file.as_fd();
        nodes[0].set(name, b"target").unwrap();
        assert_eq!(
            Node::At(root.as_fd(), OsStr::new("link"))
                .get(name)
                .unwrap(),
            None
        );
        assert!(Node::At(root.as_fd(), OsStr::new("../x")).list().is_err());
    }
}

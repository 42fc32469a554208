//! The header of a member, free of its encoding.

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A hard link to an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// A sparse file in the old GNU format.
    GnuSparse,
    /// Any other type byte.
    Other(u8),
}

impl Kind {
    pub(super) fn from_byte(byte: u8, name: &[u8]) -> Self {
        match byte {
            b'0' => Kind::File,
            // Version 7 had no byte for directories, only the slash.
            0 if name.ends_with(b"/") => Kind::Directory,
            0 => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => Kind::GnuSparse,
            other => Kind::Other(other),
        }
    }

    pub(super) fn byte(self) -> u8 {
        match self {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
            Kind::GnuSparse => b'S',
            Kind::Other(byte) => byte,
        }
    }

    /// Returns whether a member of this kind has no data, whatever its size field says.
    pub fn is_header_only(self) -> bool {
        !matches!(self, Kind::File | Kind::GnuSparse | Kind::Other(_))
    }
}

/// A point in time: seconds since 1970 and nanoseconds within the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One member's header. Names are bytes, as on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name; directories that the writer of this crate makes end in `/`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Size of the data in bytes; of a sparse member, of the file that it expands to.
    pub size: u64,
    /// Permission bits and whatever else the field held.
    pub mode: i64,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Time of the last change. [`super::Writer`] writes whole seconds.
    pub mtime: Time,
    /// Major number of a device.
    pub dev_major: i64,
    /// Minor number of a device.
    pub dev_minor: i64,
    /// Owner's name.
    pub uname: Vec<u8>,
    /// Group's name.
    pub gname: Vec<u8>,
    /// Extended attributes, names without the `SCHILY.xattr.` prefix.
    pub xattrs: Xattrs,
}

impl Header {
    /// Returns the header of a member with that name and kind and all else zero.
    pub fn new(name: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            link: Vec::new(),
            size: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            dev_major: 0,
            dev_minor: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            xattrs: Vec::new(),
        }
    }

    /// Returns the number of data bytes that follow the header of a member that is not sparse.
    pub fn data_size(&self) -> u64 {
        if self.kind.is_header_only() {
            0
        } else {
            self.size
        }
    }
}

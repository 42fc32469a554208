//! Copies file contents by the cheapest way that the two file systems offer.
//!
//! Only bytes and holes: owner, mode, times and attributes are the caller's.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// From this length on, in bytes, a file's holes are looked for.
const SPARSE_FROM: u64 = 1 << 20;
const BUFFER: usize = 128 << 10;
/// Most bytes asked of one `copy_file_range`, so that a signal is noticed in time.
const RANGE: usize = 1 << 30;

/// Copies the first `len` bytes of `src` to the start of the empty file `dst` and returns how many
/// there were: fewer when `src` is shorter than `len`.
///
/// Tries to share the blocks (`FICLONE`, which takes the whole file, and only when `len` is all of
/// it), then `copy_file_range(2)`, then reading and writing. Holes of large files stay holes.
///
/// # Errors
/// The kernel's error of reading or writing.
pub fn copy_file_data(src: BorrowedFd<'_>, dst: BorrowedFd<'_>, len: u64) -> io::Result<u64> {
    if len == 0 {
        return Ok(0);
    }
    if rustix::fs::ioctl_ficlone(dst, src).is_ok() {
        let size = u64::try_from(rustix::fs::fstat(dst)?.st_size).unwrap_or(0);
        if size > len {
            rustix::fs::ftruncate(dst, len)?;
        }
        return Ok(size.min(len));
    }
    let mut way = Way::Range;
    if len < SPARSE_FROM {
        return copy_range(src, dst, 0, len, &mut way);
    }
    let mut at = 0;
    let mut holes = Holes::Told;
    while at < len {
        let Some((data, hole)) = holes.next(src, at, len)? else {
            break;
        };
        let end = copy_range(src, dst, data, hole, &mut way)?;
        if end < hole {
            return Ok(end);
        }
        at = hole;
    }
    if at == len {
        return Ok(len);
    }
    end_in_hole(src, dst, at, len)
}

/// Ends a copy of which only a hole is left, from `at` to `len`, and returns the file's size: a source that shrank
/// meanwhile ends earlier.
fn end_in_hole(src: BorrowedFd<'_>, dst: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<u64> {
    let size = u64::try_from(rustix::fs::fstat(src)?.st_size)
        .unwrap_or(0)
        .min(len)
        .max(at);
    rustix::fs::ftruncate(dst, size)?;
    Ok(size)
}

/// Lends the memory through which bytes pass from one file to another, and is told of them.
pub trait Passage {
    /// Returns room for the next bytes, at least one. Until something has passed the same room is
    /// lent again, with what was put into it.
    ///
    /// # Errors
    /// Whatever ends the copy, for instance that nobody wants the bytes any more.
    fn room(&mut self) -> io::Result<&mut [u8]>;

    /// Says that the first `len` bytes of the room are the file's next ones. Those of a hole are
    /// zeros, and come as well.
    ///
    /// # Errors
    /// Whatever ends the copy.
    fn passed(&mut self, len: usize) -> io::Result<()>;
}

/// Copies the first `len` bytes of `src` to the start of the empty file `dst` and returns how many
/// there were, as [`copy_file_data`] does, but shows each byte that was written to `passage`.
///
/// Blocks are never shared, since the bytes must be read anyway. Holes of large files stay holes.
///
/// # Errors
/// The kernel's error of reading or writing, and those of `passage`.
pub fn copy_file_data_through(
    src: BorrowedFd<'_>,
    dst: BorrowedFd<'_>,
    len: u64,
    passage: &mut dyn Passage,
) -> io::Result<u64> {
    let mut at = 0;
    let mut holes = if len < SPARSE_FROM {
        Holes::Unknown
    } else {
        Holes::Told
    };
    while at < len {
        let Some((data, hole)) = holes.next(src, at, len)? else {
            break;
        };
        pass_zeros(data - at, passage)?;
        let end = pass_range(src, dst, data, hole, passage)?;
        if end < hole {
            return Ok(end);
        }
        at = hole;
    }
    if at == len {
        return Ok(len);
    }
    let size = end_in_hole(src, dst, at, len)?;
    pass_zeros(size - at, passage)?;
    Ok(size)
}

/// Whether the file system tells where holes are.
enum Holes {
    Told,
    Unknown,
}

impl Holes {
    /// Returns the next range of data at or after `at`; `None` when there is none up to `len`.
    fn next(&mut self, src: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        if let Self::Unknown = self {
            return Ok(Some((at, len)));
        }
        let data = match rustix::fs::seek(src, SeekFrom::Data(at)) {
            Ok(data) => data.min(len),
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => {
                *self = Self::Unknown;
                return Ok(Some((at, len)));
            }
            Err(err) => return Err(err.into()),
        };
        if data == len {
            return Ok(None);
        }
        let hole = rustix::fs::seek(src, SeekFrom::Hole(data))?.min(len);
        Ok(Some((data, hole)))
    }
}

fn pass_zeros(mut len: u64, passage: &mut dyn Passage) -> io::Result<()> {
    while len > 0 {
        let room = passage.room()?;
        let part = room.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        room[..part].fill(0);
        passage.passed(part)?;
        len -= part as u64;
    }
    Ok(())
}

/// Copies `[from, to)` through the passage and returns the offset it came to: `to`, or the end of
/// the source.
fn pass_range(
    src: BorrowedFd<'_>,
    dst: BorrowedFd<'_>,
    from: u64,
    to: u64,
    passage: &mut dyn Passage,
) -> io::Result<u64> {
    let mut at = from;
    while at < to {
        let room = passage.room()?;
        let want = room
            .len()
            .min(usize::try_from(to - at).unwrap_or(usize::MAX));
        let got = match rustix::io::pread(src, &mut room[..want], at) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(err) => return Err(err.into()),
        };
        write_at(dst, &room[..got], at)?;
        passage.passed(got)?;
        at += got as u64;
    }
    Ok(at)
}

fn write_at(dst: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(dst, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Range,
    Buffer,
}

/// Copies `[from, to)` and returns the offset it came to: `to`, or the end of the source.
fn copy_range(
    src: BorrowedFd<'_>,
    dst: BorrowedFd<'_>,
    from: u64,
    to: u64,
    way: &mut Way,
) -> io::Result<u64> {
    let mut at = from;
    while *way == Way::Range && at < to {
        let (mut read, mut write) = (at, at);
        let want = usize::try_from(to - at).unwrap_or(RANGE).min(RANGE);
        match rustix::fs::copy_file_range(src, Some(&mut read), dst, Some(&mut write), want) {
            // procfs and its like pretend to be empty to this call; reading tells.
            Ok(0) => *way = Way::Buffer,
            Ok(n) => at += n as u64,
            Err(Errno::INTR) => {}
            Err(
                Errno::XDEV
                | Errno::NOSYS
                | Errno::INVAL
                | Errno::OPNOTSUPP
                | Errno::PERM
                | Errno::TXTBSY
                | Errno::BADF,
            ) => *way = Way::Buffer,
            Err(err) => return Err(err.into()),
        }
    }
    let mut buffer = Vec::new();
    while at < to {
        if buffer.is_empty() {
            buffer.resize(BUFFER.min(usize::try_from(to - at).unwrap_or(BUFFER)), 0);
        }
        let want = buffer.len().min(usize::try_from(to - at).unwrap_or(BUFFER));
        let got = match rustix::io::pread(src, &mut buffer[..want], at) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(err) => return Err(err.into()),
        };
        write_at(dst, &buffer[..got], at)?;
        at += got as u64;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::PathBuf;

    struct Scratch(PathBuf);
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0).or_else(|_| std::fs::remove_file(&self.0));
        }
    }

    fn check(place: &str, pieces: &[(u64, usize)], size: u64, len: u64, expected: u64) {
        let at = Scratch(PathBuf::from(format!(
            "/var/tmp/cooper-dev-sys/copy-{place}-{size}-{len}-{}",
            std::process::id()
        )));
        std::fs::create_dir_all(&at.0).unwrap();
        let src = File::create_new(at.0.join("src")).unwrap();
        for (offset, n) in pieces {
            src.write_all_at(&vec![b'x'; *n], *offset).unwrap();
        }
        src.set_len(size).unwrap();
        let src = File::open(at.0.join("src")).unwrap();
        let target = if place == "shm" {
            PathBuf::from(format!(
                "/dev/shm/cooper-dev-sys-{size}-{len}-{}",
                std::process::id()
            ))
        } else {
            at.0.join("dst")
        };
        let dst = File::create_new(&target).unwrap();
        let _target = Scratch(target.clone());
        for way in ["alone", "through"] {
            dst.set_len(0).unwrap();
            let mut seen = Seen::default();
            let got = match way {
                "alone" => copy_file_data(src.as_fd(), dst.as_fd(), len),
                _ => copy_file_data_through(src.as_fd(), dst.as_fd(), len, &mut seen),
            };
            let copied = std::fs::read(&target);
            let meta = std::fs::metadata(&target);
            assert_eq!(got.unwrap(), expected, "{way}");
            let want = std::fs::read(at.0.join("src")).unwrap();
            let want = &want[..usize::try_from(expected).unwrap()];
            assert!(copied.unwrap() == want, "{way}");
            assert!(way == "alone" || seen.bytes == want);
            let data: usize = pieces.iter().map(|(_, n)| n + 8192).sum();
            assert!(
                meta.unwrap().blocks() * 512 <= data as u64 + 65536,
                "holes were filled"
            );
        }
    }

    /// Keeps what passed; its room is small, so that every copy takes several.
    #[derive(Default)]
    struct Seen {
        bytes: Vec<u8>,
        room: Vec<u8>,
    }

    impl Passage for Seen {
        fn room(&mut self) -> io::Result<&mut [u8]> {
            self.room.resize(10_007, 0xAA);
            Ok(&mut self.room)
        }

        fn passed(&mut self, len: usize) -> io::Result<()> {
            self.bytes.extend_from_slice(&self.room[..len]);
            Ok(())
        }
    }

    #[test]
    fn a_passage_can_end_a_copy() {
        struct Full;
        impl Passage for Full {
            fn room(&mut self) -> io::Result<&mut [u8]> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn passed(&mut self, _: usize) -> io::Result<()> {
                Ok(())
            }
        }
        let src = File::open("/proc/version").unwrap();
        let path = format!("/var/tmp/cooper-dev-sys-full-{}", std::process::id());
        let dst = File::create(&path).unwrap();
        let outcome = copy_file_data_through(src.as_fd(), dst.as_fd(), 10, &mut Full);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn contents_and_holes_survive() {
        for place in ["ext", "shm"] {
            check(place, &[], 0, 0, 0);
            check(place, &[(0, 5)], 5, 5, 5);
            check(place, &[(0, 5)], 5, 100, 5);
            check(place, &[(0, 5)], 5, 3, 3);
            check(
                place,
                &[(4 << 20, 70_000), (9 << 20, 1)],
                20 << 20,
                20 << 20,
                20 << 20,
            );
            check(place, &[(0, 3 << 20)], 3 << 20, 3 << 20, 3 << 20);
            check(place, &[], 8 << 20, 8 << 20, 8 << 20);
            check(place, &[(0, 10)], 2 << 20, 5 << 20, 2 << 20);
        }
    }

    #[test]
    fn kernel_files_without_a_size_are_read() {
        let src = File::open("/proc/version").unwrap();
        let path = format!("/var/tmp/cooper-dev-sys-proc-{}", std::process::id());
        let dst = File::create(&path).unwrap();
        let n = copy_file_data(src.as_fd(), dst.as_fd(), 4096).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, std::fs::read_to_string("/proc/version").unwrap());
        assert_eq!(n, text.len() as u64);
    }
}

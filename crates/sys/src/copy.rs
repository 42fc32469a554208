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
    while at < len {
        let data = match rustix::fs::seek(src, SeekFrom::Data(at)) {
            Ok(data) => data.min(len),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => {
                return copy_range(src, dst, at, len, &mut way);
            }
            Err(err) => return Err(err.into()),
        };
        if data == len {
            break;
        }
        let hole = rustix::fs::seek(src, SeekFrom::Hole(data))?.min(len);
        let end = copy_range(src, dst, data, hole, &mut way)?;
        if end < hole {
            return Ok(end);
        }
        at = hole;
    }
    // Only holes are left; a source that shrank meanwhile ends earlier.
    let size = u64::try_from(rustix::fs::fstat(src)?.st_size)
        .unwrap_or(0)
        .min(len)
        .max(at);
    rustix::fs::ftruncate(dst, size)?;
    Ok(size)
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
        let mut written = 0;
        while written < got {
            match rustix::io::pwrite(dst, &buffer[written..got], at + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
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
            let _ = std::fs::remove_dir_all(&self.0);
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
        let got = copy_file_data(src.as_fd(), dst.as_fd(), len);
        let copied = std::fs::read(&target);
        let meta = std::fs::metadata(&target);
        if place == "shm" {
            let _ = std::fs::remove_file(&target);
        }
        assert_eq!(got.unwrap(), expected);
        let want = std::fs::read(at.0.join("src")).unwrap();
        assert!(copied.unwrap() == want[..usize::try_from(expected).unwrap()]);
        let data: usize = pieces.iter().map(|(_, n)| n + 8192).sum();
        assert!(
            meta.unwrap().blocks() * 512 <= data as u64 + 65536,
            "holes were filled"
        );
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

//! Overlay mounts that nobody else sees.
//!
//! The mount is made detached, with options that keep the upper directory readable without the
//! mount: no redirects, no metadata-only copies, no index. Which directories are stacked, and their
//! locks, are the caller's business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountAttrFlags};

use crate::making::MakingAs;
use crate::mount::{self, Depth};

/// Most lower directories that the kernel stacks.
pub const MAX_LOWERS: usize = 500;
/// How often a mount is tried while others mount and unmount what it is made of.
const MAX_ATTEMPTS: u32 = 20;
/// How long is waited between two tries.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest string that fsconfig(2) takes, without its NUL.
const MAX_STRING: usize = 255;

/// Which extended attributes carry opaque marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XattrFlavour {
    /// `trusted.overlay.*`, for root of the initial user namespace.
    Trusted,
    /// `user.overlay.*`, for everybody else.
    User,
}

/// Whether the upper directory survives a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `sync` and `fsync` work as usual.
    Synced,
    /// All syncing is left out; the upper must be thrown away after a crash.
    Volatile,
}

/// What to stack.
#[derive(Debug, Clone)]
pub struct OverlaySpec {
    /// Read-only directories, the nearest (topmost) first; one at least.
    pub lowers: Vec<PathBuf>,
    /// The writable directory; without it the mount is read-only.
    pub upper: Option<PathBuf>,
    /// Empty directory on the upper's file system; given exactly when `upper` is.
    pub work: Option<PathBuf>,
    /// Which attributes carry opaque marks.
    pub xattrs: XattrFlavour,
    /// Whether syncing is left out; without meaning when there is no upper.
    pub durability: Durability,
}

/// Makes the overlay and returns its detached mount, usable as a directory at once.
///
/// One lower and no upper, which the kernel refuses as an overlay, gives a read-only bind mount of
/// that directory: the same tree, but for whiteouts, of which a bottom layer has none.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for an impossible spec (no lower, more than [`MAX_LOWERS`], upper
/// without work); otherwise the kernel's error.
pub fn mount_detached(spec: &OverlaySpec) -> io::Result<OwnedFd> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if spec.lowers.is_empty() {
        return invalid("an overlay needs a lower directory");
    }
    if spec.lowers.len() > MAX_LOWERS {
        return invalid("an overlay has 500 lower directories at the most");
    }
    if spec.upper.is_some() != spec.work.is_some() {
        return invalid("upper and work directory come together");
    }
    if let ([only], None) = (spec.lowers.as_slice(), &spec.upper) {
        let clone = mount::bind_detached(open_path(only)?.as_fd(), Depth::One)?;
        let (read_only, none) = (MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::empty());
        mount::set_flags(clone.as_fd(), read_only, none, Depth::One)?;
        return Ok(clone);
    }
    let mut attempt = 1;
    loop {
        let naming = match attempt {
            1 => Naming::Paths,
            _ => Naming::Descriptors,
        };
        let made = match modern(spec, naming) {
            Ok(None) => classic(spec),
            other => other.and_then(|mount| mount.ok_or(io::ErrorKind::Unsupported.into())),
        };
        match made {
            // The kernel refuses so what lies on a mount that was taken away between look-up and
            // use, and upper and work on different mounts. Both happen when Podman and Buildah
            // mount a store's home on itself and away again, as they do with every command.
            Err(err) if err.raw_os_error() == Some(libc::EINVAL) && attempt < MAX_ATTEMPTS => {
                if let (Durability::Volatile, Some(work)) = (spec.durability, &spec.work) {
                    // The refused mount may have left its mark, which forbids the next one.
                    let _ = std::fs::remove_dir_all(work.join("work/incompat/volatile"));
                }
                std::thread::sleep(PAUSE);
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// User namespaces by whose maps the owners of an overlay's directories are shifted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift<'a> {
    /// Of the lower directories.
    pub lowers: Option<BorrowedFd<'a>>,
    /// Of the upper directory, which must lie beside the work directory.
    pub upper: Option<BorrowedFd<'a>>,
    /// The user and group as whom the overlay works in these two, who must exist there; this process
    /// without it.
    pub worker: Option<(u32, u32)>,
}

/// Makes the overlay with its directories shifted, see [`mount::shift_owners`] (Linux 5.19).
///
/// The kernel stacks only mounts of the caller's namespace. So the shifted directories cover
/// themselves in a namespace that ends with the call, where nobody sees them.
///
/// # Errors
/// As [`mount_detached`] and [`mount::shift_owners`].
pub fn mount_shifted(spec: &OverlaySpec, shift: Shift<'_>) -> io::Result<OwnedFd> {
    mount::in_own_namespace(|| {
        let mut covers = Vec::new();
        if let (Some(namespace), Some(upper)) = (shift.upper, &spec.upper) {
            // Upper and work directory must lie on one mount.
            let both = upper.parent().unwrap_or(upper);
            covers.push((shifted(both, namespace)?, both));
        }
        if let Some(namespace) = shift.lowers {
            for lower in &spec.lowers {
                covers.push((shifted(lower, namespace)?, lower));
            }
        }
        // After all were cloned: the first may hold the others.
        for (cover, at) in &covers {
            mount::attach(cover.as_fd(), at)?;
        }
        let _working = shift.worker.map(MakingAs::new).transpose()?;
        mount_detached(spec)
    })
}

fn shifted(dir: &Path, namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let clone = mount::bind_detached(open_path(dir)?.as_fd(), Depth::One)?;
    mount::shift_owners(clone.as_fd(), namespace)?;
    Ok(clone)
}

/// Puts a detached overlay on the host path `at`.
///
/// # Errors
/// As [`mount::attach`].
pub fn attach(mount: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    mount::attach(mount, at)
}

/// How upper and work directory are told to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// As they are, which is what a reader of the mount table wants to see.
    Paths,
    /// By descriptors that are sure to lie on one mount.
    Descriptors,
}

/// By fsconfig(2), one string per lower. `None` when the kernel (before 6.7) has no `lowerdir+`.
fn modern(spec: &OverlaySpec, naming: Naming) -> io::Result<Option<OwnedFd>> {
    let context = match rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let context = context.as_fd();
    let mut held = Vec::new();
    for (at, lower) in spec.lowers.iter().enumerate() {
        match set_path(context, "lowerdir+", lower, &mut held) {
            Err(err) if at == 0 && err.raw_os_error() == Some(libc::EINVAL) => {
                // Either the kernel does not know the word or the path is bad; the old call says.
                return Ok(None);
            }
            other => other?,
        }
    }
    let mut flags = MountAttrFlags::empty();
    if let (Some(upper), Some(work)) = (&spec.upper, &spec.work) {
        match naming {
            Naming::Paths => {
                set_path(context, "upperdir", upper, &mut held)?;
                set_path(context, "workdir", work, &mut held)?;
            }
            Naming::Descriptors => {
                for (key, dir) in ["upperdir", "workdir"]
                    .into_iter()
                    .zip(open_pair(upper, work)?)
                {
                    set_descriptor(context, key, dir, &mut held)?;
                }
            }
        }
        if spec.durability == Durability::Volatile {
            rustix::mount::fsconfig_set_flag(context, "volatile")?;
        }
    } else {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    rustix::mount::fsconfig_set_string(context, "source", "overlay")?;
    rustix::mount::fsconfig_set_string(context, "metacopy", "off")?;
    rustix::mount::fsconfig_set_string(context, "index", "off")?;
    match spec.xattrs {
        XattrFlavour::Trusted => {
            rustix::mount::fsconfig_set_string(context, "redirect_dir", "off")?;
        }
        // Implies redirect_dir=nofollow and refuses any other word.
        XattrFlavour::User => rustix::mount::fsconfig_set_flag(context, "userxattr")?,
    }
    mount::finish(context, flags).map(Some)
}

/// Sets a directory option; through a descriptor's name when the kernel could not take the path as
/// it is. `held` keeps these descriptors open until the mount is made.
fn set_path(
    context: BorrowedFd<'_>,
    key: &str,
    path: &Path,
    held: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    // The kernel unescapes some of these options and not others.
    if bytes.len() <= MAX_STRING && !bytes.iter().any(|byte| b"\\:,".contains(byte)) {
        return Ok(rustix::mount::fsconfig_set_string(context, key, path)?);
    }
    set_descriptor(context, key, open_path(path)?, held)
}

fn set_descriptor(
    context: BorrowedFd<'_>,
    key: &str,
    dir: OwnedFd,
    held: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let name = format!("/proc/self/fd/{}", dir.as_raw_fd());
    held.push(dir);
    Ok(rustix::mount::fsconfig_set_string(context, key, name)?)
}

/// Opens upper and work directory from their nearest common directory, so that both are found
/// on the mount which that one lies on, whatever is mounted over it meanwhile: Podman and Buildah
/// mount a store's home on itself and away again with every command.
fn open_pair(upper: &Path, work: &Path) -> io::Result<[OwnedFd; 2]> {
    let Some(common) = upper.ancestors().find(|dir| work.starts_with(dir)) else {
        return Ok([open_path(upper)?, open_path(work)?]);
    };
    let base = open_path(common)?;
    let below = |path: &Path| -> io::Result<OwnedFd> {
        let rest = path.strip_prefix(common).map_err(io::Error::other)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&base, rest, flags, Mode::empty())?)
    };
    Ok([below(upper)?, below(work)?])
}

/// By mount(2), whose options must fit a page: directories are named by descriptor number.
fn classic(spec: &OverlaySpec) -> io::Result<OwnedFd> {
    mount::classic_detached("overlay", || {
        let mut held = spec
            .lowers
            .iter()
            .map(|path| open_path(path))
            .collect::<io::Result<Vec<_>>>()?;
        let names: Vec<String> = held.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut data = format!("lowerdir={},metacopy=off,index=off", names.join(":"));
        let mut flags = 0;
        if let (Some(upper), Some(work)) = (&spec.upper, &spec.work) {
            for (key, dir) in ["upperdir", "workdir"]
                .into_iter()
                .zip(open_pair(upper, work)?)
            {
                data.push_str(&format!(",{key}={}", dir.as_raw_fd()));
                held.push(dir);
            }
            if spec.durability == Durability::Volatile {
                data.push_str(",volatile");
            }
        } else {
            flags |= libc::MS_RDONLY;
        }
        data.push_str(match spec.xattrs {
            XattrFlavour::Trusted => ",redirect_dir=off",
            XattrFlavour::User => ",userxattr",
        });
        Ok(mount::Classic { flags, data, held })
    })
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!(
                "/var/tmp/cooper-dev-sys/ovl-{name}-{}",
                std::process::id()
            ));
            let _ = std::fs::remove_dir_all(&path);
            for (dir, file) in [("l1", "one"), ("l2", "two"), ("l:3,\\", "three")] {
                std::fs::create_dir_all(path.join(dir)).unwrap();
                std::fs::write(path.join(dir).join(file), file).unwrap();
            }
            std::fs::create_dir_all(path.join("upper")).unwrap();
            std::fs::create_dir_all(path.join("work")).unwrap();
            Self(path)
        }
        fn spec(&self, lowers: &[&str], upper: bool) -> OverlaySpec {
            OverlaySpec {
                lowers: lowers.iter().map(|dir| self.0.join(dir)).collect(),
                upper: upper.then(|| self.0.join("upper")),
                work: upper.then(|| self.0.join("work")),
                xattrs: XattrFlavour::Trusted,
                durability: Durability::Volatile,
            }
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mounts() -> String {
        std::fs::read_to_string("/proc/self/mountinfo").unwrap()
    }

    fn read(mount: &Root, path: &str) -> Option<String> {
        mount
            .open_file(Path::new(path))
            .ok()
            .map(|file| std::io::read_to_string(file).unwrap())
    }

    fn write(mount: &Root, path: &str) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        mount
            .open_with(Path::new(path), flags, Mode::from_raw_mode(0o644))
            .map(drop)
    }

    #[test]
    fn priv_overlay_is_stacked_detached_and_invisible() {
        let scratch = Scratch::new("stack");
        let before = mounts();
        let descriptors =
            |spec: &OverlaySpec| modern(spec, Naming::Descriptors).map(Option::unwrap);
        for make in [mount_detached, classic, descriptors] {
            let spec = scratch.spec(&["l1", "l2", "l:3,\\"], true);
            let mount = Root::from_fd(make(&spec).expect("needs root and overlay"));
            for name in ["one", "two", "three"] {
                assert_eq!(read(&mount, name).as_deref(), Some(name));
            }
            write(&mount, "new").unwrap();
            assert!(scratch.0.join("upper/new").exists());
            std::fs::remove_file(scratch.0.join("upper/new")).unwrap();
            assert_eq!(mounts(), before);
            drop(mount);
            let _ = std::fs::remove_dir_all(scratch.0.join("work/work"));
        }
    }

    #[test]
    fn priv_without_upper_nothing_is_writable() {
        let scratch = Scratch::new("ro");
        for lowers in [&["l1"][..], &["l1", "l2"]] {
            let mount = Root::from_fd(mount_detached(&scratch.spec(lowers, false)).unwrap());
            assert_eq!(read(&mount, "one").as_deref(), Some("one"));
            assert_eq!(
                write(&mount, "x").unwrap_err().raw_os_error(),
                Some(libc::EROFS)
            );
        }
    }

    #[test]
    fn priv_many_lowers_and_long_names() {
        let scratch = Scratch::new("many");
        let long = "n".repeat(200);
        let mut lowers = Vec::new();
        for i in 0..MAX_LOWERS {
            let dir = format!("{long}/{long}/{i}");
            std::fs::create_dir_all(scratch.0.join(&dir)).unwrap();
            lowers.push(dir);
        }
        std::fs::write(scratch.0.join(&lowers[MAX_LOWERS - 1]).join("bottom"), "b").unwrap();
        let lowers: Vec<&str> = lowers.iter().map(String::as_str).collect();
        for make in [mount_detached, classic] {
            let mount = Root::from_fd(make(&scratch.spec(&lowers, false)).unwrap());
            assert_eq!(read(&mount, "bottom").as_deref(), Some("b"));
        }
    }

    #[test]
    fn impossible_specs_are_refused() {
        let spec = |lowers: usize, upper: bool| OverlaySpec {
            lowers: vec!["/x".into(); lowers],
            upper: upper.then(|| "/u".into()),
            work: None,
            xattrs: XattrFlavour::User,
            durability: Durability::Synced,
        };
        for spec in [spec(0, false), spec(MAX_LOWERS + 1, false), spec(1, true)] {
            assert_eq!(
                mount_detached(&spec).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn priv_attach_and_guard() {
        let scratch = Scratch::new("attach");
        let at = scratch.0.join("at");
        std::fs::create_dir(&at).unwrap();
        let before = mounts();
        let mount = mount_detached(&scratch.spec(&["l1"], true)).unwrap();
        let mounted = mount::Mounted::attach(mount.as_fd(), &at).unwrap();
        assert_eq!(std::fs::read_to_string(at.join("one")).unwrap(), "one");
        mounted.close().unwrap();
        assert_eq!(mounts(), before);
    }
}

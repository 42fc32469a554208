//! Starts a program as root of a new user namespace, with a mount namespace of its own.
//!
//! The kernel lets only a process outside write the maps of such a namespace, so the start has two
//! halves with the caller's work between them. What is mapped, and by whom, is decided there.
//!
//! ```text
//! caller: clone ──────────────── maps of users and groups ─ run ──── Child{pidfd} │ EnterError
//! child:        asleep at a pipe ··························· ids ─ parent alive? ─ execve
//! ```
//!
//! The child is killed when the thread that called [`start`] ends.

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::idmap::{IdMap, IdMaps, IdRange};
use crate::launch::{Child, Stack, Tree, keep_exit_status, pointers};

/// What the child was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names and the text below say it")]
pub enum Stage {
    Clone,
    Ids,
    ParentDied,
    Exec,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Clone, Self::Ids, Self::ParentDied, Self::Exec];

    fn text(self) -> &'static str {
        match self {
            Self::Clone => "create a user namespace",
            Self::Ids => "become root of the user namespace",
            Self::ParentDied => "go on in the user namespace: the parent died",
            Self::Exec => "execute the program in the user namespace",
        }
    }
}

/// Why no program runs in a new namespace.
#[derive(Debug)]
pub struct EnterError {
    /// What was being done.
    pub stage: Stage,
    /// The kernel's answer.
    pub source: io::Error,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.stage.text())
    }
}

impl std::error::Error for EnterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What is executed.
#[derive(Debug, Clone)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// A program by its path, its arguments with the zeroth, and its whole environment. A variable
    /// or argument with a NUL in it, which none that came from the kernel has, is left out.
    #[must_use]
    pub fn new(
        path: CString,
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let text = |bytes: OsString| CString::new(bytes.into_vec()).ok();
        let variable = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            text(name)
        };
        Self {
            path,
            args: args.into_iter().filter_map(text).collect(),
            env: env.into_iter().filter_map(variable).collect(),
        }
    }
}

/// A child in its new namespaces, in which no id is mapped yet. Dropping it ends it.
#[derive(Debug)]
pub struct Waiting {
    child: Child,
    /// One byte here lets the child go on.
    go: File,
    /// The child writes here what it could not do; execution closes it.
    report: File,
}

/// Everything that the child uses, in its copy of the memory.
struct Context {
    path: *const c_char,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    go: RawFd,
    report: RawFd,
    /// The parent's ends of the two pipes.
    foreign: [RawFd; 2],
    parent: c_int,
}

/// Makes the namespaces and a child in them that waits for [`Waiting::run`].
///
/// # Errors
/// The kernel's answer to a new user namespace; of a process that may make none it is `EPERM`,
/// `ENOSPC` where the limit of namespaces is reached.
pub fn start(program: &Program) -> Result<Waiting, EnterError> {
    let failed = |source| EnterError {
        stage: Stage::Clone,
        source,
    };
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()));
    let (go_read, go_write) = pipe()?;
    let (report_read, report_write) = pipe()?;
    let context = Context {
        path: program.path.as_ptr(),
        argv: pointers(&program.args),
        envp: pointers(&program.env),
        go: go_read.as_raw_fd(),
        report: report_write.as_raw_fd(),
        foreign: [go_write.as_raw_fd(), report_read.as_raw_fd()],
        parent: rustix::process::getpid().as_raw_nonzero().get(),
    };
    let stack = Stack::new().map_err(failed)?;
    keep_exit_status();
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // SAFETY: without CLONE_VM the child gets a copy of the memory, in which it runs `child_main`
    // on the copy of `stack` with the copy of `context`. It makes bare system calls only, so it
    // does not matter which locks other threads held.
    let pid = unsafe {
        libc::clone(
            child_main,
            stack.top(),
            flags,
            (&raw const context).cast_mut().cast::<c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_int>(),
        )
    };
    if pid < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: the kernel stored a new descriptor, owned by nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Waiting {
        child: Child::new(pidfd, pid, Tree::Own),
        go: go_write.into(),
        report: report_read.into(),
    })
}

/// Makes a user namespace in which nobody lives, and returns its handle, which keeps it. It serves
/// to be joined, and to shift the owners of files by its maps.
///
/// # Errors
/// The kernel's answer to a new user namespace or to the maps.
pub fn namespace(maps: &IdMaps) -> io::Result<OwnedFd> {
    let nobody = Program::new(c"".to_owned(), [], []);
    let waiting = start(&nobody).map_err(|error| error.source)?;
    waiting.map_groups(&maps.groups)?;
    waiting.map_users(&maps.users)?;
    let handle = File::open(format!("/proc/{}/ns/user", waiting.pid()))?;
    Ok(handle.into())
}

impl Waiting {
    /// Returns the child's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Forbids processes of the namespace to change their supplementary groups: the condition for
    /// mapping one's own group without more rights. It must precede that map.
    ///
    /// # Errors
    /// The kernel's.
    pub fn deny_set_groups(&self) -> io::Result<()> {
        self.write("setgroups", "deny")
    }

    /// Maps users by the rights of this process, which without more are those to map its own.
    ///
    /// # Errors
    /// The kernel's; `EPERM` for what this process may not map.
    pub fn map_users(&self, map: &IdMap) -> io::Result<()> {
        self.write("uid_map", &lines(map))
    }

    /// Maps groups; as [`Waiting::map_users`].
    ///
    /// # Errors
    /// The kernel's; `EPERM` for what this process may not map.
    pub fn map_groups(&self, map: &IdMap) -> io::Result<()> {
        self.write("gid_map", &lines(map))
    }

    /// The kernel takes a map in one write only.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = format!("/proc/{}/{name}", self.pid());
        OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes())
    }

    /// Lets the child become root of its namespace and execute its program.
    ///
    /// # Errors
    /// What it could not do; it has ended then.
    pub fn run(mut self) -> Result<Child, EnterError> {
        let failed = |source| EnterError {
            stage: Stage::Exec,
            source,
        };
        self.go.write_all(&[1]).map_err(failed)?;
        let mut report = Vec::new();
        self.report.read_to_end(&mut report).map_err(failed)?;
        let Some((stage, errno)) = report.split_first() else {
            return Ok(self.child);
        };
        let errno = errno.try_into().map_or(0, i32::from_ne_bytes);
        let stage = Stage::ALL.into_iter().find(|known| *known as u8 == *stage);
        Err(EnterError {
            stage: stage.unwrap_or(Stage::Exec),
            source: io::Error::from_raw_os_error(errno),
        })
    }
}

fn lines(map: &IdMap) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
    map.ranges().iter().map(line).collect()
}

impl AsFd for Waiting {
    /// The child's pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

/// Entry point of the child. Never returns but by executing or exiting.
///
/// Law from here on: no allocation, no lock, no panic. Another thread of the parent may have held
/// any lock when the memory was copied.
extern "C" fn child_main(context: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to a `Context`, of which this is the process's own copy.
    let context = unsafe { &*context.cast_const().cast::<Context>() };
    // The parent's end of the first pipe, held here, would hide the parent's death.
    for end in context.foreign {
        let _ = call(libc::SYS_close, [end as usize, 0, 0]);
    }
    let mut byte = 0_u8;
    loop {
        let read = [context.go as usize, &raw mut byte as usize, 1];
        match call(libc::SYS_read, read) {
            Ok(1) => break,
            Err(libc::EINTR) => {}
            // The parent gave up.
            _ => exit(1),
        }
    }
    let (stage, errno) = enter(context);
    let mut report = [stage as u8, 0, 0, 0, 0];
    report[1..].copy_from_slice(&errno.to_ne_bytes());
    let written = [context.report as usize, report.as_ptr() as usize, 5];
    let _ = call(libc::SYS_write, written);
    exit(127)
}

/// Becomes root and executes the program; returns only what failed.
fn enter(context: &Context) -> (Stage, c_int) {
    for change in [libc::SYS_setresgid, libc::SYS_setresuid] {
        if let Err(errno) = call(change, [0, 0, 0]) {
            return (Stage::Ids, errno);
        }
    }
    // After the change of ids, which clears it.
    let deadly = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0];
    let _ = call(libc::SYS_prctl, deadly);
    if call(libc::SYS_getppid, [0, 0, 0]) != Ok(context.parent as usize) {
        return (Stage::ParentDied, libc::ESRCH);
    }
    let (argv, envp) = (context.argv.as_ptr(), context.envp.as_ptr());
    let executed = [context.path as usize, argv as usize, envp as usize];
    let errno = call(libc::SYS_execve, executed).err().unwrap_or(0);
    (Stage::Exec, errno)
}

fn exit(status: usize) -> ! {
    loop {
        let _ = call(libc::SYS_exit_group, [status, 0, 0]);
    }
}

/// A bare system call: those of the C library take locks or look at memory of other threads.
fn call(number: libc::c_long, arguments: [usize; 3]) -> Result<usize, c_int> {
    // SAFETY: every caller above passes numbers, or pointers into `Context` and its own stack that
    // outlive the call and whose length it gives.
    let done = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) };
    match usize::try_from(done) {
        Ok(done) => Ok(done),
        // SAFETY: the location of this thread's errno is always valid.
        Err(_) => Err(unsafe { *libc::__errno_location() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Exit;

    fn shell(script: &str) -> Program {
        let args = ["sh", "-c", script].map(OsString::from);
        let env = [(OsString::from("A"), OsString::from("b"))];
        Program::new(c"/bin/sh".to_owned(), args, env)
    }

    /// Maps this process's ids to 0, which needs no rights.
    fn map_own(waiting: &Waiting) {
        let own = |outside| {
            let range = IdRange {
                inside: 0,
                outside,
                count: 1,
            };
            IdMap::from_ranges(vec![range])
        };
        waiting.deny_set_groups().unwrap();
        let group = rustix::process::getgid().as_raw();
        waiting.map_groups(&own(group)).unwrap();
        let user = rustix::process::getuid().as_raw();
        waiting.map_users(&own(user)).unwrap();
    }

    fn run(script: &str) -> Exit {
        let waiting = start(&shell(script)).unwrap();
        map_own(&waiting);
        waiting.run().unwrap().wait().unwrap()
    }

    #[test]
    fn priv_the_child_is_root_of_its_namespace() {
        assert_eq!(run("test $(id -u):$(id -g):$A = 0:0:b"), Exit::Code(0));
        assert_eq!(run("exit 7"), Exit::Code(7));
        assert_eq!(run("kill -TERM $$"), Exit::Signal(libc::SIGTERM));
        assert_eq!(run("mount -t tmpfs none /mnt"), Exit::Code(0));
    }

    #[test]
    fn priv_the_child_ends_with_the_thread_that_made_it() {
        let start = || {
            let waiting = start(&shell("sleep 100")).unwrap();
            map_own(&waiting);
            waiting.run().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    }

    #[test]
    fn priv_a_dropped_child_is_gone() {
        let waiting = start(&shell("exit 0")).unwrap();
        let process = format!("/proc/{}", waiting.pid());
        assert!(std::path::Path::new(&process).exists());
        drop(waiting);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    fn priv_errors_name_the_stage() {
        let waiting = start(&shell("exit 0")).unwrap();
        let error = waiting.run().unwrap_err();
        assert_eq!(error.stage, Stage::Ids);
        let missing = Program::new(c"/nonexistent".to_owned(), [], []);
        let waiting = start(&missing).unwrap();
        map_own(&waiting);
        let error = waiting.run().unwrap_err();
        assert_eq!(error.stage, Stage::Exec);
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOENT));
    }
}

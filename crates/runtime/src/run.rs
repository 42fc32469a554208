//! The life of one run: prepare, start, relay and watch, clean up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;
use sys::launch::{Child, Controlling, Exit, LaunchError, Stage};

use crate::control_group::{self, Group};
use crate::owners::Owners;
use crate::plan::{Prepared, prepare};
use crate::seccomp::SeccompError;
use crate::spec::{Output, RunSpec, Stdin, Stream};
use crate::surroundings::Surroundings;
use crate::{ControlGroup, ControlGroupError, Lowered, Refusal, Stop};

/// Bytes relayed at a time.
const RELAY: usize = 64 << 10;
/// How often a request that follows an earlier one is looked for.
const TICK: Duration = Duration::from_millis(50);
const SIGKILL: i32 = 9;
const END_OF_INPUT: u8 = 4;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EACCES: i32 = 13;

/// Why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The argument list is empty.
    #[error("no program to execute")]
    NoProgram,
    /// The program is in no directory of `PATH`; wording of runc and Go.
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotInPath {
        /// As it was asked for.
        program: String,
    },
    /// The program, or its interpreter, does not exist; wording of runc.
    #[error("exec: {program:?}: stat {program}: no such file or directory")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// The program cannot be executed; wording of runc and Go.
    #[error("exec: {program:?}: permission denied")]
    PermissionDenied {
        /// As it was asked for.
        program: String,
    },
    /// The kernel refused the program for another reason, such as its format.
    #[error("exec: {program:?}")]
    Exec {
        /// As it was asked for.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The root cannot be used.
    #[error("cannot use the root file system")]
    Root {
        /// The kernel's answer.
        source: io::Error,
    },
    /// A namespace to join cannot be opened.
    #[error("cannot open the namespace `{path}`")]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The network namespace to join cannot be used.
    #[error("cannot use the network namespace")]
    NetworkNamespace {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something to mount could not be made.
    #[error("cannot prepare the mount for `{target}`")]
    Mount {
        /// Where it was meant to be.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A mount point is missing and cannot be made, or is a link where none may be.
    #[error("cannot use `{target}` as a mount point")]
    MountPoint {
        /// Which.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// More than a thousand mounts.
    #[error("too many mounts for one step")]
    TooManyMounts,
    /// A path is longer than the kernel takes.
    #[error("a path is longer than {} bytes", sys::launch::MAX_PATH - 1)]
    PathTooLong,
    /// An argument, variable or path holds a NUL byte.
    #[error("an argument, variable or path holds a NUL byte")]
    Nul,
    /// This process may neither mount nor make namespaces.
    #[error(
        "cannot isolate the process: mounts need CAP_SYS_ADMIN or a user namespace, and neither is allowed here: \
         let this container call unshare (its seccomp profile, user.max_user_namespaces) or give it CAP_SYS_ADMIN"
    )]
    NoRights,
    /// The user does not exist in the user namespace of this process.
    #[error("user {uid} is not mapped into this user namespace: check /etc/subuid")]
    UnmappedUser {
        /// Its id.
        uid: u32,
    },
    /// The group does not exist in the user namespace of this process.
    #[error("group {gid} is not mapped into this user namespace: check /etc/subgid")]
    UnmappedGroup {
        /// Its id.
        gid: u32,
    },
    /// The processes cannot be limited together as asked.
    #[error("cannot limit the resources of the process")]
    ControlGroup(#[source] ControlGroupError),
    /// The filter cannot be compiled.
    #[error("cannot prepare the system call filter")]
    Seccomp(#[from] SeccompError),
    /// The caller's own capabilities or its user namespace cannot be looked at.
    #[error("cannot read the rights of this process")]
    OwnRights {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Standard input or output cannot be set up.
    #[error("cannot set up standard input and output")]
    Stdio {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process could not be started.
    #[error("cannot start the process")]
    Launch(#[source] LaunchError),
    /// The running process could not be watched; it was killed.
    #[error("cannot watch the process")]
    Watch {
        /// The kernel's answer.
        source: io::Error,
    },
    /// [`Stop::end`] was called before the process started.
    #[error("the build was interrupted")]
    Stopped,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// How the process ended.
    pub exit: Exit,
    /// Limits that were set lower than asked.
    pub lowered: Vec<Lowered>,
    /// Whether mount points that were made for the run could not be taken away.
    pub left_behind: Option<io::Error>,
    /// What could not be done about the control group: the limits do not hold where that is not an
    /// error, or the group stays.
    pub control_group: Option<ControlGroupError>,
}

/// Runs `spec` and waits for its end. When it returns, no process of the run exists any more, and
/// the mount points that were made in the root are gone, also after an error.
///
/// The calling thread must not be ended from outside: its death kills the process. That is also how
/// the process dies when the whole program is killed, unless the process is itself a set-user-id
/// program.
///
/// # Errors
/// When the process could not be started or watched. That it failed is not an error here.
pub fn run(
    spec: RunSpec<'_>,
    stdin: Stdin,
    output: Output<'_>,
    stop: &Stop,
) -> Result<Finished, RunError> {
    if stop.is_ending() {
        return Err(RunError::Stopped);
    }
    let program = spec
        .args
        .first()
        .map(|arg| arg.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    let around = Surroundings::here()?;
    let owners = Owners::of(spec.user_namespace.as_ref());
    if owners.are_ours() {
        around.check(&spec.user)?;
    } else {
        around.check_rights()?;
        owners.check(&spec.user)?;
    }
    let stdio_error = |source| RunError::Stdio { source };
    let writer = owners.here((spec.user.uid, spec.user.gid));
    let terminal_owner = owners.root();
    let (stdio, mut relay) = open_stdio(stdin, output, writer).map_err(stdio_error)?;
    let (mut group, refused) = make_group(&spec.control_group)?;
    let Prepared {
        mut plan,
        points,
        lowered,
        terminals,
    } = prepare(spec, &mut group, stdio, around)?;
    if let (Some(terminal), Some(devpts)) = (&mut relay.terminal, &terminals) {
        plan.stdio = terminal
            .open(devpts.as_fd(), terminal_owner)
            .map_err(stdio_error)?;
        plan.terminal = Controlling::Stdin;
    }
    drop(terminals);
    let started = if plan.programs.is_empty() {
        Err(RunError::NotInPath { program })
    } else {
        sys::launch::spawn(&plan).map_err(|err| launch_error(err, program))
    };
    // Closes our copies of the pipes' write ends and of the mounts.
    drop(plan);
    let ended = started.and_then(|mut child| {
        watch(&mut child, &mut relay, stop).map_err(|source| RunError::Watch { source })
    });
    let left_behind = points.close().err();
    let group_stays = group.close().err();
    Ok(Finished {
        exit: ended?,
        lowered,
        left_behind,
        control_group: refused.or(group_stays),
    })
}

/// Makes the control group, an empty one when none is asked for, and says why it lacks what was.
fn make_group(asked: &ControlGroup) -> Result<(Group, Option<ControlGroupError>), RunError> {
    control_group::sweep_usual();
    if asked.is_empty() {
        return Ok((Group::default(), None));
    }
    match (Group::make(asked), asked.refusal) {
        (Ok(group), _) => Ok((group, None)),
        (Err(error), Refusal::Told) => Ok((Group::default(), Some(error))),
        (Err(error), Refusal::Fatal) => Err(RunError::ControlGroup(error)),
    }
}

fn launch_error(err: LaunchError, program: String) -> RunError {
    match (err.stage, err.source.raw_os_error()) {
        (Stage::Exec, Some(ENOENT)) if program.contains('/') => RunError::NotFound { program },
        (Stage::Exec, Some(ENOENT)) => RunError::NotInPath { program },
        (Stage::Exec, Some(EACCES)) => RunError::PermissionDenied { program },
        (Stage::Exec, _) => RunError::Exec {
            program,
            source: err.source,
        },
        _ => RunError::Launch(err),
    }
}

/// Where each piece of output goes.
enum Sink<'a> {
    None,
    Call(&'a mut dyn FnMut(Stream, &[u8])),
    Own,
}

/// Where output comes from and goes to.
struct Relay<'a> {
    pipes: Vec<(Stream, Option<OwnedFd>)>,
    sink: Sink<'a>,
    terminal: Option<Terminal<'a>>,
}

struct Terminal<'a> {
    input: Option<BorrowedFd<'a>>,
    output: BorrowedFd<'a>,
    size: (u16, u16),
    master: Option<OwnedFd>,
}

impl Terminal<'_> {
    /// Opens a terminal of the container's own devpts, so that its name exists inside.
    fn open(
        &mut self,
        devpts: BorrowedFd<'_>,
        owner: Option<(u32, u32)>,
    ) -> io::Result<[OwnedFd; 3]> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty())?;
        rustix::pty::unlockpt(&master)?;
        let open = rustix::pty::OpenptFlags::RDWR
            | rustix::pty::OpenptFlags::NOCTTY
            | rustix::pty::OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, open)?;
        if let Some((uid, _)) = owner {
            rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None)?;
        }
        let (ws_row, ws_col) = self.size;
        let size = Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size)?;
        self.master = Some(master);
        Ok([
            above_two(slave.as_fd())?,
            above_two(slave.as_fd())?,
            above_two(slave.as_fd())?,
        ])
    }
}

fn open_stdio<'a>(
    stdin: Stdin,
    output: Output<'a>,
    writer: (u32, u32),
) -> io::Result<([OwnedFd; 3], Relay<'a>)> {
    let mut relay = Relay {
        pipes: Vec::new(),
        sink: Sink::None,
        terminal: None,
    };
    let input = match stdin {
        Stdin::Null => null()?,
        Stdin::Inherit => above_two(rustix::stdio::stdin())?,
        Stdin::Fd(fd) => above_two(fd.as_fd())?,
    };
    let (out, err) = match output {
        Output::Inherit if writer.0 == 0 => (
            above_two(rustix::stdio::stdout())?,
            above_two(rustix::stdio::stderr())?,
        ),
        Output::Inherit => {
            relay.sink = Sink::Own;
            relay.open_pipes(writer)?
        }
        Output::Null => (null()?, null()?),
        Output::Fds { stdout, stderr } => (above_two(stdout.as_fd())?, above_two(stderr.as_fd())?),
        Output::Relay(sink) => {
            relay.sink = Sink::Call(sink);
            relay.open_pipes(writer)?
        }
        Output::Terminal {
            input,
            output,
            size,
        } => {
            relay.terminal = Some(Terminal {
                input,
                output,
                size,
                master: None,
            });
            (null()?, null()?)
        }
    };
    Ok(([input, out, err], relay))
}

fn null() -> io::Result<OwnedFd> {
    let fd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    above_two(fd.as_fd())
}

/// A copy that the child's own 0, 1 and 2 do not overwrite before their turn.
fn above_two(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// What woke the loop.
#[derive(Clone, Copy)]
enum Source {
    Ended,
    Requested,
    Pipe(usize),
    Screen,
    Keys,
}

/// Relays output and requests until the process has ended and its output is read.
fn watch(child: &mut Child, relay: &mut Relay<'_>, stop: &Stop) -> io::Result<Exit> {
    let mut buffer = Vec::new();
    if relay.is_open() {
        buffer.resize(RELAY, 0);
    }
    let mut seen = 0;
    let mut killed = false;
    let mut exit = None;
    loop {
        if let (Some(exit), false) = (exit, relay.is_open()) {
            return Ok(exit);
        }
        let known = Known {
            ended: exit.is_some(),
            requested: seen > 0 || stop.is_ending(),
        };
        for source in wait_for_any(child, relay, stop, known)? {
            match source {
                Source::Ended => exit = Some(child.wait()?),
                Source::Requested => {}
                Source::Pipe(index) => relay.output(index, &mut buffer)?,
                Source::Screen => relay.screen(&mut buffer)?,
                Source::Keys => relay.keys(&mut buffer)?,
            }
        }
        if exit.is_some() {
            continue;
        }
        for signal in stop.signals_from(seen) {
            seen += 1;
            send(child, signal)?;
        }
        if !killed && stop.kill_at().is_some_and(|at| Instant::now() >= at) {
            killed = true;
            send(child, SIGKILL)?;
        }
    }
}

/// What the loop need not wait for any more.
#[derive(Clone, Copy)]
struct Known {
    ended: bool,
    /// Requests are then looked for by the clock, because the event stays readable.
    requested: bool,
}

fn wait_for_any(
    child: &Child,
    relay: &Relay<'_>,
    stop: &Stop,
    known: Known,
) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut fds = Vec::new();
    let mut add = |source, fd| {
        sources.push(source);
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
    };
    if !known.ended {
        add(Source::Ended, child.as_fd());
        if !known.requested {
            add(Source::Requested, stop.as_fd());
        }
    }
    for (index, (_, pipe)) in relay.pipes.iter().enumerate() {
        if let Some(pipe) = pipe {
            add(Source::Pipe(index), pipe.as_fd());
        }
    }
    if let Some(Terminal {
        input,
        master: Some(master),
        ..
    }) = &relay.terminal
    {
        add(Source::Screen, master.as_fd());
        if let (Some(input), false) = (input, known.ended) {
            add(Source::Keys, *input);
        }
    }
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: TICK.subsec_nanos().into(),
    };
    let timeout = (known.requested && !known.ended).then_some(&tick);
    match rustix::event::poll(&mut fds, timeout) {
        Err(Errno::INTR) => return Ok(Vec::new()),
        other => other?,
    };
    let ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(sources
        .into_iter()
        .zip(ready)
        .filter_map(|(source, ready)| ready.then_some(source))
        .collect())
}

impl Relay<'_> {
    /// Makes a pipe for each stream and returns the ends to write to, which belong to `writer`, so
    /// that it can open `/dev/stdout` (as runc does).
    fn open_pipes(&mut self, writer: (u32, u32)) -> io::Result<(OwnedFd, OwnedFd)> {
        let mut open = |stream| {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let (uid, gid) = (Uid::from_raw(writer.0), Gid::from_raw(writer.1));
            rustix::fs::fchown(&write, Some(uid), Some(gid))?;
            self.pipes.push((stream, Some(read)));
            above_two(write.as_fd())
        };
        Ok((open(Stream::Stdout)?, open(Stream::Stderr)?))
    }

    /// Says whether output can still come.
    fn is_open(&self) -> bool {
        self.pipes.iter().any(|(_, pipe)| pipe.is_some())
            || self
                .terminal
                .as_ref()
                .is_some_and(|terminal| terminal.master.is_some())
    }

    fn output(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some((stream, pipe)) = self.pipes.get_mut(index) else {
            return Ok(());
        };
        let Some(open) = pipe else { return Ok(()) };
        match rustix::io::read(open, &mut *buffer) {
            Ok(0) => *pipe = None,
            Ok(n) => {
                let (stream, bytes) = (*stream, &buffer[..n]);
                match (&mut self.sink, stream) {
                    (Sink::None, _) => {}
                    (Sink::Call(sink), _) => sink(stream, bytes),
                    (Sink::Own, Stream::Stdout) => write_all(rustix::stdio::stdout(), bytes)?,
                    (Sink::Own, Stream::Stderr) => write_all(rustix::stdio::stderr(), bytes)?,
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(err) => return Err(err.into()),
        }
        Ok(())
    }

    fn screen(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        let Some(master) = &terminal.master else {
            return Ok(());
        };
        match rustix::io::read(master, &mut *buffer) {
            Ok(0) | Err(Errno::IO) => terminal.master = None,
            Ok(n) => write_all(terminal.output, &buffer[..n])?,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(err) => return Err(err.into()),
        }
        Ok(())
    }

    fn keys(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        let (Some(input), Some(master)) = (terminal.input, &terminal.master) else {
            return Ok(());
        };
        match rustix::io::read(input, &mut *buffer) {
            Ok(0) => {
                // The end of a file is not the end of a terminal; its key is ^D.
                terminal.input = None;
                write_all(master.as_fd(), &[END_OF_INPUT])
            }
            Ok(n) => write_all(master.as_fd(), &buffer[..n]),
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                rustix::event::poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            // The process closed its end; what it does not read is lost, as on any terminal.
            Err(Errno::IO) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Sends a signal; that the process has just ended is fine.
fn send(child: &Child, signal: i32) -> io::Result<()> {
    match child.signal(signal) {
        Err(err) if err.raw_os_error() == Some(ESRCH) => Ok(()),
        other => other,
    }
}

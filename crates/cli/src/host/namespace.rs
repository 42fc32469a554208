//! The user namespace that a command works in: who is not root starts the program again as root of a
//! namespace of their own, where files can have all the owners that the host lets them use.
//!
//! The variables are those of the Go tools, so that each finds itself at home in a namespace that
//! another has made.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use config::{SubIdRange, SubIds};
use rustix::process::{Signal, pidfd_send_signal};
use sys::idmap::{IdMap, IdRange};
use sys::launch::Exit;
use sys::userns::{Program, Waiting};

use super::interrupt::Interrupt;
use crate::failure::{Failure, in_go_words};
use crate::ui::{Level, Ui};
use crate::world::{IN_A_USER_NAMESPACE, ROOTLESS_UID, World};

/// Says that this process is in a namespace made for it; `1`, or `done` for what `unshare` runs.
pub const CONFIGURED: &str = "_CONTAINERS_USERNS_CONFIGURED";
/// The group outside.
const ROOTLESS_GID: &str = "_CONTAINERS_ROOTLESS_GID";
/// How steps are isolated when no flag says it.
pub const ISOLATION: &str = "BUILDAH_ISOLATION";

/// The status of the Go tools for a namespace that cannot be made and for a process that a signal ended.
const NO_STATUS: u8 = 1;
/// `CAP_SETGID` and `CAP_SETUID` as bits of a capability word.
const SET_IDS: u32 = 1 << 6 | 1 << 7;

/// Where a command works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Where it was started: it needs no other rights than its user's.
    Here,
    /// Where files have their owners: a new namespace for anybody but root.
    Owners,
    /// In a new namespace, also for root.
    New,
}

/// The ids of a new namespace.
struct Maps {
    users: IdMap,
    groups: IdMap,
}

/// Which of the two maps is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Users,
    Groups,
}

impl Kind {
    /// The program that may map what this process may not, and what it should be allowed to set.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Users => ("newuidmap", "setuid"),
            Self::Groups => ("newgidmap", "setgid"),
        }
    }
}

/// Starts the program again in a namespace, if `space` needs one, and waits for it. `None` when this
/// process is where the command works.
pub fn enter(space: Space, world: &World, ui: &Ui) -> Result<Option<ExitCode>, Failure> {
    let is_root = rustix::process::geteuid().is_root();
    let entered = is_root && (world.uid != 0 || world.started_again);
    if space == Space::Here || entered {
        return Ok(None);
    }
    let maps = if !is_root || space == Space::New {
        own_maps(world, ui)
    } else if sys::Probe::take().is_ok_and(|probe| probe.sys_admin) {
        return Ok(None);
    } else {
        same_maps()?
    };
    let waiting = match start(&maps, ui) {
        Ok(waiting) => waiting,
        // Without mounts much can still be done by a root that owns all ids: every driver says what it lacks.
        Err(failure) if is_root && space == Space::Owners => {
            let why = failure.error.as_ref().map(in_go_words);
            let why = why.unwrap_or_default();
            ui.log(Level::Info, &format!("working without a namespace: {why}"));
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    // Before the program begins, so that none is lost.
    Forwarding::install()?.to(waiting.as_fd())?;
    let mut child = waiting.run()?;
    let exit = child.wait().context("waiting for a process")?;
    Ok(Some(status_of(exit, ui)?.into()))
}

/// This user as root, and behind it what the host lets them use.
fn own_maps(world: &World, ui: &Ui) -> Maps {
    let [users, groups] = ["/etc/subuid", "/etc/subgid"];
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let name = user_name(uid.as_raw(), world);
    let ids = SubIds::load(Path::new(users), Path::new(groups), &name, uid.as_raw());
    let ids = ids.unwrap_or_else(|error| {
        let why = in_go_words(&anyhow::Error::from(error));
        ui.warn(&format!(
            "Reading allowed ID mappings: reading subuid mappings for user {name:?} and subgid mappings for group {name:?}: {why}"
        ));
        for (kind, file) in [("UID", users), ("GID", groups)] {
            ui.warn(&format!("Found no {kind} ranges set aside for user {name:?} in {file}."));
        }
        SubIds::default()
    });
    Maps {
        users: behind(uid.as_raw(), &ids.users),
        groups: behind(gid.as_raw(), &ids.groups),
    }
}

/// Puts ranges behind each other, and `own` in front as 0.
fn behind(own: u32, ranges: &[SubIdRange]) -> IdMap {
    let first = SubIdRange {
        start: own,
        count: 1,
    };
    let mut next = 0_u32;
    let mut map = Vec::new();
    for range in std::iter::once(&first).chain(ranges) {
        let Some(after) = next.checked_add(range.count) else {
            break;
        };
        map.push(IdRange {
            inside: next,
            outside: range.start,
            count: range.count,
        });
        next = after;
    }
    IdMap::from_ranges(map)
}

/// The ids of this process's own namespace once more.
fn same_maps() -> Result<Maps, Failure> {
    let same = |map: IdMap| {
        let same = |range: &IdRange| IdRange {
            outside: range.inside,
            ..*range
        };
        IdMap::from_ranges(map.ranges().iter().map(same).collect())
    };
    let maps = IdMap::of_users().and_then(|users| Ok((users, IdMap::of_groups()?)));
    let (users, groups) = maps.context("reading the ids of this user namespace")?;
    Ok(Maps {
        users: same(users),
        groups: same(groups),
    })
}

/// The name by which the host knows a user, as far as it can be told without asking a service; the
/// programs that map ids look it up themselves.
fn user_name(uid: u32, world: &World) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse();
        (number == Ok(uid)).then(|| name.to_owned())
    };
    let name = passwd.lines().find_map(named);
    name.or_else(|| world.var("USER").map(str::to_owned))
        .unwrap_or_else(|| uid.to_string())
}

/// Makes the namespace with its ids; the child in it waits.
fn start(maps: &Maps, ui: &Ui) -> Result<Waiting, Failure> {
    let waiting = sys::userns::start(&program()).map_err(|error| {
        let failure = Failure::from(error);
        match why_refused() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    for (kind, map) in [(Kind::Groups, &maps.groups), (Kind::Users, &maps.users)] {
        fill(&waiting, kind, map, ui)?;
    }
    Ok(waiting)
}

/// This program with these arguments and this environment, and what tells where it is.
fn program() -> Program {
    let mut args = std::env::args_os();
    let mut name = args.next().unwrap_or_default();
    name.push(IN_A_USER_NAMESPACE);
    let added = [
        (CONFIGURED, "1".to_owned()),
        (ROOTLESS_UID, rustix::process::geteuid().to_string()),
        (ROOTLESS_GID, rustix::process::getegid().to_string()),
    ];
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !added.iter().any(|(added, _)| name == added))
        .collect();
    if !env.iter().any(|(name, _)| name == ISOLATION) {
        env.push((ISOLATION.into(), "rootless".into()));
    }
    env.extend(added.map(|(name, value)| (name.into(), value.into())));
    Program::new(
        c"/proc/self/exe".to_owned(),
        std::iter::once(name).chain(args),
        env,
    )
}

/// Writes one map: by the rights of this process where they suffice, else through the host's program.
fn fill(waiting: &Waiting, kind: Kind, map: &IdMap, ui: &Ui) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        return write(waiting, kind, map);
    }
    let own = match kind {
        Kind::Users => rustix::process::geteuid().as_raw(),
        Kind::Groups => rustix::process::getegid().as_raw(),
    };
    if map.ranges().len() > 1 && helped(waiting, kind, map, ui)? {
        return Ok(());
    }
    if kind == Kind::Groups {
        // The kernel's condition for mapping a group without more rights.
        let denied = waiting.deny_set_groups();
        denied.context("forbidding changes of groups in the user namespace")?;
    }
    write(waiting, kind, &behind(own, &[]))
}

fn write(waiting: &Waiting, kind: Kind, map: &IdMap) -> Result<(), Failure> {
    let written = match kind {
        Kind::Users => waiting
            .map_users(map)
            .context("mapping users into the user namespace"),
        Kind::Groups => waiting
            .map_groups(map)
            .context("mapping groups into the user namespace"),
    };
    written.map_err(|error| {
        let failure = Failure::from(error);
        match rustix::process::geteuid().is_root() {
            true => failure.hint("root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP for this"),
            false => failure,
        }
    })
}

/// Has the host's program write a map; whether it did. Not having the program is an error.
fn helped(waiting: &Waiting, kind: Kind, map: &IdMap, ui: &Ui) -> Result<bool, Failure> {
    let (program, right) = kind.program();
    let Some(path) = in_path(program) else {
        ui.log(
            Level::Error,
            &format!("finding {program}: exec: \"{program}\": executable file not found in $PATH"),
        );
        return Err(no_status(ui).hint(format!(
            "{program} comes with the package `uidmap` or `shadow-utils`"
        )));
    };
    let mut command = Command::new(&path);
    command.arg(waiting.pid().to_string());
    for range in map.ranges() {
        let numbers = [range.inside, range.outside, range.count];
        command.args(numbers.map(|number| number.to_string()));
    }
    let done = command.output();
    let (why, said) = match &done {
        Ok(output) if output.status.success() => return Ok(true),
        Ok(output) => {
            let said = [output.stdout.as_slice(), &output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            (ended(of_status(output.status)), said)
        }
        Err(error) => (error.to_string(), String::new()),
    };
    ui.warn(&format!("Error running {program}: {why}: {said}"));
    match may_set_ids(&path) {
        Ok(true) => {}
        Ok(false) => ui.warn(&format!(
            "{} should be {right} or have filecaps {right}",
            path.display()
        )),
        Err(error) => ui.warn(&format!(
            "Failed to check for {right} on {}: {error}",
            path.display()
        )),
    }
    ui.warn("Falling back to single mapping");
    Ok(false)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|dir| dir.join(program));
    let is_executable = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(is_executable)
}

/// Whether a program gets the right to set ids from its mode or from its capabilities.
fn may_set_ids(path: &Path) -> io::Result<bool> {
    if std::fs::metadata(path)?.permissions().mode() & 0o6000 != 0 {
        return Ok(true);
    }
    // A version, then the permitted capabilities as a little-endian word.
    let mut bytes = [0; 64];
    let permitted = match rustix::fs::getxattr(path, c"security.capability", &mut bytes) {
        Ok(8..) => u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        _ => 0,
    };
    Ok(permitted & SET_IDS != 0)
}

/// What on this host stands against a new user namespace.
fn why_refused() -> Option<String> {
    let setting = |name: &str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    [
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ]
    .into_iter()
    .find(|(name, value)| setting(name).as_deref() == Some(value))
    .map(|(name, value)| {
        format!("this host has {name}={value}; with another value, users may make user namespaces")
    })
    .or_else(|| {
        let text = "a chroot forbids user namespaces; in a container, its seccomp profile or security module may forbid unshare(2) and clone(2) with new user namespaces";
        Path::new("/proc/sys/user/max_user_namespaces").exists().then(|| text.to_owned())
    })
}

/// Passes the signals that are sent to us on to a process.
pub struct Forwarding {
    target: Arc<OnceLock<OwnedFd>>,
    interrupt: Interrupt,
}

impl Forwarding {
    /// Keeps signals from ending this process from now on.
    pub fn install() -> io::Result<Self> {
        let target = Arc::new(OnceLock::new());
        let found = Arc::clone(&target);
        let interrupt = Interrupt::install(move |number| {
            if let Some(target) = found.get() {
                send(target, number);
            }
        })?;
        Ok(Self { target, interrupt })
    }

    /// Names the process, by its pidfd. It gets a signal that has come already, too.
    pub fn to(&self, process: BorrowedFd<'_>) -> io::Result<()> {
        let process = process.try_clone_to_owned()?;
        let target = self.target.get_or_init(|| process);
        if let Some(number) = self.interrupt.signal() {
            send(target, number);
        }
        Ok(())
    }
}

/// A process that has ended needs no signal.
fn send(target: &OwnedFd, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = pidfd_send_signal(target, signal);
    }
}

/// What to exit with when a process has ended that we stand for.
pub fn status_of(exit: Exit, ui: &Ui) -> Result<u8, Failure> {
    match exit {
        Exit::Code(status) => Ok(u8::try_from(status).unwrap_or(NO_STATUS)),
        Exit::Signal(_) => {
            ui.log(Level::Error, &ended(exit));
            Err(no_status(ui))
        }
    }
}

/// The end of a process that left no status to pass on.
pub fn no_status(ui: &Ui) -> Failure {
    ui.log(Level::Error, "(Unable to determine exit status)");
    passed_on(NO_STATUS)
}

/// The failure of a process that has said itself what there was to say.
pub fn passed_on(status: u8) -> Failure {
    Failure {
        error: None,
        hints: Vec::new(),
        status,
    }
}

/// How a process ended.
pub fn of_status(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal().map(Exit::Signal);
    signal.unwrap_or_else(|| Exit::Code(status.code().unwrap_or(i32::from(NO_STATUS))))
}

/// Go's words for the end of a process.
fn ended(exit: Exit) -> String {
    const SIGNALS: [&str; 15] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
    ];
    match exit {
        Exit::Code(status) => format!("exit status {status}"),
        Exit::Signal(number) => {
            let at = usize::try_from(number)
                .ok()
                .and_then(|at| at.checked_sub(1));
            match at.and_then(|at| SIGNALS.get(at)) {
                Some(name) => format!("signal: {name}"),
                None => format!("signal: signal {number}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_own_id() {
        let check = |ranges: &[(u32, u32)], expected: &[(u32, u32, u32)]| {
            let ranges: Vec<SubIdRange> = ranges
                .iter()
                .map(|&(start, count)| SubIdRange { start, count })
                .collect();
            let map = behind(1000, &ranges);
            let found: Vec<_> = map
                .ranges()
                .iter()
                .map(|range| (range.inside, range.outside, range.count))
                .collect();
            assert_eq!(found, expected, "{ranges:?}");
        };
        check(&[], &[(0, 1000, 1)]);
        check(
            &[(100_000, 65_536), (300_000, 10)],
            &[(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)],
        );
        check(&[(0, u32::MAX)], &[(0, 1000, 1)]);
    }

    #[test]
    fn ends_in_go_words() {
        for (exit, expected) in [
            (Exit::Code(7), "exit status 7"),
            (Exit::Signal(15), "signal: terminated"),
            (Exit::Signal(40), "signal: signal 40"),
        ] {
            assert_eq!(ended(exit), expected);
        }
    }
}

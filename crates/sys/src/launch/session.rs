//! The processes of a session, which take the place of a process namespace that is shared.
//!
//! One that began a session of its own has left: nothing but a namespace or a control group holds
//! those.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes get to go before they are looked for again.
const PAUSE: Duration = Duration::from_millis(1);

/// Kills what is left of the session that the ended, unreaped process `leader` began, and returns
/// when all of it is gone.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn kill(leader: i32) -> io::Result<()> {
    loop {
        let mut left = false;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = number
                .filter(|number| *number != leader)
                .and_then(Pid::from_raw)
            else {
                continue;
            };
            if lives_in(pid, leader) {
                left = true;
                match kill_process(pid, Signal::KILL) {
                    // It ended meanwhile.
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        if !left {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Says whether a process belongs to a session and still runs; one that has ended and waits for its
/// parent does nothing more.
fn lives_in(pid: Pid, session: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The name in parentheses, which comes first, may hold any of these.
    let text = text.unwrap_or_default();
    let mut words = match text.rsplit_once(')') {
        Some((_, rest)) => rest.split_whitespace(),
        None => return false,
    };
    let state = words.next();
    let [_parent, _group, its] = [(); 3].map(|()| words.next());
    its.and_then(|word| word.parse().ok()) == Some(session) && !matches!(state, Some("Z" | "X"))
}

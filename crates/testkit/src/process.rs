//! A server that a test starts: its output in a file, and its end with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running program, ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with both outputs in the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?} (./test installs it)"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Everything that the server said so far.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `ready` finds what it looks for in what the server said (or elsewhere).
    pub fn wait<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let said = self.said();
            if let Some(found) = ready(&said) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{said}");
            }
            if start.elapsed() > START_LIMIT {
                bail!("the server is not ready after {START_LIMIT:?}:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) -> std::io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_server_ends_with_its_guard() {
        let scratch = Scratch::new("server").unwrap();
        let log = scratch.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready $$; exec sleep 100"]);
        let mut server = Server::start(&mut command, &log).unwrap();
        let pid: String = server
            .wait(|said| Some(said.strip_prefix("ready ")?.strip_suffix('\n')?.to_owned()))
            .unwrap();
        assert!(Path::new("/proc").join(&pid).exists());
        drop(server);
        assert!(!Path::new("/proc").join(&pid).exists());
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let scratch = Scratch::new("server").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such setting; exit 3"]);
        let mut server = Server::start(&mut command, &scratch.join("log")).unwrap();
        let error = server.wait(|_| None::<()>).unwrap_err().to_string();
        assert!(
            error.contains("no such setting") && error.contains('3'),
            "{error}"
        );
    }
}

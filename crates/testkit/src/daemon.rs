//! Debian's Docker daemon, with everything it has in a folder of the test's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};

use crate::process::Server;
use crate::scratch::Scratch;

/// A running daemon without network, ended and removed when dropped. Needs root.
pub struct Daemon {
    // Ends before the folder goes.
    _server: Server,
    scratch: Scratch,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new("dockerd")?;
        let mut command = Command::new("dockerd");
        // It must leave the machine's own network alone.
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(scratch.join(name));
        }
        let socket = scratch.join("docker.sock");
        command
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        let mut server = Server::start(&mut command, &scratch.join("log"))?;
        server.wait(|said| said.contains("API listen on").then_some(()))?;
        Ok(Self {
            _server: server,
            scratch,
        })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("docker.sock")
    }

    /// Runs Debian's `docker` against the daemon.
    pub fn docker(&self, words: &[&str]) -> Result<Output> {
        Command::new("/usr/bin/docker")
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(words)
            .output()
            .context("cannot start docker (Debian's docker.io)")
    }

    /// Runs what `command` says where `/var/run/docker.sock` is this daemon's socket: in a mount
    /// namespace of its own whose `/run` is empty otherwise.
    pub fn at_the_usual_place(&self, command: &Command) -> Command {
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-c"]);
        inside.arg("mount -t tmpfs tmpfs /run && ln -s \"$0\" /run/docker.sock && exec \"$@\"");
        inside.arg(self.socket());
        inside.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// The folder of the daemon, for files of the test's own.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::mounts_below;

    #[test]
    fn peer_the_daemon_answers_and_leaves_nothing() {
        let daemon = Daemon::start().unwrap();
        let said = daemon
            .docker(&["version", "--format", "{{.Server.Os}}"])
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "linux");
        let mut usual = Command::new("/usr/bin/docker");
        usual.args(["images", "-q"]);
        let said = daemon.at_the_usual_place(&usual).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let folder = daemon.folder().to_owned();
        drop(daemon);
        assert!(!folder.exists());
        assert_eq!(mounts_below(&folder), Vec::<PathBuf>::new());
    }
}

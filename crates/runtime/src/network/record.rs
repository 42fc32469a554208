//! What a connection leaves behind when this process is killed, written down beforehand.
//!
//! The namespace and the devices in it vanish with the process. The addresses that the host gave
//! out, the entries of its name server and a program that carries packets do not. Each connection
//! has a file that says what these are and that is locked while its process lives: a file that
//! nobody has locked is a job for whoever finds it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use sys::FileLock;

use super::netavark::Wish;
use super::{NetworkError, Settings};

/// Largest record, in bytes.
const MAX_SIZE: u64 = 4 << 20;
/// Ending of the name of a record.
const ENDING: &str = "json";
/// Place of the time of its start among what follows a process's name in `/proc/PID/stat`.
const START_TIME: usize = 19;

/// What is to be taken back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Left {
    /// The container that addresses were given to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    /// What netavark was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wish: Option<Wish>,
    /// A program that carries packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) helper: Option<Helper>,
}

/// A process, told apart from a later one of the same number.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Helper {
    pid: i32,
    /// In the kernel's ticks since its own start.
    started: u64,
}

impl Helper {
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self {
            pid,
            started: started(pid)?,
        })
    }

    /// Ends the process, if it is still that one.
    fn end(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        // Looked at after the handle was opened, which cannot come to mean another process.
        if started(self.pid) == Some(self.started) {
            let _ = rustix::process::pidfd_send_signal(handle.as_fd(), Signal::KILL);
        }
    }
}

fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(START_TIME)?.parse().ok()
}

/// The locked file of a connection.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    lock: FileLock,
    pub(super) left: Left,
}

impl Record {
    /// Makes a record of the name `id`, of which there is none yet.
    pub(super) fn make(folder: &Path, id: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(id).with_extension(ENDING);
        loop {
            let Some(lock) = FileLock::try_write(&path)? else {
                // Somebody who looks for what was left has it for a moment, and takes it away.
                std::thread::yield_now();
                continue;
            };
            if is_at(lock.file(), &path) {
                let left = Left::default();
                return Ok(Self { path, lock, left });
            }
        }
    }

    /// Returns its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of a file beside it that belongs to it.
    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        self.path.with_extension(ending)
    }

    /// Writes down what is left from now on.
    pub(super) fn save(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.left)?;
        let file = self.lock.file();
        file.set_len(0)?;
        file.write_all_at(&text, 0)
    }

    /// Takes the record away: nothing is left.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    };
    same().unwrap_or(false)
}

/// Takes back what killed processes have left. What cannot be taken back now stays written down.
///
/// # Errors
/// The first thing that could not be taken back.
pub(super) fn reap(settings: &Settings) -> Result<(), NetworkError> {
    let Ok(listed) = std::fs::read_dir(&settings.records) else {
        return Ok(());
    };
    let mut result = Ok(());
    for path in listed.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let Ok(Some(lock)) = FileLock::try_write(&path) else {
            continue;
        };
        let mut text = Vec::new();
        if !is_at(lock.file(), &path) || lock.file().take(MAX_SIZE).read_to_end(&mut text).is_err()
        {
            continue;
        }
        // One that is empty, or cut, is of before there was anything to take back.
        let left: Left = serde_json::from_slice(&text).unwrap_or_default();
        if let Some(helper) = &left.helper {
            helper.end();
        }
        let done = super::take_back(&left, None, settings);
        if done.is_ok() {
            let _ = std::fs::remove_file(path.with_extension("pid"));
            let _ = std::fs::remove_file(&path);
        }
        result = result.and(done.and_then(std::convert::identity));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_told_from_a_later_process() {
        let own = Helper::of(std::process::id()).expect("a process");
        assert_eq!(Helper::of(std::process::id()), Some(own));
        let other = Helper {
            pid: i32::try_from(std::process::id()).expect("a number"),
            started: 1,
        };
        // This process goes on.
        other.end();
    }

    #[test]
    fn records_are_locked_while_they_are_held() {
        let name = format!("cooper-records-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let record = Record::make(&folder, "a").expect("a record");
        record.save().expect("saved");
        let path = folder.join("a.json");
        assert!(FileLock::try_write(&path).expect("tried").is_none());
        record.remove().expect("removed");
        assert!(!path.exists());
        std::fs::remove_dir(folder).expect("removed");
    }
}

//! A socket on which a step finds an SSH agent of the host.
//!
//! The agent's own socket is not handed in: the step could empty or lock the agent. What is mounted is a socket of
//! ours, with the owner and mode that the step asks for. Behind it only the three requests pass that use keys; all
//! others are answered with a failure. It is gone with the step.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The most bytes of one message, as OpenSSH has it.
const MAX_MESSAGE: usize = 256 << 10;

/// The most connections that a step may have open at once.
const MAX_CONNECTIONS: usize = 64;

/// Name of the socket in its directory.
const NAME: &str = "agent";

/// `SSH_AGENT_FAILURE` in a message of its own.
const FAILURE: &[u8] = &[0, 0, 0, 1, 5];

/// `SSH_AGENTC_REQUEST_IDENTITIES`, `SSH_AGENTC_SIGN_REQUEST`, `SSH_AGENTC_EXTENSION`.
const USING_KEYS: [u8; 3] = [11, 13, 27];

/// A socket that leads to an agent, as long as this lives.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The host's agent.
    agent: PathBuf,
    ending: AtomicBool,
    /// Both ends of what is open, by the number of the connection, to be shut when the step is over.
    open: Mutex<BTreeMap<u64, [UnixStream; 2]>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, [UnixStream; 2]>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AgentSocket {
    /// Makes the socket in the empty directory `within`.
    pub(crate) fn open(
        agent: &Path,
        within: &Path,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> io::Result<Self> {
        // The directory's own path may be longer than an address can be.
        let directory = std::fs::File::open(within)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(NAME);
        let listener = UnixListener::bind(&short)?;
        let path = within.join(NAME);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        chown(&path, Some(uid), Some(gid))?;
        let shared = Arc::new(Shared {
            agent: agent.to_owned(),
            ending: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &of_thread));
        Ok(Self {
            path,
            shared,
            thread: Some(thread),
        })
    }

    /// Returns the socket's place on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        if let Some(within) = self.path.parent()
            && let Ok(directory) = std::fs::File::open(within)
        {
            let short = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
            let _ = UnixStream::connect(short);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves connections side by side until the socket ends, then shuts those that are open.
fn accept(listener: &UnixListener, shared: &Shared) {
    std::thread::scope(|scope| {
        for (number, client) in (0..).zip(listener.incoming()) {
            if shared.ending.load(Ordering::SeqCst) {
                break;
            }
            let connected = client.and_then(|client| {
                let agent = UnixStream::connect(&shared.agent)?;
                let ends = [client.try_clone()?, agent.try_clone()?];
                Ok((client, agent, ends))
            });
            // A client whose connection is dropped here sees its end, as with an agent that is gone.
            let Ok((client, agent, ends)) = connected else {
                continue;
            };
            let mut open = shared.open();
            if open.len() < MAX_CONNECTIONS {
                open.insert(number, ends);
                scope.spawn(move || {
                    // Either end may go at any time; the other one then sees the end of it.
                    let _ = serve(&client, &agent);
                    if let Some(ends) = shared.open().remove(&number) {
                        shut(&ends);
                    }
                });
            }
        }
        shared.open().values().for_each(shut);
    });
}

fn shut(ends: &[UnixStream; 2]) {
    for end in ends {
        let _ = end.shutdown(std::net::Shutdown::Both);
    }
}

/// Passes requests on and answers back, one at a time as the protocol has it.
fn serve(mut client: &UnixStream, mut agent: &UnixStream) -> io::Result<()> {
    while let Some(request) = message(&mut client)? {
        if !request.get(4).is_some_and(|kind| USING_KEYS.contains(kind)) {
            client.write_all(FAILURE)?;
            continue;
        }
        agent.write_all(&request)?;
        let Some(answer) = message(&mut agent)? else {
            break;
        };
        client.write_all(&answer)?;
    }
    Ok(())
}

/// Reads a message with its length; `None` at the end of the stream.
fn message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if size > MAX_MESSAGE {
        let text = format!("a message of {size} bytes is longer than {MAX_MESSAGE}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut message = length.to_vec();
    message.resize(4 + size, 0);
    from.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers every message with its bytes and an ending, once for each connection.
    fn echo(listener: UnixListener) {
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let mut stream = stream.expect("a connection");
                while let Ok(Some(request)) = message(&mut stream) {
                    stream.write_all(&request).expect("an answer");
                }
            }
        });
    }

    #[test]
    fn only_requests_that_use_keys_pass() {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let host = folder.path().join("host");
        echo(UnixListener::bind(&host).expect("a socket"));
        let within = folder.path().join("within");
        std::fs::create_dir(&within).expect("a folder");
        let owner = (rustix::process::getuid(), rustix::process::getgid());
        let owner = (owner.0.as_raw(), owner.1.as_raw());
        let socket = AgentSocket::open(&host, &within, 0o640, owner).expect("a socket");
        let facts = std::fs::metadata(socket.path()).expect("the socket");
        assert_eq!(facts.permissions().mode() & 0o777, 0o640);
        let mut client = UnixStream::connect(socket.path()).expect("a connection");
        let mut check = |request: &[u8], expected: &[u8]| {
            client.write_all(request).expect("a request");
            let answer = message(&mut client).expect("an answer").expect("no end");
            assert_eq!(answer, expected, "{request:?}");
        };
        for kind in USING_KEYS {
            check(&[0, 0, 0, 2, kind, 7], &[0, 0, 0, 2, kind, 7]);
        }
        // Remove all, lock, add; nothing at all.
        for kind in [19, 22, 17] {
            check(&[0, 0, 0, 1, kind], FAILURE);
        }
        check(&[0, 0, 0, 0], FAILURE);
        // Too long a message ends the connection, and the socket ends with a connection open.
        client.write_all(&[255, 255, 255, 255]).expect("a length");
        assert_eq!(message(&mut client).expect("no error"), None);
        let _open = UnixStream::connect(socket.path()).expect("a connection");
        let path = socket.path().to_owned();
        drop(socket);
        assert!(UnixStream::connect(path).is_err());
    }
}

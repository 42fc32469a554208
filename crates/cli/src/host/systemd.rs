//! A word to systemd while an image is copied: a unit that starts with a long pull shall not run out of time.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the word is sent.
const INTERVAL: Duration = Duration::from_secs(25);
/// How much time it asks for.
const WORD: &[u8] = b"EXTEND_TIMEOUT_USEC=30000000";

/// Asks for more time until it is dropped.
#[derive(Debug)]
pub struct MoreTime {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MoreTime {
    /// Begins to ask at the socket that `NOTIFY_SOCKET` names; `None` if nobody listens there.
    pub fn ask(socket: Option<&str>) -> Option<Self> {
        Self::ask_every(INTERVAL, socket?)
    }

    fn ask_every(interval: Duration, socket: &str) -> Option<Self> {
        let address = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(socket),
        };
        let address = address.ok()?;
        let sender = UnixDatagram::unbound().ok()?;
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            // Whoever asked to be told may be gone; the copy goes on.
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let _ = sender.send_to_addr(WORD, &address);
            }
        });
        Some(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for MoreTime {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_sent_until_the_end() {
        let folder = std::path::PathBuf::from("/var/tmp")
            .join(format!("cooper-notify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("socket");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let asking = MoreTime::ask_every(Duration::from_millis(5), path.to_str().expect("UTF-8"));
        let mut word = [0; 64];
        let count = listener.recv(&mut word).expect("a word");
        assert_eq!(&word[..count], WORD);
        drop(asking);
        listener.set_nonblocking(true).expect("its mode");
        while listener.recv(&mut word).is_ok() {}
        std::thread::sleep(Duration::from_millis(30));
        assert!(listener.recv(&mut word).is_err(), "nothing after the end");
        std::fs::remove_dir_all(&folder).expect("our folder");
    }

    #[test]
    fn nobody_is_asked_where_nobody_listens() {
        assert!(MoreTime::ask(None).is_none());
    }
}

//! `docker-daemon:`: images of a Docker daemon, through its socket.
//!
//! An image comes out as the archive that `docker save` would write, spooled to the disk, and goes in as one for
//! `docker load`, written while it is sent. The daemon is asked which version of its interface it speaks. Reaching
//! daemons over the network is missing, as it is in the peers.

mod http;

use std::io::{self, Seek as _, Write};
use std::path::{Path, PathBuf};

use model::Reference;
use serde::Deserialize;

use crate::archive_file::ArchiveFile;
use crate::docker_archive::DockerArchive;
use crate::docker_writer::DockerArchiveSink;
use crate::error::{IoContext as _, Result, TransferError};
use crate::files::{Output, Stream};
use crate::source::Opened;
use crate::transport::{ArchivePick, DaemonImage};
pub use http::HttpError;
use http::{Reply, Upload};

/// The newest version of the interface that we know of.
const VERSION: (u32, u32) = (1, 47);
/// What daemons speak that do not say.
const OLDEST: (u32, u32) = (1, 24);
/// The most bytes of a daemon's own words in an error.
const WORDS_MAX: usize = 4096;

/// Why a Docker daemon did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The daemon said no.
    #[error("Error response from daemon: {message}")]
    Refused {
        /// The daemon's words.
        message: String,
    },
    /// The daemon's answer has another form than it should.
    #[error("the daemon's reply is not understood")]
    Reply(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// One of the objects that tell how the loading of an archive goes on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_detail: Option<Message>,
}

/// A daemon that was reached.
struct Daemon {
    socket: PathBuf,
    version: (u32, u32),
}

impl Daemon {
    /// Agrees with the daemon on a version.
    fn reach(socket: &Path) -> std::result::Result<Self, DaemonError> {
        let reply = http::get(socket, "/_ping")?;
        let theirs = reply.header("api-version").and_then(version);
        Ok(Self {
            socket: socket.to_owned(),
            version: theirs.unwrap_or(OLDEST).min(VERSION),
        })
    }

    fn target(&self, rest: &str) -> String {
        let (major, minor) = self.version;
        format!("/v{major}.{minor}{rest}")
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Makes an answer that is no success an error with the daemon's words.
fn successful(mut reply: Reply) -> std::result::Result<Reply, DaemonError> {
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    let bytes = reply.message()?;
    let message = match serde_json::from_slice::<Message>(&bytes) {
        Ok(message) => words(&message.message),
        Err(_) => format!(
            "status {}: {}",
            reply.status,
            words(&String::from_utf8_lossy(&bytes))
        ),
    };
    Err(DaemonError::Refused { message })
}

/// A stranger's words, fit for a line of an error.
fn words(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = text.trim().chars().map(shown).collect();
    let end = (0..=WORDS_MAX.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// Encodes a text for the query of a URL.
fn query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Opens an image of the daemon at `socket`. `temporary` is a directory for a large file.
pub(crate) fn open(
    label: &str,
    socket: &Path,
    image: &DaemonImage,
    temporary: &Path,
) -> Result<Opened<'static>> {
    let trouble = |source| TransferError::Daemon {
        attempt: "read",
        place: label.to_owned(),
        source: Box::new(source),
    };
    let wanted = query(&image.to_string());
    let saved = || -> std::result::Result<Reply, DaemonError> {
        let daemon = Daemon::reach(socket)?;
        let target = daemon.target(&format!("/images/get?names={wanted}"));
        successful(http::get(&daemon.socket, &target)?)
    };
    let mut reply = saved().map_err(trouble)?;
    let mut file = tempfile::tempfile_in(temporary).at("create a file in", temporary)?;
    io::copy(&mut reply, &mut file).map_err(TransferError::Stream)?;
    file.rewind().at("read a file in", temporary)?;
    let archive = ArchiveFile::of(file, Path::new(label), temporary)?;
    let mut opened = DockerArchive::of(label, archive)?.one(&ArchivePick::Only)?;
    opened.names = match image {
        DaemonImage::Named(name) => vec![name.to_string()],
        DaemonImage::Id(_) => Vec::new(),
    };
    Ok(opened)
}

/// Starts writing an image to the daemon at `socket`.
pub(crate) fn create(
    label: &str,
    socket: &Path,
    image: &DaemonImage,
    temporary: &Path,
) -> Result<DockerArchiveSink> {
    let name = match image {
        DaemonImage::Named(name) if name.tag().is_some() => name,
        _ => {
            return Err(TransferError::DaemonDestination {
                place: label.to_owned(),
            });
        }
    };
    let loading = Loading::begin(label, socket)?;
    let names: Vec<Reference> = vec![name.clone()];
    let output = Output::Stream(Box::new(loading));
    Ok(DockerArchiveSink::new(
        Path::new(label),
        output,
        names,
        temporary,
    ))
}

/// An archive on its way into the daemon.
struct Loading {
    label: String,
    upload: Upload,
}

impl Loading {
    fn begin(label: &str, socket: &Path) -> Result<Self> {
        let begun = || -> std::result::Result<Upload, DaemonError> {
            let daemon = Daemon::reach(socket)?;
            let target = daemon.target("/images/load?quiet=1");
            Ok(Upload::post(&daemon.socket, &target, "application/x-tar")?)
        };
        Ok(Self {
            upload: begun().map_err(|source| trouble(label, source))?,
            label: label.to_owned(),
        })
    }
}

fn trouble(label: &str, source: DaemonError) -> TransferError {
    TransferError::Daemon {
        attempt: "write",
        place: label.to_owned(),
        source: Box::new(source),
    }
}

impl Write for Loading {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.upload.write(bytes).map_err(|error| {
            // The daemon hangs up after it has said why.
            let answer = self.upload.answer().map(successful);
            match answer {
                Some(Err(refusal)) => io::Error::new(error.kind(), refusal),
                _ => error,
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

impl Stream for Loading {
    fn finish(self: Box<Self>) -> Result<()> {
        let Self { label, upload } = *self;
        let ended = || -> std::result::Result<(), DaemonError> {
            let mut reply = successful(upload.finish()?)?;
            loaded(&reply.message()?)
        };
        ended().map_err(|source| trouble(&label, source))
    }
}

/// Looks for an error among the objects that the daemon sends while it loads.
fn loaded(bytes: &[u8]) -> std::result::Result<(), DaemonError> {
    for progress in serde_json::Deserializer::from_slice(bytes).into_iter::<Progress>() {
        let progress = progress.map_err(DaemonError::Reply)?;
        let message = progress
            .error_detail
            .map(|detail| detail.message)
            .or(progress.error);
        if let Some(message) = message {
            return Err(DaemonError::Refused {
                message: words(&message),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_searched_for_errors() {
        for (text, expected) in [
            ("", Ok(())),
            (
                "{\"stream\":\"Loaded image: x\\n\"}\n{\"status\":\"y\",\"progressDetail\":{}}",
                Ok(()),
            ),
            (
                "{\"stream\":\"x\"}\r\n{\"errorDetail\":{\"message\":\"no\\nspace\"},\"error\":\"no\"}",
                Err("Error response from daemon: no space"),
            ),
            (
                "{\"error\":\"bad\"}",
                Err("Error response from daemon: bad"),
            ),
            ("{\"stream\"", Err("the daemon's reply is not understood")),
        ] {
            let found = loaded(text.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn texts_of_strangers_are_made_fit() {
        assert_eq!(words("a\x1b[31mb\n"), "a [31mb");
        assert_eq!(words(&"ä".repeat(5000)).len(), WORDS_MAX);
        assert_eq!(query("foo/bar:v2&x= é"), "foo/bar%3Av2%26x%3D%20%C3%A9");
        for (text, expected) in [("1.41", Some((1, 41))), ("1", None), ("x.y", None)] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}

//! The program `gpg`: it signs, and gives out public keys. Neither secret keys nor their passphrases come here: the
//! program finds them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SignaturesError;

/// The most of what the program says that an error repeats, in characters.
const SAID_MAX: usize = 2048;

/// The program, in the search path.
const PROGRAM: &str = "gpg";

/// How to sign by a key that the program has.
#[derive(Clone, Debug)]
pub struct Gpg {
    /// The program.
    pub program: PathBuf,
    /// The key's fingerprint, or whatever else the program finds it by.
    pub key: String,
    /// The directory of its keys (`GNUPGHOME`), if it is not the usual one.
    pub home: Option<PathBuf>,
    /// A file whose first line is the key's passphrase; the program reads it. Without, its agent is asked.
    pub passphrase_file: Option<PathBuf>,
}

impl Gpg {
    /// The program in the search path, with its own settings.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            program: PROGRAM.into(),
            key: key.into(),
            home: None,
            passphrase_file: None,
        }
    }

    /// Returns a signed message with `text` as its content.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignaturesError> {
        let mut command = command(&self.program, self.home.as_deref());
        command.args(["--yes", "--no-armor"]);
        if let Some(file) = &self.passphrase_file {
            command.args(["--pinentry-mode", "loopback", "--passphrase-file"]);
            command.arg(file);
        }
        command.args(["--local-user", &self.key, "--output", "-", "--sign"]);
        match run(command, text) {
            Ok(message) if !message.is_empty() => Ok(message),
            Ok(_) => Err(SignaturesError::Gpg {
                key: self.key.clone(),
                text: "it wrote nothing".to_owned(),
            }),
            Err(GpgError::Start { program, source }) => {
                Err(SignaturesError::GpgStart { program, source })
            }
            Err(GpgError::Failed { text, .. }) => Err(SignaturesError::Gpg {
                key: self.key.clone(),
                text,
            }),
        }
    }
}

/// Why the program did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    /// It could not be started.
    #[error("cannot run `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It failed.
    #[error("`{program}` failed: {text}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        text: String,
    },
}

/// Returns all public keys that the program has in a directory, or in its usual one.
///
/// # Errors
/// When the program is missing or fails.
pub fn public_keys(home: Option<&Path>) -> Result<Vec<u8>, GpgError> {
    let mut command = command(Path::new(PROGRAM), home);
    command.arg("--export");
    run(command, &[])
}

fn command(program: &Path, home: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--batch", "--no-tty", "--quiet"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(home) = home {
        command.env("GNUPGHOME", home);
    }
    command
}

/// Runs the program with an input to its end.
fn run(mut command: Command, input: &[u8]) -> Result<Vec<u8>, GpgError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = |source| GpgError::Start {
        program: program.clone(),
        source,
    };
    let mut child = command.spawn().map_err(start)?;
    // A program that ends early has said why, and how it ended is what counts.
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(input);
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut said = said.join("; ");
    if said.is_empty() {
        said = output.status.to_string();
    }
    let text = said.chars().take(SAID_MAX).collect();
    Err(GpgError::Failed { program, text })
}

//! Signing by the program `gpg`. Neither keys nor their passphrases come here: the program finds them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::SignaturesError;

/// The most of what the program says that an error repeats, in characters.
const SAID_MAX: usize = 2048;

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
            program: "gpg".into(),
            key: key.into(),
            home: None,
            passphrase_file: None,
        }
    }

    /// Returns a signed message with `text` as its content.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignaturesError> {
        let mut command = Command::new(&self.program);
        command
            .args(["--batch", "--no-tty", "--quiet", "--yes", "--no-armor"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(home) = &self.home {
            command.env("GNUPGHOME", home);
        }
        if let Some(file) = &self.passphrase_file {
            command.args(["--pinentry-mode", "loopback", "--passphrase-file"]);
            command.arg(file);
        }
        command.args(["--local-user", &self.key, "--output", "-", "--sign"]);
        let start = |source| SignaturesError::GpgStart {
            program: self.program.display().to_string(),
            source,
        };
        let mut child = command.spawn().map_err(start)?;
        // A program that ends early has said why, and how it ended is what counts.
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(text);
        }
        let output = child.wait_with_output().map_err(start)?;
        if output.status.success() && !output.stdout.is_empty() {
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
        let said: String = said.chars().take(SAID_MAX).collect();
        Err(SignaturesError::Gpg {
            key: self.key.clone(),
            text: said,
        })
    }
}

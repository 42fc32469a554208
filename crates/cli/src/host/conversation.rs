//! Who signs says to an issuer of identities who it is: at the terminal, and in the browser.

use std::io;
use std::process::{Command, Stdio};

use model::event::OutputStream;
use transfer::Conversation;

use super::prompt;
use crate::ui::Ui;

/// What opens an address in the browser that the person likes.
const OPENER: &str = "xdg-open";

/// The person at the terminal. What is told goes to standard error, since results go to standard output.
pub struct AtTerminal(pub Ui);

impl Conversation for AtTerminal {
    fn tell(&self, text: &str) {
        self.0.note(text);
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        self.0.pass(OutputStream::Stderr, question.as_bytes());
        prompt::line()
    }

    fn browse(&self, url: &str) -> io::Result<()> {
        let status = Command::new(OPENER)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{OPENER}: {status}")))
    }
}

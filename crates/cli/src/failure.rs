//! The end of a command that did not succeed: what is printed and which exit status is returned.

use crate::world::StartedAs;

/// Buildah's exit status for every failure that is not a process's own.
pub const FAILED: u8 = 125;

/// Why a command ends without success.
#[derive(Debug)]
pub struct Failure {
    /// The chain that is printed after `Error: `; `None` prints nothing.
    pub error: Option<anyhow::Error>,
    /// What the user can do about it, printed below.
    pub hints: Vec<String>,
    /// The exit status.
    pub status: u8,
}

impl Failure {
    /// Ends with the status of a process that the user asked for.
    pub fn with_status(error: impl Into<anyhow::Error>, status: u8) -> Self {
        Self {
            error: Some(error.into()),
            hints: Vec::new(),
            status,
        }
    }

    /// Says what was attempted.
    #[must_use]
    pub fn context(mut self, attempt: impl std::fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.map(|error| error.context(attempt));
        self
    }

    /// Leaves the advice out under Buildah's name: what it prints is compared as a whole.
    #[must_use]
    pub fn told_by(mut self, name: StartedAs) -> Self {
        if name == StartedAs::Buildah {
            self.hints.clear();
        }
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: Some(error.into()),
            hints: Vec::new(),
            status: FAILED,
        }
    }
}

/// Several things were asked for and some failed: all are listed, as Buildah does.
pub fn all_of(errors: Vec<anyhow::Error>) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let count = errors.len();
    let noun = if count == 1 { "error" } else { "errors" };
    let mut text = format!("{count} {noun} occurred:\n");
    for error in errors {
        text.push_str(&format!("\t* {}\n", in_go_words(&error)));
    }
    text.push('\n');
    Err(anyhow::anyhow!(text).into())
}

/// The chain of causes in one line, as Go's tools tell it.
pub fn in_go_words(error: &anyhow::Error) -> String {
    model::error::in_go_words(format!("{error:#}"), error.as_ref())
}

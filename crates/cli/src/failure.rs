//! The end of a command that did not succeed: what is printed and which exit status is returned.

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
        text.push_str(&format!("\t* {error:#}\n"));
    }
    text.push('\n');
    Err(anyhow::anyhow!(text).into())
}

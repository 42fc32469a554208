//! What is wrong with a file, and how it is shown.
//!
//! Message texts follow the wording that scripts match (they are listed in the tests of
//! this crate). Nothing is printed here.

use crate::span::{Sources, Span};

/// How much a [`Diagnostic`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The build can go on; the author should look.
    Warning,
    /// The file cannot be built.
    Error,
}

impl Severity {
    /// Returns the lower-case word for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One finding of the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// The text it is about.
    pub span: Span,
    /// What is wrong, in the words other builders use where scripts match them.
    pub message: String,
    /// What to write instead, if that is known.
    pub help: Option<String>,
    /// The instruction as it stands in `building at STEP "…"`, when the finding belongs to
    /// the execution of one step; none for findings about the file as a whole.
    pub step: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            span,
            message: message.into(),
            help: None,
            step: None,
        }
    }

    pub(crate) fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(span, message)
        }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Returns the text that follows `Error: `: the message, behind the step it belongs to.
    #[must_use]
    pub fn full_message(&self) -> String {
        match &self.step {
            Some(step) => format!("building at STEP \"{step}\": {}", self.message),
            None => self.message.clone(),
        }
    }

    /// Returns `file:line:column: message`, then the source line with carets below the
    /// place, then the help if there is one. The last line has no line end.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let mut out = format!("{}: {}", sources.locate(self.span), self.message);
        let excerpt = sources.excerpt(self.span);
        if !excerpt.is_empty() {
            out.push('\n');
            out.push_str(&excerpt);
        }
        if let Some(help) = &self.help {
            out.push_str("\nhelp: ");
            out.push_str(help);
        }
        out
    }
}

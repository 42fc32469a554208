//! The only printer: results on standard output, log lines, hints and errors on standard error.

use std::io::Write;
use std::process::ExitCode;

use crate::failure::Failure;

/// How much a message matters; later is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Ends the program.
    Error,
    /// Something the user did not want, probably.
    Warning,
    /// Worth knowing.
    Info,
    /// For finding faults.
    Debug,
}

/// Prints what a command says.
#[derive(Debug, Clone)]
pub struct Ui {
    level: Level,
}

impl Ui {
    /// Prints messages at `level` (a word of `--log-level`) and above.
    pub fn new(level: &str) -> anyhow::Result<Self> {
        let level = match level.to_lowercase().as_str() {
            "trace" | "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warning,
            "error" | "fatal" | "panic" => Level::Error,
            _ => anyhow::bail!("unable to parse log level: not a valid logrus Level: \"{level}\""),
        };
        Ok(Self { level })
    }

    /// Prints warnings, before the level is known.
    pub fn plain() -> Self {
        Self {
            level: Level::Warning,
        }
    }

    /// Prints a line on standard output. A reader that has gone is no fault of ours.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.out(format_args!("{text}\n"));
    }

    /// Prints text on standard output as it is.
    pub fn out(&self, text: impl std::fmt::Display) {
        let mut stdout = std::io::stdout().lock();
        let _ = write!(stdout, "{text}");
        let _ = stdout.flush();
    }

    /// Prints a line of progress on standard error.
    pub fn note(&self, text: impl std::fmt::Display) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Prints a log line in the form that scripts which read Buildah's expect.
    pub fn log(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let word = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let time = model::Timestamp::from_unix(i64::try_from(now).unwrap_or_default());
        let time = time.map(|time| time.to_string()).unwrap_or_default();
        self.note(format_args!("time=\"{time}\" level={word} msg={message:?}"));
    }

    /// Prints a warning.
    pub fn warn(&self, message: &str) {
        self.log(Level::Warning, message);
    }

    /// Prints help, which is no failure.
    pub fn help(&self, text: &str) -> ExitCode {
        self.out(text);
        ExitCode::SUCCESS
    }

    /// Prints why a command failed, with its hints, and returns the exit status.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        if let Some(error) = &failure.error {
            self.note(format_args!(
                "Error: {}",
                crate::failure::in_go_words(error)
            ));
        }
        for hint in &failure.hints {
            self.note(format_args!("hint: {hint}"));
        }
        ExitCode::from(failure.status)
    }
}

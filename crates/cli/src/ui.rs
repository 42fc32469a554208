//! The only printer: results on standard output, log lines, hints and errors on standard error.
//!
//! What is told on the way takes one of several forms ([`Mode`]): lines, bars on a terminal above
//! which the lines go, JSON, or nothing. Results are the same in all of them.

mod bars;
mod board;
mod json;
mod mode;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use model::Event;
use model::event::OutputStream;

use crate::failure::{Failure, in_go_words};
use bars::Bars;
use json::Lines;
pub use mode::Mode;

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

/// Prints what a command says. Clones print to the same place.
#[derive(Debug, Clone)]
pub struct Ui {
    level: Level,
    form: Arc<Form>,
}

/// What becomes of that which is told on the way.
#[derive(Debug)]
enum Form {
    Lines,
    Nothing,
    Bars(Bars),
    Json(Mutex<Lines>),
    /// Lines of both streams, in a file.
    File(Mutex<File>),
}

impl Ui {
    /// Prints messages at `level` (a word of `--log-level`) and above, and progress as `mode` says.
    pub fn new(level: &str, mode: Mode) -> anyhow::Result<Self> {
        let level = match level.to_lowercase().as_str() {
            "trace" | "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warning,
            "error" | "fatal" | "panic" => Level::Error,
            _ => anyhow::bail!("unable to parse log level: not a valid logrus Level: \"{level}\""),
        };
        let form = match mode {
            Mode::Auto | Mode::Plain => Form::Lines,
            Mode::Quiet => Form::Nothing,
            Mode::Tty => Form::Bars(Bars::on_stderr()),
            Mode::Json => Form::Json(Mutex::default()),
        };
        Ok(Self {
            level,
            form: Arc::new(form),
        })
    }

    /// Prints warnings, before the level is known.
    pub fn plain() -> Self {
        Self {
            level: Level::Warning,
            form: Arc::new(Form::Lines),
        }
    }

    /// Writes everything into a file instead, in the form of lines.
    #[must_use]
    pub fn with_file(&self, file: File) -> Self {
        Self {
            level: self.level,
            form: Arc::new(Form::File(Mutex::new(file))),
        }
    }

    /// Whether nothing is told but results, warnings and errors.
    pub fn is_quiet(&self) -> bool {
        matches!(*self.form, Form::Nothing)
    }

    /// Whether what is told is told as JSON.
    pub fn is_json(&self) -> bool {
        matches!(*self.form, Form::Json(_))
    }

    /// Whether lines must be whole, because something is drawn below them.
    pub fn needs_whole_lines(&self) -> bool {
        matches!(&*self.form, Form::Bars(bars) if bars.are_shown())
    }

    /// Shows an event in a form other than lines; returns whether no line is needed any more.
    pub fn show(&self, event: &Event) -> bool {
        match &*self.form {
            Form::Lines | Form::File(_) => false,
            Form::Nothing => !matches!(
                event,
                Event::Warning { .. } | Event::Detail { .. } | Event::Failed { .. }
            ),
            Form::Bars(bars) => {
                if let Event::CopyingConfig { .. } = event {
                    bars.settle();
                }
                bars.take(event)
            }
            Form::Json(lines) => {
                let is_wanted = match event {
                    Event::Warning { .. } => self.level >= Level::Warning,
                    Event::Detail { .. } => self.level >= Level::Debug,
                    _ => true,
                };
                if is_wanted {
                    // Under the lock, so that lines come out in the order of their times.
                    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(line) = lines.line(event, SystemTime::now()) {
                        let _ = std::io::stderr().lock().write_all(line.as_bytes());
                    }
                }
                true
            }
        }
    }

    /// Prints while nothing is drawn.
    fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*self.form {
            Form::Bars(bars) => bars.above(print),
            Form::Lines | Form::Nothing | Form::Json(_) | Form::File(_) => print(),
        }
    }

    /// Prints a line on standard output. A reader that has gone is no fault of ours.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.out(format_args!("{text}\n"));
    }

    /// Prints text on standard output as it is.
    pub fn out(&self, text: impl std::fmt::Display) {
        self.pass(OutputStream::Stdout, text.to_string().as_bytes());
    }

    /// Passes on what a process of a build has written.
    pub fn pass(&self, stream: OutputStream, bytes: &[u8]) {
        // A reader that has gone is no reason to stop a build.
        self.print(|| match (&*self.form, stream) {
            (Form::File(file), _) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = file.write_all(bytes);
            }
            (_, OutputStream::Stdout) => {
                let mut stdout = std::io::stdout().lock();
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            (_, OutputStream::Stderr) => {
                let _ = std::io::stderr().lock().write_all(bytes);
            }
        });
    }

    /// Prints a line on standard error.
    pub fn note(&self, text: impl std::fmt::Display) {
        if let Form::Json(_) = *self.form {
            let text = text.to_string();
            self.show(&Event::Note { text });
            return;
        }
        self.pass(OutputStream::Stderr, format!("{text}\n").as_bytes());
    }

    /// Prints a log line in the form that scripts which read Buildah's expect.
    pub fn log(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        if let Form::Json(_) = *self.form {
            let text = message.to_owned();
            self.show(&match level {
                Level::Error => Event::Note { text },
                Level::Warning => Event::Warning { text },
                Level::Info | Level::Debug => Event::Detail { text },
            });
            return;
        }
        let word = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
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

    /// Several things were asked for and some failed: prints all errors but the last, which is the
    /// command's, as Buildah has it for containers.
    pub fn all_but_last(&self, mut errors: Vec<anyhow::Error>) -> Option<anyhow::Error> {
        let last = errors.pop();
        for error in &errors {
            self.note(in_go_words(error));
        }
        last
    }

    /// Prints help, which is no failure.
    pub fn help(&self, text: &str) -> ExitCode {
        self.out(text);
        ExitCode::SUCCESS
    }

    /// Prints why a command failed, with its hints, and returns the exit status.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        let text = failure.error.as_ref().map(in_go_words);
        if let Form::Bars(bars) = &*self.form {
            bars.give_up();
        }
        if let Form::Json(_) = *self.form {
            self.show(&Event::Failed {
                text: text.unwrap_or_default(),
                hints: failure.hints.clone(),
                status: failure.status,
            });
            return ExitCode::from(failure.status);
        }
        if let Some(text) = text {
            self.note(format_args!("Error: {text}"));
        }
        for hint in &failure.hints {
            self.note(format_args!("hint: {hint}"));
        }
        ExitCode::from(failure.status)
    }
}

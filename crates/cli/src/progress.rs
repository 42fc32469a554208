//! Events drawn as the lines that Buildah prints.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use model::event::{Event, MissReason, OutputStream, Reporter, StepPosition};

use crate::ui::{Level, Ui};

/// Whether lines of a step say which stage they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageTags {
    /// One stage works at a time: output goes through as it comes.
    Off,
    /// Several may: whole lines, each behind its stage's tag.
    On,
}

/// How much of a build is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Everything that Buildah tells.
    All,
    /// Nothing but warnings.
    Warnings,
}

/// Whether the image's ID is told: not when it goes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultId {
    /// On standard output.
    Shown,
    /// Elsewhere.
    Hidden,
}

/// Prints a build: steps and what their processes say.
#[derive(Debug)]
pub struct BuildLines<'a> {
    ui: &'a Ui,
    told: Told,
    tags: StageTags,
    explain: bool,
    /// The first name as the user has typed it.
    name: Option<String>,
    result: ResultId,
    /// Whether the last thing told is that the image is being made.
    committing: AtomicBool,
    /// The names of the image, which are told last.
    tagged: Mutex<Vec<String>>,
    /// How many stages there are, once a step has said so.
    stages: AtomicUsize,
    /// What a process has written since its last line end, by stage and stream.
    begun: Mutex<HashMap<(usize, OutputStream), Vec<u8>>>,
}

impl<'a> BuildLines<'a> {
    /// Prints on `ui`.
    pub fn new(ui: &'a Ui, told: Told, tags: StageTags) -> Self {
        Self {
            ui,
            told,
            tags,
            explain: false,
            name: None,
            result: ResultId::Shown,
            committing: AtomicBool::new(false),
            tagged: Mutex::default(),
            stages: AtomicUsize::new(1),
            begun: Mutex::default(),
        }
    }

    /// Also says on standard error why steps were performed.
    #[must_use]
    pub fn explaining(mut self) -> Self {
        self.explain = true;
        self
    }

    /// Shows the image's first name as it was typed, which is not the whole one.
    #[must_use]
    pub fn naming(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Tells the image's ID, or does not.
    #[must_use]
    pub fn result(mut self, result: ResultId) -> Self {
        self.result = result;
        self
    }

    /// Ends with arguments that nothing used, and with the names of the image, when the user has
    /// given one.
    pub fn end(&self, not_consumed: &[String]) {
        if !not_consumed.is_empty() {
            self.line(format_args!(
                "[Warning] one or more build args were not consumed: [{}]",
                not_consumed.join(" ")
            ));
        }
        let tagged = self.tagged.lock().unwrap_or_else(PoisonError::into_inner);
        for name in tagged.iter().rev().filter(|_| self.name.is_some()) {
            self.line(format_args!("Successfully tagged {name}"));
        }
    }

    fn line(&self, text: std::fmt::Arguments<'_>) {
        if self.told == Told::All {
            self.ui.line(text);
        }
    }

    fn output(&self, at: &StepPosition, stream: OutputStream, bytes: &[u8]) {
        if self.told == Told::Warnings {
            return;
        }
        if self.tags == StageTags::Off || at.stages < 2 {
            write(stream, bytes);
            return;
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let line = begun.entry((at.stage, stream)).or_default();
        line.extend_from_slice(bytes);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let rest = line.split_off(end + 1);
            write(stream, &[tag(at).as_bytes(), line].concat());
            *line = rest;
        }
    }

    /// Prints lines that a process began and did not end.
    fn end_lines(&self, at: &StepPosition) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if let Some(line) = begun
                .remove(&(at.stage, stream))
                .filter(|line| !line.is_empty())
            {
                write(stream, &[tag(at).as_bytes(), &line, b"\n"].concat());
            }
        }
    }
}

impl Reporter for BuildLines<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::StepStarted { at, text } => {
                self.stages.store(at.stages, Ordering::Relaxed);
                self.line(format_args!(
                    "{}STEP {}/{}: {text}",
                    tag(&at),
                    at.step,
                    at.steps
                ));
            }
            Event::StepCached { at: _, id } => self.line(format_args!("--> Using cache {id}")),
            Event::StepMissed { at, why } if self.explain => {
                let text = reason(&why);
                self.ui
                    .note(format_args!("{}step {}: {text}", tag(&at), at.step));
            }
            Event::StepDone { at, id, millis } => {
                self.end_lines(&at);
                let last = self.committing.swap(false, Ordering::Relaxed);
                if let Some(id) = id.filter(|_| !last || self.result == ResultId::Shown) {
                    self.line(format_args!("--> {}", short(&id)));
                }
                self.ui.log(
                    Level::Debug,
                    &format!("{}step {} took {millis} ms", tag(&at), at.step),
                );
            }
            Event::Output { at, stream, bytes } => self.output(&at, stream, &bytes),
            Event::Committing { name } => {
                self.committing.store(true, Ordering::Relaxed);
                // The image is that of the last stage.
                let stages = self.stages.load(Ordering::Relaxed);
                let tag = tag(&StepPosition {
                    stage: stages.saturating_sub(1),
                    stages,
                    ..StepPosition::default()
                });
                match self.name.as_ref().or(name.as_ref()) {
                    Some(name) => self.line(format_args!("{tag}COMMIT {name}")),
                    None => self.line(format_args!("{tag}COMMIT")),
                }
            }
            Event::ImageDone { id: _, names } => {
                *self.tagged.lock().unwrap_or_else(PoisonError::into_inner) = names;
            }
            Event::Warning { text } => self.ui.warn(&text),
            Event::Detail { text } => self.ui.log(Level::Debug, &text),
            other if self.told == Told::All => copying(self.ui, &other),
            _ => {}
        }
    }
}

/// Prints a copy of an image.
#[derive(Debug)]
pub struct CopyLines<'a> {
    ui: &'a Ui,
    told: Told,
}

impl<'a> CopyLines<'a> {
    /// Prints on `ui`.
    pub fn new(ui: &'a Ui, told: Told) -> Self {
        Self { ui, told }
    }
}

impl Reporter for CopyLines<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Warning { text } => self.ui.warn(&text),
            Event::Detail { text } => self.ui.log(Level::Debug, &text),
            other if self.told == Told::All => copying(self.ui, &other),
            _ => {}
        }
    }
}

fn copying(ui: &Ui, event: &Event) {
    match event {
        Event::ShortNameResolved { text } => ui.note(text),
        Event::Pulling { name } => ui.note(format_args!("Trying to pull {name}...")),
        Event::GettingSignatures => ui.note("Getting image source signatures"),
        Event::BlobStarted { digest, .. } => ui.note(format_args!("Copying blob {digest}")),
        Event::CopyingConfig { digest } => ui.note(format_args!("Copying config {digest}")),
        Event::WritingManifest => ui.note("Writing manifest to image destination"),
        _ => {}
    }
}

/// `[2/3] `, or nothing when there is one stage.
fn tag(at: &StepPosition) -> String {
    if at.stages < 2 {
        String::new()
    } else {
        format!("[{}/{}] ", at.stage + 1, at.stages)
    }
}

fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn write(stream: OutputStream, bytes: &[u8]) {
    // A reader that has gone is no reason to stop a build.
    match stream {
        OutputStream::Stdout => {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
        }
        OutputStream::Stderr => {
            let _ = std::io::stderr().lock().write_all(bytes);
        }
    }
}

fn reason(why: &MissReason) -> String {
    match why {
        MissReason::Forced => "the cache is not used".to_owned(),
        MissReason::NeverBuilt => "never built before".to_owned(),
        MissReason::ParentChanged => "what it builds on has changed".to_owned(),
        MissReason::SourceChanged { path } => format!("`{}` has changed", path.display()),
        MissReason::ArgChanged { name } => format!("the argument {name} has another value"),
        MissReason::InstructionChanged => "the instruction has changed".to_owned(),
        MissReason::LayerGone => "its layer is gone from the store".to_owned(),
        MissReason::Expired => "the recorded result is too old".to_owned(),
    }
}

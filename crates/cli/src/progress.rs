//! Events as the lines that Buildah prints, or in another form that the user has asked for.
//!
//! ```text
//! Event ── CopyLines, BuildLines ── Ui::show ─┬─ Json: one object a line, on standard error
//!                                  │          └─ Bars: counted on the board, drawn by a thread
//!                                  └─ else: the line that Buildah prints
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
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

impl Told {
    /// What is told under a command's `--quiet`.
    pub fn unless(quiet: bool) -> Self {
        if quiet { Self::Warnings } else { Self::All }
    }

    /// What is left to tell after `--progress=quiet`.
    fn on(self, ui: &Ui) -> Self {
        if ui.is_quiet() { Self::Warnings } else { self }
    }

    fn includes(self, event: &Event) -> bool {
        self == Self::All || matches!(event, Event::Warning { .. } | Event::Detail { .. })
    }
}

/// Whether the image's ID is told: not when it goes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultId {
    /// On standard output.
    Shown,
    /// Elsewhere.
    Hidden,
}

/// A line of which target, which stage and which stream.
type Begun = (Option<String>, usize, OutputStream);

/// Prints a build: steps and what their processes say.
#[derive(Debug)]
pub struct BuildLines<'a> {
    ui: &'a Ui,
    /// Where what is of one target is printed instead.
    split: BTreeMap<String, Ui>,
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
    /// What a process has written since its last line end, by stage and stream.
    begun: Mutex<HashMap<Begun, Vec<u8>>>,
}

impl<'a> BuildLines<'a> {
    /// Prints on `ui`.
    pub fn new(ui: &'a Ui, told: Told, tags: StageTags) -> Self {
        Self {
            ui,
            split: BTreeMap::new(),
            told: told.on(ui),
            tags,
            explain: false,
            name: None,
            result: ResultId::Shown,
            committing: AtomicBool::new(false),
            tagged: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    /// Also says on standard error why steps were performed.
    #[must_use]
    pub fn explaining(mut self) -> Self {
        self.explain = true;
        self
    }

    /// Prints what is of one target elsewhere.
    #[must_use]
    pub fn splitting(mut self, split: BTreeMap<String, Ui>) -> Self {
        self.split = split;
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

    /// Remembers names that the image got after the build.
    pub fn tagged(&self, names: &[String]) {
        let mut tagged = self.tagged.lock().unwrap_or_else(PoisonError::into_inner);
        tagged.extend_from_slice(names);
    }

    /// Ends with arguments that nothing used, and with the names of the image, when the user has
    /// given one.
    pub fn end(&self, not_consumed: &[String]) {
        if !not_consumed.is_empty() {
            let names = not_consumed.join(" ");
            let text = format!("one or more build args were not consumed: [{names}]");
            let line = format!("[Warning] {text}");
            if self.told == Told::All && !self.ui.show(&Event::Note { text }) {
                self.line(format_args!("{line}"));
            }
        }
        let tagged = self.tagged.lock().unwrap_or_else(PoisonError::into_inner);
        for name in tagged.iter().filter(|_| self.name.is_some()) {
            // Elsewhere the names came with the image.
            if !self.ui.is_json() {
                self.line(format_args!("Successfully tagged {name}"));
            }
        }
    }

    fn line(&self, text: std::fmt::Arguments<'_>) {
        if self.told == Told::All {
            self.ui.line(text);
        }
    }

    /// Where what is of the target of a step is printed.
    fn ui_of(&self, at: &StepPosition) -> &Ui {
        let own = at.target.as_ref().and_then(|name| self.split.get(name));
        own.unwrap_or(self.ui)
    }

    fn line_of(&self, at: &StepPosition, text: std::fmt::Arguments<'_>) {
        if self.told == Told::All {
            self.ui_of(at).line(text);
        }
    }

    fn output(&self, at: &StepPosition, stream: OutputStream, bytes: &[u8]) {
        let tag = match self.tags {
            StageTags::On => tag(at),
            StageTags::Off => String::new(),
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (at.target.clone(), at.stage, stream);
        let has_begun = begun.contains_key(&key);
        if tag.is_empty() && !has_begun && !self.ui_of(at).needs_whole_lines() {
            drop(begun);
            self.ui_of(at).pass(stream, bytes);
            return;
        }
        let line = begun.entry(key.clone()).or_default();
        line.extend_from_slice(bytes);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let rest = line.split_off(end + 1);
            self.ui_of(at)
                .pass(stream, &[tag.as_bytes(), line].concat());
            *line = rest;
        }
        if line.is_empty() {
            begun.remove(&key);
        }
    }

    /// Prints lines that a process began and did not end.
    fn end_lines(&self, at: &StepPosition) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = match self.tags {
            StageTags::On => tag(at),
            StageTags::Off => String::new(),
        };
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if let Some(line) = begun.remove(&(at.target.clone(), at.stage, stream)) {
                self.ui_of(at)
                    .pass(stream, &[tag.as_bytes(), &line, b"\n"].concat());
            }
        }
    }
}

impl Reporter for BuildLines<'_> {
    fn event(&self, event: Event) {
        // The names are wanted at the end also when little is told.
        let is_told = self.told.includes(&event) || matches!(event, Event::ImageDone { .. });
        if !is_told || self.ui.show(&event) {
            return;
        }
        match event {
            Event::StepStarted { at, text } => {
                let tag = tag(&at);
                self.line_of(
                    &at,
                    format_args!("{tag}STEP {}/{}: {text}", at.step, at.steps),
                );
            }
            Event::StepCached { at, id } => {
                self.line_of(&at, format_args!("--> Using cache {id}"));
            }
            Event::CachePulled { at: _, place } => {
                self.line(format_args!("--> Cache pulled from remote {place}"));
            }
            Event::CachePushing {
                at: _,
                repositories,
                key,
            } => {
                let repositories = repositories.join(" ");
                self.line(format_args!("--> Pushing cache [{repositories}]:{key}"));
            }
            Event::StepMissed { at, why } if self.explain => {
                let text = reason(&why);
                self.ui
                    .note(format_args!("{}step {}: {text}", tag(&at), at.step));
            }
            Event::StepDone { at, id, millis } => {
                self.end_lines(&at);
                let last = self.committing.swap(false, Ordering::Relaxed);
                if let Some(id) = id.filter(|_| !last || self.result == ResultId::Shown) {
                    self.line_of(&at, format_args!("--> {}", short(&id)));
                }
                self.ui.log(
                    Level::Debug,
                    &format!("{}step {} took {millis} ms", tag(&at), at.step),
                );
            }
            Event::Output { at, stream, bytes } => self.output(&at, stream, &bytes),
            Event::Committing { at, name } => {
                self.committing.store(true, Ordering::Relaxed);
                let tag = tag(&at);
                match self.name.as_ref().or(name.as_ref()) {
                    Some(name) => self.line_of(&at, format_args!("{tag}COMMIT {name}")),
                    None => self.line_of(&at, format_args!("{tag}COMMIT")),
                }
            }
            Event::ImageDone { id: _, names } => {
                *self.tagged.lock().unwrap_or_else(PoisonError::into_inner) = names;
            }
            Event::Warning { text } => self.ui.warn(&text),
            Event::Detail { text } => self.ui.log(Level::Debug, &text),
            other => copying(self.ui, &other),
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
        Self {
            ui,
            told: told.on(ui),
        }
    }
}

impl Reporter for CopyLines<'_> {
    fn event(&self, event: Event) {
        if !self.told.includes(&event) || self.ui.show(&event) {
            return;
        }
        match event {
            Event::Warning { text } => self.ui.warn(&text),
            Event::Detail { text } => self.ui.log(Level::Debug, &text),
            other => copying(self.ui, &other),
        }
    }
}

fn copying(ui: &Ui, event: &Event) {
    if let Some(line) = copy_line(event) {
        ui.note(line);
    }
}

/// Returns the line that Buildah prints for an event of a copy, if it prints one.
fn copy_line(event: &Event) -> Option<String> {
    Some(match event {
        Event::ShortNameResolved { text } | Event::Note { text } => text.clone(),
        Event::Pulling { name } => format!("Trying to pull {name}..."),
        Event::GettingSignatures => "Getting image source signatures".to_owned(),
        Event::CheckingSignatureSupport => {
            "Checking if image destination supports signatures".to_owned()
        }
        Event::BlobStarted { digest, .. } => format!("Copying blob {digest}"),
        Event::CopyingConfig { digest } => format!("Copying config {digest}"),
        Event::WritingManifest => "Writing manifest to image destination".to_owned(),
        Event::CreatingSignature { text } => format!("Creating signature: {text}"),
        Event::StoringSignatures => "Storing signatures".to_owned(),
        Event::GettingListSignatures => "Getting image list signatures".to_owned(),
        Event::CopyingList { copied, listed } => {
            format!("Copying {copied} images generated from {listed} images in list")
        }
        Event::CopyingInstance {
            digest,
            number,
            count,
        } => format!("Copying image {digest} ({number}/{count})"),
        Event::ReplicatingInstance {
            digest,
            number,
            count,
        } => format!("Replicating image {digest} ({number}/{count})"),
        Event::WritingList => "Writing manifest list to image destination".to_owned(),
        Event::StoringListSignatures => "Storing list signatures".to_owned(),
        _ => return None,
    })
}

/// `[2/3] `, or nothing when there is one stage.
fn tag(at: &StepPosition) -> String {
    let target = match &at.target {
        Some(target) => format!("[{target}] "),
        None => String::new(),
    };
    if at.stages < 2 {
        target
    } else {
        format!("{target}[{}/{}] ", at.stage + 1, at.stages)
    }
}

fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn reason(why: &MissReason) -> String {
    match why {
        MissReason::Forced => "the cache is not used".to_owned(),
        MissReason::NeverBuilt => "never built before".to_owned(),
        MissReason::NotShared => "never built before, and in no cache that was asked".to_owned(),
        MissReason::ParentChanged => "what it builds on has changed".to_owned(),
        MissReason::SourceChanged { path } => format!("`{}` has changed", path.display()),
        MissReason::ArgChanged { name } => format!("the argument {name} has another value"),
        MissReason::InstructionChanged => "the instruction has changed".to_owned(),
        MissReason::LayerGone => "its layer is gone from the store".to_owned(),
        MissReason::Expired => "the recorded result is too old".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Digest;

    #[test]
    fn lines_are_those_of_buildah() {
        let digest = Digest::sha256(b"");
        let hex = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let check = |event: Event, expected: &str| {
            assert_eq!(copy_line(&event).as_deref(), Some(expected));
        };
        let pulling = Event::Pulling {
            name: "docker.io/library/a:1".to_owned(),
        };
        check(pulling, "Trying to pull docker.io/library/a:1...");
        check(Event::GettingSignatures, "Getting image source signatures");
        let started = Event::BlobStarted {
            digest: digest.clone(),
            size: Some(1),
        };
        check(started, &format!("Copying blob {hex}"));
        let config = Event::CopyingConfig {
            digest: digest.clone(),
        };
        check(config, &format!("Copying config {hex}"));
        check(
            Event::WritingManifest,
            "Writing manifest to image destination",
        );
        check(Event::StoringSignatures, "Storing signatures");
        let list = Event::CopyingList {
            copied: 2,
            listed: 4,
        };
        check(list, "Copying 2 images generated from 4 images in list");
        let instance = Event::CopyingInstance {
            digest: digest.clone(),
            number: 1,
            count: 4,
        };
        check(instance, &format!("Copying image {hex} (1/4)"));
        let done = 3;
        assert_eq!(copy_line(&Event::BlobProgress { digest, done }), None);
    }
}

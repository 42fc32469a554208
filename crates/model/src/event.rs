//! What happens during a build or a copy, as values: one closed vocabulary that plain text, a drawn display and JSON
//! lines are made of elsewhere.
//!
//! Nothing is printed here, and no event carries a decision back.

use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;

/// Takes events. Called from several threads; must not block for long.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A reporter that forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: Event) {}
}

/// Which step of which stage of which target an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct StepPosition {
    /// The target, when several images are built at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The stage's position in its file, from 0.
    pub stage: usize,
    /// How many stages are built.
    pub stages: usize,
    /// The stage's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_name: Option<String>,
    /// The step within the stage, from 1.
    pub step: usize,
    /// How many steps the stage has.
    pub steps: usize,
    /// The line of the file where the step begins, from 1.
    pub line: usize,
}

/// Why a step must be performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum MissReason {
    /// The cache was told not to be used.
    Forced,
    /// Nothing like it was ever built.
    NeverBuilt,
    /// The image or step below is another one.
    ParentChanged,
    /// A file that is copied or mounted has changed.
    SourceChanged {
        /// Where it lies in its context.
        path: PathBuf,
    },
    /// A build argument has another value.
    ArgChanged {
        /// The argument's name.
        name: String,
    },
    /// The instruction itself reads otherwise.
    InstructionChanged,
    /// A result was recorded, but its layer is gone from the store.
    LayerGone,
    /// The recorded result is older than the user accepts.
    Expired,
}

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a blob came to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobOutcome {
    /// Its bytes were moved.
    Copied,
    /// It was there already.
    AlreadyThere,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins.
    StepStarted {
        /// Which one.
        at: StepPosition,
        /// The instruction as it is shown behind `STEP n/m: `.
        text: String,
    },
    /// A step's result was found.
    StepCached {
        /// Which one.
        at: StepPosition,
        /// What was found: an image or layer identifier.
        id: String,
    },
    /// A step's result was not found.
    StepMissed {
        /// Which one.
        at: StepPosition,
        /// Why not.
        #[serde(flatten)]
        why: MissReason,
    },
    /// A step has ended well.
    StepDone {
        /// Which one.
        at: StepPosition,
        /// The image or layer that it made, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A process of a step has written something.
    Output {
        /// Which step.
        at: StepPosition,
        /// To which of its outputs.
        stream: OutputStream,
        /// The bytes, not always whole lines.
        bytes: Vec<u8>,
    },
    /// An image is about to be committed.
    Committing {
        /// Its name, if it gets one.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// An image was made.
    ImageDone {
        /// Its identifier.
        id: String,
        /// The names that it has now.
        names: Vec<String>,
    },
    /// Something that the user should know, without the word "warning".
    Warning {
        /// One line.
        text: String,
    },
    /// Something that is told only on request.
    Detail {
        /// One line.
        text: String,
    },
    /// A short name has been resolved.
    ShortNameResolved {
        /// The line as Buildah words it.
        text: String,
    },
    /// An image is about to be fetched.
    Pulling {
        /// The full name tried.
        name: String,
    },
    /// Signatures of the source are being read.
    GettingSignatures,
    /// A layer begins to move.
    BlobStarted {
        /// Its digest at the source.
        digest: Digest,
        /// Its size at the source in bytes, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// A layer is moving.
    BlobProgress {
        /// Its digest at the source.
        digest: Digest,
        /// Bytes read of the source until now.
        done: u64,
    },
    /// A layer is at its destination.
    BlobDone {
        /// Its digest at the source.
        digest: Digest,
        /// How it came there.
        outcome: BlobOutcome,
    },
    /// The config is being copied.
    CopyingConfig {
        /// Its digest at the source.
        digest: Digest,
    },
    /// The manifest is being written.
    WritingManifest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_lines() {
        let event = Event::StepMissed {
            at: StepPosition {
                stages: 1,
                step: 2,
                steps: 3,
                line: 4,
                ..StepPosition::default()
            },
            why: MissReason::ArgChanged {
                name: "A".to_owned(),
            },
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"step_missed","at":{"stage":0,"stages":1,"step":2,"steps":3,"line":4},"reason":"arg_changed","name":"A"}"#
        );
    }
}

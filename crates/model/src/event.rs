//! What happens during a build or a copy, as values: one closed vocabulary that plain text, a drawn display and JSON
//! lines are made of elsewhere.
//!
//! Nothing is printed here, and no event carries a decision back.

use std::path::PathBuf;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

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
    /// Nothing like it was ever built here, and no repository that was asked has it.
    NotShared,
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
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It is kept elsewhere by its publisher and stays there.
    Foreign,
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
    /// A step's result was brought from another machine's.
    CachePulled {
        /// Which one.
        at: StepPosition,
        /// From where: a repository with the key as its tag.
        place: String,
    },
    /// A step's result is put where other machines find it.
    CachePushing {
        /// Which one.
        at: StepPosition,
        /// Into these repositories.
        repositories: Vec<String>,
        /// Under this tag.
        key: String,
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
        /// The bytes, not always whole lines. As JSON they are a string called `text` if they are
        /// UTF-8, else a list of numbers called `bytes`.
        #[serde(flatten, serialize_with = "text_or_bytes")]
        bytes: Vec<u8>,
    },
    /// An image is about to be committed.
    Committing {
        /// The last step.
        at: StepPosition,
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
    /// A line for the user that no other event stands for.
    Note {
        /// One line or several.
        text: String,
    },
    /// The whole has failed; nothing comes after it.
    Failed {
        /// Why, with its causes.
        text: String,
        /// What may help.
        hints: Vec<String>,
        /// The exit status.
        status: u8,
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
    /// The source has signatures, and the destination is asked whether it takes them.
    CheckingSignatureSupport,
    /// Signatures are being written.
    StoringSignatures,
    /// A signature is being made.
    CreatingSignature {
        /// What is signed in which way, as Buildah words it.
        text: String,
    },
    /// Signatures of a list of images are being read.
    GettingListSignatures,
    /// Images of a list are about to be copied.
    CopyingList {
        /// How many of them are copied.
        copied: usize,
        /// How many the list has.
        listed: usize,
    },
    /// One image of a list is about to be copied.
    CopyingInstance {
        /// Its manifest's digest at the source.
        digest: Digest,
        /// Its number among those that are copied, from 1.
        number: usize,
        /// How many are copied.
        count: usize,
    },
    /// One image of a list is about to be copied once more, with another compression.
    ReplicatingInstance {
        /// Its manifest's digest at the source.
        digest: Digest,
        /// Its number among those that are copied, from 1.
        number: usize,
        /// How many are copied.
        count: usize,
    },
    /// The list of images is being written.
    WritingList,
    /// Signatures of a list of images are being written.
    StoringListSignatures,
    /// How much the blobs of an image are all together, as far as it is known; told before the first moves.
    BlobsPlanned {
        /// How many there are, the config not counted.
        count: usize,
        /// Their sizes at the source in bytes, added up.
        bytes: u64,
    },
    /// A blob goes on where an earlier attempt has ended.
    BlobResumed {
        /// Its digest at the source.
        digest: Digest,
        /// Bytes that need not move again.
        at: u64,
    },
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

fn text_or_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry("text", text)?,
        Err(_) => map.serialize_entry("bytes", bytes)?,
    }
    map.end()
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
        for (bytes, shown) in [
            (&b"a\n"[..], r#""text":"a\n""#),
            (b"\xff\0", r#""bytes":[255,0]"#),
        ] {
            let event = Event::Output {
                at: StepPosition::default(),
                stream: OutputStream::Stderr,
                bytes: bytes.to_vec(),
            };
            let at = r#"{"stage":0,"stages":0,"step":0,"steps":0,"line":0}"#;
            assert_eq!(
                serde_json::to_string(&event).unwrap(),
                format!(r#"{{"event":"output","at":{at},"stream":"stderr",{shown}}}"#)
            );
        }
    }
}

//! Events as lines of JSON: one object each, with the time of telling in front.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use model::{Digest, Event, Timestamp};
use serde::Serialize;

/// Least time between two lines about the progress of one blob.
const PACE: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Line<'a> {
    time: Option<String>,
    #[serde(flatten)]
    event: &'a Event,
}

/// Writes events down, and leaves out those that say too little.
#[derive(Debug, Default)]
pub struct Lines {
    told: HashMap<Digest, SystemTime>,
}

impl Lines {
    /// Returns the line of an event that happened at `now`, with its end; `None` when the last
    /// line about the same blob was just before.
    pub fn line(&mut self, event: &Event, now: SystemTime) -> Option<String> {
        match event {
            Event::BlobProgress { digest, .. } => {
                let last = self.told.get(digest);
                let since = last.and_then(|last| now.duration_since(*last).ok());
                if since.is_some_and(|since| since < PACE) {
                    return None;
                }
                self.told.insert(digest.clone(), now);
            }
            Event::BlobDone { digest, .. } => {
                self.told.remove(digest);
            }
            _ => {}
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.map(|since| i64::try_from(since.as_secs()).unwrap_or_default());
        let time = Timestamp::from_unix(seconds.unwrap_or_default());
        let line = Line {
            time: time.ok().map(|time| time.to_string()),
            event,
        };
        let mut text = serde_json::to_string(&line).ok()?;
        text.push('\n');
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MissReason;
    use model::event::{BlobOutcome, OutputStream, StepPosition};

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn check(event: &Event, expected: &str) {
        let line = Lines::default().line(event, AT).unwrap_or_default();
        assert_eq!(
            line,
            format!("{{\"time\":\"1970-01-01T00:00:00Z\",{expected}}}\n")
        );
    }

    #[test]
    fn events_of_builds_as_they_are_written() {
        let at = StepPosition {
            stage: 1,
            stages: 2,
            stage_name: Some("build".to_owned()),
            step: 3,
            steps: 4,
            line: 9,
            target: None,
        };
        let position =
            r#""at":{"stage":1,"stages":2,"stage_name":"build","step":3,"steps":4,"line":9}"#;
        check(
            &Event::StepMissed {
                at: at.clone(),
                why: MissReason::LayerGone,
            },
            &format!(r#""event":"step_missed",{position},"reason":"layer_gone""#),
        );
        check(
            &Event::Output {
                at,
                stream: OutputStream::Stdout,
                bytes: b"hi\n".to_vec(),
            },
            &format!(r#""event":"output",{position},"stream":"stdout","text":"hi\n""#),
        );
        check(
            &Event::Failed {
                text: "no".to_owned(),
                hints: vec!["so".to_owned()],
                status: 125,
            },
            r#""event":"failed","text":"no","hints":["so"],"status":125"#,
        );
    }

    #[test]
    fn events_of_copies_as_they_are_written() {
        let digest = Digest::sha256(b"");
        let hex = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check(
            &Event::Pulling {
                name: "docker.io/library/a:1".to_owned(),
            },
            r#""event":"pulling","name":"docker.io/library/a:1""#,
        );
        check(&Event::GettingSignatures, r#""event":"getting_signatures""#);
        check(
            &Event::BlobsPlanned {
                count: 2,
                bytes: 30,
            },
            r#""event":"blobs_planned","count":2,"bytes":30"#,
        );
        check(
            &Event::BlobStarted {
                digest: digest.clone(),
                size: Some(10),
            },
            &format!(r#""event":"blob_started","digest":"{hex}","size":10"#),
        );
        check(
            &Event::BlobStarted {
                digest: digest.clone(),
                size: None,
            },
            &format!(r#""event":"blob_started","digest":"{hex}""#),
        );
        check(
            &Event::BlobResumed {
                digest: digest.clone(),
                at: 4,
            },
            &format!(r#""event":"blob_resumed","digest":"{hex}","at":4"#),
        );
        check(
            &Event::BlobProgress {
                digest: digest.clone(),
                done: 5,
            },
            &format!(r#""event":"blob_progress","digest":"{hex}","done":5"#),
        );
        for (outcome, word) in [
            (BlobOutcome::Copied, "copied"),
            (BlobOutcome::AlreadyThere, "already_there"),
            (BlobOutcome::Mounted, "mounted"),
            (BlobOutcome::Foreign, "foreign"),
        ] {
            let digest = digest.clone();
            check(
                &Event::BlobDone { digest, outcome },
                &format!(r#""event":"blob_done","digest":"{hex}","outcome":"{word}""#),
            );
        }
    }

    #[test]
    fn progress_is_told_ten_times_a_second() {
        let mut lines = Lines::default();
        let mut told = |byte: u8, millis: u64| {
            let digest = Digest::sha256(&[byte]);
            let event = Event::BlobProgress { digest, done: 1 };
            let now = AT + Duration::from_millis(millis);
            lines.line(&event, now).is_some()
        };
        assert!(told(1, 0) && told(2, 10));
        assert!(!told(1, 99) && told(1, 100) && !told(2, 109) && told(2, 110));
    }
}

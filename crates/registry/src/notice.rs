//! What a registry or the network makes worth telling although nothing failed: values with the words of the reference.

use std::fmt;
use std::time::Duration;

/// The most distinct warnings of one registry that are told.
pub(crate) const MAX_WARNINGS: usize = 100;
/// The longest `Warning` header that is looked at, in bytes.
const MAX_WARNING: usize = 4096;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The registry warns (`Warning: 299`); each text comes once.
    Warning {
        /// Where it was met first.
        url: String,
        /// The text.
        text: String,
    },
    /// A download was cut and goes on.
    Reconnecting {
        /// What is downloaded.
        url: String,
        /// Why it was cut.
        error: String,
        /// How much there is already.
        after: u64,
    },
    /// An upload was cut and goes on from where the registry has it, or from the start.
    ResumingUpload {
        /// Why it was cut.
        error: String,
        /// From which byte on.
        offset: u64,
    },
    /// The registry wants fewer requests; the next one waits.
    RateLimited {
        /// How long.
        wait: Duration,
    },
    /// The registry asks for authentication of kinds that are not known; it is asked without.
    UnknownSchemes {
        /// The kinds.
        schemes: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Warning { url, text } => {
                write!(
                    f,
                    "Warning from registry (first encountered at {url:?}): {text:?}"
                )
            }
            Notice::Reconnecting { url, error, after } => {
                write!(
                    f,
                    "Reading blob body from {url} failed ({error}), reconnecting after {after} bytes…"
                )
            }
            Notice::ResumingUpload { error, offset } => {
                write!(
                    f,
                    "Uploading a blob failed ({error}), going on at byte {offset}…"
                )
            }
            Notice::RateLimited { wait } => {
                write!(
                    f,
                    "Too many requests to registry, waiting for {} s",
                    wait.as_secs_f32()
                )
            }
            Notice::UnknownSchemes { schemes } => {
                write!(
                    f,
                    "None of the challenges sent by the registry ({schemes}) are supported, trying an unauthenticated request anyway"
                )
            }
        }
    }
}

impl Notice {
    /// Returns whether it is of interest only to someone who looks for it.
    pub fn is_minor(&self) -> bool {
        !matches!(self, Notice::Warning { .. })
    }
}

/// Reads a `Warning` header of the distribution specification: `299 - "text"`, nothing else.
pub(crate) fn parse_warning(value: &str) -> Option<String> {
    if value.len() > MAX_WARNING {
        return None;
    }
    let quoted = value.strip_prefix("299 - \"")?.strip_suffix('"')?;
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            control if control.is_control() && control != '\t' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_of_the_specification_count() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(parse_warning(value).as_deref(), expected, "{value}");
        };
        check("299 - \"use a newer client\"", Some("use a newer client"));
        check(
            "299 - \"a \\\"quote\\\" and \\\\\"",
            Some("a \"quote\" and \\"),
        );
        check("299 - \"\"", Some(""));
        check("299 - \"bare \" quote\"", None);
        check("299 - \"open", None);
        check("299 - \"open\\\"", None);
        check("299 registry \"text\"", None);
        check("214 - \"text\"", None);
        check("299 - \"escape \u{1b}[31m\"", None);
        check(&format!("299 - \"{}\"", "x".repeat(MAX_WARNING)), None);
    }
}

//! `HEALTHCHECK`: its flags, and the test it makes.

use std::fmt;

use crate::command::Command;
use crate::duration::{DurationError, GoDuration};

/// The shortest time that is not zero: one millisecond.
const SHORTEST: GoDuration = GoDuration(1_000_000);

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthTest,
    /// `--interval`; zero and none mean the default. The other times likewise.
    pub interval: Option<GoDuration>,
    /// `--timeout`
    pub timeout: Option<GoDuration>,
    /// `--start-period`
    pub start_period: Option<GoDuration>,
    /// `--start-interval`
    pub start_interval: Option<GoDuration>,
    /// `--retries`, at least 1.
    pub retries: Option<u32>,
}

/// The test of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// `NONE`: the test of the base image is switched off.
    None,
    /// A program with its arguments, at least one word.
    Exec(Vec<String>),
    /// Text for the shell, not empty.
    Shell(String),
}

impl HealthTest {
    /// Returns the words as they stand in the image's configuration.
    #[must_use]
    pub fn config_words(&self) -> Vec<String> {
        match self {
            HealthTest::None => vec!["NONE".to_owned()],
            HealthTest::Exec(words) => std::iter::once("CMD".to_owned())
                .chain(words.iter().cloned())
                .collect(),
            HealthTest::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        }
    }
}

/// Why a health check is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HealthError {
    UnknownType(String),
    NoCommand,
    NoneWithArguments,
    UnknownFlag(String),
    NoValue(String),
    Duration(DurationError),
    Negative(&'static str),
    TooShort(&'static str),
    Retries(String),
    TooFewRetries(i32),
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthError::UnknownType(word) => {
                write!(f, "Unknown type {word:?} in HEALTHCHECK (try CMD)")
            }
            HealthError::NoCommand => write!(f, "Missing command after HEALTHCHECK CMD"),
            HealthError::NoneWithArguments => write!(f, "HEALTHCHECK NONE takes no arguments"),
            HealthError::UnknownFlag(name) => {
                write!(f, "flag provided but not defined: -{name}")
            }
            HealthError::NoValue(name) => write!(f, "flag needs an argument: -{name}"),
            HealthError::Duration(cause) => cause.fmt(f),
            HealthError::Negative(name) => write!(f, "Interval {name:?} must be positive"),
            HealthError::TooShort(name) => write!(f, "Interval {name:?} cannot be less than 1ms"),
            HealthError::Retries(value) => {
                write!(f, "strconv.ParseInt: parsing {value:?}: invalid syntax")
            }
            HealthError::TooFewRetries(count) => {
                write!(f, "--retries must be at least 1 (not {count})")
            }
        }
    }
}

/// Makes a health check of the word after the flags, the command behind it and the flags.
pub(crate) fn decode(
    kind: &str,
    command: Command,
    flags: &[(&str, Option<&str>)],
) -> Result<Healthcheck, HealthError> {
    let mut check = Healthcheck {
        test: HealthTest::None,
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    };
    for (name, value) in flags {
        flag(name, *value, &mut check)?;
    }
    check.test = match kind.to_uppercase().as_str() {
        "NONE" if command != Command::Shell(String::new()) => {
            return Err(HealthError::NoneWithArguments);
        }
        "NONE" => HealthTest::None,
        "CMD" => match command {
            Command::Exec(words) if words.is_empty() => return Err(HealthError::NoCommand),
            Command::Shell(text) if text.is_empty() => return Err(HealthError::NoCommand),
            Command::Exec(words) => HealthTest::Exec(words),
            Command::Shell(text) => HealthTest::Shell(text),
        },
        other => return Err(HealthError::UnknownType(other.to_owned())),
    };
    Ok(check)
}

fn flag(name: &str, value: Option<&str>, check: &mut Healthcheck) -> Result<(), HealthError> {
    let (slot, name) = match name {
        "interval" => (&mut check.interval, "interval"),
        "timeout" => (&mut check.timeout, "timeout"),
        "start-period" => (&mut check.start_period, "start-period"),
        "start-interval" => (&mut check.start_interval, "start-interval"),
        "retries" => {
            let value = value.ok_or_else(|| HealthError::NoValue(name.to_owned()))?;
            if value.is_empty() {
                return Ok(());
            }
            let count: i32 = value
                .parse()
                .map_err(|_| HealthError::Retries(value.to_owned()))?;
            let count = u32::try_from(count).ok().filter(|count| *count > 0);
            check.retries =
                Some(count.ok_or_else(|| {
                    HealthError::TooFewRetries(value.parse().unwrap_or_default())
                })?);
            return Ok(());
        }
        _ => return Err(HealthError::UnknownFlag(name.to_owned())),
    };
    let value = value.ok_or_else(|| HealthError::NoValue(name.to_owned()))?;
    if value.is_empty() {
        return Ok(());
    }
    let time = GoDuration::parse(value).map_err(HealthError::Duration)?;
    if time.0 < 0 {
        return Err(HealthError::Negative(name));
    }
    if time.0 > 0 && time < SHORTEST {
        return Err(HealthError::TooShort(name));
    }
    *slot = Some(time);
    Ok(())
}

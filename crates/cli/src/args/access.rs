//! Flags of every command that may speak to a registry.

use std::path::PathBuf;
use std::time::Duration;

use model::Secret;

use crate::args::{go_bool, go_int};

/// How a registry is spoken to, where flags say more than the host's configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessArgs {
    /// Read credentials from this file
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Use the certificates in this folder
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Use these credentials
    #[arg(long, value_name = "USER[:PASSWORD]", value_parser = secret)]
    pub creds: Option<Secret>,
    /// Let through what this policy lets through, instead of the host's
    #[arg(long, value_name = "FILE", hide = true)]
    pub signature_policy: Option<PathBuf>,
    /// Require HTTPS and check certificates (default: true, unless registries.conf calls the registry insecure)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    pub tls_verify: Option<bool>,
}

/// How often a copy that failed is tried again.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RetryArgs {
    /// How often to try again what failed on the way (default: containers.conf's, else 3)
    #[arg(long, value_name = "N", value_parser = count)]
    pub retry: Option<u32>,
    /// How long to wait before that, as `2s` (default: a second, then twice as long each time)
    #[arg(long, value_name = "DURATION")]
    pub retry_delay: Option<String>,
}

impl RetryArgs {
    /// Parses the delay.
    pub fn delay(&self) -> anyhow::Result<Option<Duration>> {
        let Some(text) = self.retry_delay.as_deref() else {
            return Ok(None);
        };
        let delay = containerfile::GoDuration::parse(text).map_err(|error| {
            anyhow::anyhow!("unable to parse value provided {text:?} as --retry-delay: {error}")
        })?;
        Ok(Some(Duration::from_nanos(
            u64::try_from(delay.0).unwrap_or(0),
        )))
    }
}

/// Which image of a list is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlatformArgs {
    /// The architecture to choose from a list
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// The operating system to choose from a list
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// The platform to choose from a list, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// The variant to choose from a list
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// When to look beyond the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only for an image that the store lacks.
    Missing,
    /// Never.
    Never,
    /// For every image.
    Always,
    /// For an image that has changed.
    Newer,
}

/// No pull policy has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl PullPolicy {
    /// Reads the word of `--policy`.
    pub fn parse(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            "always" => Ok(Self::Always),
            "newer" | "ifnewer" => Ok(Self::Newer),
            _ => Err(UnknownPolicy),
        }
    }

    /// Reads the word of `--pull`, which takes any case and more words than `--policy`, as it was a yes or no once.
    fn parse_lenient(word: &str) -> Result<Self, UnknownPolicy> {
        match word.to_lowercase().as_str() {
            "ifmissing" | "notpresent" => Ok(Self::Missing),
            "false" => Ok(Self::Never),
            "true" => Ok(Self::Newer),
            word => Self::parse(word),
        }
    }
}

/// When an image is fetched that the store has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PullArgs {
    /// When to fetch an image: missing (the default), never (false), always, or newer (true, and the flag alone),
    /// with which the image of the store will do when nothing newer can be had
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "POLICY")]
    pull: Option<String>,
    /// Fetch images also when the store has them
    #[arg(long)]
    pull_always: bool,
    /// Fetch no image
    #[arg(long)]
    pull_never: bool,
}

impl PullArgs {
    /// The policy that the flags ask for.
    pub fn policy(&self) -> anyhow::Result<PullPolicy> {
        match (self.pull.as_deref(), self.pull_always, self.pull_never) {
            (None, false, false) => Ok(PullPolicy::Missing),
            (Some(word), false, false) => PullPolicy::parse_lenient(word)
                .map_err(|UnknownPolicy| anyhow::anyhow!("unrecognized pull policy {word:?}")),
            (None, true, false) => Ok(PullPolicy::Always),
            (None, false, true) => Ok(PullPolicy::Never),
            _ => anyhow::bail!("can only set one of 'pull' or 'pull-always' or 'pull-never'"),
        }
    }
}

/// Reads what must not be shown.
pub fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// Fewer than none is none.
fn count(text: &str) -> Result<u32, String> {
    let number = go_int(text)?.max(0);
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_flags_make_a_policy() {
        let check = |pull: Option<&str>, always: bool, never: bool, expected: &str| {
            let flags = PullArgs {
                pull: pull.map(str::to_owned),
                pull_always: always,
                pull_never: never,
            };
            let found = match flags.policy() {
                Ok(policy) => format!("{policy:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{pull:?} {always} {never}");
        };
        check(None, false, false, "Missing");
        check(None, true, false, "Always");
        check(None, false, true, "Never");
        check(Some("true"), false, false, "Newer");
        check(Some("Always"), false, false, "Always");
        check(Some("false"), false, false, "Never");
        check(Some("IfNewer"), false, false, "Newer");
        check(Some("notpresent"), false, false, "Missing");
        check(Some("x"), false, false, "unrecognized pull policy \"x\"");
        check(
            Some("never"),
            true,
            false,
            "can only set one of 'pull' or 'pull-always' or 'pull-never'",
        );
    }

    #[test]
    fn a_policy_is_one_of_few_words() {
        assert_eq!(PullPolicy::parse("ifnewer"), Ok(PullPolicy::Newer));
        for word in ["true", "false", "ifmissing", "notpresent", "Always", ""] {
            assert_eq!(PullPolicy::parse(word), Err(UnknownPolicy), "{word}");
        }
    }

    #[test]
    fn counts_are_none_below_none() {
        for (text, expected) in [
            ("3", Ok(3)),
            ("-1", Ok(0)),
            (
                "x",
                Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
            ),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }
}

//! Values of `containers.conf` that have a form of their own.

use super::{ContainersConf, behind};
use crate::origin::{Origin, Place};

/// Kinds of limits.
const LIMITS: &str = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack";
/// The smallest log that Podman writes.
const SMALLEST_LOG: i64 = 8192;

/// A value that has the right type and no meaning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainersFault {
    /// A limit is none.
    #[error(
        "validating containers config: unrecognized ulimit {value}: {problem}{}",
        behind(.place)
    )]
    Ulimit {
        /// Where.
        place: Place,
        /// What is written there.
        value: String,
        /// Why it is none.
        problem: String,
    },
    /// A value of `[containers]` is none of those that are known.
    #[error("validating containers config: {problem}{}", behind(.place))]
    Containers {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// A value of `[engine]` is none of those that are known.
    #[error("validating engine configs: {problem}{}", behind(.place))]
    Engine {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// A variable without a value.
    #[error(
        "invalid environment variable {value:?} from containers.conf, valid configuration is KEY=value pair{}",
        behind(.place)
    )]
    Env {
        /// Where.
        place: Place,
        /// What is written there.
        value: String,
    },
}

impl ContainersConf {
    /// Refuses values without a meaning, also those that a builder does not use: a file is good for all tools or for none.
    pub(super) fn check(&self) -> Result<(), ContainersFault> {
        let containers = &self.containers;
        for limit in &containers.default_ulimits.value {
            if let Err(problem) = ulimit(limit) {
                return Err(ContainersFault::Ulimit {
                    place: containers.default_ulimits.place.clone(),
                    value: limit.clone(),
                    problem,
                });
            }
        }
        let of_containers = |good: bool, place: &Place, problem: String| match good {
            true => Ok(()),
            false => Err(ContainersFault::Containers {
                place: place.clone(),
                problem,
            }),
        };
        let Origin { value, place } = &containers.interface_name;
        let problem = format!("invalid interface_name option {value}");
        of_containers(matches!(&**value, "" | "device"), place, problem)?;
        let Origin { value, place } = &containers.umask;
        let good = value.len() <= 4 && value.bytes().all(|b| (b'0'..=b'7').contains(&b));
        of_containers(good, place, format!("not a valid umask {value}"))?;
        let Origin { value, place } = &containers.log_size_max;
        let problem = format!("log size max should be negative or >= {SMALLEST_LOG}");
        of_containers(!(0..SMALLEST_LOG).contains(value), place, problem)?;
        let Origin { value, place } = &containers.shm_size;
        let problem = format!("invalid --shm-size {value}, invalid size: '{value}'");
        of_containers(is_size(value), place, problem)?;
        self.check_engine()
    }

    fn check_engine(&self) -> Result<(), ContainersFault> {
        let engine = &self.engine;
        if let Some(value) = engine.env.value.iter().find(|entry| !entry.contains('=')) {
            return Err(ContainersFault::Env {
                place: engine.env.place.clone(),
                value: value.clone(),
            });
        }
        let one_of = |set: &Origin<String>, words: &[&str], problem: String| match words
            .contains(&&*set.value.to_lowercase())
        {
            true => Ok(()),
            false => Err(ContainersFault::Engine {
                place: set.place.clone(),
                problem,
            }),
        };
        let policy = &engine.pull_policy.value;
        one_of(
            &engine.pull_policy,
            &[
                "",
                "always",
                "missing",
                "ifnotpresent",
                "never",
                "newer",
                "ifnewer",
            ],
            format!(
                "invalid pull type from containers.conf {policy:?}: unsupported pull policy {policy:?}"
            ),
        )?;
        let mode = &engine.image_volume_mode.value;
        one_of(
            &engine.image_volume_mode,
            &["", "anonymous", "bind", "tmpfs", "ignore"],
            format!("invalid image volume mode {mode:?} required value: anonymous, tmpfs, ignore"),
        )?;
        let backend = &engine.database_backend.value;
        one_of(
            &engine.database_backend,
            &["", "boltdb", "sqlite"],
            format!("unsupported database backend: {backend:?}"),
        )
    }
}

/// Tells whether `TYPE=SOFT[:HARD]` is a limit.
fn ulimit(text: &str) -> Result<(), String> {
    // The limits of whoever builds.
    if text == "host" {
        return Ok(());
    }
    let Some((name, values)) = text.split_once('=') else {
        return Err(format!("invalid ulimit argument: {text}"));
    };
    if !LIMITS.split(' ').any(|known| known == name.to_lowercase()) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let mut numbers = Vec::new();
    for part in values.split(':') {
        match part.parse::<i64>() {
            Ok(number) => numbers.push(number),
            Err(_) => {
                return Err(format!(
                    "strconv.ParseInt: parsing {part:?}: invalid syntax"
                ));
            }
        }
    }
    match numbers.as_slice() {
        [_] => Ok(()),
        [soft, hard] if *hard == -1 || (*soft != -1 && soft <= hard) => Ok(()),
        [soft, hard] => Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )),
        _ => Err(format!(
            "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
        )),
    }
}

/// Tells whether a text is a number of bytes with an optional unit: `64m`, `1.5GiB`, `65536k`.
fn is_size(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let digits = text.strip_suffix(['k', 'm', 'g', 't', 'p']).unwrap_or(text);
    let digits = digits.trim_end();
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("65536k", true),
            ("64m", true),
            ("1.5 GiB", true),
            ("100", true),
            ("", false),
            ("m", false),
            ("12x", false),
            ("-1", false),
        ] {
            assert_eq!(is_size(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_have_a_name_and_numbers() {
        for (text, expected) in [
            ("nofile=1:2", Ok(())),
            ("nofile=5", Ok(())),
            ("nproc=-1:-1", Ok(())),
            ("x", Err("invalid ulimit argument: x")),
            ("x=1", Err("invalid ulimit type: x")),
            (
                "nofile=2:1",
                Err("ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ),
        ] {
            assert_eq!(ulimit(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}

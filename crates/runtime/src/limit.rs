//! Resource limits: their names, and what the host lets us set.

use std::sync::OnceLock;

use sys::launch::Limit;

use crate::surroundings::Surroundings;

/// Names and `RLIMIT_*` numbers, as `--ulimit` knows them.
const NAMES: &[(&str, u32)] = &[
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];
const NOFILE: u32 = 7;

/// A limit that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It is not `NAME=SOFT[:HARD]` with whole numbers, -1 for unlimited.
    #[error("invalid ulimit `{0}`: expected NAME=SOFT[:HARD]")]
    Syntax(String),
    /// No limit has this name.
    #[error("invalid ulimit type `{0}`")]
    Name(String),
    /// The soft limit is above the hard one.
    #[error("invalid ulimit `{0}`: the soft limit is above the hard limit")]
    Order(String),
}

/// A limit that was set lower than asked, because the host refuses to raise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowered {
    /// What was asked.
    pub asked: Limit,
    /// What was set.
    pub set: Limit,
}

/// Returns the name of a limit's resource, as `--ulimit` knows it.
#[must_use]
pub fn resource_name(limit: &Limit) -> &'static str {
    NAMES
        .iter()
        .find(|(_, number)| *number == limit.resource)
        .map_or("unknown", |(name, _)| name)
}

/// Parses `NAME=SOFT[:HARD]`.
///
/// # Errors
/// When it is not of this form.
pub fn parse_limit(text: &str) -> Result<Limit, LimitError> {
    let syntax = || LimitError::Syntax(text.to_owned());
    let (name, values) = text.split_once('=').ok_or_else(syntax)?;
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let (_, resource) = known.ok_or_else(|| LimitError::Name(name.to_owned()))?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |word: &str| match word {
        "-1" => Ok(u64::MAX),
        _ => word.parse().map_err(|_: std::num::ParseIntError| syntax()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(LimitError::Order(text.to_owned()));
    }
    Ok(Limit {
        resource: *resource,
        soft,
        hard,
    })
}

/// What the host allows.
pub(crate) struct Ceiling {
    /// Whether hard limits can be raised.
    pub(crate) may_raise: bool,
    /// Current hard limit by resource number.
    pub(crate) hard: fn(u32) -> u64,
    /// Largest hard limit of open files for anybody.
    pub(crate) files: u64,
}

impl Ceiling {
    /// Asks the kernel.
    pub(crate) fn of_host(around: &Surroundings) -> Self {
        static FILES: OnceLock<u64> = OnceLock::new();
        let files = *FILES.get_or_init(|| {
            let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
            text.trim().parse().unwrap_or(1 << 20)
        });
        let capabilities = rustix::thread::capabilities(None);
        let resource = rustix::thread::CapabilitySet::SYS_RESOURCE;
        // A capability over another user namespace than the initial one does not count here.
        let may_raise =
            around.initial && capabilities.is_ok_and(|sets| sets.effective.contains(resource));
        Self {
            may_raise,
            hard: current_hard,
            files,
        }
    }

    /// Returns the nearest limit that can be set.
    pub(crate) fn fit(&self, asked: Limit) -> Limit {
        let mut top = if self.may_raise {
            u64::MAX
        } else {
            (self.hard)(asked.resource)
        };
        if asked.resource == NOFILE {
            top = top.min(self.files);
        }
        Limit {
            resource: asked.resource,
            soft: asked.soft.min(top),
            hard: asked.hard.min(top),
        }
    }
}

fn current_hard(resource: u32) -> u64 {
    use rustix::process::Resource;
    let resource = match resource {
        0 => Resource::Cpu,
        1 => Resource::Fsize,
        2 => Resource::Data,
        3 => Resource::Stack,
        4 => Resource::Core,
        5 => Resource::Rss,
        6 => Resource::Nproc,
        7 => Resource::Nofile,
        8 => Resource::Memlock,
        9 => Resource::As,
        10 => Resource::Locks,
        11 => Resource::Sigpending,
        12 => Resource::Msgqueue,
        13 => Resource::Nice,
        14 => Resource::Rtprio,
        _ => Resource::Rttime,
    };
    rustix::process::getrlimit(resource)
        .maximum
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parsed() {
        let limit = |resource, soft, hard| {
            Ok(Limit {
                resource,
                soft,
                hard,
            })
        };
        for (text, expected) in [
            ("nofile=1024:2048", limit(7, 1024, 2048)),
            ("nproc=5", limit(6, 5, 5)),
            ("core=0:-1", limit(4, 0, u64::MAX)),
            ("core=-1:0", Err(LimitError::Order("core=-1:0".into()))),
            ("what=1", Err(LimitError::Name("what".into()))),
            ("nofile", Err(LimitError::Syntax("nofile".into()))),
            ("nofile=x", Err(LimitError::Syntax("nofile=x".into()))),
            ("nofile=-2", Err(LimitError::Syntax("nofile=-2".into()))),
        ] {
            assert_eq!(parse_limit(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_host_refuses_is_lowered() {
        let ceiling = |may_raise| Ceiling {
            may_raise,
            hard: |_| 100,
            files: 1000,
        };
        for (may_raise, resource, soft, hard, expected) in [
            (true, 4, 5, u64::MAX, (5, u64::MAX)),
            (false, 4, 5, u64::MAX, (5, 100)),
            (false, 4, 500, 600, (100, 100)),
            (true, 7, 500, 6000, (500, 1000)),
        ] {
            let fit = ceiling(may_raise).fit(Limit {
                resource,
                soft,
                hard,
            });
            assert_eq!((fit.soft, fit.hard), expected);
        }
    }
}

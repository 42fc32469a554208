//! Short names and what they may stand for, wherever aliases are written.

use model::{Reference, ReferenceError};

use crate::origin::Origin;

/// An alias: the repository that a short name stands for, or `None` where a file takes an earlier alias back.
pub type Alias = Origin<Option<Reference>>;

/// Why a text is no alias, or stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasError {
    /// The short name is no name.
    #[error("cannot parse short name: {name:?}: {problem}")]
    NoName {
        /// The text.
        name: String,
        /// What the grammar says.
        problem: ReferenceError,
    },
    /// The short name has what only a full name has.
    #[error("invalid short name {name:?}: must not contain {part}")]
    ShortName {
        /// The text.
        name: String,
        /// `tag`, `digest` or `registry`.
        part: &'static str,
    },
    /// What it stands for is no name.
    #[error("parsing alias {target:?}: {problem}")]
    NoTarget {
        /// The text.
        target: String,
        /// What the grammar says.
        problem: ReferenceError,
    },
    /// What it stands for is more than a repository.
    #[error("invalid alias {target:?}: must not contain {part}")]
    Target {
        /// The text.
        target: String,
        /// `tag` or `digest`.
        part: &'static str,
    },
    /// What it stands for is a short name again.
    #[error("invalid alias {target:?}: must contain registry and repository")]
    Short {
        /// The text.
        target: String,
    },
}

/// Checks what stands to the left of an alias: a repository without registry, tag and digest.
pub(crate) fn check_short_name(name: &str) -> Result<(), AliasError> {
    let parsed = Reference::parse_normalized(name).map_err(|problem| AliasError::NoName {
        name: name.to_owned(),
        problem,
    })?;
    let part = if parsed.digest().is_some() {
        "digest"
    } else if parsed.tag().is_some() {
        "tag"
    } else if !Reference::is_short(name) {
        "registry"
    } else {
        return Ok(());
    };
    Err(AliasError::ShortName {
        name: name.to_owned(),
        part,
    })
}

/// Reads what stands to the right of an alias: a repository of a registry, without tag and digest.
pub(crate) fn alias_target(text: &str) -> Result<Reference, AliasError> {
    let target = text.to_owned();
    let parsed = match Reference::parse_normalized(text) {
        Ok(parsed) => parsed,
        Err(problem) => return Err(AliasError::NoTarget { target, problem }),
    };
    if parsed.digest().is_some() {
        return Err(AliasError::Target {
            target,
            part: "digest",
        });
    }
    if parsed.tag().is_some() {
        return Err(AliasError::Target {
            target,
            part: "tag",
        });
    }
    if Reference::is_short(text) {
        return Err(AliasError::Short { target });
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_targets_are_checked() {
        let check = |name: &str, target: &str, expected: &str| {
            let found = match (check_short_name(name), alias_target(target)) {
                (Err(error), _) | (_, Err(error)) => error.to_string(),
                (Ok(()), Ok(target)) => target.to_string(),
            };
            assert_eq!(found, expected);
        };
        check("a", "docker.io/alpine", "docker.io/library/alpine");
        check("a/b", "quay.io/c/d", "quay.io/c/d");
        check("a", "localhost/x", "localhost/x");
        check(
            "a/b:c",
            "quay.io/x",
            "invalid short name \"a/b:c\": must not contain tag",
        );
        check(
            "quay.io/b",
            "quay.io/x",
            "invalid short name \"quay.io/b\": must not contain registry",
        );
        check(
            "A",
            "quay.io/x",
            "cannot parse short name: \"A\": invalid reference format: repository name must be lowercase",
        );
        check(
            "a",
            "y",
            "invalid alias \"y\": must contain registry and repository",
        );
        check(
            "a",
            "quay.io/y:1",
            "invalid alias \"quay.io/y:1\": must not contain tag",
        );
        let digest = format!("quay.io/y@sha256:{}", "0".repeat(64));
        check(
            "a",
            &digest,
            &format!("invalid alias \"{digest}\": must not contain digest"),
        );
    }
}

//! Which paths of a source are left out: ignore rules and `--exclude`, as one question.

use containerfile::IgnoreRules;

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    /// The ignore rules take it away, and all that is below.
    Ignore,
    /// `--exclude` takes it away, and all that is below.
    Exclude,
    /// It is taken away itself, but an exception may bring back something below it.
    Descend,
}

/// The rules of one request. Paths are relative and have no leading slash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    ignore: Option<&'a IgnoreRules>,
    excludes: Option<&'a IgnoreRules>,
}

impl<'a> Filter<'a> {
    pub fn new(ignore: Option<&'a IgnoreRules>, excludes: &'a IgnoreRules) -> Self {
        let some = |rules: &&IgnoreRules| !rules.is_empty();
        Self {
            ignore: ignore.filter(some),
            excludes: Some(excludes).filter(some),
        }
    }

    /// Decides about a path inside a source: `full` is below the context, `below` below the source.
    pub fn decide(&self, full: &[u8], below: &[u8]) -> Decision {
        if let Some(excludes) = self.excludes
            && (excludes.is_excluded(full) || excludes.is_excluded(below))
        {
            return Decision::Exclude;
        }
        match self.ignore {
            Some(rules) if rules.is_excluded(full) => {
                if rules.may_keep_below(full) {
                    Decision::Descend
                } else {
                    Decision::Ignore
                }
            }
            _ => Decision::Keep,
        }
    }

    /// Decides about a path that is a source itself. The root of the context is never left out.
    pub fn decide_named(&self, path: &[u8]) -> Decision {
        if path.is_empty() {
            return Decision::Keep;
        }
        self.decide(path, super::path::base_of(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_rules_count() {
        let ignore = IgnoreRules::parse(b"dd\n!dd/s/2\n*.log\n").unwrap();
        let excludes = IgnoreRules::from_excludes(["*.o"]).unwrap();
        let filter = Filter::new(Some(&ignore), &excludes);
        for (full, below, expected) in [
            ("a", "a", Decision::Keep),
            ("x.log", "x.log", Decision::Ignore),
            ("dd", "dd", Decision::Descend),
            ("dd/s", "s", Decision::Descend),
            ("dd/s/2", "s/2", Decision::Keep),
            ("dd/t", "t", Decision::Ignore),
            ("src/x.o", "x.o", Decision::Exclude),
            ("src/sub/x.o", "sub/x.o", Decision::Keep),
        ] {
            assert_eq!(
                filter.decide(full.as_bytes(), below.as_bytes()),
                expected,
                "{full}"
            );
        }
        assert_eq!(
            Filter::new(None, &IgnoreRules::default()).decide(b"a", b"a"),
            Decision::Keep
        );
    }
}

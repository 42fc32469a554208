//! Why a step was not found: what went into its key now, against the last time.
//!
//! The last time is kept as one trace for each stage of a file in its context: short digests of
//! the parts of every key, never the values. It is read only when a step is missed.

use crate::cache::Trace;
use crate::key::{KeyWriter, Part, StepKey};
use model::MissReason;
use std::path::{Path, PathBuf};

/// Returns the key under which the trace of a stage is kept.
pub(crate) fn trace_key(context: &Path, file: &str, stage: usize, name: Option<&str>) -> StepKey {
    let words = [
        context.as_os_str().as_encoded_bytes().to_vec(),
        file.as_bytes().to_vec(),
        stage.to_string().into_bytes(),
        name.unwrap_or_default().as_bytes().to_vec(),
    ];
    KeyWriter::new("trace/1")
        .put(Part::Words, words)
        .finish()
        .key
}

/// Whether other machines were asked for a step as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// They were not.
    Nobody,
    /// They were, and none had it.
    Elsewhere,
}

/// Says which part of the `index`-th key of a stage differs from the last time.
pub(crate) fn reason(
    last: Option<&Trace>,
    asked: Asked,
    index: usize,
    now: &[(Part, u64)],
) -> MissReason {
    let unknown = match asked {
        Asked::Nobody => MissReason::NeverBuilt,
        Asked::Elsewhere => MissReason::NotShared,
    };
    let Some(before) = last.and_then(|trace| trace.steps.get(index)) else {
        return unknown;
    };
    let old = |part: &Part| {
        before
            .iter()
            .find(|(p, _)| p == part)
            .map(|(_, digest)| *digest)
    };
    let changed = |wanted: fn(&Part) -> bool| {
        now.iter()
            .find(|(part, digest)| wanted(part) && old(part) != Some(*digest))
            .map(|(part, _)| part)
    };
    if changed(|part| matches!(part, Part::Words | Part::Setting(_))).is_some() {
        return MissReason::InstructionChanged;
    }
    if let Some(Part::Variable(name)) = changed(|part| matches!(part, Part::Variable(_))) {
        return MissReason::ArgChanged { name: name.clone() };
    }
    if let Some(Part::Source(name)) = changed(|part| matches!(part, Part::Source(_))) {
        return MissReason::SourceChanged {
            path: PathBuf::from(name),
        };
    }
    if changed(|part| matches!(part, Part::Parent)).is_some() {
        return MissReason::ParentChanged;
    }
    let gone = before
        .iter()
        .find(|(part, _)| !now.iter().any(|(p, _)| p == part));
    match gone {
        Some((Part::Variable(name), _)) => MissReason::ArgChanged { name: name.clone() },
        Some(_) => MissReason::InstructionChanged,
        // The same key as last time, and yet not in the index: it was pruned.
        None => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(list: &[(&str, u64)]) -> Vec<(Part, u64)> {
        list.iter()
            .map(|(name, digest)| {
                let part = match name.split_once(':') {
                    Some(("v", name)) => Part::Variable(name.to_owned()),
                    Some(("s", name)) => Part::Source(name.to_owned()),
                    Some((_, name)) => Part::Setting(name.to_owned()),
                    None if *name == "parent" => Part::Parent,
                    None => Part::Words,
                };
                (part, *digest)
            })
            .collect()
    }

    #[track_caller]
    fn check(before: &[(&str, u64)], now: &[(&str, u64)], expected: &MissReason) {
        let trace = Trace {
            steps: vec![parts(before)],
            ..Trace::default()
        };
        assert_eq!(
            reason(Some(&trace), Asked::Nobody, 0, &parts(now)),
            *expected
        );
    }

    #[test]
    fn the_nearest_cause_is_named() {
        let base: &[(&str, u64)] = &[("parent", 1), ("words", 2), ("v:A", 3), ("s:src", 4)];
        let arg = |name: &str| MissReason::ArgChanged {
            name: name.to_owned(),
        };
        let src = MissReason::SourceChanged { path: "src".into() };
        check(
            base,
            &[("parent", 9), ("words", 2), ("v:A", 3), ("s:src", 4)],
            &MissReason::ParentChanged,
        );
        check(
            base,
            &[("parent", 9), ("words", 2), ("v:A", 3), ("s:src", 9)],
            &src,
        );
        check(
            base,
            &[("parent", 1), ("words", 2), ("v:A", 9), ("s:src", 4)],
            &arg("A"),
        );
        check(
            base,
            &[("parent", 1), ("words", 2), ("s:src", 4)],
            &arg("A"),
        );
        check(
            base,
            &[("parent", 1), ("words", 9), ("v:A", 9), ("s:src", 4)],
            &MissReason::InstructionChanged,
        );
        check(base, base, &MissReason::NeverBuilt);
        let first = |asked| reason(None, asked, 0, &parts(base));
        assert_eq!(first(Asked::Nobody), MissReason::NeverBuilt);
        assert_eq!(first(Asked::Elsewhere), MissReason::NotShared);
    }
}

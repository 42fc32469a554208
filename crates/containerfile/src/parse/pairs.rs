//! `ENV`, `LABEL` and `ARG`: names with values.

use std::ops::Range;

use crate::op::{ArgDecl, Pair};
use crate::parse::instruction::{Failed, Instruction};
use crate::words::quoted_words;

/// Arguments whose value the build's platform decides.
const FIXED_ARGS: [&str; 2] = ["TARGETPLATFORM", "BUILDPLATFORM"];

impl Instruction<'_> {
    fn quoted(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let words = quoted_words(&self.line.text[range.clone()], self.escape);
        words
            .into_iter()
            .map(|w| range.start + w.start..range.start + w.end)
            .collect()
    }

    /// Reads `KEY=VALUE` words, or `KEY rest of the line`.
    pub(super) fn pairs(&self) -> Failed<Vec<Pair>> {
        let range = self.without_flags()?;
        let words = self.quoted(&range);
        let Some(first) = words.first() else {
            return Err(self.at_least_one());
        };
        if !self.line.text[first.clone()].contains('=') {
            return self.old_form(&range);
        }
        words.into_iter().map(|word| self.pair(word)).collect()
    }

    fn pair(&self, word: Range<usize>) -> Failed<Pair> {
        let text = &self.line.text[word.clone()];
        let at = self.line.span(&word);
        let Some(equals) = text.find('=') else {
            let message =
                format!("Syntax error - can't find = in {text:?}. Must be of the form: name=value");
            return Err(self.fail_file(at, &message));
        };
        let key = self.word_at(word.start..word.start + equals)?;
        if key.as_literal().is_some_and(|key| key.is_empty()) {
            return Err(self.fail(at, format!("{} names can not be blank", self.name())));
        }
        Ok(Pair {
            key,
            value: self.word_at(word.start + equals + 1..word.end)?,
        })
    }

    fn old_form(&self, range: &Range<usize>) -> Failed<Vec<Pair>> {
        let text = &self.line.text[range.clone()];
        let Some(blank) = text.find(char::is_whitespace) else {
            let message = format!("{} must have two arguments", self.name());
            return Err(self.fail_file(self.line.span(range), &message));
        };
        let value = text[blank..].trim_start();
        let key = self.word_at(range.start..range.start + blank)?;
        let value = self.word_at(range.end - value.len()..range.end)?;
        Ok(vec![Pair { key, value }])
    }

    /// Reads `NAME` and `NAME=VALUE` words.
    pub(super) fn arg(&self) -> Failed<Vec<ArgDecl>> {
        let range = self.without_flags()?;
        let words = self.quoted(&range);
        if words.is_empty() {
            let message = "reading multiple stages: ARG requires an argument";
            let mut found = self.fail(self.rest_span(), message);
            found.step = None;
            return Err(found);
        }
        words.into_iter().map(|word| self.arg_decl(word)).collect()
    }

    fn arg_decl(&self, word: Range<usize>) -> Failed<ArgDecl> {
        let text = &self.line.text[word.clone()];
        let at = self.line.span(&word);
        let equals = text.find('=');
        let key = self.word_at(word.start..equals.map_or(word.end, |at| word.start + at))?;
        let Some(name) = key.as_literal() else {
            let message = format!("ARG name {:?} holds a variable", key.text());
            return Err(self.fail(at, message));
        };
        if name.is_empty() {
            return Err(self.fail(at, "ARG names can not be blank"));
        }
        let default = equals
            .map(|at| self.word_at(word.start + at + 1..word.end))
            .transpose()?;
        if default.is_some() && FIXED_ARGS.contains(&name.as_str()) {
            let message = format!("attempted to redefine {name:?}: invalid argument");
            return Err(self.fail(at, message));
        }
        Ok(ArgDecl { at, name, default })
    }
}

//! How the rest of an instruction line is cut into flags and words.
//!
//! Words are returned as ranges of the text, quotes and escapes still in them; taking those
//! off is part of expansion ([`crate::Template`]).

use std::ops::Range;

use crate::template::Escape;

/// A flag word with its quotes and backslashes taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagWord {
    pub text: String,
    pub range: Range<usize>,
}

impl FlagWord {
    /// Returns the name without dashes, and the text behind `=` if there is one.
    pub fn split(&self) -> (&str, Option<&str>) {
        let word = self.text.trim_start_matches("--");
        match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        }
    }
}

/// Takes the words that begin with `--` off the front of `rest`; also returns where the
/// remaining text starts. A `--` alone ends the flags and is taken off with them.
pub(crate) fn take_flags(rest: &str) -> (Vec<FlagWord>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += blanks(&rest[at..]);
        if !rest[at..].starts_with("--") {
            return (flags, at);
        }
        let (text, length) = flag_word(&rest[at..]);
        let range = at..at + length;
        at = range.end;
        if text == "--" {
            at += blanks(&rest[at..]);
            return (flags, at);
        }
        flags.push(FlagWord { text, range });
    }
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn flag_word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Cuts at blanks and nothing else.
pub(crate) fn blank_words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(from..text.len());
    }
    words
}

/// Cuts at blanks outside quotes and escapes, for `ENV`, `LABEL` and `ARG`.
pub(crate) fn quoted_words(text: &str, escape: Escape) -> Vec<Range<usize>> {
    let escape = escape.as_char();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some(from) = start.take() {
                words.push(from..at);
            }
            continue;
        }
        start.get_or_insert(at);
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            None | Some('"') if c == escape => {
                chars.next();
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(from..text.len());
    }
    words
}

/// Cuts a line into the words among which heredoc openers are looked for.
pub(crate) fn opener_words(line: &str) -> Vec<&str> {
    quoted_words(line, Escape::Backslash)
        .into_iter()
        .map(|range| &line[range])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(rest: &str) -> (Vec<String>, &str) {
        let (flags, at) = take_flags(rest);
        (
            flags.into_iter().map(|flag| flag.text).collect(),
            &rest[at..],
        )
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let check = |rest: &str, words: &[&str], tail: &str| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(flags(rest), (words, tail), "{rest}");
        };
        check("--a=b  --c  d --e", &["--a=b", "--c"], "d --e");
        check("--chown=\"0:0\" a b", &["--chown=0:0"], "a b");
        check("--chown=\"0 0\"x a", &["--chown=0 0x"], "a");
        check("--x=a\\ b c", &["--x=a b"], "c");
        check("--a -- --b c", &["--a"], "--b c");
        check("\"--chmod=1\" a", &[], "\"--chmod=1\" a");
        check("-x", &[], "-x");
        check("--x", &["--x"], "");
        check("--x=\"open", &["--x=open"], "");
        check("", &[], "");
    }

    #[test]
    fn words_keep_their_quotes() {
        let check = |text: &str, expected: &[&str]| {
            let words = quoted_words(text, Escape::Backslash);
            let words: Vec<&str> = words.into_iter().map(|range| &text[range]).collect();
            assert_eq!(words, expected, "{text}");
        };
        check("a b", &["a", "b"]);
        check("A=\"x y\" B='z \\' C", &["A=\"x y\"", "B='z \\'", "C"]);
        check("a\\ b c", &["a\\ b", "c"]);
        check("a\"b \\\" c\" d", &["a\"b \\\" c\"", "d"]);
        check("a \"open b", &["a", "\"open b"]);
        check("a\\", &["a\\"]);
        check("''", &["''"]);
    }
}

//! Heredocs: the openers in a line, and the bodies below it.
//!
//! An opener is found by words, not by the grammar of a shell, as the other builders do it.

use crate::span::Span;
use crate::words::opener_words;

/// The longest run of digits that is taken as a file descriptor before `<<`.
const MAX_FD_DIGITS: usize = 9;

/// A heredoc with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The body, from its first line to the line before its end; the opener's line if the
    /// body is empty.
    pub at: Span,
    /// The end word, without quotes; also the name of the file in `COPY`.
    pub name: String,
    /// Whether variables in the body are to be expanded: the opener had no quotes.
    pub expand: bool,
    /// Whether `<<-` was written: tabs at the start of each line do not count.
    pub chomp: bool,
    /// The digits before `<<`, as a number.
    pub fd: Option<u32>,
    /// The lines as they stand in the file, each with a line end. Empty without lines.
    pub body: String,
}

impl Heredoc {
    /// Returns the body as it counts: without the tabs that `<<-` takes off.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }

    /// Returns whether the content starts with `#!`, which makes it a program of its own.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.content().starts_with("#!")
    }
}

/// An opener: everything of a [`Heredoc`] but its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opener {
    pub name: String,
    pub expand: bool,
    pub chomp: bool,
    pub fd: Option<u32>,
}

/// Finds the openers among the words of a line, in order.
pub(crate) fn find_openers(line: &str) -> Vec<Opener> {
    opener_words(line)
        .into_iter()
        .filter_map(parse_opener)
        .collect()
}

/// Reads a whole word as an opener: digits, `<<`, an optional `-`, a name without `<`.
pub(crate) fn parse_opener(word: &str) -> Option<Opener> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    if digits > MAX_FD_DIGITS {
        return None;
    }
    let fd = word[..digits].parse().ok();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') || opener_words(rest).len() != 1 {
        return None;
    }
    let (name, quoted) = unquote(rest)?;
    if name.is_empty() {
        return None;
    }
    Some(Opener {
        name,
        expand: !quoted,
        chomp,
        fd,
    })
}

/// Takes quotes and escapes off, saying whether there were any; none if a quote stays open.
fn unquote(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                quoted = true;
            }
            (Some(open), _) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                quoted = true;
                name.extend(chars.next());
            }
            _ => name.push(c),
        }
    }
    quote.is_none().then_some((name, quoted))
}

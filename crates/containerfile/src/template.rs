//! Words with variables: read once, expanded as often as values are known.
//!
//! The syntax is that of a POSIX shell reduced to what the builders offer: quotes, the
//! escape character, `$NAME`, `${NAME}` and `${NAME<modifier>…}`. There is no command
//! substitution and no arithmetic.

use std::fmt;

use crate::pattern::{Pattern, Reach, Where};
use crate::span::Span;

/// The deepest nesting of `${…${…}…}`.
const MAX_DEPTH: u32 = 100;
/// The most bytes one expansion may yield.
const MAX_EXPANDED: usize = 16 << 20;

/// The escape character of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escape {
    /// The usual one.
    #[default]
    Backslash,
    /// Chosen by `# escape=` for files full of Windows paths.
    Backtick,
}

impl Escape {
    /// Returns the character.
    #[must_use]
    pub fn as_char(self) -> char {
        match self {
            Escape::Backslash => '\\',
            Escape::Backtick => '`',
        }
    }
}

/// By which rules a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TemplateKind {
    /// A word of an instruction: quotes are taken off, the escape character takes the next
    /// character literally.
    Word,
    /// The body of a heredoc: quotes stay, and a backslash counts only before `$`.
    HeredocBody,
}

/// A text with variables, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    at: Span,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Text outside quotes: [`Template::expand_words`] splits it at blanks.
    Bare(String),
    /// Text from quotes or escapes.
    Quoted(String),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq)]
struct Variable {
    name: String,
    modifier: Modifier,
    /// Whether it stands in double quotes.
    quoted: bool,
}

/// When a variable counts as missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Unset,
    UnsetOrEmpty,
}

#[derive(Clone, Debug, PartialEq)]
enum Modifier {
    None,
    Default(Missing, Vec<Part>),
    Alternate(Missing, Vec<Part>),
    Require(Missing, Vec<Part>),
    TrimPrefix(Reach, Vec<Part>),
    TrimSuffix(Reach, Vec<Part>),
    Replace(Where, Vec<Part>, Vec<Part>),
}

/// A text that is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A single quote stays open.
    SingleQuote,
    /// A double quote stays open.
    DoubleQuote,
    /// The text ends inside `${…`.
    Brace {
        /// The text from `${` on.
        text: String,
    },
    /// A closing brace or a known modifier was expected behind the name.
    Missing {
        /// The text from `${` on.
        text: String,
    },
    /// The modifier is not one of the known ones.
    Modifier {
        /// The characters of the modifier.
        modifier: String,
        /// The text from `${` on.
        text: String,
    },
    /// There is no name behind `${`.
    Name {
        /// The text from `${` on.
        text: String,
    },
    /// Substitutions are nested too deep.
    Depth,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OPEN: &str = "unexpected end of statement while looking for matching";
        match self {
            TemplateError::SingleQuote => write!(f, "{OPEN} single-quote"),
            TemplateError::DoubleQuote => write!(f, "{OPEN} double-quote"),
            TemplateError::Brace { .. } => write!(f, "{OPEN} }}"),
            TemplateError::Missing { text } => {
                write!(
                    f,
                    "Missing ':' or '#' or '%' or '/' in substitution: {text}"
                )
            }
            TemplateError::Modifier { modifier, text } => {
                write!(
                    f,
                    "Unsupported modifier ({modifier}) in substitution: {text}"
                )
            }
            TemplateError::Name { text } => write!(f, "bad substitution: {text}"),
            TemplateError::Depth => {
                write!(f, "substitutions are nested deeper than {MAX_DEPTH} levels")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// Why a template has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpandError {
    /// `${NAME?message}` or `${NAME:?message}` of a variable that is missing.
    Required {
        /// The variable.
        name: String,
        /// The expanded message, or a default one.
        message: String,
    },
    /// The result would be longer than the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExpandError::Required { name, message } => write!(f, "{name}: {message}"),
            ExpandError::TooLong { limit } => {
                write!(f, "the expanded text is longer than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for ExpandError {}

/// Returns the value of a variable, or none if it is not set.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Template {
    /// Reads `text`, which stands at `at`.
    ///
    /// # Errors
    /// Open quotes and braces, unknown modifiers.
    pub fn parse(
        text: &str,
        escape: Escape,
        kind: TemplateKind,
        at: Span,
    ) -> Result<Template, TemplateError> {
        let escape = match kind {
            TemplateKind::Word => escape.as_char(),
            TemplateKind::HeredocBody => '\\',
        };
        let mut reader = Reader {
            rest: text,
            escape,
            kind,
            depth: 0,
        };
        let mut parts = Parts::default();
        reader.until(&[], Escapes::Taken, &mut parts)?;
        Ok(Template {
            text: text.to_owned(),
            at,
            parts: parts.finish(),
        })
    }

    /// Returns a template of `text` as it is: nothing in it is special.
    #[must_use]
    pub fn literal(text: &str, at: Span) -> Template {
        let parts = vec![Part::Quoted(text.to_owned())];
        Template {
            text: text.to_owned(),
            at,
            parts,
        }
    }

    /// Returns the text as written, quotes included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns where the text stands.
    #[must_use]
    pub fn at(&self) -> Span {
        self.at
    }

    /// Returns the value of a template without variables.
    #[must_use]
    pub fn as_literal(&self) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Bare(text) | Part::Quoted(text) => out.push_str(text),
                Part::Variable(_) => return None,
            }
        }
        Some(out)
    }

    /// Returns the names of all variables in it, each once, in order of appearance, those
    /// inside modifiers included.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect_names(&self.parts, &mut names);
        names
    }

    /// Returns the text with every variable replaced; `lookup` yields the value of a name,
    /// or none when it is not set, which counts as empty text.
    ///
    /// # Errors
    /// A required variable is missing, or the result passes 16 MiB.
    pub fn expand(&self, lookup: Lookup<'_>) -> Result<String, ExpandError> {
        let mut out = String::new();
        for piece in pieces(&self.parts, lookup)? {
            out.push_str(&piece.text);
        }
        limited(out)
    }

    /// Returns the words of the expanded text: it is split at blanks, also at those that
    /// came out of a variable, but not at blanks in quotes.
    ///
    /// # Errors
    /// Those of [`Template::expand`].
    pub fn expand_words(&self, lookup: Lookup<'_>) -> Result<Vec<String>, ExpandError> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        for piece in pieces(&self.parts, lookup)? {
            if piece.quoted {
                word.get_or_insert_default().push_str(&piece.text);
                continue;
            }
            for c in piece.text.chars() {
                if c.is_whitespace() {
                    words.extend(word.take());
                } else {
                    word.get_or_insert_default().push(c);
                }
            }
        }
        words.extend(word);
        Ok(words)
    }
}

fn collect_names<'a>(parts: &'a [Part], names: &mut Vec<&'a str>) {
    for part in parts {
        let Part::Variable(variable) = part else {
            continue;
        };
        if !names.contains(&variable.name.as_str()) {
            names.push(&variable.name);
        }
        match &variable.modifier {
            Modifier::None => {}
            Modifier::Default(_, word)
            | Modifier::Alternate(_, word)
            | Modifier::Require(_, word)
            | Modifier::TrimPrefix(_, word)
            | Modifier::TrimSuffix(_, word) => collect_names(word, names),
            Modifier::Replace(_, pattern, replacement) => {
                collect_names(pattern, names);
                collect_names(replacement, names);
            }
        }
    }
}

struct Piece {
    text: String,
    quoted: bool,
}

fn pieces(parts: &[Part], lookup: Lookup<'_>) -> Result<Vec<Piece>, ExpandError> {
    let mut pieces = Vec::new();
    let mut total = 0;
    for part in parts {
        let piece = match part {
            Part::Bare(text) => Piece {
                text: text.clone(),
                quoted: false,
            },
            Part::Quoted(text) => Piece {
                text: text.clone(),
                quoted: true,
            },
            Part::Variable(variable) => Piece {
                text: variable.expand(lookup)?,
                quoted: variable.quoted,
            },
        };
        total += piece.text.len();
        if total > MAX_EXPANDED {
            return Err(ExpandError::TooLong {
                limit: MAX_EXPANDED,
            });
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

fn joined(parts: &[Part], lookup: Lookup<'_>) -> Result<String, ExpandError> {
    Ok(pieces(parts, lookup)?
        .into_iter()
        .map(|piece| piece.text)
        .collect())
}

fn limited(text: String) -> Result<String, ExpandError> {
    if text.len() > MAX_EXPANDED {
        return Err(ExpandError::TooLong {
            limit: MAX_EXPANDED,
        });
    }
    Ok(text)
}

impl Variable {
    fn expand(&self, lookup: Lookup<'_>) -> Result<String, ExpandError> {
        let value = lookup(&self.name);
        let missing = |missing: Missing| match (&value, missing) {
            (None, _) => true,
            (Some(value), Missing::UnsetOrEmpty) => value.is_empty(),
            (Some(_), Missing::Unset) => false,
        };
        match &self.modifier {
            Modifier::None => limited(value.unwrap_or_default()),
            Modifier::Default(when, word) if missing(*when) => joined(word, lookup),
            Modifier::Default(..) => limited(value.unwrap_or_default()),
            Modifier::Alternate(when, _) if missing(*when) => Ok(String::new()),
            Modifier::Alternate(_, word) => joined(word, lookup),
            Modifier::Require(when, word) if missing(*when) => {
                let mut message = joined(word, lookup)?;
                if message.is_empty() {
                    let state = if value.is_none() { "unset" } else { "empty" };
                    message = format!("is not allowed to be {state}");
                }
                Err(ExpandError::Required {
                    name: self.name.clone(),
                    message,
                })
            }
            Modifier::Require(..) => limited(value.unwrap_or_default()),
            Modifier::TrimPrefix(reach, word) => {
                let pattern = Pattern::new(&joined(word, lookup)?);
                limited(pattern.trim_prefix(&value.unwrap_or_default(), *reach))
            }
            Modifier::TrimSuffix(reach, word) => {
                let pattern = Pattern::new(&joined(word, lookup)?);
                limited(pattern.trim_suffix(&value.unwrap_or_default(), *reach))
            }
            Modifier::Replace(place, pattern, replacement) => {
                let Some(value) = value else {
                    return Ok(String::new());
                };
                let pattern = Pattern::new(&joined(pattern, lookup)?);
                let replacement = joined(replacement, lookup)?;
                // Each character may be replaced, and there is one more place behind them.
                let longest = (value.len() + 1).saturating_mul(replacement.len() + 1);
                if place == &Where::All && longest > MAX_EXPANDED {
                    return Err(ExpandError::TooLong {
                        limit: MAX_EXPANDED,
                    });
                }
                limited(pattern.replace(&value, &replacement, *place))
            }
        }
    }
}

/// Whether escape characters are taken off or left for the pattern to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Taken,
    Left,
}

/// Collects parts, joining neighbours of one kind.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn bare(&mut self, c: char) {
        match self.0.last_mut() {
            Some(Part::Bare(text)) => text.push(c),
            _ => self.0.push(Part::Bare(c.to_string())),
        }
    }

    fn quoted(&mut self, c: char) {
        self.open_quote();
        if let Some(Part::Quoted(text)) = self.0.last_mut() {
            text.push(c);
        }
    }

    /// Makes sure that quotes around nothing count as a word.
    fn open_quote(&mut self) {
        if !matches!(self.0.last(), Some(Part::Quoted(_))) {
            self.0.push(Part::Quoted(String::new()));
        }
    }

    fn finish(self) -> Vec<Part> {
        self.0
    }
}

struct Reader<'a> {
    rest: &'a str,
    escape: char,
    kind: TemplateKind,
    depth: u32,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.next();
        }
        found
    }

    /// Reads up to one of the characters in `stops`, which is taken and returned; none at
    /// the end of the text.
    fn until(
        &mut self,
        stops: &[char],
        escapes: Escapes,
        parts: &mut Parts,
    ) -> Result<Option<char>, TemplateError> {
        while let Some(c) = self.next() {
            if stops.contains(&c) {
                return Ok(Some(c));
            }
            let word = self.kind == TemplateKind::Word;
            match c {
                '\'' if word => self.single_quotes(parts)?,
                '"' if word => self.double_quotes(parts)?,
                '$' => self.dollar(parts, false)?,
                c if c == self.escape && escapes == Escapes::Left => {
                    // The pattern reads backslashes, whichever character the file uses.
                    parts.bare('\\');
                    self.next().into_iter().for_each(|c| parts.bare(c));
                }
                c if c == self.escape && word => {
                    self.next().into_iter().for_each(|c| parts.quoted(c));
                }
                c if c == self.escape && (self.peek() == Some('$') || !stops.is_empty()) => {
                    match self.next() {
                        Some(next) if next == '$' || stops.contains(&next) => parts.quoted(next),
                        next => {
                            parts.bare(c);
                            next.into_iter().for_each(|c| parts.bare(c));
                        }
                    }
                }
                c => parts.bare(c),
            }
        }
        Ok(None)
    }

    fn single_quotes(&mut self, parts: &mut Parts) -> Result<(), TemplateError> {
        parts.open_quote();
        loop {
            match self.next() {
                None => return Err(TemplateError::SingleQuote),
                Some('\'') => return Ok(()),
                Some(c) => parts.quoted(c),
            }
        }
    }

    fn double_quotes(&mut self, parts: &mut Parts) -> Result<(), TemplateError> {
        parts.open_quote();
        loop {
            match self.next() {
                None => return Err(TemplateError::DoubleQuote),
                Some('"') => return Ok(()),
                Some('$') => self.dollar(parts, true)?,
                Some(c) if c == self.escape => match self.peek() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        self.next();
                        parts.quoted(next);
                    }
                    Some(_) => parts.quoted(c),
                    None => {}
                },
                Some(c) => parts.quoted(c),
            }
        }
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self, parts: &mut Parts, quoted: bool) -> Result<(), TemplateError> {
        let from = self.rest;
        if !self.eat('{') {
            match self.name() {
                Some(name) => parts.0.push(Part::Variable(Variable {
                    name: name.to_owned(),
                    modifier: Modifier::None,
                    quoted,
                })),
                None if self.special() => {}
                None if quoted => parts.quoted('$'),
                None => parts.bare('$'),
            }
            return Ok(());
        }
        let shown = |rest: &str| {
            let length = from.len() - rest.len();
            format!("${}", &from[..length])
        };
        let Some(name) = self.name().or_else(|| self.digits()) else {
            let at_end = from.find('}').map_or("", |at| &from[at + 1..]);
            return Err(TemplateError::Name {
                text: shown(at_end),
            });
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::Depth);
        }
        let modifier = self.modifier(from)?;
        self.depth -= 1;
        let name = name.to_owned();
        parts.0.push(Part::Variable(Variable {
            name,
            modifier,
            quoted,
        }));
        Ok(())
    }

    /// Reads a name: letters, digits and `_`, not starting with a digit.
    fn name(&mut self) -> Option<&'a str> {
        if self.peek().is_some_and(char::is_numeric) {
            return None;
        }
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    /// Reads the number of a shell's argument, which is never set here.
    fn digits(&mut self) -> Option<&'a str> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (name, rest) = self.rest.split_at(digits);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    /// Takes the parameters that a shell sets itself (`$1`, `$@`, `$$`) where they have no
    /// value. In words Buildah knows only single digits and leaves the others as text; the
    /// bodies of heredocs it expands with BuildKit's rules.
    fn special(&mut self) -> bool {
        if self.kind == TemplateKind::HeredocBody && self.digits().is_some() {
            return true;
        }
        let found = self.peek().is_some_and(|c| match self.kind {
            TemplateKind::Word => c.is_ascii_digit(),
            TemplateKind::HeredocBody => "@*#?-$!".contains(c),
        });
        if found {
            self.next();
        }
        found
    }

    /// Reads what stands between the name and the closing brace, which is taken.
    fn modifier(&mut self, from: &str) -> Result<Modifier, TemplateError> {
        let text = || format!("${from}");
        let unknown = |modifier: String| {
            Err(TemplateError::Modifier {
                modifier,
                text: text(),
            })
        };
        match self.next() {
            Some('}') => Ok(Modifier::None),
            None => Err(TemplateError::Missing { text: text() }),
            Some(':') => match self.next() {
                Some('-') => Ok(Modifier::Default(Missing::UnsetOrEmpty, self.word(from)?)),
                Some('+') => Ok(Modifier::Alternate(Missing::UnsetOrEmpty, self.word(from)?)),
                Some('?') => Ok(Modifier::Require(Missing::UnsetOrEmpty, self.word(from)?)),
                Some(c) => unknown(format!(":{c}")),
                None => Err(TemplateError::Brace { text: text() }),
            },
            Some('-') => Ok(Modifier::Default(Missing::Unset, self.word(from)?)),
            Some('+') => Ok(Modifier::Alternate(Missing::Unset, self.word(from)?)),
            Some('?') => Ok(Modifier::Require(Missing::Unset, self.word(from)?)),
            Some('#') => {
                let reach = if self.eat('#') {
                    Reach::Longest
                } else {
                    Reach::Shortest
                };
                Ok(Modifier::TrimPrefix(reach, self.pattern(from)?))
            }
            Some('%') => {
                let reach = if self.eat('%') {
                    Reach::Longest
                } else {
                    Reach::Shortest
                };
                Ok(Modifier::TrimSuffix(reach, self.pattern(from)?))
            }
            Some('/') => self.replacement(from),
            Some(_) => Err(TemplateError::Missing { text: text() }),
        }
    }

    fn word(&mut self, from: &str) -> Result<Vec<Part>, TemplateError> {
        self.inner(from, &['}'], Escapes::Taken)
            .map(|(parts, _)| parts)
    }

    fn pattern(&mut self, from: &str) -> Result<Vec<Part>, TemplateError> {
        self.inner(from, &['}'], Escapes::Left)
            .map(|(parts, _)| parts)
    }

    fn inner(
        &mut self,
        from: &str,
        stops: &[char],
        escapes: Escapes,
    ) -> Result<(Vec<Part>, char), TemplateError> {
        let mut parts = Parts::default();
        match self.until(stops, escapes, &mut parts)? {
            Some(stop) => Ok((parts.finish(), stop)),
            None => Err(TemplateError::Brace {
                text: format!("${from}"),
            }),
        }
    }

    fn replacement(&mut self, from: &str) -> Result<Modifier, TemplateError> {
        let place = match self.peek() {
            Some('/') => Where::All,
            Some('#') => Where::Start,
            Some('%') => Where::End,
            _ => Where::First,
        };
        if place != Where::First {
            self.next();
        }
        let (pattern, stop) = self.inner(from, &['/', '}'], Escapes::Left)?;
        let replacement = if stop == '/' {
            self.word(from)?
        } else {
            Vec::new()
        };
        Ok(Modifier::Replace(place, pattern, replacement))
    }
}

//! Where something stands: files, lines and columns.
//!
//! Lines and columns count from one; a column counts characters, not bytes, so that carets
//! can be drawn below the text.

use std::fmt;

/// Which of the joined files a [`Span`] points into: the index of the [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A place in a file: line and column, both counted from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The physical line, from 1.
    pub line: u32,
    /// The character within the line, from 1.
    pub column: u32,
}

impl Default for Position {
    fn default() -> Self {
        Position { line: 1, column: 1 }
    }
}

/// A stretch of one file; `end` is just behind the last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub source: SourceId,
    /// The first character.
    pub start: Position,
    /// The place behind the last character.
    pub end: Position,
}

impl Span {
    /// Returns the span from the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span {
            end: other.end.max(self.end),
            ..self
        }
    }

    /// Returns the line of the first character, counted from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.start.line
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// One file as it was read: its name and its physical lines without their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    lines: Vec<String>,
    not_utf8: Vec<u32>,
}

impl Source {
    pub(crate) fn new(name: &str, text: &[u8]) -> Source {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut lines = Vec::new();
        let mut not_utf8 = Vec::new();
        let ended = text.strip_suffix(b"\n").unwrap_or(text);
        if !text.is_empty() {
            for (index, line) in ended.split(|byte| *byte == b'\n').enumerate() {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if std::str::from_utf8(line).is_err() {
                    not_utf8.push(u32::try_from(index + 1).unwrap_or(u32::MAX));
                }
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        Source {
            name: name.to_owned(),
            lines,
            not_utf8,
        }
    }

    /// Returns the name the caller gave to the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the lines, without line ends and byte-order mark.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the numbers of the lines that held bytes which are not UTF-8; those bytes
    /// were replaced by U+FFFD.
    pub(crate) fn not_utf8(&self) -> &[u32] {
        &self.not_utf8
    }
}

/// The files of one parse, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    pub(crate) fn push(&mut self, source: Source) -> SourceId {
        let id = SourceId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(source);
        id
    }

    /// Returns the file with this number.
    #[must_use]
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.files.get(id.0 as usize)
    }

    /// Returns the name of the file with this number, or an empty text.
    #[must_use]
    pub fn name(&self, id: SourceId) -> &str {
        self.get(id).map_or("", Source::name)
    }

    /// Iterates over the files.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// Returns `file:line:column` of the first character of `span`.
    #[must_use]
    pub fn locate(&self, span: Span) -> String {
        format!("{}:{}", self.name(span.source), span.start)
    }

    /// Returns whether both ends of `span` lie within its file.
    #[must_use]
    pub fn contains(&self, span: Span) -> bool {
        let Some(source) = self.get(span.source) else {
            return false;
        };
        let within = |at: Position| {
            let line = source.lines.get((at.line as usize).wrapping_sub(1));
            let start_of_nothing = source.lines.is_empty() && at == Position::default();
            start_of_nothing
                || line.is_some_and(|text| {
                    at.column >= 1 && at.column as usize <= text.chars().count() + 1
                })
        };
        within(span.start) && within(span.end) && span.start <= span.end
    }

    /// Returns the source line of `span` with carets below it, framed by a line number:
    /// three lines, the last without a line end. Empty if there is no such line.
    ///
    /// A span that goes on over several lines is underlined to the end of its first line.
    #[must_use]
    pub fn excerpt(&self, span: Span) -> String {
        let Some(source) = self.get(span.source) else {
            return String::new();
        };
        let index = (span.start.line as usize).wrapping_sub(1);
        let Some(text) = source.lines.get(index) else {
            return String::new();
        };
        let length = text.chars().count();
        let start = (span.start.column as usize).saturating_sub(1).min(length);
        let end = if span.end.line == span.start.line {
            (span.end.column as usize).saturating_sub(1).min(length)
        } else {
            length
        };
        let number = span.start.line.to_string();
        let margin = " ".repeat(number.len());
        // A tab before the caret stays a tab, so that the caret lands below its character.
        let pad: String = text
            .chars()
            .take(start)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(end.saturating_sub(start).max(1));
        format!("{margin} |\n{number} | {text}\n{margin} | {pad}{carets}")
    }
}

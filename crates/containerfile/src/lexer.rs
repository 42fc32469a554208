//! Physical lines in, logical lines out: comments, continuations, directives and heredoc
//! bodies.
//!
//! Knows of instructions only which of them may carry a heredoc. Every byte of a logical
//! line can be traced back to where it stands in the file.

use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::heredoc::{Heredoc, Opener, find_openers};
use crate::json;
use crate::op::{Directives, Keyword, split_keyword};
use crate::span::{Position, Source, SourceId, Span};
use crate::template::Escape;
use crate::words::take_flags;

/// One instruction as text: the line with its continuations joined.
#[derive(Clone, Debug)]
pub(crate) struct LogicalLine {
    pub text: String,
    pub heredocs: Vec<Heredoc>,
    /// The line and the heredocs below it.
    pub whole: Span,
    source: SourceId,
    chunks: Vec<Chunk>,
}

/// A part of a logical line that stands in one physical line.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Where it starts in the logical line, in bytes.
    offset: usize,
    /// Where it starts in the file.
    at: Position,
}

impl LogicalLine {
    /// Returns where a range of the text stands in the file.
    pub fn span(&self, range: &Range<usize>) -> Span {
        let start = self.position(range.start, false);
        let end = self.position(range.end, range.end > range.start);
        Span {
            source: self.source,
            start,
            end: end.max(start),
        }
    }

    /// Returns the span of the text without the blanks around it.
    pub fn text_span(&self) -> Span {
        let start = self.text.len() - self.text.trim_start().len();
        self.span(&(start..self.text.trim_end().len().max(start)))
    }

    /// An offset at the seam of two chunks belongs to the first as an end, to the second
    /// as a start.
    fn position(&self, offset: usize, is_end: bool) -> Position {
        let before = |chunk: &&Chunk| {
            chunk.offset < offset || (chunk.offset == offset && !is_end) || chunk.offset == 0
        };
        let chunk = self.chunks.iter().rev().find(before);
        let Some(chunk) = chunk else {
            return Position::default();
        };
        let inside = &self.text[chunk.offset..offset];
        Position {
            line: chunk.at.line,
            column: chunk.at.column + count(inside),
        }
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// The result of [`lex`]. Directives are those of this file.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    pub lines: Vec<LogicalLine>,
    pub directives: Directives,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the directives at the top of a file.
pub(crate) fn directives(id: SourceId, source: &Source, out: &mut Lexed) {
    let mut escape_seen = false;
    for (index, line) in source.lines().iter().enumerate() {
        let Some((name, value)) = directive(line) else {
            return;
        };
        let number = line_number(index);
        let span = Span {
            source: id,
            start: Position {
                line: number,
                column: 1,
            },
            end: Position {
                line: number,
                column: count(line.trim_end()) + 1,
            },
        };
        let seen = match name.as_str() {
            "escape" => std::mem::replace(&mut escape_seen, true),
            "syntax" => out.directives.syntax.replace(value.to_owned()).is_some(),
            "check" => out.directives.check.replace(value.to_owned()).is_some(),
            _ => return,
        };
        if seen {
            let message = format!("only one {name} parser directive can be used");
            out.diagnostics.push(Diagnostic::error(span, message));
        } else if name == "escape" {
            match value {
                "\\" => out.directives.escape = Escape::Backslash,
                "`" => out.directives.escape = Escape::Backtick,
                _ => {
                    let message = format!("invalid ESCAPE '{value}'. Must be ` or \\");
                    out.diagnostics.push(Diagnostic::error(span, message));
                }
            }
        }
    }
}

/// Reads `# name=value`; the name comes back in lower case.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (word && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

fn line_number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// Cuts a file into logical lines.
pub(crate) fn lines(id: SourceId, source: &Source, escape: Escape, out: &mut Lexed) {
    let mut lexer = Lexer {
        id,
        source,
        escape: escape.as_char(),
        at: 0,
    };
    while let Some(mut line) = lexer.logical_line() {
        for opener in openers(&line.text) {
            match lexer.heredoc(opener, line.text_span()) {
                Ok(heredoc) => line.heredocs.push(heredoc),
                Err(diagnostic) => out.diagnostics.push(*diagnostic),
            }
        }
        line.whole = lexer.up_to_here(line.text_span());
        out.lines.push(line);
    }
}

/// Returns the openers in an instruction that may carry heredocs and is not in JSON form.
fn openers(line: &str) -> Vec<Opener> {
    let (mut word, mut rest) = split_keyword(line);
    if Keyword::parse(word) == Some(Keyword::OnBuild) {
        (word, rest) = split_keyword(rest);
    }
    let allowed = matches!(
        Keyword::parse(word),
        Some(Keyword::Run | Keyword::Copy | Keyword::Add)
    );
    let (_, behind_flags) = take_flags(rest);
    if !allowed || json::parse_array(&rest[behind_flags..]).is_some() {
        return Vec::new();
    }
    find_openers(rest)
}

struct Lexer<'a> {
    id: SourceId,
    source: &'a Source,
    escape: char,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn next_line(&mut self) -> Option<(u32, &'a str)> {
        let line = self.source.lines().get(self.at)?;
        self.at += 1;
        Some((line_number(self.at - 1), line))
    }

    /// Returns the next instruction without its heredocs; blank ones are passed over.
    fn logical_line(&mut self) -> Option<LogicalLine> {
        loop {
            let (number, physical) = self.next_line()?;
            let trimmed = physical.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let mut line = LogicalLine {
                text: String::new(),
                heredocs: Vec::new(),
                whole: Span::default(),
                source: self.id,
                chunks: Vec::new(),
            };
            let indent = &physical[..physical.len() - trimmed.len()];
            let mut goes_on = self.append(&mut line, number, trimmed, count(indent) + 1);
            while goes_on {
                let Some((number, physical)) = self.next_line() else {
                    break;
                };
                let trimmed = physical.trim_start();
                if trimmed.is_empty() || trimmed.starts_with('#') {
                    continue;
                }
                goes_on = self.append(&mut line, number, physical, 1);
            }
            if !line.text.trim().is_empty() {
                return Some(line);
            }
        }
    }

    /// Appends a physical line without its continuation mark; returns whether it had one.
    fn append(&self, line: &mut LogicalLine, number: u32, text: &str, column: u32) -> bool {
        let bare = text.trim_end_matches([' ', '\t']).strip_suffix(self.escape);
        line.chunks.push(Chunk {
            offset: line.text.len(),
            at: Position {
                line: number,
                column,
            },
        });
        line.text.push_str(bare.unwrap_or(text));
        bare.is_some()
    }

    /// Reads the body of a heredoc from the lines that follow.
    fn heredoc(&mut self, opener: Opener, line: Span) -> Result<Heredoc, Box<Diagnostic>> {
        let mut body = String::new();
        let mut at: Option<Span> = None;
        while let Some((number, text)) = self.next_line() {
            let candidate = if opener.chomp {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if candidate == opener.name {
                let Opener {
                    name,
                    expand,
                    chomp,
                    fd,
                } = opener;
                let at = at.unwrap_or(line);
                return Ok(Heredoc {
                    at,
                    name,
                    expand,
                    chomp,
                    fd,
                    body,
                });
            }
            let here = Span {
                source: self.id,
                start: Position {
                    line: number,
                    column: 1,
                },
                end: Position {
                    line: number,
                    column: count(text) + 1,
                },
            };
            at = Some(at.map_or(here, |at| at.to(here)));
            body.push_str(text);
            body.push('\n');
        }
        let message = format!(
            "parsing main Dockerfile: {}: {}: unterminated heredoc",
            self.source.name(),
            opener.name
        );
        let help = format!("end the body with a line that is exactly {}", opener.name);
        Err(Box::new(Diagnostic::error(line, message).with_help(help)))
    }

    /// Returns `line` widened to the last physical line taken.
    fn up_to_here(&self, line: Span) -> Span {
        let last = self.at.saturating_sub(1);
        let width = self.source.lines().get(last).map_or(0, |text| count(text));
        let end = Position {
            line: line_number(last),
            column: width + 1,
        };
        // Comments below a continuation that the file ends in belong to nothing.
        Span {
            end: end.max(line.end),
            ..line
        }
    }
}

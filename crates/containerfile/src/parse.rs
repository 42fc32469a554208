//! Logical lines in, stages and steps out.
//!
//! Everything that can be known without values is checked here, so that a build fails
//! before its first step. An instruction with an error is left out of the tree.

mod instruction;
mod pairs;
mod sources;

use crate::diagnostic::{Diagnostic, Severity};
use crate::lexer::{self, Lexed, LogicalLine};
use crate::op::{ArgDecl, Containerfile, Directives, Keyword, Op, Stage, Step};
use crate::span::{Source, SourceId, Sources, Span};
use crate::template::Escape;

pub(crate) use instruction::Instruction;

/// A file to parse.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The name in messages.
    pub name: &'a str,
    /// The content.
    pub text: &'a [u8],
}

/// What [`parse`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The tree, without the instructions that have errors.
    pub containerfile: Containerfile,
    /// All findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The files, for messages.
    pub sources: Sources,
}

impl Parsed {
    /// Returns whether the file cannot be built.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.first_error().is_some()
    }

    /// Returns the first finding that is an error.
    #[must_use]
    pub fn first_error(&self) -> Option<&Diagnostic> {
        self.diagnostics
            .iter()
            .find(|found| found.severity == Severity::Error)
    }
}

/// Parses files that are joined in the given order. Directives are read from the first;
/// a continuation or heredoc does not reach into the next file.
#[must_use]
pub fn parse(inputs: &[Input<'_>]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut lexed = Lexed::default();
    for (index, input) in inputs.iter().enumerate() {
        let source = Source::new(input.name, input.text);
        let id = parsed.sources.push(source.clone());
        if source.lines().is_empty() {
            let message = format!("no contents in {:?}", input.name);
            lexed
                .diagnostics
                .push(Diagnostic::error(start_of(id), message));
            continue;
        }
        if index == 0 {
            lexer::directives(id, &source, &mut lexed);
        }
        let escape = lexed.directives.escape;
        lexer::lines(id, &source, escape, &mut lexed);
        warn_about_bytes(id, &source, &mut lexed);
    }
    let Lexed {
        lines,
        directives,
        diagnostics,
    } = lexed;
    let mut assembler = Assembler::new(directives, diagnostics, &parsed.sources);
    for line in &lines {
        assembler.line(line);
    }
    let errors = assembler
        .diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    if assembler.containerfile.stages.is_empty() && !errors {
        let found = Diagnostic::error(start_of(SourceId(0)), "building: no stages to build");
        assembler.diagnostics.push(found);
    }
    parsed.containerfile = assembler.containerfile;
    parsed.diagnostics = assembler.diagnostics;
    parsed
        .diagnostics
        .sort_by_key(|found| (found.span.source, found.span.start.line));
    parsed
}

/// Parses one file.
#[must_use]
pub fn parse_str(name: &str, text: &str) -> Parsed {
    parse(&[Input {
        name,
        text: text.as_bytes(),
    }])
}

/// Parses the stored text of an `ONBUILD` trigger into the step it makes. Spans point into
/// the text, whose name is `ONBUILD`.
///
/// # Errors
/// The findings, if one of them is an error or the text is not one instruction.
pub fn parse_trigger(text: &str) -> Result<Step, Vec<Diagnostic>> {
    let source = Source::new("ONBUILD", text.as_bytes());
    let mut lexed = Lexed::default();
    lexer::lines(SourceId(0), &source, Escape::Backslash, &mut lexed);
    let Lexed {
        lines,
        mut diagnostics,
        ..
    } = lexed;
    let mut sources = Sources::default();
    sources.push(source);
    let mut step = None;
    if let [line] = lines.as_slice() {
        step = Instruction::new(line, Escape::Backslash, &sources).trigger(&mut diagnostics);
    } else if diagnostics.is_empty() {
        let message = format!("the trigger {text:?} is not one instruction");
        diagnostics.push(Diagnostic::error(start_of(SourceId(0)), message));
    }
    match step {
        Some(step) if diagnostics.iter().all(|d| d.severity == Severity::Warning) => Ok(step),
        _ => Err(diagnostics),
    }
}

fn start_of(source: SourceId) -> Span {
    Span {
        source,
        ..Span::default()
    }
}

/// Bytes that are not UTF-8 cannot be kept in text; the author must know, unless they are
/// in a comment.
fn warn_about_bytes(id: SourceId, source: &Source, lexed: &mut Lexed) {
    for number in source.not_utf8() {
        let used = |line: &&LogicalLine| {
            line.whole.source == id
                && (line.whole.start.line..=line.whole.end.line).contains(number)
        };
        let text = &source.lines()[*number as usize - 1];
        let Some(line) = lexed.lines.iter().find(used) else {
            continue;
        };
        if line.heredocs.is_empty() && text.trim_start().starts_with('#') {
            continue;
        }
        let mut span = start_of(id);
        span.start.line = *number;
        span.end = span.start;
        let message = "bytes that are not UTF-8 are replaced by U+FFFD";
        lexed.diagnostics.push(Diagnostic::warning(span, message));
    }
}

struct Assembler<'a> {
    containerfile: Containerfile,
    diagnostics: Vec<Diagnostic>,
    sources: &'a Sources,
    /// Whether the message about a missing `FROM` was given, or a `FROM` was seen.
    from_seen: bool,
}

impl<'a> Assembler<'a> {
    fn new(directives: Directives, diagnostics: Vec<Diagnostic>, sources: &'a Sources) -> Self {
        let containerfile = Containerfile {
            directives,
            ..Containerfile::default()
        };
        Assembler {
            containerfile,
            diagnostics,
            sources,
            from_seen: false,
        }
    }

    fn line(&mut self, line: &LogicalLine) {
        let escape = self.containerfile.directives.escape;
        let instruction = Instruction::new(line, escape, self.sources);
        if instruction.keyword() == Some(Keyword::From) {
            self.from_seen = true;
            self.containerfile
                .stages
                .extend(instruction.stage(&mut self.diagnostics));
            return;
        }
        let in_stage = self.from_seen;
        if !in_stage && !matches!(instruction.keyword(), Some(Keyword::Arg) | None) {
            let message = "reading multiple stages: stage 1 requires a FROM instruction (\"\")";
            let found = Diagnostic::error(line.text_span(), message);
            self.diagnostics
                .push(found.with_help("only ARG may stand before the first FROM"));
            self.from_seen = true;
        }
        let Some(step) = instruction.step(&mut self.diagnostics) else {
            return;
        };
        match (in_stage, step.op, self.containerfile.stages.last_mut()) {
            (false, Op::Arg(decls), _) => self.global_args(decls),
            (true, op, Some(stage)) => stage.steps.push(Step { op, ..step }),
            // The FROM above was refused, so the file fails anyway.
            _ => {}
        }
    }

    fn global_args(&mut self, decls: Vec<ArgDecl>) {
        self.containerfile.global_args.extend(decls);
    }
}

impl Stage {
    fn new(at: Span, original: String, base: crate::Template) -> Stage {
        Stage {
            at,
            original,
            base,
            platform: None,
            after: Vec::new(),
            name: None,
            steps: Vec::new(),
        }
    }
}

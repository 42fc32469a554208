//! One logical line in, one step out.

use std::ops::Range;

use crate::command::Command;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expose::is_port;
use crate::health;
use crate::heredoc::parse_opener;
use crate::json;
use crate::lexer::LogicalLine;
use crate::mount::{RunMount, from_field};
use crate::op::{
    Keyword, MountText, Op, Run, RunForm, RunNetwork, RunSecurity, Stage, Step, Trigger,
    error_text, split_keyword,
};
use crate::signal::signal_number;
use crate::span::{Sources, Span};
use crate::template::{Escape, Template, TemplateError, TemplateKind};
use crate::words::{FlagWord, blank_words, take_flags};

const FROM_WORDS: &str = "FROM requires either one argument, or three: FROM <source> [AS <name>]";
const FROM_FLAGS: &str = "FROM only supports the --platform and --after flags";
const RUN_FLAGS: &str = "RUN only supports the --mount and --network flag";
const JSON_STRINGS: &str = "when using JSON array syntax, arrays must be comprised of strings only";

/// The longest distance of a word from a keyword that is offered instead.
const MAX_TYPOS: usize = 2;

pub(crate) type Failed<T> = Result<T, Box<Diagnostic>>;

/// A logical line cut into keyword and rest.
#[derive(Clone, Debug)]
pub(crate) struct Instruction<'a> {
    pub line: &'a LogicalLine,
    pub escape: Escape,
    pub sources: &'a Sources,
    word: Range<usize>,
    rest: Range<usize>,
}

impl<'a> Instruction<'a> {
    pub fn new(line: &'a LogicalLine, escape: Escape, sources: &'a Sources) -> Instruction<'a> {
        Instruction::within(line, escape, sources, 0)
    }

    fn within(
        line: &'a LogicalLine,
        escape: Escape,
        sources: &'a Sources,
        from: usize,
    ) -> Instruction<'a> {
        let text = &line.text[from..];
        let start = from + (text.len() - text.trim_start().len());
        let end = (from + text.trim_end().len()).max(start);
        let (word, rest) = split_keyword(&line.text[start..end]);
        let word = start..start + word.len();
        Instruction {
            line,
            escape,
            sources,
            word,
            rest: end - rest.len()..end,
        }
    }

    /// Returns the instruction behind `ONBUILD`.
    fn nested(&self) -> Instruction<'a> {
        Instruction::within(self.line, self.escape, self.sources, self.rest.start)
    }

    pub fn keyword(&self) -> Option<Keyword> {
        Keyword::parse(self.word_text())
    }

    fn word_text(&self) -> &'a str {
        &self.line.text[self.word.clone()]
    }

    /// Returns the name of the instruction in upper case.
    pub fn name(&self) -> String {
        self.word_text().to_uppercase()
    }

    pub fn rest(&self) -> &'a str {
        &self.line.text[self.rest.clone()]
    }

    pub fn rest_span(&self) -> Span {
        if self.rest.is_empty() {
            self.line.span(&self.word)
        } else {
            self.line.span(&self.rest)
        }
    }

    fn original(&self) -> String {
        self.line.text.trim_start().to_owned()
    }

    /// Makes an error that belongs to this step.
    pub fn fail(&self, at: Span, message: impl Into<String>) -> Box<Diagnostic> {
        let mut found = Diagnostic::error(at, message);
        found.step = Some(error_text(&self.line.text));
        Box::new(found)
    }

    /// Makes an error about the variables of a word.
    pub fn fail_resolve(&self, at: Span, cause: &TemplateError) -> Box<Diagnostic> {
        let (line, text) = (self.line.whole.line(), self.line.text.trim());
        let message = format!("resolving step {{Original:{text} StartLine:{line}}}: {cause}");
        Box::new(Diagnostic::error(at, message))
    }

    /// Makes an error that belongs to the file.
    pub fn fail_file(&self, at: Span, message: &str) -> Box<Diagnostic> {
        let name = self.sources.name(at.source);
        let message = format!("parsing main Dockerfile: {name}: {message}");
        Box::new(Diagnostic::error(at, message))
    }

    /// Reads the line as an instruction of a stage.
    pub fn step(&self, out: &mut Vec<Diagnostic>) -> Option<Step> {
        match self.op(out) {
            Ok(op) => Some(Step {
                at: self.line.whole,
                original: self.original(),
                heredocs: self.line.heredocs.clone(),
                op,
            }),
            Err(found) => {
                out.push(*found);
                None
            }
        }
    }

    /// Reads the line as the text of an `ONBUILD` trigger.
    pub fn trigger(&self, out: &mut Vec<Diagnostic>) -> Option<Step> {
        if let Err(found) = self.allowed_as_trigger() {
            out.push(*found);
            return None;
        }
        self.step(out)
    }

    fn op(&self, out: &mut Vec<Diagnostic>) -> Failed<Op> {
        let Some(keyword) = self.keyword() else {
            return Err(self.unknown());
        };
        let word = self.line.span(&self.word);
        match keyword {
            Keyword::From => Err(self.fail(word, "FROM must start a stage of its own")),
            Keyword::Add => self.add(out).map(Op::Add),
            Keyword::Copy => self.copy(out).map(Op::Copy),
            Keyword::Arg => self.arg().map(Op::Arg),
            Keyword::Env => self.pairs().map(Op::Env),
            Keyword::Label => self.pairs().map(Op::Label),
            Keyword::Cmd => self.command().map(Op::Cmd),
            Keyword::Entrypoint => self.command().map(Op::Entrypoint),
            Keyword::Expose => self.expose(out).map(Op::Expose),
            Keyword::Volume => self.volume().map(Op::Volume),
            Keyword::Healthcheck => self.healthcheck().map(Op::Healthcheck),
            Keyword::Maintainer => {
                self.single()?;
                Ok(Op::Maintainer(self.rest().to_owned()))
            }
            Keyword::OnBuild => self.onbuild(out).map(Op::OnBuild),
            Keyword::Run => self.run(out).map(Op::Run),
            Keyword::Shell => self.shell().map(Op::Shell),
            Keyword::StopSignal => self.stop_signal().map(Op::StopSignal),
            Keyword::User => self.single().map(Op::User),
            Keyword::Workdir => self.single().map(Op::Workdir),
        }
    }

    fn unknown(&self) -> Box<Diagnostic> {
        let name = self.name();
        let message = format!("Build error: Unknown instruction: {name:?}");
        let found = self.fail(self.line.span(&self.word), message);
        let near = Keyword::ALL
            .iter()
            .map(|k| (distance(&name, k.as_str()), k.as_str()))
            .min();
        match near {
            Some((typos, keyword)) if typos <= MAX_TYPOS => {
                Box::new(found.with_help(format!("did you mean {keyword}?")))
            }
            _ => found,
        }
    }

    /// Returns the flags, and the range of what follows them.
    pub fn flags(&self) -> (Vec<FlagWord>, Range<usize>) {
        let (mut flags, behind) = take_flags(self.rest());
        for flag in &mut flags {
            flag.range = self.rest.start + flag.range.start..self.rest.start + flag.range.end;
        }
        (flags, self.rest.start + behind..self.rest.end)
    }

    /// Returns the range of the rest of an instruction that has no flags.
    pub fn without_flags(&self) -> Failed<Range<usize>> {
        let (flags, rest) = self.flags();
        match flags.first() {
            Some(flag) => {
                let message = format!("unknown flag: --{}", flag.split().0);
                Err(self.fail(self.line.span(&flag.range), message))
            }
            None => Ok(rest),
        }
    }

    pub fn template(&self, text: &str, at: Span) -> Failed<Template> {
        Template::parse(text, self.escape, TemplateKind::Word, at)
            .map_err(|cause| self.fail_resolve(at, &cause))
    }

    /// Reads a range of the line as a word.
    pub fn word_at(&self, range: Range<usize>) -> Failed<Template> {
        let at = self.line.span(&range);
        self.template(&self.line.text[range], at)
    }

    /// Returns the words of a JSON array, or none if the text is not one.
    pub fn json(&self, range: &Range<usize>) -> Failed<Option<Vec<String>>> {
        match json::parse_array(&self.line.text[range.clone()]) {
            None => Ok(None),
            Some(Ok(words)) => Ok(Some(words)),
            Some(Err(json::NotStrings)) => Err(self.fail_file(self.line.span(range), JSON_STRINGS)),
        }
    }

    pub fn at_least_one(&self) -> Box<Diagnostic> {
        let message = format!("{} requires at least one argument", self.name());
        self.fail(self.rest_span(), message)
    }

    /// Reads the whole rest of the line as one word.
    fn single(&self) -> Failed<Template> {
        let range = self.without_flags()?;
        if range.is_empty() {
            let message = format!("{} requires exactly one argument", self.name());
            return Err(self.fail(self.rest_span(), message));
        }
        if self.keyword() == Some(Keyword::Maintainer) {
            return Ok(Template::literal(self.rest(), self.rest_span()));
        }
        self.word_at(range)
    }

    fn stop_signal(&self) -> Failed<Template> {
        let word = self.single()?;
        if let Some(Err(cause)) = word.as_literal().map(|name| signal_number(&name)) {
            return Err(self.fail(word.at(), cause.to_string()));
        }
        Ok(word)
    }

    fn command(&self) -> Failed<Command> {
        let range = self.without_flags()?;
        Ok(match self.json(&range)? {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.line.text[range].to_owned()),
        })
    }

    fn shell(&self) -> Failed<Vec<String>> {
        let range = self.without_flags()?;
        if range.is_empty() {
            return Err(self.at_least_one());
        }
        match self.json(&range)? {
            None => {
                let message = "SHELL requires the arguments to be in JSON form";
                let found = self.fail(self.rest_span(), message);
                Err(Box::new(
                    found.with_help("write SHELL [\"/bin/sh\", \"-c\"]"),
                ))
            }
            Some(words) if words.is_empty() => Err(self.at_least_one()),
            Some(words) => Ok(words),
        }
    }

    fn expose(&self, out: &mut Vec<Diagnostic>) -> Failed<Vec<Template>> {
        let range = self.without_flags()?;
        let words = self.words(range)?;
        for word in &words {
            let bad = word.as_literal().filter(|port| !is_port(port));
            if let Some(port) = bad {
                let message = format!("{port:?} is not a port number or a range of them");
                out.push(Diagnostic::warning(word.at(), message));
            }
        }
        Ok(words)
    }

    /// Reads words at blanks, at least one.
    fn words(&self, range: Range<usize>) -> Failed<Vec<Template>> {
        let words = blank_words(&self.line.text[range.clone()]);
        if words.is_empty() {
            return Err(self.at_least_one());
        }
        let shifted = words
            .into_iter()
            .map(|w| range.start + w.start..range.start + w.end);
        shifted.map(|word| self.word_at(word)).collect()
    }

    fn volume(&self) -> Failed<Vec<Template>> {
        let range = self.without_flags()?;
        let words = match self.json(&range)? {
            None => self.words(range)?,
            Some(words) if words.is_empty() => return Err(self.at_least_one()),
            Some(words) => {
                let at = self.line.span(&range);
                words
                    .iter()
                    .map(|word| self.template(word, at))
                    .collect::<Failed<Vec<_>>>()?
            }
        };
        for word in &words {
            if word.as_literal().is_some_and(|path| path.is_empty()) {
                let message = "Volume specified can not be an empty string";
                return Err(self.fail(word.at(), message));
            }
        }
        Ok(words)
    }

    fn healthcheck(&self) -> Failed<health::Healthcheck> {
        let (flags, range) = self.flags();
        if range.is_empty() {
            return Err(self.at_least_one());
        }
        let (kind, command) = split_keyword(&self.line.text[range.clone()]);
        let command = self
            .json(&(range.end - command.len()..range.end))?
            .map_or_else(|| Command::Shell(command.to_owned()), Command::Exec);
        let flags: Vec<_> = flags.iter().map(FlagWord::split).collect();
        health::decode(kind, command, &flags)
            .map_err(|cause| self.fail(self.rest_span(), cause.to_string()))
    }

    fn allowed_as_trigger(&self) -> Failed<()> {
        let message = match self.keyword() {
            Some(Keyword::OnBuild) => {
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()
            }
            Some(keyword @ (Keyword::From | Keyword::Maintainer)) => {
                format!("{} isn't allowed as an ONBUILD trigger", keyword.as_str())
            }
            _ => return Ok(()),
        };
        Err(self.fail(self.line.span(&self.word), message))
    }

    fn onbuild(&self, out: &mut Vec<Diagnostic>) -> Failed<Trigger> {
        if self.rest.is_empty() {
            return Err(self.at_least_one());
        }
        let nested = self.nested();
        nested.allowed_as_trigger()?;
        // The child's build decides whether the instruction is good: it may know more.
        let mut found = Vec::new();
        nested.step(&mut found);
        out.extend(found.into_iter().map(|found| Diagnostic {
            severity: Severity::Warning,
            message: format!(
                "this trigger will fail in a build from the image: {}",
                found.message
            ),
            step: None,
            ..found
        }));
        let mut text = self.rest().to_owned();
        for heredoc in &self.line.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        Ok(Trigger {
            text,
            keyword: nested.keyword(),
        })
    }

    fn run(&self, out: &mut Vec<Diagnostic>) -> Failed<Run> {
        let (flags, range) = self.flags();
        let mut run = Run {
            form: self.run_form(range)?,
            mounts: Vec::new(),
            network: None,
            security: RunSecurity::Sandbox,
            devices: Vec::new(),
        };
        self.warn_repeated(&flags, &["mount", "device"], out);
        for flag in &flags {
            let at = self.line.span(&flag.range);
            let fail = |cause: String| self.fail(at, cause);
            match flag.split() {
                ("mount", Some(value)) => run.mounts.push(self.mount(value, at)?),
                ("network", Some(value)) => {
                    let word = self.template(value, at)?;
                    if let Some(name) = word.as_literal() {
                        RunNetwork::parse(&name).map_err(|cause| fail(cause.to_string()))?;
                    }
                    run.network = Some(word);
                }
                ("security", Some(value)) => {
                    run.security =
                        RunSecurity::parse(value).map_err(|cause| fail(cause.to_string()))?;
                }
                ("device", Some(value)) => run.devices.push(self.template(value, at)?),
                _ => return Err(fail(RUN_FLAGS.to_owned())),
            }
        }
        Ok(run)
    }

    fn mount(&self, value: &str, at: Span) -> Failed<MountText> {
        let text = self.template(value, at)?;
        if let Some(literal) = text.as_literal() {
            RunMount::parse(&literal).map_err(|cause| self.fail(at, cause.to_string()))?;
        }
        let from = from_field(value)
            .map(|from| self.template(&from, at))
            .transpose()?;
        Ok(MountText { at, text, from })
    }

    fn run_form(&self, range: Range<usize>) -> Failed<RunForm> {
        if range.is_empty() {
            return Err(self.at_least_one());
        }
        if let Some(words) = self.json(&range)? {
            return if words.is_empty() {
                Err(self.at_least_one())
            } else {
                Ok(RunForm::Exec(words))
            };
        }
        let text = &self.line.text[range];
        match self.line.heredocs.as_slice() {
            [only] if parse_opener(text).is_some() => Ok(RunForm::Script(only.clone())),
            heredocs => {
                let mut text = text.to_owned();
                for heredoc in heredocs {
                    text.push('\n');
                    text.push_str(&heredoc.body);
                    text.push_str(&heredoc.name);
                }
                Ok(RunForm::Shell(text))
            }
        }
    }

    /// Says which flags are given twice though only one can count.
    pub fn warn_repeated(&self, flags: &[FlagWord], many: &[&str], out: &mut Vec<Diagnostic>) {
        for (index, flag) in flags.iter().enumerate() {
            let name = flag.split().0;
            let before = flags[..index].iter().any(|other| other.split().0 == name);
            if before && !many.contains(&name) {
                let message = format!("the flag --{name} is given more than once, the last counts");
                out.push(Diagnostic::warning(self.line.span(&flag.range), message));
            }
        }
    }

    /// Reads the line as the start of a stage.
    pub fn stage(&self, out: &mut Vec<Diagnostic>) -> Option<Stage> {
        self.from(out).map_err(|found| out.push(*found)).ok()
    }

    fn from(&self, out: &mut Vec<Diagnostic>) -> Failed<Stage> {
        let (flags, range) = self.flags();
        let text = &self.line.text[range.clone()];
        let shift = |word: Range<usize>| range.start + word.start..range.start + word.end;
        let words: Vec<_> = blank_words(text).into_iter().map(shift).collect();
        let (base, name) = match words.as_slice() {
            [] => return Err(self.fail(self.rest_span(), "FROM requires an argument")),
            [base] => (base, None),
            [base, word, name] if self.line.text[word.clone()].eq_ignore_ascii_case("as") => {
                (base, Some(self.line.text[name.clone()].to_owned()))
            }
            _ => return Err(self.fail(self.rest_span(), FROM_WORDS)),
        };
        let base = self.word_at(base.clone())?;
        let mut stage = Stage::new(self.line.whole, self.original(), base);
        stage.name = name;
        self.warn_repeated(&flags, &["after"], out);
        for flag in &flags {
            let at = self.line.span(&flag.range);
            match flag.split() {
                ("platform", Some(value)) => stage.platform = Some(self.template(value, at)?),
                ("after", Some(value)) => stage.after.push(self.template(value, at)?),
                _ => return Err(self.fail(at, FROM_FLAGS)),
            }
        }
        Ok(stage)
    }
}

/// Returns how many letters must be inserted, removed or changed to get from one word to
/// the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    // A long word is far from every keyword; no need to look at all of it.
    for (i, c) in from.chars().take(to.len() + MAX_TYPOS + 1).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let change = diagonal + usize::from(c != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

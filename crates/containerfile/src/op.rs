//! The tree: files, stages, steps and what each instruction says.
//!
//! Types are generic over a [`Phase`], which says what a word and a name are. Here words
//! are templates ([`Written`]); the solver has a phase of its own in which they are plain
//! text and names are graph nodes. The tree holds no behaviour of a build.

use std::fmt::Debug;

use crate::command::Command;
use crate::health::Healthcheck;
use crate::heredoc::Heredoc;
use crate::span::Span;
use crate::template::{Escape, Template};

/// What the variable parts of a step are at one stage of its life.
pub trait Phase: Clone + Debug + PartialEq + 'static {
    /// Text that variables are expanded in.
    type Word: Clone + Debug + PartialEq;
    /// The name of a stage, an image or a named context.
    type Source: Clone + Debug + PartialEq;
    /// What an `ARG` line declares.
    type Args: Clone + Debug + PartialEq;
    /// The value of one `RUN --mount`.
    type Mount: Clone + Debug + PartialEq;
}

/// The phase in which everything is as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {}

impl Phase for Written {
    type Word = Template;
    type Source = Template;
    type Args = Vec<ArgDecl>;
    type Mount = MountText;
}

/// A parsed Containerfile, or several joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Containerfile {
    /// The parser directives at the top of the first file.
    pub directives: Directives,
    /// The `ARG` declarations before the first `FROM`, in order.
    pub global_args: Vec<ArgDecl>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// Parser directives: comments at the top of the file that change how it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// The escape character of the whole file.
    pub escape: Escape,
    /// The front end that `# syntax=` asks for; it is not loaded.
    pub syntax: Option<String>,
    /// The text of `# check=`, which only a linter reads.
    pub check: Option<String>,
}

/// One `FROM` and the steps that follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage<P: Phase = Written> {
    /// The `FROM` instruction.
    pub at: Span,
    /// The text of the `FROM` line, continuations joined.
    pub original: String,
    /// The base: an image, an earlier stage, a named context or `scratch`.
    pub base: P::Source,
    /// `--platform`.
    pub platform: Option<P::Word>,
    /// `--after`: stages that must be built first though nothing is taken from them.
    pub after: Vec<P::Source>,
    /// The word after `AS`, as written.
    pub name: Option<String>,
    /// The instructions, in order.
    pub steps: Vec<Step<P>>,
}

impl Stage<Written> {
    /// Returns every name this stage refers to: its base, `--after`, and those of its
    /// steps, in order. Each may be a stage, a stage index, a named context or an image.
    #[must_use]
    pub fn references(&self) -> Vec<&Template> {
        let mut names = vec![&self.base];
        names.extend(&self.after);
        names.extend(self.steps.iter().flat_map(Step::references));
        names
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<P: Phase = Written> {
    /// The whole instruction, heredoc bodies included.
    pub at: Span,
    /// The instruction line as written, continuations joined, keyword in its own case and
    /// blanks at the end kept: the text history shows. Heredoc bodies are not in it.
    pub original: String,
    /// The heredocs that follow the line, in order (empty for most steps).
    pub heredocs: Vec<Heredoc>,
    /// What it says.
    pub op: Op<P>,
}

impl<P: Phase> Step<P> {
    /// Returns the text of the `STEP` line: the original, and for each heredoc its first
    /// line in parentheses with dots when there are more.
    #[must_use]
    pub fn display_text(&self) -> String {
        let mut text = self.original.clone();
        for heredoc in &self.heredocs {
            let mut lines = heredoc.body.lines();
            text.push_str(" (");
            text.push_str(lines.next().unwrap_or(""));
            if lines.next().is_some() {
                text.push_str("...");
            }
            text.push(')');
        }
        text
    }

    /// Returns the text inside `building at STEP "…"`: the keyword in upper case, then the
    /// rest of the line without blanks at its ends; an empty JSON array is left out and the
    /// word after `ONBUILD` is in lower case.
    #[must_use]
    pub fn error_text(&self) -> String {
        error_text(&self.original)
    }

    /// Returns the keyword of the instruction.
    #[must_use]
    pub fn keyword(&self) -> Keyword {
        self.op.keyword()
    }

    /// Returns the text after the keyword, without the blanks around it.
    #[must_use]
    pub fn rest(&self) -> &str {
        split_keyword(&self.original).1
    }
}

impl Step<Written> {
    /// Returns the names in `COPY --from` and `RUN --mount …,from=`. Each may be a stage, a
    /// stage index, a named context or an image, and may still hold variables.
    #[must_use]
    pub fn references(&self) -> Vec<&Template> {
        match &self.op {
            Op::Copy(copy) => copy.from.iter().collect(),
            Op::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| mount.from.as_ref())
                .collect(),
            _ => Vec::new(),
        }
    }
}

pub(crate) fn split_keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    match line.find(char::is_whitespace) {
        Some(at) => (&line[..at], line[at..].trim_start()),
        None => (line, ""),
    }
}

pub(crate) fn error_text(original: &str) -> String {
    let (keyword, rest) = split_keyword(original);
    let keyword = keyword.to_uppercase();
    let rest = if keyword == "ONBUILD" {
        let (word, tail) = split_keyword(rest);
        format!("{} {tail}", word.to_lowercase())
            .trim_end()
            .to_owned()
    } else if crate::json::parse_array(rest).is_some_and(|a| a == Ok(Vec::new())) {
        String::new()
    } else {
        rest.to_owned()
    };
    format!("{keyword} {rest}")
}

macro_rules! keywords {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The instructions of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Keyword { $($(#[$doc])* $variant,)* }

        impl Keyword {
            /// Every instruction, in alphabetical order.
            pub const ALL: &[Keyword] = &[$(Keyword::$variant,)*];

            /// Returns the word in upper case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Keyword::$variant => $text,)* }
            }
        }
    };
}

keywords! {
    /// `ADD`
    Add = "ADD",
    /// `ARG`
    Arg = "ARG",
    /// `CMD`
    Cmd = "CMD",
    /// `COPY`
    Copy = "COPY",
    /// `ENTRYPOINT`
    Entrypoint = "ENTRYPOINT",
    /// `ENV`
    Env = "ENV",
    /// `EXPOSE`
    Expose = "EXPOSE",
    /// `FROM`
    From = "FROM",
    /// `HEALTHCHECK`
    Healthcheck = "HEALTHCHECK",
    /// `LABEL`
    Label = "LABEL",
    /// `MAINTAINER`
    Maintainer = "MAINTAINER",
    /// `ONBUILD`
    OnBuild = "ONBUILD",
    /// `RUN`
    Run = "RUN",
    /// `SHELL`
    Shell = "SHELL",
    /// `STOPSIGNAL`
    StopSignal = "STOPSIGNAL",
    /// `USER`
    User = "USER",
    /// `VOLUME`
    Volume = "VOLUME",
    /// `WORKDIR`
    Workdir = "WORKDIR",
}

impl Keyword {
    /// Returns the instruction a word names, in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Keyword> {
        Keyword::ALL
            .iter()
            .copied()
            .find(|keyword| keyword.as_str().eq_ignore_ascii_case(word))
    }
}

/// What an instruction says, with its flags decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<P: Phase = Written> {
    /// `ADD`
    Add(Add<P>),
    /// `ARG` inside a stage.
    Arg(P::Args),
    /// `CMD`
    Cmd(Command),
    /// `COPY`
    Copy(Copy<P>),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`: the pairs see the values before the instruction, not one another.
    Env(Vec<Pair<P>>),
    /// `EXPOSE`: words as written; expand with [`Template::expand_words`].
    Expose(Vec<P::Word>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<Pair<P>>),
    /// `MAINTAINER`: the author.
    Maintainer(String),
    /// `ONBUILD`
    OnBuild(Trigger),
    /// `RUN`
    Run(Run<P>),
    /// `SHELL`: at least one word.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: check the expanded text with [`crate::signal_number`].
    StopSignal(P::Word),
    /// `USER`
    User(P::Word),
    /// `VOLUME`: one path per word.
    Volume(Vec<P::Word>),
    /// `WORKDIR`
    Workdir(P::Word),
}

impl<P: Phase> Op<P> {
    /// Returns the keyword that writes this operation.
    #[must_use]
    pub fn keyword(&self) -> Keyword {
        match self {
            Op::Add(_) => Keyword::Add,
            Op::Arg(_) => Keyword::Arg,
            Op::Cmd(_) => Keyword::Cmd,
            Op::Copy(_) => Keyword::Copy,
            Op::Entrypoint(_) => Keyword::Entrypoint,
            Op::Env(_) => Keyword::Env,
            Op::Expose(_) => Keyword::Expose,
            Op::Healthcheck(_) => Keyword::Healthcheck,
            Op::Label(_) => Keyword::Label,
            Op::Maintainer(_) => Keyword::Maintainer,
            Op::OnBuild(_) => Keyword::OnBuild,
            Op::Run(_) => Keyword::Run,
            Op::Shell(_) => Keyword::Shell,
            Op::StopSignal(_) => Keyword::StopSignal,
            Op::User(_) => Keyword::User,
            Op::Volume(_) => Keyword::Volume,
            Op::Workdir(_) => Keyword::Workdir,
        }
    }
}

/// One name of an `ARG` instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgDecl {
    /// The word.
    pub at: Span,
    /// The name of the argument, never empty.
    pub name: String,
    /// The text behind `=`, if there is a `=`.
    pub default: Option<Template>,
}

/// One `KEY=VALUE` of `ENV` or `LABEL`; the key is expanded as well.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<P: Phase = Written> {
    /// The name.
    pub key: P::Word,
    /// The value.
    pub value: P::Word,
}

/// `RUN`
#[derive(Clone, Debug, PartialEq)]
pub struct Run<P: Phase = Written> {
    /// The command.
    pub form: RunForm,
    /// `--mount`, in order.
    pub mounts: Vec<P::Mount>,
    /// `--network`: check the expanded text with [`RunNetwork::parse`].
    pub network: Option<P::Word>,
    /// `--security`
    pub security: RunSecurity,
    /// `--device`, in order: CDI names with an optional `,required`.
    pub devices: Vec<P::Word>,
}

/// The command of `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunForm {
    /// JSON form: the words, at least one, not expanded.
    Exec(Vec<String>),
    /// Text for the shell. Heredocs with other words on their line are in it, bodies and
    /// ends included, for the shell to read.
    Shell(String),
    /// `RUN <<EOF` alone: the body is the script. With `#!` at its start it is a program
    /// to be put into a file (see [`Heredoc::is_program`]), else text for the shell.
    Script(Heredoc),
}

/// `RUN --network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunNetwork {
    /// As the build has it.
    #[default]
    Default,
    /// No network.
    None,
    /// The host's network.
    Host,
}

/// `RUN --security`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunSecurity {
    /// The usual confinement.
    #[default]
    Sandbox,
    /// All capabilities; the build must allow it.
    Insecure,
}

/// A value of a `RUN` flag that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRunValue {
    flag: &'static str,
    value: String,
    known: &'static str,
}

impl std::fmt::Display for UnknownRunValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UnknownRunValue { flag, value, known } = self;
        write!(
            f,
            "unsupported value {value:?} for \"RUN --{flag}\", must be either {known}"
        )
    }
}

impl std::error::Error for UnknownRunValue {}

impl RunNetwork {
    /// Reads the expanded value of `--network`.
    ///
    /// # Errors
    /// Any other word than `default`, `none` and `host`.
    pub fn parse(value: &str) -> Result<RunNetwork, UnknownRunValue> {
        match value {
            "default" => Ok(RunNetwork::Default),
            "none" => Ok(RunNetwork::None),
            "host" => Ok(RunNetwork::Host),
            _ => Err(UnknownRunValue {
                flag: "network",
                value: value.to_owned(),
                known: "\"host\" or \"none\"",
            }),
        }
    }
}

impl RunSecurity {
    /// Reads the value of `--security`.
    ///
    /// # Errors
    /// Any other word than `sandbox` and `insecure`.
    pub fn parse(value: &str) -> Result<RunSecurity, UnknownRunValue> {
        match value {
            "sandbox" => Ok(RunSecurity::Sandbox),
            "insecure" => Ok(RunSecurity::Insecure),
            _ => Err(UnknownRunValue {
                flag: "security",
                value: value.to_owned(),
                known: "\"sandbox\" or \"insecure\"",
            }),
        }
    }
}

/// The value of one `RUN --mount` as written.
#[derive(Clone, Debug, PartialEq)]
pub struct MountText {
    /// The whole flag.
    pub at: Span,
    /// The value; expand it, then decode it with [`crate::RunMount::parse`].
    pub text: Template,
    /// The value of `from=`, apart, so that the stage graph can be made before the run.
    pub from: Option<Template>,
}

/// A source of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq)]
pub enum CopySource<P: Phase = Written> {
    /// A path, a pattern or (for `ADD`) a URL.
    Path(P::Word),
    /// A file made of a heredoc.
    Heredoc {
        /// The name of the file.
        name: String,
        /// The content, with a line end after its last line. Without variables when the
        /// opener was quoted.
        body: P::Word,
    },
}

/// `COPY`
#[derive(Clone, Debug, PartialEq)]
pub struct Copy<P: Phase = Written> {
    /// `--from`
    pub from: Option<P::Source>,
    /// The sources, at least one.
    pub sources: Vec<CopySource<P>>,
    /// The last word.
    pub destination: P::Word,
    /// `--chown`
    pub chown: Option<P::Word>,
    /// `--chmod`: decode the expanded text with [`crate::Chmod::parse`].
    pub chmod: Option<P::Word>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order: ignore-file patterns.
    pub excludes: Vec<P::Word>,
}

/// `ADD`
#[derive(Clone, Debug, PartialEq)]
pub struct Add<P: Phase = Written> {
    /// The sources, at least one.
    pub sources: Vec<CopySource<P>>,
    /// The last word.
    pub destination: P::Word,
    /// `--chown`
    pub chown: Option<P::Word>,
    /// `--chmod`: decode the expanded text with [`crate::Chmod::parse`].
    pub chmod: Option<P::Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in order: ignore-file patterns.
    pub excludes: Vec<P::Word>,
    /// `--checksum`
    pub checksum: Option<P::Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// `ONBUILD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The text to store: everything after `ONBUILD` as written, and for each heredoc a
    /// line end, its body and its end word. Read it back with [`crate::parse_trigger`].
    pub text: String,
    /// The instruction the text starts with, if it is a known one.
    pub keyword: Option<Keyword>,
}

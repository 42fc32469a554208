//! Containerfile and ignore-file text in, typed steps with spans and diagnostics out.
//!
//! The whole language of `FROM` … `HEALTHCHECK` is read here: directives, escapes,
//! continuations, heredocs, flags, JSON forms and variable expansion. [`parse`] never
//! fails and never panics: it returns the tree it could build together with every
//! [`Diagnostic`] it found, each pointing at the place in the file that was written.
//!
//! What this crate deliberately does not do: it opens no file, resolves no image or stage
//! name, knows no base image and keeps no state between steps. A word that holds variables
//! stays a [`Template`] until the caller, who knows their values, expands it; what can only
//! be checked after that ([`RunMount::parse`], [`Chmod::parse`], [`signal_number`]) is a
//! function over the expanded text, which the parser itself applies to words without
//! variables so that most mistakes are found before anything runs.

mod chmod;
mod command;
mod diagnostic;
mod duration;
mod expose;
mod glob;
mod health;
mod heredoc;
mod ignore;
mod json;
mod lexer;
mod mount;
mod op;
mod parse;
mod pattern;
mod signal;
mod span;
mod template;
mod words;

pub use chmod::{Chmod, ChmodAction, ChmodError, ChmodTarget};
pub use command::Command;
pub use diagnostic::{Diagnostic, Severity};
pub use duration::{DurationError, GoDuration};
pub use expose::{is_port, split_ports};
pub use glob::{Glob, PatternError};
pub use health::{HealthTest, Healthcheck};
pub use heredoc::Heredoc;
pub use ignore::{IgnoreError, IgnoreRule, IgnoreRules, Verdict};
pub use mount::{
    Access, BindMount, BindOption, CacheMount, CacheSharing, MountError, Relabel, RunMount,
    SecretMount, SshMount, TmpfsMount,
};
pub use op::{
    Add, ArgDecl, Containerfile, Copy, CopySource, Directives, Keyword, MountText, Op, Pair, Phase,
    Run, RunForm, RunNetwork, RunSecurity, Stage, Step, Trigger, UnknownRunValue, Written,
};
pub use parse::{Input, Parsed, parse, parse_str, parse_trigger};
pub use signal::{UnknownSignal, signal_number};
pub use span::{Position, Source, SourceId, Sources, Span};
pub use template::{Escape, ExpandError, Template, TemplateError, TemplateKind};

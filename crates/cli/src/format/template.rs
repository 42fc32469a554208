//! Go's `text/template`, as far as `--format` reaches: text, fields, variables, literals, brackets,
//! pipelines, `if`, `with`, `range` with `else`, `break` and `continue`, comments, the trim marks,
//! Go's functions, and `json`, `join`, `split`, `upper`, `lower`, `title`.
//!
//! Not here: `define`, `template`, `block`, methods and `call`. They are refused by name.

mod functions;
mod parse;
mod printf;
mod run;
mod tree;

use super::value::GoValue;
use tree::{Node, Span};

/// What is wrong with a template or with its use on a value, in Go's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// The name that Buildah gives the template.
        name: &'static str,
        /// The line in it.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It does not fit the value.
    #[error("template: {name}:{line}:{column}: executing {name:?} at <{place}>: {message}")]
    Run {
        /// The name that Buildah gives the template.
        name: &'static str,
        /// The line in it.
        line: usize,
        /// The column, from 0.
        column: usize,
        /// What is at this place.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// A fault in the text of a template.
#[derive(Debug)]
struct ParseFault {
    line: usize,
    message: String,
}

impl ParseFault {
    fn new(line: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { line, message }
    }
}

/// A fault in the use of a template.
#[derive(Debug)]
struct RunFault {
    span: Span,
    message: String,
}

impl RunFault {
    fn new(span: &Span, message: String) -> Self {
        let span = span.clone();
        Self { span, message }
    }
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    name: &'static str,
    text: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Parses the template of a list.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::new("image", text)
    }

    /// Parses the template of one thing.
    pub fn of_one(text: &str) -> Result<Self, TemplateError> {
        Self::new("format", text)
    }

    fn new(name: &'static str, text: &str) -> Result<Self, TemplateError> {
        let nodes = parse::parse(text).map_err(|fault| TemplateError::Parse {
            name,
            line: fault.line,
            message: fault.message,
        })?;
        Ok(Self {
            name,
            text: text.to_owned(),
            nodes,
        })
    }

    /// Fills the template.
    pub fn render(&self, value: impl Into<GoValue>) -> Result<String, TemplateError> {
        let mut out = String::new();
        run::run(&self.nodes, &value.into(), &mut out).map_err(|fault| {
            let before = &self.text[..fault.span.at.min(self.text.len())];
            TemplateError::Run {
                name: self.name,
                line: before.matches('\n').count() + 1,
                column: before.len() - before.rfind('\n').map_or(0, |at| at + 1),
                place: fault.span.text,
                message: fault.message,
            }
        })?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;

//! The tree of a template.

use serde_json::Value;

/// A piece of a template.
#[derive(Debug)]
pub enum Node {
    /// Printed as it is.
    Text(String),
    /// Evaluated and printed.
    Print(Pipeline),
    /// `if`, `with` or `range`.
    Branch {
        /// Which of them.
        action: Action,
        /// What decides, or is gone through.
        test: Pipeline,
        /// What is done then.
        body: Vec<Node>,
        /// What is done otherwise.
        otherwise: Vec<Node>,
    },
    /// Leaves or goes on with the innermost `range`.
    Loop(Loop),
}

/// What a branch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The body for what is true.
    If,
    /// The body with the value as dot.
    With,
    /// The body for every item.
    Range,
}

/// A word of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// The end.
    Break,
    /// The next item.
    Continue,
}

/// Commands of which each gets the result of the one before as last argument.
#[derive(Debug)]
pub struct Pipeline {
    /// Variables that get the result.
    pub names: Vec<String>,
    /// Whether they are new.
    pub declares: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// A value, or a function with its arguments.
#[derive(Debug, Default)]
pub struct Command {
    /// Where it is.
    pub span: Span,
    /// Its words.
    pub operands: Vec<Operand>,
}

/// A place in the template and what it says, for error texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the beginning.
    pub at: usize,
    /// The text, spaced as Go prints it.
    pub text: String,
}

/// A value that is named or written, with fields of it.
#[derive(Debug)]
pub struct Operand {
    /// Where it is.
    pub span: Span,
    /// The value.
    pub start: Start,
    /// Fields, one of the other.
    pub fields: Vec<String>,
}

/// What an operand begins with.
#[derive(Debug)]
pub enum Start {
    /// The present value.
    Dot,
    /// A variable; the nameless one is the whole value.
    Variable(String),
    /// A literal.
    Literal(Value),
    /// `nil`.
    Nil,
    /// A function.
    Function(String),
    /// Commands in brackets.
    Group(Vec<Command>),
}

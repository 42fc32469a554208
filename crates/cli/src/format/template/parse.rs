//! From the text of a template to its tree.

use serde_json::Value;

use super::ParseFault;
use super::tree::{Action, Command, Loop, Node, Operand, Pipeline, Span, Start};

/// The functions that a template can call.
pub const FUNCTIONS: [&str; 24] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "print", "printf", "println", "slice", "split", "title", "upper",
    "urlquery",
];

/// Parses `text`.
pub fn parse(text: &str) -> Result<Vec<Node>, ParseFault> {
    let mut parser = Parser {
        pieces: pieces(text)?.into_iter(),
        variables: vec![String::new()],
        loops: 0,
    };
    let (nodes, end) = parser.block()?;
    match end {
        None => Ok(nodes),
        Some(end) => Err(ParseFault::new(
            end.line,
            format!("unexpected {{{{{}}}}}", end.word),
        )),
    }
}

/// Text as it is, or what is between the marks, with where it begins.
enum Piece {
    Text(String),
    Action {
        line: usize,
        at: usize,
        text: String,
    },
}

fn pieces(text: &str) -> Result<Vec<Piece>, ParseFault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(opening) = rest.find("{{") {
        let start = text.len() - rest.len() + opening + 2;
        let line = text[..start].matches('\n').count() + 1;
        let mut plain = &rest[..opening];
        if trim_next {
            plain = plain.trim_start();
        }
        let inner = &text[start..];
        let length = action_length(inner, line)?;
        let mut action = &inner[..length];
        rest = &inner[length + 2..];
        let mut at = start;
        if action.starts_with('-') && action[1..].starts_with([' ', '\t', '\n']) {
            action = &action[1..];
            at += 1;
            plain = plain.trim_end();
        }
        trim_next =
            action.ends_with('-') && action[..action.len() - 1].ends_with([' ', '\t', '\n']);
        if trim_next {
            action = &action[..action.len() - 1];
        }
        pieces.push(Piece::Text(plain.to_owned()));
        pieces.push(Piece::Action {
            line,
            at: at + (action.len() - action.trim_start().len()),
            text: action.trim().to_owned(),
        });
    }
    let plain = if trim_next { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(plain.to_owned()));
    Ok(pieces)
}

/// Length of the action that `text` begins with, up to its closing mark.
fn action_length(text: &str, line: usize) -> Result<usize, ParseFault> {
    if text.trim_start_matches("- ").starts_with("/*") {
        let unclosed = || ParseFault::new(line, "unclosed comment");
        let end = text.find("*/").ok_or_else(unclosed)?;
        return text[end..]
            .find("}}")
            .map(|at| end + at)
            .ok_or_else(unclosed);
    }
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'"' | b'`' | b'\'' => at += quoted_length(&text[at..], line)?,
            b'}' if text[at..].starts_with("}}") => return Ok(at),
            _ => at += 1,
        }
    }
    Err(ParseFault::new(line, "unclosed action"))
}

/// Length of the quoted string that `text` begins with, with its quotes.
fn quoted_length(text: &str, line: usize) -> Result<usize, ParseFault> {
    let bytes = text.as_bytes();
    let quote = bytes[0];
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote != b'`' => at += 2,
            b'\n' if quote != b'`' => break,
            byte if byte == quote => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Err(ParseFault::new(
        line,
        match quote {
            b'`' => "unterminated raw quoted string",
            b'\'' => "unterminated character constant",
            _ => "unterminated quoted string",
        },
    ))
}

/// The end of a block: `end` or `else`, and what follows the latter.
struct End {
    line: usize,
    at: usize,
    word: &'static str,
    rest: String,
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Names in scope, without the dollar; the whole value is the nameless one.
    variables: Vec<String>,
    loops: usize,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, Option<End>), ParseFault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, at, text) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, at, text } => (line, at, text),
            };
            let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
            let rest_at = at + (text.len() - rest.len());
            let action = Words {
                line,
                at: rest_at,
                text: rest,
            };
            match word {
                "end" => {
                    return Ok((
                        nodes,
                        Some(End {
                            line,
                            at,
                            word: "end",
                            rest: String::new(),
                        }),
                    ));
                }
                "else" => {
                    let rest = rest.trim_start().to_owned();
                    return Ok((
                        nodes,
                        Some(End {
                            line,
                            at: rest_at,
                            word: "else",
                            rest,
                        }),
                    ));
                }
                "if" | "with" | "range" => nodes.push(self.branch(word, &action)?),
                "break" | "continue" if self.loops == 0 => {
                    return Err(ParseFault::new(
                        line,
                        format!("{{{{{word}}}}} outside {{{{range}}}}"),
                    ));
                }
                "break" => nodes.push(Node::Loop(Loop::Break)),
                "continue" => nodes.push(Node::Loop(Loop::Continue)),
                "define" | "template" | "block" => {
                    return Err(ParseFault::new(
                        line,
                        format!("{{{{{word}}}}} is not supported yet"),
                    ));
                }
                _ if text.starts_with("/*") => {}
                _ => {
                    let words = Words {
                        line,
                        at,
                        text: &text,
                    };
                    nodes.push(Node::Print(self.pipeline(&words, "command")?));
                }
            }
        }
        Ok((nodes, None))
    }

    fn branch(&mut self, word: &str, words: &Words<'_>) -> Result<Node, ParseFault> {
        let scope = self.variables.len();
        let test = self.pipeline(words, word)?;
        let is_loop = word == "range";
        self.loops += usize::from(is_loop);
        let (body, end) = self.block()?;
        self.loops -= usize::from(is_loop);
        let otherwise = match end {
            None => return Err(ParseFault::new(words.line, "unexpected EOF")),
            Some(end) if end.word == "end" => Vec::new(),
            Some(end) if end.rest.is_empty() => match self.block()? {
                (nodes, Some(End { word: "end", .. })) => nodes,
                (_, None) => return Err(ParseFault::new(words.line, "unexpected EOF")),
                (_, Some(end)) => {
                    return Err(ParseFault::new(end.line, "expected end; found {{else}}"));
                }
            },
            Some(end) => {
                let (again, rest) = end
                    .rest
                    .split_once(char::is_whitespace)
                    .unwrap_or((&end.rest, ""));
                let is_chain = again == word && (word == "if" || word == "with");
                if !is_chain {
                    return Err(ParseFault::new(
                        end.line,
                        format!("unexpected <{again}> in else"),
                    ));
                }
                let at = end.at + (end.rest.len() - rest.len());
                vec![self.branch(
                    word,
                    &Words {
                        line: end.line,
                        at,
                        text: rest,
                    },
                )?]
            }
        };
        self.variables.truncate(scope);
        let action = match word {
            "if" => Action::If,
            "with" => Action::With,
            _ => Action::Range,
        };
        Ok(Node::Branch {
            action,
            test,
            body,
            otherwise,
        })
    }

    fn pipeline(&mut self, words: &Words<'_>, context: &str) -> Result<Pipeline, ParseFault> {
        let (names, declares, words) = words.declaration();
        let mut tokens = tokens(&words)?.into_iter().peekable();
        let commands = self.commands(&mut tokens, words.line, context)?;
        if tokens.peek().is_some() {
            return Err(ParseFault::new(words.line, "unexpected right paren"));
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        } else {
            for name in &names {
                self.known(name, words.line)?;
            }
        }
        Ok(Pipeline {
            names,
            declares,
            commands,
        })
    }

    fn commands(
        &mut self,
        tokens: &mut Tokens,
        line: usize,
        context: &str,
    ) -> Result<Vec<Command>, ParseFault> {
        let mut commands = vec![Command::default()];
        while let Some(token) = tokens.next_if(|token| token.kind != TokenKind::Close) {
            let command = commands.last_mut().expect("there is one from the start");
            if token.kind == TokenKind::Pipe {
                commands.push(Command::default());
                continue;
            }
            let operand = self.operand(&token, tokens, line)?;
            if command.operands.is_empty() {
                command.span.at = token.at;
            } else {
                command.span.text.push(' ');
            }
            command.span.text.push_str(&operand.span.text);
            command.operands.push(operand);
        }
        if commands.iter().any(|command| command.operands.is_empty()) {
            return Err(ParseFault::new(
                line,
                format!("missing value for {context}"),
            ));
        }
        Ok(commands)
    }

    fn operand(
        &mut self,
        token: &Token,
        tokens: &mut Tokens,
        line: usize,
    ) -> Result<Operand, ParseFault> {
        let mut span = Span {
            at: token.at,
            text: token.text.clone(),
        };
        let start = match token.kind {
            TokenKind::Literal(ref value) => Start::Literal(value.clone()),
            TokenKind::Open => {
                let inner = self.commands(tokens, line, "parenthesized pipeline")?;
                match tokens.next() {
                    Some(token) if token.kind == TokenKind::Close => {}
                    _ => return Err(ParseFault::new(line, "unclosed left paren")),
                }
                let text: Vec<_> = inner
                    .iter()
                    .map(|command| command.span.text.as_str())
                    .collect();
                span.text = format!("({})", text.join(" | "));
                Start::Group(inner)
            }
            TokenKind::Variable => {
                self.known(&token.text[1..], line)?;
                Start::Variable(token.text[1..].to_owned())
            }
            TokenKind::Field => Start::Dot,
            _ if token.text == "nil" => Start::Nil,
            _ if FUNCTIONS.contains(&token.text.as_str()) => Start::Function(token.text.clone()),
            _ => {
                return Err(ParseFault::new(
                    line,
                    format!("function {:?} not defined", token.text),
                ));
            }
        };
        let mut fields = Vec::new();
        if token.kind == TokenKind::Field && token.text != "." {
            fields.push(token.text[1..].to_owned());
        }
        let is_next = |next: &Token, end: usize| {
            next.kind == TokenKind::Field && next.at == end && next.text != "."
        };
        let mut end = token.end;
        if token.kind == TokenKind::Open {
            end = tokens.peek().map_or(0, |next| next.after_close);
        }
        while let Some(next) = tokens.next_if(|next| is_next(next, end)) {
            if fields.len() == 1 || !matches!(start, Start::Dot) {
                // Go names the place of a chain by its second part.
                span.at = if fields.len() <= 1 { next.at } else { span.at };
            }
            span.text.push_str(&next.text);
            fields.push(next.text[1..].to_owned());
            end = next.end;
        }
        Ok(Operand {
            span,
            start,
            fields,
        })
    }

    fn known(&self, name: &str, line: usize) -> Result<(), ParseFault> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(ParseFault::new(
            line,
            format!("undefined variable \"${name}\""),
        ))
    }
}

/// The inside of an action, and where it is in the template.
struct Words<'t> {
    line: usize,
    at: usize,
    text: &'t str,
}

impl<'t> Words<'t> {
    /// Splits off `$a, $b :=` or `$a =`: the names, and whether they are new.
    fn declaration(&self) -> (Vec<String>, bool, Words<'t>) {
        let whole = || {
            (
                Vec::new(),
                false,
                Words {
                    line: self.line,
                    at: self.at,
                    text: self.text,
                },
            )
        };
        if !self.text.trim_start().starts_with('$') {
            return whole();
        }
        let Some(equals) = self.text.find('=') else {
            return whole();
        };
        let declares = self.text[..equals].ends_with(':');
        let names = self.text[..equals].trim_end_matches(':');
        let names = names.split(',').map(|name| name.trim().strip_prefix('$'));
        let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        match names
            .map(|name| name.filter(is_name))
            .collect::<Option<Vec<_>>>()
        {
            Some(names) => (
                names.into_iter().map(str::to_owned).collect(),
                declares,
                Words {
                    line: self.line,
                    at: self.at + equals + 1,
                    text: &self.text[equals + 1..],
                },
            ),
            None => whole(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum TokenKind {
    Literal(Value),
    Open,
    Close,
    Pipe,
    /// `.` or `.Name`.
    Field,
    /// `$` or `$name`.
    Variable,
    Word,
}

#[derive(Debug, Clone)]
struct Token {
    kind: TokenKind,
    at: usize,
    end: usize,
    /// The end of the closing bracket in front of this token.
    after_close: usize,
    text: String,
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn tokens(words: &Words<'_>) -> Result<Vec<Token>, ParseFault> {
    let mut tokens = Vec::new();
    let (text, mut at, mut after_close) = (words.text, 0, 0);
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(&text[at..], words.line)?;
        let end = words.at + at + length;
        if kind == TokenKind::Close {
            after_close = end;
        }
        tokens.push(Token {
            kind,
            at: words.at + at,
            end,
            after_close,
            text: text[at..at + length].to_owned(),
        });
        at += length;
    }
    Ok(tokens)
}

/// The first token of `text`, which does not begin with a blank, and its length.
fn token(text: &str, line: usize) -> Result<(TokenKind, usize), ParseFault> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let name_length = |from: usize| {
        from + text[from..]
            .find(|c| !is_part(c))
            .unwrap_or(text.len() - from)
    };
    let first = text.chars().next().unwrap_or_default();
    Ok(match first {
        '(' => (TokenKind::Open, 1),
        ')' => (TokenKind::Close, 1),
        '|' => (TokenKind::Pipe, 1),
        '"' | '`' => {
            let length = quoted_length(text, line)?;
            let value = if first == '`' {
                Value::String(text[1..length - 1].to_owned())
            } else {
                let bad = |_| ParseFault::new(line, "invalid syntax");
                serde_json::from_str(&text[..length]).map_err(bad)?
            };
            (TokenKind::Literal(value), length)
        }
        '.' => (TokenKind::Field, name_length(1)),
        '$' => (TokenKind::Variable, name_length(1)),
        '0'..='9' | '-' | '+' => {
            let length = 1 + text[1..]
                .find(|c: char| !is_part(c) && c != '.')
                .unwrap_or(text.len() - 1);
            let bad =
                |_| ParseFault::new(line, format!("bad number syntax: {:?}", &text[..length]));
            let number =
                serde_json::from_str(text[..length].trim_start_matches('+')).map_err(bad)?;
            (TokenKind::Literal(number), length)
        }
        c if is_part(c) => {
            let length = name_length(0);
            match &text[..length] {
                "true" => (TokenKind::Literal(true.into()), length),
                "false" => (TokenKind::Literal(false.into()), length),
                _ => (TokenKind::Word, length),
            }
        }
        other => {
            let code = u32::from(other);
            let message = format!("unexpected bad character U+{code:04X} {other:?} in command");
            return Err(ParseFault::new(line, message));
        }
    })
}

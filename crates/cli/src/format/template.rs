//! The part of Go's `text/template` that scripts use with `--format`, over JSON values.
//!
//! Supported: text, `{{.Field.Sub}}`, `{{json X}}`, `{{index X K …}}`, `{{len X}}`,
//! `{{range X}}…{{else}}…{{end}}`, `{{if X}}…{{else}}…{{end}}`, `{{join X SEP}}`, `{{upper X}}`,
//! `{{lower X}}`, `{{title X}}`, `{{split X SEP}}`, `{{eq A B}}`, `{{ne A B}}`, `{{not X}}`, string literals, `$k, $v :=` in `range`, pipelines and the trim
//! marks `{{-` and `-}}`. Anything else is refused by name; nothing is printed as if empty.
//!
//! A field is found by its JSON key without regard to case and underscores, because scripts
//! write the names of Buildah's structures (`.OCIv1.RootFS.DiffIDs`), not of its JSON.

use std::collections::HashMap;

use serde_json::Value;

/// What is wrong with a template or with its use on a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// An action is not closed by `}}`.
    #[error("template: unclosed action")]
    Unclosed,
    /// A block has no `{{end}}`, or an `{{end}}` has no block.
    #[error("template: unexpected {{{{{0}}}}}")]
    Unbalanced(String),
    /// The word names nothing that is supported here.
    #[error("template: function \"{0}\" is not supported yet")]
    Unknown(String),
    /// A field that the value does not have.
    #[error("template: can't evaluate field {0}")]
    NoField(String),
    /// A function got arguments that it has no use for.
    #[error("template: wrong arguments for {0}")]
    Arguments(&'static str),
}

/// A parsed template.
#[derive(Debug)]
pub struct Template(Vec<Node>);

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Vec<Vec<Term>>),
    Range {
        names: Vec<String>,
        over: Vec<Vec<Term>>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    If {
        test: Vec<Vec<Term>>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

#[derive(Debug, Clone)]
enum Term {
    Path {
        variable: Option<String>,
        fields: Vec<String>,
    },
    Literal(Value),
    Group(Vec<Vec<Term>>),
    Function(String),
}

impl Template {
    /// Parses `text`; a backslash followed by `n` or `t` outside of actions is a newline or a
    /// tab, as Buildah has it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = split(text)?.into_iter().peekable();
        let (nodes, end) = block(&mut pieces)?;
        match end {
            None => Ok(Self(nodes)),
            Some(word) => Err(TemplateError::Unbalanced(word)),
        }
    }

    /// Fills the template from `value`.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        let variables = HashMap::from([(String::new(), value.clone())]);
        run(&self.0, value, &variables, &mut out)?;
        Ok(out)
    }
}

enum Piece {
    Text(String),
    Action(String),
}

fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (before, after) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        let mut plain = before.replace("\\n", "\n").replace("\\t", "\t");
        if trim_next {
            plain = plain.trim_start().to_owned();
        }
        let Some(after) = after else {
            pieces.push(Piece::Text(plain));
            return Ok(pieces);
        };
        let mut action = &after[..after.find("}}").ok_or(TemplateError::Unclosed)?];
        rest = &after[action.len() + 2..];
        if let Some(inner) = action.strip_prefix("- ") {
            action = inner;
            plain = plain.trim_end().to_owned();
        }
        trim_next = action.ends_with(" -");
        let action = action.strip_suffix(" -").unwrap_or(action);
        pieces.push(Piece::Text(plain));
        pieces.push(Piece::Action(action.trim().to_owned()));
    }
}

type Pieces = std::iter::Peekable<std::vec::IntoIter<Piece>>;

/// Reads nodes up to `{{end}}` or `{{else}}`, which is returned as the second value.
fn block(pieces: &mut Pieces) -> Result<(Vec<Node>, Option<String>), TemplateError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action
            .split_once(char::is_whitespace)
            .unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(word.to_owned()))),
            "range" => {
                let (names, over) = match rest.split_once(":=") {
                    Some((names, over)) => (variable_names(names), over),
                    None => (Vec::new(), rest),
                };
                let over = pipeline(over)?;
                let (body, otherwise) = bodies(pieces)?;
                nodes.push(Node::Range {
                    names,
                    over,
                    body,
                    otherwise,
                });
            }
            "if" => {
                let test = pipeline(rest)?;
                let (body, otherwise) = bodies(pieces)?;
                nodes.push(Node::If {
                    test,
                    body,
                    otherwise,
                });
            }
            _ if action.starts_with("/*") => {}
            _ => nodes.push(Node::Print(pipeline(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn variable_names(names: &str) -> Vec<String> {
    names
        .split(',')
        .map(|name| name.trim().trim_start_matches('$').to_owned())
        .collect()
}

fn bodies(pieces: &mut Pieces) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
    let (body, end) = block(pieces)?;
    match end.as_deref() {
        Some("end") => Ok((body, Vec::new())),
        Some("else") => match block(pieces)? {
            (otherwise, Some(word)) if word == "end" => Ok((body, otherwise)),
            (_, word) => Err(TemplateError::Unbalanced(
                word.unwrap_or_else(|| "else".into()),
            )),
        },
        _ => Err(TemplateError::Unbalanced("range".to_owned())),
    }
}

fn pipeline(text: &str) -> Result<Vec<Vec<Term>>, TemplateError> {
    let mut stages = vec![Vec::new()];
    let mut chars = text.trim().char_indices().peekable();
    let text = text.trim();
    while let Some(&(at, c)) = chars.peek() {
        let last = stages
            .last_mut()
            .expect("one stage is there from the start");
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '|' => {
                chars.next();
                stages.push(Vec::new());
            }
            '"' | '`' => {
                let end = closing_quote(&text[at..]).ok_or(TemplateError::Unclosed)?;
                let literal = &text[at..=at + end];
                let value = if c == '"' {
                    serde_json::from_str(literal).map_err(|_| TemplateError::Unclosed)?
                } else {
                    Value::String(literal.trim_matches('`').to_owned())
                };
                last.push(Term::Literal(value));
                skip_to(&mut chars, at + end + 1);
            }
            '(' => {
                let end = closing_bracket(&text[at..]).ok_or(TemplateError::Unclosed)?;
                last.push(Term::Group(pipeline(&text[at + 1..at + end])?));
                skip_to(&mut chars, at + end + 1);
            }
            _ => {
                let end = text[at..]
                    .find(|c: char| c.is_whitespace() || c == '|' || c == ')')
                    .unwrap_or(text.len() - at);
                last.push(term(&text[at..at + end])?);
                skip_to(&mut chars, at + end);
            }
        }
    }
    Ok(stages)
}

fn skip_to(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, to: usize) {
    while chars.peek().is_some_and(|&(at, _)| at < to) {
        chars.next();
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn term(word: &str) -> Result<Term, TemplateError> {
    let fields = |text: &str| {
        text.split('.')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    if word.starts_with('.') {
        return Ok(Term::Path {
            variable: None,
            fields: fields(word),
        });
    }
    if let Some(rest) = word.strip_prefix('$') {
        let (name, path) = rest.split_once('.').unwrap_or((rest, ""));
        return Ok(Term::Path {
            variable: Some(name.to_owned()),
            fields: fields(path),
        });
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Term::Literal(number.into()));
    }
    match word {
        "true" => Ok(Term::Literal(true.into())),
        "false" => Ok(Term::Literal(false.into())),
        "nil" => Ok(Term::Literal(Value::Null)),
        "json" | "index" | "len" | "join" | "upper" | "lower" | "title" | "split" | "not"
        | "eq" | "ne" | "println" | "print" => Ok(Term::Function(word.to_owned())),
        _ => Err(TemplateError::Unknown(word.to_owned())),
    }
}

type Variables = HashMap<String, Value>;

fn run(
    nodes: &[Node],
    dot: &Value,
    variables: &Variables,
    out: &mut String,
) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(stages) => out.push_str(&show(&evaluate(stages, dot, variables)?)),
            Node::If {
                test,
                body,
                otherwise,
            } => {
                let chosen = if truth(&evaluate(test, dot, variables)?) {
                    body
                } else {
                    otherwise
                };
                run(chosen, dot, variables, out)?;
            }
            Node::Range {
                names,
                over,
                body,
                otherwise,
            } => {
                let items = items_of(evaluate(over, dot, variables)?);
                if items.is_empty() {
                    run(otherwise, dot, variables, out)?;
                }
                for (key, item) in items {
                    let mut inner = variables.clone();
                    match names.as_slice() {
                        [value] => drop(inner.insert(value.clone(), item.clone())),
                        [first, second] => {
                            inner.insert(first.clone(), key);
                            inner.insert(second.clone(), item.clone());
                        }
                        _ => {}
                    }
                    run(body, &item, &inner, out)?;
                }
            }
        }
    }
    Ok(())
}

fn items_of(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(at, item)| (at.into(), item))
            .collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, item)| (key.into(), item))
            .collect(),
        _ => Vec::new(),
    }
}

fn evaluate(
    stages: &[Vec<Term>],
    dot: &Value,
    variables: &Variables,
) -> Result<Value, TemplateError> {
    let mut piped: Option<Value> = None;
    for stage in stages {
        let mut function = None;
        let mut arguments = Vec::new();
        for term in stage {
            match term {
                Term::Function(name) if function.is_none() && arguments.is_empty() => {
                    function = Some(name.as_str());
                }
                Term::Function(name) => arguments.push(call(name, &[])?),
                Term::Literal(value) => arguments.push(value.clone()),
                Term::Group(stages) => arguments.push(evaluate(stages, dot, variables)?),
                Term::Path { variable, fields } => {
                    let start = match variable {
                        None => dot,
                        Some(name) => variables
                            .get(name)
                            .ok_or_else(|| TemplateError::Unknown(format!("${name}")))?,
                    };
                    arguments.push(path(start, fields)?);
                }
            }
        }
        arguments.extend(piped.take());
        piped = Some(match function {
            Some(name) => call(name, &arguments)?,
            None => arguments.pop().unwrap_or(Value::Null),
        });
    }
    Ok(piped.unwrap_or(Value::Null))
}

fn path(start: &Value, fields: &[String]) -> Result<Value, TemplateError> {
    let mut value = start;
    for name in fields {
        value = match value {
            Value::Object(map) => {
                field(map, name).ok_or_else(|| TemplateError::NoField(name.clone()))?
            }
            Value::Null => return Ok(Value::Null),
            _ => return Err(TemplateError::NoField(name.clone())),
        };
    }
    Ok(value.clone())
}

fn field<'a>(map: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    map.get(name).or_else(|| {
        let wanted = plain(name);
        map.iter()
            .find(|(key, _)| plain(key) == wanted)
            .map(|(_, value)| value)
    })
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    match (name, arguments) {
        ("json", [value]) => Ok(Value::String(value.to_string())),
        ("index", [value, keys @ ..]) => {
            Ok(keys.iter().fold(value.clone(), |value, key| match key {
                Value::String(key) => value.get(key).cloned().unwrap_or(Value::Null),
                key => key
                    .as_u64()
                    .and_then(|at| value.get(usize::try_from(at).ok()?).cloned())
                    .unwrap_or(Value::Null),
            }))
        }
        ("len", [value]) => Ok(match value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            Value::String(text) => text.len(),
            _ => 0,
        }
        .into()),
        ("join", [Value::Array(items), Value::String(separator)]) => Ok(Value::String(
            items.iter().map(show).collect::<Vec<_>>().join(separator),
        )),
        ("join", [Value::Null, _]) => Ok(Value::String(String::new())),
        ("split", [Value::String(text), Value::String(separator)]) => {
            Ok(text.split(separator.as_str()).map(Value::from).collect())
        }
        ("upper", [value]) => Ok(show(value).to_uppercase().into()),
        ("lower", [value]) => Ok(show(value).to_lowercase().into()),
        ("title", [value]) => {
            let text = show(value);
            let mut chars = text.chars();
            let first = chars
                .next()
                .map(|c| c.to_uppercase().to_string())
                .unwrap_or_default();
            Ok(format!("{first}{}", chars.as_str()).into())
        }
        ("not", [value]) => Ok((!truth(value)).into()),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Ok(others.iter().any(|other| other == first).into())
        }
        ("ne", [first, second]) => Ok((first != second).into()),
        ("print", values) => Ok(values.iter().map(show).collect::<String>().into()),
        ("println", values) => Ok(format!(
            "{}\n",
            values.iter().map(show).collect::<Vec<_>>().join(" ")
        )
        .into()),
        ("json", _) => Err(TemplateError::Arguments("json")),
        ("index", _) => Err(TemplateError::Arguments("index")),
        ("len", _) => Err(TemplateError::Arguments("len")),
        ("join", _) => Err(TemplateError::Arguments("join")),
        ("split", _) => Err(TemplateError::Arguments("split")),
        ("not", _) => Err(TemplateError::Arguments("not")),
        ("eq" | "ne", _) => Err(TemplateError::Arguments("eq, ne")),
        _ => Err(TemplateError::Unknown(name.to_owned())),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Prints a value as Go's `%v` does.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(set) => set.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}:{}", show_nested(value));
            format!(
                "map[{}]",
                map.iter().map(entry).collect::<Vec<_>>().join(" ")
            )
        }
    }
}

/// Inside a map, Go prints the empty struct of a set (`map[80/tcp:{}]`).
fn show_nested(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        other => show(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: Result<&str, TemplateError>) {
        let value = serde_json::json!({
            "OCIv1": {"config": {"Env": ["A=1", "B=2"], "Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}}},
                      "rootfs": {"diff_ids": ["d1"]}},
            "FromImageID": "abc", "Empty": [],
        });
        let shown = Template::parse(template).and_then(|template| template.render(&value));
        assert_eq!(shown, expected.map(str::to_owned), "{template}");
    }

    #[test]
    fn templates() {
        check("{{.FromImageID}}", Ok("abc"));
        check("{{ .FromImageID }}\\n", Ok("abc\n"));
        check("{{.OCIv1.Config.Env}}", Ok("[A=1 B=2]"));
        check("{{.OCIv1.RootFS.DiffIDs}}", Ok("[d1]"));
        check("{{.OCIv1.Config.Labels}}", Ok("map[x:y]"));
        check("{{.OCIv1.Config.ExposedPorts}}", Ok("map[80/tcp:{}]"));
        check("{{index .OCIv1.Config.Labels \"x\"}}", Ok("y"));
        check("{{index .OCIv1.Config.Env 1}}", Ok("B=2"));
        check("{{json .OCIv1.Config.Env}}", Ok("[\"A=1\",\"B=2\"]"));
        check("{{.OCIv1.Config.Env | json}}", Ok("[\"A=1\",\"B=2\"]"));
        check(
            "{{range .OCIv1.Config.Env}}<{{.}}>{{end}}",
            Ok("<A=1><B=2>"),
        );
        check(
            "{{range $k, $v := .OCIv1.Config.Labels}}{{$k}}={{$v}}{{end}}",
            Ok("x=y"),
        );
        check("{{if .Empty}}yes{{else}}no{{end}}", Ok("no"));
        check("{{join .OCIv1.Config.Env \",\"}}", Ok("A=1,B=2"));
        check("{{len .OCIv1.Config.Env}}", Ok("2"));
        check("a {{- \"b\" -}} c", Ok("abc"));
        check("{{if eq .FromImageID \"abc\"}}same{{end}}", Ok("same"));
        check("{{.Nope}}", Err(TemplateError::NoField("Nope".into())));
        check("{{nope}}", Err(TemplateError::Unknown("nope".into())));
        check("{{.X", Err(TemplateError::Unclosed));
        check("{{end}}", Err(TemplateError::Unbalanced("end".into())));
    }
}

//! Fills a tree from a value.

use super::functions::call;
use super::tree::{Action, Command, Loop, Node, Operand, Pipeline, Span, Start};
use super::{super::value::GoValue, RunFault};

/// Prints `nodes` with `value` as dot to `out`.
pub fn run(nodes: &[Node], value: &GoValue, out: &mut String) -> Result<(), RunFault> {
    let mut running = Running {
        variables: vec![(String::new(), value.clone())],
        out,
    };
    running.nodes(nodes, value).map(drop)
}

struct Running<'o> {
    /// The later hides the earlier of the same name.
    variables: Vec<(String, GoValue)>,
    out: &'o mut String,
}

impl Running<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &GoValue) -> Result<Option<Loop>, RunFault> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.names.is_empty() {
                        self.out.push_str(&value.show());
                    }
                }
                Node::Loop(word) => return Ok(Some(*word)),
                Node::Branch {
                    action,
                    test,
                    body,
                    otherwise,
                } => {
                    let scope = self.variables.len();
                    let left = self.branch(*action, test, (body, otherwise), dot)?;
                    self.variables.truncate(scope);
                    if left.is_some() {
                        return Ok(left);
                    }
                }
            }
        }
        Ok(None)
    }

    fn branch(
        &mut self,
        action: Action,
        test: &Pipeline,
        (body, otherwise): (&[Node], &[Node]),
        dot: &GoValue,
    ) -> Result<Option<Loop>, RunFault> {
        if action == Action::Range {
            let over = self.commands(&test.commands, dot)?;
            return self.range(test, over, (body, otherwise), dot);
        }
        let value = self.pipeline(test, dot)?;
        match (value.truth(), action) {
            (true, Action::With) => self.nodes(body, &value),
            (true, _) => self.nodes(body, dot),
            (false, _) => self.nodes(otherwise, dot),
        }
    }

    fn range(
        &mut self,
        test: &Pipeline,
        over: GoValue,
        (body, otherwise): (&[Node], &[Node]),
        dot: &GoValue,
    ) -> Result<Option<Loop>, RunFault> {
        let items = items_of(over).map_err(|over| {
            let span = test.commands.first().map(|command| &command.span);
            RunFault::new(
                span.unwrap_or(&Span::default()),
                format!("range can't iterate over {}", over.show()),
            )
        })?;
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let scope = self.variables.len();
        for (key, item) in items {
            match test.names.as_slice() {
                [value] => self.set(value, item.clone(), test.declares),
                [first, second] => {
                    self.set(first, key, test.declares);
                    self.set(second, item.clone(), test.declares);
                }
                _ => {}
            }
            let left = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if left == Some(Loop::Break) {
                break;
            }
        }
        Ok(None)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &GoValue) -> Result<GoValue, RunFault> {
        let value = self.commands(&pipeline.commands, dot)?;
        for name in &pipeline.names {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: GoValue, declares: bool) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known {
            Some((_, slot)) if !declares => *slot = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn commands(&mut self, commands: &[Command], dot: &GoValue) -> Result<GoValue, RunFault> {
        let mut piped = None;
        for command in commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or(GoValue::Missing))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<GoValue>,
        dot: &GoValue,
    ) -> Result<GoValue, RunFault> {
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(piped.unwrap_or(GoValue::Missing));
        };
        let Start::Function(name) = &first.start else {
            if !rest.is_empty() || piped.is_some() {
                let message = format!("can't give argument to non-function {}", first.span.text);
                return Err(RunFault::new(&first.span, message));
            }
            return self.operand(first, dot);
        };
        // These look no further than they must.
        if let "and" | "or" = name.as_str() {
            let mut last = GoValue::Missing;
            let stops_at = name == "or";
            for operand in rest {
                last = self.operand(operand, dot)?;
                if last.truth() == stops_at {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        call(name, &arguments).map_err(|message| RunFault::new(&command.span, message))
    }

    fn operand(&mut self, operand: &Operand, dot: &GoValue) -> Result<GoValue, RunFault> {
        let start = match &operand.start {
            Start::Dot => dot.clone(),
            Start::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(GoValue::Missing, |(_, value)| value.clone())
            }
            Start::Literal(value) => GoValue::from(value),
            Start::Nil => GoValue::Missing,
            Start::Group(commands) => self.commands(commands, dot)?,
            Start::Function(name) => {
                call(name, &[]).map_err(|message| RunFault::new(&operand.span, message))?
            }
        };
        let mut value = start;
        for name in &operand.fields {
            value = field(&value, name).map_err(|message| RunFault::new(&operand.span, message))?;
        }
        Ok(value)
    }
}

fn field(value: &GoValue, name: &str) -> Result<GoValue, String> {
    match value {
        GoValue::Struct(record) => record
            .field(name)
            .cloned()
            .ok_or_else(|| format!("can't evaluate field {name} in type {}", record.type_name)),
        GoValue::Map(map) => Ok(map.entries.get(name).cloned().unwrap_or(GoValue::Missing)),
        GoValue::Missing => Ok(GoValue::Missing),
        GoValue::Nil => Err(format!("nil pointer evaluating field {name}")),
        other => Err(format!(
            "can't evaluate field {name} in type {}",
            other.type_name()
        )),
    }
}

fn items_of(value: GoValue) -> Result<Vec<(GoValue, GoValue)>, GoValue> {
    let count = |number: usize| GoValue::Int(i64::try_from(number).unwrap_or(i64::MAX));
    match value {
        GoValue::List(items) => {
            let items = items.into_iter().enumerate();
            Ok(items.map(|(at, item)| (count(at), item)).collect())
        }
        GoValue::Map(map) => {
            let entries = map.entries.into_iter();
            Ok(entries
                .map(|(key, item)| (GoValue::Text(key), item))
                .collect())
        }
        GoValue::Missing => Ok(Vec::new()),
        other => Err(other),
    }
}

//! The functions that templates call: Go's own, and a few that scripts expect of container tools.

use std::cmp::Ordering;

use super::super::value::GoValue;

/// Calls `name`; an error is the text behind the place.
pub fn call(name: &str, arguments: &[GoValue]) -> Result<GoValue, String> {
    let text = |value: String| Ok(GoValue::Text(value));
    match (name, arguments) {
        ("print", values) => text(print(values)),
        ("println", values) => {
            let shown: Vec<_> = values.iter().map(GoValue::show).collect();
            text(format!("{}\n", shown.join(" ")))
        }
        ("printf", [GoValue::Text(format), rest @ ..]) => text(super::printf::printf(format, rest)),
        ("html", values) => text(escaped(&print(values), html_escape)),
        ("js", values) => text(escaped(&print(values), js_escape)),
        ("urlquery", values) => text(url_query(&print(values))),
        ("json", [value]) => text(value.to_json().to_string()),
        ("not", [value]) => Ok(GoValue::Bool(!value.truth())),
        ("len", [value]) => match value.length() {
            Some(length) => Ok(GoValue::Int(i64::try_from(length).unwrap_or(i64::MAX))),
            None => Err(format!(
                "error calling len: len of type {}",
                value.type_name()
            )),
        },
        ("index", [value, keys @ ..]) => {
            let found = keys
                .iter()
                .try_fold(value.clone(), |value, key| index(&value, key));
            found.map_err(|error| format!("error calling index: {error}"))
        }
        ("slice", [value, bounds @ ..]) => {
            slice(value, bounds).map_err(|error| format!("error calling slice: {error}"))
        }
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Ok(GoValue::Bool(others.iter().any(|other| other == first)))
        }
        ("ne", [first, second]) => Ok(GoValue::Bool(first != second)),
        ("lt" | "le" | "gt" | "ge", [first, second]) => {
            let order = compare(first, second).ok_or_else(|| {
                format!("error calling {name}: incompatible types for comparison")
            })?;
            Ok(GoValue::Bool(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        ("join", [GoValue::List(items), GoValue::Text(separator)]) => {
            let items: Vec<_> = items.iter().map(GoValue::show).collect();
            text(items.join(separator))
        }
        ("join", [GoValue::Missing | GoValue::Nil, _]) => text(String::new()),
        ("split", [GoValue::Text(whole), GoValue::Text(separator)]) => {
            let parts = whole.split(separator.as_str());
            Ok(GoValue::List(
                parts.map(|part| GoValue::Text(part.to_owned())).collect(),
            ))
        }
        ("upper", [value]) => text(value.show().to_uppercase()),
        ("lower", [value]) => text(value.show().to_lowercase()),
        ("title", [value]) => {
            let shown = value.show();
            let mut letters = shown.chars();
            let first = letters.next().into_iter().flat_map(char::to_uppercase);
            text(first.chain(letters.clone()).collect())
        }
        _ => Err(wrong_arguments(name, arguments)),
    }
}

fn wrong_arguments(name: &str, arguments: &[GoValue]) -> String {
    let (count, got) = match name {
        "not" | "len" | "json" | "upper" | "lower" | "title" => ("want 1", arguments.len()),
        "ne" | "lt" | "le" | "gt" | "ge" | "join" | "split" => ("want 2", arguments.len()),
        _ => ("want at least 1", arguments.len()),
    };
    let wanted: usize = count
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    if got == wanted {
        return format!(
            "wrong type for value; expected string; got {}",
            arguments[0].type_name()
        );
    }
    format!("wrong number of args for {name}: {count} got {got}")
}

/// Blanks go between values of which neither is a string.
fn print(values: &[GoValue]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for value in values {
        let is_text = matches!(value, GoValue::Text(_));
        if !after_text && !is_text {
            out.push(' ');
        }
        out.push_str(&value.show());
        after_text = is_text;
    }
    out
}

fn index(value: &GoValue, key: &GoValue) -> Result<GoValue, String> {
    let position = |length: usize| match key {
        GoValue::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| format!("index out of range: {at}")),
        other => Err(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    };
    match value {
        GoValue::List(items) => Ok(items[position(items.len())?].clone()),
        GoValue::Text(text) => Ok(GoValue::Int(text.as_bytes()[position(text.len())?].into())),
        GoValue::Map(map) => match key {
            GoValue::Text(key) => Ok(map.entries.get(key).unwrap_or(&map.zero).clone()),
            other => Err(format!(
                "value has type {}; should be string",
                other.type_name()
            )),
        },
        GoValue::Missing | GoValue::Nil => Err("index of untyped nil".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &GoValue, bounds: &[GoValue]) -> Result<GoValue, String> {
    let length = match value {
        GoValue::List(items) => items.len(),
        GoValue::Text(text) => text.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, otherwise: usize| match bounds.get(at) {
        None => Ok(otherwise),
        Some(GoValue::Int(number)) => usize::try_from(*number)
            .ok()
            .filter(|number| *number <= length)
            .ok_or_else(|| format!("index out of range: {number}")),
        Some(other) => Err(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        GoValue::List(items) => GoValue::List(items[from..to].to_vec()),
        other => {
            let text = other.show();
            GoValue::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
    })
}

fn compare(first: &GoValue, second: &GoValue) -> Option<Ordering> {
    match (first, second) {
        (GoValue::Int(first), GoValue::Int(second)) => Some(first.cmp(second)),
        (GoValue::Text(first), GoValue::Text(second)) => Some(first.cmp(second)),
        _ => None,
    }
}

fn escaped(text: &str, escape: fn(char) -> Option<String>) -> String {
    let shown = |c: char| escape(c).unwrap_or_else(|| c.to_string());
    text.chars().map(shown).collect()
}

fn html_escape(c: char) -> Option<String> {
    Some(
        match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&#34;",
            '\'' => "&#39;",
            '\0' => "\u{fffd}",
            _ => return None,
        }
        .to_owned(),
    )
}

fn js_escape(c: char) -> Option<String> {
    match c {
        '\\' => Some("\\\\".to_owned()),
        '\'' => Some("\\'".to_owned()),
        '"' => Some("\\\"".to_owned()),
        '<' | '>' | '&' | '=' => Some(format!("\\u{:04X}", u32::from(c))),
        c if c < ' ' => Some(format!("\\u{:04X}", u32::from(c))),
        _ => None,
    }
}

fn url_query(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
